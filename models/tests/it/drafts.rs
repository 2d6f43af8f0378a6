//! Texts with drafts are the texts without them: token by token, in every sum and for every seed.

use std::sync::Arc;

use kernels::{KvCache, KvPrecision, KvShape};
use loader::fixture::{Random, TinyModel};
use models::executor::Run;
use models::generation::{
    Echo, End, Ending, FinishReason, Generation, GenerationRequest, Input, Output, ScoredToken, Shown, TokenCounts,
    Tokens, Wanted,
};
use models::grammar::{GrammarSource, Vocabulary};
use models::limits::PREFILL_CHUNK_TOKENS;
use models::sampling::Sampling;
use models::tokenizer::{Special, Start};
use models::{Descriptor, Executor, Model};

use crate::peer_models::peer_models;
use crate::support::{executor, smollm2, tiny, written};

/// What becomes of a request's steps.
#[derive(Clone, Copy)]
struct Fate {
    seed: u64,
    /// Of a hundred steps that have drafts, those that compute some.
    drafted: usize,
    /// Of a hundred steps, those before which the cache is lost.
    preempted: usize,
}

const PLAIN: Fate = Fate { seed: 0, drafted: 0, preempted: 0 };
const ALL: Fate = Fate { drafted: 100, ..PLAIN };

/// What a client saw of one answer.
#[derive(Debug, Default, PartialEq)]
struct Seen {
    text: String,
    tokens: Vec<ScoredToken>,
    finish: Option<FinishReason>,
}

struct Lived {
    answers: Vec<Seen>,
    counts: TokenCounts,
    /// Pieces that were shown.
    pieces: usize,
}

/// Where tokens go, and what comes of them.
trait Machine {
    /// Runs `tokens` at `position`; the logits of each that `generation` scores or draws from, of the last `rows` together.
    fn run(&mut self, generation: &mut Generation, position: usize, tokens: &[u32], wanted: Wanted) -> Vec<f32>;
    fn lose(&mut self);
}

/// Runs a request to its end.
fn live(request: &GenerationRequest, descriptor: &Arc<Descriptor>, fate: Fate, machine: &mut dyn Machine) -> Lived {
    let generation = Generation::new(request.clone(), Arc::clone(descriptor));
    let mut generation = if fate.drafted > 0 { generation.with_drafts() } else { generation };
    let mut answers: Vec<Seen> = (0..request.prompts.len() * request.choices).map(|_| Seen::default()).collect();
    let (mut random, mut pieces) = (Random::new(fate.seed), 0);
    loop {
        if random.below(100) < fate.preempted {
            generation.preempted();
            machine.lose();
        }
        let (position, mut tokens, mut wanted) = match generation.input(PREFILL_CHUNK_TOKENS) {
            Input::Done => break,
            Input::Reuse => (0, Vec::new(), Wanted::Nothing),
            Input::Run { position, tokens, wanted } => (position, tokens.to_vec(), wanted),
        };
        if let Some(draft) = generation.draft()
            && random.below(100) < fate.drafted
        {
            assert_eq!((tokens.len(), wanted), (1, Wanted::Last), "drafts stand behind the next token alone");
            let count = if fate.drafted == 100 { draft.tokens.len() } else { 1 + random.below(draft.tokens.len()) };
            tokens.extend_from_slice(&draft.tokens[..count]);
            wanted = Wanted::LastAnd(count);
        }
        let mut logits =
            if tokens.is_empty() { Vec::new() } else { machine.run(&mut generation, position, &tokens, wanted) };
        let mut outputs = Vec::new();
        let before = generation.counts();
        generation.absorb(tokens.len(), &mut logits, &mut outputs).unwrap();
        let after = generation.counts();
        assert!(after.accepted - before.accepted <= (after.completion - before.completion).min(after.drafted));
        assert!(outputs.len() <= 1, "a step shows one piece");
        for Output { choice, span, finish } in outputs {
            pieces += 1;
            let answer = &mut answers[choice];
            assert_eq!(answer.finish, None, "nothing comes after an answer's end");
            answer.text.push_str(&span.text);
            answer.tokens.extend(span.tokens);
            answer.finish = finish;
        }
    }
    assert_eq!(generation.draft(), None);
    Lived { answers, counts: generation.counts(), pieces }
}

/// A toy: logits are mostly of a part of the last token, so that texts repeat themselves, and a little of all that the cache
/// holds, so that a wrong one anywhere shows.
struct Toy {
    cache: Vec<u32>,
    vocabulary: usize,
}

impl Toy {
    fn logits(&self) -> Vec<f32> {
        let mixed = |tokens: &[u32]| {
            let seed = tokens.iter().fold(7, |seed: u64, &token| Random::new(seed ^ u64::from(token)).bits());
            Random::new(seed)
        };
        let last = self.cache.last().map_or(0, |token| token % 8);
        let (mut near, mut far) = (mixed(&[last]), mixed(&self.cache));
        (0..self.vocabulary).map(|_| 6.0 * near.signed_unit() + 0.05 * far.signed_unit()).collect()
    }
}

impl Machine for Toy {
    fn run(&mut self, generation: &mut Generation, position: usize, tokens: &[u32], wanted: Wanted) -> Vec<f32> {
        assert!(position <= self.cache.len(), "what precedes a run is in the cache");
        self.cache.truncate(position);
        let rows = match wanted {
            Wanted::Nothing => 0,
            Wanted::Last | Wanted::Each => 1,
            Wanted::LastAnd(before) => before + 1,
        };
        let mut logits = Vec::new();
        for (index, &token) in tokens.iter().enumerate() {
            self.cache.push(token);
            if wanted == Wanted::Each {
                generation.score(index, &self.logits());
            }
            if index + rows >= tokens.len() {
                logits.extend(self.logits());
            }
        }
        logits
    }

    fn lose(&mut self) {
        self.cache.clear();
    }
}

/// A real one.
struct Real<'a> {
    model: &'a Model,
    executor: &'a mut Executor,
    cache: KvCache,
}

impl<'a> Real<'a> {
    fn new(model: &'a Model, executor: &'a mut Executor, (positions, precision): (usize, KvPrecision)) -> Self {
        let mut cache = KvCache::new(KvShape { precision, ..model.kv_shape() });
        while cache.capacity() < positions {
            cache.push_block();
        }
        Self { model, executor, cache }
    }
}

impl Machine for Real<'_> {
    fn run(&mut self, generation: &mut Generation, position: usize, tokens: &[u32], wanted: Wanted) -> Vec<f32> {
        self.cache.set_len(position);
        let run = Run { tokens, position, wanted };
        self.executor.run(self.model, &mut self.cache, run, &mut |index, logits| generation.score(index, logits));
        self.executor.logits_of(0).to_vec()
    }

    fn lose(&mut self) {
        self.cache.set_len(0);
    }
}

fn request(prompts: Vec<Vec<u32>>) -> GenerationRequest {
    let sampling = Sampling { temperature: 0.0, ..Sampling::default() };
    GenerationRequest { sampling, end: End::Ignored, ..GenerationRequest::plain(prompts, Tokens::AtMost(40), 256) }
}

fn random_request(random: &mut Random) -> GenerationRequest {
    let mut prompt = || {
        let few: Vec<u32> = (0..1 + random.below(20)).map(|_| 3 + u32::try_from(random.below(250)).unwrap()).collect();
        few.repeat(1 + random.below(3))
    };
    let prompts: Vec<Vec<u32>> = (0..3).map(|_| prompt()).collect();
    let sampling = Sampling {
        temperature: [0.0, 0.4, 1.0][random.below(3)],
        top_k: [0, 3][random.below(2)],
        top_p: [1.0, 0.8][random.below(2)],
        repetition_penalty: [1.0, 1.02][random.below(2)],
        frequency_penalty: [0.0, 0.1][random.below(2)],
        seed: random.bits(),
        ..Sampling::default()
    };
    GenerationRequest {
        prompts: prompts[..1 + random.below(3)].to_vec(),
        choices: 1 + random.below(3),
        tokens_max: [Tokens::AtMost(1), Tokens::AtMost(2), Tokens::AtMost(60), Tokens::RestOfContext][random.below(4)],
        sampling,
        grammar: None,
        stop: [vec![], vec!["ab".to_owned(), "e".to_owned()]][random.below(2)].clone(),
        end: [End::Honoured, End::Ignored][random.below(2)],
        ending: Ending {
            tokens: [vec![], vec![70, 71, 104]][random.below(2)].clone(),
            tokens_min: [0, 4][random.below(2)],
            shown: [Shown::No, Shown::Yes][random.below(2)],
        },
        control_tokens: [Shown::No, Shown::Yes][random.below(2)],
        echo: [Echo::Nothing, Echo::Prompt][random.below(2)],
        logprobs: [None, Some(0), Some(2)][random.below(3)],
        context: 61 + random.below(60),
    }
}

#[test]
fn drafts_change_no_text_no_score_and_no_count() {
    let (_folder, model) = tiny(&TinyModel::default());
    let descriptor = model.descriptor();
    let toy = || Toy { cache: Vec::new(), vocabulary: descriptor.tokenizer.len() };
    let mut random = Random::new(17);
    let (mut drafted, mut accepted, mut sampled) = (0, 0, 0);
    for seed in 0..720 {
        let request = random_request(&mut random);
        let expected = live(&request, descriptor, PLAIN, &mut toy());
        assert_eq!((expected.counts.drafted, expected.counts.accepted), (0, 0));
        for fate in [ALL, Fate { seed, drafted: 60, preempted: 0 }, Fate { seed, drafted: 80, preempted: 15 }] {
            let lived = live(&request, descriptor, fate, &mut toy());
            assert_eq!(lived.answers, expected.answers, "{request:?}");
            let counts = lived.counts;
            let answered = TokenCounts { drafted: 0, accepted: 0, recomputed: 0, ..counts };
            assert_eq!(answered, expected.counts, "{request:?}");
            assert!(counts.accepted <= counts.drafted);
            assert!(lived.pieces <= expected.pieces);
            (drafted, accepted) = (drafted + counts.drafted, accepted + counts.accepted);
            sampled += if request.sampling.temperature > 0.0 { counts.accepted } else { 0 };
        }
    }
    assert!(accepted > 5_000 && drafted - accepted > 5_000, "{accepted} of {drafted} were right");
    assert!(sampled > 500, "{sampled} of them drawn by chance");
}

#[test]
fn drafts_that_a_grammar_forbids_are_not_accepted() {
    let (_folder, model) = tiny(&TinyModel::default());
    let descriptor = model.descriptor();
    let toy = || Toy { cache: Vec::new(), vocabulary: descriptor.tokenizer.len() };
    let vocabulary = Vocabulary::of(&descriptor.tokenizer).unwrap();
    // What repeats is guessed to go on, and does not.
    let grammar = GrammarSource::Regex("((ab){3,5}[cd]){2,4}".to_owned());
    let grammar = Arc::new(vocabulary.compile(&grammar).unwrap());
    let mut random = Random::new(19);
    let (mut drafted, mut accepted) = (0, 0);
    for seed in 0..100 {
        let grammar = Some(Arc::clone(&grammar));
        let request = GenerationRequest {
            grammar,
            end: End::Honoured,
            ending: Ending::default(),
            stop: Vec::new(),
            ..random_request(&mut random)
        };
        let expected = live(&request, descriptor, PLAIN, &mut toy());
        for fate in [ALL, Fate { seed, drafted: 80, preempted: 15 }] {
            let lived = live(&request, descriptor, fate, &mut toy());
            assert_eq!(lived.answers, expected.answers, "{request:?}");
            (drafted, accepted) = (drafted + lived.counts.drafted, accepted + lived.counts.accepted);
        }
    }
    assert!(accepted > 200 && drafted - accepted > 50, "{accepted} of {drafted} were right");
}

#[test]
fn a_step_with_drafts_has_several_tokens_and_never_more_than_are_left() {
    let (_folder, model) = tiny(&TinyModel::default());
    let descriptor = model.descriptor();
    // The same token for ever.
    struct Constant(Vec<usize>);
    impl Machine for Constant {
        fn run(&mut self, _: &mut Generation, _: usize, tokens: &[u32], wanted: Wanted) -> Vec<f32> {
            self.0.push(tokens.len());
            let rows = if let Wanted::LastAnd(before) = wanted { before + 1 } else { 1 };
            let mut row = vec![0.0; 275];
            row[70] = 9.0;
            row.repeat(rows)
        }
        fn lose(&mut self) {}
    }
    let mut machine = Constant(Vec::new());
    let request = GenerationRequest { tokens_max: Tokens::AtMost(40), ..request(vec![vec![70; 8]]) };
    let lived = live(&request, descriptor, ALL, &mut machine);
    assert_eq!(machine.0, [8, 16, 16, 7], "the prompt gives one token; each step one more than it drafts");
    assert_eq!((lived.counts.completion, lived.counts.drafted, lived.counts.accepted), (40, 36, 36));
    assert_eq!(lived.answers[0].finish, Some(FinishReason::Length));
}

#[test]
fn a_seed_gives_its_text_over_every_architecture_and_precision() {
    let mut executor = executor();
    let (mut drafted, mut accepted) = (0, 0);
    for tiny in peer_models() {
        let (_folder, model) = written(&tiny.file);
        let vocabulary = u32::try_from(model.plan().vocabulary).unwrap();
        let prompt: Vec<u32> = (0..12).map(|index| 3 + index * 7 % (vocabulary - 3)).collect::<Vec<_>>().repeat(5);
        for precision in [KvPrecision::F16, KvPrecision::Q8_0] {
            for (temperature, seed) in [(0.0, 0), (0.3, 1), (1.0, 2)] {
                let sampling = Sampling { temperature, seed, ..Sampling::default() };
                let request = GenerationRequest { sampling, logprobs: Some(1), ..request(vec![prompt.clone()]) };
                let mut lived = |fate| {
                    let mut machine = Real::new(&model, &mut executor, (128, precision));
                    live(&request, model.descriptor(), fate, &mut machine)
                };
                let (with, without) = (lived(ALL), lived(PLAIN));
                assert_eq!(with.answers, without.answers, "{}, {precision:?}, temperature {temperature}", tiny.name);
                (drafted, accepted) = (drafted + with.counts.drafted, accepted + with.counts.accepted);
            }
        }
    }
    assert!(accepted > 50 && drafted > 2 * accepted, "{accepted} of {drafted} were right");
}

#[test]
fn smollm2_copies_a_list_in_few_steps_and_to_the_letter() {
    let model = smollm2();
    let mut executor = executor();
    let list = "apple tart, pear cake, plum pie, cherry soup, fig bread, lemon curd, grape jam";
    let text = format!("The list: {list}.\nThe same list again: {list}.\nThe same list again:");
    let prompt = model.descriptor().tokenizer.encode(&text, Special::Plain, Start::Bare).unwrap();
    let request = GenerationRequest { tokens_max: Tokens::AtMost(32), logprobs: Some(1), ..request(vec![prompt]) };
    let mut lived =
        |fate| live(&request, model.descriptor(), fate, &mut Real::new(&model, &mut executor, (160, KvPrecision::F16)));
    let (with, without) = (lived(ALL), lived(PLAIN));
    assert_eq!(with.answers, without.answers);
    assert!(with.answers[0].text.contains("pear cake, plum pie"), "{}", with.answers[0].text);
    assert!(with.counts.accepted >= 20, "{:?}", with.counts);
    assert!(with.pieces * 2 < without.pieces, "{} pieces instead of {}", with.pieces, without.pieces);
}

/// A distribution that does not change, whatever came before.
struct Fixed;

const WEIGHTS: [f32; 4] = [0.5, 0.25, 0.15, 0.1];

impl Machine for Fixed {
    fn run(&mut self, _: &mut Generation, _: usize, _: &[u32], wanted: Wanted) -> Vec<f32> {
        let rows = if let Wanted::LastAnd(before) = wanted { before + 1 } else { 1 };
        let mut row = vec![f32::MIN; 275];
        row.iter_mut().skip(70).zip(WEIGHTS).for_each(|(logit, weight)| *logit = weight.ln());
        row.repeat(rows)
    }

    fn lose(&mut self) {}
}

#[test]
fn drawn_tokens_follow_the_distribution_where_drafts_were_accepted_and_where_not() {
    let (_folder, model) = tiny(&TinyModel::default());
    let (mut counts, mut accepted, mut rejected) = ([0_u32; WEIGHTS.len()], 0, 0);
    for seed in 0..500 {
        let sampling = Sampling { temperature: 1.0, seed, ..Sampling::default() };
        let request = GenerationRequest { sampling, logprobs: Some(0), ..request(vec![vec![70, 71, 70, 70, 72]]) };
        let lived = live(&request, model.descriptor(), ALL, &mut Fixed);
        lived.answers[0].tokens.iter().for_each(|token| counts[token.id as usize - 70] += 1);
        accepted += lived.counts.accepted;
        rejected += lived.counts.drafted - lived.counts.accepted;
    }
    let total: u32 = counts.iter().sum();
    assert_eq!(total, 500 * 40);
    assert!(accepted > 3_000 && rejected > 3_000, "{accepted} and {rejected}");
    let chi_square: f64 = counts
        .iter()
        .zip(WEIGHTS)
        .map(|(&count, weight)| {
            let expected = f64::from(total) * f64::from(weight);
            (f64::from(count) - expected).powi(2) / expected
        })
        .sum();
    // Of three degrees of freedom, exceeded once in a thousand times.
    assert!(chi_square < 16.27, "{chi_square} of {counts:?}");
}
