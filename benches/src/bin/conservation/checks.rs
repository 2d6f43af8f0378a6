//! Rows of the ledger against what clients saw.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use ledger::{Reader, SettledRequest, UsageState};
use meter::{Account, KibMillis, Outcome as Ended};
use serde_json::{Value, json};

use super::asks::{Answered, Ask, Outcome, Usage};
use super::{Happened, Run};

/// Whether something is as it must be, and by which figures.
pub(crate) struct Check {
    pub(crate) name: String,
    pub(crate) is_met: bool,
    pub(crate) figures: Value,
}

impl Check {
    pub(crate) fn new(name: &str, is_met: bool, figures: Value) -> Self {
        Self { name: name.to_owned(), is_met, figures }
    }
}

/// How long after a crash a connection may be noticed to be broken.
const NOTICED_WITHIN: Duration = Duration::from_secs(2);
/// Examples of what is wrong.
const TOLD_MAX: usize = 3;

impl Outcome {
    /// Where it counts in a table of four.
    pub(crate) fn column(&self) -> usize {
        match self {
            Self::Completed(_) => 0,
            Self::Left { .. } => 1,
            Self::Refused(..) => 2,
            Self::Broken { .. } => 3,
        }
    }
}

/// All settled requests, by id.
struct Rows {
    by_id: BTreeMap<String, SettledRequest>,
    twice: Vec<String>,
}

impl Rows {
    fn read(reader: &Reader) -> anyhow::Result<Self> {
        let (mut rows, mut last) = (Self { by_id: BTreeMap::new(), twice: Vec::new() }, 0);
        let snapshot = reader.snapshot()?;
        loop {
            let settled = snapshot.settled_after(last)?;
            let Some(end) = settled.last() else { return Ok(rows) };
            last = end.number;
            for row in settled {
                if let Some(before) = rows.by_id.insert(row.usage.id.clone(), row) {
                    rows.twice.push(before.usage.id);
                }
            }
        }
    }

    fn ended(&self, ended: Ended) -> usize {
        self.by_id.values().filter(|row| row.usage.outcome == Some(ended)).count()
    }
}

/// All checks of rows.
pub(crate) fn all(happened: &Happened, reader: &Reader) -> anyhow::Result<Vec<Check>> {
    let rows = Rows::read(reader)?;
    let mut matched = BTreeSet::new();
    Ok(vec![
        imbalance(happened),
        energy(reader)?,
        completed(happened, &rows, &mut matched),
        others(happened, (&rows, reader), &mut matched)?,
        crashes(happened, &rows),
        nothing_else(&rows, &matched),
        sound(reader)?,
        unmeasured(reader)?,
    ])
}

fn few(wrong: &[String]) -> Vec<&String> {
    wrong.iter().take(TOLD_MAX).collect()
}

fn imbalance(happened: &Happened) -> Check {
    let most = happened.imbalances.iter().copied().fold(0.0, f64::max);
    let scrapes = happened.imbalances.len();
    Check::new("no imbalance at any scrape", scrapes > 0 && most == 0.0, json!({ "scrapes": scrapes, "most": most }))
}

fn energy(reader: &Reader) -> anyhow::Result<Check> {
    let totals = reader.energy_totals()?;
    let sums = totals.iter().all(|total| total.energy_nj == total.accounts.total());
    let joules: BTreeMap<&str, f64> = totals.iter().map(|total| (&*total.source, total.energy_nj.joules())).collect();
    Ok(Check::new("energy's accounts sum to it", !totals.is_empty() && sums, json!({ "joules": joules })))
}

fn tokens_of(row: &SettledRequest) -> Option<Usage> {
    let receipt = row.usage.receipt.as_ref()?;
    Some(Usage {
        prompt: receipt.tokens.prompt,
        cached: receipt.tokens.cached,
        completion: receipt.tokens.completion,
        pico_units: receipt.cost.pico_units?.get(),
    })
}

/// Each of them has one row that says the same, and the sums are the same.
fn completed(happened: &Happened, rows: &Rows, matched: &mut BTreeSet<String>) -> Check {
    let (mut wrong, mut seen_sum, mut row_sum, mut count) = (Vec::new(), Sum::default(), Sum::default(), 0);
    for ask in &happened.asks {
        let Outcome::Completed(Answered { id, usage, receipt }) = &ask.outcome else { continue };
        count += 1;
        seen_sum.add(usage);
        if !matched.insert(id.clone()) {
            wrong.push(format!("{id} was answered twice"));
        }
        let Some(row) = rows.by_id.get(id) else {
            wrong.push(format!("{id} ({}) has no row", ask.kind));
            continue;
        };
        let tokens = tokens_of(row).unwrap_or_default();
        row_sum.add(&tokens);
        let whole = serde_json::to_value(row.usage.receipt.as_ref()).unwrap_or_default();
        let is_same = whole == *receipt && tokens == *usage;
        if !is_same || row.usage.outcome != Some(Ended::Completed) || row.usage.tenant != ask.tenant {
            wrong.push(format!("{id} ({}): {:?} {tokens:?} for {usage:?}", ask.kind, row.usage.outcome));
        }
    }
    let is_met = wrong.is_empty() && rows.twice.is_empty() && seen_sum == row_sum && count > 0;
    let figures = json!({ "completed": count, "clients_saw": seen_sum.json(), "receipts": row_sum.json(),
                          "wrong": wrong.len(), "twice": rows.twice.len(), "examples": few(&wrong) });
    Check::new("completed: receipts = what clients saw", is_met, figures)
}

#[derive(Default, PartialEq, Eq)]
struct Sum([u128; 4]);

impl Sum {
    fn add(&mut self, usage: &Usage) {
        let parts = [usage.prompt, usage.cached, usage.completion, usage.pico_units];
        self.0.iter_mut().zip(parts).for_each(|(sum, part)| *sum += u128::from(part));
    }

    fn json(&self) -> Value {
        let [prompt, cached, completion, pico_units] = self.0.map(|sum| u64::try_from(sum).unwrap_or(u64::MAX));
        json!({ "prompt": prompt, "cached": cached, "completion": completion, "pico_units": pico_units })
    }
}

/// Whether a connection broke because its server was killed.
fn is_of_a_crash(ask: &Ask, runs: &[Run]) -> bool {
    let is_near = |at: Instant| ask.began <= at + NOTICED_WITHIN && at <= ask.ended + NOTICED_WITHIN;
    runs.iter().any(|run| run.is_crashed && is_near(run.died))
}

/// Who left, was refused or cut off: whatever was reserved is settled, once.
fn others(
    happened: &Happened,
    (rows, reader): (&Rows, &Reader),
    matched: &mut BTreeSet<String>,
) -> anyhow::Result<Check> {
    let (mut wrong, mut counts) = (Vec::new(), BTreeMap::<String, usize>::new());
    for ask in &happened.asks {
        let (what, id) = match &ask.outcome {
            Outcome::Completed(_) if ask.kind == "repeat of a key" => {
                wrong.push(format!("{} was answered and charged again", ask.key));
                continue;
            }
            Outcome::Completed(_) => continue,
            Outcome::Refused(409, _) if ask.kind == "repeat of a key" => ("repeat".to_owned(), None),
            Outcome::Refused(status, code) => (format!("refused {status} {code}"), None),
            Outcome::Left { id } => ("left".to_owned(), id.clone()),
            Outcome::Broken { id } => ("broken".to_owned(), id.clone()),
        };
        if matches!(ask.outcome, Outcome::Broken { .. }) && !is_of_a_crash(ask, &happened.runs) {
            wrong.push(format!("{} ({}) broke off without a crash", ask.key, ask.kind));
        }
        let found = match &id {
            Some(id) => reader.usage(id)?,
            None => reader.usage_by_key(&ask.tenant, &ask.key)?,
        };
        let Some(found) = found else {
            // What was shown to a client was written down before.
            if let Some(id) = id {
                wrong.push(format!("{id} ({}) has no row", ask.kind));
            }
            *counts.entry(format!("{what}: nothing reserved")).or_default() += 1;
            continue;
        };
        if found.state != UsageState::Settled || !rows.by_id.contains_key(&found.id) {
            wrong.push(format!("{} ({}) is not settled", found.id, ask.kind));
        }
        matched.insert(found.id);
        *counts.entry(format!("{what}: {}", found.outcome.map_or("open", Ended::name))).or_default() += 1;
    }
    let outcomes: BTreeMap<&str, usize> = [Ended::Completed, Ended::Cancelled, Ended::Failed, Ended::Crashed]
        .map(|ended| (ended.name(), rows.ended(ended)))
        .into();
    let totals = reader.tenant_totals()?;
    let counted: u64 = totals.iter().map(|total| total.requests).sum();
    if counted != rows.by_id.len() as u64 {
        wrong.push(format!("{counted} requests are counted of {} rows", rows.by_id.len()));
    }
    let figures = json!({ "clients": counts, "rows": outcomes, "requests_counted": counted, "wrong": wrong.len(),
                          "examples": few(&wrong) });
    Ok(Check::new("left, refused, cut off: settled once, and counted", wrong.is_empty(), figures))
}

/// Crashed rows are of servers that were killed, and none that a client saw complete is one.
fn crashes(happened: &Happened, rows: &Rows) -> Check {
    let crashed_runs: Vec<i64> =
        (1..).zip(&happened.runs).filter(|(_, run)| run.is_crashed).map(|(run, _)| run).collect();
    let crashed: Vec<&SettledRequest> =
        rows.by_id.values().filter(|row| row.usage.outcome == Some(Ended::Crashed)).collect();
    let elsewhere = crashed.iter().filter(|row| !crashed_runs.contains(&row.run)).count();
    let with_checkpoint = crashed.iter().filter(|row| row.usage.receipt.is_some()).count();
    let acknowledged = |run: &Run| {
        let is_before = |ask: &&Ask| ask.ended <= run.died && ask.began >= run.began;
        happened.asks.iter().filter(is_before).filter(|ask| matches!(ask.outcome, Outcome::Completed(_))).count()
    };
    let acknowledged: Vec<usize> = happened.runs.iter().map(acknowledged).collect();
    let figures = json!({ "crashes": crashed_runs.len(), "acknowledged_by_run": acknowledged, "orphans": crashed.len(),
                          "orphans_with_a_checkpoint": with_checkpoint, "orphans_elsewhere": elsewhere });
    Check::new("orphans are crashed", elsewhere == 0 && !crashed_runs.is_empty(), figures)
}

fn nothing_else(rows: &Rows, matched: &BTreeSet<String>) -> Check {
    let nobodys: Vec<String> = rows.by_id.keys().filter(|id| !matched.contains(*id)).cloned().collect();
    let figures = json!({ "rows": rows.by_id.len(), "nobodys": nobodys.len(), "examples": few(&nobodys) });
    Check::new("no row that nobody asked for", nobodys.is_empty(), figures)
}

fn sound(reader: &Reader) -> anyhow::Result<Check> {
    let found = reader.verify()?;
    let faults: Vec<String> = found.faults.iter().map(ToString::to_string).collect();
    let figures = json!({ "links": found.links, "open_requests": found.open_requests, "faults": few(&faults) });
    Ok(Check::new("the ledger is sound", found.is_sound() && found.open_requests == 0, figures))
}

fn unmeasured(reader: &Reader) -> anyhow::Result<Check> {
    let accounts = reader.account_totals()?;
    let unmeasured = accounts.iter().filter(|total| total.account == Account::Unmeasured).map(|total| total.kib_ms);
    let kib_ms = unmeasured.sum::<KibMillis>().get();
    let energy = reader.energy_totals()?;
    let nanojoules: u64 = energy.iter().map(|total| total.accounts.unmeasured.get()).sum();
    let unknown_ms: u64 = energy.iter().map(|total| total.unknown_ms).sum();
    let figures = json!({ "kib_ms": kib_ms, "nanojoules": nanojoules, "milliseconds_unknown": unknown_ms });
    Ok(Check::new("nothing is unmeasured", kib_ms == 0 && nanojoules == 0, figures))
}
