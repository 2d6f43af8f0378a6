//! `dayfly rm`
//!
//! A server that runs deletes of its own models directories, so that it knows at once; what was in use when it was looked at
//! is not deleted. Where none
//! runs, and where `--models-dir` names the directories, the files are deleted from here. Only what a models directory
//! itself holds ever is: the catalog deletes no link and nothing outside. Deliberately absent: deleting what is in use;
//! `dayfly stop` comes first.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::os::unix::fs::MetadataExt as _;

use clap::Args;
use loader::catalog::{Catalog, Entry};
use serde_json::{Value, json};

use super::failure::Failure;
use super::flags::{Context, block_on};
use super::output::{self, Format};
use super::{complete, names, ps, reach};
use crate::client::{Client, ClientError};
use crate::config::{Config, Layer, bytes_text};

/// Delete models from the models directory
///
/// A running server is asked to, and what it uses is not deleted. With --models-dir those directories alone are looked at,
/// and no server is asked.
#[derive(Args, Debug)]
pub(super) struct Rm {
    /// Names or aliases
    #[arg(value_name = "MODEL", required = true, add = complete::models_here())]
    models: Vec<String>,
    /// Do not ask first
    #[arg(long, short)]
    yes: bool,
}

/// One model that is to go.
#[derive(Clone, Debug)]
struct Doomed {
    name: String,
    size_bytes: u64,
    /// What there is to say before.
    notes: Vec<String>,
}

impl Rm {
    pub(super) fn run(&self, context: &Context) -> Result<(), Failure> {
        let config = context.config(Layer::default())?;
        let asks_server = context.global.models_dirs.is_empty() || context.server().is_some();
        let removed = block_on(async {
            let running = if asks_server { reach::running(context, &config).await.map(Some) } else { Ok(None) };
            match running {
                Ok(Some(client)) => self.by_server(&config, &client).await,
                Ok(None) => self.here(&config),
                Err(Failure::NoServer(_)) if context.server().is_none() => self.here(&config),
                Err(failure) => Err(failure),
            }
        })?;
        match context.format() {
            Format::Json => {
                let told = |one: &Doomed| json!({ "name": one.name, "size_bytes": one.size_bytes });
                output::print_json(&json!({ "removed": removed.iter().map(told).collect::<Vec<_>>() }))
            }
            Format::Text => removed.iter().try_for_each(|one| {
                output::print(format_args!("{} is deleted ({})", one.name, bytes_text(one.size_bytes)))
            }),
        }
    }

    /// Has the server delete them. None is if one is in use or is not there.
    async fn by_server(&self, config: &Config, client: &Client) -> Result<Vec<Doomed>, Failure> {
        let states = client.get("/models").await?;
        let known = states["data"].as_array().map(Vec::as_slice).unwrap_or_default();
        let mut doomed: Vec<Doomed> = Vec::new();
        for asked in &self.models {
            let name = config.aliases.get(asked).unwrap_or(asked);
            let Some(model) = known.iter().find(|model| model["id"] == *name || model["id"] == *asked) else {
                let hint = names::hint(asked, &ps::names(client).await?);
                return Err(Failure::NotFound(anyhow::anyhow!("no model is called {asked:?}{hint}")));
            };
            let name = model["id"].as_str().unwrap_or(name);
            refuse_used(name, model)?;
            if doomed.iter().all(|other| other.name != name) {
                let size_bytes = model["size_bytes"].as_u64().unwrap_or(0);
                doomed.push(Doomed { name: name.to_owned(), size_bytes, notes: vec![format!("by {}", client.url())] });
            }
        }
        self.confirm(&doomed)?;
        for (index, one) in doomed.iter().enumerate() {
            let answer = client.delete_named("/api/delete", &json!({ "model": one.name })).await;
            if answer.is_err() {
                tell_gone(&doomed[..index]);
            }
            match answer {
                Err(ClientError::Refused { status, message, .. }) if status == hyper::StatusCode::NOT_FOUND => {
                    return Err(Failure::NotFound(anyhow::anyhow!(message)));
                }
                answer => answer?,
            }
        }
        Ok(doomed)
    }

    /// Deletes them from the configured directories. None is if one is not there.
    fn here(&self, config: &Config) -> Result<Vec<Doomed>, Failure> {
        let catalog = config.catalog();
        let mut doomed: Vec<Doomed> = Vec::new();
        for asked in &self.models {
            let entry = catalog.resolve(asked).map_err(|error| names::not_resolved(error, asked, &catalog))?;
            if doomed.iter().all(|other| other.name != entry.name) {
                let notes = notes(&catalog, &entry);
                doomed.push(Doomed { name: entry.name, size_bytes: entry.size_bytes, notes });
            }
        }
        self.confirm(&doomed)?;
        for (index, one) in doomed.iter().enumerate() {
            catalog.remove(&one.name).map_err(|error| {
                tell_gone(&doomed[..index]);
                Failure::Failed(error.into())
            })?;
        }
        Ok(doomed)
    }

    /// Asks whoever sits at the terminal.
    ///
    /// # Errors
    /// [`Failure::Usage`] where nobody does and `--yes` was not said; [`Failure::Failed`] for a no.
    fn confirm(&self, doomed: &[Doomed]) -> Result<(), Failure> {
        if self.yes {
            return Ok(());
        }
        if !io::stdin().is_terminal() {
            return Err(Failure::Usage(anyhow::anyhow!(
                "nobody can be asked here: say --yes to delete without asking"
            )));
        }
        for one in doomed {
            output::note(format_args!("{} ({})", one.name, bytes_text(one.size_bytes)));
            one.notes.iter().for_each(|note| output::note(format_args!("  {note}")));
        }
        let mut stderr = io::stderr();
        // Who cannot see the question does not answer it by yes.
        let _ = write!(stderr, "delete? [y/N] ").and_then(|()| stderr.flush());
        let mut answer = String::new();
        io::stdin().lock().read_line(&mut answer).map_err(|error| Failure::Failed(error.into()))?;
        match answer.trim() {
            "y" | "Y" | "yes" => Ok(()),
            _ => Err(Failure::Failed(anyhow::anyhow!("nothing is deleted"))),
        }
    }
}

/// Of several, what went before the next could not.
fn tell_gone(gone: &[Doomed]) {
    gone.iter().for_each(|one| output::note(format_args!("{} is deleted", one.name)));
}

/// A model that requests use, that is on its way in or that is to stay is not deleted.
fn refuse_used(name: &str, model: &Value) -> Result<(), Failure> {
    let why = match (model["leases"].as_u64().unwrap_or(0), ps::status(model)) {
        (1, _) => "a request uses it".to_owned(),
        (leases @ 2.., _) => format!("{leases} requests use it"),
        (0, "loading") => "it is being loaded".to_owned(),
        _ if model["pinned"] == true => format!("it is pinned; `dayfly unpin {name}` first"),
        _ => return Ok(()),
    };
    Err(Failure::Failed(anyhow::anyhow!("{name} is not deleted: {why}")))
}

/// What deleting `entry` does not free, and what it changes beside.
fn notes(catalog: &Catalog, entry: &Entry) -> Vec<String> {
    let mut notes = vec![entry.path.display().to_string()];
    let aliases: Vec<&str> =
        catalog.aliases().iter().filter(|(_, stem)| **stem == entry.name).map(|(alias, _)| alias.as_str()).collect();
    if !aliases.is_empty() {
        notes.push(format!("also called {}", aliases.join(", ")));
    }
    let files = entry.placed_files().unwrap_or_default();
    let linked = files.iter().filter(|(_, path)| path.metadata().is_ok_and(|metadata| metadata.nlink() > 1)).count();
    if linked > 0 {
        notes.push(format!("{linked} of its files have another name as well, and keep their place on the disk"));
    }
    for other in catalog.shadowed().iter().filter(|other| other.name == entry.name) {
        notes.push(format!("then {} is what is called so", other.ignored.display()));
    }
    notes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_use_is_refused_by_its_reason() {
        let refused = |model: Value| refuse_used("m", &model).map_err(|failure| failure.why().unwrap_or_default());
        assert!(refused(json!({ "status": { "value": "unloaded" } })).is_ok());
        assert!(refused(json!({ "status": { "value": "loaded" }, "leases": 0, "pinned": false })).is_ok());
        for (model, word) in [
            (json!({ "leases": 1, "status": { "value": "loaded" } }), "a request uses it"),
            (json!({ "leases": 3, "status": { "value": "loaded" } }), "3 requests"),
            (json!({ "leases": 0, "status": { "value": "loading" } }), "loaded"),
            (json!({ "leases": 0, "status": { "value": "loaded" }, "pinned": true }), "unpin m"),
        ] {
            let why = refused(model.clone()).unwrap_err();
            assert!(why.contains(word), "{model}: {why}");
        }
    }

    #[test]
    fn files_with_other_names_and_models_behind_are_told() {
        let folder = tempfile::tempdir().unwrap();
        let roots = [folder.path().join("a"), folder.path().join("b")];
        for root in &roots {
            std::fs::create_dir(root).unwrap();
            std::fs::write(root.join("m.gguf"), "x").unwrap();
        }
        std::fs::hard_link(roots[0].join("m.gguf"), folder.path().join("kept")).unwrap();
        let options = loader::catalog::CatalogOptions {
            roots: roots.to_vec(),
            aliases: [("short".to_owned(), "m".to_owned())].into(),
            links: loader::catalog::LinkPolicy::Confined,
        };
        let catalog = Catalog::new(options);
        let told = notes(&catalog, &catalog.resolve("short").unwrap()).join("\n");
        for word in ["a/m.gguf", "also called short", "1 of its files", "b/m.gguf is what is called so"] {
            assert!(told.contains(word), "{word}: {told}");
        }
    }
}
