//! Where blocking work runs, behind a seam: a simulation runs it inline, at times of its choosing.

use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use crate::limits::INSPECTIONS_MAX;

/// A piece of blocking work. It catches its own panics and reports its own end.
pub(super) type Job = Box<dyn FnOnce() + Send>;

/// What a piece of work is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Work {
    Inspect,
    Load,
    Dispose,
}

pub(super) trait Workers: Send + Sync + 'static {
    /// Runs `job` soon, never on the caller's thread.
    fn run(&self, work: Work, job: Job);
}

/// Tokio's blocking threads. Loads are bounded by the owner, disposals by the models there are, inspections here.
pub(super) struct BlockingThreads {
    runtime: Handle,
    inspections: Arc<Semaphore>,
}

impl BlockingThreads {
    pub(super) fn new(runtime: Handle) -> Self {
        Self { runtime, inspections: Arc::new(Semaphore::new(INSPECTIONS_MAX)) }
    }
}

impl Workers for BlockingThreads {
    fn run(&self, work: Work, job: Job) {
        match work {
            Work::Load | Work::Dispose => {
                self.runtime.spawn_blocking(job);
            }
            Work::Inspect => {
                let inspections = Arc::clone(&self.inspections);
                let runtime = self.runtime.clone();
                self.runtime.spawn(async move {
                    let permit = inspections.acquire_owned().await.expect("the semaphore is never closed");
                    runtime.spawn_blocking(move || {
                        job();
                        drop(permit);
                    });
                });
            }
        }
    }
}
