//! `dayfly config`: whether the configuration is valid, and what it comes to.

mod check;
mod show;

use clap::Subcommand;

use super::failure::Failure;
use super::flags::Context;

/// Check the configuration, or show what is effective and why
#[derive(Debug, Subcommand)]
pub(super) enum ConfigCommand {
    Check(check::Check),
    Show(show::Show),
}

impl ConfigCommand {
    pub(super) fn run(&self, context: &Context) -> Result<(), Failure> {
        match self {
            Self::Check(check) => check.run(context),
            Self::Show(show) => show.run(context),
        }
    }
}
