use super::*;
use crate::arbitrary::Arbitrary;

mod copies;
mod held;
mod sizes;

const KIB: u64 = 1024;
const ONE: ArtifactId = ArtifactId([0; 4]);
const OTHER: ArtifactId = ArtifactId([1; 4]);

fn at(millis: u64) -> Moment {
    Moment::new(millis)
}

fn by<'a>(id: &'a str, tenant: &'a str) -> Request<'a> {
    Request { id, tenant }
}

fn loaded(kib: u64, wall_millis: u64) -> Load<'static> {
    let (quality, wall) = (Quality::Derived, Duration::from_millis(wall_millis));
    let bytes = kib * KIB;
    Load { artifact: ONE, bytes, bytes_before: bytes, quality, wall, waiters: &[], asked_by: None }
}

fn minute() -> Residency {
    Residency::new(Duration::from_secs(60))
}

fn charged(residency: &mut Residency, millis: u64) -> Vec<(String, Account, u64)> {
    let intervals = residency.take_intervals(at(millis));
    assert_eq!(residency.imbalance(), 0);
    let mut told: Vec<_> =
        intervals.into_iter().map(|one| (one.model.clone(), one.account(), one.kib_ms.get())).collect();
    told.sort();
    told
}

fn active(kib_ms: u64) -> RequestCharge {
    RequestCharge { active: KibMillis::new(kib_ms), load: KibMillis::ZERO }
}

#[test]
fn what_an_abandoned_request_held_goes_to_the_accounts() {
    let mut residency = minute();
    let waiters = [by("r", "a")];
    residency.model_loaded("m", at(10), Load { waiters: &waiters, ..loaded(100, 10) });
    residency.request_begins("m", by("r", "a"), at(10));
    residency.request_abandoned("r", ("m", None), at(15));
    let carried = charged(&mut residency, 15);
    assert_eq!(carried, [("m".to_owned(), Account::Load, 1000), ("m".to_owned(), Account::Idle, 500)]);
    assert_eq!(residency.request_ends("r", at(15)), active(0), "it is over");
}

#[test]
fn splits_over_tenants_first_and_then_over_their_requests() {
    let mut residency = minute();
    residency.model_loaded("m", at(0), loaded(100, 0));
    residency.request_begins("m", by("a1", "a"), at(0));
    residency.request_begins("m", by("a2", "a"), at(0));
    residency.request_begins("m", by("b1", "b"), at(0));
    residency.advance(at(10));
    // 1000 KiB ms: 500 for each tenant, 250 for each of a's requests.
    assert_eq!(residency.request_ends("b1", at(10)), active(500));
    // Now a alone: another 1000, 500 for each request.
    assert_eq!(residency.request_ends("a1", at(20)), active(750));
    assert_eq!(residency.request_ends("a2", at(20)), active(750));
    assert_eq!(residency.measured(), 2000);
    assert_eq!(charged(&mut residency, 20), []);
}

#[test]
fn what_is_charged_so_far_is_charged_once_at_the_end() {
    let mut residency = minute();
    let waiters = [by("r", "a")];
    residency.model_loaded("m", at(10), Load { waiters: &waiters, ..loaded(100, 10) });
    let load = KibMillis::new(1000);
    assert_eq!(residency.charge_so_far("r", at(10)), RequestCharge { load, ..active(0) }, "it has not begun");
    residency.request_begins("m", by("r", "a"), at(10));
    for (now, kib_ms) in [(15, 500), (15, 500), (12, 500), (20, 1000)] {
        assert_eq!(residency.charge_so_far("r", at(now)), RequestCharge { load, ..active(kib_ms) }, "at {now}");
    }
    assert_eq!(residency.request_ends("r", at(30)), RequestCharge { load, ..active(2000) });
    assert_eq!(residency.charge_so_far("r", at(40)), active(0), "it is over");
    assert_eq!(residency.imbalance(), 0);
}

#[test]
fn the_last_tenants_keep_it_alive_and_then_it_is_idle() {
    let mut residency = Residency::new(Duration::from_millis(100));
    residency.model_loaded("m", at(10), loaded(1, 0));
    residency.request_begins("m", by("a1", "a"), at(20));
    residency.request_begins("m", by("b1", "b"), at(20));
    residency.request_begins("m", by("c1", "c"), at(20));
    assert_eq!(residency.request_ends("a1", at(23)), active(1));
    residency.request_ends("b1", at(30));
    residency.request_ends("c1", at(30));
    let expected = [
        ("m".into(), Account::Keepalive("b".into()), 50),
        ("m".into(), Account::Keepalive("c".into()), 50),
        ("m".into(), Account::Idle, 10 + 20),
    ];
    assert_eq!(charged(&mut residency, 150), expected, "idle: 10 ms before the first use, 20 after the keep-alive");
}

#[test]
fn the_keep_alive_of_one_model_can_differ_until_it_is_evicted() {
    let mut residency = Residency::new(Duration::from_millis(100));
    let serve_once = |residency: &mut Residency, from: u64| {
        residency.model_loaded("m", at(from), loaded(1, 0));
        residency.request_begins("m", by("r", "a"), at(from));
        residency.request_ends("r", at(from));
    };
    serve_once(&mut residency, 0);
    residency.kept_until("m", at(0), at(0));
    assert_eq!(charged(&mut residency, 40), [("m".into(), Account::Idle, 40)]);
    residency.copy_freed("m", ONE, at(40));
    serve_once(&mut residency, 50);
    assert_eq!(charged(&mut residency, 70), [("m".into(), Account::Keepalive("a".into()), 20)]);
}

#[test]
fn who_pinned_a_model_carries_it_while_no_request_does() {
    let mut residency = Residency::new(Duration::from_millis(10));
    residency.pinned("m", Pin::Tenant("p".into()), at(0));
    residency.model_loaded("m", at(0), loaded(1, 0));
    residency.request_begins("m", by("r", "a"), at(20));
    assert_eq!(residency.request_ends("r", at(30)), active(10), "a request pays for what it uses");
    assert_eq!(charged(&mut residency, 100), [("m".into(), Account::Keepalive("p".into()), 20 + 70)]);
    residency.copy_freed("m", ONE, at(100));
    residency.model_loaded("m", at(200), loaded(1, 0));
    assert_eq!(
        charged(&mut residency, 210),
        [("m".into(), Account::Keepalive("p".into()), 10)],
        "over an eviction too"
    );
    residency.pinned("m", Pin::NotPinned, at(210));
    assert_eq!(charged(&mut residency, 220), [("m".into(), Account::Idle, 10)]);
}

#[test]
fn a_model_is_kept_until_a_moment_whenever_its_use_ended() {
    let mut residency = Residency::new(Duration::ZERO);
    residency.model_loaded("m", at(0), loaded(1, 0));
    residency.request_begins("m", by("r", "a"), at(0));
    residency.request_ends("r", at(10));
    residency.kept_until("m", at(50), at(10));
    // Said anew, for longer, some time after the last use.
    residency.kept_until("m", at(80), at(30));
    let expected = [("m".into(), Account::Keepalive("a".into()), 70), ("m".into(), Account::Idle, 20)];
    assert_eq!(charged(&mut residency, 100), expected);
    residency.pinned("m", Pin::Operator, at(100));
    residency.request_begins("m", by("r", "a"), at(110));
    residency.request_ends("r", at(120));
    assert_eq!(charged(&mut residency, 150), [("m".into(), Account::Idle, 40)], "nobody's pin is nobody's to carry");
}

#[test]
fn a_load_is_split_over_those_who_wait_or_goes_to_its_account() {
    let mut residency = minute();
    let waiters = [by("r1", "a"), by("r2", "b"), by("r3", "b")];
    let load = Load { waiters: &waiters, ..loaded(10, 10) };
    residency.model_loaded("m", at(110), load);
    residency.request_begins("m", by("r1", "a"), at(110));
    let charge = residency.request_ends("r1", at(112));
    assert_eq!(charge, RequestCharge { active: KibMillis::new(20), load: KibMillis::new(34) });
    assert_eq!(charge.total(), KibMillis::new(54));
    assert_eq!(residency.request_ends("r2", at(112)).load, KibMillis::new(33), "one that never began pays too");
    assert_eq!(residency.request_ends("r3", at(112)).load, KibMillis::new(33));
    residency.copy_freed("m", ONE, at(112));
    residency.model_loaded("m", at(200), loaded(10, 30));
    assert_eq!(charged(&mut residency, 200), [("m".into(), Account::Load, 300)]);
}

#[test]
fn a_load_spans_back_over_advances_but_not_over_the_eviction_before_it() {
    let mut residency = minute();
    residency.model_loaded("m", at(0), loaded(1, 0));
    residency.copy_freed("m", ONE, at(100));
    residency.advance(at(150));
    residency.model_loaded("m", at(200), loaded(1, 60));
    assert_eq!(charged(&mut residency, 200), [("m".into(), Account::Load, 60), ("m".into(), Account::Idle, 100)]);
    residency.copy_freed("m", ONE, at(210));
    residency.model_loaded("m", at(220), loaded(1, 1000));
    assert_eq!(charged(&mut residency, 220), [("m".into(), Account::Load, 10), ("m".into(), Account::Idle, 10)]);
}

#[test]
fn repeated_and_unknown_events_change_nothing() {
    let mut residency = minute();
    residency.model_loaded("m", at(0), loaded(10, 0));
    residency.request_begins("m", by("r", "a"), at(0));
    residency.request_begins("m", by("r", "b"), at(5));
    residency.request_begins("n", by("r", "a"), at(5));
    assert_eq!(residency.request_ends("r", at(10)), active(100));
    assert_eq!(residency.request_ends("r", at(20)), RequestCharge::default());
    assert_eq!(residency.request_ends("never", at(20)), RequestCharge::default());
    residency.copy_freed("m", ONE, at(20));
    residency.copy_freed("m", ONE, at(30));
    residency.copy_freed("never", ONE, at(30));
    assert_eq!(charged(&mut residency, 40), [("m".into(), Account::Keepalive("a".into()), 100)]);
}

#[test]
fn an_eviction_under_an_active_request_only_stops_the_charging() {
    let mut residency = minute();
    residency.model_loaded("m", at(0), loaded(10, 0));
    residency.request_begins("m", by("r", "a"), at(0));
    residency.copy_freed("m", ONE, at(10));
    residency.advance(at(50));
    residency.model_loaded("m", at(60), loaded(10, 0));
    assert_eq!(residency.request_ends("r", at(70)), active(200));
    assert_eq!(residency.imbalance(), 0);
}

#[test]
fn time_that_runs_backwards_stands_still() {
    let mut residency = minute();
    residency.model_loaded("m", at(100), loaded(10, 0));
    residency.request_begins("m", by("r", "a"), at(50));
    residency.advance(at(110));
    assert_eq!(residency.request_ends("r", at(70)), active(100));
    assert_eq!(residency.measured(), 100);
}

#[test]
fn an_interval_is_given_out_once_with_its_span() {
    let mut residency = minute();
    residency.model_loaded("m", at(5), loaded(2, 0));
    let first = residency.take_intervals(at(10));
    assert_eq!(
        first,
        [AccountInterval {
            sequence: 0,
            model: "m".into(),
            held_as: HeldAs::Idle,
            kib_ms: KibMillis::new(10),
            from: at(5),
            to: at(10),
            ..AccountInterval::default()
        }]
    );
    assert_eq!(residency.take_intervals(at(10)), []);
    let second = residency.take_intervals(at(20));
    assert_eq!((second[0].sequence, second[0].from, second[0].to), (1, at(10), at(20)));
}

#[test]
fn extremes_lose_nothing() {
    let mut residency = minute();
    residency.model_loaded("m", at(0), Load { bytes: u64::MAX, ..loaded(0, 0) });
    residency.request_begins("m", by("r", "a"), at(0));
    residency.advance(at(1 << 63));
    residency.resident_bytes_sampled("m", (ONE, u64::MAX), at(1 << 63));
    residency.advance(at(u64::MAX));
    assert_eq!(residency.request_ends("r", at(u64::MAX)).active, KibMillis::MAX);
    assert_eq!(charged(&mut residency, u64::MAX), [("m".into(), Account::Unmeasured, u64::MAX)]);
    assert_eq!(residency.measured(), 2 * u128::from(u64::MAX));
}

/// Whatever happens in whatever order, everything that was resident is charged to someone, exactly once.
#[test]
fn charges_always_sum_to_the_integral() {
    for seed in 0..400 {
        let mut arbitrary = Arbitrary::new(seed);
        let mut residency = Residency::new(Duration::from_millis(arbitrary.below(200)));
        let (mut now, mut requests, mut accounts) = (0, 0, 0);
        for step in 0..200 {
            // Half of the events coincide with the one before.
            now += arbitrary.below(40) * arbitrary.below(2);
            // One event in eight is late.
            let when = at(if arbitrary.below(8) == 0 { now.saturating_sub(arbitrary.below(100)) } else { now });
            let (taken, ended) = arbitrary_event(&mut residency, &mut arbitrary, when);
            accounts += taken;
            requests += ended;
            assert_eq!(residency.imbalance(), 0, "seed {seed} step {step}");
        }
        accounts += sum(&residency.take_intervals(at(now)));
        for id in IDS {
            requests += u128::from(residency.request_ends(id, at(now)).total().get());
        }
        // Ending requests at the latest moment leaves nothing to charge, so what was given out is all there is.
        assert_eq!(accounts + requests, residency.measured(), "seed {seed}");
        assert!(residency.measured() > 0, "seed {seed} tests nothing");
    }
}

const IDS: [&str; 6] = ["r0", "r1", "r2", "r3", "r4", "r5"];

fn arbitrary_event(residency: &mut Residency, arbitrary: &mut Arbitrary, when: Moment) -> (u128, u128) {
    let model = ["m", "n", "o"][arbitrary.index(3)];
    let request = by(IDS[arbitrary.index(6)], ["a", "b", "c", "d"][arbitrary.index(4)]);
    let (artifact, bytes) = ([ONE, OTHER][arbitrary.index(2)], arbitrary.below(100_000));
    match arbitrary.below(12) {
        0 | 1 => {
            let waiters = [request, by("r5", "b")];
            let waiters = &waiters[..arbitrary.index(3)];
            let wall = Duration::from_millis(arbitrary.below(60));
            let asked_by = [None, Some("e")][arbitrary.index(2)];
            let bytes_before = arbitrary.below(100_000);
            let load = Load { artifact, bytes, bytes_before, quality: Quality::Derived, wall, waiters, asked_by };
            residency.model_loaded(model, when, load);
        }
        2 | 3 => residency.request_begins(model, request, when),
        4 => return (0, u128::from(residency.request_ends(request.id, when).total().get())),
        5 | 6 => residency.copy_freed(model, artifact, when),
        7 => residency.resident_bytes_sampled(model, (artifact, bytes), when),
        9 => {
            let pins = [Pin::NotPinned, Pin::Operator, Pin::Tenant("e".into())];
            residency.pinned(model, pins[arbitrary.index(3)].clone(), when);
        }
        8 | 10 => residency.kept_until(model, at(when.get().saturating_add(arbitrary.below(50))), when),
        _ => return (sum(&residency.take_intervals(when)), 0),
    }
    (0, 0)
}

fn sum(intervals: &[AccountInterval]) -> u128 {
    intervals.iter().map(|one| u128::from(one.kib_ms.get())).sum()
}

/// Tenants that do the same are charged the same, up to a KiB · ms per split.
#[test]
fn equal_tenants_are_charged_equally() {
    for seed in 0..100 {
        let mut arbitrary = Arbitrary::new(seed);
        let mut residency = minute();
        residency.model_loaded("m", at(0), loaded(arbitrary.below(5000) + 1, 0));
        residency.request_begins("m", by("r0", "a"), at(0));
        residency.request_begins("m", by("r1", "b"), at(0));
        let mut now = 0;
        let splits = arbitrary.below(20);
        for _ in 0..splits {
            now += arbitrary.below(10);
            residency.advance(at(now));
        }
        let (one, other) = (residency.request_ends("r0", at(now)), residency.request_ends("r1", at(now)));
        assert!(one.active.get().abs_diff(other.active.get()) <= splits, "seed {seed}: {one:?} {other:?}");
    }
}

/// Whoever does nothing is charged nothing, and changes nothing for others.
#[test]
fn whoever_only_waits_for_another_model_carries_nothing() {
    let history = |bystands: bool| {
        let mut residency = minute();
        let waiters = [by("r", "a")];
        residency.model_loaded("m", at(10), Load { waiters: &waiters, ..loaded(7, 10) });
        residency.request_begins("m", by("r", "a"), at(10));
        if bystands {
            residency.request_begins("n", by("s", "b"), at(11));
            assert_eq!(residency.charge_so_far("s", at(15)), RequestCharge::default());
            assert_eq!(residency.request_ends("s", at(18)), RequestCharge::default());
        }
        let charge = residency.request_ends("r", at(20));
        (charge, charged(&mut residency, 40))
    };
    assert_eq!(history(true), history(false));
}
