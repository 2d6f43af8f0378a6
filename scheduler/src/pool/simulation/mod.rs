//! A seeded simulation of the whole pool: the real owner, handles and leases, on one thread, in paused time.
//!
//! Clients lease, hold, leave early, want room, unload and look; artifacts break and are replaced; loads take random
//! time. The same seed is the same run. After every act of a client, and at regular times, the world is checked:
//!
//! - the budget is never exceeded, and covers every live model and every sequence;
//! - no model is evicted while a client uses it, and none is loaded twice at once;
//! - every wait ends by its deadline;
//! - no wake-up is lost: nobody waits for room that could be made now (found without asking the pool: that would
//!   wake it);
//! - in the end, used bytes are those of the live models; after shutdown, none.

mod watch;

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use self::watch::{InMemory, RandomWorkers, Waiting, Want, Watch};
use super::fake::*;
use super::handle::Parts;
use super::*;
use crate::budget::Budget;
use crate::testing::Random;

const SEEDS: u64 = 500;
const SEEDS_LONG: u64 = 10_000;
/// A timer fires up to this much after its time.
const TIMER_GRAIN: Duration = Duration::from_millis(1);
/// Whoever waits for longer, for a model that does not load, waits for room.
const INSPECTED: Duration = Duration::from_millis(10);
const AUDIT_EVERY: Duration = Duration::from_millis(19);
/// After so many rounds of all tasks at one moment, every message sent before has been dealt with.
const SETTLED: usize = 12;

#[test]
fn five_hundred_seeds_keep_every_invariant() {
    simulate(0..SEEDS);
}

#[test]
#[ignore = "long: about a minute"]
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
        total.leases += tally.leases;
        total.refusals += tally.refusals;
        total.evictions += tally.evictions;
        total.rooms += tally.rooms;
        total.collated += tally.collated;
    }
    // The runs must reach what they are about.
    let enough = total.leases.min(total.refusals).min(total.evictions).min(total.rooms).min(total.collated);
    assert!(enough > 1_000, "the simulation hardly does anything: {total:?}");
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Tally {
    leases: usize,
    refusals: usize,
    rooms: usize,
    evictions: usize,
    /// Loads that more than one request waited for.
    collated: usize,
    violations: Vec<String>,
    /// Of the run: when it ended.
    lasted: Duration,
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
    loads_parallel_max: usize,
    residency_min: Duration,
    oversize: Oversize,
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
    let watch = Arc::new(Watch::default());
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
        loads_parallel_max: options.loads_parallel_max,
        residency_min: options.residency_min,
        oversize: options.oversize,
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
    tally.violations.append(&mut world.watch.state.lock().unwrap().violations);
    tally.evictions = world.watch.state.lock().unwrap().evictions;
    tally.collated = world.watch.state.lock().unwrap().collated;
    tally.lasted = start.elapsed();
    tally
}

fn options(random: &mut Random) -> PoolOptions {
    PoolOptions {
        keep_alive_default: keep_alive(random),
        load_wait_max: Duration::from_millis(300 + random.below(3_000)),
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

async fn client(world: Arc<World>, mut random: Random) {
    for _ in 0..5 + random.below(15) {
        sleep(Duration::from_millis(random.below(60))).await;
        let name = world.names[usize::try_from(random.next() % world.names.len() as u64).unwrap()];
        match random.below(20) {
            0 => {
                let _ = world.pool.unload(name).await;
            }
            1 => {
                let bytes = world.loader.records.lock().unwrap().artifacts[name].bytes;
                world.loader.put(name, bytes, behaviour(&mut random));
            }
            2 => drop(world.lease_and_leave_early(name, &mut random).await),
            _ => world.use_model(name, &mut random).await,
        }
        world.check().await;
    }
}

impl World {
    async fn lease(&self, name: &str, random: &mut Random) -> Option<Lease<FakeModel>> {
        let keep_alive = (random.below(3) == 0).then(|| keep_alive(random));
        let deadline = Instant::now() + Duration::from_millis(random.below(1_500));
        let _waits = self.waiting.begin(Want::Model(name.to_owned(), Instant::now()));
        let result = self.pool.lease(name, LeaseOptions { keep_alive, deadline }).await;
        if Instant::now() > deadline + TIMER_GRAIN {
            self.violation(format!("a request for {name} was answered {:?} late", deadline.elapsed()));
        }
        let mut tally = self.tally.lock().unwrap();
        match result {
            Ok(lease) => {
                tally.leases += 1;
                Some(lease)
            }
            Err(_) => {
                tally.refusals += 1;
                None
            }
        }
    }

    async fn lease_and_leave_early(&self, name: &str, random: &mut Random) -> Option<Lease<FakeModel>> {
        let patience = Duration::from_millis(random.below(100));
        timeout(patience, self.lease(name, random)).await.ok().flatten()
    }

    async fn use_model(&self, name: &str, random: &mut Random) {
        let Some(lease) = self.lease(name, random).await else { return };
        lease.users.fetch_add(1, Ordering::SeqCst);
        self.watch.begin_use(name);
        self.check().await;
        sleep(Duration::from_millis(random.below(200))).await;
        let room = if random.below(3) == 0 { self.room(name, random).await } else { None };
        sleep(Duration::from_millis(random.below(100))).await;
        if let Some(room) = room {
            *self.kv_bytes.lock().unwrap() -= room.bytes();
            drop(room);
            sleep(Duration::from_millis(random.below(100))).await;
        }
        self.watch.end_use(name);
        lease.users.fetch_sub(1, Ordering::SeqCst);
    }

    async fn room(&self, name: &str, random: &mut Random) -> Option<crate::Reservation> {
        let bytes = 1 + random.below(self.budget.limit_bytes() / 3);
        let deadline = Instant::now() + Duration::from_millis(random.below(500));
        let _waits = self.waiting.begin(Want::Room(bytes));
        let room = self.pool.make_room(name, bytes, deadline).await;
        if Instant::now() > deadline + TIMER_GRAIN {
            self.violation(format!("room for {name} was answered {:?} late", deadline.elapsed()));
        }
        let room = room.ok()?;
        *self.kv_bytes.lock().unwrap() += room.bytes();
        self.tally.lock().unwrap().rooms += 1;
        Some(room)
    }

    /// What holds at every moment.
    async fn check(&self) {
        let (used, limit) = (self.budget.used_bytes(), self.budget.limit_bytes());
        let (live, kv) = (self.loader.records.lock().unwrap().live_bytes, *self.kv_bytes.lock().unwrap());
        if used > limit || live + kv > used {
            self.violation(format!("used {used} of {limit}: live models {live}, sequences {kv}"));
        }
        if self.snapshots == Snapshots::AfterEveryAct {
            let snapshot = self.pool.snapshot().await;
            let held: u64 = snapshot.models.iter().map(|model| model.weights_bytes).sum();
            if held > snapshot.used_bytes || snapshot.used_bytes > limit {
                self.violation(format!("models hold more than is used: {snapshot:#?}"));
            }
        }
    }

    fn check_no_wake_up_is_lost(&self) {
        let watched = self.watch.state.lock().unwrap();
        // A copy on its way out is one more reason to wait.
        if watched.leaving > 0 {
            return;
        }
        let may_go = |model: &&InMemory| model.leases == 0 && model.since.elapsed() >= self.residency_min + TIMER_GRAIN;
        let idle: u64 = watched.loaded.values().filter(may_go).map(|model| model.bytes).sum();
        let possible = self.budget.free_bytes() + idle;
        let records = self.loader.records.lock().unwrap();
        let (mut rooms, mut models, mut longest) = (Vec::new(), Vec::new(), Duration::ZERO);
        for (_, want) in &*self.waiting.0.lock().unwrap() {
            match want {
                Want::Room(bytes) => rooms.push(*bytes),
                Want::Model(name, since) if !watched.loading.contains(name) => {
                    models.push(records.artifacts[name].bytes);
                    longest = longest.max(since.elapsed());
                }
                Want::Model(..) => {}
            }
        }
        drop(records);
        let may_load = rooms.is_empty() && longest >= INSPECTED && watched.loading.len() < self.loads_parallel_max;
        drop(watched);
        // Which of them is first in line cannot be seen: only when all would fit is the wait a mistake.
        let all_fit = |needs: &[u64]| !needs.is_empty() && needs.iter().all(|&need| need <= possible);
        if all_fit(&rooms) || (may_load && all_fit(&models)) {
            self.violation(format!("{rooms:?} and {models:?} are waited for, {possible} can be had"));
        }
    }

    /// Every client is gone: nobody waits, nobody holds, and the bytes in use are those of live models.
    async fn check_quiet(&self) {
        sleep(Duration::from_secs(30)).await;
        let snapshot = self.pool.snapshot().await;
        let live = self.loader.records.lock().unwrap().live_bytes;
        let held: usize = snapshot.models.iter().map(|model| model.leases + model.waiters).sum();
        if held + snapshot.waiters + snapshot.room_waiters > 0 || snapshot.used_bytes != live {
            self.violation(format!("not quiet: live {live}, {snapshot:#?}"));
        }
    }

    /// Whatever happened before, every good model that fits can still be had.
    async fn check_alive(&self) {
        for name in &self.names {
            let Artifact { bytes, behaviour, .. } = self.loader.records.lock().unwrap().artifacts[*name];
            let result = self.pool.lease(name, within(Duration::from_secs(3_600))).await;
            let fits = self.oversize == Oversize::Page || bytes <= self.budget.limit_bytes();
            if behaviour == Behaviour::Good && fits && result.is_err() {
                self.violation(format!("{name} cannot be had any more: {:?}", result.err()));
            }
        }
    }

    fn check_empty(&self) {
        let live = self.loader.records.lock().unwrap().live_bytes;
        if self.budget.used_bytes() + live > 0 {
            self.violation(format!("after the end {} bytes are used, {live} live", self.budget.used_bytes()));
        }
    }

    fn violation(&self, what: String) {
        self.tally.lock().unwrap().violations.push(what);
    }
}
