//! What receipts and accounts are priced by: energy and money of each device, carbon of the place.

use std::sync::{Arc, PoisonError};

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
    /// How what the device of this number does is priced now.
    pub(crate) fn prices_of(&self, device: usize) -> DevicePrices {
        self.prices().devices[device].clone()
    }

    /// Prices receipts so from now on. What tells energy stays as it was at the start.
    pub(crate) fn reprice(&self, prices: Prices) {
        *self.prices.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(prices);
    }

    fn prices(&self) -> Arc<Prices> {
        Arc::clone(&self.prices.read().unwrap_or_else(PoisonError::into_inner))
    }

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
        let prices = self.prices();
        let price = |(device, interval): (usize, AccountInterval)| {
            interval.priced(self.energy.of(device), &prices.carbon, &prices.devices[device].rates)
        };
        taken.into_iter().map(price).collect()
    }

    /// The receipt of what the device of this number did, priced as things are now.
    pub(super) fn receipt(&self, device: usize, measured: Measured) -> Receipt {
        let prices = self.prices();
        Receipt::assemble(measured, self.energy.of(device), &prices.carbon, &prices.devices[device].rates)
    }
}
