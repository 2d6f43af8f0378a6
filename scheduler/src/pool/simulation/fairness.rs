//! Models that are never idle, in a budget with room for one: each must get its turn, in bounded time.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::watch::{RandomWorkers, Watch};
use crate::budget::Budget;
use crate::pool::fake::*;
use crate::pool::handle::Parts;
use crate::pool::*;
use crate::testing::Random;

const HOLD_MAX: Duration = Duration::from_millis(80);
/// The longest inspection, load and disposal, and the timers' grain.
const WORK_MAX: Duration = Duration::from_millis(5 + 200 + 50 + 5);
const LASTS: Duration = Duration::from_secs(20);

#[test]
fn two_hundred_seeds_give_everyone_a_turn() {
    for seed in 0..200 {
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
        loader.put(name, 11 + random.below(10), Behaviour::Good);
    }
    let budget = Budget::new(20);
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
    // Three clients of each model, so that somebody always holds it.
    let clients = names.iter().flat_map(|name| [*name; 3]).map(|name| {
        let (pool, violations, mut random) = (pool.clone(), Arc::clone(&violations), Random::new(random.next()));
        tokio::spawn(async move {
            while Instant::now() < end {
                let start = Instant::now();
                let lease = pool.lease(name, within(LASTS)).await;
                if lease.is_err() || start.elapsed() > wait_max {
                    let result = lease.map(drop);
                    violations.lock().unwrap().push(format!("{name}: {result:?} after {:?}", start.elapsed()));
                }
                sleep(HOLD_MAX / 2 + Duration::from_millis(random.below(40))).await;
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
