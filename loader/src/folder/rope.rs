//! Rotary positions: `rope_theta`, `rope_scaling` and what newer configurations have instead, `rope_parameters`.
//!
//! Written as GGUF's keys. `llama3`, for which GGUF files have a tensor of factors, becomes keys of its own, which the
//! reader of the architecture turns into those factors.

use super::FolderError;
use super::config::Config;
use crate::gguf::Assembly;

/// Where a rope's keys go, and what holds where a configuration does not say.
#[derive(Clone, Copy, Debug)]
pub(super) struct Target<'a> {
    /// `general.architecture`, in front of every key.
    pub(super) architecture: &'a str,
    /// Base of the frequencies unless it is stated.
    pub(super) base: f32,
}

/// Translates the base and the scaling of all layers.
pub(super) fn translate(config: &mut Config, target: Target<'_>, out: &mut Assembly) -> Result<(), FolderError> {
    let base = config.optional_f32("rope_theta")?;
    let key = if config.has("rope_parameters") { "rope_parameters" } else { "rope_scaling" };
    match config.object(key)? {
        Some(scaling) => parameters(scaling, Target { base: base.unwrap_or(target.base), ..target }, out),
        None => {
            out.f32(&format!("{}.rope.freq_base", target.architecture), base.unwrap_or(target.base));
            Ok(())
        }
    }
}

/// Translates one object of parameters.
pub(super) fn parameters(mut scaling: Config, target: Target<'_>, out: &mut Assembly) -> Result<(), FolderError> {
    let key = |name: &str| format!("{}.rope.{name}", target.architecture);
    let base = scaling.optional_f32("rope_theta")?.unwrap_or(target.base);
    out.f32(&key("freq_base"), base);
    scaling.only_number("partial_rotary_factor", 1.0)?;
    // Old configurations have the type under `type`, some under both.
    let old = scaling.optional_text("type")?;
    let kind = scaling.optional_text("rope_type")?.or(old).unwrap_or_else(|| "default".to_owned());
    match kind.as_str() {
        "default" => {}
        "linear" => {
            out.text(&key("scaling.type"), "linear");
            out.f32(&key("scaling.factor"), scaling.f32("factor")?);
        }
        "llama3" => {
            out.text(&key("scaling.type"), "llama3");
            out.f32(&key("scaling.factor"), scaling.f32("factor")?);
            out.f32(&key("scaling.low_freq_factor"), scaling.f32("low_freq_factor")?);
            out.f32(&key("scaling.high_freq_factor"), scaling.f32("high_freq_factor")?);
            let original = scaling.u32("original_max_position_embeddings")?;
            out.u32(&key("scaling.original_context_length"), original);
        }
        "yarn" => yarn(&mut scaling, &key, out)?,
        other => return Err(scaling.unsupported("rope_type", other)),
    }
    scaling.finish()
}

fn yarn(scaling: &mut Config, key: &dyn Fn(&str) -> String, out: &mut Assembly) -> Result<(), FolderError> {
    out.text(&key("scaling.type"), "yarn");
    let factor = scaling.f32("factor")?;
    out.f32(&key("scaling.factor"), factor);
    if let Some(original) = scaling.optional_u32("original_max_position_embeddings")? {
        out.u32(&key("scaling.original_context_length"), original);
    }
    for (name, written) in [("beta_fast", "scaling.yarn_beta_fast"), ("beta_slow", "scaling.yarn_beta_slow")] {
        if let Some(value) = scaling.optional_f32(name)? {
            out.f32(&key(written), value);
        }
    }
    // The factor of the scores that follows from the other one; any other is refused.
    if let Some(stated) = scaling.optional_f32("attention_factor")?
        && (stated - (1.0 + 0.1 * factor.ln())).abs() > 1e-4
    {
        return Err(scaling.unsupported("attention_factor", stated));
    }
    scaling.only_bool("truncate", true)?;
    // Says only that the model was trained with it.
    scaling.optional_bool("finetuned").map(drop)
}
