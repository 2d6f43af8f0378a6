//! The choices of a chat's answer.

use models::generation::{FinishReason, ScoredToken, Span};
use models::sampling::Logprob;
use models::tokenizer::Tokenizer;
use serde_json::{Value, json};

use super::{Whole, finish_name, sayable};

/// The choice of a stream's first event.
pub(super) fn opening(choice: usize) -> Value {
    json!({
        "index": choice,
        "delta": { "role": "assistant", "content": "" },
        "logprobs": null,
        "finish_reason": null,
    })
}

/// A piece of a choice.
pub(super) fn piece(choice: usize, span: &Span, finish: Option<FinishReason>, tokenizer: &Tokenizer) -> Value {
    let delta = if span.is_empty() { json!({}) } else { json!({ "content": span.text }) };
    json!({
        "index": choice,
        "delta": delta,
        "logprobs": logprobs(&span.tokens, tokenizer),
        "finish_reason": finish_name(finish),
    })
}

/// A whole choice.
pub(super) fn whole(index: usize, whole: Whole, tokenizer: &Tokenizer) -> Value {
    json!({
        "index": index,
        "message": { "role": "assistant", "content": whole.span.text, "refusal": null },
        "logprobs": logprobs(&whole.span.tokens, tokenizer),
        "finish_reason": finish_name(whole.finish),
    })
}

/// Log-probabilities where there are any, which is where they were asked for.
fn logprobs(tokens: &[ScoredToken], tokenizer: &Tokenizer) -> Value {
    // Every token of a chat's answer is scored: only an echoed prompt's first is not.
    let content: Vec<Value> = tokens
        .iter()
        .filter_map(|token| token.logprobs.as_ref())
        .map(|logprobs| {
            let mut entry = entry(&logprobs.token, tokenizer);
            entry["top_logprobs"] = logprobs.top.iter().map(|token| self::entry(token, tokenizer)).collect();
            entry
        })
        .collect();
    if content.is_empty() { Value::Null } else { json!({ "content": content, "refusal": null }) }
}

fn entry(token: &Logprob, tokenizer: &Tokenizer) -> Value {
    json!({
        "token": tokenizer.text(token.id),
        "logprob": sayable(token.logprob),
        "bytes": tokenizer.bytes(token.id),
    })
}
