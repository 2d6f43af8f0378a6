//! Models that are never idle, whose sequences always want room too, in a budget with room for one of them: each must get
//! its turn, in bounded time.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::watch::{RandomWorkers, Watch};
use crate::budget::Budget;
use crate::pool::fake::*;
use crate::pool::handle::Parts;
use crate::pool::*;
use crate::testing::Random;

const HOLD_MAX: Duration = Duration::from_millis(40 + 40 + 5 + 200);
/// The longest that a sequence waits for room.
const ROOM_WAIT_MAX: Duration = Duration::from_millis(150);
/// The longest inspection, load and disposal, and the timers' grain.
const WORK_MAX: Duration = Duration::from_millis(5 + 200 + 50 + 5);
const LASTS: Duration = Duration::from_secs(20);

#[test]
fn sixty_seeds_give_everyone_a_turn() {
    for seed in 0..60 {
        let (turns, violations) = run(seed);
        assert!(violations.is_empty(), "seed {seed}: {violations:#?}");
        assert!(turns >= 10, "seed {seed}: hardly any turns: {turns}");
    }
}

/// Returns the evictions, and whoever waited too long.
fn run(seed: u64) -> (usize, Vec<String>) {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime");
    runtime.block_on(world(seed))
}

async fn world(seed: u64) -> (usize, Vec<String>) {
    let mut random = Random::new(seed);
    let names = &["a", "b", "c", "d"][..2 + usize::try_from(random.below(3)).unwrap()];
    let loader = Arc::new(FakeLoader::default());
    for name in names {
        loader.put(name, 16 + random.below(10), Behaviour::Good);
    }
    let budget = Budget::new(30);
    let busy_turn_max = Duration::from_millis(random.below(1_000));
    let watch = Arc::new(Watch::new(Arc::clone(&budget)));
    let parts = Parts {
        loader,
        budget,
        options: PoolOptions { busy_turn_max, ..PoolOptions::default() },
        observer: Arc::clone(&watch) as Arc<dyn PoolObserver>,
    };
    let (pool, task) = Pool::spawn_on(Arc::new(RandomWorkers(Mutex::new(Random::new(random.next())))), parts);
    // The rest of a turn that has begun, then one of each model that stands before it, and its own.
    let turns = u32::try_from(names.len() + 1).unwrap();
    let wait_max = busy_turn_max + turns * (HOLD_MAX + WORK_MAX);
    let violations = Arc::new(Mutex::new(Vec::new()));
    let end = Instant::now() + LASTS;
    // Eight clients of each model, so that somebody always holds it.
    let clients = names.iter().flat_map(|name| [*name; 8]).map(|name| {
        let (pool, violations, mut random) = (pool.clone(), Arc::clone(&violations), Random::new(random.next()));
        tokio::spawn(async move {
            while Instant::now() < end {
                let start = Instant::now();
                let lease = pool.lease(name, within(LASTS)).await;
                if lease.is_err() || start.elapsed() > wait_max {
                    let result = lease.map(drop);
                    violations.lock().unwrap().push(format!("{name}: {result:?} after {:?}", start.elapsed()));
                }
                sleep(Duration::from_millis(40 + random.below(40))).await;
                // Sequences come before models, and there is nearly always one.
                let room = pool.make_room(name, 1 + random.below(10), Instant::now() + ROOM_WAIT_MAX).await;
                sleep(Duration::from_millis(random.below(50))).await;
                drop(room);
            }
        })
    });
    for client in clients.collect::<Vec<_>>() {
        client.await.expect("a client does not panic");
    }
    pool.shutdown();
    task.await.expect("the owner does not panic");
    let violations = std::mem::take(&mut *violations.lock().unwrap());
    let turns = watch.state.lock().unwrap().tally.evictions;
    (turns, violations)
}
