//! The ledger's processor time and memory against what was seen from outside.
//!
//! What a killed server had not written down yet is lost: at most what the requests that it had not answered used, and what
//! the accounts carried since they were last stored. How much that can be follows from the samples, and is told; a check
//! lets the ledger be short by that much beside its own bound, and never be over.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use benches::observer::{Sample, integral};
use ledger::Reader;
use meter::Account;
use serde_json::json;

use super::Happened;
use super::checks::Check;

/// How often the accounts are stored, and what storing them takes.
const STORED_WITHIN: Duration = Duration::from_millis(10_500);
/// How long before the end of a killed server is noticed its connections may have ended.
const ENDED_WITHIN: Duration = Duration::from_millis(100);
/// How far the ledger may be from what is seen, and the part of the processor time that may be the runtime's.
const CPU_WITHIN: f64 = 0.03;
const RUNTIME_MAX: f64 = 0.10;
const MEMORY_WITHIN: f64 = 0.05;

/// What the ledger says of one model: byte · seconds.
#[derive(Default)]
struct Held {
    by_requests: f64,
    by_accounts: f64,
}

/// All checks of processor time and memory.
pub(crate) fn all(happened: &Happened, samples: &[Sample], reader: &Reader) -> anyhow::Result<Vec<Check>> {
    let mut checks = processor(happened, samples, reader)?;
    checks.extend(memory(happened, samples, reader)?);
    Ok(checks)
}

/// Since when requests were unanswered at the end of each server that was killed, and that end.
fn unanswered(happened: &Happened) -> Vec<(Instant, Instant)> {
    let crashed = happened.runs.iter().filter(|run| run.is_crashed);
    let since = |died: Instant, began: Instant| {
        let open = happened.asks.iter().filter(|ask| ask.began <= died && ask.ended + ENDED_WITHIN >= died);
        open.map(|ask| ask.began.max(began)).min().unwrap_or(died)
    };
    crashed.map(|run| (since(run.died, run.began), run.died)).collect()
}

fn processor(happened: &Happened, samples: &[Sample], reader: &Reader) -> anyhow::Result<Vec<Check>> {
    let sum = |figure: fn(&super::Run) -> f64| happened.runs.iter().map(figure).sum::<f64>();
    let outside = sum(|run| run.cpu.as_secs_f64());
    let at_scrapes = sum(|run| run.last.outside_cpu.as_secs_f64());
    let (told, devices) = (sum(|run| run.last.process_cpu), sum(|run| run.last.devices_cpu));
    let on_no_receipt = sum(|run| run.last.accounts_cpu);
    let receipts: f64 = reader.tenant_totals()?.iter().map(|total| Duration::from(total.cpu_ns).as_secs_f64()).sum();
    let taken_since = |(from, to): &(Instant, Instant)| {
        let within = samples.iter().filter(|sample| sample.at >= *from && sample.at <= *to);
        let taken: Vec<Duration> = within.map(|sample| sample.cpu).collect();
        taken.last().zip(taken.first()).map_or(0.0, |(last, first)| last.saturating_sub(*first).as_secs_f64())
    };
    let lost_max: f64 = unanswered(happened).iter().map(taken_since).sum();
    let runtime_share = (told - devices) / told.max(f64::MIN_POSITIVE);
    let short = (outside - receipts - on_no_receipt) / outside;
    let loads = on_no_receipt - (told - devices);
    let figures = json!({ "process": outside, "receipts": receipts, "runtime": told - devices, "loads_on_accounts": loads,
                          "lost_at_crashes_max": lost_max, "short": short });
    let is_met = short >= -CPU_WITHIN && short <= CPU_WITHIN + lost_max / outside;
    let clock = (told - at_scrapes).abs() / at_scrapes.max(f64::MIN_POSITIVE);
    Ok(vec![
        Check::new("CPU: receipts + accounts within 3 % of the process's", is_met, figures),
        Check::new(
            "CPU: what the server tells of its own",
            clock <= CPU_WITHIN,
            json!({ "told": told, "outside": at_scrapes, "off": clock }),
        ),
        Check::new(
            "CPU: runtime at most 10 %",
            runtime_share <= RUNTIME_MAX,
            json!({ "share": runtime_share, "steps_and_loads": devices }),
        ),
    ])
}

fn memory(happened: &Happened, samples: &[Sample], reader: &Reader) -> anyhow::Result<Vec<Check>> {
    let mut held: BTreeMap<String, Held> = BTreeMap::new();
    for total in reader.tenant_totals()? {
        let by_requests = total.weights_kib_ms.saturating_add(total.load_kib_ms).byte_seconds();
        held.entry(total.model).or_default().by_requests += by_requests;
    }
    for total in reader.account_totals()?.into_iter().filter(|total| total.account != Account::Unmeasured) {
        held.entry(total.model).or_default().by_accounts += total.kib_ms.byte_seconds();
    }
    let (Some(first), Some(last)) = (samples.first(), samples.last()) else { anyhow::bail!("nothing was seen") };
    let lost: Vec<(Instant, Instant)> =
        unanswered(happened).into_iter().map(|(since, died)| (since.min(died - STORED_WITHIN), died)).collect();
    let models: BTreeSet<&String> =
        held.keys().chain(samples.iter().flat_map(|sample| sample.resident.keys())).collect();
    let mut sum = Compared::default();
    let mut checks = Vec::new();
    for model in models {
        let of = |sample: &Sample| sample.resident.get(model).copied().unwrap_or_default();
        let resident = |sample: &Sample| of(sample).cached_bytes as f64;
        let touched = integral(samples, (first.at, last.at), |sample| of(sample).touched_bytes as f64);
        let seen = integral(samples, (first.at, last.at), resident);
        let lost_max: f64 = lost.iter().map(|span| integral(samples, *span, resident)).sum();
        let kept = integral(samples, (first.at, last.at), |sample| kept_of(sample, (model, &happened.generators)));
        let Held { by_requests, by_accounts } = held.get(model).unwrap_or(&Held { by_requests: 0.0, by_accounts: 0.0 });
        let compared = Compared { told: by_requests + by_accounts - kept, seen, touched, lost_max, kept };
        checks.push(compared.check(&format!("memory of {model}")));
        sum.add(&compared);
    }
    checks.push(sum.check("memory of all models"));
    Ok(checks)
}

/// Pages that nobody uses are of the generating models in memory: of each as much as of the other, for all that is told.
fn kept_of(sample: &Sample, (model, generators): (&String, &[String; 2])) -> f64 {
    let resident: Vec<&String> = generators.iter().filter(|name| sample.resident.contains_key(*name)).collect();
    if resident.contains(&model) { sample.kept_bytes as f64 / resident.len() as f64 } else { 0.0 }
}

/// Byte · seconds of weights.
#[derive(Default)]
struct Compared {
    /// By the ledger, without the pages that are kept beside them.
    told: f64,
    /// In the page cache and mapped, by the samples.
    seen: f64,
    /// Of these, touched.
    touched: f64,
    /// What was seen of the time that servers which were killed had not written down.
    lost_max: f64,
    /// Of pages that are kept and that nobody uses.
    kept: f64,
}

impl Compared {
    fn add(&mut self, other: &Self) {
        self.told += other.told;
        self.seen += other.seen;
        self.touched += other.touched;
        self.lost_max += other.lost_max;
        self.kept += other.kept;
    }

    fn check(&self, name: &str) -> Check {
        let seen = self.seen.max(f64::MIN_POSITIVE);
        let short = (self.seen - self.told) / seen;
        let is_met = short >= -MEMORY_WITHIN && short <= MEMORY_WITHIN + self.lost_max / seen;
        let gb_s = |bytes: f64| (bytes / 1e6).round() / 1e3;
        let figures = json!({ "ledger_gb_s": gb_s(self.told), "seen_gb_s": gb_s(self.seen), "touched_gb_s": gb_s(self.touched),
                              "lost_at_crashes_max_gb_s": gb_s(self.lost_max), "pages_kept_gb_s": gb_s(self.kept),
                              "short": short, "short_of_touched": 1.0 - self.told / self.touched.max(f64::MIN_POSITIVE) });
        Check::new(name, is_met, figures)
    }
}
