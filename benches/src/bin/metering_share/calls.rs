//! The calls of metering that run on threads of others, timed one after another on this one; and what a ledger's rows take
//! where many requests share a commit that waits for no disk.

use std::hint::black_box;
use std::sync::mpsc;
use std::time::Duration;

use ledger::{Completion, Ledger, LedgerError, LedgerOptions, Reservation, Settlement};
use meter::kv::{BlockId, PublishedBlock};
use meter::receipt::{AnsweredFrom, MeasuredCpu, MeasuredMemory, MeasuredTimes, MeasuredTokens, StepSharing};
use meter::residency::{ArtifactId, Load, Request};
use meter::step_costs::SplitTally;
use meter::{
    Account, CarbonFactors, CpuDescription, EnergyModel, HeldAs, KibMillis, KvIntegral, Measured, Moment, Nanos,
    Outcome, Quality, RateCard, Receipt, RequestCharge, Residency, SharedBlocks, StepCosts, StepWork,
};
use rustix::time::{ClockId, clock_gettime};

/// Processor time of the calls.
pub(crate) struct CallCosts {
    /// For each member of a step, of steps of whatever size it costs most.
    pub(crate) member: Duration,
    /// For each request.
    pub(crate) request: Duration,
    /// For each request's rows, beyond the commits that they are in.
    pub(crate) rows: Duration,
}

/// Of each, over this many.
const REPEATS: u32 = 20_000;
/// Positions of a page of keys and values.
const PAGE: usize = 32;
/// Pages of a request.
const PAGES: u64 = 8;

/// Requests that share a commit, and times that so many do.
const COMMITTED_AT_ONCE: u64 = 256;
const COMMITS: u64 = 40;

/// With as many sequences at a time as there are streams.
pub(crate) fn measure(streams: usize) -> Result<CallCosts, LedgerError> {
    let member = (1..=streams.max(1)).map(|members| step(members) / u32::try_from(members).unwrap_or(u32::MAX)).max();
    Ok(CallCosts { member: member.unwrap_or_default(), request: request(streams), rows: rows()? })
}

/// Reserved and settled in a ledger in memory.
fn rows() -> Result<Duration, LedgerError> {
    let ledger = Ledger::in_memory(LedgerOptions::default())?;
    let (energy, carbon, rates) =
        (EnergyModel::new(&CpuDescription::default(), 2, 8 << 30), CarbonFactors::default(), RateCard::default());
    let mut taken = Duration::ZERO;
    for commit in 0..COMMITS {
        let held = RequestCharge { active: KibMillis::new(1 << 20), load: KibMillis::ZERO };
        let ids = (0..COMMITTED_AT_ONCE).map(|number| format!("cmpl-{commit:012}{number:012}"));
        let receipts: Vec<Receipt> = ids
            .map(|id| Receipt::assemble(measured(id, held, KibMillis::new(1 << 16)), &energy, &carbon, &rates))
            .collect();
        let before = processor_time_of(ClockId::ProcessCPUTime);
        all(&receipts, |receipt, done| {
            let reservation = Reservation {
                id: receipt.id.clone(),
                tenant: receipt.tenant.clone(),
                model: receipt.model.clone(),
                at: Moment::new(commit),
                idempotency_key: None,
                key_id: receipt.key_id.clone(),
            };
            ledger.reserve(reservation, done);
        })?;
        all(&receipts, |receipt, done| {
            ledger.settle(Settlement { at: Moment::new(commit + 1), receipt: Box::new(receipt.clone()) }, done);
        })?;
        taken += processor_time_of(ClockId::ProcessCPUTime) - before;
    }
    Ok(taken / u32::try_from(COMMITS * COMMITTED_AT_ONCE).unwrap_or(u32::MAX))
}

/// Submits something of each, and waits until all of it is done.
fn all(receipts: &[Receipt], submit: impl Fn(&Receipt, Completion)) -> Result<(), LedgerError> {
    let (sender, results) = mpsc::channel();
    for receipt in receipts {
        let sender = sender.clone();
        // The receiver lives as long as this.
        submit(receipt, Box::new(move |result| drop(sender.send(result))));
    }
    drop(sender);
    results.into_iter().collect()
}

/// A step of so many is split, twice as on the server: its wall-clock time and its processor time; and learned from.
fn step(members: usize) -> Duration {
    let (mut costs, mut walls, mut cpus) = (StepCosts::new(), Vec::new(), Vec::new());
    let mut tallies = vec![SplitTally::default(); members];
    let mut work = vec![StepWork::default(); members];
    each(|number| {
        for (index, work) in work.iter_mut().enumerate() {
            let positions = u64::from(number) * 7 % 512 + index as u64;
            let prefill_tokens = if (number as usize + index).is_multiple_of(16) { 32 } else { 0 };
            *work = StepWork { prefill_tokens, decode_tokens: u32::from(prefill_tokens == 0), kv_positions: positions };
        }
        let wall = Duration::from_nanos(1_000_000 + work.iter().map(|one| 900 * one.kv_positions).sum::<u64>());
        let method = costs.split(wall.as_nanos(), &work, &mut walls);
        costs.split(2 * wall.as_nanos(), &work, &mut cpus);
        costs.learn(wall, &work);
        tallies.iter_mut().zip(&walls).for_each(|(tally, wall)| tally.add(*wall, method));
        black_box((&cpus, &tallies));
    })
}

/// A request begins and ends beside the others: its weights, pages of its own and pages that others find, its receipt.
fn request(streams: usize) -> Duration {
    let mut residency = Residency::new(Duration::from_secs(3600));
    let load = Load {
        artifact: ArtifactId::default(),
        bytes: 1 << 28,
        bytes_before: 1 << 28,
        quality: Quality::Measured,
        wall: Duration::from_millis(3),
        waiters: &[],
        asked_by: None,
    };
    residency.model_loaded("model", Moment::new(3), load);
    let others: Vec<String> = (1..streams).map(|other| format!("other-{other}")).collect();
    for id in &others {
        residency.request_begins("model", Request { id, tenant: id }, Moment::new(3));
    }
    let mut pages = SharedBlocks::new();
    let energy = EnergyModel::new(&CpuDescription::default(), 2, 8 << 30);
    let (carbon, rates) = (CarbonFactors::default(), RateCard::default());
    each(|number| {
        let id = format!("cmpl-{number:024}");
        let at = |millis: u64| Moment::new(10 + 10 * u64::from(number) + millis);
        residency.request_begins("model", Request { id: &id, tenant: "tenant" }, at(0));
        let mut own = KvIntegral::new(at(0));
        for page in 0..PAGES {
            own.grow((PAGE << 10) as u64, at(page));
            let block = BlockId(u64::from(number) * PAGES + page);
            let kept_for = Account::Keepalive("tenant".to_owned());
            let bytes = (PAGE << 10) as u64;
            pages.published(
                PublishedBlock { id: block, model: "model", bytes, kept_for, kept_as: HeldAs::Prefix },
                at(page),
            );
            pages.held(block, &id, at(page));
            own.shrink(bytes, at(page));
        }
        let weights = residency.request_ends(&id, at(9));
        let kv = own.finish(at(9)).saturating_add(pages.request_ends(&id, at(9)));
        for page in 0..PAGES {
            pages.freed(BlockId(u64::from(number) * PAGES + page), at(9));
        }
        let receipt = Receipt::assemble(measured(id, weights, kv), &energy, &carbon, &rates);
        black_box(receipt.clone());
    })
}

fn measured(id: String, weights: RequestCharge, kv: KibMillis) -> Measured {
    Measured {
        id,
        tenant: "tenant".to_owned(),
        key_id: Some("key_0123456789abcdef".to_owned()),
        model: "model".to_owned(),
        cold: false,
        outcome: Outcome::Completed,
        answered_from: AnsweredFrom::Model,
        tokens: MeasuredTokens { prompt: 64, cached: 32, completion: 64, ..MeasuredTokens::default() },
        times: MeasuredTimes {
            decode: Nanos::new(900_000_000),
            wall: Nanos::new(1_000_000_000),
            ..MeasuredTimes::default()
        },
        cpu: MeasuredCpu { prefill: Nanos::new(100_000_000), decode: Nanos::new(900_000_000), load: Nanos::ZERO },
        busy: Nanos::new(500_000_000),
        memory: MeasuredMemory { weights, kv, weights_bytes: 1 << 28, quality: Quality::Measured },
        kv_precision: Some("f16"),
        sharing: StepSharing::Affine { fit_error_ratio: 0.04 },
        routing: None,
    }
}

/// Processor time of this thread that `call` takes on average.
fn each(mut call: impl FnMut(u32)) -> Duration {
    let before = processor_time_of(ClockId::ThreadCPUTime);
    (0..REPEATS).for_each(&mut call);
    (processor_time_of(ClockId::ThreadCPUTime) - before) / REPEATS
}

fn processor_time_of(clock: ClockId) -> Duration {
    Duration::try_from(clock_gettime(clock)).unwrap_or_default()
}
