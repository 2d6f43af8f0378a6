//! The savings report for people: gains and losses alike, each figure with how it was come by.

use std::fmt::Write as _;

use meter::KibMillis;
use meter::savings::{Arm, Comparison, Holding, Savings, SavingsReport, Verdict};

use crate::cli::output::{Column, figure, seconds_text, table};
use crate::cli::receipt::money;
use crate::config::bytes_text;
use crate::reports::Baseline;

/// The whole report, or the comparison with one baseline alone.
pub(in crate::cli) fn text(report: &SavingsReport, baseline: Option<Baseline>) -> String {
    #[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
    let window = seconds_text(report.window_ms as f64 / 1e3);
    let mut text = format!("Against servers that never unload, over {window}\n");
    let baselines = comparisons(&report.total, baseline);
    text.push_str(&arms(&report.total.ephemeral, &baselines, &report.currency));
    let _ = write!(text, "\n\nBy tenant\n{}\n", tenants(report));
    losses(report, baseline, &mut text);
    let energy = (&*report.energy_source, report.energy_relative_uncertainty);
    text.push_str(&sources(energy, (&report.rate_card, &report.currency)));
    text.push_str(&super::tiers::text(&report.money, baseline));
    text.push_str(&beside(report));
    for note in &report.notes {
        let _ = write!(text, "\n- {note}");
    }
    text
}

/// Where ephemeral memory went, and what of the memory is not the models' that are loaded.
fn beside(report: &SavingsReport) -> String {
    let mut text = held(&report.total.held);
    if report.process_bytes > 0 {
        let process = bytes_text(report.process_bytes);
        let _ = write!(text, "\nEach serving process holds {process} beside models (measured), counted in every arm.");
    }
    if let Some(page_cache) = &report.page_cache {
        let share = |share: Option<f64>| share.map_or("-".into(), |share| format!("{:.0} %", share * 100.0));
        let _ = write!(
            text,
            "\nPages of unloaded models in the page cache: {} now (measured; reclaimable, in no arm). If they counted as held \
             all along (assumed), {} of memory would be saved against one shared copy, {} against a copy per tenant.",
            bytes_text(page_cache.bytes),
            share(page_cache.shared_memory_share),
            share(page_cache.dedicated_memory_share),
        );
    }
    text
}

/// Where ephemeral memory went.
pub(super) fn held(held: &Holding) -> String {
    let parts = [
        ("with requests", held.active_kib_ms),
        ("kept", held.keepalive_kib_ms),
        ("pinned", held.pinned_kib_ms),
        ("loading", held.load_kib_ms),
        ("idle", held.idle_kib_ms),
    ];
    let shown = |kib_ms: KibMillis| format!("{} GB·s", figure(kib_ms.gb_seconds()));
    let parts = parts.map(|(name, kib_ms)| format!("{} {name}", shown(kib_ms))).join(", ");
    format!("\nWeights: {parts}; kept keys and values: {} (measured).", shown(held.pages_kib_ms))
}

/// The comparisons that are shown, by name.
fn comparisons(savings: &Savings, baseline: Option<Baseline>) -> Vec<(&'static str, &Comparison)> {
    let Savings { shared_persistent, dedicated, .. } = savings;
    let all = [
        (Baseline::Shared, "one shared copy", shared_persistent),
        (Baseline::Dedicated, "a copy per tenant", dedicated),
    ];
    let shown = all.into_iter().filter(|(of, ..)| baseline.is_none_or(|baseline| baseline == *of));
    shown.map(|(_, name, comparison)| (name, comparison)).collect()
}

/// What was measured, and what it is compared with, by name.
pub(super) fn arms(ephemeral: &Arm, baselines: &[(&str, &Comparison)], currency: &str) -> String {
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
    let mut rows = vec![[arm("ephemeral", ephemeral, currency), vec!["-".into(), "-".into(), String::new()]].concat()];
    for (name, comparison) in baselines {
        rows.push([arm(name, &comparison.baseline, currency), compared(comparison, currency)].concat());
    }
    table(&columns, rows)
}

/// Where energy, with its relative uncertainty, and prices, with their currency, are from.
pub(super) fn sources((energy, uncertainty): (&str, f64), (rate_card, currency): (&str, &str)) -> String {
    let percent = uncertainty * 100.0;
    format!("\nEnergy: {energy} (modelled, ±{percent:.0} %). Prices: {rate_card} ({currency}).")
}

fn arm(name: &str, arm: &Arm, currency: &str) -> Vec<String> {
    vec![
        name.into(),
        format!("{} GB·s", figure(arm.kib_ms.gb_seconds())),
        arm.quality.name().into(),
        format!("{} J", figure(arm.joules)),
        arm.energy_quality.name().into(),
        arm.cost.map_or("unknown".into(), |cost| money(cost, currency)),
    ]
}

fn compared(comparison: &Comparison, currency: &str) -> Vec<String> {
    let saved = &comparison.saved;
    vec![
        saved.memory_share.map_or("-".into(), |share| format!("{:.0} %", share * 100.0)),
        saved.cost.map_or("unknown".into(), |cost| money(cost, currency)),
        verdict(comparison.judged.verdict).into(),
    ]
}

fn tenants(report: &SavingsReport) -> String {
    let columns = [
        Column::Left("TENANT"),
        Column::Right("EPHEMERAL"),
        Column::Right("SHARED"),
        Column::Left("VERDICT"),
        Column::Right("DEDICATED"),
        Column::Left("VERDICT"),
    ];
    let memory = |arm: &Arm| format!("{} GB·s", figure(arm.kib_ms.gb_seconds()));
    let rows = report.tenants.iter().map(|tenant| {
        let Savings { ephemeral, shared_persistent, dedicated, .. } = &tenant.savings;
        vec![
            tenant.tenant.clone().unwrap_or_else(|| "(nobody)".into()),
            memory(ephemeral),
            memory(&shared_persistent.baseline),
            verdict(shared_persistent.judged.verdict).into(),
            memory(&dedicated.baseline),
            verdict(dedicated.judged.verdict).into(),
        ]
    });
    table(&columns, rows)
}

/// What ephemeral serving took that the others did not.
fn losses(report: &SavingsReport, baseline: Option<Baseline>, text: &mut String) {
    let waits = &report.cold_starts;
    let _ = write!(
        text,
        "\nThe price: {} cold starts; requests waited {} for loads (measured).",
        waits.requests,
        seconds_text(waits.waited_ns.seconds())
    );
    if waits.waits.requests > 0 {
        let [p50, p95, p99] =
            [waits.waits.p50_ns, waits.waits.p95_ns, waits.waits.p99_ns].map(|wait| seconds_text(wait.seconds()));
        let _ = write!(
            text,
            " That is {p50} in the median of those that waited, {p95} and {p99} in the 95th and 99th percentile"
        );
        text.push_str(if waits.waits.older_left_out { ", of the latest that were looked at." } else { "." });
    }
    match waits.break_even_per_second {
        Some(price) if price > 0.0 => {
            let price = money(price, &report.currency);
            let _ = write!(text, " Where a second's wait is worth more than {price}, one shared copy is cheaper.");
        }
        Some(_) => text.push_str(" There is no saving against one shared copy to weigh against that."),
        None => {}
    }
    let marginal = report.total.shared_persistent.saved.marginal_joules;
    if marginal < 0.0 {
        let extra = figure(-marginal);
        let _ = write!(text, " Loading took {extra} J (modelled) that a server which never unloads does not take.");
    }
    for (name, comparison) in comparisons(&report.total, baseline) {
        if let Some(remedy) = &comparison.judged.remedy {
            let _ = write!(text, "\nA loss against {name}: {remedy}.");
        }
    }
}

fn verdict(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Saving => "saving",
        Verdict::NoSignificantDifference => "no difference",
        Verdict::Loss => "LOSS",
    }
}

#[cfg(test)]
mod tests {
    use meter::savings::{ModelUse, SavingsInputs, TenantUse, report};
    use meter::{CpuDescription, EnergyModel, Nanos, RateCard};

    use super::*;

    fn shown(window_ms: u64, active: u64) -> String {
        let model = || "m".to_owned();
        let inputs = SavingsInputs {
            window_ms,
            models: vec![ModelUse { model: model(), weights_bytes: 100 << 20, ..ModelUse::default() }],
            tenants: vec![TenantUse {
                tenant: "acme".into(),
                model: model(),
                requests: 2,
                cold_requests: 2,
                span_ms: window_ms,
                active: KibMillis::new(active),
                pinned: KibMillis::new(1 << 10),
                pages: KibMillis::new(5_000_000_000_000 / 1024),
                load_cpu: Nanos::new(100_000_000),
                load_wait: Nanos::new(500_000_000),
                ..TenantUse::default()
            }],
            ..SavingsInputs::default()
        };
        let energy = EnergyModel::new(&CpuDescription::from_cpuinfo(""), 2, 8 << 30);
        text(&report(&inputs, &energy, &RateCard::default()).with_page_cache(5 << 20), None)
    }

    #[test]
    fn a_saving_is_shown_with_its_price() {
        let text = shown(10_000_000, (100 << 10) * 1000);
        assert!(text.contains("saving") && !text.contains("LOSS"), "{text}");
        assert!(text.contains("2 cold starts; requests waited 500 ms"), "{text}");
        assert!(text.contains("measured") && text.contains("modelled"), "{text}");
        assert!(text.contains("pinned") && text.contains("kept keys and values: 5"), "{text}");
    }

    #[test]
    fn a_loss_is_called_a_loss_and_says_what_to_do() {
        let text = shown(1000, (100 << 10) * 1000);
        assert!(text.contains("LOSS") && text.contains("A loss against one shared copy"), "{text}");
        assert!(text.contains("no saving against one shared copy"), "{text}");
    }
}
