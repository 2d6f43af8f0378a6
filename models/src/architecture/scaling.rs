//! RoPE scaling by keys: how a context is stretched past what was trained first.
//!
//! `linear` divides every frequency by the factor (arXiv:2306.15595). `yarn` divides only the slow ones, by a ramp
//! between two numbers of turns within the original context, and sharpens the softmax by a factor (arXiv:2309.00071).
//! `llama3` divides slow ones by the factor and keeps fast ones as well, but by the length of their waves (Llama 3.1); GGUF
//! files have a tensor of its divisors instead. As in llama.cpp a factor without a type is linear. Other types
//! (`longrope`) are refused by name, and so are YaRN's own numbers where they are not its defaults.

use super::decoder::ScaledRope;
use super::keys::{Keys, Neutral};
use crate::ModelError;
use crate::limits::CONTEXT_MAX;
use crate::plan::Rope;

/// Keys that [`scaled`] reads.
pub(super) const KNOWN_KEYS: &[&str] = &[
    "rope.scale_linear",
    "rope.scaling.attn_factor",
    "rope.scaling.factor",
    "rope.scaling.high_freq_factor",
    "rope.scaling.low_freq_factor",
    "rope.scaling.original_context_length",
    "rope.scaling.type",
    "rope.scaling.yarn_attn_factor",
    "rope.scaling.yarn_beta_fast",
    "rope.scaling.yarn_beta_slow",
    "rope.scaling.yarn_ext_factor",
];

/// Turns within the original context from which on a frequency is kept, and up to which it is divided.
const YARN_BETAS: (f32, f32) = (32.0, 1.0);

/// YaRN's numbers where they are its defaults.
const YARN_DEFAULTS: &[(&str, Neutral)] = &[
    ("rope.scaling.yarn_attn_factor", Neutral::Number(1.0)),
    ("rope.scaling.yarn_beta_fast", Neutral::Number(YARN_BETAS.0)),
    ("rope.scaling.yarn_beta_slow", Neutral::Number(YARN_BETAS.1)),
    ("rope.scaling.yarn_ext_factor", Neutral::Number(1.0)),
];

/// `rope` with the scaling of the file's keys, for heads of `head_dim`.
pub(super) fn scaled(keys: &Keys<'_>, mut rope: Rope, head_dim: usize) -> Result<ScaledRope, ModelError> {
    const FACTOR: &str = "rope.scaling.factor";
    YARN_DEFAULTS.iter().try_for_each(|key| keys.only_neutral(key))?;
    let factor = match keys.optional_positive(FACTOR)? {
        None => keys.optional_positive("rope.scale_linear")?,
        factor => factor,
    };
    let magnitude = keys.optional_positive("rope.scaling.attn_factor")?.unwrap_or(1.0);
    let magnitude = match (keys.text("rope.scaling.type")?, factor) {
        (Some("none"), _) | (None | Some("linear"), None) => magnitude,
        (None | Some("linear"), Some(factor)) => {
            rope.divisors.fill(factor);
            magnitude
        }
        (Some("yarn"), Some(factor)) => {
            let original = match keys.optional_count("rope.scaling.original_context_length", CONTEXT_MAX)? {
                Some(positions) => positions,
                None => keys.count("context_length", CONTEXT_MAX)?,
            };
            rope.divisors = yarn_divisors(&rope, factor, original);
            if rope.divisors.iter().any(|divisor| !divisor.is_finite() || *divisor <= 0.0) {
                return Err(keys.impossible("rope.freq_base", format!("{} has no use with YaRN", rope.base)));
            }
            magnitude * if factor > 1.0 { 1.0 + 0.1 * factor.ln() } else { 1.0 }
        }
        (Some("llama3"), Some(factor)) => {
            rope.divisors = llama3_divisors(keys, &rope, factor)?;
            magnitude
        }
        (Some("yarn" | "llama3"), None) => return Err(keys.missing(FACTOR)),
        (Some(_), _) => return Err(keys.unsupported("rope.scaling.type")),
    };
    #[expect(clippy::float_cmp, reason = "exactly one where nothing is scaled")]
    if magnitude != 1.0 && rope.dimensions != head_dim {
        // The magnitude is of the dimensions that turn; as a factor of the scores it would be of all.
        return Err(keys.unsupported("rope.scaling.type"));
    }
    Ok(ScaledRope { rope, score_factor: magnitude * magnitude })
}

/// Fast pairs keep their frequency, slow ones have it divided by `factor`, with a linear ramp over the pairs between.
#[expect(clippy::cast_precision_loss, reason = "widths and positions are far below 2^24, or an approximation serves")]
fn yarn_divisors(rope: &Rope, factor: f32, original: usize) -> Vec<f32> {
    let width = rope.dimensions as f32;
    let pair_of_turns =
        |turns: f32| width * (original as f32 / (turns * 2.0 * std::f32::consts::PI)).ln() / (2.0 * rope.base.ln());
    let low = pair_of_turns(YARN_BETAS.0).floor().max(0.0);
    let high = pair_of_turns(YARN_BETAS.1).ceil().min(width - 1.0);
    let kept = |pair: usize| 1.0 - ((pair as f32 - low) / (high - low).max(0.001)).clamp(0.0, 1.0);
    (0..rope.divisors.len()).map(|pair| 1.0 / ((1.0 - kept(pair)) / factor + kept(pair))).collect()
}

/// Short waves keep their frequency, those longer than the original context allows have it divided by `factor`, with a
/// ramp between the two lengths. Source: `apply_scaling` of meta-llama/llama-models.
#[expect(clippy::cast_precision_loss, reason = "widths and positions are far below 2^24, or an approximation serves")]
fn llama3_divisors(keys: &Keys<'_>, rope: &Rope, factor: f32) -> Result<Vec<f32>, ModelError> {
    const HIGH: &str = "rope.scaling.high_freq_factor";
    let (low, high) = (keys.positive("rope.scaling.low_freq_factor")?, keys.positive(HIGH)?);
    if low >= high {
        return Err(keys.impossible(HIGH, format!("{high} is not above the low one, {low}")));
    }
    let original = keys.count("rope.scaling.original_context_length", CONTEXT_MAX)? as f32;
    let divisor = |pair: usize| {
        let frequency = rope.base.powf(-2.0 * pair as f32 / rope.dimensions as f32);
        let wave = 2.0 * std::f32::consts::PI / frequency;
        let kept = ((original / wave - low) / (high - low)).clamp(0.0, 1.0);
        1.0 / ((1.0 - kept) / factor + kept)
    };
    let divisors: Vec<f32> = (0..rope.divisors.len()).map(divisor).collect();
    match divisors.iter().all(|divisor| divisor.is_finite() && *divisor > 0.0) {
        true => Ok(divisors),
        false => Err(keys.impossible("rope.freq_base", format!("{} has no use with llama3's scaling", rope.base))),
    }
}
