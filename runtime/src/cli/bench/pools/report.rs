//! The comparison as JSON and for people: gains and losses alike, each figure with how it was come by.

use std::fmt::Write as _;

use meter::energy::Quality;
use meter::savings::{SavingsReport, Verdict};
use serde::Serialize;

use super::arms::{Arm, Overhead};
use super::compare::{ColdStarts, Prediction, Saved};
use super::figures::{Figures, Percentiles};
use super::workload::{Arrival, Pacing};
use crate::cli::output::{Column, figure, seconds_text, table};
use crate::cli::receipt::money;

pub(super) const NOTES: [&str; 7] = [
    "memory is the servers' proportional set size, looked at from outside five times a second; every arm maps copies that \
     nobody else maps",
    "a dedicated server counts from its tenant's first request to the end of its last, the others for the whole window",
    "the energy of an arm is modelled from its measured processor time and memory; memory that stays powered saves nothing \
     on this machine's meter",
    "money is nominal, by the rate card; what is realised depends on what the operator does with the freed memory",
    "what was computed is not kept for later requests in any arm: no two prompts are alike",
    "the files were in the page cache, which is reclaimable and counted in no arm: a cold start from the disk takes longer",
    "the start of servers, and the first loads of those that never unload, went before the window and are in no comparison",
];

/// Everything.
#[derive(Debug, Serialize)]
pub(in crate::cli) struct Report {
    pub(super) workload: WorkloadReport,
    pub(super) models: Vec<ModelReport>,
    pub(super) machine: Machine,
    /// From the beginning to the end of the longest arm; the same in all.
    pub(super) window_seconds: f64,
    /// Of arms that were watched for less, how long their last look stands for what follows.
    pub(super) extended_seconds: Vec<(Arm, f64)>,
    /// Bytes of copies that were made for the run.
    pub(super) copies_bytes: u64,
    pub(super) arms: Vec<Figures>,
    /// Measured, against each persistent arm.
    pub(super) measured_savings: Vec<Saved>,
    pub(super) cold_starts: ColdStarts,
    /// Derived from the ephemeral arm's ledger, with a verdict for each tenant.
    pub(super) ledger_savings: SavingsReport,
    pub(super) overhead: Overhead,
    pub(super) predictions: Vec<Prediction>,
    pub(super) same_answers: SameAnswers,
    pub(super) notes: Vec<&'static str>,
}

/// What was asked.
#[derive(Debug, Serialize)]
pub(super) struct WorkloadReport {
    /// The kind of arrivals, or that it is a trace.
    pub(super) kind: String,
    pub(super) pacing: Pacing,
    pub(super) seed: u64,
    pub(super) tenants: usize,
    pub(super) duration_seconds: f64,
    /// How long the ephemeral arm's models stay.
    pub(super) keep_alive: String,
    pub(super) requests: Vec<Arrival>,
}

/// A model that was asked.
#[derive(Debug, Serialize)]
pub(super) struct ModelReport {
    pub(super) name: String,
    pub(super) size_bytes: u64,
}

/// Where it was run.
#[derive(Debug, Serialize)]
pub(super) struct Machine {
    pub(super) processors: usize,
    pub(super) memory_bytes: u64,
    pub(super) threads: usize,
    pub(super) isa: &'static str,
}

/// Whether the arms did the same work.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct SameAnswers {
    pub(super) requests: usize,
    /// Those with the same numbers of tokens in every arm.
    pub(super) tokens: usize,
    /// Those with the same text in every arm.
    pub(super) texts: usize,
}

/// For people.
pub(super) fn verdict(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Saving => "saving",
        Verdict::NoSignificantDifference => "no difference",
        Verdict::Loss => "LOSS",
    }
}

impl Report {
    pub(super) fn text(&self) -> String {
        let WorkloadReport { kind, requests, tenants, keep_alive, .. } = &self.workload;
        let names: Vec<&str> = self.models.iter().map(|model| model.name.as_str()).collect();
        let mut text = format!(
            "{} requests ({kind}) of {tenants} tenants to {}, {} in each arm; ephemeral models stay {keep_alive}\n\n",
            requests.len(),
            names.join(", "),
            seconds_text(self.window_seconds)
        );
        let _ = writeln!(text, "{}\n\n{}\n", self.arms_table(), self.answers_table());
        let _ = writeln!(text, "Ephemeral serving saved\n{}\n", self.savings_table());
        let _ = writeln!(text, "By tenant, from the ephemeral arm's ledger\n{}\n", self.tenants_table());
        let _ = writeln!(text, "{}\n", self.price());
        let _ = write!(text, "Predicted from the ephemeral arm's ledger, and really run\n{}", self.predictions_table());
        for line in self.warnings() {
            let _ = write!(text, "\n! {line}");
        }
        for note in &self.notes {
            let _ = write!(text, "\n- {note}");
        }
        text
    }

    fn arms_table(&self) -> String {
        let columns = [
            Column::Left("ARM"),
            Column::Right("PROCESSES"),
            Column::Right("MEMORY"),
            Column::Right("PEAK"),
            Column::Right("CPU"),
            Column::Right("ENERGY"),
            Column::Right("COST"),
            Column::Right("LEDGER"),
            Column::Right("CPUS BUSY"),
            Column::Right("WEIGHTS IN USE"),
        ];
        let rows = self.arms.iter().map(|arm| {
            vec![
                arm.arm.name().into(),
                arm.processes.to_string(),
                gb_hours(arm.memory.gb_hours),
                format!("{} MB", figure(megabytes(arm.memory.peak_bytes))),
                format!("{} s", figure(arm.cpu.seconds)),
                format!("{} J", figure(arm.energy.joules)),
                arm.cost.amount.map_or("unknown".into(), |amount| money(amount, &arm.cost.currency)),
                gb_hours(arm.ledger.gb_hours),
                percent(Some(arm.utilisation.processors_busy_share)),
                percent(arm.utilisation.weights_in_use_share),
            ]
        });
        let uncertainty = self.arms.first().map_or(0.0, |arm| arm.energy.relative_uncertainty * 100.0);
        let (measured, modelled) = (Quality::Measured.name(), Quality::Modelled.name());
        format!(
            "{}\nmemory, cpu: {measured}; energy: {modelled}, ±{uncertainty:.0} %; ledger: from the servers' starts to their ends",
            table(&columns, rows)
        )
    }

    fn answers_table(&self) -> String {
        let columns = [
            Column::Left("ARM"),
            Column::Right("ANSWERED"),
            Column::Right("FAILED"),
            Column::Right("UNSENT"),
            Column::Right("TOKENS/S"),
            Column::Right("WARM"),
            Column::Right("P50"),
            Column::Right("P95"),
            Column::Right("P99"),
            Column::Right("COLD"),
            Column::Right("P50"),
            Column::Right("P95"),
            Column::Right("P99"),
        ];
        let rows = self.arms.iter().map(|arm| {
            let requests = &arm.requests;
            let mut row = vec![
                arm.arm.name().into(),
                requests.completed.to_string(),
                requests.failed.to_string(),
                requests.unsent.to_string(),
                figure(arm.tokens.completion_per_second),
            ];
            row.extend(percentiles(arm.first_token_ms.warm));
            row.extend(percentiles(arm.first_token_ms.cold));
            row
        });
        format!("Milliseconds to the first token\n{}", table(&columns, rows))
    }

    fn savings_table(&self) -> String {
        let columns = [
            Column::Left("AGAINST"),
            Column::Right("MEMORY"),
            Column::Right(""),
            Column::Right("CPU"),
            Column::Right("ENERGY"),
            Column::Right("COST"),
            Column::Right(""),
            Column::Left("VERDICT"),
        ];
        let rows = self.measured_savings.iter().map(|saved| {
            vec![
                saved.against.name().into(),
                gb_hours(saved.memory_gb_hours),
                percent(saved.memory_share),
                format!("{} s", figure(saved.cpu_seconds)),
                format!("{} J", figure(saved.joules)),
                saved.cost.map_or("unknown".into(), |cost| money(cost, &self.ledger_savings.currency)),
                percent(saved.cost_share),
                verdict(saved.verdict).into(),
            ]
        });
        table(&columns, rows)
    }

    fn tenants_table(&self) -> String {
        let columns = [
            Column::Left("TENANT"),
            Column::Left("AGAINST ONE SHARED COPY"),
            Column::Left("AGAINST A COPY OF ITS OWN"),
        ];
        let rows = self.ledger_savings.tenants.iter().map(|tenant| {
            let savings = &tenant.savings;
            let judged = |comparison: &meter::savings::Comparison| {
                let remedy = comparison.judged.remedy.as_ref().map(|remedy| format!(" ({remedy})")).unwrap_or_default();
                let share = percent(comparison.saved.memory_share);
                format!("{}, {share} of memory{remedy}", verdict(comparison.judged.verdict))
            };
            vec![
                tenant.tenant.clone().unwrap_or_else(|| "(nobody)".into()),
                judged(&savings.shared_persistent),
                judged(&savings.dedicated),
            ]
        });
        table(&columns, rows)
    }

    /// What ephemeral serving took that the others did not.
    pub(super) fn price(&self) -> String {
        let cold = &self.cold_starts;
        let mut text = format!("The price: {} cold starts", cold.count);
        if let Some(added) = cold.added_first_token_ms {
            let _ = write!(
                text,
                "; to the first token {} ms more than the same request to the shared persistent server in the median, {} in \
                 the 95th percentile, {} in the 99th; {} lost by users",
                figure(added.p50),
                figure(added.p95),
                figure(added.p99),
                seconds_text(cold.user_seconds_lost)
            );
        }
        match cold.break_even_per_second {
            Some(price) if price > 0.0 => {
                let price = money(price, &self.ledger_savings.currency);
                let _ = write!(text, ". Where a second's wait is worth more than {price}, one shared copy is cheaper.");
            }
            Some(_) => text.push_str(". There is no measured saving against one shared copy to weigh against that."),
            None => text.push('.'),
        }
        text
    }

    fn predictions_table(&self) -> String {
        let columns = [
            Column::Left("ARM"),
            Column::Right("WEIGHTS"),
            Column::Right("PROCESSES"),
            Column::Right("KEYS, VALUES"),
            Column::Right("PREDICTED"),
            Column::Right("MEASURED"),
            Column::Right("SERVERS FOR"),
            Column::Right("RATIO"),
            Column::Left("WITHIN 10 %"),
        ];
        let rows = self.predictions.iter().map(|one| {
            vec![
                one.arm.name().into(),
                gb_hours(one.weights_gb_hours),
                gb_hours(one.overhead_gb_hours),
                gb_hours(one.key_value_gb_hours),
                gb_hours(one.predicted_gb_hours),
                gb_hours(one.measured_gb_hours),
                servers_for(one),
                one.ratio.map_or("-".into(), figure),
                if one.within_10_percent { "yes" } else { "NO" }.into(),
            ]
        });
        table(&columns, rows)
    }

    /// What makes the comparison worth less.
    pub(super) fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        let SameAnswers { requests, tokens, texts } = self.same_answers;
        if tokens < requests {
            warnings
                .push(format!("{} of {requests} requests have not the same tokens in every arm", requests - tokens));
        }
        if texts < requests {
            warnings.push(format!("{} of {requests} requests have not the same text in every arm", requests - texts));
        }
        for arm in &self.arms {
            for (why, count) in &arm.requests.failures {
                warnings.push(format!("{}: {count} failed: {why}", arm.arm.name()));
            }
        }
        for (arm, seconds) in self.extended_seconds.iter().filter(|(_, seconds)| *seconds >= 0.1) {
            let time = seconds_text(*seconds);
            warnings.push(format!("{}: its last look stands for the last {time} of the window", arm.name()));
        }
        warnings
    }
}

pub(super) fn gb_hours(value: f64) -> String {
    // A GB-hour is much for a run of seconds.
    format!("{} GB·s", figure(value * 3600.0))
}

/// For how long they were predicted to be there, and were.
pub(super) fn servers_for(one: &Prediction) -> String {
    let (predicted, measured) = one.server_seconds;
    format!("{} of {} s", figure(predicted), figure(measured))
}

fn percent(share: Option<f64>) -> String {
    share.map_or("-".into(), |share| format!("{:.1} %", share * 100.0))
}

#[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
pub(super) fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

fn percentiles(of: Option<Percentiles>) -> [String; 4] {
    match of {
        Some(Percentiles { count, p50, p95, p99 }) => [count.to_string(), figure(p50), figure(p95), figure(p99)],
        None => ["0", "-", "-", "-"].map(str::to_owned),
    }
}
