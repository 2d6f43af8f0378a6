//! `dayfly bench serve`: load on a server that runs, or on one of the command's own, seen as its clients see it.
//!
//! Invariants: every prompt and answer has exactly as many tokens as are said, no two prompts are alike, and what failed or was
//! not sent is counted. Energy and money are those of the receipts. Deliberately absent: several models and tenants, and what
//! is held between requests (see [`pools`](super::pools)).

mod report;

use std::sync::Arc;
use std::time::Duration;

use clap::{Args, value_parser};
use serde_json::json;
use tokio::time::Instant;

use self::report::{Asking, Report};
use super::pools::drive::{Driver, Prompts};
use super::pools::positive;
use super::pools::workload::{Arrival, Arrivals, Crowd, Pacing, Shape, Workload};
use crate::cli::failure::Failure;
use crate::cli::flags::{Context, ServerFlags, block_on, interrupted};
use crate::cli::output::{self, Format};
use crate::cli::reach::{self, Reached};
use crate::cli::{complete, names, ps};
use crate::client::ClientError;
use crate::limits::{BENCH_IN_FLIGHT_MAX, BENCH_REQUEST_TOKENS_MAX, BENCH_REQUESTS_MAX};

/// How many requests there are, where nothing says how many or for how long.
const REQUESTS_DEFAULT: usize = 64;
/// For how long they come at a rate, where nothing says.
const DURATION_DEFAULT: Duration = Duration::from_secs(30);
/// As much longer than it takes on average requests are drawn for, so that there are as many as are asked for.
const DRAWN_FOR: f64 = 2.0;

/// Put load on a running server, or on one of its own, and tell what clients see of it
///
/// Without --rate so many streams ask again as soon as they are answered; with it requests come when they come, whether others
/// are answered or not, and those that find 512 under way are not sent. With --json: {"asking", "seconds", "requests",
/// "first_token_ms": {"warm", "cold"}, "token_ms", "answer_ms", "throughput", "energy", "cost"}.
#[derive(Args, Debug)]
pub(in crate::cli) struct Serve {
    /// A name or alias
    #[arg(default_value = "smollm2", add = complete::models())]
    model: String,
    /// How many ask at a time
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = value_parser!(u16).range(1..=BENCH_IN_FLIGHT_MAX as i64))]
    streams: u16,
    /// Requests a second instead, at random times
    #[arg(long, value_name = "PER_SECOND", conflicts_with = "streams", value_parser = positive)]
    rate: Option<f64>,
    /// How many requests in all; 64 if there is no --duration, and --rate is not given
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(1..=BENCH_REQUESTS_MAX as i64))]
    requests: Option<u32>,
    /// For how long requests are sent; 30 if there is a --rate, and no --requests
    #[arg(long, value_name = "SECONDS", value_parser = value_parser!(u64).range(1..=86_400))]
    duration: Option<u64>,
    /// Tokens of each prompt
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = value_parser!(u32).range(1..=i64::from(BENCH_REQUEST_TOKENS_MAX)))]
    prompt_tokens: u32,
    /// Tokens of each answer
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = value_parser!(u32).range(1..=i64::from(BENCH_REQUEST_TOKENS_MAX)))]
    completion_tokens: u32,
    /// What prompts and times are drawn from
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    #[command(flatten)]
    server: ServerFlags,
}

impl Serve {
    pub(in crate::cli) fn run(&self, context: &Context) -> Result<(), Failure> {
        let workload = self.workload()?;
        let report = block_on(async {
            let reached = reach::running_or_own(context, &self.server, &self.model).await?;
            let report = tokio::select! {
                report = self.drive(&reached, workload) => report,
                failure = interrupted() => Err(failure),
            };
            reached.close().await;
            report
        })?;
        match context.format() {
            Format::Json => output::print_json(&report)?,
            Format::Text => output::print(report.text())?,
        }
        match report.failed() {
            0 => Ok(()),
            failed => Err(Failure::Failed(anyhow::anyhow!("{failed} requests failed"))),
        }
    }

    async fn drive(&self, reached: &Reached, workload: Workload) -> Result<Report, Failure> {
        let mut prompts = Prompts::new(self.seed);
        let asked = json!({ "model": self.model, "content": prompts.words() });
        let tokens = match reached.client.post("/tokenize", &asked).await {
            Err(error) if error.is_model_not_found() => {
                let known = ps::names(&reached.client).await.unwrap_or_default();
                return Err(Failure::NotFound(anyhow::anyhow!("{error}{}", names::hint(&self.model, &known))));
            }
            answer => answer?,
        };
        let ids = tokens["tokens"].as_array().into_iter().flatten().filter_map(|id| u32::try_from(id.as_u64()?).ok());
        prompts.add_ids(&self.model, ids.collect()).map_err(|_| ClientError::Answer("it has no tokens for words"))?;
        output::note(format_args!("{} is asked at {}", self.model, reached.client.url()));
        let (streams, until) = (self.tenants(), self.duration.map(Duration::from_secs));
        let driver = Driver {
            workload: Arc::new(workload),
            prompts: Arc::new(prompts),
            clients: vec![Some(reached.client.clone()); streams],
            began: Instant::now(),
            until,
        };
        Ok(Report::of(self.asking(&reached.client.url()), &driver.drive().await))
    }

    fn asking(&self, server: &str) -> Asking {
        Asking {
            server: server.to_owned(),
            model: self.model.clone(),
            streams: self.rate.is_none().then(|| self.tenants()),
            per_second: self.rate,
            prompt_tokens: self.prompt_tokens,
            completion_tokens: self.completion_tokens,
            seed: self.seed,
        }
    }

    /// Who ask, each after its own answers, in a closed loop.
    fn tenants(&self) -> usize {
        if self.rate.is_some() { 1 } else { self.streams.into() }
    }

    fn workload(&self) -> Result<Workload, Failure> {
        let tokens = (self.prompt_tokens, self.completion_tokens);
        let requests = self.requests.map(|requests| requests as usize);
        let Some(per_second) = self.rate else {
            let count = requests.unwrap_or(if self.duration.is_some() { BENCH_REQUESTS_MAX } else { REQUESTS_DEFAULT });
            let arrivals = (0..count).map(|index| arrival(Duration::ZERO, index % self.tenants(), tokens));
            return Ok(Workload { pacing: Pacing::ClosedLoop, arrivals: arrivals.collect() });
        };
        const LONGEST: Duration = Duration::from_secs(366 * 86_400);
        let wanted = requests.map(|requests| {
            let seconds = DRAWN_FOR * (requests as f64 + 8.0) / per_second;
            Duration::try_from_secs_f64(seconds).map_or(LONGEST, |wanted| wanted.min(LONGEST))
        });
        let duration = self.duration.map(Duration::from_secs).or(wanted).unwrap_or(DURATION_DEFAULT);
        if per_second * duration.as_secs_f64() > BENCH_REQUESTS_MAX as f64 * DRAWN_FOR {
            return Err(Failure::Usage(anyhow::anyhow!("more than {BENCH_REQUESTS_MAX} requests are asked for")));
        }
        let crowd = Crowd { tenants: 1, models: 1, zipf: 0.0, seed: self.seed };
        let drawn = Workload::new(Arrivals::Poisson, &Shape { per_second, duration, crowd, tokens });
        let count = requests.unwrap_or(BENCH_REQUESTS_MAX);
        let arrivals = drawn.arrivals.iter().take(count).map(|drawn| arrival(drawn.at, 0, tokens));
        let workload = Workload { pacing: Pacing::OpenLoop, arrivals: arrivals.collect() };
        if workload.arrivals.is_empty() {
            return Err(Failure::Usage(anyhow::anyhow!("nobody asks: choose a longer duration or a higher rate")));
        }
        Ok(workload)
    }
}

fn arrival(at: Duration, tenant: usize, (prompt_tokens, completion_tokens): (u32, u32)) -> Arrival {
    Arrival { at, tenant, model: 0, prompt_tokens, completion_tokens }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        serve: Serve,
    }

    fn workload(flags: &str) -> Workload {
        let line = Line::try_parse_from(std::iter::once("serve").chain(flags.split_whitespace())).unwrap();
        line.serve.workload().unwrap()
    }

    #[test]
    fn streams_ask_again_and_a_rate_does_not_wait() {
        let closed = workload("--streams 3 --requests 7");
        assert_eq!(closed.pacing, Pacing::ClosedLoop);
        let tenants: Vec<usize> = closed.arrivals.iter().map(|arrival| arrival.tenant).collect();
        assert_eq!(tenants, [0, 1, 2, 0, 1, 2, 0]);
        assert_eq!(workload("").arrivals.len(), REQUESTS_DEFAULT);
        assert_eq!(workload("--duration 5").arrivals.len(), BENCH_REQUESTS_MAX, "the time ends it");
        for seed in 0..20 {
            let open = workload(&format!("--rate 50 --requests 9 --prompt-tokens 5 --seed {seed}"));
            assert_eq!((open.pacing, open.arrivals.len()), (Pacing::OpenLoop, 9));
            assert!(open.arrivals.iter().all(|arrival| arrival.prompt_tokens == 5 && arrival.completion_tokens == 64));
        }
        let timed = workload("--rate 100 --duration 3");
        assert!(timed.arrivals.len().abs_diff(300) < 90, "{}", timed.arrivals.len());
        assert!(timed.arrivals.iter().all(|arrival| arrival.at < Duration::from_secs(3)));
    }

    #[test]
    fn what_nobody_can_run_is_refused() {
        let line = Line::try_parse_from(["serve", "--rate", "1e6", "--duration", "86400"]).unwrap();
        assert!(matches!(line.serve.workload(), Err(Failure::Usage(_))));
        for flags in [["--streams", "0"], ["--requests", "0"], ["--rate", "-1"], ["--completion-tokens", "0"]] {
            assert!(Line::try_parse_from(std::iter::once("serve").chain(flags)).is_err(), "{flags:?}");
        }
    }
}
