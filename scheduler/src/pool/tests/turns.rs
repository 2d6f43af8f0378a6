//! Busy models take turns with those who wait for their room.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::pool::fake::*;
use crate::pool::*;

const TURN: Duration = Duration::from_secs(2);

fn for_model(name: &str) -> EvictionCause {
    EvictionCause::ModelPressure { for_model: name.into() }
}

fn bench(limit_bytes: u64) -> Bench {
    Bench::with(limit_bytes, PoolOptions { busy_turn_max: TURN, ..PoolOptions::default() })
}

#[tokio::test(start_paused = true)]
async fn a_model_that_is_always_busy_takes_turns() {
    let bench = bench(10);
    let first = bench.lease("a").await.unwrap();
    let rival = bench.lease_meanwhile("b").await;
    sleep(TURN / 2).await;
    let second = bench.lease("a").await.unwrap();
    drop(first);
    sleep(TURN).await;
    let model = bench.model("a").await;
    assert_eq!((model.state, model.gives_way_for), (ModelState::Resident, Some(for_model("b"))));
    let again = bench.lease_meanwhile("a").await;
    let and_again = bench.lease_meanwhile("a").await;
    assert_eq!((bench.model("a").await.waiters, again.is_finished()), (2, false));
    drop(second);
    let rival = rival.await.unwrap().unwrap();
    assert_eq!(bench.heard.evictions(), [("a".into(), for_model("b"))]);
    sleep(TURN).await;
    assert_eq!(bench.state("a").await, ModelState::AwaitingRoom);
    drop(rival);
    let (again, and_again) = (again.await.unwrap().unwrap(), and_again.await.unwrap().unwrap());
    assert!(again.is_cold() && and_again.is_cold());
    assert_eq!(bench.loader.loads("a"), 2, "those who waited are collated");
}

#[tokio::test(start_paused = true)]
async fn nobody_gives_way_before_the_time_and_nobody_who_holds_is_cut() {
    let bench = bench(10);
    let held = bench.lease("a").await.unwrap();
    let rival = bench.lease_meanwhile("b").await;
    sleep(TURN - SECOND).await;
    assert!(bench.lease("a").await.is_ok());
    sleep(60 * TURN).await;
    assert_eq!((held.version, rival.is_finished()), (1, true), "the rival's own deadline passed");
    assert!(bench.heard.evictions().is_empty());
    assert!(bench.lease("a").await.is_ok(), "with its reason the turn ended");
    assert_eq!(bench.model("a").await.gives_way_for, None);
}

#[tokio::test(start_paused = true)]
async fn when_the_first_in_line_leaves_those_who_waited_have_the_model_at_once() {
    let bench = bench(10);
    let _held = bench.lease("a").await.unwrap();
    let rival = bench.lease_meanwhile("b").await;
    sleep(2 * TURN).await;
    let again = bench.lease_meanwhile("a").await;
    rival.abort();
    let start = Instant::now();
    let again = again.await.unwrap().unwrap();
    assert!(!again.is_cold() && start.elapsed().is_zero());
    assert_eq!((bench.loader.loads("a"), bench.model("a").await.leases), (1, 2));
    let last = bench
        .heard
        .events()
        .into_iter()
        .rev()
        .find(|event| &*event.model == "a" && event.kind == PoolEventKind::KeepsOn);
    assert!(last.is_some());
}

#[tokio::test(start_paused = true)]
async fn room_that_comes_up_otherwise_ends_the_turn_without_an_eviction() {
    let bench = bench(10);
    let _held = bench.lease("a").await.unwrap();
    let rival = bench.lease_meanwhile("b").await;
    sleep(2 * TURN).await;
    let again = bench.lease_meanwhile("a").await;
    bench.pool.set_budget(20).await.unwrap();
    assert!(again.await.unwrap().is_ok() && rival.await.unwrap().is_ok());
    assert_eq!((bench.loader.loads("a"), bench.heard.evictions().len()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_request_for_a_model_that_gives_way_may_leave_and_has_its_deadline() {
    let bench = bench(10);
    let held = bench.lease("a").await.unwrap();
    let rival = bench.lease_meanwhile("b").await;
    sleep(2 * TURN).await;
    let leaves = bench.lease_meanwhile("a").await;
    let start = Instant::now();
    assert!(matches!(bench.pool.lease("a", within(SECOND)).await, Err(LeaseError::DeadlinePassed)));
    assert!(start.elapsed() <= SECOND + Duration::from_millis(1));
    leaves.abort();
    sleep(INSPECT).await;
    assert_eq!((bench.model("a").await.waiters, bench.pool.snapshot().await.waiters), (0, 1));
    drop(held);
    assert!(rival.await.unwrap().is_ok());
    sleep(SECOND).await;
    assert_eq!((bench.state("a").await, bench.loader.loads("a")), (ModelState::Absent, 1), "nobody waits for it");
}

#[tokio::test(start_paused = true)]
async fn a_model_that_was_let_go_is_not_handed_out_while_others_still_give_way() {
    let bench = bench(20);
    bench.loader.put("big", 20, Behaviour::Good);
    let (a, b) = (bench.lease("a").await.unwrap(), bench.lease("b").await.unwrap());
    let rival = bench.lease_meanwhile("big").await;
    sleep(2 * TURN).await;
    drop(a);
    let again = bench.lease_meanwhile("a").await;
    assert_eq!((bench.state("a").await, bench.model("a").await.waiters), (ModelState::Idle, 1));
    drop(b);
    drop(rival.await.unwrap().unwrap());
    assert!(again.await.unwrap().unwrap().is_cold());
}

#[tokio::test(start_paused = true)]
async fn only_as_many_give_way_as_are_needed_and_a_pinned_model_never() {
    let bench = bench(40);
    bench.pool.pin("a", Instant::now() + SECOND).await.unwrap();
    let _leases = [
        bench.lease("a").await.unwrap(),
        bench.lease("b").await.unwrap(),
        bench.lease("c").await.unwrap(),
        bench.lease("d").await.unwrap(),
    ];
    let _rival = bench.lease_meanwhile("e").await;
    sleep(2 * TURN).await;
    let models = bench.pool.snapshot().await.models;
    let giving_way = models.iter().filter(|model| model.gives_way_for.is_some()).map(|model| &*model.name);
    assert_eq!(giving_way.collect::<Vec<_>>(), ["b"], "of those that are not pinned it was there longest");
}

#[tokio::test(start_paused = true)]
async fn a_sequence_makes_others_give_way_and_not_its_own_model() {
    let bench = bench(20);
    let _own = bench.lease("a").await.unwrap();
    let other = bench.lease("b").await.unwrap();
    let pool = bench.pool.clone();
    let room = tokio::spawn(async move { pool.make_room("a", 10, Instant::now() + 60 * SECOND).await });
    sleep(2 * TURN).await;
    assert_eq!(bench.model("a").await.gives_way_for, None);
    let cause = EvictionCause::KvPressure { for_model: "a".into() };
    assert_eq!(bench.model("b").await.gives_way_for, Some(cause.clone()));
    drop(other);
    assert_eq!(room.await.unwrap().unwrap().bytes(), 10);
    assert_eq!(bench.heard.evictions(), [("b".into(), cause)]);
}

#[tokio::test(start_paused = true)]
async fn a_smaller_budget_makes_busy_models_give_way_too() {
    let bench = bench(20);
    let a = bench.lease("a").await.unwrap();
    let _b = bench.lease("b").await.unwrap();
    bench.pool.set_budget(15).await.unwrap();
    assert!(bench.lease("a").await.is_ok());
    sleep(2 * TURN).await;
    assert_eq!(bench.model("a").await.gives_way_for, Some(EvictionCause::BudgetCut));
    drop(a);
    sleep(2 * DISPOSE).await;
    assert_eq!((bench.budget.used_bytes(), bench.model("b").await.gives_way_for), (10, None));
}

#[tokio::test(start_paused = true)]
async fn what_a_waiting_request_said_of_the_keep_alive_counts_for_the_next_copy() {
    let bench = bench(10);
    let held = bench.lease("a").await.unwrap();
    let rival = bench.lease_meanwhile("b").await;
    sleep(2 * TURN).await;
    let pool = bench.pool.clone();
    let options = LeaseOptions { keep_alive: Some(KeepAlive::For(7 * SECOND)), ..within(60 * SECOND) };
    let again = tokio::spawn(async move { pool.lease("a", options).await });
    sleep(INSPECT).await;
    drop(held);
    drop(rival.await.unwrap().unwrap());
    drop(again.await.unwrap().unwrap());
    assert_eq!(bench.model("a").await.expires_in, Some(7 * SECOND));
}

#[tokio::test(start_paused = true)]
async fn shutdown_answers_those_who_wait_for_a_model_that_gives_way() {
    let bench = bench(10);
    let held = bench.lease("a").await.unwrap();
    let rival = bench.lease_meanwhile("b").await;
    sleep(2 * TURN).await;
    let again = bench.lease_meanwhile("a").await;
    bench.pool.shutdown();
    for waiting in [rival, again] {
        assert!(matches!(waiting.await.unwrap().unwrap_err(), LeaseError::ShuttingDown));
    }
    drop(held);
    bench.task.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_young_model_is_no_victim_until_its_time_and_then_at_once() {
    let options = PoolOptions { residency_min: 10 * SECOND, ..PoolOptions::default() };
    let bench = Bench::with(20, options);
    let start = Instant::now();
    drop(bench.lease("a").await.unwrap());
    sleep(SECOND).await;
    drop(bench.lease("b").await.unwrap());
    let waiting = bench.lease_meanwhile("c").await;
    assert!(waiting.await.unwrap().is_ok());
    assert_eq!(bench.heard.evictions(), [("a".into(), for_model("c"))]);
    let grown = INSPECT + LOAD + 10 * SECOND;
    let took = start.elapsed();
    assert!(took >= grown && took < grown + SECOND, "it went as soon as it could: {took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_young_model_in_use_gives_way_only_from_its_time_on() {
    let options = PoolOptions { residency_min: 10 * SECOND, busy_turn_max: TURN, ..PoolOptions::default() };
    let bench = Bench::with(10, options);
    let _held = bench.lease("a").await.unwrap();
    let _rival = bench.lease_meanwhile("b").await;
    sleep(9 * SECOND).await;
    assert_eq!(bench.model("a").await.gives_way_for, None);
    sleep(2 * SECOND).await;
    assert_eq!(bench.heard.events().last().unwrap().kind, PoolEventKind::GivesWay { cause: for_model("b") });
}

#[tokio::test(start_paused = true)]
async fn nobody_gives_way_in_vain() {
    let options = PoolOptions { residency_min: 10 * SECOND, busy_turn_max: TURN, ..PoolOptions::default() };
    let bench = Bench::with(20, options);
    bench.loader.put("big", 20, Behaviour::Good);
    let old = bench.lease("a").await.unwrap();
    sleep(6 * SECOND).await;
    let young = bench.lease("b").await.unwrap();
    let rival = bench.lease_meanwhile("big").await;
    sleep(6 * SECOND).await;
    assert_eq!(bench.model("a").await.gives_way_for, None, "without b's room a's would not do");
    assert!(bench.lease("a").await.is_ok());
    sleep(6 * SECOND).await;
    for name in ["a", "b"] {
        assert_eq!(bench.model(name).await.gives_way_for, Some(for_model("big")), "both are old enough");
    }
    drop((old, young));
    assert!(rival.await.unwrap().is_ok());
}

#[tokio::test(start_paused = true)]
async fn room_that_sequences_hold_counts_as_what_comes_back_with_their_models() {
    let bench = bench(20);
    bench.loader.put("big", 18, Behaviour::Good);
    let held = bench.lease("a").await.unwrap();
    let room = bench.pool.make_room("a", 10, Instant::now() + SECOND).await.unwrap();
    let rival = bench.lease_meanwhile("big").await;
    sleep(2 * TURN).await;
    assert_eq!(bench.model("a").await.gives_way_for, Some(for_model("big")));
    drop((held, room));
    assert!(rival.await.unwrap().is_ok());
}
