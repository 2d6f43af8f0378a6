//! What the pool itself costs: leases of a model in memory a second, also while somebody waits for room, and snapshots of
//! ten thousand models.
//!
//! The loader does nothing and models are empty, so that the pool's task and its messages alone are measured.

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use scheduler::{
    Budget, FaultKind, Identity, Inspection, KeepAlive, LeaseOptions, LoadFault, LoadSource, Loaded, ModelLoader, Pool,
    PoolOptions, Progress,
};

const MODELS: usize = 10_000;
/// Of them, those that are in memory.
const RESIDENT: usize = 1_000;
const LEASES: usize = 400_000;
const TASKS: [usize; 4] = [1, 4, 16, 64];
/// Nobody gives way meanwhile.
const A_DAY: Duration = Duration::from_secs(86_400);
const SNAPSHOTS: usize = 201;

struct Empty;

#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Fault(String);

impl LoadFault for Fault {
    fn kind(&self) -> FaultKind {
        FaultKind::Transient
    }

    fn panicked(message: String) -> Self {
        Self(message)
    }
}

impl ModelLoader for Empty {
    type Model = ();
    type Error = Fault;

    fn inspect(&self, _name: &str) -> Result<Inspection, Fault> {
        Ok(Inspection::new(Identity([0; 4]), 1))
    }

    fn load(&self, _name: &str, _inspection: &Inspection, _progress: &Progress) -> Result<Loaded<()>, Fault> {
        Ok(Loaded { model: (), source: LoadSource::UNKNOWN })
    }
}

fn options() -> LeaseOptions {
    LeaseOptions { keep_alive: None, deadline: scheduler::Instant::now() + A_DAY }
}

/// Several tasks, each waiting for its lease and letting it go before it asks for the next.
async fn leases_per_second(pool: &Pool<Empty>, name: &Arc<str>, tasks: usize) -> Result<f64, Box<dyn Error>> {
    let start = Instant::now();
    let leasing: Vec<_> = (0..tasks)
        .map(|_| {
            let (pool, name) = (pool.clone(), Arc::clone(name));
            tokio::spawn(async move {
                for _ in 0..LEASES / tasks {
                    drop(pool.lease(&name, options()).await.expect("it is in memory"));
                }
            })
        })
        .collect();
    for task in leasing {
        task.await?;
    }
    Ok((LEASES / tasks * tasks) as f64 / start.elapsed().as_secs_f64())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let pool_options = PoolOptions {
        keep_alive_default: KeepAlive::Forever,
        busy_turn_max: A_DAY,
        load_wait_max: A_DAY,
        ..PoolOptions::default()
    };
    let (pool, task) = Pool::spawn(Arc::new(Empty), Budget::new(RESIDENT as u64), pool_options, Arc::new(()));
    for number in 0..MODELS {
        drop(pool.lease(&format!("model-{number:05}"), options()).await?);
    }
    // Long in memory, and not the first of them by name.
    let name: Arc<str> = format!("model-{:05}", MODELS - 7).into();

    println!("{:<44} {:>14}", "leases of a model in memory, by tasks", "per second");
    for tasks in TASKS {
        println!("{tasks:>44} {:>14.0}", leases_per_second(&pool, &name, tasks).await?);
    }

    let mut held = Vec::new();
    for number in MODELS - RESIDENT..MODELS {
        held.push(pool.lease(&format!("model-{number:05}"), options()).await?);
    }
    let waiting = {
        let pool = pool.clone();
        tokio::spawn(async move { pool.lease("model-00000", options()).await.map(drop) })
    };
    while pool.snapshot().await.waiters == 0 {
        tokio::task::yield_now().await;
    }
    println!("\n{:<44} {:>14}", "while one waits for room and all are in use", "per second");
    for tasks in TASKS {
        println!("{tasks:>44} {:>14.0}", leases_per_second(&pool, &name, tasks).await?);
    }
    drop(held);
    waiting.await??;

    let mut times = Vec::with_capacity(SNAPSHOTS);
    for _ in 0..SNAPSHOTS {
        let start = Instant::now();
        let snapshot = pool.snapshot().await;
        times.push(start.elapsed());
        assert_eq!(snapshot.models.len(), MODELS);
    }
    times.sort_unstable();
    println!("\n{:<44} {:>14}", format!("snapshot of {MODELS} models, {RESIDENT} in memory"), "ms");
    for (which, time) in [("median", times[SNAPSHOTS / 2]), ("longest", times[SNAPSHOTS - 1])] {
        println!("{which:>44} {:>14.3}", time.as_secs_f64() * 1e3);
    }
    pool.shutdown();
    task.await?;
    Ok(())
}
