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
    file: PathBuf,
    /// Whether it was asked for by name, and so has to be there.
    is_named: bool,
    folders: Folders,
}

impl Source {
    /// The file is `file`, or the environment's, or the one in the user's configuration folder.
    ///
    /// # Errors
    /// [`ConfigError::NoHome`].
    pub(crate) fn find(flags: Layer, file: Option<&Path>, environment: &Environment) -> Result<Self, ConfigError> {
        environment.warn_of_unknown();
        let folders = Folders::of_user()?;
        let named = file.or(environment.config_file()).map(Path::to_owned);
        let is_named = named.is_some();
        let file = named.unwrap_or_else(|| folders.config_file());
        Ok(Self { flags, environment: environment.clone(), file, is_named, folders })
    }

    /// The file's path.
    pub(crate) fn file(&self) -> &Path {
        &self.file
    }

    /// What the file says now: nothing, where it is not there and nobody asked for it. Blocks on the file system.
    ///
    /// # Errors
    /// Those of a file that cannot be read or is not valid in itself.
    pub(crate) fn read(&self) -> Result<Table, ConfigError> {
        let file = match self.is_named {
            true => Some(ConfigFile::read(&self.file)?),
            false => ConfigFile::read_if_there(&self.file)?,
        };
        let Some(file) = file else { return Ok(Table::new()) };
        file.layer()?;
        file.table()
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
        Ok(layer.relative_to(self.file.parent().unwrap_or(Path::new(""))))
    }

    fn invalid(&self, error: &toml::de::Error) -> ConfigError {
        ConfigError::Invalid(Faults::of(&self.file, error.message()))
    }
}
