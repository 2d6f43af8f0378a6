//! Real and tiny models for tests.

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;

use etcetera::BaseStrategy as _;
use kernels::{Isa, KvCache, KvPrecision, KvShape};
use loader::Artifact;
use loader::fixture::{GgufWriter, TinyModel, tiny_model};
use loader::pull::{PullRequest, Silent, pull};
use models::executor::Run;
use models::generation::Wanted;
use models::{Descriptor, Executor, Model};

/// The real SmolLM2 (98 MB).
pub(crate) fn smollm2() -> Model {
    pulled("smollm2")
}

/// The real Gemma 3 of 270 million parameters (253 MB).
pub(crate) fn gemma3() -> Model {
    pulled("gemma3-270m")
}

/// The real MiniLM, a folder of safetensors (91 MB).
pub(crate) fn minilm() -> Model {
    pulled("minilm")
}

/// A real model from the folder that `dayfly pull` fills; pulled if it is not there.
fn pulled(name: &str) -> Model {
    let models = etcetera::choose_base_strategy().unwrap().data_dir().join("dayfly").join("models");
    open(&pull(&PullRequest::parse(name, &models).unwrap(), &Silent).unwrap())
}

pub(crate) fn open(path: &Path) -> Model {
    let artifact = Artifact::open(path).unwrap();
    let descriptor = Arc::new(Descriptor::of(&artifact, None).unwrap());
    Model::new(artifact, descriptor)
}

/// A tiny model in a folder of its own.
pub(crate) fn tiny(options: &TinyModel) -> (tempfile::TempDir, Model) {
    written(&tiny_model(options))
}

/// A model of this file, in a folder of its own.
pub(crate) fn written(file: &GgufWriter) -> (tempfile::TempDir, Model) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tiny.gguf");
    file.write_to(&path).unwrap();
    let model = open(&path);
    (folder, model)
}

pub(crate) fn executor() -> Executor {
    Executor::new(NonZeroUsize::new(2).unwrap(), Isa::detect())
}

pub(crate) fn cache(model: &Model, positions: usize) -> KvCache {
    let mut cache = KvCache::new(model.kv_shape());
    while cache.capacity() < positions {
        cache.push_block();
    }
    cache
}

/// Logits of every position, by our executor, in steps of the given sizes.
pub(crate) fn logits(executor: &mut Executor, model: &Model, tokens: &[u32], step: usize) -> Vec<Vec<f32>> {
    logits_over(executor, model, tokens, (step, KvPrecision::F16))
}

/// The same with keys and values kept in `precision`.
pub(crate) fn logits_over(
    executor: &mut Executor,
    model: &Model,
    tokens: &[u32],
    (step, precision): (usize, KvPrecision),
) -> Vec<Vec<f32>> {
    let mut cache = KvCache::new(KvShape { precision, ..model.kv_shape() });
    while cache.capacity() < tokens.len() {
        cache.push_block();
    }
    let mut all = Vec::new();
    for (index, tokens) in tokens.chunks(step).enumerate() {
        let run = Run { tokens, position: index * step, wanted: Wanted::Each };
        executor.run(model, &mut cache, run, &mut |_, logits| all.push(logits.to_vec()));
    }
    all
}

/// Natural logarithms of the probabilities that logits stand for.
pub(crate) fn log_softmax(logits: &[f32]) -> Vec<f32> {
    let best = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|logit| f64::from(logit - best).exp()).sum();
    #[expect(clippy::cast_possible_truncation, reason = "a logarithm of a sum needs no more than 32 bits")]
    let norm = sum.ln() as f32;
    logits.iter().map(|logit| logit - best - norm).collect()
}
