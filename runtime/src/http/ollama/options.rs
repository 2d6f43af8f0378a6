//! `options`: how tokens are drawn and when an answer ends, and what Ollama lets a request say of its memory.

use indexmap::IndexMap;
use models::sampling::Sampling;

use crate::http::error::ApiError;
use crate::http::wire::generation::stops;
use crate::http::wire::{Common, Fields, samplers, sampling};
use crate::limits::TOKENS_MAX;

/// What is done where nothing is said, but for the penalty on repetitions.
fn defaults() -> Sampling {
    Sampling { temperature: 0.8, top_k: 40, top_p: 0.9, ..Sampling::default() }
}

/// Takes `options` out of a request to `model`, and makes a request of it that says nothing else.
pub(super) fn take(fields: &mut Fields, model: String) -> Result<Common, ApiError> {
    let options = fields.object("options")?;
    let mut options = options.unwrap_or_else(|| Fields::new(fields.path("options."), IndexMap::new()));
    samplers::drop_no_seed(&mut options);
    let (mut sampling, repeats) = sampling::take_over(&mut options, defaults())?;
    samplers::take_window(&mut options, &mut sampling)?;
    samplers::take_absent(&mut options)?;
    let tokens_max: Option<i64> = options.integer("num_predict", -2..=i128::from(TOKENS_MAX))?;
    let common = Common {
        // Below one means that there is no bound: -1, -2 and 0 are all written.
        tokens_max: tokens_max.filter(|tokens| *tokens > 0).and_then(|tokens| usize::try_from(tokens).ok()),
        context_max: options.integer("num_ctx", 1..=i128::from(TOKENS_MAX))?,
        stop: stops(&mut options, "stop")?,
        ..Common::plain(model, (sampling, repeats))
    };
    take_resources(&mut options)?;
    options.finish()?;
    Ok(common)
}

/// Numbers that are the operator's to say.
pub(crate) const RESOURCES: [&str; 5] = ["num_keep", "num_batch", "num_gpu", "main_gpu", "num_thread"];
/// What is the operator's to say, by true or false.
pub(crate) const RESOURCE_FLAGS: [&str; 7] =
    ["numa", "low_vram", "f16_kv", "logits_all", "use_mmap", "use_mlock", "embedding_only"];

/// Takes what changes no answer here: where and with what a model is computed is the operator's to say, and texts that are
/// too long are refused, so that nothing of them is kept.
fn take_resources(options: &mut Fields) -> Result<(), ApiError> {
    for name in RESOURCES {
        options.integer::<i64>(name, i128::from(i32::MIN)..=i128::from(i32::MAX))?;
    }
    for name in RESOURCE_FLAGS {
        options.flag(name)?;
    }
    options.only_off("vocab_only")?;
    // Penalties are for every token here.
    options.only_on("penalize_newline")
}
