//! The executor over candle, step after step, against the reference and against the kernels.

use std::num::NonZeroUsize;

use models::Model;
use models::candle::{Cache, Device, DeviceKind, Executor, SequenceRun, Weights};
use models::encoding::Passage;
use models::executor::Run;
use models::generation::Wanted;
use models::reference::Kept;

use crate::peer_models::{PeerModel, peer_models, prompt};
use crate::support::{executor, log_softmax, logits, minilm, smollm2, written};

fn candle() -> Executor {
    Executor::new(Device::open(DeviceKind::Cpu).unwrap(), NonZeroUsize::new(2).unwrap()).unwrap()
}

fn upload(executor: &Executor, model: &Model) -> Weights {
    let mut told = 0;
    let weights = Weights::upload(model, executor.device(), &mut |at| told = at.done_bytes).unwrap();
    assert_eq!((weights.bytes(), told), (Weights::bytes_on(DeviceKind::Cpu, &model.descriptor().network), told));
    assert_eq!(weights.bytes(), told, "all of it was copied, and told");
    weights
}

fn room(model: &Model, executor: &Executor, positions: usize) -> Cache {
    let mut cache = Cache::new(model, executor.device());
    while cache.capacity() < positions {
        cache.push_block();
    }
    cache
}

/// Logits of every position, in steps of these sizes, the last of which repeats.
fn stepwise(
    executor: &mut Executor,
    (weights, model): (&Weights, &Model),
    tokens: &[u32],
    steps: &[usize],
) -> Vec<Vec<f32>> {
    let mut cache = Cache::new(model, executor.device());
    let mut sizes = steps.iter().copied().chain(std::iter::repeat(*steps.last().unwrap()));
    let (mut all, mut position) = (Vec::new(), 0);
    while position < tokens.len() {
        let end = tokens.len().min(position + sizes.next().unwrap());
        while cache.capacity() < end {
            cache.push_block();
        }
        let run = Run { tokens: &tokens[position..end], position, wanted: Wanted::Each };
        let mut runs = [SequenceRun { cache: &mut cache, run }];
        executor.step((weights, model), &mut runs, &mut |_, _, logits| all.push(logits.to_vec())).unwrap();
        assert_eq!(executor.logits_of(0), all.last().unwrap().as_slice());
        position = end;
    }
    assert_eq!(cache.len(), tokens.len());
    all
}

fn mean_difference<'a>(ours: &[Vec<f32>], theirs: impl Iterator<Item = &'a [f32]>) -> f32 {
    let pairs = ours.iter().zip(theirs).flat_map(|(a, b)| log_softmax(a).into_iter().zip(log_softmax(b)));
    let differences: Vec<f32> = pairs.map(|(a, b)| (a - b).abs()).collect();
    differences.iter().sum::<f32>() / differences.len() as f32
}

#[test]
fn every_architecture_agrees_with_the_reference_and_the_kernels_however_the_prompt_is_cut() {
    let (prompt, mut candle, mut kernels) = (prompt(), candle(), executor());
    for PeerModel { name, file } in peer_models() {
        let (_folder, model) = written(&file);
        let weights = upload(&candle, &model);
        let reference = models::reference::logits(&model, &prompt, Kept::Halves).unwrap();
        let ours = logits(&mut kernels, &model, &prompt, 24);
        for steps in [&[90][..], &[33, 20, 1], &[1]] {
            let stepwise = stepwise(&mut candle, (&weights, &model), &prompt, steps);
            assert_eq!(stepwise.len(), prompt.len());
            let apart = mean_difference(&stepwise, reference.chunks_exact(model.plan().vocabulary));
            // The same floats, summed in another order where a product has other rows beside it; what then differs in its
            // last bit may be kept as another half.
            assert!(apart < 1e-4, "{name} in steps of {steps:?}: {apart} from the reference");
            let apart = mean_difference(&stepwise, ours.iter().map(Vec::as_slice));
            let bound = if name.contains("-q") || name.contains("-iq") { 0.05 } else { 1e-4 };
            assert!(apart < bound, "{name} in steps of {steps:?}: {apart} from the kernels");
        }
    }
}

#[test]
fn sequences_share_a_step_without_touching_each_other() {
    let mut candle = candle();
    let PeerModel { file, .. } = peer_models().into_iter().next().unwrap();
    let (_folder, model) = written(&file);
    let weights = upload(&candle, &model);
    let prompt = prompt();
    let alone = [&prompt[..40], &prompt[10..13]].map(|tokens| stepwise(&mut candle, (&weights, &model), tokens, &[90]));
    let mut caches = [room(&model, &candle, 41), room(&model, &candle, 4)];
    let [first, second] = &mut caches;
    let run = |tokens, position, wanted| Run { tokens, position, wanted };
    let mut runs = [
        SequenceRun { cache: first, run: run(&prompt[..40], 0, Wanted::Last) },
        SequenceRun { cache: second, run: run(&prompt[10..12], 0, Wanted::Nothing) },
    ];
    candle.step((&weights, &model), &mut runs, &mut |_, _, _| panic!("nobody asked for each")).unwrap();
    let apart = mean_difference(&[candle.logits_of(0).to_vec()], std::iter::once(alone[0][39].as_slice()));
    assert!(apart < 1e-4, "{apart}");
    assert!(candle.logits_of(1).is_empty() && candle.logits_of(2).is_empty());
    let [first, second] = &mut caches;
    let mut runs = [
        SequenceRun { cache: first, run: run(&prompt[40..41], 40, Wanted::Last) },
        SequenceRun { cache: second, run: run(&prompt[12..13], 2, Wanted::Last) },
    ];
    candle.step((&weights, &model), &mut runs, &mut |_, _, _| ()).unwrap();
    let apart = mean_difference(&[candle.logits_of(1).to_vec()], std::iter::once(alone[1][2].as_slice()));
    assert!(apart < 1e-4, "{apart}");
    // Back to the prompt's end, for another answer.
    let mut again = [SequenceRun { cache: &mut caches[0], run: run(&prompt[40..41], 40, Wanted::Last) }];
    let before = candle.logits_of(0).to_vec();
    candle.step((&weights, &model), &mut again, &mut |_, _, _| ()).unwrap();
    let apart = mean_difference(&[before], std::iter::once(&*candle.logits_of(0)));
    assert!(apart < 1e-4, "{apart}");
}

#[test]
fn a_block_takes_what_it_is_said_to() {
    let candle = candle();
    let model = smollm2();
    let mut cache = room(&model, &candle, 33);
    let plan = model.plan();
    let halves = 2 * plan.layers.len() * plan.kv_heads * plan.head_dim * 32;
    assert_eq!((cache.capacity(), cache.block_bytes()), (64, 2 * halves));
    cache.clear();
    assert_eq!((cache.capacity(), cache.len()), (0, 0));
    assert!(cache.is_empty());
}

#[test]
fn smollm2_agrees_with_the_reference_step_by_step() {
    let (model, mut candle) = (smollm2(), candle());
    let weights = upload(&candle, &model);
    let text = "Ephemeral models are mapped when a request needs them, and let go when they are idle.";
    let tokenizer = &model.descriptor().tokenizer;
    let tokens = tokenizer.encode(text, models::tokenizer::Special::Plain, models::tokenizer::Start::Bare).unwrap();
    let reference = models::reference::logits(&model, &tokens, Kept::Halves).unwrap();
    let stepwise = stepwise(&mut candle, (&weights, &model), &tokens, &[9, 1]);
    let apart = mean_difference(&stepwise, reference.chunks_exact(model.plan().vocabulary));
    println!("SmolLM2: mean |Δ log-probability| to the reference: {apart:.6}");
    assert!(apart < 5e-4, "{apart}");
    assert!(candle.cpu_time() > std::time::Duration::ZERO);
}

#[test]
fn minilm_is_encoded_as_by_the_reference() {
    let (model, mut candle) = (minilm(), candle());
    let weights = upload(&candle, &model);
    let tokenizer = &model.descriptor().tokenizer;
    let passages = ["What is a mayfly?", "An insect that lives for a day."].map(|text| {
        let start = models::tokenizer::Start::AsModel;
        Passage::of_tokens(tokenizer.encode(text, models::tokenizer::Special::Plain, start).unwrap())
    });
    let rows = candle.encode((&weights, &model), &[&passages[0], &passages[1]]).unwrap();
    for (row, passage) in rows.chunks_exact(model.encoder().hidden).zip(&passages) {
        let theirs = models::reference::encode(&model, passage).unwrap();
        let apart = row.iter().zip(theirs).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(apart < 1e-4, "{apart}");
    }
}
