//! The handle: how sequences get in, and how the executor ends.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use super::core::Core;
use super::feed::{Ticket, stream};
use super::inbox::{Entry, Inbox, SequenceId, Signal};
use super::queue::{Bounds, Place, Queue, QueueFull};
use super::room::RoomSource;
use super::thread::{self, Watchfulness};
use super::timing::Stopwatch;
use crate::engine::Engine;
use crate::limits::{RETRY_AFTER_MAX, RETRY_AFTER_MIN};
use crate::pool::Lease;

/// The operator's choices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecutorOptions {
    /// Places for those who wait for their first step, over all models; at least 1.
    pub queue_max: usize,
    /// Those of them that one tenant may take; at least 1.
    pub queue_per_tenant_max: usize,
    /// Places of those who wait for their model's load, beside the queue's; each tenant may take as many of them as there.
    pub loading_max: usize,
    /// Outputs that a sequence may be ahead of its reader; at least 1.
    pub outputs_max: usize,
    /// Sequences of one model that have begun and not ended; at least 1. Tenants that have less than their equal share of
    /// them may begin more, up to twice as many in all.
    pub started_per_model_max: usize,
    /// Sequences of a step that decode; at least 1.
    pub step_sequences_max: usize,
    /// Tokens that a step computes, but for a few of a prompt that always go in; at least 1.
    pub step_tokens_max: u32,
    /// How long a step with prompt tokens may be predicted to take while others wait for it, unless its decodes alone take
    /// more than half of that.
    pub step_wall_max: Duration,
    /// Shares of the device's time, by the model's name; 1 for all others.
    pub model_weights: HashMap<Arc<str>, NonZeroU32>,
    /// How long a reader may be slow before its sequence is ended.
    pub stall_max: Duration,
    /// How long a sequence waits for memory before it is ended.
    pub room_wait_max: Duration,
    /// How long it waits before others are preempted for it: what is idle goes first.
    pub preempt_after: Duration,
    /// How long a step may take before its engine counts as lost: its sequences end, and another engine is made.
    pub step_timeout: Duration,
    /// Engines that are replaced so before the executor ends.
    pub engines_replaced_max: u32,
}

impl Default for ExecutorOptions {
    fn default() -> Self {
        Self {
            queue_max: 256,
            queue_per_tenant_max: 128,
            loading_max: 256,
            outputs_max: 64,
            started_per_model_max: 64,
            step_sequences_max: 64,
            step_tokens_max: 256,
            step_wall_max: Duration::from_millis(60),
            model_weights: HashMap::new(),
            stall_max: Duration::from_secs(30),
            room_wait_max: Duration::from_secs(30),
            preempt_after: Duration::from_millis(50),
            step_timeout: Duration::from_secs(300),
            engines_replaced_max: 3,
        }
    }
}

/// A handle to one device's executor; clones are the same executor. When the last one is dropped it stops.
pub struct Executor<E: Engine> {
    handle: Arc<StopOnDrop<E>>,
}

struct StopOnDrop<E: Engine> {
    shared: Arc<Shared<E>>,
}

pub(super) struct Shared<E: Engine> {
    pub(super) inbox: Arc<Inbox<E>>,
    ended: watch::Sender<Ended>,
    pub(super) queue: Arc<Queue>,
    outputs_max: usize,
    next_id: AtomicU64,
    /// Mean wall time of steps from one completed sequence to the next, in nanoseconds; 0 before the first.
    completion_nanos: AtomicU64,
}

/// Whether the executor's thread has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    No,
    Yes,
}

/// What is submitted.
pub struct Submission<E: Engine> {
    /// Keeps the model in memory meanwhile; its name is the model's line.
    pub lease: Lease<E::Model>,
    /// A new sequence of that model.
    pub sequence: E::Sequence,
    /// Whose it is.
    pub owner: Owner,
    /// Its place, taken when its request arrived.
    pub place: Place,
    /// When the caller gives up, running or not.
    pub deadline: Option<Instant>,
}

/// Whose a sequence is, and what that means for its turns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Who is charged.
    pub tenant: Arc<str>,
    /// The tenant's share against others', as its latest submission says.
    pub weight: NonZeroU32,
    /// How urgent this sequence is.
    pub priority: Priority,
}

/// How urgent a sequence is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Priority {
    /// It can wait.
    Low,
    /// As most.
    #[default]
    Normal,
    /// Somebody sits before it.
    High,
}

/// Why a submission was not taken. It is given back whole.
#[derive(thiserror::Error)]
pub enum SubmitError<E: Engine> {
    /// The executor is ending.
    #[error("the executor is shutting down")]
    ShuttingDown {
        /// What was submitted.
        submission: Box<Submission<E>>,
    },
}

/// The executor's thread could not be started.
#[derive(Debug, thiserror::Error)]
#[error("no thread for the executor")]
pub struct SpawnError(#[source] io::Error);

/// How a drain ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DrainOutcome {
    /// Every sequence ended by itself, and so did the thread.
    Drained,
    /// The deadline passed first; the rest still runs until [`Executor::stop`].
    Unfinished,
}

/// The two ends of an executor that nothing runs yet.
pub(super) fn parts<E: Engine>(options: ExecutorOptions, room: Box<dyn RoomSource>) -> (Executor<E>, Core<E>) {
    let shared = Arc::new(Shared {
        inbox: Arc::new(Inbox::new()),
        ended: watch::Sender::new(Ended::No),
        queue: Queue::new(Bounds {
            whole: options.queue_max.max(1),
            tenant: options.queue_per_tenant_max.max(1),
            aside: options.loading_max,
        }),
        outputs_max: options.outputs_max,
        next_id: AtomicU64::new(0),
        completion_nanos: AtomicU64::new(0),
    });
    let core = Core::new(room, options, Arc::clone(&shared));
    (Executor { handle: Arc::new(StopOnDrop { shared }) }, core)
}

impl<E: Engine> Executor<E> {
    /// Starts the executor's threads. `make` makes the engine, and another for each one whose step does not return.
    ///
    /// # Errors
    /// [`SpawnError`] when the system has no thread for it.
    pub fn spawn(
        make: impl Fn() -> E + Send + 'static,
        room: impl RoomSource,
        options: ExecutorOptions,
    ) -> Result<Self, SpawnError> {
        let ExecutorOptions { step_timeout, engines_replaced_max, .. } = options;
        let (executor, core) = parts(options, Box::new(room));
        let watchfulness = Watchfulness { step_timeout, engines_replaced_max };
        thread::spawn(make, core, watchfulness, &executor.handle.shared).map_err(SpawnError)?;
        Ok(executor)
    }

    /// Takes a place in the queue, at a request's arrival, before anything is done for it. It is given back when the
    /// sequence that is submitted with it steps first, or when it is dropped.
    ///
    /// # Errors
    /// [`QueueFull`] when all places are taken, or all that `tenant` may take.
    pub fn enter(&self, tenant: &Arc<str>) -> Result<Place, QueueFull> {
        let shared = &self.handle.shared;
        shared.queue.enter(tenant).map_err(|whose| QueueFull { whose, retry_after: shared.retry_after() })
    }

    /// Queues a sequence behind those of its model.
    ///
    /// # Errors
    /// [`SubmitError`], with the submission in it.
    pub fn submit(&self, submission: Submission<E>) -> Result<Ticket<E>, SubmitError<E>> {
        let shared = &self.handle.shared;
        let id = SequenceId(shared.next_id.fetch_add(1, Ordering::Relaxed));
        let (feed, ticket) = stream(shared.outputs_max, &shared.inbox, &shared.queue, id);
        let Submission { lease, sequence, owner, mut place, deadline } = submission;
        place.assign(id, lease.name(), &owner);
        let watch = Stopwatch::start(Instant::now());
        let (sequence, place) = (Some(sequence), Some(place));
        let entry = Box::new(Entry { id, lease, sequence, owner, place, feed, watch, deadline, asked: None });
        shared.inbox.submit(entry).map(|()| ticket).map_err(|entry| {
            let Entry { lease, sequence, owner, place, deadline, .. } = *entry;
            let sequence = sequence.expect("no step had it");
            let place = place.expect("it has not stepped");
            SubmitError::ShuttingDown { submission: Box::new(Submission { lease, sequence, owner, place, deadline }) }
        })
    }

    /// Places taken by those who wait for their first step, but for those who wait for a load.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.handle.shared.queue.taken().0
    }

    /// Places taken by those who wait for their model's load.
    #[must_use]
    pub fn loading(&self) -> usize {
        self.handle.shared.queue.taken().1
    }

    /// Refuses submissions from now on and waits, until `deadline`, for every sequence that was let in to end.
    pub async fn drain(&self, deadline: Instant) -> DrainOutcome {
        self.handle.shared.inbox.send(Signal::Drain);
        match timeout_at(deadline, self.ended()).await {
            Ok(()) => DrainOutcome::Drained,
            Err(_) => DrainOutcome::Unfinished,
        }
    }

    /// Refuses submissions and ends every sequence after the step that runs now. Returns at once.
    pub fn stop(&self) {
        self.handle.shared.inbox.send(Signal::Stop);
    }

    /// Whether it has ended.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        *self.handle.shared.ended.borrow() == Ended::Yes
    }

    /// Waits until the executor has ended and its engine was dropped, but for one whose step does not return.
    pub async fn ended(&self) {
        let mut ended = self.handle.shared.ended.subscribe();
        // Fails when the sender is gone, which `self` holds.
        let _ = ended.wait_for(|&ended| ended == Ended::Yes).await;
    }
}

impl<E: Engine> Shared<E> {
    /// The executor has ended.
    pub(super) fn end(&self) {
        self.ended.send_replace(Ended::Yes);
    }

    /// A sequence was completed, after `busy` of steps since the one before. Only the executor's thread calls this.
    pub(super) fn note_completed(&self, busy: Duration) {
        let nanos = u64::try_from(busy.as_nanos()).unwrap_or(u64::MAX);
        let mean = self.completion_nanos.load(Ordering::Relaxed);
        let mean = if mean == 0 { nanos } else { mean - mean / 8 + nanos / 8 };
        self.completion_nanos.store(mean, Ordering::Relaxed);
    }

    fn retry_after(&self) -> Duration {
        let mean = Duration::from_nanos(self.completion_nanos.load(Ordering::Relaxed));
        let queued = u32::try_from(self.queue.taken().0).unwrap_or(u32::MAX);
        mean.saturating_mul(queued).clamp(RETRY_AFTER_MIN, RETRY_AFTER_MAX)
    }
}

impl<E: Engine> Clone for Executor<E> {
    fn clone(&self) -> Self {
        Self { handle: Arc::clone(&self.handle) }
    }
}

impl<E: Engine> Drop for StopOnDrop<E> {
    fn drop(&mut self) {
        self.shared.inbox.send(Signal::Stop);
    }
}

impl<E: Engine> fmt::Debug for Executor<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Executor").field("queued", &self.queued()).finish_non_exhaustive()
    }
}

impl<E: Engine> fmt::Debug for SubmitError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ShuttingDown { .. } => f.debug_struct("ShuttingDown").finish_non_exhaustive(),
        }
    }
}
