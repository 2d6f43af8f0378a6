//! Steps of any model on one device, one at a time.
//!
//! The linear layers take the tokens of all sequences at once; attention goes from sequence to sequence. On the processor
//! the ops run on threads that this executor owns.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use candle_core::{Result, Tensor};
use rustix::time::{ClockId, clock_gettime};

use super::network::{Part, hidden_states, logits};
use super::weights::Uploaded;
use super::{Cache, CandleError, Device, Weights, encode};
use crate::Model;
use crate::encoding::Passage;
use crate::executor::Run;
use crate::generation::Wanted;
use crate::limits::SCORED_POSITIONS_AT_ONCE;

/// Runs steps of any model whose weights are on its device.
pub struct Executor {
    device: Device,
    threads: Arc<rayon::ThreadPool>,
    /// Logits of the last tokens of the last step's runs, as many as were wanted.
    last: Vec<Vec<f32>>,
}

/// What one sequence has in a step.
pub struct SequenceRun<'a> {
    /// Where its keys and values are.
    pub cache: &'a mut Cache,
    /// The tokens.
    pub run: Run<'a>,
}

impl Executor {
    /// An executor of `device` over `threads` threads of its own, which feed an accelerator or are the device.
    ///
    /// # Errors
    /// [`CandleError::Threads`].
    pub fn new(device: Device, threads: NonZeroUsize) -> std::result::Result<Self, CandleError> {
        let name = |number| format!("candle-{number}");
        let threads = rayon::ThreadPoolBuilder::new().num_threads(threads.get()).thread_name(name).build();
        Ok(Self { device, threads: Arc::new(threads.map_err(CandleError::Threads)?), last: Vec::new() })
    }

    /// Another of the same device, over the same threads: for whoever lost this one in a step that does not return.
    #[must_use]
    pub fn another(&self) -> Self {
        Self { device: self.device.clone(), threads: Arc::clone(&self.threads), last: Vec::new() }
    }

    /// Where it computes.
    #[must_use]
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Processor time that its threads have used since they began; what a driver's threads use is not known.
    #[must_use]
    pub fn cpu_time(&self) -> Duration {
        self.threads.broadcast(|_| thread_cpu_time()).into_iter().sum()
    }

    /// As [`crate::Executor::logits_of`].
    pub fn logits_of(&mut self, run: usize) -> &mut [f32] {
        self.last.get_mut(run).map_or(&mut [], Vec::as_mut_slice)
    }

    /// As [`crate::Executor::step`], with `weights` that are those of `model`.
    ///
    /// # Errors
    /// [`CandleError::Step`]; the caches' contents are then worthless.
    ///
    /// # Panics
    /// When a run has no token or one past the vocabulary, or wants logits of more tokens than it has, the positions before
    /// it are not in its cache, or the cache has no room.
    pub fn step(
        &mut self,
        (weights, model): (&Weights, &Model),
        runs: &mut [SequenceRun<'_>],
        each: &mut dyn FnMut(usize, usize, &[f32]),
    ) -> std::result::Result<(), CandleError> {
        self.last.clear();
        self.compute(&weights.over(model.artifact()), model, runs, each)
            .map_err(|source| CandleError::Step(Box::new(source)))
    }

    fn compute(
        &mut self,
        tensors: &Uploaded<'_>,
        model: &Model,
        runs: &mut [SequenceRun<'_>],
        each: &mut dyn FnMut(usize, usize, &[f32]),
    ) -> Result<()> {
        let plan = model.plan();
        let mut parts: Vec<Part<'_>> = Vec::with_capacity(runs.len());
        // Whose logits are wanted: the run, which of its tokens, and which of all.
        let mut wanted: Vec<(usize, usize, u32)> = Vec::new();
        let mut begin = 0;
        for (number, SequenceRun { cache, run }) in runs.iter_mut().enumerate() {
            let count = run.tokens.len();
            assert!(count > 0, "a run has tokens");
            assert!(run.position <= cache.len(), "the cache holds what precedes the run");
            let first = match run.wanted {
                Wanted::Nothing => count,
                Wanted::Last => count - 1,
                Wanted::LastAnd(before) => count - 1 - before,
                Wanted::Each => 0,
            };
            let row = |token: usize| u32::try_from(begin + token).expect("a step has fewer tokens than that");
            wanted.extend((first..count).map(|token| (number, token, row(token))));
            parts.push(Part { tokens: run.tokens, position: run.position, cache });
            begin += count;
        }
        let threads = &self.threads;
        let hidden = threads.install(|| hidden_states(tensors, plan, &mut parts))?;
        self.last.resize(runs.len(), Vec::new());
        for wanted in wanted.chunks(SCORED_POSITIONS_AT_ONCE) {
            let rows: Vec<u32> = wanted.iter().map(|(_, _, row)| *row).collect();
            let rows = threads.install(|| -> Result<Vec<f32>> {
                let rows = Tensor::new(rows, hidden.device())?;
                logits(tensors, plan, &hidden.index_select(&rows, 0)?)?.flatten_all()?.to_vec1()
            })?;
            for (&(number, token, _), row) in wanted.iter().zip(rows.chunks_exact(plan.vocabulary)) {
                let run = &runs[number].run;
                if run.wanted == Wanted::Each {
                    each(number, token, row);
                }
                if run.wanted != Wanted::Each || token + 1 == run.tokens.len() {
                    self.last[number].extend_from_slice(row);
                }
            }
        }
        Ok(())
    }

    /// As [`crate::Executor::encode`], with `weights` that are those of `model`; text by text.
    ///
    /// # Errors
    /// [`CandleError::Step`].
    pub fn encode(
        &mut self,
        (weights, model): (&Weights, &Model),
        batch: &[&Passage],
    ) -> std::result::Result<Vec<f32>, CandleError> {
        let (tensors, plan) = (weights.over(model.artifact()), model.encoder());
        let rows = self
            .threads
            .install(|| batch.iter().map(|passage| encode(&tensors, plan, passage)).collect::<Result<Vec<_>>>());
        rows.map(|rows| rows.concat()).map_err(|source| CandleError::Step(Box::new(source)))
    }
}

impl std::fmt::Debug for Executor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Executor").field("device", &self.device).finish_non_exhaustive()
    }
}

/// Processor time of the calling thread.
fn thread_cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}
