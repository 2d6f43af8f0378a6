//! The right to use a model, for as long as it is held.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedSender;

use super::loader::Identity;
use super::message::Signal;
use crate::budget::Reservation;

/// A loaded model and the bytes that it holds: they come back when, and only when, the model itself is dropped.
#[derive(Debug)]
pub(super) struct Resident<M> {
    // Declared before its bytes, so dropped before them.
    pub(super) model: M,
    pub(super) identity: Identity,
    pub(super) bytes: u64,
    pub(super) is_paged: bool,
    pub(super) _reservation: Option<Reservation>,
}

/// Holds a model in memory: while a lease, or a clone of it, lives, the model is not evicted.
///
/// Dropping the last clone releases it, without waiting, from any thread.
pub struct Lease<M> {
    held: Arc<Held<M>>,
}

struct Held<M> {
    resident: Option<Arc<Resident<M>>>,
    name: Arc<str>,
    start: Start,
    release: Option<UnboundedSender<Signal>>,
}

/// How a lease began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Start {
    Warm,
    AfterLoad(Duration),
}

impl<M> Lease<M> {
    pub(super) fn new(
        resident: Arc<Resident<M>>,
        name: Arc<str>,
        start: Start,
        release: UnboundedSender<Signal>,
    ) -> Self {
        Self { held: Arc::new(Held { resident: Some(resident), name, start, release: Some(release) }) }
    }

    /// A lease of a model that no pool owns.
    #[cfg(test)]
    pub(crate) fn unpooled(name: &str, model: M) -> Self {
        Self::of_artifact(name, model, Identity([0; 4]))
    }

    /// One of a given artifact.
    #[cfg(test)]
    pub(crate) fn of_artifact(name: &str, model: M, identity: Identity) -> Self {
        let resident = Resident { model, identity, bytes: 0, is_paged: false, _reservation: None };
        let held = Held { resident: Some(Arc::new(resident)), name: name.into(), start: Start::Warm, release: None };
        Self { held: Arc::new(held) }
    }

    /// The model's name, as it was asked for.
    #[must_use]
    pub fn name(&self) -> &Arc<str> {
        &self.held.name
    }

    /// The model.
    #[must_use]
    pub fn model(&self) -> &M {
        &self.resident().model
    }

    /// Which artifact was loaded.
    #[must_use]
    pub fn identity(&self) -> Identity {
        self.resident().identity
    }

    /// Bytes of the budget that the model holds.
    #[must_use]
    pub fn weights_bytes(&self) -> u64 {
        self.resident().bytes
    }

    /// Whether this lease's request waited for a load, its own or another's.
    #[must_use]
    pub fn is_cold(&self) -> bool {
        self.held.start != Start::Warm
    }

    /// How long it waited: for inspection, room and load. Zero when warm.
    #[must_use]
    pub fn load_wait(&self) -> Duration {
        match self.held.start {
            Start::Warm => Duration::ZERO,
            Start::AfterLoad(wait) => wait,
        }
    }

    fn resident(&self) -> &Resident<M> {
        self.held.resident.as_deref().expect("only dropping a lease empties it")
    }
}

/// Another hold on the same model, as one request's several sequences need it; not another request.
impl<M> Clone for Lease<M> {
    fn clone(&self) -> Self {
        Self { held: Arc::clone(&self.held) }
    }
}

impl<M> Deref for Lease<M> {
    type Target = M;

    fn deref(&self) -> &M {
        self.model()
    }
}

impl<M> fmt::Debug for Lease<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease").field("name", &self.held.name).field("start", &self.held.start).finish_non_exhaustive()
    }
}

impl<M> Drop for Held<M> {
    fn drop(&mut self) {
        let (release, name) = (&self.release, &self.name);
        let_go(&mut self.resident, || {
            if let Some(release) = release {
                // Fails only after the pool's task ended, which it does not while a lease lives.
                let _ = release.send(Signal::Released { model: Arc::clone(name) });
            }
        });
    }
}

/// Drops what was held, then tells of it: whoever hears of it finds the reference gone.
fn let_go<R>(held: &mut Option<R>, tell: impl FnOnce()) {
    drop(held.take());
    tell();
}

#[cfg(test)]
mod tests {
    use loom::sync::Arc;
    use loom::sync::mpsc::channel;
    use loom::thread;

    use super::let_go;

    /// The pool evicts a model once every release was told: its own reference must be the last one then, or the model
    /// would be dropped by a request, on a thread that must not block, after its bytes were counted as leaving.
    #[test]
    fn in_every_order_of_threads_the_last_release_leaves_the_pool_the_last_reference() {
        loom::model(|| {
            let mut resident = Arc::new(());
            let (release, releases) = channel();
            let holders = [(); 2].map(|()| {
                let (mut held, release) = (Some(Arc::clone(&resident)), release.clone());
                thread::spawn(move || let_go(&mut held, || release.send(()).unwrap()))
            });
            for _ in &holders {
                releases.recv().unwrap();
            }
            assert!(Arc::get_mut(&mut resident).is_some());
            for holder in holders {
                holder.join().unwrap();
            }
        });
    }
}
