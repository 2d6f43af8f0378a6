//! Requests as clients make them: random prompts, and streams of answers.
//!
//! Who makes them, and when: [`closed_loop`](crate::closed_loop), [`open_loop`](crate::open_loop).

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};

use crate::client::{Answer, Client};

/// Frequent words; tokenizers have most of them, with the blank before, as one token.
const WORDS: [&str; 66] = [
    "time",
    "year",
    "people",
    "way",
    "day",
    "man",
    "thing",
    "woman",
    "life",
    "child",
    "world",
    "school",
    "state",
    "family",
    "student",
    "group",
    "country",
    "problem",
    "hand",
    "part",
    "place",
    "case",
    "week",
    "company",
    "system",
    "program",
    "question",
    "work",
    "government",
    "number",
    "night",
    "point",
    "home",
    "water",
    "room",
    "mother",
    "area",
    "money",
    "story",
    "fact",
    "month",
    "lot",
    "right",
    "study",
    "book",
    "eye",
    "job",
    "word",
    "business",
    "issue",
    "side",
    "kind",
    "head",
    "house",
    "service",
    "friend",
    "father",
    "power",
    "hour",
    "game",
    "line",
    "end",
    "member",
    "law",
    "car",
    "city",
];
/// What the part of a prompt that all share is made from.
const SHARED_SEED: u64 = u64::MAX;

/// What each request asks for.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Words of a prompt; about as many tokens.
    pub prompt_words: usize,
    /// The part of them that is the same in all prompts, from 0 to 1.
    pub shared: f64,
    /// Tokens of an answer.
    pub tokens: usize,
}

/// Prompts, each another. Their sequence is always the same, so that servers in turns are asked alike, and none twice.
#[derive(Debug)]
pub struct Prompts {
    shape: Shape,
    made: AtomicU64,
}

impl Prompts {
    /// Those of `shape`, from the first.
    #[must_use]
    pub fn new(shape: Shape) -> Self {
        Self { shape, made: AtomicU64::new(0) }
    }

    /// Tokens of each answer.
    #[must_use]
    pub fn tokens(&self) -> usize {
        self.shape.tokens
    }

    /// The next one.
    #[must_use]
    pub fn next(&self) -> String {
        prompt(self.made.fetch_add(1, Ordering::Relaxed), self.shape)
    }
}

/// Requests to one server for one model, each with a prompt of its own.
#[derive(Debug)]
pub struct Requests {
    client: Client,
    model: String,
    prompts: Prompts,
}

/// A stream that was read.
#[derive(Clone, Copy, Debug)]
pub struct Streamed {
    /// From sending the request to the first piece of its answer.
    pub first: Duration,
    /// To its end, or to where it was left.
    pub whole: Duration,
    /// Pieces that were read.
    pub pieces: usize,
    /// Tokens of the prompt and of the answer, unless it was left before they were told.
    pub tokens: Option<(u64, u64)>,
}

impl Requests {
    /// `shape` for `model` from the server of `client`.
    #[must_use]
    pub fn new(client: &Client, model: &str, shape: Shape) -> Self {
        Self { client: client.clone(), model: model.to_owned(), prompts: Prompts::new(shape) }
    }

    /// The next request's body.
    #[must_use]
    pub fn body(&self) -> Value {
        json!({ "model": self.model, "prompt": self.prompts.next(), "max_tokens": self.prompts.tokens(),
                "temperature": 0, "ignore_eos": true })
    }

    /// The next answer, read whole, whatever its status.
    ///
    /// # Errors
    /// As [`Client::post`].
    pub fn whole(&self) -> anyhow::Result<Answer> {
        self.client.post("/v1/completions", &self.body())
    }

    /// The next answer as a stream; `on_piece` hears of each piece with its time, and may leave.
    ///
    /// # Errors
    /// When the request is refused, the stream tells of an error, or holds no text.
    pub fn stream(&self, mut on_piece: impl FnMut(Instant) -> ControlFlow<()>) -> anyhow::Result<Streamed> {
        let mut body = self.body();
        body["stream"] = json!(true);
        body["stream_options"] = json!({ "include_usage": true });
        let (mut first, mut whole, mut pieces, mut tokens, mut failure) = (None, Duration::ZERO, 0, None, None);
        self.client.events("/v1/completions", Some(&body), |at, data| {
            let event: Value = serde_json::from_str(data).unwrap_or_default();
            whole = at;
            if let Some(error) = event.get("error") {
                failure = Some(error.to_string());
                return ControlFlow::Break(());
            }
            let usage = |field: &str| event["usage"][field].as_u64();
            tokens = usage("prompt_tokens").zip(usage("completion_tokens")).or(tokens);
            if event["choices"].as_array().is_none_or(Vec::is_empty) {
                return ControlFlow::Continue(());
            }
            first.get_or_insert(at);
            pieces += 1;
            on_piece(Instant::now())
        })?;
        ensure!(failure.is_none(), "{}: {}", self.model, failure.unwrap_or_default());
        Ok(Streamed { first: first.with_context(|| format!("{}: no text", self.model))?, whole, pieces, tokens })
    }
}

/// The prompt of request `index`: first what all share.
fn prompt(index: u64, shape: Shape) -> String {
    let shared = shape.shared.clamp(0.0, 1.0) * shape.prompt_words as f64;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and the number of words")]
    let shared = shared as usize;
    let words = words(SHARED_SEED).take(shared).chain(words(index).take(shape.prompt_words - shared));
    words.collect::<Vec<_>>().join(" ")
}

/// Random words, the same for the same seed. Source of the generator: SplitMix64 (doi:10.1145/2714064.2660195).
pub fn words(seed: u64) -> impl Iterator<Item = &'static str> {
    const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
    // Neighbouring seeds must not be neighbouring states.
    let mut state = seed.wrapping_mul(0xbf58_476d_1ce4_e5b9);
    std::iter::repeat_with(move || {
        state = state.wrapping_add(STEP);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let index = (mixed ^ (mixed >> 31)) % WORDS.len() as u64;
        WORDS[usize::try_from(index).expect("an index below the length")]
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prompts_share_what_they_are_told_to_share() {
        let shape = |shared| Shape { prompt_words: 20, shared, tokens: 1 };
        let words = |index, shared| prompt(index, shape(shared)).split(' ').map(str::to_owned).collect::<Vec<_>>();
        let (one, other) = (words(0, 0.5), words(1, 0.5));
        assert_eq!((one.len(), other.len()), (20, 20));
        assert_eq!(one[..10], other[..10]);
        assert_ne!(one[10..], other[10..]);
        assert_ne!(words(0, 0.0)[..10], words(1, 0.0)[..10]);
        assert_eq!(words(0, 1.0), words(1, 1.0));
        assert_eq!(words(3, 0.5), words(3, 0.5));
    }
}
