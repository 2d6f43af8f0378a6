//! An engine that does what each sequence's script says, one act per step, when the test lets it.

use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::mpsc as async_mpsc;
use tokio::time::{Instant, timeout};

use crate::budget::{Budget, Reservation};
use crate::engine::*;
use crate::executor::*;
use crate::pool::Lease;

/// No test waits longer for anything.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);
/// What every step says it costs for each of its members.
pub(super) const STEP: StepCost = StepCost { wall: Duration::from_millis(3), cpu: Duration::from_millis(5) };

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Act {
    /// A prefill chunk of so many tokens, which shows nothing.
    Prefill(u32),
    /// A token, shown.
    Token,
    NeedRoom(u64),
    Finish,
    Fail,
    Panic,
    /// Goes on for ever, showing nothing.
    Spin,
    /// Breaks the contract: no outcome at all.
    Forget,
    /// Does not return while the test holds it.
    Hang,
}

pub(super) struct FakeModel;

pub(super) struct FakeSequence {
    pub(super) name: &'static str,
    script: VecDeque<Act>,
    shown: u32,
    pub(super) room: Option<Reservation>,
}

#[derive(Debug, thiserror::Error)]
#[error("the script says so")]
pub(super) struct FakeFault;

pub(super) struct FakeEngine {
    permits: Receiver,
    hold: Receiver,
    steps: async_mpsc::UnboundedSender<&'static str>,
}

/// What an engine waits for. Shared by those that were replaced.
type Receiver = Arc<Mutex<mpsc::Receiver<()>>>;

impl Engine for FakeEngine {
    type Model = FakeModel;
    type Sequence = FakeSequence;
    type Output = (&'static str, u32);
    type Fault = FakeFault;

    fn demand(&self, sequence: &FakeSequence) -> Demand {
        let (phase, tokens) = match sequence.script.front() {
            Some(Act::Prefill(tokens)) => (Phase::Prefill, *tokens),
            _ => (Phase::Decode, 1),
        };
        let room_bytes = sequence.room.as_ref().map_or(0, Reservation::bytes);
        Demand {
            phase,
            tokens,
            kv_positions: tokens,
            room_bytes,
            batching: Batching::Together,
            drafts: Drafts::default(),
        }
    }

    fn predict(&self, _model: &FakeModel, _work: StepWork) -> Option<Duration> {
        None
    }

    fn step(
        &mut self,
        _model: &FakeModel,
        batch: &mut [Member<'_, FakeSequence>],
        outcomes: &mut Vec<StepOutcome<Self::Output, FakeFault>>,
    ) -> StepCost {
        assert!(outcomes.is_empty(), "outcomes arrive empty");
        let mut cost = StepCost::default();
        for Member { sequence, .. } in batch {
            self.steps.send(sequence.name).expect("the test listens");
            // An error means that the test is over: whatever is left runs free.
            let _ = self.permits.lock().unwrap().recv();
            let act = sequence.script.pop_front().unwrap_or(Act::Finish);
            let (phase, tokens) = match act {
                Act::Prefill(tokens) => (Phase::Prefill, tokens),
                _ => (Phase::Decode, 1),
            };
            let output = (act == Act::Token).then(|| {
                sequence.shown += 1;
                (sequence.name, sequence.shown)
            });
            let state = match act {
                Act::Prefill(_) | Act::Token => SequenceState::Continue,
                Act::Spin => {
                    sequence.script.push_front(Act::Spin);
                    SequenceState::Continue
                }
                Act::NeedRoom(bytes) => SequenceState::NeedsRoom { bytes },
                Act::Finish => SequenceState::Finished,
                Act::Fail => SequenceState::Failed(FakeFault),
                Act::Panic => panic!("the script panics"),
                Act::Hang => {
                    let _ = self.hold.lock().unwrap().recv();
                    SequenceState::Continue
                }
                Act::Forget => continue,
            };
            outcomes.push(StepOutcome { output, phase, tokens, rejected: 0, share: STEP, state });
            cost = StepCost { wall: cost.wall + STEP.wall, cpu: cost.cpu + STEP.cpu };
        }
        cost
    }

    /// The simulation is where memory is taken.
    fn preempt(&mut self, _sequence: &mut FakeSequence) -> u64 {
        0
    }

    fn reclaim(&mut self, _bytes: u64) -> u64 {
        0
    }

    fn grant(&mut self, sequence: &mut FakeSequence, room: Reservation) {
        assert!(room.bytes() != 13, "13 bytes bring bad luck");
        match &mut sequence.room {
            Some(held) => held.merge(room),
            None => sequence.room = Some(room),
        }
    }
}

/// A request for room that the test answers.
pub(super) struct Asked {
    pub(super) model: Arc<str>,
    pub(super) bytes: u64,
    pub(super) deadline: Instant,
    pub(super) answer: RoomAnswer,
}

struct AskTheTest(async_mpsc::UnboundedSender<Asked>);

impl RoomSource for AskTheTest {
    fn request(&self, model: &Arc<str>, bytes: u64, deadline: Instant, answer: RoomAnswer) {
        let _ = self.0.send(Asked { model: Arc::clone(model), bytes, deadline, answer });
    }
}

pub(super) struct Bench {
    pub(super) executor: Executor<FakeEngine>,
    pub(super) budget: Arc<Budget>,
    permits: Mutex<Option<mpsc::Sender<()>>>,
    hold: Mutex<Option<mpsc::Sender<()>>>,
    steps: async_mpsc::UnboundedReceiver<&'static str>,
    asked: async_mpsc::UnboundedReceiver<Asked>,
}

pub(super) type FakeTicket = Ticket<FakeEngine>;
pub(super) type FakeCompletion = Completion<FakeEngine>;

impl Bench {
    pub(super) fn new() -> Self {
        Self::with(ExecutorOptions::default())
    }

    /// One whose models run one sequence at a time.
    pub(super) fn one_by_one() -> Self {
        Self::with(ExecutorOptions { started_per_model_max: 1, ..ExecutorOptions::default() })
    }

    pub(super) fn with(options: ExecutorOptions) -> Self {
        let (permits, permits_in) = mpsc::channel();
        let (hold, hold_in) = mpsc::channel();
        let [permits_in, hold_in] = [permits_in, hold_in].map(|receiver| Arc::new(Mutex::new(receiver)));
        let (steps_out, steps) = async_mpsc::unbounded_channel();
        let (asked_out, asked) = async_mpsc::unbounded_channel();
        let make = move || FakeEngine {
            permits: Arc::clone(&permits_in),
            hold: Arc::clone(&hold_in),
            steps: steps_out.clone(),
        };
        let executor = Executor::spawn(make, AskTheTest(asked_out), options).unwrap();
        let [permits, hold] = [permits, hold].map(|sender| Mutex::new(Some(sender)));
        Self { executor, budget: Budget::new(1_000), permits, hold, steps, asked }
    }

    /// Submits a sequence of `model`, which tells its steps as `name`.
    pub(super) fn submit(&self, model: &str, name: &'static str, script: &[Act]) -> FakeTicket {
        self.executor.submit(self.submission(model, name, script)).unwrap()
    }

    /// With a place in the queue.
    pub(super) fn submission(&self, model: &str, name: &'static str, script: &[Act]) -> Submission<FakeEngine> {
        let sequence = FakeSequence { name, script: script.iter().copied().collect(), shown: 0, room: None };
        let owner = Owner { tenant: "tenant".into(), weight: NonZeroU32::MIN, priority: Priority::Normal };
        let place = self.executor.enter(&owner.tenant).unwrap();
        Submission { lease: Lease::unpooled(model, FakeModel), sequence, owner, place, deadline: None }
    }

    /// Waits until the engine is inside a step; returns whose.
    pub(super) async fn stepping(&mut self) -> &'static str {
        timeout(PATIENCE, self.steps.recv()).await.expect("no step begins").expect("the engine is gone")
    }

    /// Lets the engine finish the step that it is in, or the next one.
    pub(super) fn permit(&self) {
        if let Some(permits) = &*self.permits.lock().unwrap() {
            // Fails when the engine ended meanwhile, which the test will see for itself.
            let _ = permits.send(());
        }
    }

    /// Lets steps that hang return.
    pub(super) fn let_go(&self) {
        self.hold.lock().unwrap().take();
    }

    /// Lets everything run from now on.
    pub(super) fn run_free(&self) {
        self.permits.lock().unwrap().take();
    }

    /// For a test that drops the bench while a step runs.
    pub(super) fn permit_later(&self) -> impl FnOnce() + use<> {
        let permits = self.permits.lock().unwrap().clone().expect("not running free");
        move || {
            let _ = permits.send(());
        }
    }

    /// Waits for the next step to begin and lets it finish; returns whose it was.
    pub(super) async fn step(&mut self) -> &'static str {
        let name = self.stepping().await;
        self.permit();
        name
    }

    pub(super) async fn steps(&mut self, count: usize) -> Vec<&'static str> {
        let mut names = Vec::new();
        for _ in 0..count {
            names.push(self.step().await);
        }
        names
    }

    pub(super) fn no_step_began(&mut self) -> bool {
        self.steps.is_empty()
    }

    /// As [`Bench::steps`], by name: for steps of one batch, whose order does not matter.
    pub(super) async fn batch(&mut self, count: usize) -> Vec<&'static str> {
        let mut names = self.steps(count).await;
        names.sort_unstable();
        names
    }

    pub(super) async fn asked(&mut self) -> Asked {
        timeout(PATIENCE, self.asked.recv()).await.expect("no room is asked for").expect("the executor is gone")
    }
}

pub(super) async fn next(ticket: &mut FakeTicket) -> Option<Event<FakeEngine>> {
    timeout(PATIENCE, ticket.recv()).await.expect("no event comes")
}

pub(super) async fn output(ticket: &mut FakeTicket) -> u32 {
    match next(ticket).await {
        Some(Event::Output((_, number))) => number,
        other => panic!("an output was expected, not {other:?}"),
    }
}

/// Reads to the end: how many outputs there were, and the completion, after which nothing may come.
pub(super) async fn finish(ticket: &mut FakeTicket) -> (u32, FakeCompletion) {
    let mut outputs = 0;
    loop {
        match next(ticket).await.expect("a completion comes before the end") {
            Event::Output(_) => outputs += 1,
            Event::Done(completion) => {
                assert!(next(ticket).await.is_none(), "nothing comes after the completion");
                return (outputs, *completion);
            }
        }
    }
}
