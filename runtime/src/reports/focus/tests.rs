use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use ledger::{Ledger, LedgerOptions, Reservation, Settlement, wait};
use meter::RequestCharge;
use meter::receipt::{MeasuredCpu, MeasuredMemory, MeasuredTokens};
use meter::residency::AccountInterval;
use meter::{
    CarbonFactors, CpuDescription, EnergyModel, HeldAs, KibMillis, Measured, Moment, Nanos, PicoUnits, Quality,
};

use crate::metering::tests::{measured, receipt};

use super::*;

fn serve(ledger: &Ledger, id: &str, tenant: &str, rates: &RateCard) -> u64 {
    serve_by(ledger, id, (tenant, None), rates)
}

fn serve_by(ledger: &Ledger, id: &str, (tenant, key_id): (&str, Option<&str>), rates: &RateCard) -> u64 {
    let (idempotency_key, key_id, at) = (None, key_id.map(str::to_owned), Moment::new(1));
    let (tenant_name, model) = (tenant.into(), "m".into());
    let of_key = key_id.clone();
    let reservation = Reservation { id: id.into(), tenant: tenant_name, model, at, idempotency_key, key_id: of_key };
    wait(|done| ledger.reserve(reservation, done)).unwrap();
    let measured = Measured {
        key_id,
        tokens: MeasuredTokens { prompt: 12, cached: 4, completion: 7, ..MeasuredTokens::default() },
        cpu: MeasuredCpu { prefill: Nanos::from(Duration::from_millis(1237)), ..MeasuredCpu::default() },
        memory: MeasuredMemory {
            weights: RequestCharge { active: KibMillis::new(123_456_789), load: KibMillis::ZERO },
            kv: KibMillis::new(5),
            weights_bytes: 1 << 20,
            quality: Quality::Measured,
        },
        ..measured(id, tenant)
    };
    let receipt = receipt(measured, rates);
    let money = receipt.cost.pico_units.map_or(0, PicoUnits::get);
    wait(|done| ledger.settle(Settlement { at, receipt: Box::new(receipt) }, done)).unwrap();
    money
}

#[test]
fn rows_sum_to_the_receipts_and_what_retention_removed_stays() {
    static CLOCK: AtomicI64 = AtomicI64::new(0);
    const HOUR_MS: i64 = 3_600_000;
    let folder = tempfile::tempdir().unwrap();
    let options = LedgerOptions { wall_clock: || CLOCK.load(Ordering::Relaxed), ..LedgerOptions::default() };
    let ledger = Ledger::open(&folder.path().join("ledger.sqlite"), options).unwrap();
    CLOCK.store(480_000 * HOUR_MS, Ordering::Relaxed);
    let tokens = RateCard { completion_token: PicoUnits::from_units(0.001), ..RateCard::default() };
    let mut money = serve(&ledger, "r1", "a", &RateCard::default()) + serve(&ledger, "r2", "b", &tokens);
    serve(&ledger, "r3", "b", &RateCard { cpu_hour: None, ..RateCard::default() });
    CLOCK.store(480_001 * HOUR_MS, Ordering::Relaxed);
    money += serve(&ledger, "r4", "a", &RateCard::default());
    let gb_hour = KibMillis::new(3_515_625_000_000);
    let dear = RateCard { memory_gb_hour: Some(PicoUnits::new(5_000_000_000)), ..RateCard::default() };
    for (sequence, held_as, rates) in [(0, HeldAs::Keepalive, RateCard::default()), (1, HeldAs::Context, dear)] {
        let (model, tenant) = ("m".to_owned(), Some("a".to_owned()));
        let kept = AccountInterval { sequence, model, tenant, held_as, kib_ms: gb_hour, ..AccountInterval::default() };
        let energy = EnergyModel::new(&CpuDescription::default(), 1, 1 << 30);
        let kept = kept.priced(&energy, &CarbonFactors::default(), &rates);
        wait(|done| ledger.interval(kept, done)).unwrap();
    }
    let accounts = 4_237_000_000 + 5_000_000_000;

    // As it was priced then.
    let rates = RateCard { memory_gb_hour: None, ..RateCard::default() };
    let read = || Focus::read(ledger.reader(), i64::MIN, &rates).unwrap();
    let focus = read();
    assert_eq!((focus.total(), focus.unpriced), (money + accounts, 1));
    let column = |row: &[String; FOCUS_COLUMNS.len()], name: &str| {
        row[FOCUS_COLUMNS.iter().position(|column| *column == name).unwrap()].clone()
    };
    let rows: Vec<_> = focus.rows(&rates).collect();
    let shown: Vec<_> = rows.iter().map(|row| (column(row, "SubAccountId"), column(row, "x_Meter"))).collect();
    let of = |tenant: &str, meter: &str| (tenant.to_owned(), meter.to_owned());
    let first = [of("a", "cpu"), of("a", "memory"), of("b", "completion_tokens"), of("b", "cpu"), of("b", "memory")];
    let second = [of("a", "cpu"), of("a", "memory"), of("a", "keepalive"), of("a", "context")];
    assert_eq!(shown, [&first[..], &second[..]].concat());
    let tokens = &rows[2];
    assert_eq!(column(tokens, "BilledCost"), "0.007000000000");
    assert_eq!((column(tokens, "ConsumedQuantity"), column(tokens, "ConsumedUnit")), ("7".into(), "Tokens".into()));
    assert_eq!(column(rows.last().unwrap(), "BilledCost"), "0.005000000000");
    let kept = &rows[rows.len() - 2];
    assert_eq!((column(kept, "BilledCost"), column(kept, "x_PricedAt")), ("0.004237000000".into(), "interval".into()));
    assert_eq!(column(kept, "ConsumedQuantity"), "1.000000000000");
    assert_eq!(column(kept, "ChargePeriodStart"), "2024-10-04T01:00:00Z");
    assert_eq!(column(kept, "BillingPeriodEnd"), "2024-11-01T00:00:00Z");

    let since = Focus::read(ledger.reader(), 480_001 * 3600 + 59, &rates).unwrap();
    assert_eq!(since.rows(&rates).count(), 4);
    wait(|done| ledger.remove_before(480_001 * HOUR_MS, done)).unwrap();
    let focus = read();
    assert_eq!(focus.total(), money + accounts, "sums stay");
    let meters: Vec<_> = focus.rows(&rates).map(|row| column(&row, "x_Meter")).collect();
    assert_eq!(meters, ["requests", "requests", "cpu", "memory", "keepalive", "context"]);
}

/// By keys, and what came by none; hours whose receipts are gone as well.
#[test]
fn rows_tell_which_key_spent_it() {
    static CLOCK: AtomicI64 = AtomicI64::new(480_000 * 3_600_000);
    let folder = tempfile::tempdir().unwrap();
    let options = LedgerOptions { wall_clock: || CLOCK.load(Ordering::Relaxed), ..LedgerOptions::default() };
    let ledger = Ledger::open(&folder.path().join("ledger.sqlite"), options).unwrap();
    let rates = RateCard::default();
    let each = serve_by(&ledger, "r1", ("a", Some("key_1")), &rates);
    serve_by(&ledger, "r2", ("a", Some("key_2")), &rates);
    serve_by(&ledger, "r3", ("a", Some("key_2")), &rates);
    serve(&ledger, "r4", "a", &rates);
    let by_key = || {
        let focus = Focus::read(ledger.reader(), i64::MIN, &rates).unwrap();
        let place = FOCUS_COLUMNS.iter().position(|column| *column == "x_KeyId").unwrap();
        let mut sums: BTreeMap<String, u64> = BTreeMap::new();
        for (cells, (_, sum)) in focus.rows(&rates).zip(&focus.rows) {
            *sums.entry(cells[place].clone()).or_default() += sum.pico_units;
        }
        (sums.into_iter().collect::<Vec<_>>(), focus.rows.len())
    };
    let sums = [(String::new(), each), ("key_1".to_owned(), each), ("key_2".to_owned(), 2 * each)];
    assert_eq!(by_key(), (sums.to_vec(), 3 * 2), "processor time and memory of each");
    CLOCK.fetch_add(3_600_000, Ordering::Relaxed);
    wait(|done| ledger.reserve(reserved_later(), done)).unwrap();
    wait(|done| ledger.remove_before(480_001 * 3_600_000, done)).unwrap();
    assert_eq!(by_key(), (sums.to_vec(), 3), "one row of each for what is removed");
}

/// Something that stays, so that everything else may go.
fn reserved_later() -> Reservation {
    let (tenant, model, at) = ("z".into(), "m".into(), Moment::new(1));
    Reservation { id: "later".into(), tenant, model, at, idempotency_key: None, key_id: None }
}

#[test]
fn money_is_exact_and_months_end() {
    assert_eq!(
        [0, 1, 1_000_000_000_000, u64::MAX].map(decimal),
        ["0.000000000000", "0.000000000001", "1.000000000000", "18446744.073709551615"]
    );
    assert_eq!(month_of(1_735_689_599), ["2024-12-01T00:00:00Z", "2025-01-01T00:00:00Z"]);
}
