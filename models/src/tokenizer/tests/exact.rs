//! 10,240 seeded strings against other tokenizers, by hashes that `tokenizer_goldens.py` made.

use std::path::PathBuf;

use etcetera::BaseStrategy as _;
use loader::Artifact;
use loader::pull::{PullRequest, Silent, pull};
use serde_json::{Value, json};

use super::super::library::{Described, Library};
use super::super::split::{PRE_TOKENIZERS, PreTokenizer};
use super::super::vocabulary::Role;
use super::super::words::Words;
use super::super::{Special, Start, Tokenizer};
use super::strings::{STRINGS_A_HASH, Strings, hashes};
use crate::ModelError;

fn goldens() -> Value {
    serde_json::from_str(include_str!("../../../tests/goldens/tokenizers.json")).unwrap()
}

/// The file of a known model, from the folder that `dayfly pull` fills; pulled if it is not there.
fn file(name: &str) -> PathBuf {
    let models = etcetera::choose_base_strategy().unwrap().data_dir().join("dayfly").join("models");
    pull(&PullRequest::parse(name, &models).unwrap(), &Silent).unwrap()
}

pub(super) fn artifact(name: &str) -> Artifact {
    Artifact::open(&file(name)).unwrap()
}

pub(super) fn tokenizer(name: &str) -> Tokenizer {
    Tokenizer::from_header(artifact(name).header()).unwrap()
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

/// The small WordPiece that `tokenizer_goldens.py` made.
pub(super) const WORDPIECE: &str = include_str!("../../../tests/goldens/wordpiece.json");

#[test]
fn ids_of_word_pieces_equal_the_librarys_from_json_and_from_a_header() {
    let json: Value = serde_json::from_str(WORDPIECE).unwrap();
    let from_json = Tokenizer::from_json(WORDPIECE.as_bytes()).unwrap();
    let from_header = super::properties::word_pieces(&json);
    for tokenizer in [&from_json, &from_header] {
        let ids = |text: &str| tokenizer.encode(text, Special::Plain, Start::Bare).unwrap();
        check("wordpiece", &goldens()["ids"]["wordpiece"], &hashes(ids));
        let around = tokenizer.encode("hello [SEP] flying", Special::Parsed, Start::AsModel).unwrap();
        let texts: Vec<String> = around.iter().map(|&id| tokenizer.text(id)).collect();
        assert_eq!(texts, ["[CLS]", " hello", "[SEP]", " fly", "ing", "[SEP]"]);
        assert_eq!(tokenizer.decode(&around[1..2]), "hello");
        let long = "hello world, ".repeat(10_000);
        let some = tokenizer.encode_up_to(&long, Special::Plain, Start::Bare, 100).unwrap().len();
        let all = tokenizer.encode(&long, Special::Plain, Start::Bare).unwrap().len();
        assert_eq!((all, some > 100, some < all / 3), (30_000, true, true), "{some}");
    }
    assert_eq!(from_json.len(), from_header.len());
}

#[test]
fn a_decoder_that_is_no_json_is_refused() {
    for broken in [
        r#"{"decoder":{"type":"ByteLevel",, }"#,
        "{\"decoder\":{\"type\":\"Byte\u{1}Level\"}}",
        r#"{"decoder":{"type":"\ud800"}}"#,
    ] {
        let refused = Tokenizer::from_json(broken.as_bytes());
        assert!(matches!(refused, Err(ModelError::TokenizerJson(_))), "{broken}: {refused:?}");
    }
}

#[test]
fn word_pieces_of_endless_words_and_ends_without_a_row_are_refused() {
    let mut json: Value = serde_json::from_str(WORDPIECE).unwrap();
    let rows = Tokenizer::from_json(WORDPIECE.as_bytes()).unwrap().len();
    json["model"]["max_input_chars_per_word"] = 1_000_000_000_u64.into();
    let refused = Tokenizer::from_json(json.to_string().as_bytes());
    assert!(matches!(refused, Err(ModelError::UnsupportedTokenizer { .. })), "{refused:?}");

    // The token before a text, as one that the embedding has no row for.
    let mut json: Value = serde_json::from_str(WORDPIECE).unwrap();
    let far = 5000;
    for added in json["added_tokens"].as_array_mut().unwrap() {
        if added["content"] == "[CLS]" {
            added["id"] = far.into();
        }
    }
    json["model"]["vocab"].as_object_mut().unwrap().remove("[CLS]");
    json["post_processor"]["special_tokens"]["[CLS]"]["ids"] = vec![far].into();
    let refused = Library::from_json(json.to_string().as_bytes(), rows).map(|_| ());
    assert!(matches!(refused, Err(ModelError::InconsistentTokenizer { .. })), "{refused:?}");
}

#[test]
fn a_tokenizer_without_a_token_for_what_it_does_not_know_is_refused() {
    let read = |json: &Value| Tokenizer::from_json(json.to_string().as_bytes());
    let is_refused = |json: &Value| matches!(read(json), Err(ModelError::UnsupportedTokenizer { what }) if what.contains("does not know"));
    let mut pieces: Value = serde_json::from_str(WORDPIECE).unwrap();
    pieces["model"]["unk_token"] = "[NONE]".into();
    assert!(is_refused(&pieces));

    let of_model = |model: Value| {
        json!({"version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
               "pre_tokenizer": null, "post_processor": null, "decoder": null, "model": model})
    };
    let words =
        |unknown: &str| of_model(json!({"type": "WordLevel", "vocab": {"a": 0, "[UNK]": 1}, "unk_token": unknown}));
    let unigram = |unknown: Value| {
        of_model(json!({"type": "Unigram", "unk_id": unknown, "vocab": [["a", 0.0], ["[UNK]", -1.0]],
                        "byte_fallback": false}))
    };
    assert!(is_refused(&words("[NONE]")) && is_refused(&unigram(Value::Null)));
    let mut without = unigram(Value::Null);
    without["model"].as_object_mut().unwrap().remove("unk_id");
    assert!(is_refused(&without));
    let pairs = of_model(json!({"type": "BPE", "vocab": {"a": 0, "b": 1}, "merges": []}));
    for (json, expected) in [(words("[UNK]"), vec![1]), (unigram(json!(1)), vec![1]), (pairs, vec![])] {
        let tokenizer = read(&json).unwrap();
        assert_eq!(tokenizer.encode("z", Special::Plain, Start::Bare).unwrap(), expected, "{json}");
    }
}

#[test]
fn word_pieces_read_straight_are_what_the_crate_reads() {
    let straight = Library::from_json(WORDPIECE.as_bytes(), usize::MAX).unwrap();
    let crates = Library::by_the_crate(WORDPIECE.as_bytes(), usize::MAX).unwrap();
    assert!(Words::read(WORDPIECE.as_bytes()).is_some(), "otherwise both are the crate's");
    let entries = |described: &Described| -> Vec<(Vec<u8>, Role)> {
        let vocabulary = &described.vocabulary;
        vocabulary.roles().map(|(id, role)| (vocabulary.bytes(id).to_vec(), role)).collect()
    };
    assert_eq!(entries(&straight), entries(&crates));
    assert_eq!((straight.first, straight.last, straight.spaced), (crates.first, crates.last, crates.spaced));
}

#[test]
fn word_pieces_that_say_more_are_the_crates_to_read() {
    let changed = |change: fn(&mut Value)| {
        let mut json: Value = serde_json::from_str(WORDPIECE).unwrap();
        change(&mut json);
        Words::read(json.to_string().as_bytes()).is_some()
    };
    assert!(changed(|_| ()));
    assert!(!changed(|json| json["model"]["type"] = "WordLevel".into()));
    assert!(!changed(|json| json["pre_tokenizer"]["type"] = "Whitespace".into()));
    assert!(!changed(|json| json["normalizer"] = Value::Null));
    assert!(!changed(|json| json["decoder"] = Value::Null));
    assert!(!changed(|json| json["added_tokens"][0]["special"] = false.into()));
    assert!(!changed(|json| json["added_tokens"][0]["content"] = "[OTHER]".into()));
    assert!(!changed(|json| json["model"]["vocab"]["far"] = 100_000.into()));
    assert!(!changed(|json| json["model"]["vocab"]["again"] = 5.into()));
    assert!(!changed(|json| json["model"]["mystery"] = 1.into()));
    assert!(!changed(|json| json["post_processor"]["single"] = serde_json::json!([])));
}
