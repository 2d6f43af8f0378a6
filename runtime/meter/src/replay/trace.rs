//! What was recorded, on one axis of time.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::units::{Moment, Nanos};

/// A request as it was recorded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TraceRequest {
    /// Who made it.
    pub tenant: String,
    /// Of which model.
    pub model: String,
    /// When it arrived.
    pub arrived: Moment,
    /// How long it held the model, in milliseconds: its time from arrival to end but for its wait for a load.
    pub busy_ms: u64,
    /// Whether a model was loaded for it.
    pub cold: bool,
    /// How long it waited for that.
    pub load_wait: Nanos,
    /// Its share of the load's processor time.
    pub load_cpu: Nanos,
    /// What the weights held at its end, in bytes; 0 where it is not known.
    pub weights_bytes: u64,
}

/// A model as its requests have recorded it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct RecordedModel {
    /// What its weights hold.
    pub bytes: u64,
    /// Loads that were waited for.
    pub loads: u64,
    /// How long one took on average, in milliseconds.
    pub load_ms: u64,
    /// The processor time that one took on average.
    pub load_cpu: Nanos,
}

/// Requests in the order of their arrival, and the models that they are of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trace {
    requests: Vec<TraceRequest>,
    models: BTreeMap<String, RecordedModel>,
}

/// Cold requests of one model that waited at the same time: those of one load.
#[derive(Clone, Copy)]
struct OneLoad {
    until_ms: u64,
    wait: Nanos,
    cpu: Nanos,
}

impl Trace {
    /// A trace of `requests`, in any order.
    #[must_use]
    pub fn new(mut requests: Vec<TraceRequest>) -> Self {
        requests.sort_by_key(|request| request.arrived);
        let mut models: BTreeMap<String, RecordedModel> = BTreeMap::new();
        let mut loads: BTreeMap<&str, Vec<OneLoad>> = BTreeMap::new();
        for request in &requests {
            let model = models.entry(request.model.clone()).or_default();
            model.bytes = model.bytes.max(request.weights_bytes);
            if !request.cold {
                continue;
            }
            let begins_ms = request.arrived.get();
            let until_ms = begins_ms.saturating_add(request.load_wait.get() / 1_000_000);
            let loads = loads.entry(&request.model).or_default();
            match loads.last_mut().filter(|load| begins_ms < load.until_ms) {
                Some(load) => {
                    load.until_ms = load.until_ms.max(until_ms);
                    load.wait = load.wait.max(request.load_wait);
                    load.cpu = load.cpu.saturating_add(request.load_cpu);
                }
                None => loads.push(OneLoad { until_ms, wait: request.load_wait, cpu: request.load_cpu }),
            }
        }
        for (name, loads) in loads {
            let Some(model) = models.get_mut(name) else { continue };
            let count = loads.len() as u64;
            let mean = |sum: Nanos| sum.get() / count.max(1);
            model.loads = count;
            model.load_ms = mean(loads.iter().map(|load| load.wait).sum()).div_ceil(1_000_000);
            model.load_cpu = Nanos::new(mean(loads.iter().map(|load| load.cpu).sum()));
        }
        Self { requests, models }
    }

    /// In the order of their arrival.
    #[must_use]
    pub fn requests(&self) -> &[TraceRequest] {
        &self.requests
    }

    /// The models by name.
    #[must_use]
    pub const fn models(&self) -> &BTreeMap<String, RecordedModel> {
        &self.models
    }

    /// From the first arrival to the end of the last request, as recorded.
    #[must_use]
    pub fn span(&self) -> (Moment, Moment) {
        let begins = self.requests.first().map_or(Moment::ZERO, |first| first.arrived);
        let ends = self.requests.iter().map(|request| {
            let waited_ms = request.load_wait.get() / 1_000_000;
            Moment::new(request.arrived.get().saturating_add(waited_ms).saturating_add(request.busy_ms))
        });
        (begins, ends.max().unwrap_or(begins))
    }
}
