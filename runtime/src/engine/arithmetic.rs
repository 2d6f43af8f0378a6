//! What computes a device's steps: our kernels over mapped weights, or candle over copies of them.

use std::time::Duration;

use models::candle::{self, CandleError};
use models::encoding::Passage;
use models::executor::{Drawer, Run, SequenceRun};
use models::{Executor, Model};

use super::cache::Cache;
use crate::loading::LoadedModel;

/// What computes.
pub(crate) enum Arithmetic {
    /// Our kernels.
    Kernels(Box<Executor>),
    /// candle's ops.
    Candle(candle::Executor),
}

const OF_THIS_DEVICE: &str = "a sequence steps where its model was loaded";

impl Arithmetic {
    /// Processor time of its threads so far.
    pub(super) fn cpu_time(&self) -> Duration {
        match self {
            Self::Kernels(executor) => executor.cpu_time(),
            Self::Candle(executor) => executor.cpu_time(),
        }
    }

    /// As [`Executor::each_logits`]; with candle one after another.
    pub(super) fn each_logits<T: Send>(
        &mut self,
        drawers: &mut [Drawer<T>],
        draw: &(dyn Fn(&mut T, &mut [f32]) + Sync),
    ) {
        match self {
            Self::Kernels(executor) => executor.each_logits(drawers, draw),
            Self::Candle(executor) => {
                for Drawer { run, drawer } in drawers {
                    let logits = run.map_or(&mut [][..], |run| executor.logits_of(run));
                    draw(drawer, logits);
                }
            }
        }
    }

    /// As [`Executor::step`].
    ///
    /// # Errors
    /// candle's; our kernels have none.
    pub(super) fn step(
        &mut self,
        model: &LoadedModel,
        runs: Vec<(&mut Cache, Run<'_>)>,
        each: &mut dyn FnMut(usize, usize, &[f32]),
    ) -> Result<(), CandleError> {
        match self {
            Self::Kernels(executor) => {
                let run = |(cache, run)| match cache {
                    &mut Cache::Paged(ref mut cache) => SequenceRun { cache, run },
                    Cache::Whole(_) => unreachable!("{OF_THIS_DEVICE}"),
                };
                let mut runs: Vec<SequenceRun<'_>> = runs.into_iter().map(run).collect();
                executor.step(model, &mut runs, each);
                Ok(())
            }
            Self::Candle(executor) => {
                let run = |(cache, run)| match cache {
                    &mut Cache::Whole(ref mut cache) => candle::SequenceRun { cache, run },
                    Cache::Paged(_) => unreachable!("{OF_THIS_DEVICE}"),
                };
                let mut runs: Vec<candle::SequenceRun<'_>> = runs.into_iter().map(run).collect();
                executor.step(copied(model), &mut runs, each)
            }
        }
    }

    /// As [`Executor::encode`].
    ///
    /// # Errors
    /// candle's; our kernels have none.
    pub(super) fn encode(&mut self, model: &LoadedModel, batch: &[&Passage]) -> Result<Vec<f32>, CandleError> {
        match self {
            Self::Kernels(executor) => Ok(executor.encode(model, batch).to_vec()),
            Self::Candle(executor) => executor.encode(copied(model), batch),
        }
    }
}

fn copied(model: &LoadedModel) -> (&candle::Weights, &Model) {
    (model.weights().expect(OF_THIS_DEVICE), model)
}
