//! A context on its way: its place on the disk is planned before anything is computed, its file is written while its
//! publisher's request holds the blocks, and it is there once that request is settled.

use std::io;
use std::sync::Arc;

use kernels::{KvBlock, KvShape};
use models::contexts::{ContextDraft, ContextStore, WrittenContext};
use models::limits::KV_BLOCK_POSITIONS;

use super::{Context, Contexts};
use crate::http::error::ApiError;
use crate::limits::CONTEXTS_MAX;
use crate::tenancy::ContextAuthority;

/// A context that is being computed.
pub(crate) struct Publication {
    draft: ContextDraft,
    planned: Planned,
}

/// A context whose file is whole, and that nobody finds yet. Dropping it removes the file.
pub(crate) struct Written {
    written: WrittenContext,
    planned: Planned,
}

/// Room on the disk, and among the contexts, until it is used or dropped.
struct Planned {
    contexts: Arc<Contexts>,
    bytes: u64,
}

impl Drop for Planned {
    fn drop(&mut self) {
        let mut shelf = self.contexts.shelf();
        shelf.planned_bytes -= self.bytes;
        shelf.planned -= 1;
    }
}

impl Publication {
    /// Makes room for what is to be computed, with blocks of `shape`. What it will replace, if `authority` goes so far, gives
    /// its room.
    ///
    /// # Errors
    /// `permission_denied` where that is another tenant's; `contexts_full`.
    pub(super) fn plan(
        contexts: &Arc<Contexts>,
        draft: ContextDraft,
        shape: KvShape,
        authority: ContextAuthority,
    ) -> Result<Self, ApiError> {
        let blocks = draft.tokens.len() / KV_BLOCK_POSITIONS;
        let bytes = ContextStore::planned_bytes(&draft, blocks, shape.block_bytes()).map_err(ApiError::internal)?;
        let mut shelf = contexts.shelf();
        let replaced = shelf.named(&draft.about.model, &draft.about.name);
        if let Some(replaced) = &replaced
            && !authority.may_change(&draft.about.publisher, &replaced.record.about.publisher)
        {
            return Err(ApiError::permission_denied("another tenant published the context of this name"));
        }
        let (others, kept_bytes) = match &replaced {
            Some(replaced) => (shelf.len() - 1, shelf.bytes() - replaced.record.file_bytes),
            None => (shelf.len(), shelf.bytes()),
        };
        if others + shelf.planned >= CONTEXTS_MAX {
            return Err(ApiError::contexts_full(format_args!("there are {CONTEXTS_MAX} contexts already")));
        }
        let all_bytes = kept_bytes.saturating_add(shelf.planned_bytes).saturating_add(bytes);
        if all_bytes > contexts.choices.disk_bytes_max {
            let max = contexts.choices.disk_bytes_max;
            let why = format_args!("it would take {bytes} bytes, and all together {all_bytes} of {max}");
            return Err(ApiError::contexts_full(why));
        }
        shelf.planned_bytes += bytes;
        shelf.planned += 1;
        drop(shelf);
        Ok(Self { draft, planned: Planned { contexts: Arc::clone(contexts), bytes } })
    }

    /// Writes its file, whose blocks are these.
    ///
    /// # Errors
    /// `context_not_stored`.
    pub(crate) async fn write(self, blocks: Vec<KvBlock>) -> Result<Written, ApiError> {
        let Self { draft, planned } = self;
        let written = tokio::task::spawn_blocking(move || {
            let written = planned.contexts.store.write(&draft, &blocks);
            written.map(|written| Written { written, planned })
        });
        written.await.map_err(ApiError::internal)?.map_err(not_stored)
    }
}

impl Written {
    /// From here on it is found, and what it replaces is not.
    ///
    /// # Errors
    /// `context_not_stored`.
    pub(crate) async fn publish(self) -> Result<(), ApiError> {
        let Self { written, planned } = self;
        let published = tokio::task::spawn_blocking(move || {
            let context = Context::new(written.commit()?);
            let contexts = &planned.contexts;
            let replaced = contexts.shelf().put(context);
            if let Some(replaced) = replaced {
                contexts.withdraw(&replaced);
                if let Err(error) = contexts.store.remove(replaced.id()) {
                    tracing::warn!(id = replaced.id(), "the file of a replaced context cannot be removed: {error}");
                }
            }
            Ok(())
        });
        published.await.map_err(ApiError::internal)?.map_err(not_stored)
    }
}

fn not_stored(error: io::Error) -> ApiError {
    ApiError::context_not_stored(error)
}
