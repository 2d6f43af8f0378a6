//! A tenant's own savings for people.

use std::fmt::Write as _;

use meter::savings::TenantReport;

use super::text::{arms, held, sources};
use crate::cli::output::seconds_text;
use crate::cli::receipt::money;

/// The whole report.
pub(super) fn text(report: &TenantReport) -> String {
    #[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
    let window = seconds_text(report.window_ms as f64 / 1e3);
    let mut text = format!("{}'s own use over {window}, against copies of its own\n", report.tenant);
    let currency = &report.currency;
    text.push_str(&arms(&report.ephemeral, &[("copies of its own", &report.dedicated)], currency));
    let waits = &report.cold_starts;
    let _ = write!(
        text,
        "\n\nThe price: {} cold starts; its requests waited {} for loads (measured).",
        waits.requests,
        seconds_text(waits.waited_ns.seconds())
    );
    if let Some(price) = waits.break_even_per_second.filter(|price| *price > 0.0) {
        let price = money(price, currency);
        let _ = write!(text, " Where a second's wait is worth more than {price}, copies of its own are cheaper.");
    }
    if let Some(remedy) = &report.dedicated.judged.remedy {
        let _ = write!(text, "\nA loss against copies of its own: {remedy}.");
    }
    text.push_str(&held(&report.held));
    let energy = (&*report.energy_source, report.energy_relative_uncertainty);
    text.push_str(&sources(energy, (&report.rate_card, currency)));
    for note in &report.notes {
        let _ = write!(text, "\n- {note}");
    }
    text
}

#[cfg(test)]
mod tests {
    use meter::savings::{ModelUse, SavingsInputs, TenantUse, report_of_tenant};
    use meter::{CpuDescription, EnergyModel, KibMillis, RateCard};

    use super::*;

    #[test]
    fn a_loss_is_called_one() {
        let inputs = SavingsInputs {
            window_ms: 1000,
            models: vec![ModelUse { model: "m".into(), weights_bytes: 1 << 20, ..ModelUse::default() }],
            tenants: vec![TenantUse {
                tenant: "acme".into(),
                model: "m".into(),
                requests: 1,
                span_ms: 1000,
                active: KibMillis::new(2 * 1024 * 1000),
                ..TenantUse::default()
            }],
            ..SavingsInputs::default()
        };
        let energy = EnergyModel::new(&CpuDescription::from_cpuinfo(""), 2, 8 << 30);
        let shown = text(&report_of_tenant(inputs, "acme", &energy, &RateCard::default()));
        assert!(shown.starts_with("acme's own use") && shown.contains("LOSS"), "{shown}");
        assert!(shown.contains("left out") && !shown.contains("shared copy"), "{shown}");
    }
}
