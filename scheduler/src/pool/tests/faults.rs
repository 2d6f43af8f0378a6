//! Loads that fail, and what is remembered of them.

use tokio::time::sleep;

use crate::pool::fake::*;
use crate::pool::*;

#[tokio::test(start_paused = true)]
async fn a_failed_load_answers_everyone_who_waited_and_gives_its_bytes_back() {
    let bench = Bench::new(10);
    bench.loader.put("a", 10, Behaviour::Transient);
    let one = bench.lease_meanwhile("a").await;
    let two = bench.lease_meanwhile("a").await;
    for waiting in [one, two] {
        let refusal = waiting.await.unwrap().unwrap_err();
        assert!(matches!(refusal, LeaseError::LoadFailed(source) if source.message == "try again"));
    }
    assert_eq!((bench.loader.loads("a"), bench.budget.used_bytes()), (1, 0));
    assert_eq!(bench.find("a").await, None);
}

#[tokio::test(start_paused = true)]
async fn a_transient_failure_is_not_remembered() {
    let bench = Bench::new(10);
    bench.loader.put("a", 10, Behaviour::Transient);
    bench.lease("a").await.unwrap_err();
    bench.lease("a").await.unwrap_err();
    assert_eq!(bench.loader.loads("a"), 2);
}

#[tokio::test(start_paused = true)]
async fn a_missing_artifact_is_not_remembered() {
    let bench = Bench::new(10);
    assert!(matches!(bench.lease("new").await.unwrap_err(), LeaseError::NotFound(_)));
    assert_eq!(bench.find("new").await, None);
    bench.loader.put("new", 1, Behaviour::Good);
    assert!(bench.lease("new").await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn an_artifact_that_was_deleted_serves_on_and_is_not_found_when_cold() {
    let bench = Bench::new(10);
    let lease = bench.lease_keeping("a", KeepAlive::DropAfterUse).await;
    bench.loader.records.lock().unwrap().artifacts.remove("a");
    assert!(bench.lease("a").await.is_ok());
    drop(lease);
    assert!(matches!(bench.lease("a").await.unwrap_err(), LeaseError::NotFound(_)));
}

#[tokio::test(start_paused = true)]
async fn an_invalid_artifact_is_quarantined_with_doubled_back_off() {
    let options = PoolOptions { quarantine_min: 4 * SECOND, quarantine_max: 10 * SECOND, ..PoolOptions::default() };
    let bench = Bench::with(10, options);
    bench.loader.put("a", 10, Behaviour::Invalid);
    for (round, backoff) in [4, 8, 10, 10].into_iter().enumerate() {
        let LeaseError::Quarantined { source, retry_after } = bench.lease("a").await.unwrap_err() else {
            panic!("an invalid artifact is quarantined")
        };
        assert_eq!((source.message.as_str(), retry_after), ("bad tensor", backoff * SECOND));
        assert_eq!(bench.loader.loads("a"), round + 1);
        sleep(SECOND).await;
        let again = bench.lease("a").await.unwrap_err();
        assert!(matches!(again, LeaseError::Quarantined { retry_after, .. } if retry_after < (backoff - 1) * SECOND
            && retry_after > (backoff - 2) * SECOND));
        assert_eq!(bench.loader.loads("a"), round + 1, "it was not tried again");
        assert!(bench.model("a").await.quarantined_for.is_some());
        sleep(backoff * SECOND).await;
    }
}

#[tokio::test(start_paused = true)]
async fn another_identity_ends_the_quarantine_at_once() {
    let bench = Bench::new(10);
    bench.loader.put("a", 10, Behaviour::Invalid);
    bench.lease("a").await.unwrap_err();
    bench.loader.put("a", 10, Behaviour::Good);
    assert!(bench.lease("a").await.is_ok());
    assert_eq!(bench.model("a").await.quarantined_for, None);
}

#[tokio::test(start_paused = true)]
async fn another_invalid_artifact_starts_its_own_back_off() {
    let options = PoolOptions { quarantine_min: 4 * SECOND, ..PoolOptions::default() };
    let bench = Bench::with(10, options);
    bench.loader.put("a", 10, Behaviour::Invalid);
    bench.lease("a").await.unwrap_err();
    bench.loader.put("a", 10, Behaviour::Invalid);
    let refusal = bench.lease("a").await.unwrap_err();
    assert!(matches!(refusal, LeaseError::Quarantined { retry_after, .. } if retry_after == 4 * SECOND));
    assert_eq!(bench.loader.loads("a"), 2);
}

#[tokio::test(start_paused = true)]
async fn an_inspection_that_finds_it_invalid_never_loads() {
    let bench = Bench::new(10);
    bench.loader.put("a", 10, Behaviour::InvalidHeader);
    let refusal = bench.lease("a").await.unwrap_err();
    assert!(matches!(refusal, LeaseError::Quarantined { source, .. } if source.message == "bad header"));
    assert_eq!(bench.loader.loads("a"), 0);
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_a_load_is_a_failed_load() {
    let bench = Bench::new(10);
    bench.loader.put("a", 10, Behaviour::Panics);
    let refusal = bench.lease("a").await.unwrap_err();
    assert!(matches!(refusal, LeaseError::Quarantined { source, .. } if source.message == "the fake loader panics"));
    assert_eq!(bench.budget.used_bytes(), 0);
    assert!(bench.lease("b").await.is_ok(), "the pool goes on");
}

#[tokio::test(start_paused = true)]
async fn failures_are_told_with_their_kind() {
    let bench = Bench::new(10);
    bench.loader.put("a", 10, Behaviour::Invalid);
    bench.lease("a").await.unwrap_err();
    let failed = PoolEventKind::LoadFailed { fault: FaultKind::Invalid, message: "bad tensor".into(), waiters: 1 };
    assert_eq!(bench.heard.events().last().map(|event| event.kind.clone()), Some(failed));
}

#[tokio::test(start_paused = true)]
async fn of_too_many_absent_models_the_one_asked_for_longest_ago_is_forgotten() {
    let remembered = crate::limits::ABSENT_REMEMBERED_MAX;
    let bench = Bench::new(10);
    for number in 0..=remembered {
        let name = format!("model {number}");
        bench.loader.put(&name, 10, Behaviour::Good);
        drop(bench.lease_keeping(&name, KeepAlive::DropAfterUse).await);
        if number == 1 {
            drop(bench.lease_keeping("model 0", KeepAlive::DropAfterUse).await);
        }
    }
    assert_eq!(bench.pool.snapshot().await.models.len(), remembered);
    assert_eq!((bench.find("model 1").await, bench.model("model 0").await.loads), (None, 2));
}

#[tokio::test(start_paused = true)]
async fn row_39_a_model_that_fails_in_use_is_refused_until_its_back_off_is_over() {
    let options = PoolOptions { quarantine_min: 4 * SECOND, quarantine_max: 10 * SECOND, ..PoolOptions::default() };
    let bench = Bench::with(20, options);
    bench.loader.put("a", 10, Behaviour::Good);
    bench.loader.put("b", 10, Behaviour::Good);
    for backoff in [4, 8, 10] {
        let (lease, other) = (bench.lease("a").await.unwrap(), bench.lease("a").await.unwrap());
        bench.pool.quarantine(&lease, Fault::in_use("it hangs")).await;
        // Those who were in the same step say the same.
        bench.pool.quarantine(&other, Fault::in_use("it hangs")).await;
        let refusal = bench.lease("a").await.unwrap_err();
        assert!(
            matches!(&refusal, LeaseError::Quarantined { source, retry_after }
            if source.message == "it hangs" && *retry_after == backoff * SECOND),
            "{refusal:?}"
        );
        assert!(bench.lease("b").await.is_ok(), "others are served");
        drop(lease);
        assert_eq!(bench.model("a").await.state, ModelState::Resident, "whoever holds it keeps it");
        drop(other);
        sleep(SECOND).await;
        assert_eq!(bench.model("a").await.state, ModelState::Absent);
        assert_eq!(bench.heard.evictions().last(), Some(&("a".into(), EvictionCause::Quarantined)));
        assert!(matches!(bench.lease("a").await.unwrap_err(), LeaseError::Quarantined { .. }));
        sleep(backoff * SECOND).await;
    }
    drop(bench.lease("a").await.unwrap());
    sleep(30 * SECOND).await;
    // It did well for long enough.
    let lease = bench.lease("a").await.unwrap();
    bench.pool.quarantine(&lease, Fault::in_use("it hangs")).await;
    assert_eq!(bench.model("a").await.quarantined_for, Some(4 * SECOND));
}

#[tokio::test(start_paused = true)]
async fn a_hold_that_never_ends_keeps_its_bytes_and_holds_up_nobody() {
    let options = PoolOptions { quarantine_min: SECOND, busy_turn_max: SECOND, ..PoolOptions::default() };
    let bench = Bench::with(20, options);
    for name in ["a", "b", "c"] {
        bench.loader.put(name, 10, Behaviour::Good);
    }
    let stuck = bench.lease("a").await.unwrap();
    bench.pool.quarantine(&stuck, Fault::in_use("it hangs")).await;
    // The room that is left is shared by turns, and what hangs is not waited for.
    let busy = bench.lease("b").await.unwrap();
    let waiting = bench.lease_meanwhile("c").await;
    sleep(2 * SECOND).await;
    assert_eq!(bench.model("a").await.gives_way_for, None);
    assert!(bench.model("b").await.gives_way_for.is_some());
    drop(busy);
    assert!(waiting.await.unwrap().is_ok());
    // The copy that is there serves once its time is over: there is room for no other.
    let again = bench.lease("a").await.unwrap();
    assert!(!again.is_cold());
    assert_eq!((bench.loader.loads("a"), bench.budget.used_bytes()), (1, 20));
    drop((stuck, again));
    sleep(SECOND).await;
    assert_eq!(bench.heard.evictions().last(), Some(&("a".into(), EvictionCause::Quarantined)));
}

#[tokio::test(start_paused = true)]
async fn another_artifact_is_not_in_the_quarantine_of_the_one_that_failed_in_use() {
    let bench = Bench::new(10);
    bench.loader.put("a", 10, Behaviour::Good);
    let lease = bench.lease("a").await.unwrap();
    bench.pool.quarantine(&lease, Fault::in_use("no numbers")).await;
    bench.loader.put("a", 10, Behaviour::Good);
    assert!(matches!(bench.lease("a").await.unwrap_err(), LeaseError::Quarantined { .. }), "the old one is there yet");
    drop(lease);
    assert!(bench.lease("a").await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_pin_ends_where_the_model_fails_in_use() {
    let bench = Bench::new(10);
    bench.loader.put("a", 5, Behaviour::Good);
    bench.pool.pin("a", tokio::time::Instant::now() + SECOND).await.unwrap();
    let lease = bench.lease("a").await.unwrap();
    bench.pool.quarantine(&lease, Fault::in_use("it hangs")).await;
    assert!(!bench.model("a").await.pinned);
    assert_eq!(bench.pool.snapshot().await.pinned_bytes, 0);
    drop(lease);
    sleep(SECOND).await;
    assert_eq!(bench.model("a").await.state, ModelState::Absent);
}
