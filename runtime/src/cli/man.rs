//! `dayfly man`
//!
//! The pages are made from the command line itself, by the binary that a build has made: a build script could not, since it
//! is compiled before what it would describe. `.ci/package` runs `dayfly man --dir DIR` and `dayfly completions SHELL` after
//! the build, and puts what comes of that where packages install it.
//!
//! Invariant: `mandoc -Tlint` has nothing to say of them.

mod roff;

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use chrono::{DateTime, Utc};
use clap::{Args, Command};
use clap_mangen::Man as Page;

use super::failure::Failure;
use super::{CONFIGURATION, EXIT, complete, examples, names, output, variables};

/// Print a manual page: of dayfly, or of one of its commands
///
/// dayfly man | man -l - shows it.
#[derive(Args, Debug)]
pub(super) struct Man {
    /// The command, such as run or key create
    #[arg(conflicts_with = "dir", add = complete::commands())]
    command: Vec<String>,
    /// Write the pages of dayfly and of every command into this folder
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

impl Man {
    pub(super) fn run(&self) -> Result<(), Failure> {
        // What `help` knows is in each page.
        let mut command = super::command().disable_help_subcommand(true);
        command.build();
        if let Some(dir) = &self.dir {
            std::fs::create_dir_all(dir).with_context(|| format!("{} cannot be made", dir.display()))?;
            return Ok(write_all(&command, "", dir)?);
        }
        let (mut found, mut words) = (&command, Vec::new());
        for word in &self.command {
            found = found.find_subcommand(word).ok_or_else(|| {
                let known: Vec<&str> = found.get_subcommands().map(Command::get_name).collect();
                Failure::Usage(anyhow::anyhow!("there is no command {word:?}{}", names::hint(word, &known)))
            })?;
            words.push(found.get_name());
        }
        output::print(page(found, &words.join(" "))?.trim_end())
    }
}

/// Writes the page of `command`, which `words` call, and of those in it.
fn write_all(command: &Command, words: &str, dir: &Path) -> anyhow::Result<()> {
    let path = dir.join(Page::new(command.clone()).get_filename());
    std::fs::write(&path, page(command, words)?).with_context(|| format!("{} cannot be written", path.display()))?;
    for sub in command.get_subcommands() {
        write_all(sub, format!("{words} {}", sub.get_name()).trim_start(), dir)?;
    }
    Ok(())
}

/// The page of `command`, which `words` call; none call dayfly itself.
fn page(command: &Command, words: &str) -> anyhow::Result<String> {
    let title = command.get_display_name().unwrap_or_else(|| command.get_name()).to_uppercase();
    let page = Page::new(command.clone())
        .title(title)
        .date(built())
        .source(concat!("dayfly ", env!("CARGO_PKG_VERSION")))
        .manual("dayfly's manual");
    let mut made = Vec::new();
    page.render_title(&mut made)?;
    page.render_name_section(&mut made)?;
    page.render_synopsis_section(&mut made)?;
    page.render_description_section(&mut made)?;
    page.render_options_section(&mut made)?;
    if command.has_subcommands() {
        page.render_subcommands_section(&mut made)?;
    }
    let mut text = roff::tidied(&String::from_utf8_lossy(&made));
    if let Some(lines) = examples::lines(words) {
        text.push_str(&roff::literal("EXAMPLES", &lines.join("\n")));
    }
    if words.is_empty() {
        text.push_str(&roff::literal("CONFIGURATION", CONFIGURATION));
        text.push_str(&roff::literal("ENVIRONMENT", &variables()));
        text.push_str(&roff::literal("EXIT STATUS", EXIT));
    } else {
        text.push_str(&roff::literal("SEE ALSO", "dayfly(1) has configuration, environment and exit statuses."));
    }
    Ok(text)
}

/// The day on which this binary was built, as its file tells; nothing where that is not known.
fn built() -> String {
    let modified = std::env::current_exe().and_then(|path| path.metadata()).and_then(|metadata| metadata.modified());
    modified.map(|time| DateTime::<Utc>::from(time).format("%Y-%m-%d").to_string()).unwrap_or_default()
}
