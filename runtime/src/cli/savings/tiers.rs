//! What was saved in money, for people: each tier, and what it is.

use std::fmt::Write as _;

use meter::savings::{Capacity, MachineChoice, Money};

use crate::cli::receipt::money;
use crate::config::bytes_text;
use crate::reports::Baseline;

/// The three tiers, against both baselines or the one that is wanted.
pub(super) fn text(tiers: &Money, baseline: Option<Baseline>) -> String {
    let Money { currency, nominal, capacity, realised } = tiers;
    let is_shown = |of: Baseline| baseline.is_none_or(|wanted| wanted == of);
    let saved = |shared: Option<f64>, dedicated: Option<f64>| {
        let amount = |saved: Option<f64>| saved.map_or("unknown".into(), |saved| money(saved, currency));
        let shared = is_shown(Baseline::Shared).then(|| format!("{} against one shared copy", amount(shared)));
        let dedicated =
            is_shown(Baseline::Dedicated).then(|| format!("{} against a copy per tenant", amount(dedicated)));
        shared.into_iter().chain(dedicated).collect::<Vec<_>>().join(", ")
    };
    let nominal_saved = saved(nominal.saved_shared_persistent, nominal.saved_dedicated);
    let (quality, rates) = (nominal.quality.name(), &nominal.rate_card);
    let mut text = format!("\nMoney saved: nominal {nominal_saved} ({quality}; at the prices of {rates})");
    match capacity {
        Some(capacity) => {
            let of_capacity = saved(capacity.saved_shared_persistent, capacity.saved_dedicated);
            let _ = write!(text, "; capacity {of_capacity} ({}; {})", capacity.quality.name(), machines(capacity));
        }
        None => text.push_str("; capacity not told, since no machines are configured in [savings]"),
    }
    let realised_saved = money(realised.saved, currency);
    let _ = write!(text, "; realised {realised_saved} ({}; declared by the operator).", realised.quality.name());
    text
}

fn machines(capacity: &Capacity) -> String {
    let chosen = |MachineChoice { p99_bytes, machine, .. }: &MachineChoice| {
        format!("{} for {}", machine.as_deref().unwrap_or("no machine"), bytes_text(*p99_bytes))
    };
    format!(
        "{}, {} and {}: what 99 of 100 hours hold at most; prices of {}",
        chosen(&capacity.ephemeral),
        chosen(&capacity.shared_persistent),
        chosen(&capacity.dedicated),
        capacity.source
    )
}

#[cfg(test)]
mod tests {
    use meter::savings::{Catalogue, HeldHours, Machine, SavingsInputs, report};
    use meter::{CpuDescription, EnergyModel, PicoUnits, RateCard};

    use super::*;

    #[test]
    fn a_tier_that_is_not_known_is_not_told_as_nothing() {
        let inputs = SavingsInputs { window_ms: 7_200_000, ..SavingsInputs::default() };
        let energy = EnergyModel::new(&CpuDescription::from_cpuinfo(""), 2, 8 << 30);
        let told = report(&inputs, &energy, &RateCard::default()).with_realised(-0.5);
        let shown = text(&told.money, None);
        assert!(shown.contains("capacity not told") && shown.contains("realised -1"), "{shown}");
        let machine = Machine { name: "m".into(), memory_bytes: 1 << 30, per_hour: PicoUnits::new(1) };
        let catalogue = Catalogue { machines: vec![machine], source: "a list".into() };
        let one = text(&told.money, Some(Baseline::Shared));
        assert!(one.contains("one shared copy") && !one.contains("a copy per tenant"), "{one}");
        let told = told.with_capacity(catalogue.capacity(&inputs, &HeldHours::default()));
        let shown = text(&told.money, None);
        assert!(shown.contains("m for 0") && shown.contains("prices of a list"), "{shown}");
        for quality in ["(derived; at", "(derived; m", "(assumed; declared"] {
            assert!(shown.contains(quality), "{quality}: {shown}");
        }
    }
}
