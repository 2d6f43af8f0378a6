//! Every architecture and every type against llama.cpp's log-probabilities of the same tiny files.
//!
//! Taken from llama.cpp 11434 by the example `peer_goldens`, with keys and values in 32-bit floats; to be taken anew
//! when a fixture changes.

use models::Model;
use models::reference::Kept;
use serde_json::Value;

use crate::peer_models::{DEPTHS, PeerModel, peer_models, prompt};
use crate::support::{executor, log_softmax, logits, written};

/// How far a log-probability may stand from llama.cpp's: in the mean, and at most.
///
/// Where weights are quantized both engines round activations to 8 bits, in blocks and with scales of their own.
/// llama.cpp's are coarser beside blocks of 256: one for as many. Beside halves and brain floats it rounds activations
/// to the same. Its GELU looks its value up by a half-precision number. Ours keeps keys and values as halves, which the
/// goldens do not: beside weights that are floats, the reference executor without that rounding is held to the bounds of
/// [`float_bounds`], and ours to the reference with it.
fn bounds(name: &str) -> (f64, f64) {
    match name {
        "llama-q3_k" | "llama-q5_k" => (0.04, 0.2),
        _ if name.starts_with("llama-q") || name.starts_with("llama-iq") => (0.03, 0.12),
        "llama-f16" => (1e-3, 5e-3),
        "llama-bf16" => (1e-2, 4e-2),
        _ if name.starts_with("gemma3") => (1e-3, 5e-3),
        _ => (6e-4, 2.2e-3),
    }
}

/// The same for the reference executor where it rounds nothing: of files whose weights are 32-bit floats.
fn float_bounds(name: &str) -> Option<(f64, f64)> {
    match name {
        _ if name.starts_with("gemma3") => Some((1e-3, 5e-3)),
        _ if ["-q", "-iq", "-f16", "-bf16"].iter().any(|ty| name.contains(ty)) => None,
        _ => Some((1e-5, 5e-5)),
    }
}

#[test]
fn log_probabilities_agree_with_llama_cpps() {
    let mut executor = executor();
    compare("ours", |name| Some(bounds(name)), |model, prompt| logits(&mut executor, model, prompt, 24));
}

#[test]
fn the_reference_agrees_with_llama_cpp_where_neither_rounds() {
    compare("reference", float_bounds, |model, prompt| {
        let logits = models::reference::logits(model, prompt, Kept::Floats).unwrap();
        logits.chunks_exact(model.plan().vocabulary).map(<[f32]>::to_vec).collect()
    });
}

/// Holds the logits of an engine to the goldens of every file that has bounds.
fn compare(
    engine: &str,
    bounds: impl Fn(&str) -> Option<(f64, f64)>,
    mut logits: impl FnMut(&Model, &[u32]) -> Vec<Vec<f32>>,
) {
    let goldens: Value = serde_json::from_str(include_str!("../goldens/tiny.json")).unwrap();
    let (prompt, models) = (prompt(), peer_models());
    assert_eq!(models.len(), goldens.as_object().unwrap().len());
    for PeerModel { name, file } in models {
        let Some((mean_max, most_max)) = bounds(&name) else { continue };
        let (_folder, model) = written(&file);
        let ours: Vec<Vec<f32>> = logits(&model, &prompt).iter().map(|row| log_softmax(row)).collect();
        let mut differences = Vec::new();
        for (depth, golden) in DEPTHS.iter().zip(goldens[&name].as_array().unwrap()) {
            for pair in golden.as_array().unwrap() {
                let (id, theirs) = (pair[0].as_u64().unwrap(), pair[1].as_f64().unwrap());
                differences.push((f64::from(ours[depth - 1][usize::try_from(id).unwrap()]) - theirs).abs());
            }
        }
        let mean = differences.iter().sum::<f64>() / differences.len() as f64;
        let most = differences.iter().copied().fold(0.0, f64::max);
        println!("{engine}, {name}: |Δ log-probability| {mean:.6} in the mean, {most:.6} at most");
        assert!(mean <= mean_max && most <= most_max, "{engine}, {name}: {mean:.6} in the mean, {most:.6} at most");
    }
}
