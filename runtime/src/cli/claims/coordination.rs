//! Claim 8: a workload that repeats, with what coordinates it and without.
//!
//! The same requests are made four times: one at a time with nothing kept; eight at once; behind a published context as
//! well; with the response cache as well. Invariants: every arm asks for the same prompts' tokens and gets as many back.
//! Deliberately absent: what agents might say to one another.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use meter::Receipt;
use meter::energy::Quality;
use meter::receipt::AnsweredFrom;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::bed::{Bed, CONTEXT, Manner, Running, Text, float};
use super::judged::{Found, Verdict, less, percent};
use crate::cli::bench::pools::drive::answer;
use crate::cli::failure::Failure;
use crate::cli::output::{figure, seconds_text};

const CLAIMED_FEWER: f64 = 0.323;
const CLAIMED_FASTER: f64 = 2.8;
/// Tokens of what prompts share, of the rest, and of answers.
const SHARED_TOKENS: u32 = 96;
const OWN_TOKENS: u32 = 32;
const ANSWER_TOKENS: u32 = 24;
/// Requests at once.
const AT_ONCE: usize = 8;
/// Times that each is made.
const TIMES: usize = 2;

/// A way of asking.
#[derive(Clone, Copy)]
struct Way {
    name: &'static str,
    at_once: usize,
    prompts: Prompts,
    answers: Answers,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Prompts {
    /// In full.
    Whole,
    /// Behind a context.
    Behind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Answers {
    Computed,
    /// Those that were given before are given again.
    Kept,
}

const WAYS: [Way; 4] = [
    Way { name: "one at a time", at_once: 1, prompts: Prompts::Whole, answers: Answers::Computed },
    Way { name: "8 at once", at_once: AT_ONCE, prompts: Prompts::Whole, answers: Answers::Computed },
    Way { name: "+ context", at_once: AT_ONCE, prompts: Prompts::Behind, answers: Answers::Computed },
    Way { name: "+ response cache", at_once: AT_ONCE, prompts: Prompts::Behind, answers: Answers::Kept },
];

/// What a way took, the context's publication included.
struct Taken {
    name: &'static str,
    wall: Duration,
    cpu_seconds: f64,
    process_cpu: Duration,
    tokens: u64,
    hits: usize,
    cost: Option<f64>,
}

/// Tokens that a model computed for a receipt.
fn computed(receipt: &Receipt) -> u64 {
    match receipt.method.answered_from {
        AnsweredFrom::ResponseCache => 0,
        AnsweredFrom::Model => receipt.tokens.prompt - receipt.tokens.cached + receipt.tokens.completion,
    }
}

pub(super) async fn run(bed: &Bed) -> Result<Found, Failure> {
    let distinct = bed.size.pick(20, 8);
    let mut taken = Vec::new();
    for (number, way) in WAYS.iter().enumerate() {
        let mut manner = Manner::staying("-1");
        manner.besides = json!({ "tenants": { "claims": { "publishes_contexts": true } } });
        let mut server = bed.start(&format!("coordination-{number}"), manner).await?;
        server.ask(&bed.body(1000, (8, 4))).await?;
        taken.push(ask_all(bed, *way, distinct, &mut server).await?);
        server.stop().await?;
    }
    Ok(judged(&taken, distinct * TIMES))
}

async fn ask_all(bed: &Bed, way: Way, distinct: usize, server: &mut Running) -> Result<Taken, Failure> {
    let Text { text, tokens } = bed.text(SHARED_TOKENS)?;
    let before = server.look()?;
    let began = Instant::now();
    let mut receipts = Vec::new();
    if way.prompts == Prompts::Behind {
        receipts.push(server.publish(bed.model(), &text).await?.receipt);
    }
    let (client, mut asked) = (Arc::new(server.client.clone()), JoinSet::new());
    for index in 0..distinct * TIMES {
        let body = body(bed, way, index % distinct, tokens);
        let client = Arc::clone(&client);
        asked.spawn(async move { answer(&client, &body).await });
        while asked.len() >= way.at_once {
            receipts.extend(next(&mut asked).await?);
        }
    }
    while !asked.is_empty() {
        receipts.extend(next(&mut asked).await?);
    }
    let wall = began.elapsed();
    let process_cpu = server.look()?.cpu.saturating_sub(before.cpu);
    let is_hit = |one: &&Receipt| one.method.answered_from == AnsweredFrom::ResponseCache;
    Ok(Taken {
        name: way.name,
        wall,
        process_cpu,
        cpu_seconds: receipts.iter().map(|one| one.cpu.total_ns.seconds()).sum(),
        tokens: receipts.iter().map(computed).sum(),
        hits: receipts.iter().filter(is_hit).count(),
        cost: receipts.iter().map(|one| one.cost.amount).sum(),
    })
}

fn body(bed: &Bed, way: Way, index: usize, shared_tokens: u32) -> Value {
    let own = OWN_TOKENS + if way.prompts == Prompts::Whole { shared_tokens } else { 0 };
    let mut body = bed.body(index, (own, ANSWER_TOKENS));
    if way.prompts == Prompts::Behind {
        body["context"] = json!(CONTEXT);
    }
    if way.answers == Answers::Kept {
        body["cache"] = json!(true);
    }
    body
}

type Asked = JoinSet<Result<crate::cli::bench::pools::drive::Answered, crate::client::ClientError>>;

async fn next(asked: &mut Asked) -> Result<Option<Receipt>, Failure> {
    let Some(answered) = asked.join_next().await else { return Ok(None) };
    Ok(Some(answered.context("a request was given up")??.receipt))
}

fn judged(taken: &[Taken], requests: usize) -> Found {
    let (without, with) = (&taken[0], &taken[taken.len() - 1]);
    let fewer = less(float(with.tokens), float(without.tokens));
    let faster = |one: &Taken| without.wall.as_secs_f64() / one.wall.as_secs_f64().max(1e-9);
    let of_speed = if faster(with) >= CLAIMED_FASTER { Verdict::Holds } else { Verdict::DoesNotHold };
    let lines: Vec<String> = taken
        .iter()
        .map(|one| {
            let wall = seconds_text(one.wall.as_secs_f64());
            let Taken { name, tokens, cpu_seconds, .. } = one;
            format!(
                "{name}: {tokens} tokens, {wall}, {} s of cpu ({} times as fast)",
                figure(*cpu_seconds),
                figure(faster(one))
            )
        })
        .collect();
    Found {
        measured: format!("{} fewer tokens computed, {} times as fast", percent(fewer), figure(faster(with))),
        quality: Quality::Measured,
        verdict: Verdict::of_halves(Verdict::of_share(fewer, CLAIMED_FEWER), of_speed),
        why: format!(
            "{}. {} of {requests} answers were given again. Each request is made {TIMES} times and 3 of 4 tokens of a prompt \
             are shared: another workload repeats less, and where nothing repeats only the batch is left ({} times). What is \
             saved is computing, not tokens that are answered with.",
            lines.join("; "),
            with.hits,
            figure(faster(&taken[1])),
        ),
        inputs: json!({
            "requests": requests,
            "tokens_each": { "shared": SHARED_TOKENS, "own": OWN_TOKENS, "answer": ANSWER_TOKENS },
            "ways": taken.iter().map(|one| json!({
                "way": one.name,
                "wall_seconds": one.wall.as_secs_f64(),
                "cpu_seconds": one.cpu_seconds,
                "process_cpu_seconds": one.process_cpu.as_secs_f64(),
                "tokens_computed": one.tokens,
                "response_cache_hits": one.hits,
                "cost": one.cost,
            })).collect::<Vec<_>>(),
        }),
        how: format!(
            "{requests} requests, a server for each way with a warm model; tokens and cpu from the receipts, publishing \
             included; at most {AT_ONCE} at once"
        ),
    }
}
