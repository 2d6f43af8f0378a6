//! Who carries what no request does, and as what.

use super::*;

#[test]
fn who_asked_for_a_load_that_nobody_waits_for_carries_it() {
    let mut residency = minute();
    residency.model_loaded("m", at(30), Load { asked_by: Some("p"), ..loaded(2, 30) });
    let waiters = [by("l", "q"), by("r", "a")];
    residency.model_loaded("n", at(30), Load { waiters: &waiters, asked_by: Some("p"), ..loaded(2, 30) });
    residency.request_abandoned("l", ("n", Some("q")), at(30));
    residency.request_abandoned("r", ("n", None), at(30));
    let carried = [
        ("m".into(), Account::Keepalive("p".into()), 60, 0),
        ("n".into(), Account::Load, 30, 7),
        ("n".into(), Account::Keepalive("q".into()), 30, 8),
    ];
    residency.load_computed("n", Some("q"), Nanos::new(8), at(30));
    residency.load_computed("n", None, Nanos::new(7), at(30));
    let intervals = residency.take_intervals(at(30));
    assert!(intervals.iter().all(|one| one.held_as == HeldAs::Load), "{intervals:?}");
    let told = intervals.iter().map(|one| (one.model.clone(), one.account(), one.kib_ms.get(), one.cpu.get()));
    assert_eq!(told.collect::<Vec<_>>(), carried);
    assert_eq!(residency.imbalance(), 0);
    assert_eq!(residency.take_intervals(at(30)), [], "it is told once");
}

/// Processor time is carried though no memory is, and what does not fit one interval goes to the next.
#[test]
fn processor_time_is_told_to_the_nanosecond() {
    let mut residency = minute();
    residency.load_computed("m", Some("a"), Nanos::new(5), at(7));
    residency.load_computed("m", Some("a"), Nanos::ZERO, at(9));
    let told = |residency: &mut Residency| {
        assert_eq!(residency.imbalance(), 0);
        let intervals = residency.take_intervals(at(10));
        assert_eq!(residency.imbalance(), 0);
        intervals.iter().map(|one| (one.kib_ms.get(), one.cpu.get(), one.from.get())).collect::<Vec<_>>()
    };
    assert_eq!(told(&mut residency), [(0, 5, 7)]);
    residency.load_computed("m", None, Nanos::MAX, at(8));
    residency.load_computed("m", None, Nanos::new(3), at(9));
    assert_eq!(told(&mut residency), [(0, u64::MAX, 8), (0, 3, 9)]);
}

#[test]
fn what_is_kept_is_told_apart_from_what_is_pinned_and_what_is_idle() {
    let mut residency = Residency::new(Duration::from_millis(10));
    residency.model_loaded("m", at(0), loaded(1, 0));
    residency.request_begins("m", by("r", "a"), at(0));
    residency.request_ends("r", at(0));
    residency.pinned("m", Pin::Tenant("a".into()), at(15));
    residency.pinned("m", Pin::Operator, at(18));
    let held: Vec<_> =
        residency.take_intervals(at(20)).into_iter().map(|one| (one.tenant, one.held_as, one.kib_ms.get())).collect();
    let a = || Some("a".to_owned());
    let expected =
        [(None, HeldAs::Pinned, 2), (None, HeldAs::Idle, 5), (a(), HeldAs::Keepalive, 10), (a(), HeldAs::Pinned, 3)];
    assert_eq!(held, expected);
    assert_eq!(residency.imbalance(), 0);
}
