//! A tenant's own savings for people.

use std::fmt::Write as _;

use meter::savings::TenantReport;

use super::text::{arm, compared};
use crate::cli::output::{Column, seconds_text, table};
use crate::cli::receipt::money;

/// The whole report.
pub(super) fn text(report: &TenantReport) -> String {
    #[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
    let window = seconds_text(report.window_ms as f64 / 1e3);
    let mut text = format!("{}'s own use over {window}, against copies of its own\n", report.tenant);
    let columns = [
        Column::Left("SERVING"),
        Column::Right("MEMORY"),
        Column::Left(""),
        Column::Right("ENERGY"),
        Column::Left(""),
        Column::Right("COST"),
        Column::Right("SAVED MEMORY"),
        Column::Right("SAVED COST"),
        Column::Left("VERDICT"),
    ];
    let currency = &report.currency;
    let none = vec!["-".into(), "-".into(), String::new()];
    let rows = [
        [arm("ephemeral", &report.ephemeral, currency), none].concat(),
        [arm("copies of its own", &report.dedicated.baseline, currency), compared(&report.dedicated, currency)]
            .concat(),
    ];
    text.push_str(&table(&columns, rows));
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
    let uncertainty = report.energy_relative_uncertainty * 100.0;
    let _ = write!(
        text,
        "\nEnergy: {} (modelled, ±{uncertainty:.0} %). Prices: {} ({currency}).",
        report.energy_source, report.rate_card
    );
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
