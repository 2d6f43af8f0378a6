//! What a sequence gets does not depend on what it shares its steps with, how its tokens are cut into steps, or who wrote
//! its cache.
//!
//! On one instruction set this holds bit for bit: each column of a product has its integer sums and its order of scales,
//! each token's attention its segments, alone or not; so these tests ask for equal bits.

use std::num::NonZeroUsize;

use kernels::{Isa, KvCache, KvPrecision, KvShape};
use loader::fixture::Random;
use models::executor::{Run, SequenceRun};
use models::generation::Wanted;
use models::{Executor, Model};

use crate::peer_models::peer_models;
use crate::support::{executor, gemma3, smollm2, written};

const BATCHES: [usize; 4] = [2, 3, 8, 17];
/// Tokens of the sequence that is looked at, and those of them that come one by one.
const TOKENS: usize = 75;
const DECODED: usize = 3;
/// Tokens of the others, which do not end before it does.
const LONGER: usize = 120;

fn ids(model: &Model, random: &mut Random, count: usize) -> Vec<u32> {
    (0..count).map(|_| 3 + u32::try_from(random.below(model.plan().vocabulary - 3)).unwrap()).collect()
}

const PRECISIONS: [KvPrecision; 2] = [KvPrecision::F16, KvPrecision::Q8_0];

/// A model, and what its keys and values are kept as.
#[derive(Clone, Copy)]
struct Case<'a> {
    model: &'a Model,
    name: &'a str,
    precision: KvPrecision,
}

impl<'a> Case<'a> {
    fn each(model: &'a Model, name: &'a str) -> impl Iterator<Item = Self> {
        PRECISIONS.into_iter().map(move |precision| Self { model, name, precision })
    }

    /// Empty.
    fn cache(self) -> KvCache {
        KvCache::new(KvShape { precision: self.precision, ..self.model.kv_shape() })
    }

    fn on(self, executor: &Executor) -> String {
        format!("{} of {:?} on {}", self.name, self.precision, executor.isa())
    }
}

/// A sequence that is computed, and how far it is.
struct Neighbour {
    tokens: Vec<u32>,
    cache: KvCache,
    done: usize,
}

impl Neighbour {
    fn new(case: Case<'_>, tokens: Vec<u32>) -> Self {
        Self::behind(case.cache(), tokens)
    }

    /// Goes on from what `cache` holds.
    fn behind(mut cache: KvCache, tokens: Vec<u32>) -> Self {
        while cache.capacity() < tokens.len() {
            cache.push_block();
        }
        Self { done: cache.len(), cache, tokens }
    }

    fn next(&mut self, count: usize, wanted: Wanted) -> SequenceRun<'_> {
        let begin = self.done;
        self.done = self.tokens.len().min(begin + count);
        let run = Run { tokens: &self.tokens[begin..self.done], position: begin, wanted };
        SequenceRun { cache: &mut self.cache, run }
    }
}

/// Logits after each of the last tokens of `tokens`, which alone make the steps.
fn alone(executor: &mut Executor, case: Case<'_>, tokens: &[u32], step: usize) -> Vec<Vec<f32>> {
    let mut sequence = Neighbour::new(case, tokens.to_vec());
    while sequence.done < TOKENS - DECODED {
        let count = step.min(TOKENS - DECODED - sequence.done);
        executor.step(case.model, &mut [sequence.next(count, Wanted::Nothing)], &mut |_, _, _| {});
        assert!(executor.logits_of(0).is_empty() && executor.logits_of(1).is_empty());
    }
    decode(executor, case.model, &mut sequence)
}

fn decode(executor: &mut Executor, model: &Model, sequence: &mut Neighbour) -> Vec<Vec<f32>> {
    let mut logits = Vec::new();
    while sequence.done < TOKENS {
        executor.step(model, &mut [sequence.next(1, Wanted::Last)], &mut |_, _, _| {});
        logits.push(executor.logits_of(0).to_vec());
    }
    logits
}

/// The same in steps with others that are at other positions, in prompts and behind them, the sequence among them.
fn among_others(executor: &mut Executor, case: Case<'_>, tokens: &[u32], batch: usize) -> Vec<Vec<f32>> {
    let model = case.model;
    let mut random = Random::new(batch as u64);
    let place = random.below(batch);
    let mut all: Vec<Neighbour> = (0..batch).map(|_| Neighbour::new(case, ids(model, &mut random, LONGER))).collect();
    all[place] = Neighbour::new(case, tokens.to_vec());
    let mut logits = Vec::new();
    while all[place].done < TOKENS {
        let left = (TOKENS - DECODED).saturating_sub(all[place].done);
        let of_run = |index: usize| match index {
            _ if index == place && left > 0 => (left.min(31), Wanted::Nothing),
            _ if index == place => (1, Wanted::Last),
            _ => (1 + index * (index % 2), [Wanted::Each, Wanted::Last, Wanted::Nothing][index % 3]),
        };
        let sequences = all.iter_mut().enumerate();
        let mut runs: Vec<SequenceRun<'_>> =
            sequences.map(|(index, sequence)| sequence.next(of_run(index).0, of_run(index).1)).collect();
        let mut scored = Vec::new();
        executor.step(model, &mut runs, &mut |run, token, _| scored.push((run, token)));
        for index in 0..batch {
            let (tokens, wanted) = of_run(index);
            let seen: Vec<usize> = scored.iter().filter(|(run, _)| *run == index).map(|(_, token)| *token).collect();
            let expected: Vec<usize> = (0..if wanted == Wanted::Each { tokens } else { 0 }).collect();
            assert_eq!(seen, expected, "the tokens of a run that asks for each, in order");
            assert_eq!(executor.logits_of(index).is_empty(), wanted == Wanted::Nothing);
        }
        if left == 0 {
            logits.push(executor.logits_of(place).to_vec());
        }
    }
    logits
}

fn assert_same(found: &[Vec<f32>], expected: &[Vec<f32>], context: &str) {
    assert_eq!(found.len(), expected.len(), "{context}");
    for (token, (found, expected)) in found.iter().zip(expected).enumerate() {
        let same = found.iter().zip(expected).all(|(found, expected)| found.to_bits() == expected.to_bits());
        assert!(same && found.len() == expected.len(), "{context}: token {token}");
    }
}

fn every_isa() -> impl Iterator<Item = Executor> {
    let available = Isa::ALL.into_iter().filter(|isa| isa.is_available());
    available.map(|isa| Executor::new(NonZeroUsize::new(2).unwrap(), isa))
}

fn is_the_same_in_any_batch(executor: &mut Executor, case: Case<'_>) {
    let tokens = ids(case.model, &mut Random::new(1), TOKENS);
    let expected = alone(executor, case, &tokens, 256);
    assert!(expected[0] != expected[1], "logits follow the tokens");
    // The portable kernels are slow, and have one way for all columns.
    for batch in if executor.isa() == Isa::Scalar { vec![3] } else { BATCHES.to_vec() } {
        let found = among_others(executor, case, &tokens, batch);
        assert_same(&found, &expected, &format!("{}, one of {batch}", case.on(executor)));
    }
}

/// In pieces of other sizes, again after a preemption, and behind blocks that another sequence with the same beginning wrote.
fn is_the_same_however_it_came_about(executor: &mut Executor, case: Case<'_>) {
    let model = case.model;
    let tokens = ids(model, &mut Random::new(2), TOKENS);
    let expected = alone(executor, case, &tokens, 256);
    for step in [1, 7, 33] {
        let found = alone(executor, case, &tokens, step);
        assert_same(&found, &expected, &format!("{}, steps of {step}", case.on(executor)));
    }
    let mut preempted = Neighbour::new(case, tokens.clone());
    executor.step(model, &mut [preempted.next(50, Wanted::Nothing)], &mut |_, _, _| {});
    preempted.cache.clear();
    let mut again = Neighbour::behind(preempted.cache, tokens.clone());
    executor.step(model, &mut [again.next(TOKENS - DECODED, Wanted::Nothing)], &mut |_, _, _| {});
    assert_same(&decode(executor, model, &mut again), &expected, &format!("{}, preempted", case.on(executor)));
    let mut first = Neighbour::new(case, tokens.clone());
    first.tokens[64] ^= 1;
    executor.step(model, &mut [first.next(TOKENS, Wanted::Nothing)], &mut |_, _, _| {});
    let blocks: Vec<_> = (0..2).map(|index| first.cache.block(index)).collect();
    drop(first);
    for shared in 1..=blocks.len() {
        let mut cache = case.cache();
        blocks[..shared].iter().for_each(|block| cache.adopt(block.clone()));
        let mut second = Neighbour::behind(cache, tokens.clone());
        executor.step(model, &mut [second.next(TOKENS - DECODED - 32 * shared, Wanted::Last)], &mut |_, _, _| {});
        let found = decode(executor, model, &mut second);
        assert_same(&found, &expected, &format!("{}, {shared} blocks adopted", case.on(executor)));
    }
}

/// Behind drafts that were not what followed, of any number, at block borders and elsewhere; each of which has logits as if it
/// were no draft.
fn is_the_same_behind_rejected_drafts(executor: &mut Executor, case: Case<'_>) {
    let (model, mut random) = (case.model, Random::new(4));
    let tokens = ids(model, &mut random, TOKENS);
    let mut plain = Neighbour::new(case, tokens.clone());
    executor.step(model, &mut [plain.next(20, Wanted::Nothing)], &mut |_, _, _| {});
    let expected = decode(executor, model, &mut plain);
    let mut drafting = Neighbour::new(case, tokens.clone());
    (0..2).for_each(|_| drafting.cache.push_block());
    executor.step(model, &mut [drafting.next(20, Wanted::Nothing)], &mut |_, _, _| {});
    let (mut found, width) = (Vec::new(), model.plan().vocabulary);
    while drafting.done < TOKENS {
        let (right, wrong) = (random.below(4).min(TOKENS - 1 - drafting.done), random.below(16));
        let begin = drafting.done;
        drafting.done += 1 + right;
        let mut run = tokens[begin..drafting.done].to_vec();
        run.extend(ids(model, &mut random, wrong));
        let wanted = Wanted::LastAnd(right + wrong);
        let run = Run { tokens: &run, position: begin, wanted };
        executor.step(model, &mut [SequenceRun { cache: &mut drafting.cache, run }], &mut |_, _, _| {});
        let logits = executor.logits_of(0);
        assert_eq!(logits.len(), (1 + right + wrong) * width);
        found.extend(logits.chunks(width).take(1 + right).map(<[f32]>::to_vec));
        drafting.cache.set_len(drafting.done);
    }
    assert_same(&found, &expected, &format!("{}, behind drafts", case.on(executor)));
}

#[test]
fn a_sequence_is_the_same_behind_rejected_drafts() {
    for tiny in peer_models() {
        let (_folder, model) = written(&tiny.file);
        for mut executor in every_isa() {
            Case::each(&model, &tiny.name).for_each(|case| is_the_same_behind_rejected_drafts(&mut executor, case));
        }
    }
    Case::each(&gemma3(), "gemma3").for_each(|case| is_the_same_behind_rejected_drafts(&mut executor(), case));
}

#[test]
fn a_tiny_sequence_is_the_same_in_any_batch() {
    for tiny in peer_models() {
        let (_folder, model) = written(&tiny.file);
        for mut executor in every_isa() {
            Case::each(&model, &tiny.name).for_each(|case| is_the_same_in_any_batch(&mut executor, case));
        }
    }
}

#[test]
fn a_tiny_sequence_is_the_same_however_it_came_about() {
    for tiny in peer_models() {
        let (_folder, model) = written(&tiny.file);
        for mut executor in every_isa() {
            Case::each(&model, &tiny.name).for_each(|case| is_the_same_however_it_came_about(&mut executor, case));
        }
    }
}

#[test]
fn a_real_sequence_is_the_same_in_any_batch_and_however_it_came_about() {
    for (model, name) in [(smollm2(), "smollm2"), (gemma3(), "gemma3")] {
        for case in Case::each(&model, name) {
            is_the_same_in_any_batch(&mut executor(), case);
            is_the_same_however_it_came_about(&mut executor(), case);
        }
    }
}

#[test]
fn a_step_of_nothing_leaves_no_logits() {
    let (_folder, model) = written(&peer_models()[0].file);
    let mut executor = executor();
    let case = Case { model: &model, name: "tiny", precision: KvPrecision::F16 };
    let tokens = ids(&model, &mut Random::new(3), TOKENS);
    executor.step(&model, &mut [Neighbour::new(case, tokens).next(1, Wanted::Last)], &mut |_, _, _| {});
    assert_eq!(executor.logits_of(0).len(), model.plan().vocabulary);
    executor.step(&model, &mut [], &mut |_, _, _| {});
    assert!(executor.logits_of(0).is_empty());
}
