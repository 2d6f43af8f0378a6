//! How long an idle model stays, and what does not keep it.

use std::time::Duration;

use tokio::time::sleep;

use crate::pool::fake::*;
use crate::pool::*;

const MINUTE: Duration = Duration::from_secs(60);

#[tokio::test(start_paused = true)]
async fn an_idle_model_goes_when_its_keep_alive_runs_out() {
    let bench = Bench::with(10, PoolOptions { keep_alive_default: KeepAlive::For(MINUTE), ..PoolOptions::default() });
    let lease = bench.lease("a").await.unwrap();
    sleep(2 * MINUTE).await;
    assert_eq!(bench.state("a").await, ModelState::Resident, "the time counts from the end of the last lease");
    drop(lease);
    sleep(MINUTE - SECOND).await;
    let model = bench.model("a").await;
    assert_eq!((model.idle_for, model.expires_in), (Some(MINUTE - SECOND), Some(SECOND)));
    sleep(SECOND + 2 * DISPOSE).await;
    assert_eq!(bench.state("a").await, ModelState::Absent);
    assert_eq!(bench.heard.evictions(), [("a".into(), EvictionCause::IdleTimeout)]);
    let evictions = bench.pool.snapshot().await.evictions;
    assert_eq!((evictions.len(), evictions[0].bytes, &evictions[0].cause), (1, 10, &EvictionCause::IdleTimeout));
    assert!(evictions[0].idle_for >= MINUTE);
}

#[tokio::test(start_paused = true)]
async fn a_lease_begins_the_keep_alive_anew() {
    let bench = Bench::with(10, PoolOptions { keep_alive_default: KeepAlive::For(MINUTE), ..PoolOptions::default() });
    for _ in 0..5 {
        drop(bench.lease("a").await.unwrap());
        sleep(MINUTE - SECOND).await;
    }
    assert_eq!((bench.state("a").await, bench.loader.loads("a")), (ModelState::Idle, 1));
}

#[tokio::test(start_paused = true)]
async fn the_last_request_decides_how_long_a_model_stays() {
    let bench = Bench::new(10);
    drop(bench.lease_keeping("a", KeepAlive::For(60 * MINUTE)).await);
    drop(bench.lease_keeping("a", KeepAlive::For(SECOND)).await);
    assert_eq!(bench.model("a").await.expires_in, Some(SECOND));
    drop(bench.lease_keeping("a", KeepAlive::For(2 * MINUTE)).await);
    assert_eq!(bench.model("a").await.expires_in, Some(2 * MINUTE));
    drop(bench.lease("a").await.unwrap());
    assert_eq!(bench.model("a").await.expires_in, Some(2 * MINUTE), "a request that says nothing changes nothing");
    sleep(3 * MINUTE).await;
    drop(bench.lease("a").await.unwrap());
    assert_eq!(bench.model("a").await.expires_in, Some(5 * MINUTE), "after an eviction the default counts again");
}

#[tokio::test(start_paused = true)]
async fn drop_after_use_evicts_when_the_last_lease_ends() {
    let bench = Bench::new(10);
    let other = bench.lease("a").await.unwrap();
    drop(bench.lease_keeping("a", KeepAlive::DropAfterUse).await);
    assert_eq!(bench.state("a").await, ModelState::Resident);
    drop(other);
    assert_eq!(bench.state("a").await, ModelState::Evicting);
    sleep(2 * DISPOSE).await;
    drop(bench.lease_keeping("a", KeepAlive::For(Duration::ZERO)).await);
    assert_eq!(bench.state("a").await, ModelState::Evicting, "no time at all means the same");
    let causes: Vec<_> = bench.heard.evictions().into_iter().map(|(_, cause)| cause).collect();
    assert_eq!(causes, [EvictionCause::KeepAliveZero, EvictionCause::KeepAliveZero]);
}

#[tokio::test(start_paused = true)]
async fn forever_yields_to_memory_pressure_alone() {
    let bench = Bench::new(10);
    drop(bench.lease_keeping("a", KeepAlive::Forever).await);
    sleep(100_000 * MINUTE).await;
    assert_eq!((bench.state("a").await, bench.model("a").await.expires_in), (ModelState::Idle, None));
    drop(bench.lease("b").await.unwrap());
    let pressure = EvictionCause::ModelPressure { for_model: "b".into() };
    assert_eq!(bench.heard.evictions(), [("a".into(), pressure)]);
}

#[tokio::test(start_paused = true)]
async fn a_keep_alive_past_the_end_of_time_is_forever() {
    let bench = Bench::new(10);
    drop(bench.lease_keeping("a", KeepAlive::For(Duration::MAX)).await);
    assert_eq!(bench.model("a").await.expires_in, None);
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_wakes_nothing_and_refreshes_nothing() {
    let bench = Bench::with(10, PoolOptions { keep_alive_default: KeepAlive::For(MINUTE), ..PoolOptions::default() });
    assert_eq!(bench.find("a").await, None);
    drop(bench.lease("a").await.unwrap());
    for _ in 0..59 {
        sleep(SECOND).await;
        assert_eq!(bench.state("a").await, ModelState::Idle);
    }
    sleep(SECOND + 2 * DISPOSE).await;
    assert_eq!(bench.state("a").await, ModelState::Absent);
    assert_eq!(bench.loader.loads("a"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_tells_what_is_held_and_what_happened() {
    let bench = Bench::new(25);
    let _lease = bench.lease("b").await.unwrap();
    drop(bench.lease("a").await.unwrap());
    let room = bench.pool.make_room("b", 5, tokio::time::Instant::now() + SECOND).await.unwrap();
    let snapshot = bench.pool.snapshot().await;
    assert_eq!((snapshot.limit_bytes, snapshot.used_bytes, room.bytes()), (25, 25, 5));
    let names: Vec<_> = snapshot.models.iter().map(|model| (&*model.name, model.state.name())).collect();
    assert_eq!(names, [("a", "idle"), ("b", "resident")]);
    assert_eq!((snapshot.models[1].loads, snapshot.models[1].last_load_wall), (1, Some(LOAD)));
    assert!(!snapshot.shutting_down);
}

#[tokio::test(start_paused = true)]
async fn an_idle_model_is_unloaded_at_once() {
    let bench = Bench::new(10);
    drop(bench.lease_keeping("a", KeepAlive::Forever).await);
    assert_eq!(bench.pool.unload("a").await, Ok(UnloadOutcome::Evicting));
    assert_eq!(bench.state("a").await, ModelState::Evicting);
    assert_eq!(bench.heard.evictions(), [("a".into(), EvictionCause::Requested)]);
    assert_eq!(bench.pool.unload("a").await, Ok(UnloadOutcome::NotLoaded));
    assert_eq!(bench.pool.unload("never heard of").await, Ok(UnloadOutcome::NotLoaded));
}

#[tokio::test(start_paused = true)]
async fn a_busy_model_is_unloaded_when_its_last_lease_ends() {
    let bench = Bench::new(10);
    let one = bench.lease_keeping("a", KeepAlive::Forever).await;
    let two = bench.lease("a").await.unwrap();
    assert_eq!(bench.pool.unload("a").await, Ok(UnloadOutcome::WhenFree { users: 2 }));
    assert!(bench.model("a").await.unload_pending);
    drop(one);
    assert_eq!(bench.state("a").await, ModelState::Resident);
    drop(two);
    assert_eq!(bench.state("a").await, ModelState::Evicting);
    assert_eq!(bench.heard.evictions(), [("a".into(), EvictionCause::Requested)]);
    drop(bench.lease("a").await.unwrap());
    assert_eq!(bench.state("a").await, ModelState::Idle, "the request to unload was for that copy");
}

#[tokio::test(start_paused = true)]
async fn a_model_on_its_way_is_unloaded_after_those_who_wait_used_it() {
    let bench = Bench::new(10);
    let waiting = bench.lease_meanwhile("a").await;
    assert_eq!(bench.pool.unload("a").await, Ok(UnloadOutcome::WhenFree { users: 1 }));
    let lease = waiting.await.unwrap().unwrap();
    assert_eq!(bench.state("a").await, ModelState::Resident);
    drop(lease);
    assert_eq!(bench.state("a").await, ModelState::Evicting);
}

/// A second of loading costs as much as 1,000 byte-seconds: a model of 10 bytes that loads in a tenth of a second breaks
/// even after ten.
fn automatic() -> Bench {
    let prices = Prices { byte_second: 1, load_second: 1_000 };
    Bench::with(20, PoolOptions { keep_alive_default: KeepAlive::Auto, prices, ..PoolOptions::default() })
}

#[tokio::test(start_paused = true)]
async fn an_automatic_keep_alive_is_the_break_even_time_and_a_snapshot_says_why() {
    let bench = automatic();
    drop(bench.lease("a").await.unwrap());
    let model = bench.model("a").await;
    let chosen = BreakEven {
        time_out: 10 * SECOND,
        break_even: 10 * SECOND,
        reload: LOAD,
        bytes: 10,
        gaps: 0,
        prices: Prices { byte_second: 1, load_second: 1_000 },
    };
    assert_eq!(
        (model.keep_alive, model.break_even, model.expires_in),
        (KeepAlive::Auto, Some(chosen), Some(10 * SECOND))
    );
    let told = bench.heard.events().pop().unwrap().kind;
    assert_eq!(told, PoolEventKind::Idle { expires_in: Some(10 * SECOND), break_even: Some(chosen) });
    drop(bench.lease_keeping("a", KeepAlive::For(MINUTE)).await);
    let model = bench.model("a").await;
    assert_eq!((model.expires_in, model.break_even), (Some(MINUTE), None), "a request may say otherwise");
}

#[tokio::test(start_paused = true)]
async fn an_automatic_keep_alive_follows_the_requests_and_remembers_them_past_an_eviction() {
    let bench = automatic();
    for _ in 0..3 {
        drop(bench.lease("a").await.unwrap());
        sleep(MINUTE).await;
    }
    drop(bench.lease("a").await.unwrap());
    assert_eq!(bench.loader.loads("a"), 4, "each time it had broken even before the next request came");
    sleep(2 * DISPOSE).await;
    assert_eq!(bench.state("a").await, ModelState::Absent, "gaps of a minute are not worth holding it at all");
    assert_eq!(bench.heard.evictions().last(), Some(&("a".into(), EvictionCause::IdleTimeout)));

    for _ in 0..16 {
        drop(bench.lease("b").await.unwrap());
        sleep(SECOND).await;
    }
    sleep(MINUTE).await;
    drop(bench.lease("b").await.unwrap());
    let chosen = bench.model("b").await.break_even.unwrap();
    assert_eq!((chosen.gaps, bench.loader.loads("b")), (crate::limits::GAPS_REMEMBERED_MAX, 2));
    assert!(chosen.time_out >= SECOND && chosen.time_out < 2 * SECOND, "{chosen:?}");
}
