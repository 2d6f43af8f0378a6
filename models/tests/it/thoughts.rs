//! Answers that think before they keep to a grammar, written by a script: whatever becomes of their steps.

use std::sync::Arc;

use loader::fixture::{Random, TinyModel};
use models::Descriptor;
use models::generation::{FinishReason, Generation, GenerationRequest, Input, TokenCounts, Tokens};
use models::grammar::{Grammar, GrammarSource, Opening, Vocabulary};
use models::sampling::Sampling;
use models::tokenizer::{Special, Start};
use serde_json::json;

use crate::support::tiny;

/// Of a hundred steps, those before which the cache is lost, and those that compute drafts.
#[derive(Clone, Copy)]
struct Fate {
    preempted: usize,
    drafted: usize,
}

/// An answer of a model that would write `script`, token by token, if it were let.
fn live(script: &str, grammar: &Arc<Grammar>, descriptor: &Arc<Descriptor>, fate: Fate) -> (String, TokenCounts) {
    let (text, counts, finish) = live_to(Tokens::RestOfContext, script, grammar, (descriptor, fate));
    assert_eq!(finish, FinishReason::Stop);
    (text, counts)
}

fn live_to(
    tokens_max: Tokens,
    script: &str,
    grammar: &Arc<Grammar>,
    (descriptor, fate): (&Arc<Descriptor>, Fate),
) -> (String, TokenCounts, FinishReason) {
    let tokenizer = &descriptor.tokenizer;
    let script = tokenizer.encode(script, Special::Plain, Start::Bare).unwrap();
    let sampling = Sampling { temperature: 0.0, ..Sampling::default() };
    let plain = GenerationRequest::plain(vec![vec![5, 6, 7]], tokens_max, 512);
    let request = GenerationRequest { sampling, grammar: Some(Arc::clone(grammar)), ..plain };
    let mut generation = Generation::new(request, Arc::clone(descriptor)).with_drafts();
    let (mut random, mut text) = (Random::new(3), String::new());
    loop {
        if random.below(100) < fate.preempted {
            generation.preempted();
        }
        let tokens = match generation.input(usize::MAX) {
            Input::Run { tokens, .. } => tokens.len(),
            other => panic!("{other:?}"),
        };
        let drafts = generation.draft().map_or(0, |draft| draft.tokens.len());
        let drafts = if random.below(100) < fate.drafted { drafts } else { 0 };
        let drawn = usize::try_from(generation.counts().completion).unwrap();
        let mut logits = vec![0.0; (1 + drafts) * tokenizer.len()];
        for (place, logits) in logits.chunks_mut(tokenizer.len()).enumerate() {
            if let Some(&next) = script.get(drawn + place) {
                logits[next as usize] = 20.0;
            }
        }
        let mut outputs = Vec::new();
        generation.absorb(tokens + drafts, &mut logits, &mut outputs).unwrap();
        for output in outputs {
            text.push_str(&output.span.text);
            if let Some(finish) = output.finish {
                return (text, generation.counts(), finish);
            }
        }
    }
}

const THOUGHT: &str = "I think, I think, I think, I think, {\"city\": 1} I think.\n</think>\n\n";

#[test]
fn only_what_stands_behind_the_thoughts_is_held_through_preemption_and_drafts() {
    let (_folder, model) = tiny(&TinyModel::default());
    let descriptor = model.descriptor();
    let vocabulary = Vocabulary::of(&descriptor.tokenizer).unwrap();
    let held = GrammarSource::JsonSchema(json!({ "const": { "city": "Rome" } }));
    let begun = Arc::new(vocabulary.compile(&held.clone().behind(Opening::Begun)).unwrap());
    let possible = Arc::new(vocabulary.compile(&held.behind(Opening::Possible)).unwrap());
    for (opened, grammar) in [("", &begun), ("<think>", &possible)] {
        let script = format!("{opened}{THOUGHT}{{\"city\":\"Bonn\"}}");
        let (plain, counts) = live(&script, grammar, descriptor, Fate { preempted: 0, drafted: 0 });
        let (thought, answer) = plain.split_once("</think>").unwrap();
        assert_eq!(
            thought,
            format!("{opened}{}", THOUGHT.split_once("</think>").unwrap().0),
            "what is thought is free"
        );
        assert_eq!(serde_json::from_str::<serde_json::Value>(answer).unwrap(), json!({ "city": "Rome" }));
        assert_eq!((counts.drafted, counts.recomputed), (0, 0));
        for fate in [
            Fate { preempted: 30, drafted: 0 },
            Fate { preempted: 0, drafted: 100 },
            Fate { preempted: 20, drafted: 60 },
        ] {
            let (text, lived) = live(&script, grammar, descriptor, fate);
            assert_eq!((&text, lived.completion), (&plain, counts.completion));
            assert_eq!((lived.accepted > 0, lived.recomputed > 0), (fate.drafted > 0, fate.preempted > 0));
        }
    }
    // Without thoughts it is held from its first token on, and where they have begun they do not end the answer.
    let (text, _) = live("{\"city\": \"Bonn\"}", &possible, descriptor, Fate { preempted: 0, drafted: 100 });
    assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap(), json!({ "city": "Rome" }));
    let fate = Fate { preempted: 10, drafted: 50 };
    let (cut, counts, finish) = live_to(Tokens::AtMost(20), THOUGHT, &begun, (descriptor, fate));
    assert_eq!((finish, counts.completion), (FinishReason::Length, 20));
    assert!(THOUGHT.starts_with(&cut) && !cut.contains("</think>"), "{cut:?}");
}
