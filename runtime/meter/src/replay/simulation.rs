//! The pool that is played through.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::time::Duration;

use super::trace::{RecordedModel, Trace, TraceRequest};
use super::{Policy, Replayed};
use crate::energy::Quality;
use crate::residency::{ArtifactId, Load, Pin, Request, Residency};
use crate::savings::{LoadWaits, ModelUse, SavingsInputs, TenantUse};
use crate::units::{Moment, Nanos, split_equally};

/// What happens next. At one moment, in the order of the variants: what ends makes room for what begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// A request lets go of its model.
    Ends(usize),
    /// A model's keep-alive is over, if it was not used since.
    Expires { model: usize, use_number: u64 },
    /// A model's load is done.
    Loaded(usize),
    /// A request arrives.
    Arrives(usize),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Absent,
    /// Wanted, and there is no room.
    Waiting,
    Loading,
    Resident,
}

struct Model<'t> {
    name: &'t str,
    recorded: RecordedModel,
    is_pinned: bool,
    place: Place,
    /// Requests that wait for it.
    waiters: Vec<usize>,
    active: usize,
    last_used: Moment,
    /// Counts the times that it became idle.
    use_number: u64,
}

pub(super) struct Simulation<'t> {
    policy: &'t Policy,
    requests: &'t [TraceRequest],
    /// Each request's, by number.
    ids: Vec<String>,
    models: Vec<Model<'t>>,
    numbers: BTreeMap<&'t str, usize>,
    events: BinaryHeap<Reverse<(Moment, Event)>>,
    residency: Residency,
    /// Models that wait for room.
    queue: VecDeque<usize>,
    used_bytes: u64,
    window: (Moment, Moment),
    /// By tenant and the model's number, with the first moment and the last.
    uses: BTreeMap<(String, usize), (TenantUse, Moment, Moment)>,
    /// Requests that have neither ended nor been refused.
    open: usize,
    waits: Vec<u64>,
    /// Each request's share of the processor time of the load that it waited for.
    load_cpu: Vec<Nanos>,
    replayed: Replayed,
}

impl<'t> Simulation<'t> {
    pub(super) fn new(trace: &'t Trace, policy: &'t Policy) -> Self {
        let model = |(name, recorded): (&'t String, &RecordedModel)| Model {
            name,
            recorded: *recorded,
            is_pinned: policy.pinned.contains(name),
            place: Place::Absent,
            waiters: Vec::new(),
            active: 0,
            last_used: Moment::ZERO,
            use_number: 0,
        };
        let models: Vec<Model<'t>> = trace.models().iter().map(model).collect();
        let requests = trace.requests();
        let arrivals = requests.iter().enumerate();
        Self {
            policy,
            requests,
            ids: (0..requests.len()).map(|number| number.to_string()).collect(),
            numbers: models.iter().enumerate().map(|(number, model)| (model.name, number)).collect(),
            models,
            events: arrivals.map(|(number, one)| Reverse((one.arrived, Event::Arrives(number)))).collect(),
            residency: Residency::new(Duration::ZERO),
            queue: VecDeque::new(),
            used_bytes: 0,
            window: trace.span(),
            uses: BTreeMap::new(),
            open: requests.len(),
            waits: Vec::new(),
            load_cpu: vec![Nanos::ZERO; requests.len()],
            replayed: Replayed { loads: 0, evictions: 0, refused: 0, peak_bytes: 0, inputs: SavingsInputs::default() },
        }
    }

    pub(super) fn run(mut self) -> Replayed {
        let begins = self.window.0;
        for number in 0..self.models.len() {
            if self.models[number].is_pinned {
                self.residency.pinned(self.models[number].name, Pin::Operator, begins);
                self.want(number, begins);
            }
        }
        while let Some(Reverse((at, event))) = self.events.pop() {
            match event {
                Event::Arrives(request) => self.arrives(request, at),
                Event::Loaded(model) => self.loaded(model, at),
                Event::Ends(request) => self.ends(request, at),
                Event::Expires { model, use_number } => {
                    let Model { place, active, use_number: now, .. } = self.models[model];
                    // What expires after the end is held until the end.
                    let is_within = self.open > 0 || at <= self.window.1;
                    if place == Place::Resident && active == 0 && now == use_number && is_within {
                        self.let_go(model, at);
                        self.make_progress(at);
                    }
                }
            }
        }
        self.finish()
    }

    fn arrives(&mut self, request: usize, at: Moment) {
        let model = self.numbers[self.requests[request].model.as_str()];
        if self.models[model].place == Place::Resident {
            return self.begins(request, model, at);
        }
        self.models[model].waiters.push(request);
        if self.models[model].place == Place::Absent {
            self.want(model, at);
        }
    }

    /// Loads a model as soon as there is room.
    fn want(&mut self, number: usize, at: Moment) {
        let bytes = self.models[number].recorded.bytes;
        if self.policy.budget_bytes.is_some_and(|budget| bytes > budget) {
            return self.refuse(number);
        }
        self.models[number].place = Place::Waiting;
        self.queue.push_back(number);
        self.make_progress(at);
    }

    fn refuse(&mut self, number: usize) {
        let refused = std::mem::take(&mut self.models[number].waiters).len();
        self.open -= refused;
        self.replayed.refused += refused as u64;
    }

    /// Begins the loads that there is room for, in order.
    fn make_progress(&mut self, at: Moment) {
        while let Some(&number) = self.queue.front() {
            if !self.has_room(self.models[number].recorded.bytes, at) {
                return;
            }
            self.queue.pop_front();
            let model = &mut self.models[number];
            model.place = Place::Loading;
            self.used_bytes += model.recorded.bytes;
            self.replayed.peak_bytes = self.replayed.peak_bytes.max(self.used_bytes);
            self.events.push(Reverse((later(at, model.recorded.load_ms), Event::Loaded(number))));
        }
    }

    /// Whether there is room for so many bytes, after idle models have made some.
    fn has_room(&mut self, bytes: u64, at: Moment) -> bool {
        let Some(budget) = self.policy.budget_bytes else { return true };
        while self.used_bytes + bytes > budget {
            let idle = self.models.iter().enumerate().filter(|(_, model)| model.may_go());
            let Some((victim, _)) = idle.min_by_key(|(_, model)| model.last_used) else { return false };
            self.let_go(victim, at);
        }
        true
    }

    fn let_go(&mut self, number: usize, at: Moment) {
        let model = &mut self.models[number];
        model.place = Place::Absent;
        self.used_bytes -= model.recorded.bytes;
        self.replayed.evictions += 1;
        self.residency.copy_freed(model.name, ArtifactId::default(), at);
    }

    fn loaded(&mut self, number: usize, at: Moment) {
        self.replayed.loads += 1;
        let model = &mut self.models[number];
        model.place = Place::Resident;
        let waiters = std::mem::take(&mut model.waiters);
        let RecordedModel { bytes, load_ms, load_cpu, .. } = model.recorded;
        let name = model.name;
        let (ids, requests) = (&self.ids, self.requests);
        let waiting: Vec<Request<'_>> =
            waiters.iter().map(|&one| Request { id: &ids[one], tenant: &requests[one].tenant }).collect();
        let wall = Duration::from_millis(load_ms);
        let (artifact, quality) = (ArtifactId::default(), Quality::Derived);
        let load = Load { artifact, bytes, bytes_before: bytes, quality, wall, waiters: &waiting, asked_by: None };
        self.residency.model_loaded(name, at, load);
        let parts = split_equally(load_cpu.get(), waiters.len());
        for (&request, cpu) in waiters.iter().zip(parts) {
            self.load_cpu[request] = Nanos::new(cpu);
            let waited = Nanos::from(Duration::from_millis(at.get() - requests[request].arrived.get()));
            let (one, ..) = self.use_of(request);
            one.cold_requests += 1;
            one.load_wait = one.load_wait.saturating_add(waited);
            self.waits.push(waited.get());
            self.begins(request, number, at);
        }
        if waiters.is_empty() {
            self.becomes_idle(number, at);
        }
    }

    fn begins(&mut self, request: usize, model: usize, at: Moment) {
        let recorded = &self.requests[request];
        self.residency.request_begins(
            &recorded.model,
            Request { id: &self.ids[request], tenant: &recorded.tenant },
            at,
        );
        self.models[model].active += 1;
        self.events.push(Reverse((later(at, recorded.busy_ms), Event::Ends(request))));
    }

    fn ends(&mut self, request: usize, at: Moment) {
        self.open -= 1;
        let model = self.numbers[self.requests[request].model.as_str()];
        let charge = self.residency.request_ends(&self.ids[request], at);
        let load_cpu = self.load_cpu[request];
        let (one, _, last) = self.use_of(request);
        one.requests += 1;
        one.active = one.active.saturating_add(charge.active);
        one.load = one.load.saturating_add(charge.load);
        one.load_cpu = one.load_cpu.saturating_add(load_cpu);
        *last = at.max(*last);
        self.window.1 = self.window.1.max(at);
        self.models[model].active -= 1;
        if self.models[model].active == 0 {
            self.becomes_idle(model, at);
            self.make_progress(at);
        }
    }

    fn becomes_idle(&mut self, number: usize, at: Moment) {
        let model = &mut self.models[number];
        model.last_used = at;
        model.use_number += 1;
        let until = match self.policy.keep_alive {
            Some(keep_alive) if !model.is_pinned => {
                let until = later(at, u64::try_from(keep_alive.as_millis()).unwrap_or(u64::MAX));
                self.events.push(Reverse((until, Event::Expires { model: number, use_number: model.use_number })));
                until
            }
            _ => Moment::MAX,
        };
        self.residency.kept_until(model.name, until, at);
    }

    /// A tenant's use of a model, with its first moment and its last.
    fn use_of(&mut self, request: usize) -> &mut (TenantUse, Moment, Moment) {
        let TraceRequest { tenant, model, arrived, .. } = &self.requests[request];
        let number = self.numbers[model.as_str()];
        self.uses.entry((tenant.clone(), number)).or_insert_with(|| {
            let new = TenantUse { tenant: tenant.clone(), model: model.clone(), ..TenantUse::default() };
            (new, *arrived, *arrived)
        })
    }

    fn finish(mut self) -> Replayed {
        // Pinned models leave no room for them.
        for number in std::mem::take(&mut self.queue) {
            self.refuse(number);
        }
        let (begins, ends) = self.window;
        let of = |model: &Model<'_>| ModelUse {
            model: model.name.into(),
            weights_bytes: model.recorded.bytes,
            ..ModelUse::default()
        };
        let mut models: Vec<ModelUse> = self.models.iter().map(of).collect();
        for interval in self.residency.take_intervals(ends) {
            let number = self.numbers[interval.model.as_str()];
            match interval.tenant {
                None => models[number].carry(interval.held_as, interval.kib_ms, interval.cpu),
                Some(tenant) => {
                    let found = self.uses.get_mut(&(tenant, number));
                    let (one, ..) = found.expect("memory is kept for tenants that have used the model");
                    one.carry(interval.held_as, interval.kib_ms, interval.cpu);
                }
            }
        }
        debug_assert_eq!(self.residency.imbalance(), 0);
        let tenants = self
            .uses
            .into_values()
            .map(|(one, first, last)| TenantUse { span_ms: last.get().saturating_sub(first.get()), ..one });
        let inputs = SavingsInputs {
            window_ms: ends.get().saturating_sub(begins.get()),
            process_bytes: 0,
            waits: LoadWaits::of(self.waits),
            models,
            tenants: tenants.collect(),
        };
        Replayed { inputs, ..self.replayed }
    }
}

impl Model<'_> {
    fn may_go(&self) -> bool {
        self.place == Place::Resident && self.active == 0 && !self.is_pinned
    }
}

fn later(at: Moment, millis: u64) -> Moment {
    Moment::new(at.get().saturating_add(millis))
}
