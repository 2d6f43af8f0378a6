//! Whole answers, for requests that come again exactly as they were.
//!
//! An answer is kept where it is bound to be the same the next time (nothing is drawn, or the request names the seed) and
//! its request, or its tenant's configuration, asks for it. What it is found by is a [`Key`] of everything that decides
//! it: tenant, model with its files' version and chat template, and the request but for how the answer is delivered.
//!
//! Invariants: no tenant is answered with what another asked; no file is answered for by the one that it replaced; only
//! the answers of requests that completed, and whose receipts are durable, are kept; memory is bounded, the longest
//! unused goes first. Deliberately absent: the way of a request that is answered from here (`generate`), answers that
//! are still computed (two such requests at once are computed both), and a time after which an answer is too old: it is
//! as good as on the first day.

mod key;

use std::sync::Arc;

use loader::ArtifactIdentity;
use models::generation::{Output, ScoredToken, TokenCounts};
use models::sampling::Logprob;
use moka::policy::EvictionPolicy;

pub(crate) use self::key::{Key, Served};
use crate::http::wire::answer::{Choice, Collector};
use crate::limits::STORED_ANSWER_BYTES_MAX;

/// Memory of an entry beside its answer's texts and tokens: key, links, the structures themselves.
const ENTRY_BYTES: usize = 512;

/// The answers that are kept.
pub(crate) struct ResponseCache {
    /// None where the operator wants none.
    answers: Option<moka::sync::Cache<Key, Arc<StoredAnswer>>>,
}

/// An answer that was given before.
#[derive(Debug)]
pub(crate) struct StoredAnswer {
    choices: Vec<Choice>,
    /// Tokens of the prompts.
    pub(crate) prompt_tokens: u64,
    /// Tokens that were generated.
    pub(crate) completion_tokens: u64,
    bytes: usize,
}

/// Takes down an answer as it comes.
#[derive(Debug)]
pub(crate) struct Recorder {
    key: Key,
    /// Of the files that the key is of.
    identity: ArtifactIdentity,
    /// None once the answer has become too long to be kept.
    collected: Option<Collector>,
    bytes: usize,
}

/// What the cache holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ResponseCacheStatus {
    pub(crate) answers: u64,
    /// Memory, estimated.
    pub(crate) bytes: u64,
}

impl ResponseCache {
    /// A cache of at most `bytes_max` bytes; 0 keeps nothing.
    pub(crate) fn new(bytes_max: u64) -> Self {
        let kib_max = bytes_max / 1024;
        let answers = (kib_max > 0).then(|| {
            moka::sync::Cache::builder()
                .max_capacity(kib_max)
                .weigher(|_, answer: &Arc<StoredAnswer>| u32::try_from(answer.bytes.div_ceil(1024)).unwrap_or(u32::MAX))
                .eviction_policy(EvictionPolicy::lru())
                .build()
        });
        Self { answers }
    }

    /// Whether anything is ever kept.
    pub(crate) fn is_on(&self) -> bool {
        self.answers.is_some()
    }

    /// The answer to a request that came before.
    pub(crate) fn find(&self, key: &Key) -> Option<Arc<StoredAnswer>> {
        self.answers.as_ref()?.get(key)
    }

    /// Keeps what was recorded of a request that completed with these counts.
    pub(crate) fn keep(&self, recorder: Recorder, counts: TokenCounts) {
        if let (Some(answers), Some((key, answer))) = (&self.answers, recorder.finish(counts)) {
            answers.insert(key, Arc::new(answer));
        }
    }

    /// What it holds.
    pub(crate) fn status(&self) -> ResponseCacheStatus {
        let Some(answers) = &self.answers else { return ResponseCacheStatus::default() };
        answers.run_pending_tasks();
        ResponseCacheStatus { answers: answers.entry_count(), bytes: answers.weighted_size().saturating_mul(1024) }
    }
}

impl StoredAnswer {
    /// It again: a piece for each choice.
    pub(crate) fn outputs(&self) -> impl Iterator<Item = Output> {
        let whole = |(choice, Choice { span, finish }): (usize, &Choice)| Output {
            choice,
            span: span.clone(),
            finish: *finish,
        };
        self.choices.iter().enumerate().map(whole)
    }
}

impl Recorder {
    /// Of a request for so many `answers`, which `key` finds, to the files of `identity`.
    pub(crate) fn new(key: Key, identity: ArtifactIdentity, answers: usize) -> Self {
        Self { key, identity, collected: Some(Collector::new(answers)), bytes: ENTRY_BYTES }
    }

    /// Whether the key is of these files: another version of them may be in memory yet.
    pub(crate) fn is_of(&self, identity: &ArtifactIdentity) -> bool {
        self.identity == *identity
    }

    /// Takes a piece down, unless the answer has become too long.
    pub(crate) fn push(&mut self, output: &Output) {
        self.bytes = self.bytes.saturating_add(output_bytes(output));
        if self.bytes > STORED_ANSWER_BYTES_MAX {
            self.collected = None;
        }
        if let Some(collected) = &mut self.collected {
            collected.push(output.clone());
        }
    }

    /// The whole answer; none where it is too long, or some of it has not come.
    fn finish(self, counts: TokenCounts) -> Option<(Key, StoredAnswer)> {
        let choices = self.collected?.finish();
        let TokenCounts { prompt, completion, .. } = counts;
        let is_whole = choices.iter().all(|choice| choice.finish.is_some());
        is_whole.then_some((
            self.key,
            StoredAnswer { choices, prompt_tokens: prompt, completion_tokens: completion, bytes: self.bytes },
        ))
    }
}

/// Memory that a piece takes where it is kept.
fn output_bytes(output: &Output) -> usize {
    let token_bytes = |token: &ScoredToken| {
        let alternatives = token.logprobs.as_ref().map_or(0, |logprobs| logprobs.top.len());
        size_of::<ScoredToken>() + alternatives * size_of::<Logprob>()
    };
    output.span.text.len() + output.span.tokens.iter().map(token_bytes).sum::<usize>()
}

#[cfg(test)]
mod tests;
