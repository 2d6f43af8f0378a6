//! As many requests at once as there are clients, each of which asks again when it has its answer.
//!
//! Requests that do not wait for answers are in [`open_loop`](crate::open_loop).

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};

use crate::percentile;
use crate::streams::Requests;

/// What a number of streams took.
#[derive(Clone, Debug, Default)]
pub struct Throughput {
    /// From the first request to the last answer's end.
    pub wall: Duration,
    /// Answers.
    pub completed: usize,
    /// Tokens of their prompts.
    pub prompt_tokens: u64,
    /// Their tokens.
    pub output_tokens: u64,
    /// Of each, milliseconds to its first piece.
    pub first_ms: Vec<f64>,
}

impl Throughput {
    /// Tokens of answers a second.
    #[must_use]
    pub fn tokens_per_second(&self) -> f64 {
        self.output_tokens as f64 / self.wall.as_secs_f64()
    }

    /// In the field's words.
    #[must_use]
    pub fn json(&mut self) -> Value {
        json!({
            "output_tokens_per_second": self.tokens_per_second(),
            "prompt_tokens_per_second": self.prompt_tokens as f64 / self.wall.as_secs_f64(),
            "ttft_ms": { "p50": percentile(&mut self.first_ms, 50.0), "p95": percentile(&mut self.first_ms, 95.0) },
            "completed": self.completed,
            "prompt_tokens": self.prompt_tokens,
            "output_tokens": self.output_tokens,
            "seconds": self.wall.as_secs_f64(),
        })
    }
}

/// `total` streams, `clients` of them at a time.
///
/// # Errors
/// When one of them fails, or does not tell its tokens.
pub fn closed_loop(requests: &Requests, clients: usize, total: usize) -> anyhow::Result<Throughput> {
    let (taken, began) = (AtomicUsize::new(0), Instant::now());
    let one_client = || {
        let mut streams = Vec::new();
        while taken.fetch_add(1, Ordering::Relaxed) < total {
            streams.push(requests.stream(|_| ControlFlow::Continue(()))?);
        }
        anyhow::Ok(streams)
    };
    let streams = at_once(clients, one_client).collect::<anyhow::Result<Vec<_>>>()?.concat();
    let mut sum = Throughput { wall: began.elapsed(), completed: streams.len(), ..Throughput::default() };
    for stream in streams {
        let (prompt, output) = stream.tokens.context("a stream without its usage")?;
        sum.prompt_tokens += prompt;
        sum.output_tokens += output;
        sum.first_ms.push(stream.first.as_secs_f64() * 1e3);
    }
    Ok(sum)
}

/// A part of the time in which clients ask: what happens before it fills queues and caches.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    begin: Instant,
    length: Duration,
}

impl Window {
    /// Of `length`, after `settle`.
    #[must_use]
    pub fn after(settle: Duration, length: Duration) -> Self {
        Self { begin: Instant::now() + settle, length }
    }

    /// When it is over.
    #[must_use]
    pub fn end(&self) -> Instant {
        self.begin + self.length
    }

    /// Whether it was open at `at`.
    #[must_use]
    pub fn contains(&self, at: Instant) -> bool {
        (self.begin..self.end()).contains(&at)
    }

    /// How many times a second something happened that was counted in it.
    #[must_use]
    pub fn rate(&self, count: f64) -> f64 {
        count / self.length.as_secs_f64()
    }
}

/// Tokens a second of `clients` endless streams for each of `kinds`, all at the same time, within `window`.
///
/// # Errors
/// When one of them fails.
pub fn tokens_per_second(kinds: &[&Requests], clients: usize, window: Window) -> anyhow::Result<Vec<f64>> {
    let one_client = |requests: &Requests| {
        // A piece may be more than one token: finished streams tell how many.
        let (mut pieces_within, mut pieces, mut tokens) = (0, 0, 0);
        while Instant::now() < window.end() {
            let streamed = requests.stream(|at| {
                pieces_within += u64::from(window.contains(at));
                if at < window.end() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            })?;
            if let Some((_, output)) = streamed.tokens {
                pieces += streamed.pieces as u64;
                tokens += output;
            }
        }
        anyhow::Ok((pieces_within, pieces, tokens))
    };
    thread::scope(|scope| {
        let kinds: Vec<_> = kinds
            .iter()
            .map(|requests| scope.spawn(|| at_once(clients, || one_client(requests)).collect::<Vec<_>>()))
            .collect();
        let rate = |clients: Vec<anyhow::Result<(u64, u64, u64)>>| {
            let (mut pieces_within, mut pieces, mut tokens) = (0, 0, 0);
            for client in clients {
                let client = client?;
                pieces_within += client.0;
                pieces += client.1;
                tokens += client.2;
            }
            let per_piece = if pieces == 0 { 1.0 } else { tokens as f64 / pieces as f64 };
            Ok(window.rate(pieces_within as f64 * per_piece))
        };
        kinds.into_iter().map(|kind| rate(kind.join().expect("it returns its errors"))).collect()
    })
}

/// Whole answers a second that `clients` get within `window`.
///
/// # Errors
/// When a request fails or is refused.
pub fn answers_per_second(requests: &Requests, clients: usize, window: Window) -> anyhow::Result<f64> {
    let one_client = || {
        let mut within = 0;
        while Instant::now() < window.end() {
            let answer = requests.whole()?;
            ensure!(answer.status == 200, "{}: {}", answer.status, answer.body);
            within += u64::from(window.contains(Instant::now()));
        }
        anyhow::Ok(within)
    };
    let within = at_once(clients, one_client).sum::<anyhow::Result<u64>>()?;
    Ok(window.rate(within as f64))
}

/// What each of `clients` threads makes of `client`.
fn at_once<T: Send>(clients: usize, client: impl Fn() -> T + Sync) -> impl Iterator<Item = T> {
    let made: Vec<T> = thread::scope(|scope| {
        let threads: Vec<_> = (0..clients).map(|_| scope.spawn(&client)).collect();
        threads.into_iter().map(|thread| thread.join().expect("it returns its errors")).collect()
    });
    made.into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_counts_what_falls_into_it() {
        let window = Window::after(Duration::from_secs(1), Duration::from_secs(2));
        assert!(!window.contains(window.begin - Duration::from_nanos(1)) && window.contains(window.begin));
        assert!(!window.contains(window.end()));
        assert_eq!(window.rate(4.0), 2.0);
    }
}
