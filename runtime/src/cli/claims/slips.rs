//! Claims 3 and 9: arithmetic, done from the numbers in the claims.
//!
//! Invariants: pure. Deliberately absent: measurements; claim 3 is given one.

use meter::energy::Quality;
use serde_json::json;

use super::judged::{Found, Verdict, percent};
use crate::cli::output::figure;

/// The price in the claim, for a thousand tokens.
const PRICE_PER_THOUSAND: f64 = 0.02;
/// Tokens, and what the claim says they cost at that price.
const SUMS: [(f64, f64); 2] = [(1e6, 20_000.0), (1e4, 200.0)];
/// What claim 3 says is saved, and where.
const SAVED_CLAIMED: f64 = 0.85;
const UTILISATION: f64 = 0.3;

/// What a sharing efficiency was measured to be: dedicated GB·h over shared GB·h.
#[derive(Clone, Copy, Debug)]
pub(super) struct Efficiency {
    pub(super) dedicated_gb: f64,
    pub(super) shared_gb: f64,
}

impl Efficiency {
    pub(super) fn ratio(self) -> f64 {
        self.dedicated_gb / self.shared_gb
    }
}

/// 1 − utilisation · price of a shared GB ÷ (sharing efficiency · price of a dedicated GB).
fn saved(utilisation: f64, efficiency: f64, price_ratio: f64) -> f64 {
    1.0 - utilisation * price_ratio / efficiency
}

/// Claim 3, with the price of a GB-hour that the rate card has.
pub(super) fn formula(measured: Efficiency, gb_hour: Option<f64>) -> Found {
    let efficiency = measured.ratio();
    let needed = UTILISATION / (1.0 - SAVED_CLAIMED);
    let consistent = saved(UTILISATION, efficiency, 1.0);
    // As written, the price stands below the line alone: it is divided by a price.
    let written = gb_hour.filter(|price| *price > 0.0).map(|price| saved(UTILISATION, efficiency, 1.0 / price));
    let as_written = match (written, gb_hour) {
        (Some(share), Some(price)) => format!(
            "as written, at {price} a GB-hour and the measured efficiency, it comes to {}, and to another figure in \
             every other currency",
            percent(share)
        ),
        _ => "the rate card has no price of a GB-hour to put into it".to_owned(),
    };
    Found {
        measured: format!("{} with the price on both sides", percent(consistent)),
        quality: Quality::Derived,
        verdict: Verdict::Slip,
        why: format!(
            "the source writes 1 - utilisation / (sharing_efficiency x cost_per_GB): the price is dropped from one side, so \
             that a share depends on a currency; {as_written}. With the price on both sides it cancels: 1 - {UTILISATION} / \
             efficiency, and {} needs an efficiency of {}. Measured is {} (claim 2: {} GB held by dedicated processes \
             against {} GB shared), which gives {}.",
            percent(SAVED_CLAIMED),
            figure(needed),
            figure(efficiency),
            figure(measured.dedicated_gb),
            figure(measured.shared_gb),
            percent(consistent),
        ),
        inputs: json!({
            "utilisation": UTILISATION,
            "efficiency_needed": needed,
            "efficiency_measured": efficiency,
            "dedicated_gb": measured.dedicated_gb,
            "shared_gb": measured.shared_gb,
            "price_gb_hour": gb_hour,
            "saved_as_written": written,
            "saved_with_price_on_both_sides": consistent,
        }),
        how: "arithmetic, with the sharing efficiency as dedicated over shared memory from claim 2's measurement"
            .to_owned(),
    }
}

/// Claim 9.
pub(super) fn prices() -> Found {
    let right = SUMS.map(|(tokens, _)| PRICE_PER_THOUSAND * tokens / 1000.0);
    let lines: Vec<String> = SUMS
        .iter()
        .zip(right)
        .map(|((tokens, claimed), right)| {
            format!(
                "{tokens} tokens / 1,000 x ${PRICE_PER_THOUSAND} = ${right:.2}, claimed ${claimed} ({} times)",
                claimed / right
            )
        })
        .collect();
    let is_slip = SUMS.iter().zip(right).any(|((_, claimed), right)| (claimed / right - 1.0).abs() > 1e-9);
    Found {
        measured: format!("1 M: ${:.2}; 10,000: ${:.2}", right[0], right[1]),
        quality: Quality::Derived,
        verdict: if is_slip { Verdict::Slip } else { Verdict::Holds },
        why: format!("{}: a price for 1,000 tokens was taken as one for a token", lines.join("; ")),
        inputs: json!({ "price_per_thousand": PRICE_PER_THOUSAND, "sums": SUMS, "right": right }),
        how: "arithmetic".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(value: &serde_json::Value, expected: f64) -> bool {
        (value.as_f64().unwrap() - expected).abs() < 1e-9
    }

    #[test]
    fn prices_are_a_thousand_times_too_high() {
        let found = prices();
        assert_eq!(found.verdict, Verdict::Slip);
        assert_eq!(found.inputs["right"], json!([20.0, 0.2]));
        assert!(found.why.contains("1000 times"), "{}", found.why);
    }

    #[test]
    fn the_formula_needs_an_efficiency_of_two() {
        let found = formula(Efficiency { dedicated_gb: 10.0, shared_gb: 2.0 }, Some(0.5));
        assert!(close(&found.inputs["efficiency_needed"], 2.0), "{}", found.inputs);
        assert!(close(&found.inputs["saved_with_price_on_both_sides"], 1.0 - 0.3 / 5.0));
        assert!(close(&found.inputs["saved_as_written"], 1.0 - 0.3 / (5.0 * 0.5)));
        let same = formula(Efficiency { dedicated_gb: 2.0, shared_gb: 1.0 }, None);
        assert!(close(&same.inputs["saved_with_price_on_both_sides"], 0.85), "as claimed, at an efficiency of 2");
        assert!(same.inputs["saved_as_written"].is_null());
    }
}
