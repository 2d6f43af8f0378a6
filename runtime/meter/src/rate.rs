//! The price of what was used, by a rate card.
//!
//! Invariants: a resource that every request uses (processor time, memory) and that the card does not price makes the
//! total unknown (`None`) and is named as missing; it never counts as free. Say 0 to make it free. Token and energy
//! prices are surcharges: a card without them does not charge by them. Deliberately absent: currencies' exchange.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::units::{KibMillis, Nanojoules, Nanos, PicoUnits};

const NANOS_PER_HOUR: u128 = 3_600_000_000_000;
/// 1 GB · h = 10⁹ bytes × 3.6·10⁶ ms, over 1024 bytes per KiB, as a fraction to stay exact.
const BYTE_MILLIS_PER_GB_HOUR: u128 = 3_600_000_000_000_000;
const NANOJOULES_PER_KWH: u128 = 3_600_000_000_000_000;

/// Prices per unit of each resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RateCard {
    /// The card's name, shown on receipts.
    pub name: String,
    /// The currency of all prices.
    pub currency: String,
    /// Per hour of one processor's time.
    pub cpu_hour: Option<PicoUnits>,
    /// Per hour for which the device computes, in the place of the processor time that this takes; loading is billed by
    /// processor time all the same.
    pub device_hour: Option<PicoUnits>,
    /// Per GB (10⁹ bytes) held for an hour.
    pub memory_gb_hour: Option<PicoUnits>,
    /// Surcharge per kWh.
    pub kilowatt_hour: Option<PicoUnits>,
    /// Surcharge per prompt token that was computed.
    pub prompt_token: Option<PicoUnits>,
    /// Surcharge per token that was found: of a prompt in the cache of keys and values, or of a prompt and its answer in
    /// the response cache.
    pub cached_token: Option<PicoUnits>,
    /// Surcharge per token generated.
    pub completion_token: Option<PicoUnits>,
}

impl Default for RateCard {
    /// OpenCost's published defaults: 0.031611 USD per CPU-hour, 0.004237 USD per GB-hour.
    fn default() -> Self {
        Self {
            name: "OpenCost defaults".to_owned(),
            currency: "USD".to_owned(),
            cpu_hour: Some(PicoUnits::new(31_611_000_000)),
            device_hour: None,
            memory_gb_hour: Some(PicoUnits::new(4_237_000_000)),
            kilowatt_hour: None,
            prompt_token: None,
            cached_token: None,
            completion_token: None,
        }
    }
}

/// What is priced.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BilledUse {
    /// Processor time of prefill and decode.
    pub active_cpu: Nanos,
    /// Processor time of loading.
    pub load_cpu: Nanos,
    /// Time for which the device computed.
    pub busy: Nanos,
    /// Memory held: weights, loading, key-value blocks.
    pub memory: KibMillis,
    /// Energy.
    pub energy: Nanojoules,
    /// Prompt tokens computed.
    pub prompt_tokens: u64,
    /// Tokens found in a cache.
    pub cached_tokens: u64,
    /// Tokens generated.
    pub completion_tokens: u64,
}

/// A resource on a bill.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Resource {
    /// Processor time.
    Cpu,
    /// Time of a device that has a price of its own.
    Device,
    /// Memory over time.
    Memory,
    /// Energy.
    Energy,
    /// Prompt tokens computed.
    PromptTokens,
    /// Tokens found in a cache.
    CachedTokens,
    /// Tokens generated.
    CompletionTokens,
}

/// One line of a bill.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CostPart {
    /// What it is for.
    pub resource: Resource,
    /// The amount in 10⁻¹² of the currency.
    pub pico_units: PicoUnits,
}

/// A bill.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cost {
    /// The sum of the parts, or `None` if a price is missing.
    pub total: Option<PicoUnits>,
    /// What could be priced.
    pub parts: Vec<CostPart>,
    /// What could not, for want of a price.
    pub missing: Vec<Resource>,
}

impl RateCard {
    /// The bill for `usage`; each part is rounded down once.
    #[must_use]
    pub fn cost_of(&self, usage: &BilledUse) -> Cost {
        let mut cost = Cost { total: None, parts: Vec::new(), missing: Vec::new() };
        let mut bill = |resource, price: Option<PicoUnits>, amount: u128, per: u128| match price {
            Some(price) => {
                let pico_units = PicoUnits::saturating_from(u128::from(price.get()).saturating_mul(amount) / per);
                cost.parts.push(CostPart { resource, pico_units });
            }
            None if matches!(resource, Resource::Cpu | Resource::Memory) => cost.missing.push(resource),
            None => {}
        };
        let cpu = match self.device_hour {
            Some(_) => usage.load_cpu,
            None => usage.active_cpu.saturating_add(usage.load_cpu),
        };
        bill(Resource::Cpu, self.cpu_hour, cpu.get().into(), NANOS_PER_HOUR);
        bill(Resource::Device, self.device_hour, usage.busy.get().into(), NANOS_PER_HOUR);
        let byte_millis = u128::from(usage.memory.get()) * 1024;
        bill(Resource::Memory, self.memory_gb_hour, byte_millis, BYTE_MILLIS_PER_GB_HOUR);
        bill(Resource::Energy, self.kilowatt_hour, usage.energy.get().into(), NANOJOULES_PER_KWH);
        bill(Resource::PromptTokens, self.prompt_token, usage.prompt_tokens.into(), 1);
        bill(Resource::CachedTokens, self.cached_token, usage.cached_tokens.into(), 1);
        bill(Resource::CompletionTokens, self.completion_token, usage.completion_tokens.into(), 1);
        if cost.missing.is_empty() {
            cost.total = Some(cost.parts.iter().map(|part| part.pico_units).sum());
        }
        cost
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn an_hour_of_each_costs_its_price() {
        let usage = BilledUse {
            active_cpu: Duration::from_secs(3600).into(),
            memory: KibMillis::held(1_024_000_000, Duration::from_secs(3600)),
            ..BilledUse::default()
        };
        let cost = RateCard::default().cost_of(&usage);
        assert_eq!(cost.total, Some(PicoUnits::new(31_611_000_000 + 4_237_000_000 * 1024 / 1000)));
        assert_eq!(cost.parts.len(), 2, "no surcharge that the card does not have");
        assert!(cost.missing.is_empty());
    }

    #[test]
    fn a_missing_price_makes_the_total_unknown_and_is_named() {
        let card = RateCard { memory_gb_hour: None, ..RateCard::default() };
        let cost = card.cost_of(&BilledUse { load_cpu: Duration::from_secs(3600).into(), ..BilledUse::default() });
        assert_eq!(cost.total, None);
        assert_eq!(cost.missing, [Resource::Memory]);
        assert_eq!(cost.parts, [CostPart { resource: Resource::Cpu, pico_units: PicoUnits::new(31_611_000_000) }]);
    }

    #[test]
    fn a_device_with_a_price_is_billed_for_the_time_that_it_computes() {
        let card = RateCard { device_hour: PicoUnits::from_units(2.0), ..RateCard::default() };
        let hour = Nanos::from(Duration::from_secs(3600));
        let usage = BilledUse { active_cpu: hour, load_cpu: hour, busy: hour, ..BilledUse::default() };
        assert_eq!(card.cost_of(&usage).total, Some(PicoUnits::new(31_611_000_000 + 2_000_000_000_000)));
    }

    #[test]
    fn a_price_of_zero_is_free_and_surcharges_add_up() {
        let card = RateCard {
            cpu_hour: Some(PicoUnits::ZERO),
            memory_gb_hour: Some(PicoUnits::ZERO),
            kilowatt_hour: PicoUnits::from_units(0.25),
            prompt_token: Some(PicoUnits::new(3)),
            cached_token: Some(PicoUnits::new(1)),
            completion_token: Some(PicoUnits::new(9)),
            ..RateCard::default()
        };
        let usage = BilledUse {
            energy: Nanojoules::new(3_600_000_000_000_000),
            prompt_tokens: 5,
            cached_tokens: 2,
            completion_tokens: 4,
            ..BilledUse::default()
        };
        assert_eq!(card.cost_of(&usage).total, Some(PicoUnits::new(250_000_000_000 + 15 + 2 + 36)));
    }

    #[test]
    fn prices_that_make_no_sense_are_refused() {
        assert_eq!(PicoUnits::from_units(0.031_611), Some(PicoUnits::new(31_611_000_000)));
        for price in [-0.01, f64::NAN, f64::INFINITY, 1e9] {
            assert_eq!(PicoUnits::from_units(price), None, "{price}");
        }
    }
}
