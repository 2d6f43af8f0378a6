//! A seeded simulation of the whole pool: the real owner, handles and leases, on one thread, in paused time.
//!
//! Clients lease, hold, leave early, want room, unload and look; artifacts break and are replaced; loads take random
//! time. The same seed is the same run. After every act of a client the world is checked:
//!
//! - the budget is never exceeded, and covers every live model and every sequence;
//! - no model is evicted while a client uses it, and none is loaded twice at once;
//! - every wait ends by its deadline;
//! - no wake-up is lost: nobody waits for room that could be made now;
//! - in the end, used bytes are those of the live models; after shutdown, none.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use super::fake::*;
use super::handle::Parts;
use super::workers::{Job, Work, Workers};
use super::*;
use crate::budget::Budget;
use crate::testing::Random;

const SEEDS: u64 = 500;
const SEEDS_LONG: u64 = 10_000;
/// A timer fires up to this much after its time.
const TIMER_GRAIN: Duration = Duration::from_millis(1);

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
    watch: Arc<Watch>,
    tally: Mutex<Tally>,
    /// Held by sequences.
    kv_bytes: Mutex<u64>,
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
    let options = PoolOptions {
        keep_alive_default: keep_alive(&mut random),
        load_wait_max: Duration::from_millis(300 + random.below(3_000)),
        loads_parallel_max: 1 + usize::try_from(random.below(3)).unwrap(),
        waiters_max: 3 + usize::try_from(random.below(20)).unwrap(),
        quarantine_min: Duration::from_millis(50),
        quarantine_max: Duration::from_millis(400),
    };
    let budget = Budget::new(limit_bytes);
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
        watch,
        tally: Mutex::default(),
        kv_bytes: Mutex::new(0),
    });
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

fn behaviour(random: &mut Random) -> Behaviour {
    match random.below(12) {
        0 => Behaviour::Invalid,
        1 => Behaviour::InvalidHeader,
        2 => Behaviour::Transient,
        _ => Behaviour::Good,
    }
}

fn keep_alive(random: &mut Random) -> KeepAlive {
    match random.below(5) {
        0 => KeepAlive::Forever,
        1 => KeepAlive::DropAfterUse,
        _ => KeepAlive::For(Duration::from_millis(random.below(500))),
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
        }
        self.watch.end_use(name);
        lease.users.fetch_sub(1, Ordering::SeqCst);
    }

    async fn room(&self, name: &str, random: &mut Random) -> Option<crate::Reservation> {
        let bytes = 1 + random.below(self.budget.limit_bytes() / 3);
        let deadline = Instant::now() + Duration::from_millis(random.below(500));
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
        let snapshot = self.pool.snapshot().await;
        let (used, limit) = (self.budget.used_bytes(), self.budget.limit_bytes());
        let (live, kv) = (self.loader.records.lock().unwrap().live_bytes, *self.kv_bytes.lock().unwrap());
        if used > limit || live + kv > used {
            self.violation(format!("used {used} of {limit}: live models {live}, sequences {kv}"));
        }
        self.check_no_wake_up_is_lost(&snapshot);
    }

    fn check_no_wake_up_is_lost(&self, snapshot: &PoolSnapshot) {
        let in_state = |state| snapshot.models.iter().filter(move |model| model.state == state);
        let loading = in_state(ModelState::Loading).count();
        // A copy on its way out is one more reason to wait.
        let leaving = self.watch.leaving();
        if snapshot.room_waiters > 0 || leaving > 0 || loading >= self.loads_parallel_max || snapshot.shutting_down {
            return;
        }
        let idle: u64 = in_state(ModelState::Idle).map(|model| model.weights_bytes).sum();
        let possible = snapshot.limit_bytes - snapshot.used_bytes + idle;
        let records = self.loader.records.lock().unwrap();
        let needs = in_state(ModelState::AwaitingRoom).map(|model| records.artifacts[&*model.name].bytes);
        let needs: Vec<_> = needs.collect();
        drop(records);
        // Which of them is first in line cannot be seen: only when all would fit is the wait a mistake.
        if !needs.is_empty() && needs.iter().all(|&need| need <= possible) {
            self.violation(format!("{needs:?} are waited for, {possible} can be had: {snapshot:#?}"));
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
            let fits = bytes <= self.budget.limit_bytes();
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

/// Watches every event, together with what clients say they use.
#[derive(Default)]
struct Watch {
    state: Mutex<Watched>,
}

#[derive(Default)]
struct Watched {
    in_use: BTreeMap<String, usize>,
    loading: BTreeSet<String>,
    leaving: usize,
    evictions: usize,
    collated: usize,
    violations: Vec<String>,
}

impl Watch {
    fn begin_use(&self, name: &str) {
        *self.state.lock().unwrap().in_use.entry(name.to_owned()).or_default() += 1;
    }

    fn end_use(&self, name: &str) {
        *self.state.lock().unwrap().in_use.get_mut(name).expect("its use began") -= 1;
    }

    fn leaving(&self) -> usize {
        self.state.lock().unwrap().leaving
    }
}

impl PoolObserver for Watch {
    fn observe(&self, event: &PoolEvent) {
        let mut state = self.state.lock().unwrap();
        let name = event.model.to_string();
        match &event.kind {
            PoolEventKind::LoadStarted { .. } => {
                if !state.loading.insert(name.clone()) {
                    state.violations.push(format!("{name} is loaded twice at once"));
                }
            }
            PoolEventKind::Loaded { waiters, .. } => {
                state.loading.remove(&name);
                state.collated += usize::from(*waiters > 1);
            }
            PoolEventKind::LoadFailed { .. } => {
                state.loading.remove(&name);
            }
            PoolEventKind::Evicted { .. } => {
                state.evictions += 1;
                state.leaving += 1;
                if state.in_use.get(&name).is_some_and(|&users| users > 0) {
                    state.violations.push(format!("{name} was evicted while in use"));
                }
            }
            PoolEventKind::Freed { .. } => state.leaving -= 1,
            PoolEventKind::Leased { .. } | PoolEventKind::Released { .. } | PoolEventKind::Idle { .. } => {}
        }
    }
}

/// Each piece of work takes its own random time, then runs inline.
struct RandomWorkers(Mutex<Random>);

impl Workers for RandomWorkers {
    fn run(&self, work: Work, job: Job) {
        let longest = match work {
            Work::Inspect => 5,
            Work::Load => 200,
            Work::Dispose => 50,
        };
        let time = Duration::from_millis(self.0.lock().unwrap().below(longest));
        tokio::spawn(async move {
            sleep(time).await;
            job();
        });
    }
}
