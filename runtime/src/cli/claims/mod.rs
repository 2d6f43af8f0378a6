//! `dayfly claims`: what is claimed of ephemeral serving, run on this machine.
//!
//! Each claim is measured by servers of this binary over a copy of the model, at a size that fits a small machine, and
//! told beside what is claimed, with why they differ. Invariants: a verdict follows from the figures of this run alone; a
//! claim that could not be run says so and stops no other; everything that is made goes with the command. Deliberately
//! absent: fixed results, and claims about machines that are not here.

mod bed;
mod cold;
mod context;
mod coordination;
mod copies;
mod day;
mod energy;
mod judged;
mod pool;
mod slips;

use std::collections::BTreeSet;

use clap::{Args, value_parser};
use meter::PicoUnits;
use serde_json::json;

use self::bed::{Bed, Size};
use self::copies::Copies;
use self::day::Day;
use self::judged::{CLAIMS, Claim, Found, Judged};
use super::bench::Compute;
use super::failure::Failure;
use super::flags::{Context, block_on, interrupted};
use super::output::{self, Column, Format, table};
use crate::config::{ByteSize, Layer};

/// Test the claims that are made of ephemeral serving, each at a size that fits this machine
///
/// Runs servers of its own over a copy of the model, on free loopback ports, and takes about five minutes on two
/// processors. With --json: {"model", "quick", "claims": [{"number", "claim", "claimed", "measured", "quality", "verdict",
/// "why", "inputs", "how"}]}; a verdict is holds, holds in part, does not hold, arithmetic slip, or not run.
#[derive(Args, Debug)]
pub(super) struct Claims {
    /// Only these, such as 1,5,6
    #[arg(long, value_name = "N", value_delimiter = ',', value_parser = value_parser!(u8).range(1..=9))]
    only: Vec<u8>,
    /// The model, which must answer with text
    #[arg(long, value_name = "MODEL", default_value = "smollm2")]
    model: String,
    /// Smaller windows and fewer tries: about a minute, and figures that scatter more
    #[arg(long)]
    quick: bool,
    /// Memory of each server for weights and key-value caches together, such as 700MiB
    #[arg(long, value_name = "SIZE")]
    memory_budget: Option<ByteSize>,
    #[command(flatten)]
    compute: Compute,
}

/// What several claims are about is measured once.
struct Tests<'a> {
    bed: &'a Bed,
    context: &'a Context,
    day: Option<Day>,
    copies: Option<Copies>,
}

impl Claims {
    pub(super) fn run(&self, context: &Context) -> Result<(), Failure> {
        let Compute { threads, isa } = self.compute;
        let config = context.config(Layer { threads, isa, memory_budget: self.memory_budget, ..Layer::default() })?;
        let size = if self.quick { Size::Quick } else { Size::Full };
        let only: BTreeSet<u8> = self.only.iter().copied().collect();
        let bed = interruptible(Bed::make(config, &self.model, size))?;
        let mut tests = Tests { bed: &bed, context, day: None, copies: None };
        let (mut all, mut failed) = (Vec::new(), None);
        for claim in CLAIMS.iter().filter(|claim| only.is_empty() || only.contains(&claim.number)) {
            output::note(format_args!("{}: {}", claim.number, claim.claim));
            match tests.test(claim) {
                Ok(found) => all.push(Judged::of(claim, found)),
                Err(failure @ (Failure::Interrupted(_) | Failure::Closed)) => return Err(failure),
                Err(failure) => {
                    all.push(Judged::not_run(claim, &failure.why().unwrap_or_default()));
                    // What this machine or model cannot do is no failure of the run.
                    failed = failed.or((!matches!(failure, Failure::Usage(_))).then_some(failure));
                }
            }
        }
        match context.format() {
            Format::Json => output::print_json(&json!({ "model": bed.model(), "quick": self.quick, "claims": all }))?,
            Format::Text => output::print(self.text(&bed, &all))?,
        }
        failed.map_or(Ok(()), Err)
    }

    fn text(&self, bed: &Bed, all: &[Judged]) -> String {
        let columns = [
            Column::Right("#"),
            Column::Left("CLAIM"),
            Column::Left("CLAIMED"),
            Column::Left("MEASURED"),
            Column::Left("QUALITY"),
            Column::Left("VERDICT"),
        ];
        let rows = all.iter().map(|one| {
            vec![
                one.number.to_string(),
                one.claim.to_owned(),
                one.claimed.to_owned(),
                one.measured.clone().unwrap_or_else(|| "-".to_owned()),
                one.quality.map_or("-", meter::energy::Quality::name).to_owned(),
                one.verdict.name().to_owned(),
            ]
        });
        let mut text = format!("{}\n\n{}\n", bed.model(), table(&columns, rows));
        for one in all {
            text.push_str(&format!("\n{}. {}", one.number, one.why));
            if let Some(how) = &one.how {
                text.push_str(&format!("\n   How: {how}."));
            }
        }
        if self.quick {
            text.push_str("\n\n--quick: smaller windows and fewer tries; figures scatter more than without it.");
        }
        text
    }
}

impl Tests<'_> {
    fn test(&mut self, claim: &Claim) -> Result<Found, Failure> {
        let bed = self.bed;
        match claim.number {
            1 => Ok(day::judged(self.day()?, bed.config.threads.get())),
            2 => Ok(copies::judged(self.copies()?)),
            3 => {
                let gb_hour = bed.config.rates.memory_gb_hour.map(PicoUnits::units);
                Ok(slips::formula(self.copies()?.efficiency(), gb_hour))
            }
            4 => pool::run(bed, self.context),
            5 => interruptible(context::run(bed)),
            6 => interruptible(cold::run(bed)),
            7 => Ok(energy::judged(self.day()?)),
            8 => interruptible(coordination::run(bed)),
            _ => Ok(slips::prices()),
        }
    }

    fn day(&mut self) -> Result<&Day, Failure> {
        let day = match self.day.take() {
            Some(day) => day,
            None => interruptible(Day::live(self.bed))?,
        };
        Ok(self.day.insert(day))
    }

    fn copies(&mut self) -> Result<&Copies, Failure> {
        let copies = match self.copies.take() {
            Some(copies) => copies,
            None => interruptible(Copies::hold(self.bed))?,
        };
        Ok(self.copies.insert(copies))
    }
}

/// Runs `work` until it is done, or the user has had enough.
fn interruptible<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    block_on(async {
        tokio::select! {
            done = work => done,
            failure = interrupted() => Err(failure),
        }
    })
}
