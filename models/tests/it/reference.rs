//! The two executors over one plan: ours, and candle's plain ops over weights that candle unpacked.

use models::Model;
use models::reference::Kept;

use crate::peer_models::{PeerModel, peer_models, prompt};
use crate::support::{executor, log_softmax, logits, smollm2, written};

/// Mean difference between the executors' log-probabilities over all positions and tokens.
pub(crate) fn difference(model: &Model, tokens: &[u32], step: usize) -> f32 {
    let ours = logits(&mut executor(), model, tokens, step);
    let theirs = models::reference::logits(model, tokens, Kept::Halves).unwrap();
    let theirs = theirs.chunks_exact(model.plan().vocabulary);
    let (mut sum, mut count) = (0.0, 0.0);
    for (ours, theirs) in ours.iter().zip(theirs) {
        for (ours, theirs) in log_softmax(ours).into_iter().zip(log_softmax(theirs)) {
            sum += (ours - theirs).abs();
            count += 1.0;
        }
    }
    sum / count
}

#[test]
fn every_architecture_and_type_agrees_with_candle_however_the_prompt_is_cut() {
    let prompt = prompt();
    for PeerModel { name, file } in peer_models() {
        let (_folder, model) = written(&file);
        for step in [90, 33, 1] {
            let difference = difference(&model, &prompt, step);
            println!("{name} in steps of {step}: mean |Δ log-probability| {difference:.6}");
            // Activations are rounded to 8 bits where weights are quantized. Keys and values are rounded to halves by both.
            let bound = if name.contains("-q") || name.contains("-iq") { 0.05 } else { 1e-4 };
            assert!(difference < bound, "{name} in steps of {step}: {difference}");
        }
    }
}

#[test]
fn smollm2_agrees_with_candle() {
    let model = smollm2();
    let text = "Ephemeral models are mapped when a request needs them, and let go when they are idle.";
    let tokenizer = &model.descriptor().tokenizer;
    let tokens = tokenizer.encode(text, models::tokenizer::Special::Plain, models::tokenizer::Start::Bare).unwrap();
    let ours = logits(&mut executor(), &model, &tokens, 5);
    let theirs = models::reference::logits(&model, &tokens, Kept::Halves).unwrap();
    let mut mean = 0.0;
    for (index, theirs) in theirs.chunks_exact(model.plan().vocabulary).enumerate().take(tokens.len() - 1) {
        let next = tokens[index + 1] as usize;
        mean += (log_softmax(&ours[index])[next] - log_softmax(theirs)[next]).abs();
    }
    mean /= (tokens.len() - 1) as f32;
    println!("mean |Δ log-probability| to candle: {mean:.4}");
    // llama.cpp's own rounding of activations stands as far from candle's floats on this kind of text.
    assert!(mean < 0.15, "mean |Δ log-probability| {mean}");
}
