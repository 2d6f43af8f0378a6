//! The executor's threads: one that runs steps, and one that watches it.
//!
//! The core stands behind a mutex that is free while a step runs, and a step's sequences are lent to it by value, so a step
//! that never returns holds up nothing but itself: after `step_timeout` the watch ends the sequences that it was lent, has a
//! new engine made and a new thread run it. The old thread, should it come back, finds that it was replaced, drops what it
//! holds and ends. When engines keep hanging the executor ends.
//!
//! The watch sleeps until the running step would be late; it is woken at a step's begin only when nothing ran before.
//!
//! Deliberately absent: a limit on what is asked of the engine between steps (`demand`, `predict`, `grant` and the like).

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::core::{Core, Next};
use super::handle::Shared;
use super::roster::after;
use super::step::Batch;
use crate::engine::Engine;
use crate::limits::ENGINES_HANG_WITHIN;

/// When an engine counts as lost, and how often another is made.
#[derive(Clone, Copy, Debug)]
pub(super) struct Watchfulness {
    pub(super) step_timeout: Duration,
    pub(super) engines_replaced_max: u32,
}

/// What the threads share.
struct Desk<E: Engine> {
    state: Mutex<State<E>>,
    /// Rung when a step begins after nothing ran, and when the executor ends.
    changed: Condvar,
    shared: Arc<Shared<E>>,
    step_timeout: Duration,
}

struct State<E: Engine> {
    /// None after the end.
    core: Option<Core<E>>,
    /// The number of the thread whose engine counts; others were replaced.
    worker: u32,
    running: Option<Running>,
    watch: Watch,
}

/// The step that runs.
struct Running {
    batch: Batch,
    late: Instant,
}

/// What the watch waits for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Watch {
    /// A step.
    Idle,
    /// A step's time to be over.
    Timed,
}

/// Starts the threads. The first engine is made here, any other by the watch.
pub(super) fn spawn<E: Engine>(
    make: impl Fn() -> E + Send + 'static,
    core: Core<E>,
    watchfulness: Watchfulness,
    shared: &Arc<Shared<E>>,
) -> io::Result<()> {
    let Watchfulness { step_timeout, engines_replaced_max } = watchfulness;
    let state = State { core: Some(core), worker: 0, running: None, watch: Watch::Idle };
    let desk =
        Arc::new(Desk { state: Mutex::new(state), changed: Condvar::new(), shared: Arc::clone(shared), step_timeout });
    start_worker(&desk, 0, make())?;
    let watched = Arc::clone(&desk);
    let watch = std::thread::Builder::new().name("executor-watch".to_owned());
    let watch = watch.spawn(move || watched.watch(make, engines_replaced_max));
    watch.map(|_| ()).inspect_err(|_| desk.give_up())
}

fn start_worker<E: Engine>(desk: &Arc<Desk<E>>, number: u32, engine: E) -> io::Result<()> {
    let desk = Arc::clone(desk);
    let thread = std::thread::Builder::new().name("executor".to_owned());
    thread.spawn(move || {
        // Outlives the engine, even if something panics.
        let worker = Worker { desk, number };
        worker.run(engine);
    })?;
    Ok(())
}

/// A thread with an engine. When the one that counts ends, so does the executor.
struct Worker<E: Engine> {
    desk: Arc<Desk<E>>,
    number: u32,
}

impl<E: Engine> Worker<E> {
    fn run(&self, mut engine: E) {
        loop {
            let Some(mut state) = self.turn() else { return };
            let core = state.core.as_mut().expect("whose turn it is has a core");
            match core.next(&mut engine) {
                Next::Step(step) => {
                    let late = after(step.began, self.desk.step_timeout);
                    state.running = Some(Running { batch: step.batch(), late });
                    if state.watch == Watch::Idle {
                        self.desk.changed.notify_all();
                    }
                    drop(state);
                    let ran = step.run(&mut engine);
                    // If it was replaced meanwhile, what it brings back is dropped.
                    let Some(mut state) = self.turn() else { return };
                    state.running = None;
                    state.core.as_mut().expect("whose turn it is has a core").book(&mut engine, ran);
                }
                Next::Park(until) => {
                    drop(state);
                    self.desk.shared.inbox.park(until);
                }
                Next::End => return,
            }
        }
    }

    /// The state, unless this thread was replaced.
    fn turn(&self) -> Option<MutexGuard<'_, State<E>>> {
        let state = self.desk.lock();
        (state.worker == self.number && state.core.is_some()).then_some(state)
    }
}

impl<E: Engine> Drop for Worker<E> {
    fn drop(&mut self) {
        let counts = self.desk.lock().worker == self.number;
        if counts {
            self.desk.give_up();
        }
    }
}

impl<E: Engine> Desk<E> {
    /// Replaces engines that hang, until the executor ends.
    fn watch(self: Arc<Self>, make: impl Fn() -> E, engines_replaced_max: u32) {
        let (mut replaced, mut last) = (0, None::<Instant>);
        loop {
            let Some(number) = self.next_worker() else { return };
            let now = Instant::now();
            // Once in a long while is no habit.
            if last.is_some_and(|last| now.saturating_duration_since(last) > ENGINES_HANG_WITHIN) {
                replaced = 0;
            }
            if replaced == engines_replaced_max {
                tracing::error!("engines keep hanging: the executor ends");
                return self.give_up();
            }
            (replaced, last) = (replaced + 1, Some(now));
            tracing::error!("a step did not return: its sequences end, and its engine is replaced");
            let started = catch_unwind(AssertUnwindSafe(&make)).map(|engine| start_worker(&self, number, engine));
            if !matches!(started, Ok(Ok(()))) {
                tracing::error!("there is no other engine: the executor ends");
                return self.give_up();
            }
        }
    }

    /// Waits until a step is late, ends its sequences and lets go of its thread. Returns the number of the next; none at
    /// the executor's end.
    fn next_worker(&self) -> Option<u32> {
        let mut state = self.lock();
        loop {
            state.core.as_ref()?;
            let Some(running) = &state.running else {
                state.watch = Watch::Idle;
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let rest = running.late.saturating_duration_since(Instant::now());
            if rest.is_zero() {
                break;
            }
            state.watch = Watch::Timed;
            state = self.changed.wait_timeout(state, rest).unwrap_or_else(PoisonError::into_inner).0;
        }
        let Running { batch, .. } = state.running.take()?;
        state.worker += 1;
        let number = state.worker;
        state.core.as_mut()?.abandon(batch);
        Some(number)
    }

    /// Ends the executor: whatever is left is told so.
    fn give_up(&self) {
        let mut state = self.lock();
        let core = state.core.take();
        drop(state);
        if let Some(mut core) = core
            && !std::thread::panicking()
        {
            core.end_all();
        }
        self.shared.end();
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State<E>> {
        // Poisoned by a panic in the core, after which it is only dropped.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
