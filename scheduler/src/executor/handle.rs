//! The handle: how sequences get in, and how the executor ends.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use super::core::Core;
use super::feed::{Ticket, stream};
use super::inbox::{Entry, Inbox, SequenceId, Signal};
use super::room::RoomSource;
use super::timing::Stopwatch;
use crate::engine::Engine;
use crate::limits::{RETRY_AFTER_MAX, RETRY_AFTER_MIN};
use crate::pool::Lease;

/// The operator's choices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExecutorOptions {
    /// Sequences that wait for their first step, over all models; at least 1.
    pub queue_max: usize,
    /// Outputs that a sequence may be ahead of its reader; at least 1.
    pub outputs_max: usize,
    /// Sequences of one model that have begun and not ended: more than one only when a reader is slow; at least 1.
    pub started_per_model_max: usize,
    /// How long a reader may be slow before its sequence is ended.
    pub stall_max: Duration,
    /// How long a sequence waits for memory before it is ended.
    pub room_wait_max: Duration,
}

impl Default for ExecutorOptions {
    fn default() -> Self {
        Self {
            queue_max: 256,
            outputs_max: 64,
            started_per_model_max: 4,
            stall_max: Duration::from_secs(30),
            room_wait_max: Duration::from_secs(30),
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
    queue_max: usize,
    outputs_max: usize,
    /// Sequences that wait for their first step.
    queued: AtomicUsize,
    next_id: AtomicU64,
    /// Mean of what whole sequences cost in wall time, in nanoseconds; 0 before the first.
    sequence_nanos: AtomicU64,
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
    /// When the caller gives up, running or not.
    pub deadline: Option<Instant>,
}

/// Why a submission was not taken. It is given back whole.
#[derive(thiserror::Error)]
pub enum SubmitError<E: Engine> {
    /// Too many wait. Retry later.
    #[error("the queue is full")]
    QueueFull {
        /// An estimate from what sequences cost so far.
        retry_after: Duration,
        /// What was submitted.
        submission: Box<Submission<E>>,
    },
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

impl<E: Engine> Executor<E> {
    /// Starts the executor's thread, which owns `engine`.
    ///
    /// # Errors
    /// [`SpawnError`] when the system has no thread for it.
    pub fn spawn(engine: E, room: impl RoomSource, options: ExecutorOptions) -> Result<Self, SpawnError> {
        let shared = Arc::new(Shared {
            inbox: Arc::new(Inbox::new()),
            ended: watch::Sender::new(Ended::No),
            queue_max: options.queue_max.max(1),
            outputs_max: options.outputs_max,
            queued: AtomicUsize::new(0),
            next_id: AtomicU64::new(0),
            sequence_nanos: AtomicU64::new(0),
        });
        let core = Core::new(engine, Box::new(room), options, Arc::clone(&shared));
        let end = EndOnDrop(Arc::clone(&shared));
        let thread = std::thread::Builder::new().name("executor".to_owned()).spawn(move || {
            // Outlives the core, and with it the engine, even if that panics.
            let _end = end;
            core.run();
        });
        thread.map_err(SpawnError)?;
        Ok(Self { handle: Arc::new(StopOnDrop { shared }) })
    }

    /// Queues a sequence behind those of its model.
    ///
    /// # Errors
    /// [`SubmitError`], with the submission in it.
    pub fn submit(&self, submission: Submission<E>) -> Result<Ticket<E>, SubmitError<E>> {
        let shared = &self.handle.shared;
        let entered = shared.queued.try_update(Ordering::AcqRel, Ordering::Acquire, |queued| {
            (queued < shared.queue_max).then_some(queued + 1)
        });
        if entered.is_err() {
            let retry_after = shared.retry_after();
            return Err(SubmitError::QueueFull { retry_after, submission: Box::new(submission) });
        }
        let id = SequenceId(shared.next_id.fetch_add(1, Ordering::Relaxed));
        let (feed, ticket) = stream(shared.outputs_max, &shared.inbox, id);
        let Submission { lease, sequence, deadline } = submission;
        let watch = Stopwatch::start(Instant::now());
        let entry = Box::new(Entry { id, lease, sequence, feed, watch, deadline, wanted: None });
        match shared.inbox.submit(entry) {
            Ok(()) => Ok(ticket),
            Err(entry) => {
                shared.leave_queue();
                let Entry { lease, sequence, deadline, .. } = *entry;
                Err(SubmitError::ShuttingDown { submission: Box::new(Submission { lease, sequence, deadline }) })
            }
        }
    }

    /// Sequences that wait for their first step.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.handle.shared.queued.load(Ordering::Acquire)
    }

    /// How long a client that is refused for load should wait.
    #[must_use]
    pub fn retry_after(&self) -> Duration {
        self.handle.shared.retry_after()
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

    /// Waits until the executor's thread has dropped its engine, and ends.
    pub async fn ended(&self) {
        let mut ended = self.handle.shared.ended.subscribe();
        // Fails when the sender is gone, which `self` holds.
        let _ = ended.wait_for(|&ended| ended == Ended::Yes).await;
    }
}

impl<E: Engine> Shared<E> {
    /// A sequence steps for the first time, or never will.
    pub(super) fn leave_queue(&self) {
        self.queued.fetch_sub(1, Ordering::AcqRel);
    }

    /// A sequence was completed with `wall` of steps. Only the executor's thread calls this.
    pub(super) fn note_computed(&self, wall: Duration) {
        let nanos = u64::try_from(wall.as_nanos()).unwrap_or(u64::MAX);
        let mean = self.sequence_nanos.load(Ordering::Relaxed);
        let mean = if mean == 0 { nanos } else { mean - mean / 8 + nanos / 8 };
        self.sequence_nanos.store(mean, Ordering::Relaxed);
    }

    fn retry_after(&self) -> Duration {
        let mean = Duration::from_nanos(self.sequence_nanos.load(Ordering::Relaxed));
        let queued = u32::try_from(self.queued.load(Ordering::Acquire)).unwrap_or(u32::MAX);
        mean.saturating_mul(queued).clamp(RETRY_AFTER_MIN, RETRY_AFTER_MAX)
    }
}

/// Held by the executor's thread, and dropped last of all that it holds.
struct EndOnDrop<E: Engine>(Arc<Shared<E>>);

impl<E: Engine> Drop for EndOnDrop<E> {
    fn drop(&mut self) {
        self.0.ended.send_replace(Ended::Yes);
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
            Self::QueueFull { retry_after, .. } => {
                f.debug_struct("QueueFull").field("retry_after", retry_after).finish_non_exhaustive()
            }
            Self::ShuttingDown { .. } => f.debug_struct("ShuttingDown").finish_non_exhaustive(),
        }
    }
}
