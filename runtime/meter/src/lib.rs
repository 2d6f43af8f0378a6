//! What a request used, what that costs, and what it saved: integers in, receipts out.
//!
//! Time, processor time and resident bytes are measured elsewhere and passed in; this crate splits them among
//! requests and accounts so that the parts always sum to the whole, measures or models energy, and carbon from it, prices
//! them by a rate card, and compares what happened with servers that never unload anything.
//!
//! Invariants: every quantity is an integer ([`units`]); a split loses nothing ([`units::split_largest_remainder`]);
//! the accounts of [`residency::Residency`] and [`kv::SharedBlocks`] sum to the integral of what was resident, and those
//! of [`interval::IntervalSplitter`] to the energy measured; a figure that is modelled says so wherever it is shown
//! ([`energy::Quality`]).
//!
//! Deliberately absent: clocks, threads and the store, which belong to the callers; and files but for [`sensor`]'s, which
//! are read when the caller polls a [`ladder`].

#[cfg(test)]
mod arbitrary;
pub mod carbon;
pub mod card_energy;
pub mod energy;
pub mod host_energy;
pub mod interval;
pub mod kv;
pub mod ladder;
mod limits;
pub mod power;
pub mod processor;
pub mod rate;
pub mod receipt;
pub mod replay;
pub mod residency;
pub mod savings;
pub mod sensor;
pub mod step_costs;
pub mod units;

pub use carbon::CarbonFactors;
pub use card_energy::CardEnergy;
pub use energy::{DevicePower, EnergyEstimate, EnergyLabel, EnergyModel, EnergySource, EnergyUse, Quality};
pub use host_energy::{Host, HostEnergy};
pub use interval::{EnergyAccounts, EnergyBook, EnergyInterval, IntervalAccounts, IntervalSplitter};
pub use kv::{KvIntegral, SharedBlocks};
pub use ladder::{IntervalEnergy, Ladder, LadderReport, PowerBounds, Tick};
pub use power::PowerModel;
pub use processor::CpuDescription;
pub use rate::{Cost, RateCard};
pub use receipt::{Measured, Outcome, Receipt};
pub use residency::{
    Account, AccountCost, AccountInterval, ArtifactId, HeldAs, Holdings, Load, Request, RequestCharge, Residency,
};
pub use savings::SavingsInputs;
pub use step_costs::{SplitMethod, StepCosts, StepWork};
pub use units::{KibMillis, Micrograms, Microwatts, Moment, Nanojoules, Nanos, PicoUnits};
