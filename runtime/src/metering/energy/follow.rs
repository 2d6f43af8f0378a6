//! Reading sensors while the server runs, and splitting what was taken among those who carry it.
//!
//! Once a second the host and each card that a device computes on are read. Of the host, requests claim the processor time
//! of all devices' steps and loads and the memory that they held of devices on the processor; of a card, the time for which
//! it computed and the memory that they held of it. Memory that is kept for tenants is a claim of its own. What is left is
//! the runtime's, the rest of the host's, or idle.
//!
//! Invariant: what an interval took is carried to the nanojoule ([`Metering::imbalance`]). Deliberately absent: tenants:
//! a receipt says what its request took, priced by the rates of its last minutes, and not by the second in which it ran; and
//! keys and values that only one request can find, whose share of the base is idle's here and on the receipt the request's.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use meter::interval::{Claim, EnergyRates};
use meter::ladder::LadderReport;
use meter::residency::Holdings;
use meter::{CardEnergy, EnergyAccounts, Host, HostEnergy, Nanos};
use models::candle::DeviceKind;
use tokio::time::MissedTickBehavior;

use crate::app::App;
use crate::config::{DeviceWay, HOST};
use crate::devices::Device;
use crate::host::process_cpu_time;
use crate::limits::ENERGY_READ_EVERY;
use crate::metering::Metering;

/// Something that takes energy.
struct Followed {
    /// What its energy is called: `host`, or the name of the card's device.
    name: Arc<str>,
    /// The devices that it is about, by number.
    devices: Vec<usize>,
    meter: Meter,
    before: Claimed,
}

/// Who measures or models it.
pub(super) enum Meter {
    Host(Box<HostEnergy>),
    Card(Box<CardEnergy>),
}

/// What was claimed since the server began.
#[derive(Clone, Copy, Default)]
struct Claimed {
    work: Nanos,
    held: Holdings,
}

/// Follows the energy of the host and of the cards that are in use until the server ends. Sensors are files, some of them
/// of slow controllers: they are read on a thread that may wait.
pub(crate) async fn follow(app: Arc<App>, host: Host) {
    let began = Instant::now();
    let looked = tokio::task::spawn_blocking(move || HostEnergy::find_with_cards(Path::new("/"), &host));
    let Ok((host, cards)) = looked.await else { return };
    let mut followed = all(&app, host, cards);
    let mut ticks = tokio::time::interval(ENERGY_READ_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let metering = Arc::clone(&app.metering);
        let polled = tokio::task::spawn_blocking(move || {
            followed.iter_mut().for_each(|one| one.poll(&metering, began.elapsed()));
            followed
        });
        match polled.await {
            Ok(next) => followed = next,
            Err(_) => {
                // What was told last is not true for ever.
                app.metering.energy.forget();
                return;
            }
        }
    }
}

fn all(app: &App, host: HostEnergy, cards: Vec<CardEnergy>) -> Vec<Followed> {
    let on_host = app.devices.iter().filter(|device| device.way.is_of_host()).map(|device| device.number);
    let mut followed = vec![Followed::new(HOST.into(), on_host.collect(), Meter::Host(Box::new(host)))];
    for card in cards {
        // As CUDA counts them where it counts by the bus, which NVML always does.
        let is_on = |device: &&Device| match device.way {
            DeviceWay::Candle(DeviceKind::Cuda(number)) => u32::try_from(number) == Ok(card.number()),
            _ => false,
        };
        if let Some(device) = app.devices.iter().find(is_on) {
            let card = card.with_memory(device.memory_bytes);
            followed.push(Followed::new(Arc::clone(&device.name), vec![device.number], Meter::Card(Box::new(card))));
        }
    }
    followed
}

impl Followed {
    fn new(name: Arc<str>, devices: Vec<usize>, meter: Meter) -> Self {
        Self { name, devices, meter, before: Claimed::default() }
    }

    fn poll(&mut self, metering: &Metering, at: Duration) {
        let claimed = self.claimed(metering);
        let before = std::mem::replace(&mut self.before, claimed);
        let (requests, kept) = claimed.held.since(before.held);
        let work = claimed.work.saturating_sub(before.work);
        let claims = [Claim { cpu: work, memory: requests }, Claim { cpu: Nanos::ZERO, memory: kept }];
        let interval = match &mut self.meter {
            Meter::Host(host) => host.poll(at, process_cpu_time(), &claims),
            Meter::Card(card) => card.poll(at, claimed.work, &claims),
        };
        self.devices.iter().for_each(|&device| metering.energy.of(device).follow(&self.meter));
        metering.energy.reported(&self.name, self.meter.report());
        let Some(interval) = interval else { return };
        let accounts = interval.accounts.as_ref().map(EnergyAccounts::of_claims);
        metering.took(&self.name, &interval.taken, accounts);
    }

    fn claimed(&self, metering: &Metering) -> Claimed {
        let work = match self.meter {
            Meter::Host(_) => metering.energy.devices().map(|device| device.work.cpu()).sum(),
            Meter::Card(_) => self.devices.iter().map(|&device| metering.energy.of(device).work.busy()).sum(),
        };
        Claimed { work, held: metering.held(&self.devices) }
    }
}

impl Meter {
    /// What work and memory took lately, measured or modelled.
    pub(super) fn rates(&self) -> Option<&EnergyRates> {
        match self {
            Self::Host(host) => host.rates(),
            Self::Card(card) => card.rates(),
        }
    }

    /// The same while a sensor is believed.
    pub(super) fn measured_rates(&self) -> Option<&EnergyRates> {
        match self {
            Self::Host(host) => host.measured_rates(),
            Self::Card(card) => card.measured_rates(),
        }
    }

    fn report(&self) -> LadderReport {
        match self {
            Self::Host(host) => host.report(),
            Self::Card(card) => card.report(),
        }
    }
}

#[cfg(test)]
pub(super) mod tests;
