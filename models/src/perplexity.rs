//! Perplexity of a text under a model, by llama-perplexity's method, so that the figures compare.
//!
//! The text is tokenized once and cut into chunks of `context` tokens that do not overlap; a model that begins texts
//! with a token gets it in the place of each chunk's first. In each chunk the tokens of the second half, but for its
//! first, are scored given all before them: the last 255 of 512.

use kernels::KvCache;

use crate::executor::Run;
use crate::generation::Wanted;
use crate::limits::PREFILL_CHUNK_TOKENS;
use crate::sampling::TokenLogprobs;
use crate::{Executor, Model};

/// A perplexity and what it was measured on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Perplexity {
    /// exp of the mean negative log-likelihood of the scored tokens.
    pub perplexity: f64,
    /// Standard error of the perplexity.
    pub standard_error: f64,
    /// Chunks scored.
    pub chunks: usize,
    /// Tokens scored.
    pub tokens: usize,
}

/// Scores `tokens` in chunks of `context`, at most `chunks_max` of them. `None` when there is no whole chunk.
///
/// # Panics
/// When `context` is below 4.
#[must_use]
pub fn perplexity(
    executor: &mut Executor,
    model: &Model,
    tokens: &[u32],
    context: usize,
    chunks_max: usize,
) -> Option<Perplexity> {
    assert!(context >= 4, "a chunk has a second half");
    let (mut sum, mut squares, mut scored, mut chunks) = (0.0_f64, 0.0_f64, 0_usize, 0_usize);
    let mut cache = KvCache::new(model.kv_shape());
    while cache.capacity() < context {
        cache.push_block();
    }
    for chunk in tokens.chunks_exact(context).take(chunks_max) {
        let mut chunk = chunk.to_vec();
        if let Some(bos) = model.descriptor().tokenizer.added_bos() {
            chunk[0] = bos;
        }
        cache.set_len(0);
        let first = context / 2;
        let mut begin = 0;
        while begin < context {
            // Scored positions start where a step does, so that no others meet the head.
            let limit = if begin < first { first } else { context };
            let end = limit.min(begin + PREFILL_CHUNK_TOKENS);
            let wanted = if begin < first { Wanted::Nothing } else { Wanted::Each };
            let run = Run { tokens: &chunk[begin..end], position: begin, wanted };
            executor.run(model, &mut cache, run, &mut |index, logits| {
                if let Some(&next) = chunk.get(begin + index + 1) {
                    let loss = -f64::from(TokenLogprobs::of(logits, next, 0).token.logprob);
                    sum += loss;
                    squares += loss * loss;
                    scored += 1;
                }
            });
            begin = end;
        }
        chunks += 1;
    }
    #[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^52")]
    let count = scored as f64;
    let mean = sum / count;
    let variance = (squares / count - mean * mean).max(0.0);
    let perplexity = mean.exp();
    let standard_error = perplexity * (variance / (count - 1.0)).sqrt();
    (chunks > 0).then_some(Perplexity { perplexity, standard_error, chunks, tokens: scored })
}
