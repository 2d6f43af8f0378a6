//! Loads: one for all who ask, and bounded.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::pool::fake::*;
use crate::pool::*;

#[tokio::test(start_paused = true)]
async fn sixty_four_first_requests_load_once() {
    let bench = Bench::new(10);
    let mut waiting = Vec::new();
    for _ in 0..64 {
        let pool = bench.pool.clone();
        waiting.push(tokio::spawn(async move { pool.lease("a", within(SECOND)).await }));
    }
    let mut leases = Vec::new();
    for task in waiting {
        leases.push(task.await.unwrap().unwrap());
    }
    assert_eq!(bench.loader.inspections(), 1);
    assert_eq!(bench.loader.loads("a"), 1);
    assert_eq!(bench.model("a").await.leases, 64);
    assert_eq!(bench.budget.used_bytes(), 10);
    assert!(leases.iter().all(|lease| lease.is_cold() && lease.load_wait() >= LOAD));
    assert!(leases.iter().all(|lease| std::ptr::eq(lease.model(), leases[0].model())));
}

#[tokio::test(start_paused = true)]
async fn a_model_in_memory_is_handed_out_at_once() {
    let bench = Bench::new(10);
    let first = bench.lease("a").await.unwrap();
    let start = Instant::now();
    let second = bench.lease("a").await.unwrap();
    assert_eq!(start.elapsed(), Duration::ZERO);
    assert!(first.is_cold() && !second.is_cold());
    assert_eq!(second.load_wait(), Duration::ZERO);
    assert_eq!((second.weights_bytes(), second.identity()), (10, Identity([1, 0, 0, 0])));
    assert_eq!((&**second.name(), &*second.name), ("a", "a"));
}

#[tokio::test(start_paused = true)]
async fn a_load_survives_its_initiator_leaving() {
    let bench = Bench::new(10);
    let initiator = bench.lease_meanwhile("a").await;
    let follower = bench.lease_meanwhile("a").await;
    initiator.abort();
    let lease = follower.await.unwrap().unwrap();
    assert!(lease.is_cold());
    assert_eq!(bench.loader.loads("a"), 1);
    assert_eq!(bench.model("a").await.leases, 1);
}

#[tokio::test(start_paused = true)]
async fn a_load_that_everyone_left_becomes_an_idle_model() {
    let bench = Bench::new(10);
    bench.lease_meanwhile("a").await.abort();
    assert_eq!(bench.state("a").await, ModelState::Loading);
    sleep(LOAD).await;
    assert_eq!(bench.state("a").await, ModelState::Idle);
    assert!(!bench.lease("a").await.unwrap().is_cold());
}

#[tokio::test(start_paused = true)]
async fn different_models_load_in_parallel_up_to_a_bound() {
    let bench = Bench::with(50, PoolOptions { loads_parallel_max: 2, ..PoolOptions::default() });
    let start = Instant::now();
    let waiting: Vec<_> = ["a", "b", "c", "d"]
        .map(|name| {
            let pool = bench.pool.clone();
            tokio::spawn(async move { pool.lease(name, within(SECOND)).await.unwrap() })
        })
        .into();
    sleep(2 * INSPECT).await;
    let loading = bench.pool.snapshot().await.models.iter().filter(|model| model.state == ModelState::Loading).count();
    assert_eq!(loading, 2);
    for task in waiting {
        task.await.unwrap();
    }
    assert!(start.elapsed() >= 2 * LOAD && start.elapsed() < 3 * LOAD, "two at a time: {:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_load_in_flight_holds_its_bytes() {
    let bench = Bench::new(15);
    let first = bench.lease_meanwhile("a").await;
    assert_eq!(bench.budget.used_bytes(), 10);
    let second = bench.lease_meanwhile("b").await;
    assert_eq!(bench.state("a").await, ModelState::Loading);
    assert_eq!(bench.state("b").await, ModelState::AwaitingRoom);
    drop(first.await.unwrap().unwrap());
    drop(second.await.unwrap().unwrap());
    assert_eq!(bench.heard.evictions(), [("a".into(), EvictionCause::ModelPressure { for_model: "b".into() })]);
}

#[tokio::test(start_paused = true)]
async fn a_wait_ends_at_the_deadline_of_the_request() {
    let bench = Bench::new(10);
    let start = Instant::now();
    let refusal = bench.pool.lease("a", within(LOAD / 2)).await.unwrap_err();
    assert!(matches!(refusal, LeaseError::DeadlinePassed));
    assert!(start.elapsed() <= LOAD / 2 + Duration::from_millis(1));
    let refusal = bench.pool.lease("a", within(Duration::ZERO)).await.unwrap_err();
    assert!(matches!(refusal, LeaseError::DeadlinePassed));
    sleep(LOAD).await;
    assert_eq!(bench.state("a").await, ModelState::Idle, "the load went on");
}

#[tokio::test(start_paused = true)]
async fn a_wait_ends_at_the_longest_load_wait() {
    let bench = Bench::with(10, PoolOptions { load_wait_max: 3 * SECOND, ..PoolOptions::default() });
    let _busy = bench.lease("a").await.unwrap();
    let start = Instant::now();
    let refusal = bench.lease("b").await.unwrap_err();
    assert!(matches!(refusal, LeaseError::Overloaded { retry_after } if retry_after >= SECOND));
    assert!(start.elapsed() <= 3 * SECOND + Duration::from_millis(1));
}

#[tokio::test(start_paused = true)]
async fn more_waiters_than_the_bound_are_refused_at_once() {
    let bench = Bench::with(10, PoolOptions { waiters_max: 2, ..PoolOptions::default() });
    let one = bench.lease_meanwhile("a").await;
    let two = bench.lease_meanwhile("a").await;
    let start = Instant::now();
    let refusal = bench.lease("a").await.unwrap_err();
    assert!(matches!(refusal, LeaseError::Overloaded { .. }));
    assert_eq!(start.elapsed(), Duration::ZERO);
    two.abort();
    sleep(INSPECT).await;
    let three = bench.lease_meanwhile("a").await;
    let (one, three) = (one.await.unwrap().unwrap(), three.await.unwrap().unwrap());
    assert!(one.is_cold() && three.is_cold());
    assert!(!bench.lease("a").await.unwrap().is_cold(), "those who need not wait are not bounded");
}

#[tokio::test(start_paused = true)]
async fn a_request_abandoned_before_the_pool_saw_it_leaves_no_trace() {
    let bench = Bench::new(10);
    let _busy = bench.lease("a").await.unwrap();
    tokio::select! {
        biased;
        _ = bench.lease("b") => panic!("the pool has not run yet"),
        () = std::future::ready(()) => {}
    }
    tokio::select! {
        biased;
        _ = bench.pool.make_room("a", 0, Instant::now() + SECOND) => panic!("the pool has not run yet"),
        () = std::future::ready(()) => {}
    }
    sleep(SECOND).await;
    let snapshot = bench.pool.snapshot().await;
    assert_eq!((snapshot.waiters, snapshot.room_waiters, bench.find("b").await), (0, 0, None));
    assert_eq!(bench.loader.inspections(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_cloned_lease_is_one_lease() {
    let bench = Bench::new(10);
    let lease = bench.lease_keeping("a", KeepAlive::DropAfterUse).await;
    let clone = lease.clone();
    drop(lease);
    assert_eq!(bench.model("a").await.leases, 1);
    assert_eq!(clone.version, 1);
    drop(clone);
    assert_eq!(bench.state("a").await, ModelState::Evicting);
}

#[tokio::test(start_paused = true)]
async fn a_replaced_artifact_serves_on_and_the_next_load_uses_the_new_one() {
    let bench = Bench::new(10);
    let old = bench.lease_keeping("a", KeepAlive::DropAfterUse).await;
    bench.loader.put("a", 10, Behaviour::Good);
    assert_eq!(bench.lease("a").await.unwrap().version, 1);
    drop(old);
    assert_eq!(bench.lease("a").await.unwrap().version, 2);
}

#[tokio::test]
async fn loader_and_drop_run_on_blocking_threads() {
    use std::sync::{Arc, Mutex};
    use std::thread::{ThreadId, current};

    type Threads = Arc<Mutex<Vec<(&'static str, ThreadId)>>>;
    struct Tracing(Threads);
    struct Model(Threads);
    impl Drop for Model {
        fn drop(&mut self) {
            self.0.lock().unwrap().push(("drop", current().id()));
        }
    }
    impl ModelLoader for Tracing {
        type Model = Model;
        type Error = Fault;
        fn inspect(&self, _name: &str) -> Result<Inspection, Fault> {
            self.0.lock().unwrap().push(("inspect", current().id()));
            Ok(Inspection::new(Identity([0; 4]), 1))
        }
        fn load(&self, _name: &str, _inspection: &Inspection, _progress: &Progress) -> Result<Loaded<Model>, Fault> {
            self.0.lock().unwrap().push(("load", current().id()));
            Ok(Loaded { model: Model(Arc::clone(&self.0)), source: LoadSource::UNKNOWN })
        }
    }

    let threads = Threads::default();
    let loader = Arc::new(Tracing(Arc::clone(&threads)));
    let (pool, task) = Pool::spawn(loader, crate::Budget::new(1), PoolOptions::default(), Arc::new(()));
    drop(pool.lease("a", within(10 * SECOND)).await.unwrap());
    pool.shutdown();
    tokio::time::timeout(10 * SECOND, task).await.unwrap().unwrap();
    let threads = threads.lock().unwrap();
    assert_eq!(threads.iter().map(|(what, _)| *what).collect::<Vec<_>>(), ["inspect", "load", "drop"]);
    // This runtime has one thread: the test's, which is the pool's.
    assert!(threads.iter().all(|&(_, thread)| thread != current().id()));
}
