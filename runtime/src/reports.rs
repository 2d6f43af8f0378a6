//! What the ledger's rows and sums are told as: savings, bills, rows for other programs. What HTTP and the command line show
//! is made here once.
//!
//! Everything here blocks on the disk: it belongs on threads that may.
//!
//! Invariants: what is told of requests sums to what their receipts say, to the last pico-unit; a missing price makes an
//! amount unknown and never 0; what is priced now and was not recorded with its price says so.

mod costs;
mod focus;
mod recorded;

use std::path::Path;

use ledger::{LedgerError, Reader, SavingsQuery};
use meter::SavingsInputs;
use meter::savings::{SavingsReport, report};
use serde_json::Value;

pub(crate) use self::costs::{CostLine, LineItem, costs_of};
pub(crate) use self::focus::{FOCUS_COLUMNS, Focus};
pub(crate) use self::recorded::{read_trace, trace_of};
use crate::config::{Config, MoneyChoices};
use crate::host::host;
use crate::metering::DevicePrices;

/// What ephemeral serving is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Baseline {
    /// One copy of each model for all, which is never unloaded.
    Shared,
    /// A copy for each tenant.
    Dedicated,
}

impl Baseline {
    /// The words and what they mean.
    pub(crate) const WORDS: [(&'static str, Self); 2] = [("shared", Self::Shared), ("dedicated", Self::Dedicated)];

    /// What the comparison with the other one is called in a report.
    const fn other(self) -> &'static str {
        match self {
            Self::Shared => "dedicated",
            Self::Dedicated => "shared_persistent",
        }
    }
}

/// What receipts of the first device are priced by, for whoever reads a ledger without a server.
pub(crate) fn prices_of(config: &Config) -> DevicePrices {
    let host = host(Path::new("/"), config.design_power);
    crate::devices::prices(config, &host).swap_remove(0)
}

/// What a savings report is computed from. `process_bytes` is what a serving process holds beside models, 0 if unknown.
pub(crate) fn savings_inputs(
    reader: &Reader,
    query: SavingsQuery,
    process_bytes: u64,
) -> Result<SavingsInputs, LedgerError> {
    Ok(SavingsInputs { process_bytes, ..reader.savings_inputs(query)? })
}

/// What ephemeral serving saved.
pub(crate) fn savings_of(inputs: &SavingsInputs, prices: &DevicePrices) -> SavingsReport {
    report(inputs, &prices.energy, &prices.rates)
}

/// The same with what the operator declares of money, of the same rows.
pub(crate) fn told_in_money(
    report: SavingsReport,
    inputs: &SavingsInputs,
    (reader, query): (&Reader, SavingsQuery),
    choices: &MoneyChoices,
) -> Result<SavingsReport, LedgerError> {
    let report = report.with_realised(choices.realised_per_hour);
    let Some(catalogue) = &choices.catalogue else { return Ok(report) };
    Ok(report.with_capacity(catalogue.capacity(inputs, &reader.held_hours(query.since)?)))
}

/// A savings report without the comparison that was not asked for.
pub(crate) fn against(mut report: Value, baseline: Option<Baseline>) -> Value {
    let Some(baseline) = baseline else { return report };
    let remove = |savings: &mut Value| {
        if let Some(savings) = savings.as_object_mut() {
            savings.remove(baseline.other());
        }
    };
    remove(&mut report["total"]);
    report["tenants"].as_array_mut().into_iter().flatten().for_each(remove);
    report
}
