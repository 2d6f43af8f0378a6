//! What receipts are priced by: energy and money of each device, carbon of the place.

use meter::rate::RateCard;
use meter::{CarbonFactors, CpuDescription, EnergyModel};

/// How receipts are priced.
pub(crate) struct Prices {
    /// By the devices' numbers; at least one.
    pub(crate) devices: Vec<DevicePrices>,
    pub(crate) carbon: CarbonFactors,
}

/// How what one device does is priced.
#[derive(Clone, Debug)]
pub(crate) struct DevicePrices {
    pub(crate) energy: EnergyModel,
    pub(crate) rates: RateCard,
}

/// The machine's power model: which processor it is, and how much memory shares its idle power.
pub(crate) fn default_energy_model() -> EnergyModel {
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let memory_bytes = sysinfo::System::new().map_or(0, |mut system| {
        system.refresh_memory();
        system.total_memory()
    });
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get);
    let cores = u32::try_from(cores).unwrap_or(u32::MAX);
    EnergyModel::new(&CpuDescription::from_cpuinfo(&cpu), cores, memory_bytes)
}
