//! `dayfly doctor`: what this machine offers to the runtime, and where it would know energy from.
//!
//! Nothing is changed, and no server is asked. Whether a sensor is believed shows only under work: where there are any, one
//! thread works for at most three seconds.

mod facts;

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;
use meter::ladder::RungState;
use meter::{CardEnergy, HostEnergy, LadderReport, Nanos};

use self::facts::Facts;
use super::failure::Failure;
use super::flags::Context;
use super::output::{self, Column, Format, table};
use crate::config::{Layer, bytes_text};
use crate::host::{host, process_cpu_time};

/// Sensors are judged by windows of two seconds.
const WORK_MAX: Duration = Duration::from_secs(3);
/// Between two readings; a power is told from 0.25 s on.
const WORK_STEP: Duration = Duration::from_millis(300);

/// Show what this machine has (processors, memory, limits) and where energy is from: which sensors there are, and why one is not
/// believed. Works for up to three seconds to see whether they move
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
        let reports = judged(&self.root, &host);
        match context.format() {
            Format::Json => output::print_json(&serde_json::json!({ "machine": facts, "energy": reports })),
            Format::Text => output::print(text(&facts, &reports)),
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

/// A size that may not be known or limited.
fn size(bytes: Option<u64>, otherwise: &str) -> String {
    bytes.map_or_else(|| otherwise.to_owned(), |bytes| bytes_text(bytes).to_string())
}
