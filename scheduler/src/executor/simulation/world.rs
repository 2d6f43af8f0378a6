//! One executor's core, its clients and its source of room, in simulated time.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::time::{Instant, advance};

use super::engine::{Script, SimEngine, SimModel, SimSequence};
use super::tally::Tally;
use crate::budget::Budget;
use crate::executor::core::{Core, Next};
use crate::executor::handle::parts;
use crate::executor::*;
use crate::pool::{Lease, NoRoom};

/// A request on its way.
#[derive(Clone, Debug)]
pub(super) struct Arrival {
    pub(super) at: Duration,
    /// Its number.
    pub(super) model: usize,
    pub(super) owner: Owner,
    pub(super) script: Script,
    pub(super) reading: Reading,
    /// When its client has had enough, and whether it drops the ticket then or cancels.
    pub(super) leaves: Option<Duration>,
    pub(super) drops: bool,
    /// After its arrival.
    pub(super) deadline: Option<Duration>,
}

/// How a client reads.
#[derive(Clone, Copy, Debug)]
pub(super) enum Reading {
    AtOnce,
    Every(Duration),
    /// Nothing before the end.
    Never,
}

pub(super) struct WorldOptions {
    pub(super) budget_bytes: u64,
    /// How long the source of room takes to answer.
    pub(super) room_delay: Duration,
}

#[derive(Debug)]
enum Happening {
    Arrives(Box<Arrival>),
    Reads(u64),
    Leaves(u64),
    Stops,
}

pub(super) struct Client {
    ticket: Option<Ticket<SimEngine>>,
    pub(super) arrival: Arrival,
    pub(super) arrived: Instant,
    cancelled: Arc<AtomicBool>,
    pub(super) outputs: u32,
}

/// A request for room, and when it can be answered first.
pub(super) struct Asked {
    bytes: u64,
    deadline: Instant,
    answered: Instant,
    answer: RoomAnswer,
}

struct SimRoom {
    asked: Arc<Mutex<Vec<Asked>>>,
    delay: Duration,
}

impl RoomSource for SimRoom {
    fn request(&self, _model: &Arc<str>, bytes: u64, deadline: Instant, answer: RoomAnswer) {
        let answered = Instant::now() + self.delay;
        self.asked.lock().unwrap().push(Asked { bytes, deadline, answered, answer });
    }
}

pub(super) struct World {
    pub(super) executor: Executor<SimEngine>,
    core: Option<Core<SimEngine>>,
    pub(super) engine: SimEngine,
    pub(super) budget: Arc<Budget>,
    models: Vec<SimModel>,
    pub(super) asked: Arc<Mutex<Vec<Asked>>>,
    pub(super) start: Instant,
    events: BTreeMap<(Instant, u64), Happening>,
    event_number: u64,
    pub(super) clients: BTreeMap<u64, Client>,
    /// When the last request came or the last client left, so that everything must end soon.
    pub(super) quiet_since: Instant,
    /// The work of all, one after another.
    pub(super) serial: Duration,
    pub(super) waits_max: Duration,
    pub(super) tally: Tally,
}

/// Runs `world` in time that passes only when it says so.
pub(super) fn simulated<T>(world: impl Future<Output = T>) -> T {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime");
    runtime.block_on(world)
}

/// One look at a future.
fn poll<T>(future: impl Future<Output = T>) -> Poll<T> {
    pin!(future).poll(&mut Context::from_waker(Waker::noop()))
}

impl World {
    pub(super) fn new(options: ExecutorOptions, models: Vec<SimModel>, world: WorldOptions) -> Self {
        let budget = Budget::new(world.budget_bytes);
        let asked = Arc::default();
        let room = SimRoom { asked: Arc::clone(&asked), delay: world.room_delay };
        let waits_max = 2 * options.room_wait_max + options.stall_max + Duration::from_secs(5);
        let (executor, core) = parts(options, Box::new(room));
        Self {
            executor,
            core: Some(core),
            engine: SimEngine::new(Arc::clone(&budget)),
            budget,
            models,
            asked,
            start: Instant::now(),
            events: BTreeMap::new(),
            event_number: 0,
            clients: BTreeMap::new(),
            quiet_since: Instant::now(),
            serial: Duration::ZERO,
            waits_max,
            tally: Tally::default(),
        }
    }

    /// A request will come.
    pub(super) fn arrives(&mut self, arrival: Arrival) {
        self.at(self.start + arrival.at, Happening::Arrives(Box::new(arrival)));
    }

    /// The executor will be stopped.
    pub(super) fn stops(&mut self, at: Duration) {
        self.at(self.start + at, Happening::Stops);
    }

    fn at(&mut self, at: Instant, event: Happening) {
        self.event_number += 1;
        self.events.insert((at, self.event_number), event);
    }

    /// Runs until nothing more happens, then to the executor's end.
    pub(super) async fn run(mut self) -> Tally {
        while let Some(until) = self.turn().await {
            let next = self.next_moment();
            let Some(wake) = [until, next].into_iter().flatten().min() else {
                if self.core.is_some() {
                    self.quiet();
                    continue;
                }
                break;
            };
            self.sleep_until(wake).await;
        }
        self.close()
    }

    /// Lets the executor do one thing. Returns until when it parks, if it does; none after its end.
    async fn turn(&mut self) -> Option<Option<Instant>> {
        self.happen();
        let mut core = self.core.take()?;
        match core.next(&mut self.engine) {
            Next::Step(step) => {
                self.read_all_at_once();
                let before = self.engine.whole.wall;
                let ran = step.run(&mut self.engine);
                let end = Instant::now() + (self.engine.whole.wall - before);
                self.check_budget();
                // What happens meanwhile is heard after the step.
                while let Some(next) = self.next_moment().filter(|&next| next < end) {
                    self.sleep_until(next).await;
                    self.happen();
                }
                self.sleep_until(end).await;
                core.book(&mut self.engine, ran);
                self.read_all_at_once();
                self.core = Some(core);
                Some(Some(Instant::now()))
            }
            Next::Park(until) => {
                self.read_all_at_once();
                self.core = Some(core);
                Some(until)
            }
            Next::End => {
                drop(core);
                self.happen();
                Some(None)
            }
        }
    }

    async fn sleep_until(&self, until: Instant) {
        let time = until.saturating_duration_since(Instant::now());
        if !time.is_zero() {
            advance(time).await;
        }
    }

    /// When something happens next outside of the executor.
    fn next_moment(&self) -> Option<Instant> {
        let asked = self.asked.lock().unwrap();
        let now = Instant::now();
        let answers = asked.iter().flat_map(|asked| [asked.answered, asked.deadline]).filter(|&at| at > now).min();
        [self.events.keys().next().map(|&(at, _)| at), answers].into_iter().flatten().min()
    }

    /// All that happens outside of the executor at this moment.
    fn happen(&mut self) {
        let now = Instant::now();
        while let Some(entry) = self.events.first_entry().filter(|entry| entry.key().0 <= now) {
            match entry.remove() {
                Happening::Arrives(arrival) => self.submit(*arrival),
                Happening::Reads(number) => self.read_slowly(number),
                Happening::Leaves(number) => self.leave(number),
                Happening::Stops => self.executor.stop(),
            }
        }
        self.read_all_at_once();
        self.answer_for_room(now);
    }

    fn read_all_at_once(&mut self) {
        let numbers: Vec<_> = self.clients.keys().copied().collect();
        for number in numbers {
            self.read_at_once(number);
        }
    }

    fn submit(&mut self, arrival: Arrival) {
        self.quiet_since = Instant::now();
        let Ok(place) = self.executor.enter(&arrival.owner.tenant) else {
            self.tally.refused_places += 1;
            return;
        };
        let cancelled = Arc::new(AtomicBool::new(false));
        let sequence = SimSequence::new(arrival.script, Arc::clone(&cancelled));
        let model = self.models[arrival.model];
        let arrived = Instant::now();
        let submission = Submission {
            lease: Lease::unpooled(&format!("model-{}", arrival.model), model),
            sequence,
            owner: arrival.owner.clone(),
            place,
            deadline: arrival.deadline.map(|deadline| arrived + deadline),
        };
        let Ok(ticket) = self.executor.submit(submission) else {
            self.tally.shut_down += 1;
            return;
        };
        let Script { number, prompt, answer, .. } = arrival.script;
        let tokens = u64::from(prompt + answer);
        let micros = (tokens.div_ceil(16) + u64::from(answer)) * model.step_micros + tokens * model.token_micros;
        self.serial += Duration::from_micros(micros) + Duration::from_nanos(tokens * tokens * model.position_nanos);
        if let Some(leaves) = arrival.leaves {
            self.at(self.start + leaves, Happening::Leaves(number));
        }
        if let Reading::Every(time) = arrival.reading {
            self.serial += answer * time;
            self.at(arrived + time, Happening::Reads(number));
        }
        let client = Client { ticket: Some(ticket), arrival, arrived, cancelled, outputs: 0 };
        self.clients.insert(number, client);
    }

    fn read_at_once(&mut self, number: u64) {
        let client = &self.clients[&number];
        let reads = match client.arrival.reading {
            Reading::AtOnce => true,
            Reading::Never => client.ticket.as_ref().is_some_and(|ticket| ticket.standing() == Standing::Ended),
            Reading::Every(_) => false,
        };
        while reads && self.read(number) {}
    }

    fn read_slowly(&mut self, number: u64) {
        let Some(Client { arrival: Arrival { reading: Reading::Every(time), .. }, .. }) = self.clients.get(&number)
        else {
            return;
        };
        let again = Instant::now() + *time;
        if self.read(number) || self.clients.contains_key(&number) {
            self.at(again, Happening::Reads(number));
        }
    }

    /// Reads one event; whether there was an output.
    fn read(&mut self, number: u64) -> bool {
        let Some(client) = self.clients.get_mut(&number) else { return false };
        let Some(ticket) = &mut client.ticket else { return false };
        match poll(ticket.recv()) {
            Poll::Pending => false,
            Poll::Ready(Some(crate::executor::Event::Output(output))) => {
                client.outputs += 1;
                if output != client.outputs {
                    self.tally.violations.push(format!("{number}: output {output} comes as {}", client.outputs));
                }
                true
            }
            Poll::Ready(Some(crate::executor::Event::Done(completion))) => {
                let after = poll(ticket.recv());
                if !matches!(after, Poll::Ready(None)) {
                    self.tally.violations.push(format!("{number}: something comes after its end"));
                }
                let client = self.clients.remove(&number).expect("it was looked at");
                self.ended(&client, *completion);
                false
            }
            Poll::Ready(None) => {
                self.tally.violations.push(format!("{number}: no completion"));
                self.clients.remove(&number);
                false
            }
        }
    }

    fn leave(&mut self, number: u64) {
        self.quiet_since = Instant::now();
        let Some(client) = self.clients.get_mut(&number) else { return };
        client.cancelled.store(true, Ordering::SeqCst);
        if client.arrival.drops {
            self.tally.dropped += 1;
            self.clients.remove(&number);
        } else if let Some(ticket) = &client.ticket {
            ticket.cancel();
        }
    }

    /// Gives room to those who asked for it, the first first.
    fn answer_for_room(&mut self, now: Instant) {
        let mut asked = self.asked.lock().unwrap();
        let mut blocked = false;
        for mut one in std::mem::take(&mut *asked) {
            let is_unwanted = poll(one.answer.unwanted()).is_ready();
            if is_unwanted {
                drop(one);
            } else if one.deadline <= now {
                one.answer.settle(Err(NoRoom::DeadlinePassed));
            } else if one.bytes > self.budget.limit_bytes() {
                let available_bytes = self.budget.limit_bytes();
                one.answer.settle(Err(NoRoom::TooLarge { needed_bytes: one.bytes, available_bytes }));
            } else if !blocked
                && one.answered <= now
                && let Some(room) = self.budget.try_reserve(one.bytes)
            {
                one.answer.settle(Ok(room));
            } else {
                blocked = true;
                asked.push(one);
            }
        }
    }
}
