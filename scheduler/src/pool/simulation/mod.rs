//! A seeded simulation of the whole pool: the real owner, handles and leases, on one thread, in paused time.
//!
//! Clients lease, hold, leave early, want room, load, pin, unpin, unload and look, and change the budget; artifacts break, fail
//! in use and are replaced; some holds are lost for long; loads take random time. Every option of the pool is random too. The
//! same seed is the same run. After every act of a client, and at regular times, the world is checked:
//!
//! - the budget is never exceeded, and covers every live model and every sequence; after it was cut, what exceeds it only
//!   becomes less, and no load begins meanwhile;
//! - no model is evicted while a client uses it, none while it is pinned before the pool ends, and none is loaded twice
//!   at once;
//! - every wait ends by its deadline;
//! - no wake-up is lost: nobody waits for room that could be made now (found without asking the pool: that would
//!   wake it);
//! - nobody waits for a model in memory unless it gives way, and nobody gets one that has just failed in use;
//! - in the end, used bytes are those of the live models; after shutdown, none.

mod checks;
mod clients;
mod fairness;
mod watch;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use self::clients::client;
use self::watch::{RandomWorkers, Waiting, Watch};
use super::fake::*;
use super::handle::Parts;
use super::*;
use crate::budget::Budget;
use crate::testing::Random;

const SEEDS: u64 = 500;
const SEEDS_LONG: u64 = 10_000;
/// A timer fires up to this much after its time.
const TIMER_GRAIN: Duration = Duration::from_millis(1);
const AUDIT_EVERY: Duration = Duration::from_millis(19);
/// After so many rounds of all tasks at one moment, every message sent before has been dealt with.
const SETTLED: usize = 12;

#[test]
fn five_hundred_seeds_keep_every_invariant() {
    simulate(0..SEEDS);
}

#[test]
#[ignore = "long: a minute and a half"]
fn long_ten_thousand_seeds_keep_every_invariant() {
    simulate(SEEDS..SEEDS + SEEDS_LONG);
}

#[test]
fn the_same_seed_is_the_same_run() {
    assert_eq!(run(42), run(42));
    assert_ne!(run(42), run(43));
}

fn simulate(seeds: std::ops::Range<u64>) {
    let mut total = Tally::default();
    for seed in seeds {
        let tally = run(seed);
        assert!(tally.violations.is_empty(), "seed {seed}: {:#?}", tally.violations);
        total.add(&tally);
    }
    // The runs must reach what they are about.
    let often = [total.leases, total.refusals, total.rooms, total.evictions, total.collated, total.resized];
    let seldom = [total.loads, total.pins, total.unpins, total.turns, total.turns_ended, total.paged, total.cuts];
    let is_often = often.into_iter().all(|count| count > 1_000);
    let enough = is_often && seldom.into_iter().chain([total.failed_in_use]).all(|count| count > 100);
    assert!(enough, "the simulation hardly does anything: {total:?}");
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Tally {
    leases: usize,
    refusals: usize,
    rooms: usize,
    evictions: usize,
    /// Loads that more than one request waited for.
    collated: usize,
    /// Explicit ones.
    loads: usize,
    pins: usize,
    unpins: usize,
    resized: usize,
    /// Evictions because the budget became smaller.
    cuts: usize,
    /// Models that gave way, and those of them that went on after all.
    turns: usize,
    turns_ended: usize,
    /// Loads of models larger than the budget.
    paged: usize,
    failed_in_use: usize,
    violations: Vec<String>,
    /// Of the run: when it ended.
    lasted: Duration,
}

impl Tally {
    fn add(&mut self, other: &Self) {
        self.leases += other.leases;
        self.refusals += other.refusals;
        self.rooms += other.rooms;
        self.evictions += other.evictions;
        self.collated += other.collated;
        self.loads += other.loads;
        self.pins += other.pins;
        self.unpins += other.unpins;
        self.resized += other.resized;
        self.cuts += other.cuts;
        self.turns += other.turns;
        self.turns_ended += other.turns_ended;
        self.paged += other.paged;
        self.failed_in_use += other.failed_in_use;
    }
}

/// Runs one seed to its end.
fn run(seed: u64) -> Tally {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime");
    runtime.block_on(world(seed))
}

/// What all clients of a run share.
struct World {
    pool: Pool<FakeLoader>,
    budget: Arc<Budget>,
    loader: Arc<FakeLoader>,
    names: Vec<&'static str>,
    options: PoolOptions,
    /// The budget at first; it changes to half as much again at most.
    limit_bytes: u64,
    /// What may be used: the limit, or what exceeded it when it was looked at last.
    ceiling_bytes: Mutex<u64>,
    /// The budget that a client is setting; held by that client.
    resizing: tokio::sync::Mutex<()>,
    resizing_bytes: Mutex<u64>,
    watch: Arc<Watch>,
    tally: Mutex<Tally>,
    /// Held by sequences.
    kv_bytes: Mutex<u64>,
    waiting: Waiting,
    /// A snapshot wakes the owner, and hides what would never have woken it: half of the runs take none.
    snapshots: Snapshots,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Snapshots {
    AfterEveryAct,
    Never,
}

async fn world(seed: u64) -> Tally {
    let mut random = Random::new(seed);
    let limit_bytes = 20 + random.below(60);
    let loader = Arc::new(FakeLoader::default());
    let count = 2 + usize::try_from(random.below(6)).unwrap();
    let names = ["a", "b", "c", "d", "e", "f", "g"][..count].to_vec();
    for name in &names {
        // Now and then one that can never fit.
        loader.put(name, 1 + random.below(limit_bytes + limit_bytes / 8), behaviour(&mut random));
    }
    let options = options(&mut random);
    let budget = Budget::new(limit_bytes);
    loader.records.lock().unwrap().budget = Some(Arc::clone(&budget));
    let watch = Arc::new(Watch::new(Arc::clone(&budget)));
    let parts = Parts {
        loader: Arc::clone(&loader),
        budget: Arc::clone(&budget),
        options,
        observer: Arc::clone(&watch) as Arc<dyn PoolObserver>,
    };
    let (pool, task) = Pool::spawn_on(Arc::new(RandomWorkers(Mutex::new(Random::new(random.next())))), parts);
    let world = Arc::new(World {
        pool,
        budget,
        loader,
        names,
        options,
        limit_bytes,
        ceiling_bytes: Mutex::new(limit_bytes),
        resizing: tokio::sync::Mutex::default(),
        resizing_bytes: Mutex::new(0),
        watch,
        tally: Mutex::default(),
        kv_bytes: Mutex::new(0),
        waiting: Waiting::default(),
        snapshots: if seed.is_multiple_of(2) { Snapshots::AfterEveryAct } else { Snapshots::Never },
    });
    let auditor = tokio::spawn(audit(Arc::clone(&world)));
    let start = Instant::now();
    let clients: Vec<_> = (0..2 + random.below(8))
        .map(|_| tokio::spawn(client(Arc::clone(&world), Random::new(random.next()))))
        .collect();
    let shutdown_early = random.below(8) == 0;
    if shutdown_early {
        sleep(Duration::from_millis(random.below(1_000))).await;
        world.pool.shutdown();
    }
    for client in clients {
        client.await.expect("a client does not panic");
    }
    auditor.abort();
    if !shutdown_early {
        world.check_quiet().await;
        world.unpin_all().await;
        world.check_alive().await;
        world.pool.shutdown();
    }
    match timeout(Duration::from_secs(60), task).await {
        Ok(ended) => ended.expect("the owner does not panic"),
        Err(_) => world.violation("the pool does not end".to_owned()),
    }
    world.check_empty();
    let mut tally = std::mem::take(&mut *world.tally.lock().unwrap());
    tally.violations.append(&mut world.loader.records.lock().unwrap().violations);
    tally.violations.append(&mut world.watch.state.lock().unwrap().tally.violations);
    tally.add(&world.watch.state.lock().unwrap().tally);
    tally.lasted = start.elapsed();
    tally
}

fn options(random: &mut Random) -> PoolOptions {
    PoolOptions {
        keep_alive_default: keep_alive(random),
        // Longer than a residency and a load: whatever is alone can be had.
        load_wait_max: Duration::from_millis(600 + random.below(3_000)),
        loads_parallel_max: 1 + usize::try_from(random.below(3)).unwrap(),
        waiters_max: 3 + usize::try_from(random.below(20)).unwrap(),
        busy_turn_max: Duration::from_millis(random.below(600)),
        residency_min: Duration::from_millis(if random.below(2) == 0 { 0 } else { random.below(200) }),
        prices: Prices { byte_second: 1, load_second: random.below(50) },
        oversize: if random.below(2) == 0 { Oversize::Refuse } else { Oversize::Page },
        pinned_percent_max: 70,
        quarantine_min: Duration::from_millis(50),
        quarantine_max: Duration::from_millis(400),
    }
}

fn behaviour(random: &mut Random) -> Behaviour {
    match random.below(12) {
        0 => Behaviour::Invalid,
        1 => Behaviour::InvalidHeader,
        2 => Behaviour::Transient,
        _ => Behaviour::Good,
    }
}

fn keep_alive(random: &mut Random) -> KeepAlive {
    match random.below(6) {
        0 => KeepAlive::Forever,
        1 => KeepAlive::DropAfterUse,
        2 => KeepAlive::Auto,
        _ => KeepAlive::For(Duration::from_millis(random.below(500))),
    }
}

async fn audit(world: Arc<World>) {
    loop {
        sleep(AUDIT_EVERY).await;
        for _ in 0..SETTLED {
            tokio::task::yield_now().await;
        }
        world.check_no_wake_up_is_lost();
    }
}

impl World {
    fn violation(&self, what: String) {
        self.tally.lock().unwrap().violations.push(what);
    }
}
