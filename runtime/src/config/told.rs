//! What is effective, as a configuration file would say it, and from where each value is.
//!
//! Invariants: what is told is a valid file again, which chooses the same (but for the hashes of keys, which are not told);
//! every key of the file is told, or said to be unset. Tables whose keys an operator makes up (tenants, models, devices) are
//! told as the file has them. Deliberately absent: what the environment says that is no choice, such as keys and tokens.

mod values;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use toml::Value;

use self::values::{Values, path_value};
use super::file::Document;
use super::machine::Machine;
use super::source::Place;
use super::{Config, ConfigError, ConfigFile, Environment, Folders, Layer};

/// Stands for what is not shown.
const NOT_SHOWN: &str = "(not shown)";

/// A configuration, told.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    /// The file that was read.
    pub(crate) file: Option<PathBuf>,
    /// All settings, those of a table together.
    pub(crate) settings: Vec<Setting>,
}

/// One key.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Setting {
    /// Where it stands.
    pub(crate) table: Table,
    /// Its name there.
    pub(crate) key: String,
    /// `None` where nothing is said and there is no value for that.
    pub(crate) value: Option<Value>,
    /// Who says so.
    pub(crate) origin: Origin,
}

/// A table of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Table {
    /// `[a.b]`; none for the top.
    Named(Vec<String>),
    /// One `[[a.b]]`, counted from 0.
    Element(Vec<String>, usize),
}

/// Who says what a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    Default,
    /// This line of the file.
    File(usize),
    /// This variable.
    Environment(&'static str),
    /// This flag.
    Flag(&'static str),
}

impl Config {
    /// What [`Config::load`] would choose, told.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub(crate) fn told(flags: &Layer, file: Option<&Path>, environment: &Environment) -> Result<Told, ConfigError> {
        let folders = Folders::of_user()?;
        let found = Place::of(file, environment, &folders).read()?;
        let from_file = found.as_ref().map(ConfigFile::layer).transpose()?.unwrap_or_default();
        let layers = [flags.clone(), environment.layer()?, from_file.clone()];
        let mut config = Self::of(layers, &folders, &Machine::detect())?;
        // Here the environment wins elsewhere than in its layer.
        config.log = environment.log().and_then(|text| text.parse().ok()).or(config.log);
        let document = found.as_ref().and_then(|file| file.document().ok());
        let written = found.as_ref().map(ConfigFile::table).transpose()?.unwrap_or_default();
        let mut telling = Telling { flags, environment, document, settings: Vec::new() };
        telling.known(&[], config.at_the_top());
        for (table, values) in config.in_tables(&written) {
            telling.known(&[table], values);
        }
        for (alias, model) in &config.aliases {
            telling.one(&["aliases"], alias, Some(model.as_str().into()));
        }
        for (model, template) in from_file.chat_templates.iter().flatten() {
            telling.one(&["chat_templates"], model, Some(path_value(template)));
        }
        telling.rest(&[], &written);
        let settings = telling.settings;
        Ok(Told { file: found.as_ref().map(|file| file.path().to_owned()), settings })
    }
}

/// Collects settings.
struct Telling<'a> {
    flags: &'a Layer,
    environment: &'a Environment,
    document: Option<Document<'a>>,
    settings: Vec<Setting>,
}

impl Telling<'_> {
    fn known(&mut self, table: &[&str], values: Values) {
        values.into_iter().for_each(|(key, value)| self.one(table, key, value));
    }

    fn one(&mut self, table: &[&str], key: &str, value: Option<Value>) {
        let origin = self.origin(&[table, &[key]].concat());
        let table = Table::Named(table.iter().map(|&part| part.to_owned()).collect());
        self.settings.push(Setting { table, key: key.to_owned(), value, origin });
    }

    fn origin(&self, keys: &[&str]) -> Origin {
        if let [key] = keys {
            match *key {
                "models_dirs" if self.flags.models_dirs.is_some() => return Origin::Flag("--models-dir"),
                "pull" if self.flags.pull.is_some() => return Origin::Flag("--no-pull"),
                _ => {}
            }
            if let Some(variable) = self.environment.variable_of(key) {
                return Origin::Environment(variable);
            }
        }
        self.document.as_ref().and_then(|document| document.line_of(keys)).map_or(Origin::Default, Origin::File)
    }

    /// Whatever the file has in this table that is not told yet.
    fn rest(&mut self, path: &[&str], written: &toml::Table) {
        let table = Table::Named(path.iter().map(|&part| part.to_owned()).collect());
        let is_told = |told: &[Setting], key: &str| told.iter().any(|one| one.table == table && one.key == *key);
        let inner =
            |value: &Value| value.is_table() || value.as_array().is_some_and(|all| all.iter().any(Value::is_table));
        for (key, value) in written.iter().filter(|(_, value)| !inner(value)) {
            if !is_told(&self.settings, key) {
                self.one(path, key, Some(value.clone()));
            }
        }
        for (key, value) in written {
            let path = [path, &[key.as_str()]].concat();
            match value {
                Value::Table(table) => self.rest(&path, table),
                Value::Array(elements) if inner(value) => self.elements(&path, elements),
                _ => {}
            }
        }
    }

    fn elements(&mut self, path: &[&str], elements: &[Value]) {
        for (index, element) in elements.iter().enumerate() {
            for (key, value) in element.as_table().into_iter().flatten() {
                let number = index.to_string();
                let origin = self.origin(&[path, &[&number, key]].concat());
                let is_secret = path == ["keys"] && key == "sha256";
                let value = Some(if is_secret { NOT_SHOWN.into() } else { value.clone() });
                let table = Table::Element(path.iter().map(|&part| part.to_owned()).collect(), index);
                self.settings.push(Setting { table, key: key.clone(), value, origin });
            }
        }
    }
}

impl Told {
    /// A configuration file, with each value's origin behind it.
    pub(crate) fn to_toml(&self) -> String {
        let mut ordered: Vec<&Setting> = Vec::with_capacity(self.settings.len());
        for setting in &self.settings {
            // What a table has of its own stands together, wherever it was told.
            let behind = ordered.iter().rposition(|one| one.table == setting.table);
            ordered.insert(behind.map_or(ordered.len(), |at| at + 1), setting);
        }
        let (mut text, mut table) = (String::new(), &Table::Named(Vec::new()));
        for setting in ordered {
            if setting.table != *table {
                table = &setting.table;
                text.push_str(&table.header());
            }
            let origin = self.origin_text(setting.origin);
            // Writing to a string does not fail.
            let _ = match &setting.value {
                Some(value) => writeln!(text, "{:<48} # {origin}", format!("{} = {value}", key_text(&setting.key))),
                None => writeln!(text, "{:<48} # {origin}", format!("# {} is not set", setting.key)),
            };
        }
        text.truncate(text.trim_end().len());
        text
    }

    /// Where a value is from, for people.
    pub(crate) fn origin_text(&self, origin: Origin) -> String {
        match (origin, &self.file) {
            (Origin::Default, _) => "default".to_owned(),
            (Origin::File(line), Some(path)) => format!("{}:{line}", path.display()),
            (Origin::File(line), None) => format!("line {line}"),
            (Origin::Environment(name) | Origin::Flag(name), _) => name.to_owned(),
        }
    }
}

impl Table {
    /// Its name, with those of the tables around it.
    pub(crate) fn path(&self) -> &[String] {
        match self {
            Self::Named(path) | Self::Element(path, _) => path,
        }
    }

    fn header(&self) -> String {
        let path: Vec<String> = self.path().iter().map(|part| key_text(part)).collect();
        match self {
            Self::Named(_) => format!("\n[{}]\n", path.join(".")),
            Self::Element(..) => format!("\n[[{}]]\n", path.join(".")),
        }
    }
}

/// A key as TOML has it: bare where it may be.
fn key_text(key: &str) -> String {
    let is_bare = |character: char| character.is_ascii_alphanumeric() || "-_".contains(character);
    if !key.is_empty() && key.chars().all(is_bare) { key.to_owned() } else { Value::from(key).to_string() }
}

#[cfg(test)]
mod tests;
