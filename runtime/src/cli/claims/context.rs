//! Claim 5: a request behind a published context against the same number of tokens computed.
//!
//! Invariants: both kinds have as many prompt and completion tokens, of a model that is warm; prompts share nothing but
//! the context. Deliberately absent: the time that publishing takes before it pays, but for the number of requests.

use meter::Receipt;
use meter::energy::Quality;
use serde_json::json;

use super::bed::{Bed, CONTEXT, Manner, Text, float, median};
use super::judged::{Found, Verdict, less, percent};
use crate::cli::failure::Failure;
use crate::cli::output::figure;

/// What is shared, of a prompt.
const SHARED: f64 = 0.7;
const SHARED_TENTHS: u32 = 7;
/// Tokens of a prompt at most, and of an answer.
const PROMPT_TOKENS_MAX: u32 = 640;
const ANSWER_TOKENS: u32 = 16;
/// Tokens of a block: what is kept is whole ones.
const BLOCK: u32 = 32;

/// The medians of some receipts.
struct Typical {
    cost: f64,
    cpu_ms: f64,
    joules: f64,
    first_ms: f64,
    shared: f64,
}

impl Typical {
    fn of(all: &[(f64, Receipt)]) -> Self {
        let of = |figure: fn(&Receipt) -> f64| median(all.iter().map(|(_, receipt)| figure(receipt)));
        Self {
            cost: of(|receipt| receipt.cost.amount.unwrap_or(0.0)),
            cpu_ms: of(|receipt| receipt.cpu.total_ns.seconds() * 1e3),
            joules: of(|receipt| receipt.energy.joules),
            first_ms: median(all.iter().map(|(first, _)| *first)),
            shared: of(|receipt| float(receipt.tokens.cached) / float(receipt.tokens.prompt.max(1))),
        }
    }
}

pub(super) async fn run(bed: &Bed) -> Result<Found, Failure> {
    let tries = bed.size.pick(7, 5);
    // Half of the positions, in tens of blocks where there is room: 70 % of them are whole blocks.
    let room = (bed.positions.saturating_sub(ANSWER_TOKENS) / 2).min(PROMPT_TOKENS_MAX);
    let total = if room >= 10 * BLOCK { room / (10 * BLOCK) * 10 * BLOCK } else { room };
    let mut manner = Manner::staying("-1");
    manner.besides = json!({ "tenants": { "claims": { "publishes_contexts": true } } });
    let server = bed.start("context", manner).await?;
    server.ask(&bed.body(0, (8, 4))).await?;
    let Text { text, tokens } = bed.text(total * SHARED_TENTHS / 10)?;
    let kept = tokens / BLOCK * BLOCK;
    // What the context's tokens stand for, own ones follow.
    let own = (kept * (10 - SHARED_TENTHS) / SHARED_TENTHS).max(1);
    let whole = tokens + own;
    let mut computed = Vec::new();
    for index in 1..=tries {
        let answered = server.ask(&bed.body(index, (whole, ANSWER_TOKENS))).await?;
        computed.push((answered.first.as_secs_f64() * 1e3, answered.receipt));
    }
    let published = server.publish(bed.model(), &text).await?;
    let mut shared = Vec::new();
    for index in 1..=tries {
        let mut body = bed.body(100 + index, (own, ANSWER_TOKENS));
        body["context"] = json!(CONTEXT);
        let answered = server.ask(&body).await?;
        shared.push((answered.first.as_secs_f64() * 1e3, answered.receipt));
    }
    server.stop().await?;
    Ok(judged(&computed, &shared, &published.receipt))
}

fn judged(computed: &[(f64, Receipt)], shared: &[(f64, Receipt)], publishing: &Receipt) -> Found {
    let (before, now) = (Typical::of(computed), Typical::of(shared));
    let currency = &publishing.cost.currency;
    let (cost, cpu) = (less(now.cost, before.cost), less(now.cpu_ms, before.cpu_ms));
    let (energy, first) = (less(now.joules, before.joules), less(now.first_ms, before.first_ms));
    let prefill_share =
        median(computed.iter().map(|(_, receipt)| {
            receipt.cpu.prefill_ns.seconds() / receipt.cpu.total_ns.seconds().max(f64::MIN_POSITIVE)
        }));
    let publishing_cost = publishing.cost.amount.unwrap_or(0.0);
    let saved_each = before.cost - now.cost;
    let pays = if saved_each > 0.0 {
        format!("Publishing pays from request {} on", (publishing_cost / saved_each).ceil().max(1.0))
    } else {
        "Publishing never pays at these figures".to_owned()
    };
    Found {
        measured: format!("{} cheaper at {} shared", percent(cost), percent(now.shared)),
        quality: Quality::Measured,
        verdict: Verdict::of_share(cost, SHARED),
        why: format!(
            "{} of the prompt was found ({} would be claimed): cpu {} less, energy {} less (modelled), first token {} \
             sooner. The prompt's computation is {} of a request's processor time here, so that sharing {} of it would save \
             {} if every token of it cost the same; answers of {} tokens, and attention to the shared positions, are computed all the same. {pays}.",
            percent(now.shared),
            percent(now.shared),
            percent(cpu),
            percent(energy),
            percent(first),
            percent(prefill_share),
            percent(now.shared),
            percent(prefill_share * now.shared),
            shared.first().map_or(0, |(_, receipt)| receipt.tokens.completion),
        ),
        inputs: json!({
            "requests_each": computed.len(),
            "prompt_tokens": [computed.first().map(|(_, one)| one.tokens.prompt), shared.first().map(|(_, one)| one.tokens.prompt)],
            "cached_share": now.shared,
            "currency": currency,
            "cost": [before.cost, now.cost],
            "cpu_ms": [before.cpu_ms, now.cpu_ms],
            "joules": [before.joules, now.joules],
            "first_token_ms": [before.first_ms, now.first_ms],
            "prefill_cpu_share": prefill_share,
            "publishing_cost": publishing_cost,
        }),
        how: format!(
            "medians of {} receipts each, a warm model; computed: prompts that share nothing; shared: behind a published \
             context; a cost of {} {currency} against {}",
            computed.len(),
            figure(now.cost),
            figure(before.cost),
        ),
    }
}
