//! A loader whose artifacts are a table, and workers that take paused time: what the pool's tests stand on.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use super::handle::Parts;
use super::workers::{Job, Work, Workers};
use super::*;
use crate::budget::{Budget, Reservation};

/// Where the fake models' bytes come from.
pub(super) const SOURCE: LoadSource =
    LoadSource { label: SourceLabel::PageCacheCold, cached_bytes: Some(3), major_faults: Some(2) };
/// Of an artifact that was put once.
pub(super) const FIRST: Identity = Identity([1, 0, 0, 0]);
pub(super) const SECOND: Duration = Duration::from_secs(1);
pub(super) const INSPECT: Duration = Duration::from_millis(1);
pub(super) const LOAD: Duration = Duration::from_millis(100);
pub(super) const DISPOSE: Duration = Duration::from_millis(10);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Behaviour {
    Good,
    Invalid,
    InvalidHeader,
    Transient,
    Panics,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Artifact {
    pub(super) version: u64,
    pub(super) bytes: u64,
    pub(super) behaviour: Behaviour,
}

#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(super) struct Fault {
    kind: FaultKind,
    pub(super) message: String,
}

impl Fault {
    /// What a model does in use that should not be.
    pub(super) fn in_use(message: &str) -> Arc<Self> {
        Arc::new(Self { kind: FaultKind::Invalid, message: message.to_owned() })
    }
}

impl LoadFault for Fault {
    fn kind(&self) -> FaultKind {
        self.kind
    }

    fn panicked(message: String) -> Self {
        Self { kind: FaultKind::Invalid, message }
    }
}

/// What the loader saw, and what it holds against the pool.
#[derive(Default)]
pub(super) struct Records {
    pub(super) artifacts: BTreeMap<String, Artifact>,
    pub(super) inspections: usize,
    pub(super) loads: BTreeMap<String, usize>,
    /// Of models that were loaded and not dropped.
    pub(super) live_bytes: u64,
    /// Which must cover them.
    pub(super) budget: Option<Arc<Budget>>,
    pub(super) violations: Vec<String>,
    /// Memory of the budget that is kept for a chance alone.
    pub(super) kept: Vec<Reservation>,
}

#[derive(Default)]
pub(super) struct FakeLoader {
    pub(super) records: Arc<Mutex<Records>>,
}

pub(super) struct FakeModel {
    pub(super) name: String,
    pub(super) version: u64,
    /// Those who say that they use it now.
    pub(super) users: AtomicUsize,
    bytes: u64,
    records: Arc<Mutex<Records>>,
}

impl Drop for FakeModel {
    fn drop(&mut self) {
        let mut records = self.records.lock().unwrap();
        if records.budget.as_ref().is_some_and(|budget| budget.used_bytes() < records.live_bytes) {
            records.violations.push(format!("the bytes of {} came back before it was dropped", self.name));
        }
        records.live_bytes -= self.bytes;
        if self.users.load(Ordering::SeqCst) > 0 {
            records.violations.push(format!("{} was dropped while in use", self.name));
        }
    }
}

impl FakeLoader {
    pub(super) fn put(&self, name: &str, bytes: u64, behaviour: Behaviour) {
        let mut records = self.records.lock().unwrap();
        let version = records.artifacts.get(name).map_or(1, |artifact| artifact.version + 1);
        records.artifacts.insert(name.to_owned(), Artifact { version, bytes, behaviour });
    }

    pub(super) fn loads(&self, name: &str) -> usize {
        self.records.lock().unwrap().loads.get(name).copied().unwrap_or(0)
    }

    pub(super) fn inspections(&self) -> usize {
        self.records.lock().unwrap().inspections
    }

    fn artifact(&self, name: &str) -> Result<Artifact, Fault> {
        let missing = || Fault { kind: FaultKind::NotFound, message: "no such artifact".to_owned() };
        self.records.lock().unwrap().artifacts.get(name).copied().ok_or_else(missing)
    }
}

impl ModelLoader for FakeLoader {
    type Model = FakeModel;
    type Error = Fault;

    fn inspect(&self, name: &str) -> Result<Inspection, Fault> {
        self.records.lock().unwrap().inspections += 1;
        let artifact = self.artifact(name)?;
        if artifact.behaviour == Behaviour::InvalidHeader {
            return Err(Fault { kind: FaultKind::Invalid, message: "bad header".to_owned() });
        }
        Ok(Inspection::new(Identity([artifact.version, 0, 0, 0]), artifact.bytes))
    }

    fn reclaim(&self, bytes: u64) -> u64 {
        let mut freed = Vec::new();
        let mut records = self.records.lock().unwrap();
        while freed.iter().map(Reservation::bytes).sum::<u64>() < bytes {
            let Some(kept) = records.kept.pop() else { break };
            freed.push(kept);
        }
        freed.iter().map(Reservation::bytes).sum()
    }

    fn load(&self, name: &str, inspection: &Inspection, progress: &Progress) -> Result<Loaded<FakeModel>, Fault> {
        *self.records.lock().unwrap().loads.entry(name.to_owned()).or_default() += 1;
        let artifact = self.artifact(name)?;
        match artifact.behaviour {
            Behaviour::Panics => panic!("the fake loader panics"),
            Behaviour::Invalid | Behaviour::InvalidHeader => {
                Err(Fault { kind: FaultKind::Invalid, message: "bad tensor".to_owned() })
            }
            Behaviour::Transient => Err(Fault { kind: FaultKind::Transient, message: "try again".to_owned() }),
            Behaviour::Good => {
                for done_bytes in 0..=inspection.resident_bytes {
                    progress.at(LoadStage::Weights, done_bytes);
                }
                self.records.lock().unwrap().live_bytes += inspection.resident_bytes;
                let model = FakeModel {
                    name: name.to_owned(),
                    version: artifact.version,
                    users: AtomicUsize::new(0),
                    bytes: inspection.resident_bytes,
                    records: Arc::clone(&self.records),
                };
                Ok(Loaded { model, source: SOURCE })
            }
        }
    }
}

/// Each kind of work takes a fixed (paused) time, then runs inline.
#[derive(Clone, Copy)]
pub(super) struct TimedWorkers {
    pub(super) inspect: Duration,
    pub(super) load: Duration,
    pub(super) dispose: Duration,
}

impl Workers for TimedWorkers {
    fn run(&self, work: Work, job: Job) {
        let time = match work {
            Work::Inspect => self.inspect,
            Work::Load => self.load,
            Work::Dispose => self.dispose,
        };
        tokio::spawn(async move {
            sleep(time).await;
            job();
        });
    }
}

#[derive(Default)]
pub(super) struct Heard(Mutex<Vec<PoolEvent>>);

impl PoolObserver for Heard {
    fn observe(&self, event: &PoolEvent) {
        self.0.lock().unwrap().push(event.clone());
    }
}

impl Heard {
    pub(super) fn events(&self) -> Vec<PoolEvent> {
        self.0.lock().unwrap().clone()
    }

    pub(super) fn evictions(&self) -> Vec<(String, EvictionCause)> {
        let evicted = |event: PoolEvent| match event.kind {
            PoolEventKind::Evicted { cause, .. } => Some((event.model.to_string(), cause)),
            _ => None,
        };
        self.events().into_iter().filter_map(evicted).collect()
    }
}

/// A pool on fakes.
pub(super) struct Bench {
    pub(super) loader: Arc<FakeLoader>,
    pub(super) budget: Arc<Budget>,
    pub(super) pool: Pool<FakeLoader>,
    pub(super) task: JoinHandle<()>,
    pub(super) heard: Arc<Heard>,
}

impl Bench {
    /// Good models `a` to `e` of 10 bytes each, in a budget of `limit_bytes`.
    pub(super) fn new(limit_bytes: u64) -> Self {
        Self::with(limit_bytes, PoolOptions::default())
    }

    pub(super) fn with(limit_bytes: u64, options: PoolOptions) -> Self {
        let loader = Arc::new(FakeLoader::default());
        for name in ["a", "b", "c", "d", "e"] {
            loader.put(name, 10, Behaviour::Good);
        }
        let budget = Budget::new(limit_bytes);
        let heard = Arc::new(Heard::default());
        let workers = Arc::new(TimedWorkers { inspect: INSPECT, load: LOAD, dispose: DISPOSE });
        let parts = Parts {
            loader: Arc::clone(&loader),
            budget: Arc::clone(&budget),
            options,
            observer: Arc::clone(&heard) as Arc<dyn PoolObserver>,
        };
        let (pool, task) = Pool::spawn_on(workers, parts);
        Self { loader, budget, pool, task, heard }
    }

    /// A lease wanted within a minute.
    pub(super) async fn lease(&self, name: &str) -> LeaseResult<FakeLoader> {
        self.pool.lease(name, within(60 * SECOND)).await
    }

    pub(super) async fn lease_keeping(&self, name: &str, keep_alive: KeepAlive) -> Lease<FakeModel> {
        let options = LeaseOptions { keep_alive: Some(keep_alive), ..within(60 * SECOND) };
        self.pool.lease(name, options).await.unwrap()
    }

    /// A lease that another task waits for; the request has reached the pool when this returns.
    pub(super) async fn lease_meanwhile(&self, name: &str) -> JoinHandle<LeaseResult<FakeLoader>> {
        let (pool, name) = (self.pool.clone(), name.to_owned());
        let waiting = tokio::spawn(async move { pool.lease(&name, within(60 * SECOND)).await });
        sleep(2 * INSPECT).await;
        waiting
    }

    pub(super) async fn model(&self, name: &str) -> ModelSnapshot {
        self.find(name).await.unwrap_or_else(|| panic!("{name} is not in the snapshot"))
    }

    pub(super) async fn find(&self, name: &str) -> Option<ModelSnapshot> {
        self.pool.snapshot().await.models.into_iter().find(|model| &*model.name == name)
    }

    pub(super) async fn state(&self, name: &str) -> ModelState {
        self.find(name).await.map_or(ModelState::Absent, |model| model.state)
    }
}

pub(super) fn within(time: Duration) -> LeaseOptions {
    LeaseOptions { keep_alive: None, deadline: Instant::now() + time }
}
