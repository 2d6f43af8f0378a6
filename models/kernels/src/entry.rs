//! [`Kernels`]: the threads and the instruction set, through which everything is computed.

use std::num::NonZeroUsize;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use crate::aligned::Shared;
use crate::attention::Group;
use crate::isa::Isa;
use crate::pool::Pool;

/// The one entry point: a pool of threads, and the instruction set chosen for all of them.
///
/// Calls from several threads at once are safe and take turns.
pub struct Kernels {
    pool: Pool,
    isa: Isa,
    /// One scratch buffer per participant of a call, and one for the caller between phases; they only grow.
    scratch: Box<[Mutex<Vec<f32>>]>,
    /// The groups of the attention that is running.
    groups: Mutex<Vec<Group>>,
}

impl Kernels {
    /// Starts `threads` − 1 workers; the thread that calls an operation is the last of them. Where the system gives
    /// fewer threads, there are fewer ([`Self::threads`] tells).
    ///
    /// # Panics
    /// When this processor lacks `isa` ([`Isa::is_available`]).
    #[must_use]
    pub fn new(threads: NonZeroUsize, isa: Isa) -> Self {
        assert!(isa.is_available(), "this processor lacks what {isa} needs");
        let pool = Pool::new(threads);
        let scratch = (0..=pool.threads()).map(|_| Mutex::new(Vec::new())).collect();
        Self { pool, isa, scratch, groups: Mutex::new(Vec::new()) }
    }

    /// The instruction set in use.
    #[must_use]
    pub const fn isa(&self) -> Isa {
        self.isa
    }

    /// Threads that compute, the caller's included.
    #[must_use]
    pub fn threads(&self) -> usize {
        self.pool.threads()
    }

    /// Processor time used so far by the workers and by the calling thread together; take differences.
    ///
    /// Zero where the system has no clock per thread (any but Linux).
    #[must_use]
    pub fn cpu_time(&self) -> Duration {
        self.pool.cpu_time()
    }

    /// Runs `body` (participant, chunk) for each of `chunks` on all threads.
    pub(crate) fn run(&self, chunks: usize, body: &(dyn Fn(usize, usize) + Sync)) {
        self.pool.run(chunks, body);
    }

    /// Runs `body` on each of `items`, as many at a time as there are threads: for bodies that take longer than waking one.
    pub fn each<T: Send>(&self, items: &mut [T], body: &(dyn Fn(&mut T) + Sync)) {
        let count = items.len();
        let items = Shared::new(items);
        // SAFETY: each item is changed by the one thread that claimed it.
        self.run(count, &|_, item| unsafe { items.part(item..item + 1) }.iter_mut().for_each(body));
    }

    /// The scratch buffer of one participant of the call that is running.
    pub(crate) fn scratch(&self, participant: usize) -> MutexGuard<'_, Vec<f32>> {
        // What it holds is unspecified anyhow, so a panic that left it locked has spoilt nothing.
        self.scratch[participant].lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Grows every participant's scratch buffer to `floats` now, so that the first call of a shape warms all of them.
    pub(crate) fn reserve_scratch(&self, floats: usize) {
        for participant in 0..self.threads() {
            let mut scratch = self.scratch(participant);
            if scratch.len() < floats {
                scratch.resize(floats, 0.0);
            }
        }
    }

    /// A buffer for the groups of one call's tokens; it only grows.
    pub(crate) fn attention_groups(&self) -> MutexGuard<'_, Vec<Group>> {
        self.groups.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// The scratch buffer that outlives the phases of one operation; taken before its first call.
    pub(crate) fn shared_scratch(&self) -> MutexGuard<'_, Vec<f32>> {
        self.scratch(self.scratch.len() - 1)
    }
}
