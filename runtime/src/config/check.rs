//! All that is wrong with a configuration, at once: the file's keys and values, what they mean together, and the variables of
//! the environment over them.
//!
//! As in [`file`](super::file), what is wrong is noted and left out, and the rest looked at again. Deliberately absent: what
//! only a server finds out that starts, such as an address that is taken.

use std::path::{Path, PathBuf};

use ledger::keys::KeyStore;

use super::machine::Machine;
use super::source::Place;
use super::{Config, ConfigError, Environment, Fault, Folders, Layer, StoredKeys};
use crate::limits::CONFIG_FAULTS_MAX;

/// What a look at a configuration found.
#[derive(Clone, Debug)]
pub(crate) struct Checked {
    /// The file that was looked at, or that would be if it were there.
    pub(crate) path: PathBuf,
    /// Whether it is there.
    pub(crate) is_there: bool,
    /// What is wrong, in the order of the file's lines; first what no line says.
    pub(crate) faults: Vec<Fault>,
}

impl Config {
    /// Looks at `file`, or at the one that a server would read, as a part of everything that is chosen.
    ///
    /// # Errors
    /// [`ConfigError`] when it cannot be looked at.
    pub(crate) fn check(flags: &Layer, file: Option<&Path>, environment: &Environment) -> Result<Checked, ConfigError> {
        environment.warn_of_unknown();
        let folders = Folders::of_user()?;
        let place = Place::of(file, environment, &folders);
        let found = place.read()?;
        let (variables, mut faults) = variables(environment);
        faults.extend(environment.log_format().err().map(|error| of_error(&error)));
        faults.extend(environment.hf_token().err().map(|error| of_error(&error)));
        let Some(file) = found else {
            let layers = [flags.clone(), variables, Layer::default()];
            let checked = Self::of(layers, &folders, &Machine::detect()).and_then(Self::checked_for_strangers);
            faults.extend(checked.err().map(|error| of_error(&error)));
            return Ok(Checked { path: place.path, is_there: false, faults });
        };
        let mut document = match file.document() {
            Ok(document) => document,
            Err(of_file) => {
                faults.extend(of_file);
                return Ok(Checked { path: file.path().into(), is_there: true, faults });
            }
        };
        while faults.len() < CONFIG_FAULTS_MAX {
            let (layer, of_file) = document.understand();
            faults.extend(of_file);
            let layers = [flags.clone(), variables.clone(), file.placed(layer)];
            let error = match Self::of(layers, &folders, &Machine::detect()).and_then(Self::checked_for_strangers) {
                Ok(()) => break,
                Err(error) => error,
            };
            // What a variable chooses is no line's fault.
            let keys = error.keys();
            let is_of_variable = matches!(&keys[..], [key] if environment.variable_of(key).is_some());
            let left_out = if is_of_variable { None } else { document.leave_out(&keys) };
            let is_of_file = left_out.is_some();
            let (line, key) = left_out.map_or((None, None), |(line, key)| (Some(line), Some(key)));
            faults.push(Fault { line, key, ..of_error(&error) });
            if !is_of_file {
                break;
            }
        }
        if faults.is_empty() {
            faults.extend(file.table().err().map(|error| of_error(&error)));
        }
        faults.sort_by_key(|fault| fault.line);
        Ok(Checked { path: file.path().into(), is_there: true, faults })
    }

    /// As a server does that starts.
    fn checked_for_strangers(self) -> Result<(), ConfigError> {
        // A store that cannot be read is no fault of the configuration.
        let stored = KeyStore::open(&KeyStore::beside(&self.ledger)).ok().flatten();
        let has_keys = stored.and_then(|store| store.list().ok()).is_some_and(|keys| !keys.is_empty());
        self.check_strangers(if has_keys { StoredKeys::Some } else { StoredKeys::None })
    }
}

/// What the variables choose, and those of them that are not valid.
fn variables(environment: &Environment) -> (Layer, Vec<Fault>) {
    let (mut environment, mut faults) = (environment.clone(), Vec::new());
    loop {
        match environment.layer() {
            Ok(layer) => return (layer, faults),
            Err(error) => {
                let ConfigError::Variable { name, .. } = error else { return (Layer::default(), faults) };
                faults.push(of_error(&error));
                environment = environment.without(name);
            }
        }
    }
}

/// What no line of the file says.
fn of_error(error: &ConfigError) -> Fault {
    let sources = std::iter::successors(std::error::Error::source(error), |error| error.source());
    let reason = sources.fold(error.to_string(), |told, source| format!("{told}: {source}"));
    Fault { line: None, key: None, reason, nearest: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, variables: &[(&str, &str)]) -> Vec<(Option<usize>, String)> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("dayfly.toml");
        std::fs::write(&path, format!("ledger = 'l.sqlite'\n{text}")).unwrap();
        let environment = Environment::of(variables.iter().map(|(name, value)| (name.into(), value.into())));
        let checked = Config::check(&Layer::default(), Some(&path), &environment).unwrap();
        assert!(checked.is_there && checked.path == path);
        checked.faults.into_iter().map(|fault| (fault.line, fault.reason)).collect()
    }

    #[test]
    fn values_that_make_no_sense_together_are_told_beside_those_that_are_none() {
        let text = "threads = 0\nledger_retention = '1h'\n[pool]\npinned_percent_max = 101\nloads_parallel_max = 0\n\
                    [scheduler]\nqueue_max = 0\n[rates]\ncpu_hour = -1\n[devices.x]\nkind = 'candle-cpu'\n";
        let found = check(text, &[("DAYFLY_LISTEN", "8787"), ("DAYFLY_CTX_MAX", "none")]);
        let lines: Vec<Option<usize>> = found.iter().map(|(line, _)| *line).collect();
        assert_eq!(lines, [None, None, Some(2), Some(3), Some(5), Some(6), Some(8), Some(10), Some(11)], "{found:?}");
        for (index, word) in [(0, "DAYFLY_LISTEN"), (1, "DAYFLY_CTX_MAX"), (3, "less than a day"), (8, "memory")] {
            assert!(found[index].1.contains(word), "{word}: {found:?}");
        }
        assert_eq!(check("", &[]), []);
    }

    #[test]
    fn of_several_keys_the_one_that_is_wrong_is_told() {
        let hash = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
        let text = format!(
            "[[keys]]\ntenant = 'a'\nsha256 = '{hash}'\n[[keys]]\ntenant = 'b'\nsha256 = 'x'\n[[keys]]\ntenant = 'c'\nsha256 = '{hash}'\n"
        );
        let found = check(&text, &[]);
        let lines: Vec<Option<usize>> = found.iter().map(|(line, _)| *line).collect();
        assert_eq!(lines, [Some(5), Some(8)], "{found:?}");
        assert!(found[0].1.contains("64 hexadecimal digits") && found[1].1.contains("twice"), "{found:?}");
    }

    #[test]
    fn who_lets_strangers_in_is_told() {
        let found = check("listen = '0.0.0.0:1'\n", &[]);
        assert!(matches!(&found[..], [(Some(2), reason)] if reason.contains("needs keys")), "{found:?}");
        assert_eq!(check("listen = '0.0.0.0:1'\nanonymous = 'served'\n", &[]), []);
        let of_variable = check("", &[("DAYFLY_LISTEN", "0.0.0.0:1")]);
        assert!(matches!(&of_variable[..], [(None, _)]), "{of_variable:?}");
        let over_the_file = check("listen = '127.0.0.1:1'\n", &[("DAYFLY_LISTEN", "0.0.0.0:1")]);
        assert!(matches!(&over_the_file[..], [(None, _)]), "{over_the_file:?}");
    }
}
