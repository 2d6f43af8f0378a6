//! Room: who goes, who waits, and in which order.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::pool::fake::*;
use crate::pool::*;

fn for_model(name: &str) -> EvictionCause {
    EvictionCause::ModelPressure { for_model: name.into() }
}

fn for_kv(name: &str) -> EvictionCause {
    EvictionCause::KvPressure { for_model: name.into() }
}

#[tokio::test(start_paused = true)]
async fn the_least_recently_used_idle_model_goes() {
    let bench = Bench::new(30);
    for name in ["a", "b", "c"] {
        drop(bench.lease(name).await.unwrap());
        sleep(SECOND).await;
    }
    drop(bench.lease("a").await.unwrap());
    sleep(SECOND).await;
    drop(bench.lease("d").await.unwrap());
    assert_eq!(bench.heard.evictions(), [("b".into(), for_model("d"))]);
}

/// Lets the fake loader keep `parts` of the budget.
fn keep(bench: &Bench, parts: &[u64]) {
    let kept = parts.iter().map(|&bytes| bench.pool.budget().try_reserve(bytes).unwrap());
    bench.loader.records.lock().unwrap().kept.extend(kept);
}

fn kept_bytes(bench: &Bench) -> u64 {
    bench.loader.records.lock().unwrap().kept.iter().map(crate::Reservation::bytes).sum()
}

#[tokio::test(start_paused = true)]
async fn what_is_kept_for_a_chance_alone_goes_before_anyone_waits() {
    let bench = Bench::new(30);
    let _busy = bench.lease("a").await.unwrap();
    keep(&bench, &[4, 4, 4, 4]);
    let asked = Instant::now();
    let _second = bench.lease("b").await.unwrap();
    assert_eq!(asked.elapsed(), INSPECT + LOAD);
    assert_eq!(kept_bytes(&bench), 8, "no more than was missing");
    assert!(bench.heard.evictions().is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_idle_model_goes_before_what_is_kept() {
    let bench = Bench::new(20);
    drop(bench.lease("a").await.unwrap());
    keep(&bench, &[5, 5]);
    let _second = bench.lease("b").await.unwrap();
    assert_eq!(bench.heard.evictions(), [("a".into(), for_model("b"))]);
    assert_eq!(kept_bytes(&bench), 10);
}

#[tokio::test(start_paused = true)]
async fn a_smaller_budget_takes_what_is_kept() {
    let bench = Bench::new(20);
    let _busy = bench.lease("a").await.unwrap();
    keep(&bench, &[5, 5]);
    bench.pool.set_budget(15).await.unwrap();
    assert_eq!((kept_bytes(&bench), bench.pool.budget().used_bytes()), (5, 15));
}

#[tokio::test(start_paused = true)]
async fn a_busy_model_is_never_evicted() {
    let bench = Bench::new(10);
    let busy = bench.lease("a").await.unwrap();
    let refusal = bench.pool.lease("b", within(10 * SECOND)).await.unwrap_err();
    assert!(matches!(refusal, LeaseError::DeadlinePassed));
    assert!(bench.heard.evictions().is_empty());
    assert_eq!(busy.version, 1);
    drop(busy);
    assert!(bench.lease("b").await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_lease_is_counted_before_its_model_becomes_evictable() {
    let bench = Bench::new(10);
    let options = LeaseOptions { keep_alive: Some(KeepAlive::DropAfterUse), ..within(60 * SECOND) };
    let pool = bench.pool.clone();
    let first = tokio::spawn(async move { pool.lease("a", options).await });
    let rival = bench.lease_meanwhile("b").await;
    let first = first.await.unwrap().unwrap();
    // The rival waited when the load of `a` ended, and `a` was to be dropped after use: yet its first user has it.
    assert_eq!(first.version, 1);
    assert_eq!(bench.state("b").await, ModelState::AwaitingRoom);
    assert!(bench.heard.evictions().is_empty());
    drop(first);
    assert!(rival.await.unwrap().is_ok());
}

#[tokio::test(start_paused = true)]
async fn victims_are_chosen_again_after_a_wait() {
    let bench = Bench::new(20);
    bench.loader.put("big", 20, Behaviour::Good);
    let a = bench.lease("a").await.unwrap();
    let b = bench.lease("b").await.unwrap();
    let waiting = bench.lease_meanwhile("big").await;
    drop(a);
    assert_eq!(bench.state("a").await, ModelState::Idle, "alone it would not suffice");
    let a = bench.lease("a").await.unwrap();
    drop(b);
    assert_eq!(bench.state("b").await, ModelState::Idle, "a is in use again");
    assert!(bench.heard.evictions().is_empty());
    sleep(SECOND).await;
    drop(a);
    assert!(waiting.await.unwrap().is_ok());
    assert_eq!(bench.heard.evictions(), [("b".into(), for_model("big")), ("a".into(), for_model("big"))]);
}

#[tokio::test(start_paused = true)]
async fn bytes_return_when_the_model_is_dropped_not_when_it_is_evicted() {
    let bench = Bench::new(10);
    drop(bench.lease_keeping("a", KeepAlive::DropAfterUse).await);
    let model = bench.model("a").await;
    assert_eq!((model.state, model.weights_bytes), (ModelState::Evicting, 10));
    assert_eq!(bench.budget.used_bytes(), 10);
    sleep(DISPOSE).await;
    assert_eq!(bench.state("a").await, ModelState::Absent);
    assert_eq!(bench.budget.used_bytes(), 0);
    let freed = PoolEventKind::Freed { identity: FIRST, bytes: 10 };
    let freed = bench.heard.events().into_iter().filter(|event| event.kind == freed);
    assert_eq!(freed.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_model_asked_for_while_evicting_loads_afresh_once_there_is_room() {
    let tight = Bench::new(10);
    drop(tight.lease_keeping("a", KeepAlive::DropAfterUse).await);
    let waiting = tight.lease_meanwhile("a").await;
    assert_eq!(tight.state("a").await, ModelState::AwaitingRoom);
    assert!(waiting.await.unwrap().unwrap().is_cold());
    assert_eq!(tight.loader.loads("a"), 2);

    let wide = Bench::new(20);
    drop(wide.lease_keeping("a", KeepAlive::DropAfterUse).await);
    let waiting = wide.lease_meanwhile("a").await;
    assert_eq!(wide.state("a").await, ModelState::Loading, "the old copy need not be gone");
    assert_eq!(wide.budget.used_bytes(), 20);
    assert!(waiting.await.unwrap().is_ok());
    assert_eq!(wide.budget.used_bytes(), 10);
}

#[tokio::test(start_paused = true)]
async fn a_model_larger_than_the_budget_is_refused_and_nothing_is_evicted_for_it() {
    let bench = Bench::new(20);
    bench.loader.put("huge", 21, Behaviour::Good);
    drop(bench.lease("a").await.unwrap());
    let refusal = bench.lease("huge").await.unwrap_err();
    assert!(matches!(refusal, LeaseError::TooLarge { needed_bytes: 21, limit_bytes: 20, pinned_bytes: 0 }));
    assert_eq!(bench.state("a").await, ModelState::Idle);
    assert_eq!(bench.find("huge").await, None);
}

#[tokio::test(start_paused = true)]
async fn models_that_wait_for_room_are_served_in_order_without_overtaking() {
    let bench = Bench::new(20);
    bench.loader.put("big", 20, Behaviour::Good);
    bench.loader.put("small", 5, Behaviour::Good);
    let a = bench.lease("a").await.unwrap();
    let big = bench.lease_meanwhile("big").await;
    let small = bench.lease_meanwhile("small").await;
    sleep(SECOND).await;
    assert_eq!(bench.state("small").await, ModelState::AwaitingRoom, "there is room for it, but it came later");
    drop(a);
    drop(big.await.unwrap().unwrap());
    drop(small.await.unwrap().unwrap());
    assert_eq!(bench.heard.evictions(), [("a".into(), for_model("big")), ("big".into(), for_model("small"))]);
}

#[tokio::test(start_paused = true)]
async fn requests_for_one_waiting_model_are_collated() {
    let bench = Bench::new(10);
    let a = bench.lease("a").await.unwrap();
    let b_first = bench.lease_meanwhile("b").await;
    let c = bench.lease_meanwhile("c").await;
    let b_second = bench.lease_meanwhile("b").await;
    drop(a);
    drop(b_first.await.unwrap().unwrap());
    drop(b_second.await.unwrap().unwrap());
    assert!(!c.is_finished(), "both requests for b were served before c");
    drop(c.await.unwrap().unwrap());
    assert_eq!((bench.loader.loads("b"), bench.loader.loads("c")), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_model_that_nobody_waits_for_any_more_holds_up_nobody() {
    let bench = Bench::new(20);
    bench.loader.put("big", 20, Behaviour::Good);
    let _busy = bench.lease("a").await.unwrap();
    let big = bench.lease_meanwhile("big").await;
    let b = bench.lease_meanwhile("b").await;
    assert_eq!(bench.state("b").await, ModelState::AwaitingRoom);
    big.abort();
    assert!(b.await.unwrap().is_ok());
    assert_eq!(bench.find("big").await, None);
}

#[tokio::test(start_paused = true)]
async fn room_for_a_sequence_evicts_idle_models_least_recently_used_first() {
    let bench = Bench::new(30);
    let _busy = bench.lease("a").await.unwrap();
    drop(bench.lease("b").await.unwrap());
    sleep(SECOND).await;
    drop(bench.lease("c").await.unwrap());
    let room = bench.pool.make_room("a", 10, Instant::now() + SECOND).await.unwrap();
    assert_eq!(room.bytes(), 10);
    assert_eq!(bench.heard.evictions(), [("b".into(), for_kv("a"))]);
    let more = bench.pool.make_room("a", 10, Instant::now() + SECOND).await.unwrap();
    assert_eq!(bench.heard.evictions().last(), Some(&("c".into(), for_kv("a"))));
    assert_eq!(bench.budget.used_bytes(), 30);
    drop((room, more));
    assert_eq!(bench.budget.used_bytes(), 10);
}

#[tokio::test(start_paused = true)]
async fn room_for_a_sequence_is_waited_for_until_the_deadline() {
    let bench = Bench::new(20);
    let _a = bench.lease("a").await.unwrap();
    let b = bench.lease("b").await.unwrap();
    let start = Instant::now();
    let refusal = bench.pool.make_room("a", 10, Instant::now() + SECOND).await.unwrap_err();
    assert_eq!(refusal, NoRoom::DeadlinePassed);
    assert!(start.elapsed() <= SECOND + Duration::from_millis(1));
    let pool = bench.pool.clone();
    let waiting = tokio::spawn(async move { pool.make_room("a", 10, Instant::now() + SECOND).await });
    sleep(SECOND / 2).await;
    assert_eq!(bench.pool.snapshot().await.room_waiters, 1, "the one that gave up is gone");
    drop(b);
    assert_eq!(waiting.await.unwrap().unwrap().bytes(), 10);
}

#[tokio::test(start_paused = true)]
async fn room_that_can_never_be_is_refused_at_once_and_evicts_nothing() {
    let bench = Bench::new(30);
    let _a = bench.lease("a").await.unwrap();
    drop(bench.lease("b").await.unwrap());
    let start = Instant::now();
    let refusal = bench.pool.make_room("a", 21, Instant::now() + SECOND).await.unwrap_err();
    assert_eq!(refusal, NoRoom::TooLarge { needed_bytes: 21, available_bytes: 20 });
    assert_eq!((start.elapsed(), bench.heard.evictions().len()), (Duration::ZERO, 0));
}

#[tokio::test(start_paused = true)]
async fn running_sequences_get_room_before_models_do() {
    let bench = Bench::new(20);
    let _a = bench.lease("a").await.unwrap();
    let b = bench.lease("b").await.unwrap();
    let model = bench.lease_meanwhile("c").await;
    let pool = bench.pool.clone();
    let room = tokio::spawn(async move { pool.make_room("a", 10, Instant::now() + 60 * SECOND).await });
    sleep(SECOND).await;
    drop(b);
    let room = room.await.unwrap().unwrap();
    assert!(!model.is_finished());
    drop(room);
    assert!(model.await.unwrap().is_ok());
}

#[tokio::test(start_paused = true)]
async fn bytes_dropped_anywhere_wake_whoever_waits() {
    let bench = Bench::new(10);
    let foreign = bench.budget.try_reserve(1).unwrap();
    let waiting = bench.lease_meanwhile("a").await;
    sleep(SECOND).await;
    assert_eq!(bench.state("a").await, ModelState::AwaitingRoom);
    drop(foreign);
    let start = Instant::now();
    assert!(waiting.await.unwrap().is_ok());
    assert_eq!(start.elapsed(), LOAD);
}
