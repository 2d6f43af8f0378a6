//! The one task that owns every state of the pool: what it does about each message, and in which order it looks.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::error::{LeaseError, NoRoom, ShuttingDown};
use super::event::{Dismissal, EvictionCause, EvictionRecord, LoadCause, PoolEvent, PoolEventKind, PoolObserver};
use super::handle::{Parts, UnloadOutcome};
use super::loader::ModelLoader;
use super::message::{Arrival, Coldness, Effect, Incoming, Outgoing, Request, Signal, WaiterId};
use super::options::{KeepAlive, PoolOptions};
use super::room::RoomQueue;
use super::slot::{Pin, Slot, State, Turn, Unload, Waiter};
use super::snapshot::{Outlook, PoolSnapshot};
use crate::budget::Budget;
use crate::limits::{ABSENT_REMEMBERED_MAX, RETRY_AFTER_MAX, RETRY_AFTER_MIN};

pub(super) struct Owner<L: ModelLoader> {
    pub(super) loader: Arc<L>,
    pub(super) budget: Arc<Budget>,
    pub(super) options: PoolOptions,
    pub(super) outgoing: Outgoing<L>,
    observer: Arc<dyn PoolObserver>,
    // Ordered, so that the same messages always do the same.
    pub(super) slots: BTreeMap<Arc<str>, Slot<L>>,
    /// Those that are only remembered, by when they were asked for: the first is the first to be forgotten.
    pub(super) absent: BTreeSet<(Instant, Arc<str>)>,
    /// Those in memory: few, where thousands are remembered.
    pub(super) resident: BTreeSet<Arc<str>>,
    pub(super) room: RoomQueue,
    /// Models in memory that requests do not get: they wait.
    pub(super) giving_way: BTreeSet<Arc<str>>,
    /// When the first in line can be helped in another way than now.
    pub(super) look_again: Option<Instant>,
    /// Since when the budget has been smaller than what it holds; of no meaning when it is not.
    pub(super) cut_at: Instant,
    /// Idle models that expire, soonest first.
    pub(super) expiries: BTreeSet<(Instant, Arc<str>)>,
    pub(super) evictions: VecDeque<EvictionRecord>,
    pub(super) loads_running: usize,
    /// Reserved for loads that run.
    pub(super) loading_bytes: u64,
    pub(super) load_wall_mean: Duration,
    /// Of models that were evicted and are not dropped yet.
    pub(super) leaving_bytes: u64,
    /// Of models that are pinned.
    pub(super) pinned_bytes: u64,
    /// Requests that wait for a model, over all slots.
    pub(super) lease_waiters: usize,
    pub(super) closing: bool,
}

impl<L: ModelLoader> Owner<L> {
    pub(super) fn new(parts: Parts<L>, outgoing: Outgoing<L>) -> Self {
        Self {
            loader: parts.loader,
            budget: parts.budget,
            options: parts.options,
            outgoing,
            observer: parts.observer,
            slots: BTreeMap::new(),
            absent: BTreeSet::new(),
            resident: BTreeSet::new(),
            giving_way: BTreeSet::new(),
            look_again: None,
            cut_at: Instant::now(),
            room: RoomQueue::default(),
            expiries: BTreeSet::new(),
            evictions: VecDeque::new(),
            loads_running: 0,
            loading_bytes: 0,
            load_wall_mean: Duration::ZERO,
            leaving_bytes: 0,
            pinned_bytes: 0,
            lease_waiters: 0,
            closing: false,
        }
    }

    /// Runs until the pool was shut down and everything that it held is gone.
    ///
    /// What frees is looked at before what asks, and time-outs and room before either, so that no flood of requests
    /// holds them up.
    pub(super) async fn run(mut self, mut incoming: Incoming<L>) {
        let mut freed = self.budget.freed();
        let mut effect = Effect::OnLine;
        loop {
            let now = Instant::now();
            let expired = self.expire(now);
            let is_due = self.look_again.is_some_and(|at| at <= now);
            if is_due || [effect, expired].contains(&Effect::OnLine) {
                self.serve_room();
            }
            if self.is_over() {
                return;
            }
            let expiry = self.expiries.first().map(|&(at, _)| at).into_iter().chain(self.look_again).min();
            effect = tokio::select! {
                biased;
                Some(signal) = incoming.signals.recv() => self.on_signal(signal),
                Some(arrival) = incoming.arrivals.recv() => {
                    self.on_arrival(arrival);
                    Effect::OnLine
                }
                // Never closed: the budget lives as long as its receiver's owner here.
                Ok(()) = freed.changed() => Effect::OnLine,
                request = incoming.requests.recv(), if !incoming.requests.is_closed() || !self.closing => match request {
                    Some(request) => self.on_request(request),
                    None => {
                        self.shut_down();
                        Effect::OnLine
                    }
                },
                () = sleep_until(expiry.unwrap_or_else(Instant::now)), if expiry.is_some() => Effect::None,
            };
        }
    }

    fn on_request(&mut self, request: Request<L>) -> Effect {
        match request {
            Request::Lease { model, waiter } => return self.on_lease(model, waiter),
            Request::Room(waiter) => self.on_room(waiter),
            Request::Unload { model, reply } => {
                let _ = reply.send(self.on_unload(&model));
            }
            Request::Unpin { model, reply } => {
                let _ = reply.send(self.on_unpin(&model));
            }
            Request::Budget { limit_bytes, reply } => {
                let _ = reply.send(self.on_budget(limit_bytes));
            }
            Request::Fault { model, identity, source, reply } => {
                self.on_fault(&model, identity, source);
                let _ = reply.send(());
            }
            Request::Snapshot { reply } => {
                let _ = reply.send(self.snapshot(Instant::now()));
                return Effect::None;
            }
            Request::Outlook { model, reply } => {
                let _ = reply.send(self.outlook(&model));
                return Effect::None;
            }
        }
        Effect::OnLine
    }

    fn on_signal(&mut self, signal: Signal) -> Effect {
        match signal {
            Signal::Released { model } => return self.on_released(&model),
            Signal::Disposed { model, identity, bytes } => self.on_disposed(&model, identity, bytes),
            Signal::LeaseUnwanted { model, id } => self.on_lease_unwanted(&model, id),
            Signal::RoomUnwanted { id } => self.room.sequences.retain(|waiter| waiter.id != id),
            Signal::Shutdown => self.shut_down(),
        }
        Effect::OnLine
    }

    fn on_arrival(&mut self, arrival: Arrival<L>) {
        match arrival {
            Arrival::Inspected { model, result } => self.on_inspected(&model, result),
            Arrival::Progress { model, progress } => self.on_progress(&model, progress),
            Arrival::Loaded { model, result, wall } => self.on_loaded(&model, result, wall),
        }
    }

    fn on_lease(&mut self, model: Arc<str>, waiter: Waiter<L>) -> Effect {
        // One who left before its request came is not taken in; one who leaves later tells.
        if waiter.reply.is_closed() {
            return Effect::None;
        }
        let now = Instant::now();
        let slot = self.slots.get(&model);
        let is_at_hand = slot.is_some_and(Slot::is_at_hand);
        let known_bytes = slot.and_then(Slot::known_bytes);
        let faulty = slot.and_then(|slot| slot.faulty(now));
        let refusal = if self.closing {
            Some(LeaseError::ShuttingDown)
        } else if faulty.is_some() {
            faulty
        } else if !is_at_hand && self.waiters_in_all() >= self.options.waiters_max {
            Some(LeaseError::Overloaded { retry_after: self.outgoing.retry_after.get() })
        } else if waiter.cause == LoadCause::Pin {
            known_bytes.and_then(|bytes| self.pin_refusal(&model, bytes))
        } else {
            None
        };
        if let Some(refusal) = refusal {
            let _ = waiter.reply.send(Err(refusal));
            return Effect::None;
        }
        if !self.slots.contains_key(&model) {
            self.forget_oldest_absent();
        }
        let default = self.own_keep_alive(&model);
        let slot = self.slots.entry(Arc::clone(&model)).or_insert_with(|| Slot::new(default, now));
        if slot.is_absent() {
            self.absent.remove(&(slot.history.last_asked, Arc::clone(&model)));
        }
        slot.history.last_asked = now;
        if waiter.cause == LoadCause::Demand {
            slot.history.wanted(now);
        }
        if let Some(keep_alive) = waiter.keep_alive {
            slot.keep_alive = keep_alive;
        }
        match slot.state {
            State::Resident { idle, .. } if is_at_hand => {
                let is_of_no_effect = idle.is_none() && waiter.cause != LoadCause::Pin;
                self.grant(&model, waiter, Coldness::Warm);
                if is_of_no_effect {
                    return Effect::None;
                }
            }
            State::Resident { .. } | State::Inspecting | State::AwaitingRoom { .. } | State::Loading(..) => {
                self.join(&model, waiter)
            }
            State::Absent => {
                self.join(&model, waiter);
                self.start_inspection(&model);
            }
        }
        Effect::OnLine
    }

    fn join(&mut self, model: &Arc<str>, waiter: Waiter<L>) {
        self.slot(model).waiters.push(waiter);
        self.lease_waiters += 1;
    }

    fn on_lease_unwanted(&mut self, model: &Arc<str>, id: WaiterId) {
        let Some(slot) = self.slots.get_mut(model) else { return };
        let before = slot.waiters.len();
        slot.waiters.retain(|waiter| waiter.id != id);
        self.lease_waiters -= before - slot.waiters.len();
        // A load that began goes on; nobody makes room for a model that nobody waits for.
        if slot.waiters.is_empty() && matches!(slot.state, State::AwaitingRoom { .. }) {
            self.room.models.retain(|waiting| waiting != model);
            self.dismiss(model, Dismissal::Abandoned);
        }
    }

    fn on_unload(&mut self, model: &Arc<str>) -> Result<UnloadOutcome, ShuttingDown> {
        if self.closing {
            return Err(ShuttingDown);
        }
        let Some(slot) = self.slots.get_mut(model) else { return Ok(UnloadOutcome::NotLoaded) };
        match slot.state {
            State::Absent => Ok(UnloadOutcome::NotLoaded),
            State::Resident { .. } if slot.pin == Pin::Pinned => Ok(UnloadOutcome::Pinned),
            State::Resident { idle: Some(_), .. } => {
                self.evict(model, EvictionCause::Requested);
                Ok(UnloadOutcome::Evicting)
            }
            State::Resident { .. } | State::Inspecting | State::AwaitingRoom { .. } | State::Loading(..) => {
                if slot.unload == Unload::NotAsked {
                    slot.unload = Unload::WhenFree;
                }
                Ok(UnloadOutcome::WhenFree { users: slot.users() })
            }
        }
    }

    fn snapshot(&self, now: Instant) -> PoolSnapshot {
        PoolSnapshot {
            models: self.slots.iter().map(|(name, slot)| slot.snapshot(name, now)).collect(),
            limit_bytes: self.budget.limit_bytes(),
            used_bytes: self.budget.used_bytes(),
            pinned_bytes: self.pinned_bytes,
            waiters: self.lease_waiters,
            room_waiters: self.room.sequences.len(),
            evictions: self.evictions.iter().cloned().collect(),
            shutting_down: self.closing,
        }
    }

    /// Looks at models in memory alone: few, where thousands are remembered.
    fn outlook(&self, model: &Arc<str>) -> Outlook {
        let slot = self.slots.get(model);
        let goes =
            |slot: &Slot<L>| matches!(slot.state, State::Resident { idle: Some(_), .. }) && slot.pin == Pin::NotPinned;
        let idle = self.resident.iter().filter_map(|name| self.slots.get(name)).filter(|slot| goes(slot));
        let idle_bytes = idle.map(Slot::resident_bytes).fold(0, u64::saturating_add);
        let own_pinned = slot.filter(|slot| slot.pin == Pin::Pinned).map_or(0, Slot::resident_bytes);
        let pinned_bytes = self.pinned_bytes.saturating_sub(own_pinned);
        Outlook {
            is_at_hand: slot.is_some_and(Slot::is_at_hand),
            known_bytes: slot.and_then(Slot::known_bytes),
            load_wall: slot.filter(|slot| slot.history.loads > 0).map(|slot| slot.history.load_wall_mean),
            available_bytes: self.budget.limit_bytes().saturating_sub(pinned_bytes),
            reclaimable_bytes: self.budget.free_bytes().saturating_add(idle_bytes).saturating_add(self.leaving_bytes),
            shutting_down: self.closing,
        }
    }

    fn shut_down(&mut self) {
        self.closing = true;
        for waiter in std::mem::take(&mut self.room.sequences) {
            let _ = waiter.reply.send(Err(NoRoom::ShuttingDown));
        }
        self.room.models.clear();
        let names: Vec<_> = self.slots.keys().cloned().collect();
        for name in &names {
            self.refuse_waiters(name, &LeaseError::ShuttingDown);
            match self.slot(name).state {
                State::Inspecting | State::AwaitingRoom { .. } => self.dismiss(name, Dismissal::Shutdown),
                State::Resident { idle: Some(_), .. } => self.evict(name, EvictionCause::Shutdown),
                // A load is waited for, a lease too: both end in an eviction.
                State::Absent | State::Loading(..) | State::Resident { .. } => {}
            }
        }
    }

    fn is_over(&self) -> bool {
        self.closing && self.slots.values().all(Slot::is_absent)
    }

    fn expire(&mut self, now: Instant) -> Effect {
        let mut effect = Effect::None;
        while let Some((at, model)) = self.expiries.first()
            && *at <= now
        {
            let model = Arc::clone(model);
            self.evict(&model, EvictionCause::IdleTimeout);
            effect = Effect::OnLine;
        }
        effect
    }

    pub(super) fn waiters_in_all(&self) -> usize {
        self.lease_waiters + self.room.sequences.len()
    }

    /// The slot of a model that a message of its own life is about: such a slot is never forgotten.
    pub(super) fn slot(&mut self, model: &Arc<str>) -> &mut Slot<L> {
        self.slots.get_mut(model).expect("a model that is not absent has a slot")
    }

    /// How long `model` stays where no request says.
    fn own_keep_alive(&self, model: &str) -> KeepAlive {
        self.loader.keep_alive(model).unwrap_or(self.options.keep_alive_default)
    }

    /// Back to absent, and forgotten unless there is something to remember.
    pub(super) fn set_absent(&mut self, model: &Arc<str>) {
        let default = self.own_keep_alive(model);
        let slot = self.slot(model);
        slot.state = State::Absent;
        slot.keep_alive = default;
        slot.unload = Unload::NotAsked;
        slot.pin = Pin::NotPinned;
        slot.turn = Turn::Keeps;
        self.giving_way.remove(model);
        self.forget_if_blank(model);
    }

    pub(super) fn forget_if_blank(&mut self, model: &Arc<str>) {
        let Some(slot) = self.slots.get(model).filter(|slot| slot.is_absent()) else { return };
        if slot.has_history() {
            self.absent.insert((slot.history.last_asked, Arc::clone(model)));
        } else {
            self.slots.remove(model);
        }
    }

    fn forget_oldest_absent(&mut self) {
        if self.slots.len() < ABSENT_REMEMBERED_MAX {
            return;
        }
        if let Some((_, oldest)) = self.absent.pop_first() {
            self.slots.remove(&oldest);
        }
    }

    pub(super) fn update_retry_after(&self) {
        let waiting = u32::try_from(self.room.models.len() + self.loads_running).unwrap_or(u32::MAX);
        let estimate = self.load_wall_mean.saturating_mul(waiting.saturating_add(1));
        self.outgoing.retry_after.set(estimate.clamp(RETRY_AFTER_MIN, RETRY_AFTER_MAX));
    }

    /// Tells the observer. One that panics is at fault alone: the pool goes on.
    pub(super) fn tell(&self, model: &Arc<str>, kind: PoolEventKind) {
        let event = PoolEvent { at: Instant::now(), model: Arc::clone(model), kind };
        if catch_unwind(AssertUnwindSafe(|| self.observer.observe(&event))).is_err() {
            tracing::error!(model = &*event.model, "the pool's observer panicked");
        }
    }
}
