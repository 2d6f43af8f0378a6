//! How an answer comes: `stream` and `stream_options`.

use super::Fields;
use crate::http::error::ApiError;

/// How the answer comes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Delivery {
    /// In one piece.
    Whole,
    /// As server-sent events.
    Streamed {
        /// Whether the last of them is the usage.
        include_usage: IncludeUsage,
        /// Whether comments tell what it waits for.
        include_progress: IncludeProgress,
    },
}

/// Whether a stream ends with its usage.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum IncludeUsage {
    /// A chunk of its own, after the last choice's end.
    Yes,
    /// That, and in every chunk the usage so far, of tokens that were told.
    Continuous,
    /// No chunk.
    No,
}

/// Whether a stream tells, in comments, what it waits for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum IncludeProgress {
    /// Its place in the queue, and how far its model's load is.
    Yes,
    /// Nothing before the answer.
    No,
}

impl Delivery {
    /// In pieces with nothing else between or behind them, or in one piece.
    pub(crate) fn plain(is_streamed: bool) -> Self {
        if is_streamed {
            Self::Streamed { include_usage: IncludeUsage::No, include_progress: IncludeProgress::No }
        } else {
            Self::Whole
        }
    }
}

/// Takes `stream` and `stream_options`.
pub(super) fn take(fields: &mut Fields) -> Result<Delivery, ApiError> {
    let streamed = fields.flag("stream")?.unwrap_or(false);
    let Some(mut options) = fields.object("stream_options")? else {
        let (include_usage, include_progress) = (IncludeUsage::No, IncludeProgress::No);
        return Ok(if streamed { Delivery::Streamed { include_usage, include_progress } } else { Delivery::Whole });
    };
    let include_usage = options.flag("include_usage")?.unwrap_or(false);
    let include_progress = options.flag("include_progress")?.unwrap_or(false);
    let is_continuous = options.flag("continuous_usage_stats")?.unwrap_or(false);
    options.only_off("include_obfuscation")?;
    options.finish()?;
    if !streamed {
        return Err(ApiError::invalid_value(fields.path("stream_options"), "is for `stream: true` alone"));
    }
    Ok(Delivery::Streamed {
        // Without the one the other is not told either, as vLLM has it.
        include_usage: match (include_usage, is_continuous) {
            (true, true) => IncludeUsage::Continuous,
            (true, false) => IncludeUsage::Yes,
            (false, _) => IncludeUsage::No,
        },
        include_progress: if include_progress { IncludeProgress::Yes } else { IncludeProgress::No },
    })
}
