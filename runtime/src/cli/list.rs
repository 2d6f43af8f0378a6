//! `dayfly list`

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::Args;
use loader::catalog::{Catalog, Entry, EntryKind};
use loader::pull::KNOWN;
use serde_json::{Value, json};

use super::failure::Failure;
use super::flags::Context;
use super::output::{self, Column, Format, table};
use crate::config::{Layer, bytes_text};

/// List the models of the models directories
#[derive(Args, Debug)]
pub(super) struct List {}

impl List {
    pub(super) fn run(&self, context: &Context) -> Result<(), Failure> {
        let config = context.config(Layer::default())?;
        let catalog = config.catalog();
        let entries = catalog.list();
        if context.format() == Format::Json {
            let models: Vec<Value> = entries.iter().map(|entry| described(entry, &catalog)).collect();
            return output::print_json(&json!({ "models": models, "models_dirs": config.models_dirs }));
        }
        if entries.is_empty() {
            let folders: Vec<String> = config.models_dirs.iter().map(|folder| folder.display().to_string()).collect();
            let known: Vec<&str> = KNOWN.iter().map(|known| known.alias).collect();
            output::note(format_args!(
                "no models in {}; `dayfly pull NAME` knows {}",
                folders.join(", "),
                known.join(", ")
            ));
        }
        let columns = [Column::Left("NAME"), Column::Right("SIZE"), Column::Left("MODIFIED"), Column::Left("ALIAS")];
        output::print(table(&columns, entries.iter().map(|entry| row(entry, &catalog))))
    }
}

fn described(entry: &Entry, catalog: &Catalog) -> Value {
    let modified = modified(entry).and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    json!({
        "name": entry.name,
        "aliases": aliases(entry, catalog),
        "size_bytes": entry.size_bytes,
        "modified_unix_s": modified.map(|time| time.as_secs()),
        "path": entry.path,
        "problem": problem(entry),
    })
}

fn row(entry: &Entry, catalog: &Catalog) -> Vec<String> {
    let ago = modified(entry).map(|time| SystemTime::now().duration_since(time).unwrap_or_default());
    vec![
        entry.name.clone(),
        problem(entry).map_or_else(|| bytes_text(entry.size_bytes).to_string(), Into::into),
        ago.map_or("-".into(), ago_text),
        aliases(entry, catalog).join(", "),
    ]
}

fn aliases<'a>(entry: &Entry, catalog: &'a Catalog) -> Vec<&'a str> {
    catalog.aliases().iter().filter(|(_, stem)| **stem == entry.name).map(|(alias, _)| alias.as_str()).collect()
}

fn problem(entry: &Entry) -> Option<&'static str> {
    match entry.kind {
        EntryKind::File => None,
        EntryKind::NotAFile => Some("no file"),
        EntryKind::LinkLeavesRoot => Some("link leads out"),
        EntryKind::Missing => Some("file is missing"),
    }
}

fn modified(entry: &Entry) -> Option<SystemTime> {
    std::fs::metadata(&entry.path).and_then(|metadata| metadata.modified()).ok()
}

fn ago_text(ago: Duration) -> String {
    const MINUTE: u64 = 60;
    const HOUR: u64 = 60 * MINUTE;
    const DAY: u64 = 24 * HOUR;
    let (count, unit) = match ago.as_secs() {
        seconds if seconds >= 2 * DAY => (seconds / DAY, "days"),
        seconds if seconds >= 2 * HOUR => (seconds / HOUR, "hours"),
        seconds if seconds >= 2 * MINUTE => (seconds / MINUTE, "minutes"),
        seconds => (seconds, "seconds"),
    };
    format!("{count} {unit} ago")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_shown_in_the_largest_unit_that_tells_something() {
        let shown = |seconds| ago_text(Duration::from_secs(seconds));
        assert_eq!(shown(0), "0 seconds ago");
        assert_eq!(shown(119), "119 seconds ago");
        assert_eq!(shown(7199), "119 minutes ago");
        assert_eq!(shown(86_400), "24 hours ago");
        assert_eq!(shown(864_000), "10 days ago");
    }
}
