//! Sliding windows: what lies before one is forgotten.

use loader::fixture::{FixtureValue, GgufWriter, TinyModel, tiny_model};

use crate::peer_models::prompt;
use crate::reference::difference;
use crate::support::{executor, log_softmax, logits, written};

const WINDOW: usize = 16;

fn llama(layers: u32, window: Option<u32>) -> GgufWriter {
    let mut file = tiny_model(&TinyModel { seed: 21, layers, ..TinyModel::default() });
    if let Some(window) = window {
        file.set("llama.attention.sliding_window", FixtureValue::U32(window));
    }
    file
}

/// Positions are relative, so one windowed layer cannot tell a long prompt from its last tokens alone.
#[test]
fn one_layer_sees_its_window_and_nothing_before() {
    let (prompt, mut executor) = (prompt(), executor());
    let (_windowed, windowed) = written(&llama(1, Some(16)));
    let (_whole, whole) = written(&llama(1, None));
    let all = logits(&mut executor, &windowed, &prompt, 20);
    for end in [WINDOW - 1, WINDOW, WINDOW + 1, 50, prompt.len()] {
        let tokens = &prompt[end.saturating_sub(WINDOW)..end];
        let alone = log_softmax(logits(&mut executor, &whole, tokens, 20).last().unwrap());
        let apart = log_softmax(&all[end - 1]).iter().zip(&alone).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        // Keys that were turned by other angles are rounded to other halves.
        assert!(apart < 2e-3, "{apart} at {end}");
        let narrower = log_softmax(logits(&mut executor, &whole, &tokens[1..], 20).last().unwrap());
        let apart = log_softmax(&all[end - 1]).iter().zip(&narrower).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(apart > 1e-2, "the window's first token counts, {apart} at {end}");
    }
}

#[test]
fn a_windowed_llama_agrees_with_candle() {
    let (_folder, model) = written(&llama(3, Some(16)));
    for step in [90, 7] {
        let difference = difference(&model, &prompt(), step);
        assert!(difference < 1e-4, "in steps of {step}: {difference}");
    }
}
