//! What most comparisons measure: a dayfly that serves one model.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;

use crate::server::Server;

/// A dayfly and the one model that it serves.
#[derive(Args, Debug)]
pub struct Subject {
    /// The dayfly binary.
    #[arg(long)]
    dayfly: String,
    /// The GGUF file of the model.
    #[arg(long)]
    model: PathBuf,
}

impl Subject {
    /// Starts the server with `config` as its whole configuration file.
    ///
    /// # Errors
    /// As [`Server::dayfly_over`].
    pub fn start(&self, config: &str) -> anyhow::Result<Server> {
        Server::dayfly_over(&self.dayfly, &[&self.model], config)
    }

    /// What the server calls the model.
    ///
    /// # Errors
    /// When its path is not that of a file.
    pub fn model(&self) -> anyhow::Result<String> {
        Ok(self.model.file_stem().context("a path of a file")?.to_string_lossy().into_owned())
    }
}
