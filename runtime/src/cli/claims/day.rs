//! A compressed day, in which a model is used for a twelfth of the time; and claim 1, which it tests.
//!
//! Requests come one after another while the model is used, and not at all otherwise; its keep-alive is compressed like the
//! day. The ledger's comparison is the measurement; the same requests stretched to a real day, with loads as they were,
//! are modelled beside it for longer keep-alives. Deliberately absent: days that are used here and there.

use std::time::Duration;

use anyhow::Context as _;
use ledger::{SavingsQuery, Since};
use meter::energy::Quality;
use meter::rate::BilledUse;
use meter::replay::{Policy, Trace, TraceRequest, replay};
use meter::savings::SavingsReport;
use meter::{Moment, Nanos, PicoUnits, Receipt, SavingsInputs};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::bed::{Bed, Manner, float};
use super::judged::{Found, Verdict, less, percent, saved_text};
use crate::cli::failure::Failure;
use crate::cli::output::{figure, seconds_text};
use crate::metering::DevicePrices;
use crate::reports::{self, trace_of};

/// What a day is, and how much of it the model is used.
const REAL_DAY: Duration = Duration::from_secs(24 * 3600);
const USED_SHARE: f64 = 2.0 / 24.0;
/// How long a model stays, on a real day.
const KEEP_ALIVE: Duration = Duration::from_secs(300);
/// Of the day, before the model is used.
const BEFORE_SHARE: f64 = 0.4;
/// Keep-alives that are modelled; none is for ever.
const MODELLED: [(&str, Option<u64>); 5] =
    [("1m", Some(60)), ("5m", Some(300)), ("30m", Some(1800)), ("2h", Some(7200)), ("always on", None)];
/// Tokens of requests.
const TOKENS: (u32, u32) = (48, 16);

/// What was measured.
pub(super) struct Day {
    pub(super) wall: Duration,
    pub(super) keep_alive: Duration,
    /// For how long requests were under way: the last one may run over.
    used: Duration,
    pub(super) receipts: Vec<Receipt>,
    /// With what the process holds.
    pub(super) savings: SavingsReport,
    pub(super) without_process: SavingsReport,
    pub(super) prices: DevicePrices,
    trace: Trace,
}

impl Day {
    /// Lives through it.
    ///
    /// # Errors
    /// When the server does not do what it should.
    pub(super) async fn live(bed: &Bed) -> Result<Self, Failure> {
        let wall = Duration::from_secs(bed.size.pick(60, 12));
        let keep_alive = KEEP_ALIVE.mul_f64(wall.as_secs_f64() / REAL_DAY.as_secs_f64());
        let stay = format!("{}ms", keep_alive.as_millis().max(1));
        let server = bed.start("day", Manner::staying(&stay)).await?;
        let began = Instant::now();
        let process_bytes = server.settled_kib().await?.saturating_mul(1024);
        tokio::time::sleep_until(began + wall.mul_f64(BEFORE_SHARE)).await;
        let first = Instant::now();
        let until = first + wall.mul_f64(USED_SHARE);
        let mut receipts = Vec::new();
        while Instant::now() < until {
            receipts.push(server.ask(&bed.body(receipts.len(), TOKENS)).await?.receipt);
        }
        let used = first.elapsed();
        tokio::time::sleep_until(began + wall).await;
        let reader = server.stop().await?;
        let prices = reports::prices_of(&bed.config);
        let read = tokio::task::block_in_place(|| {
            let query = SavingsQuery { since: Since::Beginning, until: None };
            anyhow::Ok((reader.savings_inputs(query)?, trace_of(&reader)?))
        });
        let (inputs, trace) = read.context("the day's ledger cannot be read")?;
        let without_process = reports::savings_of(&inputs, &prices);
        let savings = reports::savings_of(&SavingsInputs { process_bytes, ..inputs }, &prices);
        Ok(Self { wall, keep_alive, used, receipts, savings, without_process, prices, trace })
    }

    /// Processor time of prefill and decode.
    pub(super) fn computed(&self) -> Nanos {
        self.receipts.iter().map(|one| one.cpu.prefill_ns.saturating_add(one.cpu.decode_ns)).sum()
    }

    /// What that costs; it is the same in every arm.
    fn computing_cost(&self, cpu: Nanos) -> f64 {
        let billed = BilledUse { active_cpu: cpu, ..BilledUse::default() };
        self.prices.rates.cost_of(&billed).total.map_or(0.0, PicoUnits::units)
    }

    /// How much less the whole bill is than that of a server that never unloads, computing included.
    fn bill_share(&self, report: &SavingsReport, computing: f64) -> f64 {
        let total = &report.total;
        let cost = |cost: Option<f64>| cost.unwrap_or(0.0) + computing;
        less(cost(total.ephemeral.cost), cost(total.shared_persistent.baseline.cost))
    }

    /// A real day of these requests: each takes half of its time at the day's beginning and half at its end, and as much
    /// longer as the day is.
    fn stretched(&self) -> Trace {
        let stretch = self.stretch();
        let halves = self.trace.requests().iter().map(|one| {
            let half = Duration::from_millis(one.busy_ms.max(1)).mul_f64(stretch / 2.0);
            (one, u64::try_from(half.as_millis()).unwrap_or(u64::MAX))
        });
        let halves: Vec<(&TraceRequest, u64)> = halves.collect();
        let used = halves.iter().map(|(_, busy_ms)| Duration::from_millis(*busy_ms)).sum::<Duration>();
        let block = |begins: Duration| {
            let mut at = begins;
            halves.iter().map(move |&(one, busy_ms)| {
                let arrived = Moment::after_start(at);
                at += Duration::from_millis(busy_ms);
                TraceRequest { arrived, busy_ms, ..one.clone() }
            })
        };
        Trace::new(block(Duration::ZERO).chain(block(REAL_DAY.saturating_sub(used))).collect())
    }

    /// How many times longer a real day is.
    fn stretch(&self) -> f64 {
        REAL_DAY.as_secs_f64() / self.wall.as_secs_f64()
    }

    /// How much less is paid where the processors are rented for as long as anything is loaded, and given back then.
    fn rented_share(&self, threads: usize) -> f64 {
        let of = |arm: &meter::savings::Arm, held_share: f64| {
            let cpu =
                Duration::from_millis(self.savings.window_ms).mul_f64(held_share) * u32::try_from(threads).unwrap_or(1);
            self.computing_cost(cpu.into()) + arm.cost.unwrap_or(0.0)
        };
        let (weights, total) = (&self.without_process.total, &self.savings.total);
        let held = 1.0 - weights.shared_persistent.saved.memory_share.unwrap_or(0.0);
        less(of(&total.ephemeral, held.max(0.0)), of(&total.shared_persistent.baseline, 1.0))
    }

    /// What a real day comes to by keep-alive, modelled: (name, memory share, share of the whole bill).
    fn modelled(&self) -> Vec<(&'static str, f64, f64)> {
        let trace = self.stretched();
        let computing = self.computing_cost(self.computed()) * self.stretch();
        let of = |(name, seconds): &(&'static str, Option<u64>)| {
            let policy = Policy { keep_alive: seconds.map(Duration::from_secs), ..Policy::default() };
            let replayed = replay(&trace, &policy);
            let inputs = SavingsInputs { process_bytes: self.savings.process_bytes, ..replayed.inputs };
            let report = reports::savings_of(&inputs, &self.prices);
            let weights = replay(&trace, &policy).inputs;
            let weights = reports::savings_of(&weights, &self.prices).total.shared_persistent.saved.memory_share;
            (*name, weights.unwrap_or(0.0), self.bill_share(&report, computing))
        };
        MODELLED.iter().map(of).collect()
    }
}

/// Claim 1.
pub(super) fn judged(day: &Day, threads: usize) -> Found {
    // Of a day that was used for longer no more can be claimed.
    let used = day.used.as_secs_f64() / day.wall.as_secs_f64();
    let claimed = 1.0 - used.max(USED_SHARE);
    let share = |report: &SavingsReport| report.total.shared_persistent.saved.memory_share.unwrap_or(0.0);
    let (memory, with_process) = (share(&day.without_process), share(&day.savings));
    let computing = day.computing_cost(day.computed());
    let held_cost = |cost: Option<f64>| cost.unwrap_or(0.0);
    let total = &day.savings.total;
    let cost = less(held_cost(total.ephemeral.cost), held_cost(total.shared_persistent.baseline.cost));
    let bill = day.bill_share(&day.savings, computing);
    let verdict = match (Verdict::of_share(bill, claimed), Verdict::of_share(memory, claimed)) {
        (Verdict::DoesNotHold, Verdict::Holds) => Verdict::InPart,
        (of_bill, _) => of_bill,
    };
    let held = &day.without_process.total.held;
    let of_day = |kib_ms: meter::KibMillis| {
        percent(float(kib_ms.get()) / float(day.without_process.total.shared_persistent.baseline.kib_ms.get().max(1)))
    };
    let modelled = day.modelled();
    let lines: Vec<String> = modelled
        .iter()
        .map(|(name, memory, bill)| format!("{name} {} ({})", percent(*memory), percent(*bill)))
        .collect();
    let rented = day.rented_share(threads);
    let base_cost = held_cost(total.shared_persistent.baseline.cost) + computing;
    Found {
        measured: format!("weights {}, whole bill {}", saved_text(memory), saved_text(bill)),
        quality: Quality::Measured,
        verdict,
        why: format!(
            "{} is the share of the day without use ({} was to be use, {} was), and no cost follows it alone. Of the day's memory requests held {}, the \
             keep-alive of {} {}, loads {}: weights cost {} less. The process of {:.0} MB stays in both: {} less of memory, \
             {} of what is held and loaded. Computing, the same in both, is {} of the always-on bill: the whole is {} less, \
             and {} where {threads} processors are rented for as long as anything is loaded (derived). A real day of this, modelled, by keep-alive, weights (whole bill): {}.",
            percent(claimed),
            percent(USED_SHARE),
            percent(used),
            of_day(held.active_kib_ms),
            seconds_text(day.keep_alive.as_secs_f64()),
            of_day(held.keepalive_kib_ms),
            of_day(held.load_kib_ms),
            percent(memory),
            float(day.savings.process_bytes) / 1e6,
            percent(with_process),
            percent(cost),
            percent(if base_cost > 0.0 { computing / base_cost } else { 0.0 }),
            percent(bill),
            percent(rented),
            lines.join(", "),
        ),
        inputs: inputs(day, &modelled, (computing, rented)),
        how: format!(
            "a day of {} (window {} s by the ledger), requests one after another for {} of it; the ledger's comparison with one \
             copy that is never unloaded, at the rate card {}; process measured from outside",
            seconds_text(day.wall.as_secs_f64()),
            figure(float(day.savings.window_ms) / 1e3),
            percent(USED_SHARE),
            day.prices.rates.name,
        ),
    }
}

fn inputs(day: &Day, modelled: &[(&str, f64, f64)], (computing, rented): (f64, f64)) -> Value {
    let modelled = modelled.iter().map(|(name, memory, bill)| {
        json!({ "keep_alive": name, "memory_share": memory, "bill_share": bill, "quality": "modelled" })
    });
    json!({
        "day_seconds": day.wall.as_secs_f64(),
        "window_ms": day.savings.window_ms,
        "used_share_meant": USED_SHARE,
        "used_share": day.used.as_secs_f64() / day.wall.as_secs_f64(),
        "keep_alive_ms": day.keep_alive.as_secs_f64() * 1e3,
        "requests": day.receipts.len(),
        "cold_requests": day.savings.cold_starts.requests,
        "weights_bytes": day.receipts.last().map(|receipt| receipt.memory.weights_bytes),
        "process_bytes": day.savings.process_bytes,
        "computed_cpu_seconds": day.computed().seconds(),
        "computing_cost": computing,
        "rented_processors_share": rented,
        "held": day.savings.total.held,
        "weights": day.without_process.total.shared_persistent.saved,
        "with_process": day.savings.total.shared_persistent.saved,
        "real_day": modelled.collect::<Vec<Value>>(),
    })
}
