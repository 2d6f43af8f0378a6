//! Models by the catalog's names, as a server finds them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use clap::Args;
use etcetera::BaseStrategy as _;
use loader::catalog::{Catalog, CatalogOptions, Entry, LinkPolicy};
use loader::pull::KNOWN;
use models::{Descriptor, Model};

/// Which models to measure.
#[derive(Args, Debug)]
pub struct Chosen {
    /// The folder of the models; by default the one that `dayfly pull` fills.
    #[arg(long)]
    models_dir: Option<PathBuf>,
    /// Names of models in it.
    #[arg(long, num_args = 1.., default_values = ["smollm2", "gemma3-270m", "minilm"])]
    models: Vec<String>,
}

impl Chosen {
    /// The entries that are meant, with the names that were asked for.
    ///
    /// # Errors
    /// When a name leads to no model.
    pub fn entries(&self) -> anyhow::Result<Vec<(String, Entry)>> {
        let folder = match &self.models_dir {
            Some(folder) => folder.clone(),
            None => etcetera::choose_base_strategy()?.data_dir().join("dayfly").join("models"),
        };
        let aliases: BTreeMap<String, String> =
            KNOWN.iter().map(|known| (known.alias.to_owned(), known.stem().to_owned())).collect();
        let catalog = Catalog::new(CatalogOptions { roots: vec![folder], aliases, links: LinkPolicy::Confined });
        let entry = |name: &String| catalog.resolve(name).map(|entry| (name.clone(), entry));
        self.models.iter().map(entry).collect::<Result<_, _>>().context("run `dayfly pull NAME` first")
    }
}

/// Opens `entry` as a cold start does that has its descriptor, or makes it where there is none yet.
///
/// # Errors
/// When the files are no model.
pub fn open(entry: &Entry, kept: &mut Option<Arc<Descriptor>>) -> anyhow::Result<Model> {
    let artifact = match kept {
        Some(kept) => entry.open_with_header(kept.identity(), Arc::clone(kept.header()))?,
        None => entry.open()?,
    };
    let descriptor = match kept.take() {
        Some(kept) if kept.identity() == artifact.identity() => kept,
        _ => Arc::new(Descriptor::of(&artifact, None)?),
    };
    *kept = Some(Arc::clone(&descriptor));
    Ok(Model::new(artifact, descriptor))
}
