//! The configuration file: what it says, all that is wrong with it, and on which lines.
//!
//! A key that is not known, or has a value that it cannot have, is noted and left out, and what remains is looked at again,
//! so that one look tells of everything. Deliberately absent: what the values mean together (see [`super::check`]).

use std::fmt;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::Deserialize as _;
use serde::Serialize;
use toml::Spanned;
use toml::de::{DeTable, DeValue, Deserializer, Error};

use super::{ConfigError, Layer};
use crate::limits::{CONFIG_BYTES_MAX, CONFIG_FAULTS_MAX};
use crate::nearest::{hint, nearest};

/// A file that was read.
#[derive(Clone, Debug)]
pub(crate) struct ConfigFile {
    path: PathBuf,
    text: String,
}

/// What is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Fault {
    /// Of the file, from 1; none for what no line of it says.
    pub(crate) line: Option<usize>,
    /// With all tables that it is in; none for what is no TOML.
    pub(crate) key: Option<String>,
    /// Why.
    pub(crate) reason: String,
    /// The key that was meant, as it seems.
    pub(crate) nearest: Option<String>,
}

/// All that is wrong with a file.
#[derive(Clone, Debug)]
pub(crate) struct Faults {
    path: PathBuf,
    pub(super) all: Vec<Fault>,
}

/// A file's keys and values that can be understood, with their places.
#[derive(Clone, Debug)]
pub(super) struct Document<'a> {
    table: Spanned<DeTable<'a>>,
    text: &'a str,
}

/// What was left out of a document.
struct LeftOut {
    keys: Vec<String>,
    /// Where the innermost element of an array begins that it was in.
    element: Option<usize>,
}

impl fmt::Display for Faults {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, fault) in self.all.iter().enumerate() {
            let (path, between) = (self.path.display(), if index > 0 { "\n" } else { "" });
            match fault.line {
                Some(line) => write!(formatter, "{between}{path}:{line}: {}", fault.reason)?,
                None => write!(formatter, "{between}{path}: {}", fault.reason)?,
            }
        }
        Ok(())
    }
}

impl Faults {
    /// One fault, of what no line of the file at `path` says.
    pub(super) fn of(path: &Path, reason: &str) -> Self {
        Self { path: path.into(), all: vec![Fault { line: None, key: None, reason: reason.into(), nearest: None }] }
    }
}

impl ConfigFile {
    /// Reads the file at `path`.
    ///
    /// # Errors
    /// [`ConfigError::Unreadable`], [`ConfigError::TooLarge`].
    pub(super) fn read(path: &Path) -> Result<Self, ConfigError> {
        let unreadable = |source| ConfigError::Unreadable { path: path.into(), source };
        if std::fs::metadata(path).map_err(unreadable)?.len() > CONFIG_BYTES_MAX {
            return Err(ConfigError::TooLarge { path: path.into() });
        }
        let text = std::fs::read_to_string(path).map_err(unreadable)?;
        Ok(Self { path: path.into(), text })
    }

    /// As [`ConfigFile::read`]; `None` where there is no such file.
    pub(super) fn read_if_there(path: &Path) -> Result<Option<Self>, ConfigError> {
        match Self::read(path) {
            Err(ConfigError::Unreadable { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
            read => read.map(Some),
        }
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// What it says.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`], with everything that is wrong.
    pub(super) fn layer(&self) -> Result<Layer, ConfigError> {
        let understood = self.document().and_then(|mut document| {
            let (layer, faults) = document.understand();
            if faults.is_empty() { Ok(layer) } else { Err(faults) }
        });
        understood.map(|layer| self.placed(layer)).map_err(|all| ConfigError::Invalid(self.faults(all)))
    }

    /// Its keys and values as they are written.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`] where it is no TOML, or a number is one that no table holds.
    pub(super) fn table(&self) -> Result<toml::Table, ConfigError> {
        toml::from_str(&self.text).map_err(|error: Error| ConfigError::Invalid(Faults::of(&self.path, error.message())))
    }

    /// Its keys and values, with their places.
    ///
    /// # Errors
    /// Why it is no TOML.
    pub(super) fn document(&self) -> Result<Document<'_>, Vec<Fault>> {
        let (table, errors) = DeTable::parse_recoverable(&self.text);
        let document = Document { table, text: &self.text };
        if errors.is_empty() {
            return Ok(document);
        }
        let mut faults: Vec<Fault> = errors.iter().map(|error| document.fault(error, None)).collect();
        faults.sort_by_key(|fault| fault.line);
        faults.truncate(CONFIG_FAULTS_MAX);
        Err(faults)
    }

    /// These faults, as the file's.
    pub(super) fn faults(&self, all: Vec<Fault>) -> Faults {
        Faults { path: self.path.clone(), all }
    }

    /// Relative paths of the file are relative to its folder.
    pub(super) fn placed(&self, layer: Layer) -> Layer {
        layer.relative_to(self.path.parent().unwrap_or(Path::new("")))
    }
}

impl Document<'_> {
    /// What it says, and what had to be left out of it.
    pub(super) fn understand(&mut self) -> (Layer, Vec<Fault>) {
        let (mut faults, mut faulty_elements) = (Vec::new(), Vec::new());
        while faults.len() < CONFIG_FAULTS_MAX {
            let error = match Layer::deserialize(Deserializer::from(self.table.clone())) {
                Ok(layer) => return (layer, faults),
                Err(error) => error,
            };
            let left_out = error.span().and_then(|span| leave_out(self.table.get_mut(), &span));
            let Some(LeftOut { keys, element }) = left_out else {
                faults.push(self.fault(&error, None));
                break;
            };
            // What is missing for having been left out is no fault of its own.
            let is_consequence = error.message().starts_with("missing field")
                && element.is_some_and(|element| faulty_elements.contains(&element));
            faulty_elements.extend(element);
            if !is_consequence {
                faults.push(self.fault(&error, Some(keys.join("."))));
            }
        }
        (Layer::default(), faults)
    }

    /// Leaves out what stands at `keys`, or the nearest table around it that is there; its line, and the key.
    pub(super) fn leave_out(&mut self, keys: &[String]) -> Option<(usize, String)> {
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        let span = place(self.table.get_ref(), &keys)?;
        let LeftOut { keys, .. } = leave_out(self.table.get_mut(), &span)?;
        Some((self.line_at(span.start), keys.join(".")))
    }

    /// The line of the key at `keys`; elements of arrays are told by their number.
    pub(super) fn line_of(&self, keys: &[&str]) -> Option<usize> {
        let is_there = found(self.table.get_ref(), keys);
        is_there.map(|span| self.line_at(span.start))
    }

    fn line_at(&self, offset: usize) -> usize {
        let before = self.text.as_bytes().iter().take(offset);
        1 + before.filter(|byte| **byte == b'\n').count()
    }

    fn fault(&self, error: &Error, key: Option<String>) -> Fault {
        let line = error.span().map(|span| self.line_at(span.start));
        let message = error.message();
        let Some((unknown, known)) = unknown_key(message) else {
            let reason = match &key {
                Some(key) if !message.starts_with("missing field") => format!("{key}: {message}"),
                _ => message.to_owned(),
            };
            return Fault { line, key, reason, nearest: None };
        };
        let near = hint(unknown, &known);
        let reason = match near.is_empty() {
            true => format!("the key {unknown:?} is not known; here are known: {}", known.join(", ")),
            false => format!("the key {unknown:?} is not known{near}"),
        };
        let nearest = nearest(unknown, &known).first().map(|&name| name.to_owned());
        Fault { line, key, reason, nearest }
    }
}

/// The key that is not known, and those that are, of what serde says so.
pub(super) fn unknown_key(message: &str) -> Option<(&str, Vec<&str>)> {
    let mut quoted = message.strip_prefix("unknown field ")?.split('`').skip(1).step_by(2);
    Some((quoted.next()?, quoted.collect()))
}

/// Leaves out the innermost entry, or element of an array, whose key or value holds the beginning of `span`.
fn leave_out(table: &mut DeTable<'_>, span: &Range<usize>) -> Option<LeftOut> {
    for (key, value) in table.iter_mut() {
        if let Some(LeftOut { mut keys, element }) = leave_out_within(value, span) {
            keys.insert(0, key.get_ref().to_string());
            return Some(LeftOut { keys, element });
        }
    }
    let mut entries = table.iter();
    let is_it = |span_of: Range<usize>| span_of.contains(&span.start);
    let key = entries.find(|(key, value)| is_it(key.span()) || is_it(value.span())).map(|(key, _)| key.clone())?;
    table.remove(&key)?;
    Some(LeftOut { keys: vec![key.get_ref().to_string()], element: None })
}

fn leave_out_within(value: &mut Spanned<DeValue<'_>>, span: &Range<usize>) -> Option<LeftOut> {
    match value.get_mut() {
        DeValue::Table(table) => leave_out(table, span),
        DeValue::Array(array) => {
            for (index, element) in array.iter_mut().enumerate() {
                let begins = element.span().start;
                if let Some(LeftOut { mut keys, element }) = leave_out_within(element, span) {
                    keys.insert(0, index.to_string());
                    return Some(LeftOut { keys, element: element.or(Some(begins)) });
                }
                if element.span().contains(&span.start) {
                    let rest = array.clone().into_iter().enumerate();
                    *array = rest.filter(|(other, _)| *other != index).map(|(_, element)| element).collect();
                    return Some(LeftOut { keys: vec![index.to_string()], element: Some(begins) });
                }
            }
            None
        }
        _ => None,
    }
}

/// Where the key at `keys` stands.
fn found(table: &DeTable<'_>, keys: &[&str]) -> Option<Range<usize>> {
    let (first, rest) = keys.split_first()?;
    let (key, value) = table.iter().find(|(key, _)| key.get_ref() == first)?;
    if rest.is_empty() { Some(key.span()) } else { found_within(value.get_ref(), rest) }
}

fn found_within(value: &DeValue<'_>, keys: &[&str]) -> Option<Range<usize>> {
    match (value, keys) {
        (DeValue::Table(table), _) => found(table, keys),
        (DeValue::Array(array), [index]) => Some(array.get(index.parse::<usize>().ok()?)?.span()),
        (DeValue::Array(array), [index, rest @ ..]) => {
            found_within(array.get(index.parse::<usize>().ok()?)?.get_ref(), rest)
        }
        _ => None,
    }
}

/// Where the key at `keys` stands, or the nearest one above that is there.
fn place(table: &DeTable<'_>, keys: &[&str]) -> Option<Range<usize>> {
    (1..=keys.len()).rev().find_map(|depth| found(table, &keys[..depth]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(text: &str) -> Vec<(Option<usize>, String, Option<String>)> {
        let file = ConfigFile { path: "f.toml".into(), text: text.into() };
        let all = match file.layer() {
            Ok(_) => Vec::new(),
            Err(ConfigError::Invalid(faults)) => faults.all,
            Err(other) => panic!("{other}"),
        };
        all.into_iter().map(|fault| (fault.line, fault.key.unwrap_or_default(), fault.nearest)).collect()
    }

    #[test]
    fn everything_that_is_wrong_is_told_at_once_with_its_line() {
        let text = "listne = '127.0.0.1:1'\nthreads = 0\nkeep_alive = 'soon'\n\n[pool]\nlock = 'yes'\nbusy_turn = '1s'\n\
                    [tenants.a]\nwieght = 2\n[[keys]]\ntenant = 5\n[[keys]]\nscopes = ['admn']\n";
        let found = faults(text);
        let at =
            |key: &str| found.iter().find(|(_, found, _)| found == key).unwrap_or_else(|| panic!("{key}: {found:?}"));
        assert_eq!(at("listne"), &(Some(1), "listne".into(), Some("listen".into())));
        assert_eq!((at("threads").0, at("keep_alive").0, at("pool.lock").0), (Some(2), Some(3), Some(6)));
        assert_eq!(at("pool.busy_turn"), &(Some(7), "pool.busy_turn".into(), Some("busy_turn_max".into())));
        assert_eq!(at("tenants.a.wieght"), &(Some(9), "tenants.a.wieght".into(), Some("weight".into())));
        assert_eq!(at("keys.0.tenant").0, Some(11));
        assert_eq!(faults(""), []);
    }

    #[test]
    fn what_is_no_toml_is_told_by_its_line() {
        let found = faults("threads = 1\nlisten = \n[pool\n");
        assert!(found.len() >= 2 && found[0].0 == Some(2), "{found:?}");
        assert_eq!(faults("threads = 1\nthreads = 2\n")[0].0, Some(2));
    }

    #[test]
    fn no_more_faults_are_told_than_anybody_reads() {
        let text: String = (0..2 * CONFIG_FAULTS_MAX).map(|number| format!("no{number} = 1\n")).collect();
        assert_eq!(faults(&text).len(), CONFIG_FAULTS_MAX);
    }

    #[test]
    fn a_key_is_found_on_its_line() {
        let file = ConfigFile { path: PathBuf::new(), text: "a = 1\n[b]\nc = 2\n[[d]]\ne = 1\n[[d]]\ne = 2\n".into() };
        let document = file.document().unwrap();
        for (keys, line) in [(&["a"][..], 1), (&["b", "c"], 3), (&["d", "0", "e"], 5), (&["d", "1", "e"], 7)] {
            assert_eq!(document.line_of(keys), Some(line), "{keys:?}");
        }
        assert_eq!((document.line_of(&["x"]), document.line_of(&["d", "2", "e"])), (None, None));
    }
}
