//! 10,240 seeded strings against other tokenizers, by hashes that `tokenizer_goldens.py` made.

use std::path::PathBuf;

use etcetera::BaseStrategy as _;
use loader::Artifact;
use loader::pull::{PullRequest, Silent, pull};
use serde_json::Value;

use super::super::split::PRE_TOKENIZERS;
use super::super::{PreTokenizer, Special, Start, Tokenizer};
use super::strings::{STRINGS_A_HASH, Strings, hashes};

fn goldens() -> Value {
    serde_json::from_str(include_str!("../../../tests/goldens/tokenizers.json")).unwrap()
}

/// The file of a known model, from the folder that `dayfly pull` fills; pulled if it is not there.
fn file(name: &str) -> PathBuf {
    let models = etcetera::choose_base_strategy().unwrap().data_dir().join("dayfly").join("models");
    pull(&PullRequest::parse(name, &models).unwrap(), &Silent).unwrap()
}

pub(super) fn tokenizer(name: &str) -> Tokenizer {
    Tokenizer::from_header(Artifact::open(&file(name)).unwrap().header()).unwrap()
}

fn check(what: &str, expected: &Value, found: &[String]) {
    let expected: Vec<&str> = expected.as_array().unwrap().iter().map(|hash| hash.as_str().unwrap()).collect();
    let wrong: Vec<usize> = (0..found.len()).filter(|&index| expected[index] != found[index]).collect();
    assert_eq!(expected.len(), found.len());
    assert!(
        wrong.is_empty(),
        "{what}: {} of {} hashes of {STRINGS_A_HASH} strings differ: {wrong:?}",
        wrong.len(),
        found.len()
    );
}

#[test]
fn the_strings_are_those_that_the_goldens_were_made_of() {
    check("strings", &goldens()["strings"], &hashes(|text| text.chars().map(u32::from).collect()));
}

#[test]
fn ids_equal_llama_cpps_on_real_vocabularies() {
    for name in ["gemma3-270m", "smollm2"] {
        let tokenizer = tokenizer(name);
        let ids = |text: &str| tokenizer.encode(text, Special::Plain, Start::Bare).unwrap();
        check(name, &goldens()["ids"][name], &hashes(ids));
    }
}

#[test]
fn pieces_equal_those_of_the_published_patterns() {
    let goldens = goldens();
    for (name, expected) in goldens["splits"].as_object().unwrap() {
        let pre_tokenizer = PreTokenizer::named(name).unwrap();
        let chars = |piece: &str| u32::try_from(piece.chars().count()).unwrap();
        check(name, expected, &hashes(|text| pre_tokenizer.pieces(text).map(chars).collect()));
    }
}

#[test]
fn pieces_of_every_pre_tokenizer_are_the_whole_text() {
    let strings = Strings::new();
    for pre_tokenizer in &PRE_TOKENIZERS {
        for text in strings.all().step_by(16) {
            assert_eq!(pre_tokenizer.pieces(&text).collect::<String>(), text, "{pre_tokenizer:?}");
            assert!(pre_tokenizer.pieces(&text).all(|piece| !piece.is_empty()));
        }
    }
}

#[test]
fn gemmas_ids_equal_llama_cpps_goldens() {
    let goldens: Value = serde_json::from_str(include_str!("../../../tests/goldens/gemma-3-270m-q4_k_m.json")).unwrap();
    let tokenizer = tokenizer("gemma3-270m");
    let ids = |value: &Value| -> Vec<u32> {
        value.as_array().unwrap().iter().map(|id| u32::try_from(id.as_u64().unwrap()).unwrap()).collect()
    };
    for case in goldens["tokenize"].as_array().unwrap() {
        let text = case["text"].as_str().unwrap();
        let special = if case["parse_special"] == true { Special::Parsed } else { Special::Plain };
        let start = if case["add_special"] == true { Start::AsModel } else { Start::Bare };
        assert_eq!(tokenizer.encode(text, special, start).unwrap(), ids(&case["tokens"]), "{text:?}, {special:?}");
    }
    for case in goldens["greedy"].as_array().unwrap() {
        let prompt = case["prompt"].as_str().unwrap();
        assert_eq!(tokenizer.encode(prompt, Special::Parsed, Start::AsModel).unwrap(), ids(&case["prompt_ids"]));
    }
}
