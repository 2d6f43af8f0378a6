//! Every architecture and every type against llama.cpp's log-probabilities of the same tiny files.
//!
//! Taken from llama.cpp 11434 by the example `peer_goldens`, with keys and values in 32-bit floats; to be taken anew
//! when a fixture changes.

use serde_json::Value;

use crate::peer_models::{DEPTHS, PeerModel, peer_models, prompt};
use crate::support::{executor, log_softmax, logits, written};

/// How far a log-probability may stand from llama.cpp's: in the mean, and at most.
///
/// Where weights are quantized both engines round activations to 8 bits, in blocks and with scales of their own.
/// llama.cpp's are coarser beside blocks of 256: one for as many. Beside halves and brain floats it rounds activations
/// to the same. Its GELU looks its value up by a half-precision number. Ours keeps keys and values as halves, which the
/// goldens do not; the reference executor does, and is held to a sixth of this bound beside weights that
/// are floats.
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

#[test]
fn log_probabilities_agree_with_llama_cpps() {
    let goldens: Value = serde_json::from_str(include_str!("../goldens/tiny.json")).unwrap();
    let (prompt, mut executor) = (prompt(), executor());
    let models = peer_models();
    assert_eq!(models.len(), goldens.as_object().unwrap().len());
    for PeerModel { name, file } in models {
        let (_folder, model) = written(&file);
        let ours: Vec<Vec<f32>> =
            logits(&mut executor, &model, &prompt, 24).iter().map(|row| log_softmax(row)).collect();
        let mut differences = Vec::new();
        for (depth, golden) in DEPTHS.iter().zip(goldens[&name].as_array().unwrap()) {
            for pair in golden.as_array().unwrap() {
                let (id, theirs) = (pair[0].as_u64().unwrap(), pair[1].as_f64().unwrap());
                differences.push((f64::from(ours[depth - 1][usize::try_from(id).unwrap()]) - theirs).abs());
            }
        }
        let mean = differences.iter().sum::<f64>() / differences.len() as f64;
        let most = differences.iter().copied().fold(0.0, f64::max);
        println!("{name}: |Δ log-probability| {mean:.6} in the mean, {most:.6} at most");
        let (mean_max, most_max) = bounds(&name);
        assert!(mean <= mean_max && most <= most_max, "{name}: {mean:.6} in the mean, {most:.6} at most");
    }
}
