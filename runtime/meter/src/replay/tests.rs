use std::time::Duration;

use super::*;
use crate::arbitrary::Arbitrary;
use crate::units::{KibMillis, Moment, Nanos};

const MIB: u64 = 1 << 20;

fn request(tenant: &str, model: &str, arrived_ms: u64, busy_ms: u64) -> TraceRequest {
    TraceRequest {
        tenant: tenant.into(),
        model: model.into(),
        arrived: Moment::new(arrived_ms),
        busy_ms,
        weights_bytes: MIB,
        ..TraceRequest::default()
    }
}

fn cold(request: TraceRequest, wait_ms: u64, cpu_ms: u64) -> TraceRequest {
    let [load_wait, load_cpu] = [wait_ms, cpu_ms].map(|millis| Nanos::from(Duration::from_millis(millis)));
    TraceRequest { cold: true, load_wait, load_cpu, ..request }
}

fn keeping(seconds: u64) -> Policy {
    Policy { keep_alive: Some(Duration::from_secs(seconds)), ..Policy::default() }
}

fn held(replayed: &Replayed) -> u64 {
    let SavingsInputs { models, tenants, .. } = &replayed.inputs;
    let of_models = models.iter().flat_map(|one| [one.load, one.pinned, one.idle]);
    let of_tenants = tenants.iter().flat_map(|one| [one.active, one.load, one.keepalive]);
    of_models.chain(of_tenants).sum::<KibMillis>().get()
}

/// Two requests a minute apart, whose loads took 100 ms.
fn twice() -> Trace {
    Trace::new(vec![cold(request("a", "m", 0, 1000), 100, 40), cold(request("a", "m", 60_000, 1000), 100, 20)])
}

#[test]
fn a_keep_alive_is_held_and_expires() {
    let trace = twice();
    assert_eq!(
        trace.models()["m"],
        RecordedModel { bytes: MIB, loads: 2, load_ms: 100, load_cpu: Nanos::from(Duration::from_millis(30)) }
    );
    let none = replay(&trace, &keeping(0));
    assert_eq!((none.loads, none.evictions, held(&none)), (2, 2, 2 * 1100 * 1024));
    let ten = replay(&trace, &keeping(10));
    assert_eq!((ten.loads, held(&ten)), (2, (2 * 1100 + 10_000) * 1024));
    let forever = replay(&trace, &Policy::default());
    assert_eq!((forever.loads, forever.evictions), (1, 0));
    // The second request waits for no load, and ends that much earlier; the window is as it was recorded.
    assert_eq!(forever.inputs.window_ms, 61_100);
    assert_eq!(held(&forever), 61_100 * 1024);
    let tenant = &forever.inputs.tenants[0];
    assert_eq!((tenant.requests, tenant.cold_requests, tenant.active.get()), (2, 1, 2000 * 1024));
    assert_eq!((tenant.load_cpu.get(), tenant.span_ms), (30_000_000, 61_000));
    assert_eq!(forever.inputs.waits.max_ns.get(), 100_000_000);
}

#[test]
fn those_who_wait_together_share_one_load() {
    let both = || vec![cold(request("a", "m", 0, 500), 100, 15), cold(request("b", "m", 60, 500), 40, 15)];
    let trace = Trace::new(both());
    let RecordedModel { loads, load_ms, load_cpu, .. } = trace.models()["m"];
    assert_eq!((loads, load_ms, load_cpu.get()), (1, 100, 30_000_000));
    let replayed = replay(&trace, &keeping(0));
    assert_eq!((replayed.loads, replayed.inputs.waits.requests), (1, 2));
    let waits: Vec<u64> = replayed.inputs.tenants.iter().map(|one| one.load_wait.get() / 1_000_000).collect();
    assert_eq!(waits, [100, 40]);
    assert_eq!(replayed.inputs.tenants.iter().map(|one| one.load_cpu.get()).sum::<u64>(), 30_000_000);
}

#[test]
fn a_budget_makes_the_least_recently_used_go_and_others_wait() {
    let trace = Trace::new(vec![
        cold(request("a", "m", 0, 100), 10, 1),
        cold(request("a", "n", 200, 100), 10, 1),
        cold(request("a", "o", 400, 1000), 10, 1),
        request("a", "n", 500, 1000),
        cold(request("a", "m", 600, 100), 10, 1),
    ]);
    let two = replay(&trace, &Policy { budget_bytes: Some(2 * MIB), ..Policy::default() });
    // `o` takes the place of `m`, which then waits until `o` is idle.
    assert_eq!((two.loads, two.evictions, two.refused, two.peak_bytes), (4, 2, 0, 2 * MIB));
    assert_eq!(two.inputs.waits.max_ns.get() / 1_000_000, 410 + 1000 + 10 - 600);
    let none = replay(&trace, &Policy { budget_bytes: Some(MIB - 1), ..Policy::default() });
    assert_eq!((none.loads, none.refused, held(&none)), (0, 5, 0));
    let pinned = ["m".to_owned()].into();
    let one = replay(&trace, &Policy { budget_bytes: Some(MIB), pinned, ..Policy::default() });
    assert_eq!((one.loads, one.refused), (1, 3), "what is pinned leaves no room");
    assert_eq!(one.inputs.tenants.iter().map(|tenant| tenant.requests).sum::<u64>(), 2);
}

#[test]
fn nothing_is_lost_and_nothing_is_above_the_budget_whatever_the_trace() {
    for seed in 0..300 {
        let mut any = Arbitrary::new(seed);
        let requests = (0..any.up_to(60)).map(|_| {
            let tenant = ["a", "b", "c"][any.index(3)];
            let model = ["m", "n", "o", "p"][any.index(4)];
            let recorded = request(tenant, model, any.below(20_000), any.below(3000));
            if any.below(3) == 0 { cold(recorded, any.below(400), any.below(100)) } else { recorded }
        });
        let trace = Trace::new(requests.collect());
        let keep_alive = (any.below(4) > 0).then(|| Duration::from_millis(any.below(5000)));
        let budget_bytes = (any.below(4) > 0).then(|| any.below(5) * MIB);
        let pinned = if any.below(4) == 0 { ["n".to_owned()].into() } else { BTreeSet::new() };
        let policy = Policy { keep_alive, budget_bytes, pinned };
        let replayed = replay(&trace, &policy);
        assert_eq!(replayed, replay(&trace, &policy), "seed {seed}");
        assert!(replayed.peak_bytes <= budget_bytes.unwrap_or(u64::MAX), "seed {seed}: {replayed:?}");
        let SavingsInputs { window_ms, models, tenants, waits, .. } = &replayed.inputs;
        let ended: u64 = tenants.iter().map(|one| one.requests).sum();
        assert_eq!(ended + replayed.refused, trace.requests().len() as u64, "seed {seed}");
        assert_eq!(waits.requests, tenants.iter().map(|one| one.cold_requests).sum::<u64>(), "seed {seed}");
        assert!(held(&replayed) <= replayed.peak_bytes / 1024 * window_ms, "seed {seed}: {replayed:?}");
        // Whoever was served held the model for as long as it was recorded; several at once share it.
        let busy: u64 = trace.requests().iter().map(|one| one.busy_ms * 1024).sum();
        assert!(tenants.iter().map(|one| one.active.get()).sum::<u64>() <= busy, "seed {seed}");
        assert!(replayed.loads - replayed.evictions <= models.len() as u64, "seed {seed}");
        if budget_bytes.is_none() {
            let longer = Policy { keep_alive: keep_alive.map(|time| 2 * time), ..policy };
            assert!(replay(&trace, &longer).loads <= replayed.loads, "seed {seed}");
        }
    }
}
