//! What the ledger answers.

use std::sync::atomic::{AtomicI64, Ordering};

use ledger::{Ledger, LedgerOptions, RECENT_MAX, Reader, Reservation, SavingsQuery, SeriesQuery, Since, Span, wait};
use meter::savings::{LoadWaits, ModelUse, TenantUse};
use meter::{AccountInterval, HeldAs, KibMillis, Moment, Nanos, Outcome};

use crate::support::{folder, measured, open, open_at, promised, reservation, reserve, settle, settlement_of};

fn serve(ledger: &Ledger, id: &str, tenant: &str, [from, to]: [u64; 2]) {
    wait(|done| ledger.reserve(reservation(id, tenant, from), done)).unwrap();
    wait(|done| ledger.settle(settlement_of(measured(id, tenant), to), done)).unwrap();
}

/// What an account carried for a tenant, or for nobody, as something.
type Carried<'a> = (Option<&'a str>, HeldAs);

const IDLE: Carried<'static> = (None, HeldAs::Idle);

fn charge(ledger: &Ledger, sequence: u64, (tenant, held_as): Carried<'_>, [from, to]: [u64; 2]) {
    let interval = AccountInterval {
        sequence,
        model: "m".into(),
        tenant: tenant.map(str::to_owned),
        held_as,
        kib_ms: KibMillis::new((to - from) * 1024),
        cpu: Nanos::new(to - from),
        from: Moment::new(from),
        to: Moment::new(to),
        ..AccountInterval::default()
    };
    wait(|done| ledger.interval(interval, done)).unwrap();
}

#[test]
fn a_usage_record_reads_as_documented() {
    let ledger = Ledger::in_memory(LedgerOptions::default()).unwrap();
    wait(|done| ledger.reserve(reservation("r", "acme", 3), done)).unwrap();
    let json = serde_json::to_value(ledger.reader().usage("r").unwrap()).unwrap();
    assert_eq!((&json["id"], &json["state"], &json["outcome"]), (&"r".into(), &"reserved".into(), &().into()));
    serve(&ledger, "r", "acme", [3, 9]);
    let record = ledger.reader().usage("r").unwrap().unwrap();
    assert!(record.reserved_unix_ms > 1_577_836_800_000, "after 2020: {}", record.reserved_unix_ms);
    let json = serde_json::to_value(&record).unwrap();
    assert_eq!((&json["state"], &json["outcome"]), (&"settled".into(), &"completed".into()));
    // Every member of the receipt is there, beside the record's own.
    let receipt = serde_json::to_value(record.receipt.unwrap()).unwrap();
    for (member, value) in receipt.as_object().unwrap() {
        assert_eq!(&json[member], value, "{member}");
    }
    assert_eq!(json.as_object().unwrap().len(), receipt.as_object().unwrap().len() + 2);
    assert_eq!(ledger.reader().usage("s").unwrap(), None);
}

#[test]
fn totals_count_every_outcome_and_unpriced_requests() {
    let ledger = Ledger::in_memory(LedgerOptions::default()).unwrap();
    serve(&ledger, "r1", "acme", [0, 1]);
    for (id, outcome) in [("r2", Outcome::Cancelled), ("r3", Outcome::Failed)] {
        wait(|done| ledger.reserve(reservation(id, "acme", 0), done)).unwrap();
        let mut settlement = settlement_of(meter::Measured { outcome, cold: true, ..measured(id, "acme") }, 1);
        settlement.receipt.cost.pico_units = None;
        wait(|done| ledger.settle(settlement, done)).unwrap();
    }
    wait(|done| ledger.reserve(reservation("open", "acme", 0), done)).unwrap();
    let totals = ledger.reader().tenant_totals().unwrap();
    assert_eq!(totals.len(), 1);
    let total = &totals[0];
    assert_eq!((total.requests, total.completed, total.cold, total.unpriced), (3, 1, 2, 2));
    assert_eq!((total.load_wait_ns, total.load_cpu_ns), (Nanos::new(9), Nanos::new(33)));
    assert_eq!(total.pico_units, settlement_of(measured("x", "y"), 0).receipt.cost.pico_units.unwrap());
}

#[test]
fn savings_inputs_are_the_sums_of_their_rows() {
    let ledger = Ledger::in_memory(LedgerOptions::default()).unwrap();
    serve(&ledger, "a1", "a", [100, 150]);
    serve(&ledger, "b1", "b", [120, 200]);
    serve(&ledger, "a2", "a", [300, 420]);
    charge(&ledger, 0, (Some("a"), HeldAs::Keepalive), [420, 500]);
    charge(&ledger, 1, (Some("gone"), HeldAs::Keepalive), [500, 510]);
    charge(&ledger, 2, IDLE, [510, 520]);
    charge(&ledger, 3, (None, HeldAs::Unmeasured), [520, 521]);
    charge(&ledger, 4, (None, HeldAs::Load), [90, 100]);
    charge(&ledger, 5, (Some("b"), HeldAs::Pinned), [500, 503]);
    charge(&ledger, 6, (Some("b"), HeldAs::Context), [500, 505]);
    charge(&ledger, 7, (Some("b"), HeldAs::Load), [500, 507]);
    charge(&ledger, 8, (None, HeldAs::Pinned), [500, 502]);
    charge(&ledger, 9, (None, HeldAs::Prefix), [500, 506]);
    let inputs = ledger.reader().savings_inputs(SavingsQuery::default()).unwrap();
    assert_eq!(inputs.window_ms, 521 - 90);
    let model = ModelUse {
        model: "m".into(),
        weights_bytes: 1 << 20,
        load: KibMillis::new(10 * 1024),
        load_cpu: Nanos::new(10 + 10 + 1 + 2 + 6),
        pinned: KibMillis::new(2 * 1024),
        idle: KibMillis::new(11 * 1024),
        pages: KibMillis::new(6 * 1024),
    };
    assert_eq!(inputs.models, [model]);
    let of = |tenant: &str, requests: u64, span_ms, keepalive_ms: u64| TenantUse {
        tenant: tenant.into(),
        model: "m".into(),
        requests,
        cold_requests: 0,
        span_ms,
        active: KibMillis::new(1000 * requests),
        load: KibMillis::new(30 * requests),
        keepalive: KibMillis::new(keepalive_ms * 1024),
        load_cpu: Nanos::new(11 * requests + keepalive_ms),
        load_wait: Nanos::new(3 * requests),
        ..TenantUse::default()
    };
    let b = TenantUse {
        pinned: KibMillis::new(3 * 1024),
        pages: KibMillis::new(5 * 1024),
        load: KibMillis::new(30 + 7 * 1024),
        load_cpu: Nanos::new(11 + 3 + 5 + 7),
        ..of("b", 1, 80, 0)
    };
    assert_eq!(inputs.tenants, [of("a", 2, 320, 80), b, of("gone", 0, 0, 10)]);

    let query = SavingsQuery { until: Some(Moment::new(1000)), ..SavingsQuery::default() };
    assert_eq!(ledger.reader().savings_inputs(query).unwrap().window_ms, 1000 - 90);
}

#[test]
fn a_tenants_inputs_are_of_its_own_rows_alone() {
    let read = |others: bool| {
        let ledger = Ledger::in_memory(LedgerOptions::default()).unwrap();
        if others {
            serve(&ledger, "b1", "b", [0, 2000]);
            charge(&ledger, 7, IDLE, [0, 3000]);
            charge(&ledger, 8, (Some("b"), HeldAs::Keepalive), [2000, 2500]);
        }
        serve(&ledger, "a1", "a", [100, 150]);
        serve(&ledger, "a2", "a", [300, 420]);
        charge(&ledger, 0, (Some("a"), HeldAs::Keepalive), [420, 500]);
        let query = SavingsQuery { until: None, ..SavingsQuery::default() };
        ledger.reader().savings_inputs_of("a", query).unwrap()
    };
    let alone = read(false);
    assert_eq!((alone.window_ms, alone.waits.requests, alone.tenants.len()), (500 - 100, 2, 1));
    assert_eq!((alone.models[0].idle, alone.models[0].weights_bytes), (KibMillis::ZERO, 1 << 20));
    assert_eq!(read(true), alone);
}

#[test]
fn what_was_held_is_told_hour_by_hour() {
    static CLOCK: AtomicI64 = AtomicI64::new(0);
    const HOUR_MS: i64 = 3_600_000;
    let folder = folder();
    let ledger = open_at(&folder.path().join("ledger.sqlite"), || CLOCK.load(Ordering::Relaxed));
    let at = |hour: i64| CLOCK.store(hour * HOUR_MS, Ordering::Relaxed);
    at(5);
    serve(&ledger, "a1", "a", [0, 1]);
    charge(&ledger, 0, IDLE, [1, 2]);
    charge(&ledger, 1, (Some("a"), HeldAs::Prefix), [1, 4]);
    at(7);
    serve(&ledger, "a2", "a", [2, 3]);
    serve(&ledger, "b1", "b", [2, 3]);
    let held = |since| ledger.reader().held_hours(since).unwrap();
    let all = held(Since::Beginning);
    let hours: Vec<_> = all.hours.iter().map(|hour| (hour.hour, hour.kv.get(), hour.models["m"].get())).collect();
    assert_eq!(hours, [(5, 5 + 3 * 1024, 1030 + 1024), (7, 10, 2060)], "kept pages are keys and values");
    let copies: Vec<_> =
        all.copies.iter().map(|copy| (copy.tenant.as_str(), copy.first_hour, copy.last_hour)).collect();
    assert_eq!(copies, [("a", 5, 7), ("b", 7, 7)]);
    let later = held(Since::UnixMillis(6 * HOUR_MS));
    assert_eq!((later.hours.len(), later.copies[0].first_hour), (1, 7));
}

#[test]
fn spans_and_windows_do_not_reach_over_restarts() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.sqlite");
    let ledger = open(&path).unwrap();
    serve(&ledger, "r1", "a", [1_000_000, 1_000_500]);
    drop(ledger);
    // Another process, another clock: it begins at zero.
    let ledger = open(&path).unwrap();
    serve(&ledger, "r2", "a", [10, 110]);
    charge(&ledger, 0, IDLE, [110, 120]);
    let read = |since| ledger.reader().savings_inputs(SavingsQuery { since, until: None }).unwrap();
    let all = read(Since::Beginning);
    assert_eq!((all.window_ms, all.tenants[0].span_ms, all.tenants[0].requests), (500 + 110, 600, 2));
    let latest = read(Since::LatestRun);
    assert_eq!((latest.window_ms, latest.tenants[0].span_ms, latest.tenants[0].requests), (110, 100, 1));
    assert_eq!(read(Since::UnixMillis(0)), all);
    assert_eq!(read(Since::UnixMillis(i64::MAX)), meter::SavingsInputs::default());
    drop(ledger);
    assert_eq!(Reader::open(&path).unwrap().savings_inputs(SavingsQuery::default()).unwrap(), all);
}

/// A later load has brought in less of it.
#[test]
fn the_receipt_with_most_weights_tells_the_models_size() {
    let ledger = Ledger::in_memory(LedgerOptions::default()).unwrap();
    for (id, weights_bytes) in [("r1", 200), ("r2", 500), ("r3", 300), ("r4", 0)] {
        wait(|done| ledger.reserve(reservation(id, "a", 0), done)).unwrap();
        let mut measured = measured(id, "a");
        measured.memory.weights_bytes = weights_bytes;
        wait(|done| ledger.settle(settlement_of(measured, 1), done)).unwrap();
    }
    let inputs = ledger.reader().savings_inputs(SavingsQuery::default()).unwrap();
    assert_eq!(inputs.models[0].weights_bytes, 500);
}

#[test]
fn a_series_has_the_sums_of_each_hour_and_day() {
    static CLOCK: AtomicI64 = AtomicI64::new(0);
    const HOUR: i64 = 3600;
    const DAY: i64 = 24 * HOUR;
    let at = |unix_s: i64| CLOCK.store(unix_s * 1000, Ordering::Relaxed);
    let begins = 20_000 * DAY;
    at(begins);
    let folder = folder();
    let path = folder.path().join("ledger.sqlite");
    let ledger = open_at(&path, || CLOCK.load(Ordering::Relaxed));
    serve(&ledger, "a1", "a", [0, 1]);
    at(begins + HOUR - 1);
    serve(&ledger, "b1", "b", [1, 2]);
    charge(&ledger, 0, IDLE, [2, 4]);
    at(begins + HOUR);
    serve(&ledger, "a2", "a", [4, 5]);
    at(begins + DAY);
    charge(&ledger, 1, (Some("a"), HeldAs::Keepalive), [5, 8]);
    let series = |width, from_unix_s, to_unix_s| {
        let buckets = ledger.reader().series(SeriesQuery { width, from_unix_s, to_unix_s }).unwrap();
        let shown = buckets.into_iter().map(|bucket| {
            let requests = bucket.requests.iter().map(|one| (one.tenant.clone(), one.requests)).collect::<Vec<_>>();
            let accounts = bucket.accounts.iter().map(|one| one.kib_ms.get()).sum::<u64>();
            (bucket.begins_unix_s - begins, requests, accounts)
        });
        shown.collect::<Vec<_>>()
    };
    let (a, b) = (("a".to_owned(), 1), ("b".to_owned(), 1));
    let first = (0, vec![a.clone(), b.clone()], 2 * 1024);
    let hours = [first.clone(), (HOUR, vec![a.clone()], 0), (DAY, vec![], 3 * 1024)];
    assert_eq!(series(Span::Hour, begins, begins + 2 * DAY), hours);
    assert_eq!(series(Span::Hour, begins + 1, begins + HOUR), [first], "a bucket that has begun is whole");
    let days = [(0, vec![("a".to_owned(), 2), b], 2 * 1024), (DAY, vec![], 3 * 1024)];
    assert_eq!(series(Span::Day, i64::MIN, i64::MAX), days);
    assert_eq!(series(Span::Day, begins + DAY, begins + DAY), []);
    assert_eq!(series(Span::Hour, begins + 2 * DAY, i64::MAX), []);
}

#[test]
fn settled_requests_come_in_pages_and_in_order() {
    let folder = folder();
    let path = folder.path().join("ledger.sqlite");
    let ledger = open(&path).unwrap();
    let count = RECENT_MAX + 3;
    let settled = (0..count).map(|number| {
        let id = format!("r{number}");
        ledger.reserve(reservation(&id, "a", 7), Box::new(|result| result.unwrap()));
        let (done, answer) = promised();
        ledger.settle(settlement_of(measured(&id, "a"), 9), done);
        answer
    });
    settled.collect::<Vec<_>>().into_iter().for_each(|answer| answer.recv().unwrap().unwrap());
    wait(|done| ledger.reserve(reservation("open", "a", 0), done)).unwrap();
    let reader = Reader::open(&path).unwrap();
    let snapshot = reader.snapshot().unwrap();
    let (mut ids, mut pages, mut after) = (Vec::new(), Vec::new(), 0);
    loop {
        let page = snapshot.settled_after(after).unwrap();
        let Some(last) = page.last() else { break };
        after = last.number;
        pages.push(page.len());
        assert!(page.iter().all(|one| [one.reserved_at, one.settled_at] == [7, 9].map(Moment::new)));
        ids.extend(page.into_iter().map(|one| one.usage.id));
        // What comes meanwhile is not in it.
        serve(&ledger, &format!("later {after}"), "a", [9, 9]);
    }
    drop(snapshot);
    assert_eq!(reader.snapshot().unwrap().settled_after(after).unwrap().len(), 2);
    assert_eq!(pages, [RECENT_MAX, 3]);
    assert_eq!(ids, (0..count).map(|number| format!("r{number}")).collect::<Vec<_>>());
}

#[test]
fn waits_for_loads_are_those_since_when_the_sums_count() {
    static CLOCK: AtomicI64 = AtomicI64::new(0);
    const HOUR_MS: i64 = 3_600_000;
    let folder = folder();
    let path = folder.path().join("ledger.sqlite");
    let wait_of = |ledger: &Ledger, id: &str, load_wait: u64| {
        let mut measured = measured(id, "a");
        measured.times.load_wait = Nanos::new(load_wait);
        wait(|done| ledger.reserve(reservation(id, "a", 0), done)).unwrap();
        wait(|done| ledger.settle(settlement_of(measured, 1), done)).unwrap();
    };
    let ledger = open_at(&path, || CLOCK.load(Ordering::Relaxed));
    wait_of(&ledger, "r1", 900);
    CLOCK.store(5 * HOUR_MS, Ordering::Relaxed);
    wait_of(&ledger, "r2", 500);
    wait_of(&ledger, "r3", 0);
    drop(ledger);
    let ledger = open_at(&path, || CLOCK.load(Ordering::Relaxed));
    wait_of(&ledger, "r4", 100);
    let waits = |since| {
        let query = SavingsQuery { since, until: None };
        let LoadWaits { requests, p50_ns, max_ns, .. } = ledger.reader().savings_inputs(query).unwrap().waits;
        (requests, p50_ns.get(), max_ns.get())
    };
    assert_eq!(waits(Since::Beginning), (3, 500, 900));
    assert_eq!(waits(Since::UnixMillis(5 * HOUR_MS + 59 * 60_000)), (2, 100, 500), "the whole hour");
    assert_eq!(waits(Since::LatestRun), (1, 100, 100));
}

#[test]
fn the_latest_hour_in_which_anything_was_settled_is_known() {
    const HOUR: i64 = 3_600_000;
    const LATE: i64 = 480_000 * HOUR;
    let folder = folder();
    let path = folder.path().join("ledger.sqlite");
    assert_eq!(open_at(&path, || LATE).reader().latest_unix_ms().unwrap(), None);
    let clocks: [fn() -> i64; 3] = [|| LATE, || LATE + HOUR + 5, || LATE + 3 * HOUR];
    for (id, clock) in ["1", "2", "3"].into_iter().zip(clocks) {
        let ledger = open_at(&path, clock);
        reserve(&ledger, id).unwrap();
        settle(&ledger, id).unwrap();
    }
    let ledger = open_at(&path, || 0);
    assert_eq!(ledger.reader().latest_unix_ms().unwrap(), Some(LATE + 3 * HOUR));
}

#[test]
fn a_request_is_found_by_its_tenants_key() {
    let ledger = Ledger::in_memory(LedgerOptions::default()).unwrap();
    let keyed = Reservation { idempotency_key: Some("k".to_owned()), ..reservation("1", "acme", 0) };
    wait(|done| ledger.reserve(keyed, done)).unwrap();
    let found =
        |tenant, key| ledger.reader().usage_by_key(tenant, key).unwrap().map(|record| (record.id, record.outcome));
    assert_eq!(found("acme", "k"), Some(("1".to_owned(), None)));
    assert_eq!((found("other", "k"), found("acme", "l")), (None, None));
    settle(&ledger, "1").unwrap();
    assert_eq!(found("acme", "k"), Some(("1".to_owned(), Some(Outcome::Completed))));
}
