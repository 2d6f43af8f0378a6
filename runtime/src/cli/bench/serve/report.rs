//! What clients saw of the load, and what it took by the receipts.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::Serialize;

use crate::cli::bench::pools::drive::Driven;
use crate::cli::bench::pools::figures::Percentiles;
use crate::cli::output::{Column, figure, table};
use crate::cli::receipt::money;

/// What was asked, and how.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Asking {
    pub(super) server: String,
    pub(super) model: String,
    /// Who ask again as soon as they are answered; none at a rate.
    pub(super) streams: Option<usize>,
    pub(super) per_second: Option<f64>,
    pub(super) prompt_tokens: u32,
    pub(super) completion_tokens: u32,
    pub(super) seed: u64,
}

/// What it came to.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Report {
    asking: Asking,
    /// From the first request to the end of the last answer.
    seconds: f64,
    requests: Requests,
    /// Milliseconds from sending a request to its first token.
    first_token_ms: FirstToken,
    /// Milliseconds between two tokens of an answer, in the mean of each answer.
    token_ms: Option<Percentiles>,
    /// Milliseconds from sending a request to the end of its answer.
    answer_ms: Option<Percentiles>,
    throughput: Throughput,
    energy: Energy,
    cost: Cost,
}

#[derive(Clone, Debug, Serialize)]
struct Requests {
    completed: usize,
    failed: usize,
    /// Found too many others under way.
    unsent: usize,
    cold: usize,
    /// How long after their time they were sent.
    late_ms: Option<Percentiles>,
    /// How often each reason was given.
    failures: BTreeMap<String, usize>,
}

#[derive(Clone, Debug, Serialize)]
struct FirstToken {
    warm: Option<Percentiles>,
    /// Of requests that found the model unloaded.
    cold: Option<Percentiles>,
}

#[derive(Clone, Copy, Debug, Serialize)]
struct Throughput {
    requests_per_second: f64,
    prompt_tokens_per_second: f64,
    completion_tokens_per_second: f64,
}

/// By the receipts.
#[derive(Clone, Debug, Serialize)]
struct Energy {
    joules: f64,
    /// Over the tokens of answers; none if there are none.
    joules_per_completion_token: Option<f64>,
    /// How receipts came by it.
    sources: BTreeSet<String>,
    /// Measured, derived, modelled or assumed.
    qualities: BTreeSet<&'static str>,
}

/// By the receipts.
#[derive(Clone, Debug, Serialize)]
struct Cost {
    /// None if a receipt's is not known.
    amount: Option<f64>,
    per_million_completion_tokens: Option<f64>,
    currency: Option<String>,
}

impl Report {
    /// Of all that came back.
    pub(super) fn of(asking: Asking, driven: &Driven) -> Self {
        let (first, last) = driven.span(|_| true);
        let seconds = (last - first).as_secs_f64();
        let answered = || driven.asked.iter().filter_map(|asked| Some((asked, asked.result.as_ref().ok()?)));
        let first_tokens = |is_cold: bool| {
            let alike = answered().filter(move |(_, answer)| answer.receipt.cold == is_cold);
            Percentiles::of(alike.map(|(_, answer)| millis(answer.first)))
        };
        let between = answered().filter_map(|(asked, answer)| {
            let tokens = u32::try_from(answer.receipt.tokens.completion).ok().filter(|tokens| *tokens > 1)?;
            Some(millis((asked.ended - asked.sent).saturating_sub(answer.first)) / f64::from(tokens - 1))
        });
        let mut failures = BTreeMap::new();
        for why in driven.asked.iter().filter_map(|asked| asked.result.as_ref().err()) {
            *failures.entry(why.clone()).or_insert(0) += 1;
        }
        let (prompt, completion) = answered().fold((0, 0), |(prompt, completion), (_, answer)| {
            (prompt + answer.receipt.tokens.prompt, completion + answer.receipt.tokens.completion)
        });
        let completed = answered().count();
        let requests = Requests {
            completed,
            failed: driven.asked.len() - completed,
            unsent: driven.unsent,
            cold: answered().filter(|(_, answer)| answer.receipt.cold).count(),
            late_ms: Percentiles::of(driven.asked.iter().map(|asked| millis(asked.late))),
            failures,
        };
        let per_second = |count: u64| over(float(count), seconds).unwrap_or(0.0);
        Self {
            asking,
            seconds,
            first_token_ms: FirstToken { warm: first_tokens(false), cold: first_tokens(true) },
            token_ms: Percentiles::of(between),
            answer_ms: Percentiles::of(answered().map(|(asked, _)| millis(asked.ended - asked.sent))),
            throughput: Throughput {
                requests_per_second: per_second(completed as u64),
                prompt_tokens_per_second: per_second(prompt),
                completion_tokens_per_second: per_second(completion),
            },
            energy: Energy::of(driven, completion),
            cost: Cost::of(driven, completion),
            requests,
        }
    }

    /// Requests that were sent and not answered.
    pub(super) fn failed(&self) -> usize {
        self.requests.failed
    }

    /// For people.
    pub(super) fn text(&self) -> String {
        let Self { asking, seconds, requests, throughput, energy, cost, .. } = self;
        let how = match (asking.streams, asking.per_second) {
            (Some(streams), _) => format!("{streams} streams"),
            (None, rate) => format!("{} requests a second", figure(rate.unwrap_or(0.0))),
        };
        let Requests { completed, failed, unsent, cold, .. } = requests;
        let mut text = format!(
            "{}, {how}, {} tokens in and {} out\n{completed} answered ({cold} cold), {failed} failed, {unsent} not sent, in {} s\n",
            asking.model,
            asking.prompt_tokens,
            asking.completion_tokens,
            figure(*seconds)
        );
        for (why, count) in &requests.failures {
            text.push_str(&format!("  {count} times: {why}\n"));
        }
        let columns = [Column::Left("MS"), Column::Right("P50"), Column::Right("P95"), Column::Right("P99")];
        let row = |name: &str, of: Option<Percentiles>| {
            of.map(|of| vec![name.to_owned(), figure(of.p50), figure(of.p95), figure(of.p99)])
        };
        let rows = [
            row("first token, warm", self.first_token_ms.warm),
            row("first token, cold", self.first_token_ms.cold),
            row("each further token", self.token_ms),
            row("whole answer", self.answer_ms),
            row("sent late by", requests.late_ms.filter(|_| asking.per_second.is_some())),
        ];
        text.push_str(&format!("\n{}\n", table(&columns, rows.into_iter().flatten())));
        text.push_str(&format!(
            "\n{} requests/s, {} tokens/s out, {} tokens/s in\n",
            figure(throughput.requests_per_second),
            figure(throughput.completion_tokens_per_second),
            figure(throughput.prompt_tokens_per_second)
        ));
        let per_token = energy.joules_per_completion_token.map_or_else(|| "-".to_owned(), figure);
        let qualities: Vec<&str> = energy.qualities.iter().copied().collect();
        text.push_str(&format!("{} J, {per_token} J a token out ({})\n", figure(energy.joules), qualities.join(", ")));
        let currency = cost.currency.as_deref().unwrap_or_default();
        let amount =
            |amount: Option<f64>| amount.map_or_else(|| "unknown".to_owned(), |amount| money(amount, currency));
        text + &format!("{}, {} a million tokens out", amount(cost.amount), amount(cost.per_million_completion_tokens))
    }
}

impl Energy {
    fn of(driven: &Driven, completion: u64) -> Self {
        let receipts = || driven.answered().map(|(_, answer)| &answer.receipt.energy);
        let joules = receipts().map(|energy| energy.joules).sum();
        Self {
            joules,
            joules_per_completion_token: over(joules, float(completion)),
            sources: receipts().map(|energy| energy.source.clone()).collect(),
            qualities: receipts().map(|energy| energy.quality.name()).collect(),
        }
    }
}

impl Cost {
    fn of(driven: &Driven, completion: u64) -> Self {
        let receipts = || driven.answered().map(|(_, answer)| &answer.receipt.cost);
        let amount: Option<f64> = receipts().map(|cost| cost.amount).sum();
        Self {
            amount,
            per_million_completion_tokens: amount.and_then(|amount| over(amount * 1e6, float(completion))),
            currency: receipts().next().map(|cost| cost.currency.clone()),
        }
    }
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// None of nothing.
fn over(amount: f64, of: f64) -> Option<f64> {
    (of > 0.0).then(|| amount / of)
}

#[expect(clippy::cast_precision_loss, reason = "tokens of a load test are far below 2^52")]
fn float(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::bench::pools::drive::Asked;

    #[test]
    fn what_failed_is_counted_with_its_reason_and_has_no_times() {
        let asked = |index: usize, why: &str| Asked {
            index,
            sent: Duration::from_secs(index as u64),
            late: Duration::ZERO,
            ended: Duration::from_secs(index as u64 + 1),
            result: Err(why.to_owned()),
        };
        let driven = Driven { asked: vec![asked(0, "full"), asked(1, "gone"), asked(2, "full")], unsent: 4 };
        let asking = Asking {
            server: "http://x".into(),
            model: "m".into(),
            streams: None,
            per_second: Some(2.0),
            prompt_tokens: 3,
            completion_tokens: 5,
            seed: 1,
        };
        let report = Report::of(asking, &driven);
        assert_eq!((report.failed(), report.requests.unsent, report.requests.completed), (3, 4, 0));
        assert_eq!(report.requests.failures, [("full".to_owned(), 2), ("gone".to_owned(), 1)].into());
        assert!(report.token_ms.is_none() && report.energy.joules_per_completion_token.is_none());
        let text = report.text();
        for word in ["2.00 requests a second", "0 answered (0 cold), 3 failed, 4 not sent, in 3.00 s", "2 times: full"]
        {
            assert!(text.contains(word), "{word}: {text}");
        }
    }
}
