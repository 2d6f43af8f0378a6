//! Models that stay because someone said so, and models that are brought in for nobody in particular.

use tokio::time::{Instant, sleep};

use crate::pool::fake::*;
use crate::pool::*;

fn soon() -> Instant {
    Instant::now() + 60 * SECOND
}

/// A pool in which all but a tenth may be pinned.
fn bench(limit_bytes: u64) -> Bench {
    let keep_alive_default = KeepAlive::For(SECOND);
    Bench::with(limit_bytes, PoolOptions { keep_alive_default, pinned_percent_max: 90, ..PoolOptions::default() })
}

#[tokio::test(start_paused = true)]
async fn a_pinned_model_outlives_its_keep_alive_and_everyone_elses_needs() {
    let bench = bench(30);
    assert!(matches!(bench.pool.pin("a", soon()).await, Ok(LoadOutcome::Loaded { waited }) if waited >= LOAD));
    assert!(matches!(bench.pool.pin("a", soon()).await, Ok(LoadOutcome::Present)), "once more changes nothing");
    drop(bench.lease_keeping("a", KeepAlive::DropAfterUse).await);
    sleep(60 * SECOND).await;
    for name in ["b", "c", "d"] {
        drop(bench.lease(name).await.unwrap());
    }
    let room = bench.pool.make_room("b", 20, soon()).await.unwrap();
    let model = bench.model("a").await;
    assert_eq!((model.state, model.pinned, model.expires_in, model.loads), (ModelState::Idle, true, None, 1));
    assert_eq!((bench.pool.snapshot().await.pinned_bytes, room.bytes()), (10, 20));
    assert!(bench.heard.evictions().iter().all(|(name, _)| name != "a"));
}

#[tokio::test(start_paused = true)]
async fn after_an_unpin_it_goes_as_any_other() {
    let bench = bench(30);
    bench.pool.pin("a", soon()).await.unwrap();
    sleep(60 * SECOND).await;
    assert_eq!(bench.pool.unpin("a").await, Ok(UnpinOutcome::Unpinned));
    assert_eq!(bench.pool.unpin("a").await, Ok(UnpinOutcome::NotPinned));
    assert_eq!(bench.pool.unpin("never heard of").await, Ok(UnpinOutcome::NotPinned));
    let model = bench.model("a").await;
    assert_eq!((model.pinned, model.expires_in), (false, Some(SECOND)), "its keep-alive begins now");
    sleep(2 * SECOND).await;
    assert_eq!(bench.heard.evictions(), [("a".into(), EvictionCause::IdleTimeout)]);

    bench.pool.pin("b", soon()).await.unwrap();
    drop(bench.lease_keeping("b", KeepAlive::DropAfterUse).await);
    assert_eq!(bench.pool.unpin("b").await, Ok(UnpinOutcome::Unpinned));
    assert_eq!(bench.state("b").await, ModelState::Evicting, "it was to be dropped after use");
    assert_eq!(bench.pool.snapshot().await.pinned_bytes, 0);
}

#[tokio::test(start_paused = true)]
async fn an_unpin_in_use_lets_it_go_after_use() {
    let bench = bench(30);
    bench.pool.pin("a", soon()).await.unwrap();
    let lease = bench.lease("a").await.unwrap();
    bench.pool.unpin("a").await.unwrap();
    sleep(60 * SECOND).await;
    assert_eq!(bench.state("a").await, ModelState::Resident);
    drop(lease);
    assert_eq!(bench.model("a").await.expires_in, Some(SECOND));
}

#[tokio::test(start_paused = true)]
async fn a_pinned_model_is_not_unloaded_and_a_pin_takes_an_unload_back() {
    let bench = bench(30);
    bench.pool.pin("a", soon()).await.unwrap();
    assert_eq!(bench.pool.unload("a").await, Ok(UnloadOutcome::Pinned));
    assert_eq!(bench.state("a").await, ModelState::Idle);
    let lease = bench.lease("b").await.unwrap();
    assert_eq!(bench.pool.unload("b").await, Ok(UnloadOutcome::WhenFree { users: 1 }));
    bench.pool.pin("b", soon()).await.unwrap();
    drop(lease);
    let model = bench.model("b").await;
    assert_eq!((model.state, model.unload_pending), (ModelState::Idle, false));
}

#[tokio::test(start_paused = true)]
async fn pins_are_bounded_together() {
    let bench = bench(30);
    bench.pool.pin("a", soon()).await.unwrap();
    bench.pool.pin("b", soon()).await.unwrap();
    let refusal = bench.pool.pin("c", soon()).await.unwrap_err();
    let expected = (10, 20, 27);
    assert!(matches!(refusal, LeaseError::PinnedTooLarge { needed_bytes, pinned_bytes, pinned_bytes_max }
        if (needed_bytes, pinned_bytes, pinned_bytes_max) == expected));
    assert_eq!((bench.loader.loads("c"), bench.find("c").await), (0, None), "it was not even loaded");
    drop(bench.lease("c").await.unwrap());
    let start = Instant::now();
    assert!(matches!(bench.pool.pin("c", soon()).await.unwrap_err(), LeaseError::PinnedTooLarge { .. }));
    assert_eq!((start.elapsed().is_zero(), bench.model("c").await.pinned), (true, false));
    assert!(bench.lease("c").await.is_ok(), "it can be used all the same");
}

#[tokio::test(start_paused = true)]
async fn two_pins_at_once_do_not_pass_the_bound_together() {
    let bench = bench(20);
    let pins = ["a", "b"].map(|name| {
        let pool = bench.pool.clone();
        tokio::spawn(async move { pool.pin(name, soon()).await })
    });
    let mut refusals = 0;
    for pin in pins {
        refusals += usize::from(matches!(pin.await.unwrap(), Err(LeaseError::PinnedTooLarge { .. })));
    }
    let snapshot = bench.pool.snapshot().await;
    assert_eq!((refusals, snapshot.pinned_bytes, snapshot.used_bytes), (1, 10, 20));
    assert!(snapshot.models.iter().all(|model| model.state == ModelState::Idle), "the other is a model like any");
}

#[tokio::test(start_paused = true)]
async fn what_can_never_fit_beside_pinned_models_is_refused_at_once() {
    let bench = bench(30);
    bench.loader.put("big", 25, Behaviour::Good);
    let busy = bench.lease("b").await.unwrap();
    let waiting = bench.lease_meanwhile("big").await;
    let pool = bench.pool.clone();
    let room = tokio::spawn(async move { pool.make_room("b", 15, soon()).await });
    sleep(SECOND).await;
    let start = Instant::now();
    // A model that is there already: a load would wait behind the others.
    bench.pool.pin("b", soon()).await.unwrap();
    let refusal = waiting.await.unwrap().unwrap_err();
    assert!(matches!(refusal, LeaseError::TooLarge { needed_bytes: 25, limit_bytes: 30, pinned_bytes: 10 }));
    assert!(start.elapsed().is_zero());
    assert_eq!(room.await.unwrap().unwrap().bytes(), 15, "its own pinned model does not count twice");
    drop(busy);
    bench.pool.pin("a", soon()).await.unwrap();
    let refusal = bench.lease("big").await.unwrap_err();
    assert!(matches!(refusal, LeaseError::TooLarge { pinned_bytes: 20, .. }));
    let refusal = bench.pool.make_room("a", 15, soon()).await.unwrap_err();
    assert_eq!(refusal, NoRoom::TooLarge { needed_bytes: 15, available_bytes: 10 });
}

#[tokio::test(start_paused = true)]
async fn a_pin_that_nobody_waits_for_any_more_pins_nothing() {
    let bench = bench(30);
    assert!(matches!(bench.pool.pin("a", Instant::now() + LOAD / 2).await, Err(LeaseError::DeadlinePassed)));
    sleep(LOAD).await;
    let model = bench.model("a").await;
    assert_eq!((model.state, model.pinned), (ModelState::Idle, false));
}

#[tokio::test(start_paused = true)]
async fn pinned_models_go_with_the_pool() {
    let bench = bench(30);
    bench.pool.pin("a", soon()).await.unwrap();
    bench.pool.shutdown();
    bench.task.await.unwrap();
    assert_eq!(bench.heard.evictions(), [("a".into(), EvictionCause::Shutdown)]);
    assert_eq!((bench.budget.used_bytes(), bench.pool.unpin("a").await), (0, Err(ShuttingDown)));
}

#[tokio::test(start_paused = true)]
async fn a_load_that_is_asked_for_holds_nothing_and_says_why_it_was() {
    let bench = bench(30);
    let minute = LeaseOptions { keep_alive: Some(KeepAlive::For(60 * SECOND)), deadline: soon() };
    assert!(matches!(bench.pool.load("a", minute).await, Ok(LoadOutcome::Loaded { waited }) if waited >= LOAD));
    assert!(matches!(bench.pool.load("a", minute).await, Ok(LoadOutcome::Present)));
    let model = bench.model("a").await;
    assert_eq!((model.state, model.expires_in), (ModelState::Idle, Some(60 * SECOND)));
    bench.pool.pin("b", soon()).await.unwrap();
    drop(bench.lease("c").await.unwrap());
    let causes = bench.heard.events().into_iter().filter_map(|event| match event.kind {
        PoolEventKind::Loaded { cause, .. } => Some(cause.name()),
        _ => None,
    });
    assert_eq!(causes.collect::<Vec<_>>(), ["explicit", "pin", "demand"]);
}
