//! What receipts and accounts are priced by: energy and money of each device, carbon of the place.

use std::sync::Arc;

use meter::rate::RateCard;
use meter::receipt::{Measured, Receipt};
use meter::{AccountInterval, CarbonFactors, EnergyModel};

use super::energy::EnergyNow;
use super::{DeviceWork, Metering};

/// How receipts are priced.
pub(crate) struct Prices {
    /// By the devices' numbers; at least one.
    pub(crate) devices: Vec<DevicePrices>,
    pub(crate) carbon: CarbonFactors,
}

/// How what one device does is priced.
#[derive(Clone, Debug)]
pub(crate) struct DevicePrices {
    /// What stands in where nothing was measured, what devices are chosen by and what arms are compared by.
    pub(crate) energy: EnergyModel,
    pub(crate) rates: RateCard,
}

impl Metering {
    /// What tells requests' energy at the moment.
    pub(crate) fn energy(&self) -> &EnergyNow {
        &self.energy
    }

    /// Where the device of this number notes what it computes.
    pub(crate) fn work_of(&self, device: usize) -> Arc<DeviceWork> {
        Arc::clone(&self.energy.of(device).work)
    }

    /// What accounts carried of devices, by their numbers, with what that comes to as things are now.
    pub(super) fn priced(&self, taken: Vec<(usize, AccountInterval)>) -> Vec<AccountInterval> {
        let price = |(device, interval): (usize, AccountInterval)| {
            interval.priced(self.energy.of(device), &self.prices.carbon, &self.prices_of(device).rates)
        };
        taken.into_iter().map(price).collect()
    }

    /// The receipt of what the device of this number did, priced as things are now.
    pub(super) fn receipt(&self, device: usize, measured: Measured) -> Receipt {
        let rates = &self.prices_of(device).rates;
        Receipt::assemble(measured, self.energy.of(device), &self.prices.carbon, rates)
    }
}
