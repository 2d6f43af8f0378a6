//! Claim 4: cost of a token and utilisation, by `dayfly bench pools`.
//!
//! Deliberately absent: a workload of its own. What is run can be run again by the command that is told.

use anyhow::Context as _;
use clap::{Args as _, FromArgMatches as _};
use meter::energy::Quality;
use serde_json::{Value, json};

use super::bed::{Bed, float};
use super::judged::{Found, Verdict, less, percent, saved_text};
use crate::cli::bench::pools::Pools;
use crate::cli::failure::Failure;
use crate::cli::flags::Context;
use crate::cli::output::figure;

const CLAIMED_CHEAPER: f64 = 0.6;
/// Utilisation that is claimed of a shared pool at least.
const CLAIMED_UTILISATION: f64 = 0.6;

/// What the claim is about, of an arm.
struct Arm {
    name: &'static str,
    /// In millionths of the currency.
    micros_per_token: f64,
    busy: f64,
    in_use: f64,
}

impl Arm {
    fn of(report: &Value, name: &'static str) -> anyhow::Result<Self> {
        let arm = report["arms"].as_array().into_iter().flatten().find(|arm| arm["arm"] == name);
        let arm = arm.with_context(|| format!("{name} was not run"))?;
        let tokens = ["prompt", "completion"].map(|of| arm["tokens"][of].as_u64().unwrap_or(0)).iter().sum();
        anyhow::ensure!(tokens > 0, "{name} has answered nothing");
        let share = |of: &str| arm["utilisation"][of].as_f64().unwrap_or(0.0);
        let cost = arm["cost"]["amount"].as_f64().context("the rate card has not all prices")?;
        let micros_per_token = cost * 1e6 / float(tokens);
        Ok(Self { name, micros_per_token, busy: share("processors_busy_share"), in_use: share("weights_in_use_share") })
    }

    fn told(&self) -> String {
        format!(
            "{} {} of weights, {} of processors",
            self.name.replace('_', " "),
            percent(self.in_use),
            percent(self.busy)
        )
    }
}

/// Runs on threads of its own: not within a runtime.
pub(super) fn run(bed: &Bed, context: &Context) -> Result<Found, Failure> {
    let duration = bed.size.pick("18", "5");
    let mut words = vec!["pools".to_owned(), bed.model().to_owned()];
    let told = ["--tenants", "3", "--rate", "1", "--duration", duration, "--keep-alive", "1s"];
    words.extend(told.map(str::to_owned));
    words.extend(["--threads".to_owned(), bed.config.threads.to_string(), "--isa".to_owned()]);
    words.push(bed.config.isa.name().to_owned());
    if let Some(bytes) = bed.config.memory_budget_asked {
        words.extend(["--memory-budget".to_owned(), bytes.to_string()]);
    }
    let command = Pools::augment_args(clap::Command::new("pools"));
    let matches = command.try_get_matches_from(&words).context("the comparison cannot be told what to do")?;
    let pools = Pools::from_arg_matches(&matches).context("the comparison cannot be told what to do")?;
    let report = serde_json::to_value(pools.compare(context)?).context("the comparison is no JSON")?;
    Ok(judged(&report, &words.join(" "))?)
}

fn judged(report: &Value, words: &str) -> anyhow::Result<Found> {
    let [ephemeral, persistent, dedicated] =
        ["ephemeral", "shared_persistent", "dedicated"].map(|name| Arm::of(report, name));
    let (ephemeral, persistent, dedicated) = (ephemeral?, persistent?, dedicated?);
    let cheaper = less(ephemeral.micros_per_token, dedicated.micros_per_token);
    let shared = less(persistent.micros_per_token, dedicated.micros_per_token);
    let arms = [&ephemeral, &persistent, &dedicated];
    let utilised = Verdict::of_share(ephemeral.in_use, CLAIMED_UTILISATION);
    let busy_max = arms.iter().map(|arm| arm.busy).fold(0.0, f64::max);
    Ok(Found {
        measured: format!(
            "a token costs {}; weights in use {} against {}",
            saved_text(cheaper),
            percent(ephemeral.in_use),
            percent(dedicated.in_use)
        ),
        quality: Quality::Measured,
        verdict: Verdict::of_halves(Verdict::of_share(cheaper, CLAIMED_CHEAPER), utilised),
        why: format!(
            "a token costs {} µ ephemeral, {} shared persistent, {} dedicated (processes included): {} by sharing alone, {} \
             with letting go. In use were: {}. Utilisation follows the requests, {} of processors at most here, and the \
             keep-alive: no pool has one of its own. Most of a small model's token is processor time, which sharing memory \
             does not save, and loads add to.",
            figure(ephemeral.micros_per_token),
            figure(persistent.micros_per_token),
            figure(dedicated.micros_per_token),
            saved_text(shared),
            saved_text(cheaper),
            arms.map(Arm::told).join("; "),
            percent(busy_max),
        ),
        inputs: json!({
            "window_seconds": report["window_seconds"],
            "micros_per_token": arms.map(|arm| (arm.name, arm.micros_per_token)),
            "weights_in_use_share": arms.map(|arm| (arm.name, arm.in_use)),
            "processors_busy_share": arms.map(|arm| (arm.name, arm.busy)),
            "measured_savings": report["measured_savings"],
        }),
        how: format!("dayfly bench {words}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(ephemeral: f64, in_use: f64) -> Value {
        let arm = |name: &str, amount: f64, in_use: f64| {
            json!({
                "arm": name, "tokens": { "prompt": 60, "completion": 40 }, "cost": { "amount": amount },
                "utilisation": { "processors_busy_share": 0.2, "weights_in_use_share": in_use },
            })
        };
        let arms =
            [arm("ephemeral", ephemeral, in_use), arm("shared_persistent", 2.0, 0.3), arm("dedicated", 10.0, 0.1)];
        json!({ "arms": arms })
    }

    #[test]
    fn both_halves_decide() {
        let of = |ephemeral, in_use| judged(&report(ephemeral, in_use), "pools").unwrap().verdict;
        assert_eq!(of(2.0, 0.7), Verdict::Holds);
        assert_eq!(of(2.0, 0.1), Verdict::InPart);
        assert_eq!(of(9.0, 0.1), Verdict::DoesNotHold);
        assert!(judged(&json!({}), "pools").is_err());
    }
}
