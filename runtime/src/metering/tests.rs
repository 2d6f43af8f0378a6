use ledger::LedgerOptions;
use meter::receipt::{AnsweredFrom, MeasuredCpu, MeasuredMemory, MeasuredTimes, MeasuredTokens, StepSharing};
use meter::residency::RequestCharge;
use meter::{CarbonFactors, CpuDescription, EnergyModel, KibMillis, Nanos, Outcome, Quality, RateCard};
use scheduler::{EvictionCause, Identity, LoadCause, LoadSource, PoolEvent, PoolEventKind};

use super::*;

const KIB: u64 = 1024;
const LOAD: Duration = Duration::from_secs(10);
const OLD: Identity = Identity([1; 4]);
const NEW: Identity = Identity([2; 4]);

/// With a ledger in memory.
pub(crate) fn metering() -> Arc<Metering> {
    let energy = EnergyModel::new(&CpuDescription::default(), 2, 8 << 30);
    let devices = vec![DevicePrices { energy, rates: RateCard::default() }; 2];
    let prices = Prices { devices, carbon: CarbonFactors::default() };
    let ledger = Ledger::in_memory(LedgerOptions::default()).unwrap();
    let spending = Arc::new(Spending::of_ledger(ledger.reader()).unwrap());
    Arc::new(Metering::new(ledger, prices, spending, RecentReceipts::default()))
}

/// A request that has used nothing.
pub(crate) fn measured(id: &str, tenant: &str) -> Measured {
    Measured {
        id: id.to_owned(),
        tenant: tenant.to_owned(),
        key_id: None,
        model: "m".to_owned(),
        cold: false,
        outcome: Outcome::Completed,
        answered_from: AnsweredFrom::Model,
        tokens: MeasuredTokens::default(),
        times: MeasuredTimes::default(),
        cpu: MeasuredCpu::default(),
        memory: MeasuredMemory {
            weights: RequestCharge::default(),
            kv: KibMillis::ZERO,
            weights_bytes: 0,
            quality: Quality::Derived,
        },
        busy: Nanos::default(),
        kv_precision: None,
        routing: None,
        sharing: StepSharing::WholeStep,
    }
}

/// Its receipt, at these prices.
pub(crate) fn receipt(measured: Measured, rates: &RateCard) -> Receipt {
    let energy = EnergyModel::new(&CpuDescription::default(), 1, 1 << 30);
    Receipt::assemble(measured, &energy, &CarbonFactors::default(), rates)
}

/// A receipt of so many tokens, and nothing else.
pub(crate) fn receipt_of(id: &str, tenant: &str, tokens: u64) -> Receipt {
    let tokens = MeasuredTokens { prompt: tokens, ..MeasuredTokens::default() };
    receipt(Measured { tokens, ..measured(id, tenant) }, &RateCard::default())
}

/// As if the server had run for longer than a load takes.
fn tell(metering: &Metering, kind: PoolEventKind) {
    tell_of(metering, 0, kind);
}

fn tell_of(metering: &Metering, device: usize, kind: PoolEventKind) {
    metering.observe(device, &PoolEvent { at: scheduler::Instant::now() + 2 * LOAD, model: "m".into(), kind });
}

fn loaded(identity: Identity) -> PoolEventKind {
    let source = LoadSource::UNKNOWN;
    PoolEventKind::Loaded { identity, bytes: 100 * KIB, wall: LOAD, waiters: 1, source, cause: LoadCause::Demand }
}

fn evicted() -> PoolEventKind {
    PoolEventKind::Evicted { bytes: 100 * KIB, cause: EvictionCause::Requested, idle_for: Duration::ZERO }
}

/// What a request is charged that waits for a second copy while one of `first` is on its way out.
fn charge_beside(first: Identity, second: Identity) -> StayCharge {
    let metering = metering();
    tell(&metering, loaded(first));
    tell(&metering, evicted());
    let stay = metering.arrives("r", "a", (0, "m"));
    metering.load_computed((0, "m"), Duration::from_nanos(7));
    tell(&metering, loaded(second));
    stay.begins();
    tell(&metering, PoolEventKind::Freed { identity: first, bytes: 100 * KIB });
    let charge = stay.ends();
    assert_eq!(metering.imbalance(), 0);
    charge
}

#[test]
fn a_load_beside_a_copy_of_a_replaced_file_is_charged_to_those_who_waited() {
    let charge = charge_beside(OLD, NEW);
    let wall_millis = u64::try_from(LOAD.as_millis()).unwrap();
    assert_eq!((charge.weights.load.get(), charge.load_cpu.get()), (100 * wall_millis, 7));
}

#[test]
fn a_load_of_pages_that_are_there_costs_its_processor_time_alone() {
    let charge = charge_beside(OLD, OLD);
    assert_eq!((charge.weights.load.get(), charge.load_cpu.get()), (0, 7));
}

/// A copy on a second device is one of its own: whoever waited for it is charged its load, and whoever uses the first one
/// nothing of it.
#[test]
fn copies_on_two_devices_are_charged_apart() {
    let metering = metering();
    tell(&metering, loaded(OLD));
    let (first, second) = (metering.arrives("first", "a", (0, "m")), metering.arrives("second", "b", (1, "m")));
    first.begins();
    metering.load_computed((1, "m"), Duration::from_nanos(9));
    tell_of(&metering, 1, loaded(OLD));
    second.begins();
    tell(&metering, evicted());
    let (first, second) = (first.ends(), second.ends());
    assert_eq!((first.weights.load.get(), first.load_cpu.get()), (0, 0));
    let wall_millis = u64::try_from(LOAD.as_millis()).unwrap();
    assert_eq!((second.weights.load.get(), second.load_cpu.get()), (100 * wall_millis, 9));
    tell(&metering, PoolEventKind::Freed { identity: OLD, bytes: 100 * KIB });
    tell_of(&metering, 1, PoolEventKind::Freed { identity: OLD, bytes: 100 * KIB });
    assert_eq!(metering.imbalance(), 0);
}

/// What accounts carry of loads, in memory and processor time, as the ledger has it.
async fn loads(metering: &Metering) -> Vec<(meter::Account, [u64; 2])> {
    metering.store_accounts().await.unwrap();
    let totals = metering.ledger().reader().account_totals().unwrap();
    let loads = totals.into_iter().filter(|total| total.held_as == Some(meter::HeldAs::Load));
    let loads = loads.inspect(|one| assert!(one.unpriced == 0 && one.pico_units.get() > 0, "it is priced"));
    loads.map(|one| (one.account, [one.kib_ms.get(), one.cpu_ns.get()])).collect()
}

#[tokio::test]
async fn a_load_that_no_request_waits_for_is_its_askers() {
    let wall_millis = u64::try_from(LOAD.as_millis()).unwrap();
    let metering = metering();
    // Somebody pins it.
    let wish = metering.pins("m", Pin::Tenant("p".into()));
    metering.load_computed((0, "m"), Duration::from_nanos(11));
    tell(&metering, loaded(OLD));
    drop(wish);
    tell(&metering, evicted());
    tell(&metering, PoolEventKind::Freed { identity: OLD, bytes: 100 * KIB });
    // Somebody wants it there, and somebody else a request, who leaves.
    let (asks, leaves) = (metering.arrives("l", "q", (0, "m")), metering.arrives("r", "a", (0, "m")));
    metering.load_computed((0, "m"), Duration::from_nanos(26));
    tell(&metering, loaded(NEW));
    drop(leaves);
    asks.asked_for_load();
    tell(&metering, PoolEventKind::Freed { identity: NEW, bytes: 100 * KIB });
    let carried = loads(&metering).await;
    let of = |account: meter::Account| carried.iter().find(|(one, _)| *one == account).map(|(_, figures)| *figures);
    assert_eq!(of(meter::Account::Keepalive("p".into())), Some([100 * wall_millis, 11]), "{carried:?}");
    assert_eq!(of(meter::Account::Keepalive("q".into())), Some([50 * wall_millis, 13]), "{carried:?}");
    assert_eq!(of(meter::Account::Load), Some([50 * wall_millis, 13]), "{carried:?}");
    assert_eq!(metering.imbalance(), 0);
}

/// A model whose size the kernel tells is charged with that, and its receipts say so.
#[test]
fn what_the_kernel_said_at_a_load_is_charged() {
    let metering = metering();
    metering.book().resident_at_load.insert((0, "m".to_owned()), [10 * KIB, 30 * KIB]);
    let stay = metering.arrives("r", "a", (0, "m"));
    tell(&metering, loaded(OLD));
    stay.begins();
    let memory = stay.ends().memory(KibMillis::ZERO, 100 * KIB);
    let wall_millis = u64::try_from(LOAD.as_millis()).unwrap();
    assert_eq!((memory.weights_bytes, memory.quality), (30 * KIB, Quality::Measured));
    assert_eq!(memory.weights.load.get(), 20 * wall_millis, "half of what was brought in, and what was there");
    let stay = metering.arrives("s", "a", (1, "m"));
    tell_of(&metering, 1, loaded(OLD));
    stay.begins();
    let copy = stay.ends().memory(KibMillis::ZERO, 100 * KIB);
    assert_eq!((copy.weights_bytes, copy.quality), (100 * KIB, Quality::Derived), "a copy is wholly resident");
}
