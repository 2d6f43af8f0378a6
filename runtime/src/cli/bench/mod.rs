//! `dayfly bench`: a model's arithmetic on this machine, without a server around it; and ways of serving, with servers.

mod perplexity;
pub(super) mod pools;
mod serve;
mod speed;

use std::num::NonZeroUsize;
use std::sync::Arc;

use clap::{Args, Subcommand};
use loader::BringIn;
use models::{Descriptor, Executor, Model};

use super::failure::Failure;
use super::flags::{Context, isa};
use super::{pull, show};
use crate::config::{Config, IsaName, Layer};

/// Measure a model on this machine, or a server
#[derive(Debug, Subcommand)]
pub(super) enum Bench {
    /// Tokens per second of prompts and of answers, in llama-bench's sense
    Run(speed::Speed),
    /// Perplexity of a text, by llama-perplexity's method
    Perplexity(perplexity::Perplexity),
    /// The same workload with models that are let go, that never are, and that every tenant has for itself
    Pools(Box<pools::Pools>),
    Serve(Box<serve::Serve>),
}

/// What computes.
#[derive(Args, Clone, Debug)]
pub(super) struct Compute {
    /// Threads that compute
    #[arg(long, value_name = "N")]
    pub(super) threads: Option<NonZeroUsize>,
    /// Instructions to use; the best that the processor has without it
    #[arg(long, value_name = "NAME", value_parser = isa())]
    pub(super) isa: Option<IsaName>,
}

/// A model and what runs it.
struct Bed {
    name: String,
    model: Model,
    executor: Executor,
}

impl Bench {
    pub(super) fn run(&self, context: &Context) -> Result<(), Failure> {
        match self {
            Self::Run(speed) => speed.run(context),
            Self::Perplexity(perplexity) => perplexity.run(context),
            Self::Pools(pools) => pools.run(context),
            Self::Serve(serve) => serve.run(context),
        }
    }
}

impl Bed {
    /// Opens `model`, a name or a file; known models are pulled on first use.
    fn open(context: &Context, compute: &Compute, model: &str) -> Result<Self, Failure> {
        let layer = Layer { threads: compute.threads, isa: compute.isa, ..Layer::default() };
        let config = context.config(layer)?;
        if !show::is_file(model) {
            pull::find_or_pull(&config, model)?;
        }
        Self::of(&config, model)
    }

    fn of(config: &Config, model: &str) -> Result<Self, Failure> {
        let (name, artifact) = show::open(config, model)?;
        let descriptor = Descriptor::of(&artifact, None).map_err(|error| Failure::Failed(error.into()))?;
        if descriptor.decoder().is_none() {
            return Err(Failure::Usage(anyhow::anyhow!("`{name}` makes vectors of texts: it decodes nothing")));
        }
        let model = Model::new(artifact, Arc::new(descriptor));
        model.bring_in(BringIn::Populate, &mut |_| {});
        Ok(Self { name, model, executor: Executor::new(config.threads, config.isa) })
    }

    /// What was computed counts only if the file stayed as it was.
    fn check(&self) -> Result<(), Failure> {
        self.model.verify_unchanged().map_err(|error| Failure::Failed(error.into()))
    }

    /// Positions that the model was made for.
    fn check_context(&self, positions: usize) -> Result<(), Failure> {
        let context = self.model.plan().context_length;
        if positions > context {
            return Err(Failure::Usage(anyhow::anyhow!(
                "{positions} positions are asked for; the model has {context}"
            )));
        }
        Ok(())
    }
}
