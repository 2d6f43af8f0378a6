//! Once it is warm, decoding allocates nothing, on whatever thread and whatever the architecture.

#![expect(clippy::unwrap_used, reason = "a failed test panics")]

use std::alloc::System;
use std::num::NonZeroUsize;
use std::sync::Arc;

use kernels::{Isa, KvCache};
use loader::Artifact;
use loader::fixture::{Architecture, FixtureValue, TinyModel, tiny_model};
use loader::gguf::TensorType;
use models::executor::{Run, SequenceRun};
use models::generation::Wanted;
use models::{Descriptor, Executor, Model};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static COUNTING: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const WARM: usize = 2;
const TOKENS: usize = 100;
const SEQUENCES: usize = 9;

fn model(architecture: Architecture) -> (tempfile::TempDir, Model) {
    let shape = TinyModel { architecture, ty: TensorType::Q8_0, layers: 2, ..TinyModel::default() };
    let mut file = tiny_model(&shape);
    if architecture == Architecture::Gemma3 {
        file.set("gemma3.attention.sliding_window", FixtureValue::U32(16));
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tiny.gguf");
    file.write_to(&path).unwrap();
    let artifact = Artifact::open(&path).unwrap();
    let descriptor = Arc::new(Descriptor::of(&artifact, None).unwrap());
    (folder, Model::new(artifact, descriptor))
}

#[test]
fn decoding_allocates_nothing_once_it_is_warm() {
    for architecture in [Architecture::Llama, Architecture::Qwen2, Architecture::Qwen3, Architecture::Gemma3] {
        let (_folder, model) = model(architecture);
        let mut executor = Executor::new(NonZeroUsize::new(2).unwrap(), Isa::detect());
        let mut caches = [(); SEQUENCES].map(|()| KvCache::new(model.kv_shape()));
        for cache in &mut caches {
            while cache.capacity() < WARM + TOKENS {
                cache.push_block();
            }
        }
        let mut step = |position: usize| {
            let run = Run { tokens: &[40], position, wanted: Wanted::Last };
            executor.step(&model, &mut caches.each_mut().map(|cache| SequenceRun { cache, run }), &mut |_, _, _| {});
            assert!((0..SEQUENCES).all(|run| executor.logits_of(run).len() == model.plan().vocabulary));
        };
        (0..WARM).for_each(&mut step);
        let region = Region::new(COUNTING);
        (WARM..WARM + TOKENS).for_each(&mut step);
        let change = region.change();
        assert_eq!((change.allocations, change.reallocations), (0, 0), "{architecture:?}");
    }
}
