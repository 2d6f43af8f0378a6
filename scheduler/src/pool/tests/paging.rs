//! Models that are larger than the budget.

use tokio::time::{Instant, sleep};

use crate::pool::fake::*;
use crate::pool::*;

fn soon() -> Instant {
    Instant::now() + 60 * SECOND
}

fn bench() -> Bench {
    let bench = Bench::with(80, PoolOptions { oversize: Oversize::Page, ..PoolOptions::default() });
    bench.loader.put("huge", 1_000, Behaviour::Good);
    bench
}

#[tokio::test(start_paused = true)]
async fn a_model_larger_than_the_budget_is_paged_when_that_is_set() {
    let bench = bench();
    drop(bench.lease("a").await.unwrap());
    sleep(SECOND).await;
    drop(bench.lease("b").await.unwrap());
    let lease = bench.lease("huge").await.unwrap();
    let model = bench.model("huge").await;
    assert_eq!((model.paged, model.weights_bytes, lease.weights_bytes()), (true, 70, 70), "an eighth is left");
    let live_bytes = bench.loader.records.lock().unwrap().live_bytes;
    assert_eq!(live_bytes, 70 + 10, "the loader was told");
    assert_eq!(bench.heard.evictions(), [("a".into(), EvictionCause::ModelPressure { for_model: "huge".into() })]);
    assert_eq!(bench.pool.make_room("huge", 10, soon()).await.unwrap().bytes(), 10);
    assert!(!bench.model("b").await.paged);

    assert_eq!(bench.pool.pin("huge", soon()).await.unwrap(), LoadOutcome::Present);
}

#[tokio::test(start_paused = true)]
async fn a_model_that_just_fits_is_not_paged() {
    let bench = bench();
    bench.loader.put("large", 80, Behaviour::Good);
    let lease = bench.lease("large").await.unwrap();
    assert_eq!((lease.weights_bytes(), bench.model("large").await.paged), (80, false));
}

#[tokio::test(start_paused = true)]
async fn what_is_pinned_is_not_paged_over() {
    let bench = bench();
    bench.pool.pin("a", soon()).await.unwrap();
    let lease = bench.lease("huge").await.unwrap();
    assert_eq!((lease.weights_bytes(), bench.model("a").await.state), (60, ModelState::Idle));
    drop(lease);
    bench.pool.unload("huge").await.unwrap();
    bench.loader.put("rest", 62, Behaviour::Good);
    bench.pool.pin("rest", soon()).await.unwrap();
    let refusal = bench.lease("huge").await.unwrap_err();
    assert!(matches!(refusal, LeaseError::TooLarge { pinned_bytes: 72, .. }), "nothing worth having is left");
}

#[tokio::test(start_paused = true)]
async fn a_paged_model_that_waits_follows_the_budget() {
    let bench = bench();
    let busy = [bench.lease("a").await.unwrap(), bench.lease("b").await.unwrap()];
    let waiting = bench.lease_meanwhile("huge").await;
    sleep(SECOND).await;
    assert_eq!(bench.state("huge").await, ModelState::AwaitingRoom);
    bench.pool.set_budget(88).await.unwrap();
    drop(busy);
    assert_eq!(waiting.await.unwrap().unwrap().weights_bytes(), 77);
}
