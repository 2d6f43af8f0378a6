//! `dayfly config check`

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use crate::cli::failure::Failure;
use crate::cli::flags::Context;
use crate::cli::output::{self, Format};
use crate::config::{Checked, Config};

/// Tell everything that is wrong with the configuration, with lines; exit status 2 if anything is
#[derive(Args, Debug)]
pub(in crate::cli) struct Check {
    /// The file, instead of the one that a server would read
    #[arg(value_hint = clap::ValueHint::FilePath)]
    file: Option<PathBuf>,
}

impl Check {
    pub(super) fn run(&self, context: &Context) -> Result<(), Failure> {
        let file = self.file.as_deref().or(context.global.config.as_deref());
        let checked = Config::check(&context.layer(), file, &context.environment)?;
        let Checked { path, is_there, faults } = &checked;
        match context.format() {
            Format::Json => output::print_json(
                &json!({ "file": path, "is_there": is_there, "valid": faults.is_empty(), "faults": faults }),
            )?,
            Format::Text => output::print(text(&checked))?,
        }
        match faults.len() {
            0 => Ok(()),
            1 => Err(Failure::Usage(anyhow::anyhow!("the configuration has a fault"))),
            count => Err(Failure::Usage(anyhow::anyhow!("the configuration has {count} faults"))),
        }
    }
}

/// A line for each fault, as compilers write them.
fn text(Checked { path, is_there, faults }: &Checked) -> String {
    let path = path.display();
    let lines = faults.iter().map(|fault| match fault.line {
        Some(line) => format!("{path}:{line}: {}", fault.reason),
        None => fault.reason.clone(),
    });
    let lines: Vec<String> = lines.collect();
    match (lines.is_empty(), is_there) {
        (false, _) => lines.join("\n"),
        (true, true) => format!("{path} is valid"),
        (true, false) => format!("there is no {path}; what is chosen without it is valid"),
    }
}
