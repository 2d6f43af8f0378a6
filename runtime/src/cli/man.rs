//! `dayfly man`
//!
//! The pages are made from the command line itself, by the binary that a build has made: a build script could not, since it
//! is compiled before what it would describe. `.ci/package` runs `dayfly man --dir DIR` and `dayfly completions SHELL` after
//! the build, and puts what comes of that where packages install it.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, CommandFactory as _};
use clap_mangen::Man as Page;

use super::failure::Failure;
use super::{Cli, names, output};

/// Print a manual page: of dayfly, or of one of its commands
///
/// dayfly man | man -l - shows it.
#[derive(Args, Debug)]
pub(super) struct Man {
    /// The command, such as run or key create
    #[arg(conflicts_with = "dir")]
    command: Vec<String>,
    /// Write the pages of dayfly and of every command into this folder
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

impl Man {
    pub(super) fn run(&self) -> Result<(), Failure> {
        // What `help` knows is in each page.
        let mut command = Cli::command().disable_help_subcommand(true);
        if let Some(dir) = &self.dir {
            let written = std::fs::create_dir_all(dir).and_then(|()| clap_mangen::generate_to(command, dir));
            return Ok(written.with_context(|| format!("{} cannot be written", dir.display()))?);
        }
        command.build();
        let mut found = &command;
        for word in &self.command {
            found = found.find_subcommand(word).ok_or_else(|| {
                let known: Vec<&str> = found.get_subcommands().map(clap::Command::get_name).collect();
                Failure::Usage(anyhow::anyhow!("there is no command {word:?}{}", names::hint(word, &known)))
            })?;
        }
        let mut page = Vec::new();
        Page::new(found.clone()).render(&mut page).map_err(|error| Failure::Failed(error.into()))?;
        output::print(String::from_utf8_lossy(&page).trim_end())
    }
}
