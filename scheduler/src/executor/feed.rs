//! The stream from a sequence to whoever submitted it: bounded outputs, then exactly one completion.
//!
//! One mutex guards both ends, so there is no order of events to argue about; it is held for a push or a pop. The
//! completion is no output: a full stream never keeps it back.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::inbox::{Inbox, SequenceId, Signal};
use super::queue::Queue;
use super::timing::RequestTiming;
use crate::engine::Engine;
use crate::pool::{Lease, NoRoom};

/// What a submitted sequence tells.
pub enum Event<E: Engine> {
    /// A step showed something.
    Output(E::Output),
    /// It is over. Always the last.
    Done(Box<Completion<E>>),
}

/// The end of a sequence. Dropping it gives back what the request held: meter first. It need not wait for a slow reader
/// ([`Ticket::ended`]).
pub struct Completion<E: Engine> {
    /// How it ended.
    pub outcome: Outcome<E::Fault>,
    /// The hold on its model.
    pub lease: Lease<E::Model>,
    /// Its state, KV cache included. None after [`Outcome::EngineTimeout`]: the step that did not return has it.
    pub sequence: Option<E::Sequence>,
    /// Where its time went.
    pub timing: RequestTiming,
}

/// How a sequence ended.
#[derive(Debug)]
pub enum Outcome<F> {
    /// The engine said that it is complete.
    Completed,
    /// Its ticket was cancelled.
    Cancelled,
    /// The engine said that it cannot go on.
    Failed(F),
    /// Its deadline passed: before its first step when `timing` shows no cost.
    DeadlinePassed,
    /// Its reader was too slow for too long.
    StallLimit,
    /// Its memory could not grow.
    NoRoom(NoRoom),
    /// A step that it was part of panicked.
    EnginePanicked {
        /// What the panic said.
        message: String,
    },
    /// A step that it was part of did not return within [`ExecutorOptions::step_timeout`]; its engine was replaced.
    ///
    /// [`ExecutorOptions::step_timeout`]: super::ExecutorOptions::step_timeout
    EngineTimeout,
    /// The executor ended.
    ShuttingDown,
}

/// How far a submitted sequence is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It has not stepped yet.
    Queued {
        /// Sequences that would step before it if nobody else came.
        ahead: usize,
    },
    /// It has stepped.
    Running,
    /// It is over, though not all may have been read.
    Ended,
}

/// The caller's end of a submitted sequence. Dropping it cancels the sequence.
pub struct Ticket<E: Engine> {
    stream: Arc<Stream<E>>,
    queue: Arc<Queue>,
    inbox: Arc<Inbox<E>>,
    id: SequenceId,
}

/// Tells how far a submitted sequence is, to whoever does not read it; holds nothing of it back.
pub struct StandingWatch<E: Engine> {
    stream: Arc<Stream<E>>,
    queue: Arc<Queue>,
    id: SequenceId,
}

/// The executor's end.
pub(super) struct Feed<E: Engine> {
    stream: Arc<Stream<E>>,
}

/// Whether the stream takes another output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Space {
    Free,
    /// The inbox will hear `Drained` when there is space again.
    Full,
}

struct Stream<E: Engine> {
    state: Mutex<State<E>>,
    readable: Notify,
    outputs_max: usize,
}

struct State<E: Engine> {
    outputs: VecDeque<E::Output>,
    begun: Begun,
    end: End<E>,
    reader: Reader,
}

/// Whether a sequence has stepped.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Begun {
    No,
    Yes,
}

enum End<E: Engine> {
    Open,
    Done(Box<Completion<E>>),
    /// Told, or never to be told: the executor's thread is gone.
    Over,
}

/// What the reader finds.
enum Taken<E: Engine> {
    Output(E::Output),
    Done(Box<Completion<E>>),
    Over,
    Nothing,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Reader {
    Keeping,
    /// The sequence is set aside until the reader takes something.
    Behind,
    Gone,
}

pub(super) fn stream<E: Engine>(
    outputs_max: usize,
    inbox: &Arc<Inbox<E>>,
    queue: &Arc<Queue>,
    id: SequenceId,
) -> (Feed<E>, Ticket<E>) {
    let state = State { outputs: VecDeque::new(), begun: Begun::No, end: End::Open, reader: Reader::Keeping };
    let stream =
        Arc::new(Stream { state: Mutex::new(state), readable: Notify::new(), outputs_max: outputs_max.max(1) });
    let ticket = Ticket { stream: Arc::clone(&stream), queue: Arc::clone(queue), inbox: Arc::clone(inbox), id };
    (Feed { stream }, ticket)
}

impl<E: Engine> Stream<E> {
    fn lock(&self) -> MutexGuard<'_, State<E>> {
        // Nothing of the caller's runs under the lock, so a poisoned one is as good as any.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<E: Engine> Feed<E> {
    /// It steps for the first time.
    pub(super) fn begin(&self) {
        self.stream.lock().begun = Begun::Yes;
    }

    /// Adds an output; the stream had space before. Says whether it has still.
    pub(super) fn push(&self, output: E::Output) -> Space {
        let mut state = self.stream.lock();
        if state.reader == Reader::Gone {
            // The cancellation is on its way.
            return Space::Free;
        }
        state.outputs.push_back(output);
        let space = if state.outputs.len() < self.stream.outputs_max { Space::Free } else { Space::Full };
        if space == Space::Full {
            state.reader = Reader::Behind;
        }
        drop(state);
        self.stream.readable.notify_one();
        space
    }

    /// Whether the stream takes another output.
    pub(super) fn space(&self) -> Space {
        let mut state = self.stream.lock();
        if state.reader == Reader::Gone || state.outputs.len() < self.stream.outputs_max {
            return Space::Free;
        }
        state.reader = Reader::Behind;
        Space::Full
    }

    /// Ends the stream. Dropped here when there is no reader.
    pub(super) fn finish(self, completion: Completion<E>) {
        let mut state = self.stream.lock();
        if state.reader == Reader::Gone {
            drop(state);
            drop(completion);
        } else {
            state.end = End::Done(Box::new(completion));
        }
        // Dropping `self` wakes the reader.
    }
}

impl<E: Engine> Drop for Feed<E> {
    fn drop(&mut self) {
        let mut state = self.stream.lock();
        if matches!(state.end, End::Open) {
            state.end = End::Over;
        }
        drop(state);
        self.stream.readable.notify_one();
    }
}

impl<E: Engine> Ticket<E> {
    /// The next event: outputs in order, then [`Event::Done`], then `None`.
    ///
    /// `None` without a `Done`, or [`Self::ended`], before it means that the executor's thread died, which is a bug.
    /// Cancel-safe.
    pub async fn recv(&mut self) -> Option<Event<E>> {
        loop {
            match self.take() {
                Taken::Output(output) => return Some(Event::Output(output)),
                Taken::Done(completion) => return Some(Event::Done(completion)),
                Taken::Over => return None,
                // A notification since the look above left a permit, so none is missed.
                Taken::Nothing => self.stream.readable.notified().await,
            }
        }
    }

    /// Waits for the end, however many outputs wait to be read: what the sequence held can be let go before a slow reader
    /// has come so far. Those outputs are read afterwards, and end with `None`.
    ///
    /// `None` where the end was told already, or the executor's thread died. Cancel-safe.
    pub async fn ended(&mut self) -> Option<Box<Completion<E>>> {
        loop {
            {
                let mut state = self.stream.lock();
                match std::mem::replace(&mut state.end, End::Over) {
                    End::Open => state.end = End::Open,
                    End::Done(completion) => return Some(completion),
                    End::Over => return None,
                }
            }
            // An output's notification ends here as well: whoever reads looks before it waits.
            self.stream.readable.notified().await;
        }
    }

    fn take(&self) -> Taken<E> {
        let mut state = self.stream.lock();
        if let Some(output) = state.outputs.pop_front() {
            let before = std::mem::replace(&mut state.reader, Reader::Keeping);
            drop(state);
            if before == Reader::Behind {
                self.inbox.send(Signal::Drained(self.id));
            }
            return Taken::Output(output);
        }
        match std::mem::replace(&mut state.end, End::Over) {
            End::Open => {
                state.end = End::Open;
                Taken::Nothing
            }
            End::Done(completion) => Taken::Done(completion),
            End::Over => Taken::Over,
        }
    }

    /// How far it is. Cheap, at any time.
    #[must_use]
    pub fn standing(&self) -> Standing {
        self.watch().standing()
    }

    /// Another view of how far it is.
    #[must_use]
    pub fn watch(&self) -> StandingWatch<E> {
        StandingWatch { stream: Arc::clone(&self.stream), queue: Arc::clone(&self.queue), id: self.id }
    }

    /// Ends the sequence before its next step. Its `Done` still comes, after the outputs it had shown. Idempotent.
    pub fn cancel(&self) {
        self.inbox.send(Signal::Cancel(self.id));
    }
}

impl<E: Engine> StandingWatch<E> {
    /// How far it is. Cheap, at any time.
    #[must_use]
    pub fn standing(&self) -> Standing {
        let state = self.stream.lock();
        let (is_open, begun) = (matches!(state.end, End::Open), state.begun);
        drop(state);
        match begun {
            _ if !is_open => Standing::Ended,
            Begun::Yes => Standing::Running,
            Begun::No => Standing::Queued { ahead: self.queue.ahead(self.id) },
        }
    }
}

impl<E: Engine> fmt::Debug for StandingWatch<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StandingWatch").field("standing", &self.standing()).finish()
    }
}

impl<E: Engine> Drop for Ticket<E> {
    fn drop(&mut self) {
        let mut state = self.stream.lock();
        state.reader = Reader::Gone;
        let outputs = std::mem::take(&mut state.outputs);
        let is_open = matches!(state.end, End::Open);
        let end = if is_open { End::Open } else { std::mem::replace(&mut state.end, End::Over) };
        drop(state);
        if is_open {
            self.cancel();
        }
        drop((outputs, end));
    }
}

impl<E: Engine> fmt::Debug for Ticket<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticket").field("id", &self.id).finish_non_exhaustive()
    }
}

impl<E: Engine> fmt::Debug for Completion<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Completion")
            .field("outcome", &self.outcome)
            .field("lease", &self.lease)
            .field("timing", &self.timing)
            .finish_non_exhaustive()
    }
}

impl<E: Engine> fmt::Debug for Event<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Output(_) => f.write_str("Output(..)"),
            Self::Done(completion) => f.debug_tuple("Done").field(completion).finish(),
        }
    }
}
