//! The choices of a completion's answer.

use std::fmt::Write as _;

use models::generation::{FinishReason, ScoredToken, Span};
use models::sampling::TokenLogprobs;
use models::tokenizer::Tokenizer;
use serde_json::{Map, Value, json};

use super::{finish_name, sayable};

/// A choice, whole or a piece of it.
pub(super) fn choice(index: usize, span: &Span, finish: Option<FinishReason>, tokenizer: &Tokenizer) -> Value {
    json!({
        "text": span.text,
        "index": index,
        "logprobs": logprobs(&span.tokens, tokenizer),
        "finish_reason": finish_name(finish),
    })
}

/// Parallel lists with an entry for each token, where log-probabilities were asked for.
fn logprobs(tokens: &[ScoredToken], tokenizer: &Tokenizer) -> Value {
    if tokens.is_empty() {
        return Value::Null;
    }
    let scored = |token: &ScoredToken| token.logprobs.as_ref().map(|logprobs| sayable(logprobs.token.logprob));
    let top = |token: &ScoredToken| token.logprobs.as_ref().map(|logprobs| top(logprobs, tokenizer));
    json!({
        "tokens": tokens.iter().map(|token| token_text(token.id, tokenizer)).collect::<Vec<_>>(),
        "token_logprobs": tokens.iter().map(scored).collect::<Vec<_>>(),
        "top_logprobs": tokens.iter().map(top).collect::<Vec<_>>(),
        "text_offset": tokens.iter().map(|token| token.offset_chars).collect::<Vec<_>>(),
    })
}

/// The alternatives by their texts, and the token itself where it is none of them: clients look it up there.
fn top(logprobs: &TokenLogprobs, tokenizer: &Tokenizer) -> Map<String, Value> {
    let mut top = Map::new();
    for token in logprobs.top.iter().chain([&logprobs.token]) {
        // Likeliest first, so that of two tokens with one text the likelier stays.
        top.entry(token_text(token.id, tokenizer)).or_insert_with(|| json!(sayable(token.logprob)));
    }
    top
}

/// A token's text, or its bytes as OpenAI spells them where they are no text: a name that no other token has.
fn token_text(id: u32, tokenizer: &Tokenizer) -> String {
    let bytes = tokenizer.bytes(id);
    if let Ok(text) = std::str::from_utf8(bytes) {
        return text.to_owned();
    }
    bytes.iter().fold("bytes:".to_owned(), |mut text, byte| {
        write!(text, "\\x{byte:02x}").expect("a string takes all that is written");
        text
    })
}
