//! Log-probabilities of tokens, in the shape that Ollama, llama.cpp and OpenAI's responses share.

use models::generation::ScoredToken;
use models::sampling::Logprob;
use models::tokenizer::Tokenizer;
use serde_json::{Value, json};

/// Whether tokens are told by their ids as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ids {
    Told,
    Untold,
}

/// `{"token", "bytes", "logprob", "top_logprobs"}` of each token that has a log-probability.
pub(super) fn scores(tokens: &[ScoredToken], tokenizer: &Tokenizer, ids: Ids) -> Vec<Value> {
    let alternative = |token: &Logprob| {
        let mut told = json!({
            "token": tokenizer.text(token.id),
            "bytes": tokenizer.bytes(token.id),
            // What has no chance at all gets the number that OpenAI gives it: JSON has no infinity.
            "logprob": token.logprob.max(-9999.0),
        });
        if ids == Ids::Told {
            told["id"] = json!(token.id);
        }
        told
    };
    let scored = tokens.iter().filter_map(|token| token.logprobs.as_ref());
    scored
        .map(|logprobs| {
            let mut told = alternative(&logprobs.token);
            told["top_logprobs"] = logprobs.top.iter().map(alternative).collect();
            told
        })
        .collect()
}
