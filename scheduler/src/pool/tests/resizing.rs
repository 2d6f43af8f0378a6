//! The budget while it changes.

use tokio::time::{Instant, sleep};

use crate::pool::fake::*;
use crate::pool::*;

fn soon() -> Instant {
    Instant::now() + 60 * SECOND
}

#[tokio::test(start_paused = true)]
async fn a_larger_budget_serves_those_who_wait_at_once() {
    let bench = Bench::new(10);
    let _busy = bench.lease("a").await.unwrap();
    let model = bench.lease_meanwhile("b").await;
    let pool = bench.pool.clone();
    let start = Instant::now();
    bench.pool.set_budget(20).await.unwrap();
    assert!(model.await.unwrap().is_ok());
    assert_eq!(start.elapsed(), LOAD);
    let room = tokio::spawn(async move { pool.make_room("a", 7, soon()).await });
    sleep(SECOND).await;
    bench.pool.set_budget(27).await.unwrap();
    assert_eq!(room.await.unwrap().unwrap().bytes(), 7);
    assert_eq!((bench.pool.snapshot().await.limit_bytes, bench.budget.limit_bytes()), (27, 27));
}

#[tokio::test(start_paused = true)]
async fn a_smaller_budget_evicts_the_least_recently_used_now_and_busy_models_as_they_end() {
    let bench = Bench::new(40);
    let busy = bench.lease("a").await.unwrap();
    for name in ["b", "c", "d"] {
        drop(bench.lease(name).await.unwrap());
        sleep(SECOND).await;
    }
    bench.pool.set_budget(29).await.unwrap();
    assert_eq!(
        bench.heard.evictions(),
        [("b".into(), EvictionCause::BudgetCut), ("c".into(), EvictionCause::BudgetCut)]
    );
    bench.pool.set_budget(5).await.unwrap();
    assert_eq!(bench.state("d").await, ModelState::Evicting);
    sleep(2 * DISPOSE).await;
    assert_eq!((bench.budget.used_bytes(), bench.state("a").await), (10, ModelState::Resident));
    drop(busy);
    sleep(2 * DISPOSE).await;
    assert_eq!((bench.budget.used_bytes(), bench.state("a").await), (0, ModelState::Absent));
    assert!(bench.heard.evictions().iter().all(|(_, cause)| *cause == EvictionCause::BudgetCut));
}

#[tokio::test(start_paused = true)]
async fn nothing_is_granted_beyond_a_smaller_budget() {
    let bench = Bench::new(30);
    let (a, b) = (bench.lease("a").await.unwrap(), bench.lease("b").await.unwrap());
    bench.pool.set_budget(15).await.unwrap();
    let pool = bench.pool.clone();
    let room = tokio::spawn(async move { pool.make_room("a", 5, soon()).await });
    sleep(SECOND).await;
    assert!(!room.is_finished());
    drop(b);
    assert_eq!(room.await.unwrap().unwrap().bytes(), 5);
    assert_eq!(bench.heard.evictions(), [("b".into(), EvictionCause::BudgetCut)]);
    drop(a);
}

#[tokio::test(start_paused = true)]
async fn whoever_can_never_fit_a_smaller_budget_is_refused_at_once() {
    let bench = Bench::new(30);
    bench.loader.put("big", 25, Behaviour::Good);
    let _busy = bench.lease("a").await.unwrap();
    let model = bench.lease_meanwhile("big").await;
    let behind = bench.lease_meanwhile("b").await;
    let start = Instant::now();
    bench.pool.set_budget(22).await.unwrap();
    let refusal = model.await.unwrap().unwrap_err();
    assert!(matches!(refusal, LeaseError::TooLarge { needed_bytes: 25, limit_bytes: 22, .. }));
    assert!(start.elapsed().is_zero());
    assert!(behind.await.unwrap().is_ok(), "who stood behind is served");

    let pool = bench.pool.clone();
    let _busy_too = bench.lease("b").await.unwrap();
    let room = tokio::spawn(async move { pool.make_room("a", 9, soon()).await });
    sleep(SECOND).await;
    bench.pool.set_budget(18).await.unwrap();
    assert_eq!(room.await.unwrap().unwrap_err(), NoRoom::TooLarge { needed_bytes: 9, available_bytes: 8 });
}

#[tokio::test(start_paused = true)]
async fn a_load_in_flight_is_finished_and_its_model_goes_after_use() {
    let bench = Bench::new(10);
    let waiting = bench.lease_meanwhile("a").await;
    bench.pool.set_budget(9).await.unwrap();
    let lease = waiting.await.unwrap().unwrap();
    assert_eq!(bench.state("a").await, ModelState::Resident);
    drop(lease);
    assert_eq!(bench.state("a").await, ModelState::Evicting);
    assert!(matches!(bench.lease("a").await.unwrap_err(), LeaseError::TooLarge { limit_bytes: 9, .. }));
}

#[tokio::test(start_paused = true)]
async fn a_budget_too_small_for_what_is_pinned_is_refused() {
    let bench = Bench::new(20);
    bench.pool.pin("a", soon()).await.unwrap();
    let refusal = bench.pool.set_budget(11).await.unwrap_err();
    assert_eq!(refusal, BudgetRefused::Pinned { pinned_bytes: 10, pinned_bytes_max: 9 });
    assert_eq!(bench.budget.limit_bytes(), 20);
    bench.pool.set_budget(12).await.unwrap();
    bench.pool.unpin("a").await.unwrap();
    bench.pool.set_budget(0).await.unwrap();
    assert_eq!(bench.state("a").await, ModelState::Evicting);
    bench.pool.shutdown();
    bench.task.await.unwrap();
    assert_eq!(bench.pool.set_budget(1).await, Err(BudgetRefused::ShuttingDown));
}
