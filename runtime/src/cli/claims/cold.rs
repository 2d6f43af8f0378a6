//! Claim 6: the first token from nothing loaded, with the file in the page cache and without.
//!
//! Invariants: only requests count whose receipt says that the model was loaded for them; the page cache is told cold
//! only if it was seen to be. Deliberately absent: a process that must first start.

use meter::energy::Quality;
use serde_json::{Value, json};

use super::bed::{Bed, Manner, float};
use super::judged::{Found, Verdict};
use crate::cli::bench::pools::figures::Percentiles;
use crate::cli::failure::Failure;
use crate::cli::output::figure;

/// What is claimed.
const CLAIMED_MS: f64 = 100.0;
/// Tokens of the prompts.
const PROMPT_TOKENS: u32 = 8;
/// At most this part of a file may be in a page cache that is called cold.
const LEFT_MAX: f64 = 0.1;

/// Tries with one policy.
struct Tries {
    first: Option<Percentiles>,
    /// Of the waits for loads.
    load: Option<Percentiles>,
    /// What of the file was in the page cache between two of them, at most.
    left: Option<f64>,
}

pub(super) async fn run(bed: &Bed) -> Result<Found, Failure> {
    let warm = tries(bed, "keep").await?;
    let cold = tries(bed, "dont-need").await?;
    let is_cold = cold.left.is_some_and(|left| left <= LEFT_MAX);
    Ok(judged(bed, &warm, &cold, is_cold))
}

async fn tries(bed: &Bed, let_go: &str) -> Result<Tries, Failure> {
    let count = bed.size.pick(20, 10);
    let mut manner = Manner::staying("0");
    manner.besides = json!({ "pool": { "let_go": let_go } });
    let server = bed.start(&format!("cold-{let_go}"), manner).await?;
    let (mut first, mut load, mut left) = (Vec::new(), Vec::new(), None::<f64>);
    // The first one reads the tokenizer, and with one policy brings the file into the page cache: it is told in neither.
    for index in 0..=count {
        let answered = server.ask(&bed.body(index, (PROMPT_TOKENS, 1))).await?;
        server.unloaded(bed.model()).await?;
        if index > 0 && answered.receipt.cold {
            first.push(answered.first.as_secs_f64() * 1e3);
            load.push(answered.receipt.times.load_wait_ns.seconds() * 1e3);
        }
        if index < count {
            let share = bed.cached_share();
            left = share.map(|share| left.unwrap_or(0.0).max(share));
        }
    }
    server.stop().await?;
    Ok(Tries { first: Percentiles::of(first), load: Percentiles::of(load), left })
}

fn judged(bed: &Bed, warm: &Tries, cold: &Tries, is_cold: bool) -> Found {
    let under = |of: Option<Percentiles>| of.is_some_and(|times| times.p95 < CLAIMED_MS);
    let half_under = |of: Option<Percentiles>| of.is_some_and(|times| times.p50 < CLAIMED_MS);
    let verdict = match (under(warm.first), is_cold, under(cold.first)) {
        (true, false, _) | (true, true, true) => Verdict::Holds,
        (true, true, false) => Verdict::InPart,
        (false, ..) if half_under(warm.first) => Verdict::InPart,
        (false, ..) => Verdict::DoesNotHold,
    };
    let cold_text = if is_cold { format!("cold {}", times(cold.first)) } else { "cold not run".to_owned() };
    let load = |of: &Tries| of.load.map_or("-".to_owned(), |load| format!("{} ms", figure(load.p50)));
    let of_cold = if is_cold {
        format!("from a cold page cache the load takes {} in the median, reading the file from the disk", load(cold))
    } else {
        let left = cold
            .left
            .map_or("what is left is not told".to_owned(), |left| format!("{:.0} % of the file stays", left * 100.0));
        format!("a cold page cache was not run: {left} when the system is told to drop it")
    };
    Found {
        measured: format!("p50/p95 {}; {cold_text}", times(warm.first)),
        quality: Quality::Measured,
        verdict,
        why: format!(
            "with the file in the page cache the load is {} in the median of the first token's {}, the rest computes {} prompt \
             tokens and answers; {of_cold}. The file has {:.0} MB and the process was there: a larger model takes longer, and \
             so does one that is read from a disk.",
            load(warm),
            warm.first.map_or("-".to_owned(), |first| format!("{} ms", figure(first.p50))),
            PROMPT_TOKENS,
            float(bed.source.size_bytes) / 1e6,
        ),
        inputs: json!({
            "file_bytes": bed.source.size_bytes,
            "page_cache_warm": shown(warm),
            "page_cache_cold": shown(cold),
            "page_cache_was_cold": is_cold,
        }),
        how: "keep_alive 0; each request waits until the model is unloaded; from sending to the first piece of the answer, and \
              only where the receipt says cold; page cache looked at between requests"
            .to_owned(),
    }
}

fn times(of: Option<Percentiles>) -> String {
    of.map_or("-".to_owned(), |times| format!("{}/{} ms (n={})", figure(times.p50), figure(times.p95), times.count))
}

fn shown(tries: &Tries) -> Value {
    json!({ "first_token_ms": tries.first, "load_wait_ms": tries.load, "file_share_in_page_cache_max": tries.left })
}
