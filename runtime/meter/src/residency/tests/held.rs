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
        ("m".into(), Account::Keepalive("p".into()), 60),
        ("n".into(), Account::Keepalive("q".into()), 30),
        ("n".into(), Account::Load, 30),
    ];
    assert_eq!(charged(&mut residency, 30), carried);
    let held: Vec<_> = residency.take_held().into_iter().map(|held| (held.tenant, held.held_as)).collect();
    let load = HeldAs::Load;
    assert_eq!(held, [(Some("p".into()), load), (None, load), (Some("q".into()), load)]);
    assert_eq!(residency.take_held(), [], "it is told once");
}

#[test]
fn what_is_kept_is_told_apart_from_what_is_pinned_and_what_is_idle() {
    let mut residency = Residency::new(Duration::from_millis(10));
    residency.model_loaded("m", at(0), loaded(1, 0));
    residency.request_begins("m", by("r", "a"), at(0));
    residency.request_ends("r", at(0));
    residency.pinned("m", Pin::Tenant("a".into()), at(15));
    residency.pinned("m", Pin::Operator, at(18));
    residency.advance(at(20));
    let held: Vec<_> =
        residency.take_held().into_iter().map(|held| (held.tenant, held.held_as, held.kib_ms.get())).collect();
    let a = || Some("a".to_owned());
    let expected =
        [(None, HeldAs::Pinned, 2), (None, HeldAs::Idle, 5), (a(), HeldAs::Keepalive, 10), (a(), HeldAs::Pinned, 3)];
    assert_eq!(held, expected);
    assert_eq!(charged(&mut residency, 20).iter().map(|(_, _, kib_ms)| kib_ms).sum::<u64>(), 20);
}
