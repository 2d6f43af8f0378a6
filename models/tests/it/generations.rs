//! Whatever is taken from a sequence's cache, shared with it or cut into steps: the same tokens, texts and counts.
//!
//! Over a toy model, whose logits are a function of all tokens that the cache holds: a wrong one anywhere changes them.

use std::collections::BTreeMap;
use std::sync::Arc;

use loader::fixture::{Random, TinyModel};
use models::Descriptor;
use models::generation::{
    Echo, End, Ending, FinishReason, Generation, GenerationRequest, Input, Output, Shown, TokenCounts, Tokens, Wanted,
};
use models::grammar::{GrammarSource, Vocabulary};
use models::sampling::Sampling;

use crate::support::tiny;

/// Logits after `tokens`.
fn logits(tokens: &[u32], vocabulary: usize) -> Vec<f32> {
    let seed = tokens.iter().fold(7, |seed: u64, &token| Random::new(seed ^ u64::from(token)).bits());
    let mut random = Random::new(seed);
    (0..vocabulary).map(|_| 3.0 * random.signed_unit()).collect()
}

/// What may happen to a sequence between its steps.
#[derive(Clone, Copy)]
struct Fate {
    seed: u64,
    /// Of a hundred steps, those before which the cache is lost, and those before which it is filled from elsewhere.
    preempted: usize,
    reused: usize,
    tokens_max: usize,
}

const UNTOUCHED: Fate = Fate { seed: 0, preempted: 0, reused: 0, tokens_max: usize::MAX };

struct Lived {
    outputs: Vec<Output>,
    counts: TokenCounts,
    computed: u64,
}

/// Runs a request to its end.
fn live(request: &GenerationRequest, descriptor: &Arc<Descriptor>, fate: Fate) -> Lived {
    let vocabulary = descriptor.tokenizer.len();
    let mut generation = Generation::new(request.clone(), Arc::clone(descriptor));
    let (mut random, mut cache, mut computed, mut outputs) = (Random::new(fate.seed), Vec::new(), 0, Vec::new());
    loop {
        if random.below(100) < fate.preempted {
            generation.preempted();
            cache.clear();
        }
        let reusable = generation.reusable().to_vec();
        if random.below(100) < fate.reused && reusable.len() > cache.len() {
            let positions = cache.len() + random.below(reusable.len() - cache.len());
            generation.reuse(positions);
            cache = reusable[..positions].to_vec();
        }
        let tokens_max = if fate.tokens_max == usize::MAX { usize::MAX } else { 1 + random.below(fate.tokens_max) };
        let wanted_before = generation.tokens_wanted();
        let (position, tokens, wanted) = match generation.input(tokens_max) {
            Input::Done => break,
            Input::Reuse => (cache.len(), Vec::new(), Wanted::Nothing),
            Input::Run { position, tokens, wanted } => (position, tokens.to_vec(), wanted),
        };
        assert_eq!(tokens.len(), wanted_before.min(tokens_max));
        assert!(position <= cache.len(), "what precedes a run is in the cache");
        cache.truncate(position);
        for (index, token) in tokens.iter().enumerate() {
            cache.push(*token);
            if wanted == Wanted::Each {
                generation.score(index, &logits(&cache, vocabulary));
            }
        }
        assert!(reusable.is_empty() || reusable.starts_with(&cache) || tokens.is_empty());
        computed += tokens.len() as u64;
        let mut last = if wanted == Wanted::Nothing { Vec::new() } else { logits(&cache, vocabulary) };
        generation.absorb(tokens.len(), &mut last, &mut outputs).unwrap();
    }
    assert_eq!((generation.tokens_wanted(), generation.reusable()), (0, &[][..]));
    Lived { outputs, counts: generation.counts(), computed }
}

fn random_request(random: &mut Random) -> GenerationRequest {
    let mut prompt = || (0..1 + random.below(60)).map(|_| 3 + u32::try_from(random.below(250)).unwrap()).collect();
    let prompts: Vec<Vec<u32>> = (0..3).map(|_| prompt()).collect();
    let sampling = Sampling {
        temperature: [0.0, 1.0][random.below(2)],
        repetition_penalty: [1.0, 1.3][random.below(2)],
        frequency_penalty: 0.2,
        seed: random.bits(),
        ..Sampling::default()
    };
    GenerationRequest {
        prompts: prompts[..1 + random.below(3)].to_vec(),
        choices: 1 + random.below(3),
        tokens_max: [
            Tokens::AtMost(0),
            Tokens::AtMost(1),
            Tokens::AtMost(15),
            Tokens::RestOfContext,
            Tokens::PromptAlone,
        ][random.below(5)],
        sampling,
        grammar: None,
        stop: vec!["ab".to_owned(), "e".to_owned()],
        end: [End::Honoured, End::Ignored][random.below(2)],
        ending: Ending {
            tokens: [vec![], vec![70, 71, 104]][random.below(2)].clone(),
            tokens_min: [0, 4][random.below(2)],
            shown: [Shown::No, Shown::Yes][random.below(2)],
        },
        control_tokens: [Shown::No, Shown::Yes][random.below(2)],
        echo: [Echo::Nothing, Echo::Prompt][random.below(2)],
        logprobs: [None, Some(0), Some(2)][random.below(3)],
        context: 61 + random.below(30),
    }
}

#[test]
fn preemption_reuse_and_the_size_of_steps_change_no_token() {
    let (_folder, model) = tiny(&TinyModel::default());
    let descriptor = model.descriptor();
    let mut random = Random::new(5);
    let (mut cached, mut recomputed) = (0, 0);
    for seed in 0..300 {
        let request = random_request(&mut random);
        let expected = live(&request, descriptor, UNTOUCHED);
        assert_eq!((expected.counts.cached, expected.counts.recomputed), (0, 0), "{request:?}");
        for (preempted, reused) in [(0, 0), (0, 30), (20, 0), (20, 50)] {
            let lived = live(&request, descriptor, Fate { seed, preempted, reused, tokens_max: 20 });
            assert_eq!(lived.outputs, expected.outputs, "{request:?}");
            let counts = lived.counts;
            assert_eq!(TokenCounts { cached: 0, recomputed: 0, ..counts }, expected.counts, "{request:?}");
            assert!(counts.cached <= counts.prompt);
            // What was computed more is what was computed again, and what was computed less came from elsewhere.
            assert_eq!(lived.computed + counts.cached, expected.computed + counts.recomputed, "{request:?}");
            (cached, recomputed) = (cached + counts.cached, recomputed + counts.recomputed);
        }
    }
    assert!(cached > 1000 && recomputed > 1000, "{cached} tokens were reused, {recomputed} recomputed");
}

#[test]
fn what_keeps_to_a_grammar_keeps_to_it_through_preemption_and_reuse() {
    let (_folder, model) = tiny(&TinyModel::default());
    let descriptor = model.descriptor();
    let vocabulary = Vocabulary::of(&descriptor.tokenizer).unwrap();
    let grammar = GrammarSource::Regex("([a-d]{2}-)*[0-9]{3}".to_owned());
    let grammar = Arc::new(vocabulary.compile(&grammar).unwrap());
    let (mut random, mut whole) = (Random::new(11), 0);
    for seed in 0..100 {
        let grammar = Some(Arc::clone(&grammar));
        let request = GenerationRequest {
            grammar,
            end: End::Honoured,
            ending: Ending::default(),
            stop: Vec::new(),
            ..random_request(&mut random)
        };
        let expected = live(&request, descriptor, UNTOUCHED);
        let lived = live(&request, descriptor, Fate { seed, preempted: 20, reused: 50, tokens_max: 20 });
        assert_eq!(lived.outputs, expected.outputs, "{request:?}");
        if request.echo == Echo::Nothing {
            whole += check_kept(&expected.outputs);
        }
    }
    assert!(whole > 50, "{whole} answers were whole");
}

/// Holds each answer against the expression by hand; returns how many were whole.
fn check_kept(outputs: &[Output]) -> usize {
    let mut texts: BTreeMap<usize, String> = BTreeMap::new();
    let mut whole = 0;
    for output in outputs {
        let text = texts.entry(output.choice).or_default();
        text.push_str(&output.span.text);
        if output.finish == Some(FinishReason::Stop) {
            let parts: Vec<&str> = text.split('-').collect();
            let (last, pairs) = parts.split_last().unwrap();
            assert!(last.len() == 3 && last.bytes().all(|byte| byte.is_ascii_digit()), "{text}");
            let is_pair = |pair: &&str| pair.len() == 2 && pair.bytes().all(|byte| (b'a'..=b'd').contains(&byte));
            assert!(pairs.iter().all(is_pair), "{text}");
            whole += 1;
        }
    }
    whole
}

#[test]
fn a_prompt_is_counted_when_it_is_first_computed_or_reused() {
    let (_folder, model) = tiny(&TinyModel::default());
    let plain = GenerationRequest::plain(vec![(10..50).collect()], Tokens::AtMost(2), 64);
    let request = GenerationRequest { end: End::Ignored, ..plain };
    let mut generation = Generation::new(request, Arc::clone(model.descriptor()));
    let mut logits = logits(&[], model.descriptor().tokenizer.len());
    let counts = |prompt, cached, completion, recomputed| TokenCounts {
        prompt,
        cached,
        completion,
        recomputed,
        ..TokenCounts::default()
    };
    generation.reuse(32);
    assert_eq!((generation.counts(), generation.tokens_wanted()), (counts(32, 32, 0, 0), 8));
    generation.absorb(5, &mut [], &mut Vec::new()).unwrap();
    generation.preempted();
    assert_eq!((generation.counts(), generation.tokens_wanted()), (counts(37, 32, 0, 0), 40));
    generation.reuse(32);
    generation.absorb(8, &mut logits, &mut Vec::new()).unwrap();
    assert_eq!((generation.counts(), generation.tokens_wanted()), (counts(40, 32, 1, 5), 1));
    generation.preempted();
    assert_eq!((generation.reusable().len(), generation.tokens_wanted()), (41, 41));
    generation.absorb(41, &mut logits, &mut Vec::new()).unwrap();
    assert_eq!(generation.counts(), counts(40, 32, 2, 45));
    assert_eq!(generation.input(1), Input::Done);
}

#[test]
fn a_prompt_alone_is_computed_and_nothing_is_drawn() {
    let (_folder, model) = tiny(&TinyModel::default());
    let request = GenerationRequest::plain(vec![(10..50).collect()], Tokens::PromptAlone, 64);
    let lived = live(&request, model.descriptor(), UNTOUCHED);
    assert_eq!((lived.computed, lived.counts.prompt, lived.counts.completion), (40, 40, 0));
    assert!(matches!(&lived.outputs[..], [Output { choice: 0, span, .. }] if span.is_empty()), "{:?}", lived.outputs);
}
