//! The devices that requests can go to, each with a pool of loaded models, an executor and an account of its own.
//!
//! The first is always `cpu`: our kernels over mapped weights, whose memory is the server's budget. What the configuration
//! names beside it computes through candle on copies of the weights, which count in that device's memory. Where `cpu` is
//! all there is, nothing is asked and nothing is different; otherwise each request is predicted on every device
//! (`estimates`) and sent where the scheduler's `routing` says (`route`).
//!
//! Deliberately absent: moving a request that has begun, and splitting a model over devices.

mod estimates;
mod loader;
mod route;

use std::num::NonZeroUsize;
use std::sync::Arc;

use anyhow::Context as _;
use meter::Host;
use meter::rate::RateCard;
use models::{Executor as KernelExecutor, candle};
use scheduler::routing::{Backlog, Rule};
use scheduler::{Budget, DrainOutcome, Executor, Instant, Oversize, Place, Pool, PoolSnapshot, QueueFull};
use tokio::task::JoinHandle;

use self::estimates::{Estimates, Lengths};
pub(crate) use self::loader::DeviceModels;
pub(crate) use self::route::{Follow, Question, Routed};
use crate::config::{Config, DeviceChoice, DeviceWay};
use crate::engine::{Arithmetic, DeviceEngine};
use crate::loading::Models;
use crate::metering::{DevicePrices, DeviceWork, Metering};
use crate::pool_events::PoolEvents;
use crate::prefixes::Prefixes;

/// One device.
pub(crate) struct Device {
    pub(crate) name: Arc<str>,
    /// Its place in the order of the configuration.
    pub(crate) number: usize,
    pub(crate) way: DeviceWay,
    /// What models may take of it, as it was at the start.
    pub(crate) memory_bytes: u64,
    pub(crate) pool: Pool<DeviceModels>,
    pub(crate) executor: Executor<DeviceEngine>,
    pub(crate) backlog: Arc<Backlog>,
    models: Arc<DeviceModels>,
    estimates: Arc<Estimates>,
    oversize: Oversize,
    busy_watts: f64,
    /// In units of the rate card's currency; `None` without a price.
    busy_second_cost: Option<f64>,
}

/// All devices, in the order of the configuration; at least one.
pub(crate) struct Devices {
    devices: Vec<Device>,
    rule: Rule,
    lengths: Lengths,
}

/// A place in one device's queue.
pub(crate) struct Entered {
    device: usize,
    place: Place,
}

/// What every device is made of.
pub(crate) struct Parts<'a> {
    pub(crate) config: &'a Config,
    pub(crate) models: &'a Arc<Models>,
    pub(crate) metering: &'a Arc<Metering>,
    pub(crate) events: &'a Arc<PoolEvents>,
    pub(crate) prefixes: &'a Arc<Prefixes>,
}

impl Devices {
    /// Starts every device; the tasks that own their pools come back with them.
    ///
    /// # Errors
    /// When a device is not there, this build does not have it, or a thread cannot be started.
    pub(crate) fn start(parts: &Parts<'_>) -> anyhow::Result<(Self, Vec<JoinHandle<()>>)> {
        let (mut devices, mut tasks) = (Vec::new(), Vec::new());
        for (number, choice) in parts.config.devices.iter().enumerate() {
            let started = Device::start(parts, number, choice);
            let (device, task) = started.with_context(|| format!("the device {} cannot be used", choice.name))?;
            devices.push(device);
            tasks.push(task);
        }
        Ok((Self { devices, rule: parts.config.scheduler.routing, lengths: Lengths::default() }, tasks))
    }

    /// The one that is always there: our kernels.
    pub(crate) fn first(&self) -> &Device {
        &self.devices[0]
    }

    pub(crate) fn get(&self, number: usize) -> &Device {
        &self.devices[number]
    }

    pub(crate) fn iter(&self) -> std::slice::Iter<'_, Device> {
        self.devices.iter()
    }

    /// Whether there is anything to choose.
    pub(crate) fn are_several(&self) -> bool {
        self.devices.len() > 1
    }

    /// Takes a place at a request's arrival, in the first queue that has one for `tenant`, so that a server that is full
    /// refuses before it does anything.
    pub(crate) fn enter(&self, tenant: &Arc<str>) -> Result<Entered, QueueFull> {
        let mut full: Option<QueueFull> = None;
        for (device, one) in self.devices.iter().enumerate() {
            match one.executor.enter(tenant) {
                Ok(place) => return Ok(Entered { device, place }),
                Err(this) => {
                    full = Some(
                        full.map_or(this, |other| if this.retry_after < other.retry_after { this } else { other }),
                    );
                }
            }
        }
        Err(full.expect("there is at least one device"))
    }

    /// Each device's pool, in order.
    pub(crate) async fn snapshots(&self) -> Vec<PoolSnapshot> {
        let mut snapshots = Vec::with_capacity(self.devices.len());
        for device in &self.devices {
            snapshots.push(device.pool.snapshot().await);
        }
        snapshots
    }

    /// Places taken in all queues.
    pub(crate) fn queued(&self) -> usize {
        self.devices.iter().map(|device| device.executor.queued()).sum()
    }

    /// Requests that wait for their model's load, on all devices.
    pub(crate) fn loading(&self) -> usize {
        self.devices.iter().map(|device| device.executor.loading()).sum()
    }

    /// Waits for every sequence of every device to end, until `deadline`.
    pub(crate) async fn drain(&self, deadline: Instant) -> DrainOutcome {
        let mut outcome = DrainOutcome::Drained;
        // All refuse from the first moment on.
        let drains: Vec<_> = self
            .devices
            .iter()
            .map(|device| {
                let executor = device.executor.clone();
                tokio::spawn(async move { executor.drain(deadline).await })
            })
            .collect();
        for drain in drains {
            if !matches!(drain.await, Ok(DrainOutcome::Drained)) {
                outcome = DrainOutcome::Unfinished;
            }
        }
        outcome
    }
}

impl Entered {
    /// Of a server with one device: where to go, without a question.
    pub(crate) fn unrouted(self) -> Routed {
        Routed::unasked(self.device, self.place)
    }
}

impl Device {
    fn start(parts: &Parts<'_>, number: usize, choice: &DeviceChoice) -> anyhow::Result<(Self, JoinHandle<()>)> {
        let Parts { config, models, metering, events, prefixes } = parts;
        let candle = match choice.way {
            DeviceWay::Kernels => None,
            DeviceWay::Candle(kind) => {
                let device = candle::Device::open(kind)?;
                Some(candle::Executor::new(device, choice.threads)?)
            }
        };
        let on = candle.as_ref().map(|executor| executor.device().clone());
        let estimates = Arc::new(Estimates::default());
        let models = Arc::new(DeviceModels::new(Arc::clone(models), Arc::clone(&estimates), number, on));
        // Only what is mapped can be larger than its memory.
        let oversize = if candle.is_some() { Oversize::Refuse } else { config.pool.oversize };
        let observer = events.of_device(number, &choice.name);
        let options = scheduler::PoolOptions { oversize, ..config.pool };
        let budget = Budget::new(choice.memory_bytes);
        let (pool, task) = Pool::spawn(Arc::clone(&models), budget, options, Arc::new(observer));
        let make = maker(candle, choice.threads, config.isa, (Arc::clone(prefixes), metering.work_of(number)));
        let executor = Executor::spawn(make, pool.clone(), config.scheduler.options.clone())?;
        let prices = metering.prices_of(number);
        let busy_second_cost = busy_second_cost(&prices.rates, choice.threads);
        let device = Self {
            name: Arc::clone(&choice.name),
            number,
            way: choice.way,
            memory_bytes: choice.memory_bytes,
            pool,
            executor,
            backlog: Backlog::new(),
            models,
            estimates,
            oversize,
            busy_watts: prices.energy.busy_watts(choice.threads.get()),
            busy_second_cost,
        };
        Ok((device, task))
    }
}

/// What makes a device's engine, and another in the place of one whose step does not return.
fn maker(
    candle: Option<candle::Executor>,
    threads: NonZeroUsize,
    isa: kernels::Isa,
    (prefixes, work): (Arc<Prefixes>, Arc<DeviceWork>),
) -> impl Fn() -> DeviceEngine + Send + 'static {
    move || {
        let arithmetic = match &candle {
            None => Arithmetic::Kernels(Box::new(KernelExecutor::new(threads, isa))),
            Some(executor) => Arithmetic::Candle(executor.another()),
        };
        DeviceEngine::new(arithmetic, Arc::clone(&prefixes), Arc::clone(&work))
    }
}

/// What receipts of each device on `host` are priced by.
pub(crate) fn prices(config: &Config, host: &Host) -> Vec<DevicePrices> {
    let of_device = |choice: &DeviceChoice| DevicePrices {
        energy: match choice.power {
            Some(power) => meter::EnergyModel::of_device(power, choice.memory_bytes),
            None => meter::EnergyModel::new(&host.cpu, host.cores, host.memory_bytes),
        },
        rates: RateCard { device_hour: choice.device_hour, ..config.rates.clone() },
    };
    config.devices.iter().map(of_device).collect()
}

/// What a second of computing on `threads` threads costs.
fn busy_second_cost(rates: &RateCard, threads: NonZeroUsize) -> Option<f64> {
    const SECONDS_PER_HOUR: f64 = 3600.0;
    let threads = u32::try_from(threads.get()).map_or(f64::MAX, f64::from);
    let of_device = rates.device_hour.map(meter::PicoUnits::units);
    let of_processor = rates.cpu_hour.map(|price| price.units() * threads);
    of_device.or(of_processor).map(|hour| hour / SECONDS_PER_HOUR)
}
