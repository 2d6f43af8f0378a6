//! `dayfly replay`

use std::collections::BTreeSet;
use std::fs::File;
use std::io::BufReader;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use meter::replay::{Policy, Replayed, Trace, replay};
use meter::savings::SavingsReport;
use scheduler::KeepAlive;
use serde_json::json;

use super::failure::Failure;
use super::flags::Context;
use super::ledger::opened;
use super::output::{self, Column, Format, figure, seconds_text, table};
use super::receipt::money;
use crate::config::{ByteSize, Layer, Stay, bytes_text};
use crate::metering::DevicePrices;
use crate::reports::{self, Baseline, read_trace, trace_of};

/// Say what a recorded trace would have held and cost under other policies, without running it
///
/// The trace is what `dayfly export --format json` wrote, or the ledger itself with `-`. Models come and go as each policy
/// says, at the recorded requests' times; loads take what they took on average. All of it is modelled, and priced by the
/// present rate card.
#[derive(Args, Debug)]
pub(super) struct Replay {
    /// The trace, or - for the configured ledger
    #[arg(value_name = "TRACE")]
    trace: PathBuf,
    /// keep_alive=5m|0|-1, budget=2GiB and pin=MODEL, separated by commas; repeat it for several policies to compare
    #[arg(long = "policy", value_name = "POLICY", required = true)]
    policies: Vec<NamedPolicy>,
    /// Compare with one copy for all (shared) or a copy for each tenant (dedicated)
    #[arg(long, value_name = "NAME", default_value = "shared", value_parser = ["shared", "dedicated"])]
    baseline: String,
    /// The ledger's file, instead of the configured one
    #[arg(long, value_name = "FILE")]
    ledger: Option<PathBuf>,
}

/// A policy as it was written.
#[derive(Clone, Debug)]
struct NamedPolicy {
    name: String,
    policy: Policy,
}

impl FromStr for NamedPolicy {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut policy = Policy::default();
        let mut said = BTreeSet::new();
        for part in text.split(',') {
            let (name, value) = part.split_once('=').ok_or_else(|| format!("{part:?} is no NAME=VALUE"))?;
            if name != "pin" && !said.insert(name) {
                return Err(format!("{name} is said twice"));
            }
            match name {
                "keep_alive" => {
                    let Stay(stay) = value.parse().map_err(|error| format!("{error}"))?;
                    policy.keep_alive = match stay {
                        KeepAlive::For(time) => Some(time),
                        KeepAlive::DropAfterUse => Some(Duration::ZERO),
                        KeepAlive::Forever => None,
                        KeepAlive::Auto => return Err("a keep-alive that adapts itself cannot be replayed".to_owned()),
                    };
                }
                "budget" => {
                    let ByteSize(bytes) = value.parse().map_err(|error| format!("{error}"))?;
                    policy.budget_bytes = Some(bytes);
                }
                "pin" => drop(policy.pinned.insert(value.to_owned())),
                _ => return Err(format!("{name:?} is none of keep_alive, budget, pin")),
            }
        }
        Ok(Self { name: text.to_owned(), policy })
    }
}

/// Models of a trace that are told where a policy names another.
const MODELS_TOLD_MAX: usize = 8;

impl Replay {
    pub(super) fn run(&self, context: &Context) -> Result<(), Failure> {
        let config = context.config(Layer { ledger: self.ledger.clone(), ..Layer::default() })?;
        let trace = if self.trace.as_os_str() == "-" {
            trace_of(&opened(&config.ledger)?).context("the ledger cannot be replayed")?
        } else {
            let file = File::open(&self.trace).with_context(|| format!("{} cannot be read", self.trace.display()))?;
            read_trace(BufReader::new(file)).with_context(|| self.trace.display().to_string())?
        };
        for NamedPolicy { name, policy } in &self.policies {
            if let Some(unknown) = policy.pinned.iter().find(|model| !trace.models().contains_key(*model)) {
                let known: Vec<&str> = trace.models().keys().map(|model| &**model).take(MODELS_TOLD_MAX).collect();
                let known = known.join(", ");
                let why =
                    anyhow::anyhow!("{name}: no request of the trace is of the model {unknown:?}, but of {known}");
                return Err(Failure::Usage(why));
            }
        }
        let prices = reports::prices_of(&config);
        let played: Vec<Played<'_>> = self.policies.iter().map(|policy| Played::of(policy, &trace, &prices)).collect();
        match context.format() {
            Format::Json => self.print_json(&trace, &played),
            Format::Text => output::print(self.text(&trace, &played, &config.rates.currency)),
        }
    }

    fn baseline(&self) -> Baseline {
        if self.baseline == "dedicated" { Baseline::Dedicated } else { Baseline::Shared }
    }

    fn print_json(&self, trace: &Trace, played: &[Played<'_>]) -> Result<(), Failure> {
        let policies = played.iter().map(|one| {
            let savings = serde_json::to_value(&one.report).context("the report is no JSON")?;
            let Replayed { loads, evictions, refused, peak_bytes, .. } = one.replayed;
            Ok(json!({
                "policy": one.name,
                "quality": "modelled",
                "loads": loads,
                "evictions": evictions,
                "refused": refused,
                "peak_bytes": peak_bytes,
                "savings": reports::against(savings, Some(self.baseline())),
            }))
        });
        let policies = policies.collect::<anyhow::Result<Vec<_>>>()?;
        output::print_json(&json!({
            "requests": trace.requests().len(),
            "models": trace.models(),
            "policies": policies,
        }))
    }

    fn text(&self, trace: &Trace, played: &[Played<'_>], currency: &str) -> String {
        let columns = [
            Column::Left("POLICY"),
            Column::Right("LOADS"),
            Column::Right("COLD"),
            Column::Right("WAIT P50"),
            Column::Right("P95"),
            Column::Right("PEAK"),
            Column::Right("MEMORY"),
            Column::Right("COST"),
            Column::Right("SAVED MEMORY"),
            Column::Right("SAVED COST"),
        ];
        let rows = played.iter().map(|one| one.cells(self.baseline(), currency));
        let baseline = match self.baseline() {
            Baseline::Shared => "one shared copy of each model",
            Baseline::Dedicated => "a copy of each model for each tenant",
        };
        let (begins, ends) = trace.span();
        #[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
        let span = seconds_text((ends.get() - begins.get()) as f64 / 1e3);
        let mut text = format!("{} requests over {span}, against {baseline}\n", trace.requests().len());
        text.push_str(&table(&columns, rows));
        let refused: u64 = played.iter().map(|one| one.replayed.refused).sum();
        if refused > 0 {
            text.push_str("\nRequests find no room under some policy: their model is larger than the budget or what is pinned leaves of it.");
        }
        text.push_str(
            "\nModelled, from recorded arrivals, durations and loads; weights and loads alone, not keys and values.",
        );
        text
    }
}

/// A policy with what it came to.
struct Played<'a> {
    name: &'a str,
    replayed: Replayed,
    report: SavingsReport,
}

impl<'a> Played<'a> {
    fn of(policy: &'a NamedPolicy, trace: &Trace, prices: &DevicePrices) -> Self {
        let replayed = replay(trace, &policy.policy);
        let report = reports::savings_of(&replayed.inputs, prices);
        Self { name: &policy.name, replayed, report }
    }

    fn cells(&self, baseline: Baseline, currency: &str) -> Vec<String> {
        let total = &self.report.total;
        let comparison = match baseline {
            Baseline::Shared => &total.shared_persistent,
            Baseline::Dedicated => &total.dedicated,
        };
        let waits = &self.replayed.inputs.waits;
        let cost = |amount: Option<f64>| amount.map_or("unknown".into(), |amount| money(amount, currency));
        let refused = self.replayed.refused;
        vec![
            if refused > 0 { format!("{} ({refused} refused)", self.name) } else { self.name.to_owned() },
            self.replayed.loads.to_string(),
            waits.requests.to_string(),
            seconds_text(waits.p50_ns.seconds()),
            seconds_text(waits.p95_ns.seconds()),
            bytes_text(self.replayed.peak_bytes).to_string(),
            format!("{} GB·s", figure(total.ephemeral.kib_ms.gb_seconds())),
            cost(total.ephemeral.cost),
            comparison.saved.memory_share.map_or("-".into(), |share| format!("{:.1} %", share * 100.0)),
            cost(comparison.saved.cost),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_is_read_as_it_is_written() {
        let NamedPolicy { policy, .. } = "keep_alive=5m,budget=1GiB,pin=a,pin=b".parse().unwrap();
        assert_eq!(policy.keep_alive, Some(Duration::from_secs(300)));
        assert_eq!((policy.budget_bytes, policy.pinned.len()), (Some(1 << 30), 2));
        assert_eq!("keep_alive=-1".parse::<NamedPolicy>().unwrap().policy, Policy::default());
        for wrong in ["", "ttl=5m", "keep_alive", "keep_alive=auto", "keep_alive=x", "budget=x", "budget=1,budget=2"] {
            assert!(wrong.parse::<NamedPolicy>().is_err(), "{wrong}");
        }
    }
}
