//! Grammars over the vocabularies of real models: byte-level and SentencePiece. Nothing is computed by them: what is drawn
//! comes from seeded noise that leans to what ends a text.

use std::time::Instant;

use loader::fixture::Random;
use models::grammar::{GrammarSource, Vocabulary};
use models::sampling::{Sampler, Sampling};
use models::tokenizer::{Special, Start, Tokenizer};
use serde_json::{Value, json};

use crate::support::{gemma3, smollm2};

const TOKENS_MAX: usize = 400;

fn source() -> GrammarSource {
    GrammarSource::JsonSchema(json!({
        "type": "object", "required": ["name", "tags", "age"], "additionalProperties": false,
        "properties": {
            "name": { "type": "string" },
            "tags": { "type": "array", "items": { "type": "string", "maxLength": 12 }, "maxItems": 4 },
            "age": { "type": "integer", "minimum": 0, "maximum": 150 },
        },
    }))
}

/// Noise, in which what closes something is likelier.
fn noise(tokenizer: &Tokenizer, random: &mut Random) -> Vec<f32> {
    let closes = |id: u32| matches!(tokenizer.bytes(id).first(), Some(b'"' | b'}' | b']'));
    let tokens = u32::try_from(tokenizer.len()).unwrap();
    let logit = |id: u32| random.below(1000) as f32 / 250.0 + if closes(id) { 6.0 } else { 0.0 };
    (0..tokens).map(logit).collect()
}

/// Draws answers, and returns how many of them were whole.
fn walk(tokenizer: &Tokenizer, seeds: u64) -> usize {
    let vocabulary = Vocabulary::of(tokenizer).unwrap();
    let grammar = vocabulary.compile(&source()).unwrap();
    let mut random = Random::new(7);
    let mut whole = 0;
    for seed in 0..seeds {
        let mut matching = grammar.begin();
        let mut sampler = Sampler::new(Sampling { seed, ..Sampling::default() }, 0, &[]);
        let mut bytes: Vec<u8> = Vec::new();
        for _ in 0..TOKENS_MAX {
            let allowed = matching.allowed().unwrap();
            let id = sampler.sample(&mut noise(tokenizer, &mut random), Some(&allowed)).unwrap();
            assert!(allowed.holds(id));
            if tokenizer.is_end(id) {
                break;
            }
            assert!(!tokenizer.is_control(id), "{id} is no text");
            bytes.extend(tokenizer.bytes(id));
            matching.take(id).unwrap();
            if matching.is_complete() {
                let value: Value = serde_json::from_slice(&bytes).unwrap();
                let names: Vec<&String> = value.as_object().unwrap().keys().collect();
                assert_eq!(names, ["name", "tags", "age"], "{value}");
                whole += 1;
                break;
            }
        }
    }
    whole
}

#[test]
fn what_is_drawn_from_noise_is_valid_in_a_byte_level_vocabulary() {
    assert!(walk(&smollm2().descriptor().tokenizer, 20) >= 15);
}

#[test]
fn what_is_drawn_from_noise_is_valid_in_a_sentencepiece_vocabulary() {
    assert!(walk(&gemma3().descriptor().tokenizer, 5) >= 3);
}

#[test]
fn a_text_is_allowed_in_the_tokens_that_the_tokenizer_makes_of_it() {
    for model in [smollm2(), gemma3()] {
        let tokenizer = &model.descriptor().tokenizer;
        let vocabulary = Vocabulary::of(tokenizer).unwrap();
        let text = r#"{"name": "Zoë 🦀 \"x\"", "tags": ["a b"], "age": 42}"#;
        let mut matching = vocabulary.compile(&source()).unwrap().begin();
        let ids = tokenizer.encode(text, Special::Plain, Start::Bare).unwrap();
        for (index, &id) in ids.iter().enumerate() {
            assert!(matching.allowed().unwrap().holds(id), "{:?}", tokenizer.text(id));
            matching.take(id).unwrap();
            assert_eq!(matching.is_complete(), index + 1 == ids.len());
        }
    }
}

/// Prints what grammars cost: `cargo test -p models --test it -- --ignored --nocapture cost_of_grammars`.
#[test]
#[ignore = "measures"]
fn cost_of_grammars() {
    for model in [smollm2(), gemma3()] {
        let tokenizer = &model.descriptor().tokenizer;
        let began = Instant::now();
        let vocabulary = Vocabulary::of(tokenizer).unwrap();
        println!("{} tokens arranged in {:?}", tokenizer.len(), began.elapsed());
        let began = Instant::now();
        let grammar = vocabulary.compile(&source()).unwrap();
        println!("compiled in {:?}", began.elapsed());
        let mut random = Random::new(7);
        let mut each = Vec::new();
        for seed in 0..20 {
            let began = Instant::now();
            let mut matching = grammar.begin();
            let beginning = began.elapsed();
            let mut sampler = Sampler::new(Sampling { seed, ..Sampling::default() }, 0, &[]);
            for _ in 0..TOKENS_MAX {
                let mut logits = noise(tokenizer, &mut random);
                let began = Instant::now();
                let allowed = matching.allowed().unwrap();
                allowed.restrict(&mut logits);
                let found = began.elapsed();
                let id = sampler.sample(&mut logits, None).unwrap();
                let began = Instant::now();
                matching.take(id).unwrap();
                each.push(found + began.elapsed());
                if matching.is_complete() {
                    break;
                }
            }
            println!("answer {seed} begun in {beginning:?}");
        }
        each.sort_unstable();
        let (middle, late) = (each[each.len() / 2], each[each.len() * 99 / 100]);
        println!(
            "{} masks: {middle:?} in the median, {late:?} at the 99th percentile, {:?} at most",
            each.len(),
            each[each.len() - 1]
        );
    }
}
