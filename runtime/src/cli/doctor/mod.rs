//! `dayfly doctor`: what this machine offers to the runtime, and where it would know energy from.
//!
//! Nothing is changed, and no server is asked. Whether a sensor is believed shows only under work: where there are any, one
//! thread works for at most three seconds.

mod facts;
mod findings;
mod places;

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;
use meter::ladder::RungState;
use meter::{CardEnergy, HostEnergy, LadderReport, Nanos};

use self::facts::Facts;
use self::findings::{Finding, Severity, findings};
use self::places::{FolderState, LedgerFile, LedgerState, Place};
use super::failure::Failure;
use super::flags::Context;
use super::output::{self, Column, Format, table};
use crate::config::{Layer, bytes_text};
use crate::host::{host, process_cpu_time};

/// Sensors are judged by windows of two seconds.
const WORK_MAX: Duration = Duration::from_secs(3);
/// Between two readings; a power is told from 0.25 s on.
const WORK_STEP: Duration = Duration::from_millis(300);

/// Show what this machine has, where models and the ledger are, what is wrong with that, and where energy is from
///
/// Works for up to three seconds to see whether sensors move, and says of each why it is not believed. Exit status 1 if there is
/// a problem; hints are none.
#[derive(Args, Debug)]
pub(super) struct Doctor {
    /// Look for sensors below this folder instead of /
    #[arg(long, value_name = "DIR", default_value = "/", hide = true)]
    root: PathBuf,
}

impl Doctor {
    pub(super) fn run(&self, context: &Context) -> Result<(), Failure> {
        let config = context.config(Layer::default())?;
        let host = host(&self.root, config.design_power);
        let facts = Facts::look(&config, &host);
        let models_dirs: Vec<Place> = config.models_dirs.iter().map(|path| Place::look(path)).collect();
        let ledger = LedgerFile::look(&config);
        let findings = findings(&config, &facts, &models_dirs, &ledger);
        let reports = judged(&self.root, &host);
        match context.format() {
            Format::Json => output::print_json(&serde_json::json!({
                "machine": facts, "models_dirs": models_dirs, "ledger": ledger, "findings": findings, "energy": reports,
            }))?,
            Format::Text => {
                let places = places_text(&models_dirs, &ledger);
                output::print(format_args!("{}\n\n{places}\n{}", text(&facts, &reports), findings_text(&findings)))?;
            }
        }
        match findings.iter().filter(|finding| finding.severity == Severity::Problem).count() {
            0 => Ok(()),
            1 => Err(Failure::Failed(anyhow::anyhow!("there is a problem"))),
            count => Err(Failure::Failed(anyhow::anyhow!("there are {count} problems"))),
        }
    }
}

/// What is known of the sensors of the host and of each card, after some work if there are any of the host's.
fn judged(root: &Path, host: &meter::Host) -> Vec<LadderReport> {
    let (mut energy, mut cards) = HostEnergy::find_with_cards(root, host);
    let began = Instant::now();
    let mut poll = |energy: &mut HostEnergy| {
        let at = began.elapsed();
        energy.poll(at, process_cpu_time(), &[]);
        cards.iter_mut().for_each(|card| drop(card.poll(at, Nanos::ZERO, &[])));
    };
    poll(&mut energy);
    while is_undecided(&energy.report()) && began.elapsed() < WORK_MAX {
        work_for(WORK_STEP);
        poll(&mut energy);
    }
    std::iter::once(energy.report()).chain(cards.iter().map(CardEnergy::report)).collect()
}

fn is_undecided(report: &LadderReport) -> bool {
    report.rungs.iter().any(|rung| rung.state == RungState::Watched)
}

fn work_for(span: Duration) {
    let began = Instant::now();
    while began.elapsed() < span {
        black_box((0..10_000_u64).fold(0, |sum, number| black_box(sum ^ number.wrapping_mul(sum | 1))));
    }
}

/// For people.
fn text(facts: &Facts, reports: &[LadderReport]) -> String {
    let mut text = table(&[Column::Left("MACHINE"), Column::Left("")], facts.rows());
    for report in reports {
        let name = match report.device {
            meter::sensor::Device::Host => "host".to_owned(),
            meter::sensor::Device::Gpu(number) => format!("card {number}"),
        };
        let used = &report.in_use;
        text.push_str(&format!(
            "\n\nenergy of the {name}: {} ({}, ± {:.0} %), of {}\n",
            used.source,
            used.quality.name(),
            used.relative_uncertainty * 100.0,
            used.scope
        ));
        let rows = report.rungs.iter().map(|rung| {
            let state = match rung.state {
                RungState::InUse => "in use",
                RungState::Spare => "spare",
                RungState::Watched => "watched",
                RungState::Refused => "refused",
                RungState::Missing => "missing",
            };
            vec![rung.source.clone(), state.to_owned(), rung.reason.clone()]
        });
        text.push_str(&table(&[Column::Left("SENSOR"), Column::Left("STATE"), Column::Left("WHY")], rows));
    }
    text
}

fn places_text(models_dirs: &[Place], ledger: &LedgerFile) -> String {
    let row = |what: &str, path: &Path, state: String, place: &Place| {
        let file_system = place.file_system.clone().unwrap_or_else(|| "unknown".to_owned());
        vec![what.to_owned(), path.display().to_string(), state, file_system, size(place.free_bytes, "unknown")]
    };
    let of_folder = |place: &Place| {
        let state = match place.state {
            FolderState::Writable => "writable",
            FolderState::ReadOnly => "read-only",
            FolderState::ToBeMade => "made when needed",
            FolderState::CannotBeMade => "not there",
            FolderState::Unreadable => "unreadable",
            FolderState::NotAFolder => "no folder",
        };
        row("models", &place.path, state.to_owned(), place)
    };
    let state = match &ledger.state {
        LedgerState::ToBeMade => "made when needed".to_owned(),
        LedgerState::Readable => bytes_text(ledger.size_bytes).to_string(),
        LedgerState::Unreadable(_) => "unreadable".to_owned(),
    };
    let rows = models_dirs.iter().map(of_folder).chain([row("ledger", &ledger.path, state, &ledger.folder)]);
    let columns =
        [Column::Left("PLACE"), Column::Left("PATH"), Column::Left("STATE"), Column::Left("ON"), Column::Right("FREE")];
    table(&columns, rows)
}

fn findings_text(findings: &[Finding]) -> String {
    let lines = findings.iter().map(|Finding { severity, text }| match severity {
        Severity::Problem => format!("\nproblem: {text}"),
        Severity::Hint => format!("\nhint: {text}"),
    });
    let lines: String = lines.collect();
    if lines.is_empty() { "\nnothing is wrong".to_owned() } else { lines }
}

/// A size that may not be known or limited.
fn size(bytes: Option<u64>, otherwise: &str) -> String {
    bytes.map_or_else(|| otherwise.to_owned(), |bytes| bytes_text(bytes).to_string())
}
