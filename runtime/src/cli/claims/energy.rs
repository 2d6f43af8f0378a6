//! Claim 7: energy for a million tokens, of the compressed day.
//!
//! Invariants: both arms computed the same tokens; what differs is memory and loads. Deliberately absent: a cloud's
//! machines. What is claimed of them is set beside what this model takes here.

use meter::energy::Quality;
use meter::{Nanojoules, Receipt};
use serde_json::json;

use super::bed::float;
use super::day::Day;
use super::judged::{Found, Verdict, less, percent, saved_text};
use crate::cli::output::figure;

/// What is claimed: the lower end.
const CLAIMED: f64 = 0.75;
/// kWh for a million tokens that the claim has of a cloud.
const CLOUD_KWH: (f64, f64) = (0.5, 2.0);

/// Joules for a token are so many kWh for a million.
fn kwh_per_million(joules: f64, tokens: f64) -> f64 {
    if tokens > 0.0 { joules / tokens * 1e6 / 3.6e6 } else { 0.0 }
}

pub(super) fn judged(day: &Day) -> Found {
    let receipts = &day.receipts;
    let sum = |of: fn(&Receipt) -> Nanojoules| receipts.iter().map(of).sum::<Nanojoules>().joules();
    let tokens = |of: fn(&Receipt) -> u64| float(receipts.iter().map(of).sum());
    let (prompt, completion) = (tokens(|one| one.tokens.prompt), tokens(|one| one.tokens.completion));
    let all = prompt + completion;
    let active = sum(|one| one.energy.active_nj);
    // Energy of computing follows processor time.
    let prefill_cpu: f64 = receipts.iter().map(|one| one.cpu.prefill_ns.seconds()).sum();
    let prefill_share = prefill_cpu / day.computed().seconds().max(f64::MIN_POSITIVE);
    let total = &day.savings.total;
    let (ephemeral, persistent) = (total.ephemeral.joules, total.shared_persistent.baseline.joules);
    let dedicated = total.dedicated.baseline.joules;
    let kwh = |joules: f64| kwh_per_million(joules, all);
    let (now, before) = (kwh(active + ephemeral), kwh(active + persistent));
    let attributed = less(now, before);
    let marginal = total.shared_persistent.saved.marginal_joules / (active + persistent).max(f64::MIN_POSITIVE);
    let (source, quality, uncertainty) = receipts.last().map_or(("none".to_owned(), Quality::Modelled, 0.0), |one| {
        (one.energy.source.clone(), one.energy.quality, one.energy.relative_uncertainty)
    });
    let loads_and_residency = sum(|one| one.energy.load_nj) + sum(|one| one.energy.residency_nj);
    Found {
        measured: format!("{}; {} kWh ephemeral, {} always on", saved_text(attributed), figure(now), figure(before)),
        quality,
        verdict: Verdict::of_share(attributed, CLAIMED),
        why: format!(
            "computing takes {} kWh for a million tokens in both arms (prompt {}, answers {}), {} of the always-on figure; only \
             memory and loads differ: {} when counted by the share of memory. On this machine's meter \
             it is {}: memory that stays powered saves nothing. A cloud's {}-{} kWh are of other models: this one \
             takes {} to {} of that.",
            figure(kwh(active)),
            figure(kwh_per_million(active * prefill_share, prompt)),
            figure(kwh_per_million(active * (1.0 - prefill_share), completion)),
            percent(if before > 0.0 { kwh(active) / before } else { 0.0 }),
            saved_text(less(ephemeral, persistent)),
            saved_text(marginal),
            CLOUD_KWH.0,
            CLOUD_KWH.1,
            percent(now / CLOUD_KWH.1),
            percent(now / CLOUD_KWH.0),
        ),
        inputs: json!({
            "tokens": { "prompt": prompt, "completion": completion },
            "active_joules": active,
            "receipts_load_and_residency_joules": loads_and_residency,
            "memory_and_load_joules": { "ephemeral": ephemeral, "shared_persistent": persistent, "dedicated": dedicated },
            "kwh_per_million": {
                "computing": kwh(active),
                "prompt": kwh_per_million(active * prefill_share, prompt),
                "completion": kwh_per_million(active * (1.0 - prefill_share), completion),
                "ephemeral": now,
                "shared_persistent": before,
            },
            "attributional_share": attributed,
            "marginal_share": marginal,
            "source": source,
            "relative_uncertainty": uncertainty,
        }),
        how: format!(
            "claim 1's day: its receipts' energy ({source}, {}, ±{:.0} %) and the ledger's comparison, process included; prompt and \
             answer apart by their processor time",
            quality.name(),
            uncertainty * 100.0
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_joule_a_token_is_a_third_of_a_kilowatt_hour_a_million() {
        assert!((kwh_per_million(3.6, 1.0) - 1.0).abs() < 1e-12);
        assert!((kwh_per_million(10.0, 10.0) - 0.277_777_8).abs() < 1e-6);
        assert!(kwh_per_million(1.0, 0.0).abs() < f64::EPSILON);
    }
}
