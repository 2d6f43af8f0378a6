//! `dayfly ledger verify`

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Args, Subcommand};
use ledger::{Reader, Verification};
use serde_json::json;

use super::failure::Failure;
use super::flags::Context;
use super::output::{self, Column, Format, counted, table};
use crate::config::Layer;

/// What can be done with a ledger's file.
#[derive(Debug, Subcommand)]
pub(super) enum Ledger {
    Verify(Verify),
}

/// Check that every row of the ledger is as it was written, whether a server writes it or not; nothing is changed
#[derive(Args, Debug)]
pub(super) struct Verify {
    /// The ledger's file, instead of the configured one
    #[arg(long, value_name = "FILE")]
    ledger: Option<PathBuf>,
}

impl Ledger {
    pub(super) fn run(&self, context: &Context) -> Result<(), Failure> {
        match self {
            Self::Verify(verify) => verify.run(context),
        }
    }
}

impl Verify {
    fn run(&self, context: &Context) -> Result<(), Failure> {
        let path = context.config(Layer { ledger: self.ledger.clone(), ..Layer::default() })?.ledger;
        let verified = opened(&path)?.verify();
        let found = verified.with_context(|| format!("{} cannot be verified", path.display()))?;
        if context.format() == Format::Json {
            output::print_json(&json!({ "sound": found.is_sound(), "ledger": path, "found": found }))?;
        } else {
            output::print(shown(&found))?;
        }
        if found.is_sound() {
            return Ok(());
        }
        let faults = counted(found.faults.len() as u64, "fault");
        Err(anyhow::anyhow!("{}: {faults} in the ledger", path.display()).into())
    }
}

/// The ledger at `path`, to be read.
///
/// # Errors
/// That there is none yet, if so; what opening it fails with.
pub(super) fn opened(path: &Path) -> anyhow::Result<Reader> {
    let shown = path.display();
    if matches!(path.try_exists(), Ok(false)) {
        anyhow::bail!("there is no ledger {shown} yet: the first server, or `dayfly run`, makes it");
    }
    Reader::open(path).with_context(|| format!("{shown} cannot be read"))
}

/// For people: what there is, and what is wrong.
fn shown(found: &Verification) -> String {
    let mut lines: Vec<String> = found.faults.iter().map(|fault| format!("wrong: {fault}")).collect();
    let rows = found.rows.iter().map(|(name, rows)| vec![(*name).to_owned(), rows.to_string()]);
    lines.push(table(&[Column::Left("ROWS OF"), Column::Right("VERIFIED")], rows));
    if found.removed_links > 0 {
        lines.push(format!("{} removed by retention, of which the sums are left", counted(found.removed_links, "row")));
    }
    if found.adopted_links > 0 {
        lines.push(format!("{} linked when the schema was brought up", counted(found.adopted_links, "row")));
    }
    if found.open_requests > 0 {
        lines.push(format!("{} not settled yet", counted(found.open_requests, "request")));
    }
    if !found.head_digest.is_empty() {
        lines.push(format!("head: link {} {}", found.head_link, found.head_digest));
    }
    lines.join("\n")
}
