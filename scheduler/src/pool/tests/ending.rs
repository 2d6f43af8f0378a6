//! Shutdown, observers, and the pool as a source of room.

use std::sync::Arc;

use tokio::time::{Instant, sleep};

use crate::executor::{RoomAnswer, RoomSource};
use crate::pool::fake::*;
use crate::pool::*;

#[tokio::test(start_paused = true)]
async fn shutdown_mid_load_answers_the_waiters_and_drops_the_model_when_it_arrives() {
    let bench = Bench::new(10);
    let waiting = bench.lease_meanwhile("a").await;
    assert_eq!(bench.state("a").await, ModelState::Loading);
    let start = Instant::now();
    bench.pool.shutdown();
    assert!(matches!(waiting.await.unwrap().unwrap_err(), LeaseError::ShuttingDown));
    assert!(start.elapsed().is_zero(), "the answer did not wait for the load");
    bench.task.await.unwrap();
    assert_eq!((bench.loader.loads("a"), bench.budget.used_bytes()), (1, 0));
    assert_eq!(bench.heard.evictions(), [("a".into(), EvictionCause::Shutdown)]);
}

#[tokio::test(start_paused = true)]
async fn shutdown_evicts_idle_models_now_and_busy_ones_when_they_are_let_go() {
    let bench = Bench::new(20);
    drop(bench.lease("a").await.unwrap());
    let busy = bench.lease("b").await.unwrap();
    bench.pool.shutdown();
    sleep(2 * DISPOSE).await;
    assert_eq!(bench.budget.used_bytes(), 10);
    assert!(!bench.task.is_finished());
    assert_eq!(busy.version, 1);
    assert!(bench.pool.snapshot().await.shutting_down);
    drop(busy);
    bench.task.await.unwrap();
    assert_eq!(bench.budget.used_bytes(), 0);
}

#[tokio::test(start_paused = true)]
async fn after_shutdown_everything_is_refused() {
    let bench = Bench::new(10);
    let _busy = bench.lease("a").await.unwrap();
    let waiting = bench.lease_meanwhile("b").await;
    let pool = bench.pool.clone();
    let room = tokio::spawn(async move { pool.make_room("a", 0, Instant::now() + SECOND).await });
    assert_eq!(room.await.unwrap().unwrap().bytes(), 0);
    bench.pool.shutdown();
    assert!(matches!(waiting.await.unwrap().unwrap_err(), LeaseError::ShuttingDown));
    assert!(matches!(bench.lease("a").await.unwrap_err(), LeaseError::ShuttingDown));
    assert_eq!(bench.pool.unload("a").await, Err(ShuttingDown));
    let deadline = Instant::now() + SECOND;
    assert_eq!(bench.pool.make_room("a", 1, deadline).await.unwrap_err(), NoRoom::ShuttingDown);
}

#[tokio::test(start_paused = true)]
async fn a_pool_that_ended_refuses_too() {
    let bench = Bench::new(10);
    bench.pool.shutdown();
    bench.task.await.unwrap();
    let refusal = bench.pool.lease("a", within(SECOND)).await.unwrap_err();
    assert!(matches!(refusal, LeaseError::ShuttingDown));
    assert_eq!(bench.pool.unload("a").await, Err(ShuttingDown));
    let snapshot = bench.pool.snapshot().await;
    assert!(snapshot.shutting_down && snapshot.limit_bytes == 10);
    bench.pool.shutdown();
}

#[tokio::test(start_paused = true)]
async fn a_pool_without_handles_shuts_down() {
    let bench = Bench::new(10);
    let lease = bench.lease("a").await.unwrap();
    drop(bench.pool);
    sleep(SECOND).await;
    assert!(!bench.task.is_finished());
    drop(lease);
    bench.task.await.unwrap();
    assert_eq!(bench.budget.used_bytes(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_observer_hears_a_life_in_order() {
    let bench = Bench::new(10);
    drop(bench.lease_keeping("a", KeepAlive::For(SECOND)).await);
    sleep(2 * SECOND).await;
    let events = bench.heard.events();
    let kinds: Vec<_> = events.iter().map(|event| event.kind.clone()).collect();
    let waited = kinds.iter().find_map(|kind| match kind {
        PoolEventKind::LoadStarted { waited, .. } => Some(*waited),
        _ => None,
    });
    assert!(waited.unwrap() >= INSPECT);
    let (progress, kinds): (Vec<_>, Vec<_>) =
        kinds.into_iter().partition(|kind| matches!(kind, PoolEventKind::Progress(_)));
    assert_eq!(progress.len(), 11, "each of ten bytes, and the stage");
    let idle_for = events.iter().find_map(|event| match event.kind {
        PoolEventKind::Evicted { idle_for, .. } => Some(idle_for),
        _ => None,
    });
    assert!(idle_for.unwrap() >= SECOND);
    assert_eq!(
        kinds,
        [
            PoolEventKind::Requested { cause: LoadCause::Demand },
            PoolEventKind::AwaitingRoom { bytes: 10 },
            PoolEventKind::LoadStarted { bytes: 10, waited: waited.unwrap(), cause: LoadCause::Demand },
            PoolEventKind::Loaded {
                identity: FIRST,
                bytes: 10,
                wall: LOAD,
                waiters: 1,
                source: SOURCE,
                cause: LoadCause::Demand
            },
            PoolEventKind::Leased { leases: 1 },
            PoolEventKind::Released { leases: 0 },
            PoolEventKind::Idle { expires_in: Some(SECOND), break_even: None },
            PoolEventKind::Evicted { bytes: 10, cause: EvictionCause::IdleTimeout, idle_for: idle_for.unwrap() },
            PoolEventKind::Freed { identity: FIRST, bytes: 10 },
        ]
    );
    assert!(events.is_sorted_by_key(|event| event.at));
}

#[tokio::test]
async fn an_observer_that_panics_is_at_fault_alone() {
    struct Panics;
    impl PoolObserver for Panics {
        fn observe(&self, _event: &PoolEvent) {
            panic!("the observer panics");
        }
    }
    let loader = Arc::new(FakeLoader::default());
    loader.put("a", 1, Behaviour::Good);
    let (pool, _task) = Pool::spawn(loader, crate::Budget::new(1), PoolOptions::default(), Arc::new(Panics));
    assert!(pool.lease("a", within(10 * SECOND)).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn the_pool_answers_a_sequence_that_needs_room() {
    let bench = Bench::new(20);
    drop(bench.lease("a").await.unwrap());
    let _busy = bench.lease("b").await.unwrap();
    let (told, answered) = tokio::sync::oneshot::channel();
    let (answer, _wanted) = RoomAnswer::new(move |room| drop(told.send(room)));
    bench.pool.request(&"b".into(), 10, Instant::now() + SECOND, answer);
    assert_eq!(answered.await.unwrap().unwrap().bytes(), 10);
    let pressure = EvictionCause::KvPressure { for_model: "b".into() };
    assert_eq!(bench.heard.evictions(), [("a".into(), pressure)]);
}

#[tokio::test(start_paused = true)]
async fn room_that_a_sequence_does_not_want_any_more_is_not_made() {
    let bench = Bench::new(10);
    let busy = bench.lease("a").await.unwrap();
    bench.loader.put("kv only", 0, Behaviour::Good);
    let (told, answered) = tokio::sync::oneshot::channel();
    let (answer, wanted) = RoomAnswer::new(move |room| drop(told.send(room)));
    bench.pool.request(&"kv only".into(), 10, Instant::now() + 60 * SECOND, answer);
    sleep(SECOND).await;
    assert_eq!(bench.pool.snapshot().await.room_waiters, 1);
    drop(wanted);
    assert!(answered.await.unwrap().is_err());
    drop(busy);
    sleep(SECOND).await;
    assert_eq!((bench.pool.snapshot().await.room_waiters, bench.state("a").await), (0, ModelState::Idle));
}
