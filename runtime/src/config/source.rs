//! Where a configuration is from, so that it can be read again: flags and variables stay as they are, the file may change.

use std::path::{Path, PathBuf};

use toml::Table;

use super::machine::Machine;
use super::{Config, ConfigError, ConfigFile, Environment, Faults, Folders, Layer};

/// The flags, variables and file of one process.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    flags: Layer,
    environment: Environment,
    place: Place,
    folders: Folders,
}

/// Where the file is.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) path: PathBuf,
    /// Whether it was asked for by name, and so has to be there.
    is_named: bool,
}

impl Source {
    /// The file is that of [`Place::of`].
    ///
    /// # Errors
    /// [`ConfigError::NoHome`].
    pub(crate) fn find(flags: Layer, file: Option<&Path>, environment: &Environment) -> Result<Self, ConfigError> {
        environment.warn_of_unknown();
        let folders = Folders::of_user()?;
        let place = Place::of(file, environment, &folders);
        Ok(Self { flags, environment: environment.clone(), place, folders })
    }

    /// The file's path.
    pub(crate) fn file(&self) -> &Path {
        &self.place.path
    }

    /// What the file says now: none, where it is not there and nobody asked for it. Blocks on the file system.
    ///
    /// # Errors
    /// Those of a file that cannot be read or is not valid in itself.
    pub(crate) fn read(&self) -> Result<Option<Table>, ConfigError> {
        let Some(file) = self.place.read()? else { return Ok(None) };
        file.layer()?;
        file.table().map(Some)
    }

    /// Flags, environment, a file that says this, and defaults. Blocks on the file system.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub(crate) fn config(&self, file: &Table) -> Result<Config, ConfigError> {
        let layers = [self.flags.clone(), self.environment.layer()?, self.layer(file)?];
        let mut config = Config::of(layers, &self.folders, &Machine::detect())?;
        config.hub.token = self.environment.hf_token()?;
        Ok(config)
    }

    /// What such a file chooses.
    pub(super) fn layer(&self, file: &Table) -> Result<Layer, ConfigError> {
        let layer: Layer = file.clone().try_into().map_err(|error| self.invalid(&error))?;
        Ok(layer.relative_to(self.place.path.parent().unwrap_or(Path::new(""))))
    }

    fn invalid(&self, error: &toml::de::Error) -> ConfigError {
        ConfigError::Invalid(Faults::of(&self.place.path, error.message()))
    }
}

impl Place {
    /// The file is `named`, or the environment's, or the one in the user's configuration folder.
    pub(super) fn of(named: Option<&Path>, environment: &Environment, folders: &Folders) -> Self {
        match named.or(environment.config_file()) {
            Some(path) => Self { path: path.to_owned(), is_named: true },
            None => Self { path: folders.config.join("config.toml"), is_named: false },
        }
    }

    /// The file: none, where it is not there and nobody asked for it. Blocks on the file system.
    ///
    /// # Errors
    /// [`ConfigError`] when it cannot be read.
    pub(super) fn read(&self) -> Result<Option<ConfigFile>, ConfigError> {
        if self.is_named { ConfigFile::read(&self.path).map(Some) } else { ConfigFile::read_if_there(&self.path) }
    }
}
