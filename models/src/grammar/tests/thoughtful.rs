//! Thoughts before what keeps to a grammar, in a vocabulary in which a tag is many tokens.

use serde_json::json;

use super::{calls, check, follow, refusal, schema};
use crate::grammar::{CallNumber, GrammarError, GrammarSource, Instead, Opening};
use crate::reading::CallFormat;
use crate::template::Thoughts;

fn held() -> GrammarSource {
    schema(json!({ "enum": [true, "<think>"] }))
}

#[test]
fn thoughts_that_have_begun_end_before_anything_is_held() {
    let begun = held().behind(Opening::Begun);
    check(
        &begun,
        &[
            "</think>true",
            "Hm. {\"a\": 1}\n</think>\n\ntrue",
            "<think>é</think> \"<think>\"",
            "a </thinker> < </think>true",
        ],
        &["", "true", "Hm.", "Hm.</think", "Hm.</think>", "Hm.</think>\n", "Hm.</think>tr"],
        &["Hm.</think>no", "</think></think>true", "</think>true ", "</think>\u{a0}true"],
    );
    let spaces = |count: usize| format!("Hm.</think>{}true", " ".repeat(count));
    check(&begun, &[&spaces(20)], &[], &[&spaces(21)]);
}

#[test]
fn thoughts_that_the_model_may_begin_come_first_or_not_at_all() {
    let possible = held().behind(Opening::Possible);
    check(
        &possible,
        &["true", "<think></think>true", "<think>Hm.\n</think>\n\ntrue"],
        &["", "<think>", "<think>true", "<thi"],
        &["Hm.", " true", " <think>", "<think></think>Hm", "<thinking", "</think>true"],
    );
    // What begins as thoughts is read as such, so that it is held to be some.
    for any in [GrammarSource::Regex("(?s:.*)".to_owned()), GrammarSource::Lark("start: /(?s:.*)/".to_owned())] {
        let possible = any.behind(Opening::Possible);
        check(&possible, &["", "Hm.", "<thin", "<think>a</think>b", " <think>"], &["<think>", "<think>a</think"], &[]);
    }
}

#[test]
fn every_kind_of_grammar_stands_behind_thoughts() {
    let regex = GrammarSource::Regex("[0-9]{2}".to_owned()).behind(Opening::Begun);
    check(&regex, &["12</think>34", "</think>\n34"], &["12", "1</think>3"], &["</think>345", "</think>a"]);
    let lark = "%ignore / +/\nstart: \"a\" body\nbody: \"held\" | \"(\" body \")\"";
    let lark = GrammarSource::Lark(lark.to_owned()).behind(Opening::Possible);
    check(
        &lark,
        &["a held", "<think>a b</think>\na ((held))"],
        &["a (", "<think>a held"],
        &["held", "<think></think>held"],
    );
    let call = "<tool_call>\n{\"name\": \"time\", \"arguments\": {}}\n</tool_call>";
    let forced = calls(CallFormat::Tagged, CallNumber::One, Instead::Nothing).behind(Opening::Begun);
    check(&forced, &[&format!("Call?\n<tool_call>no\n</think>\n\n{call}")], &[call], &[&format!("</think>I {call}")]);
    let free = calls(CallFormat::Tagged, CallNumber::One, Instead::Text).behind(Opening::Possible);
    let thought = "<think>What is <tool_call>? no</think>\n";
    check(&free, &["Hi", call, &format!("{thought}Hi {call}")], &["<think>Hi"], &[&format!("{thought}<tool_call>no")]);
}

#[test]
fn what_is_wrong_is_wrong_behind_thoughts_too_and_what_is_different_is_told_apart() {
    let lark = |text: &str| GrammarSource::Lark(text.to_owned());
    for wrong in [lark("start: nowhere"), lark("start: \"a\" @held"), schema(json!({ "enum": [] }))] {
        assert!(matches!(refusal(&wrong.behind(Opening::Begun)), GrammarError::Refused { .. }));
    }
    assert!(matches!(refusal(&schema(json!({ "$ref": "#" })).behind(Opening::Begun)), GrammarError::Endless));
    assert!(matches!(refusal(&schema(json!({})).behind(Opening::Possible)), GrammarError::Empty));
    let all = [held(), held().behind(Opening::Begun), held().behind(Opening::Possible)];
    let canonical: Vec<_> = all.iter().map(GrammarSource::canonical).collect();
    assert!(canonical[0] != canonical[1] && canonical[1] != canonical[2] && canonical[0] != canonical[2]);
    let openings = [Thoughts::Unknown, Thoughts::Off, Thoughts::Possible, Thoughts::Begun].map(Opening::of);
    assert_eq!(openings, [None, None, Some(Opening::Possible), Some(Opening::Begun)]);
}

#[test]
fn thoughts_may_be_long() {
    let begun = held().behind(Opening::Begun);
    let thought = "I think, and think again. ".repeat(400);
    assert_eq!(follow(&begun, &format!("{thought}</think>true")), (true, true));
    assert_eq!(follow(&begun, &thought), (true, false));
}
