//! Tokens that are computed ahead: the same answers, and what they say of themselves.

use serde_json::{Value, json};

use crate::client::text_of;
use crate::models::{FIRST_BYTE_ID, good};
use crate::server::{Options, Server};

/// A text that says one letter again and again, so that what follows is easily guessed.
fn monotonous() -> Value {
    let letter = FIRST_BYTE_ID + u32::from(b'a');
    json!({
        "model": "good", "prompt": "once", "max_tokens": 120, "temperature": 0, "ignore_eos": true, "logprobs": 1,
        "logit_bias": { letter.to_string(): 100 }
    })
}

fn off() -> Server {
    Options::with_models(good).config("[scheduler]\nspeculation = \"off\"").start()
}

#[test]
fn an_answer_with_drafts_is_the_answer_without() {
    let (auto, off) = (Server::serving(good), off());
    let (with, without) = (auto.complete(&monotonous()).ok(), off.complete(&monotonous()).ok());
    assert_eq!(with["choices"], without["choices"]);
    assert_eq!(with["choices"][0]["text"], "a".repeat(120));
    let (usage, tokens) = (&with["usage"], &with["dayfly"]["tokens"]);
    assert_eq!(usage["completion_tokens"], 120);
    let details = &usage["completion_tokens_details"];
    let accepted = details["accepted_prediction_tokens"].as_u64().unwrap();
    let rejected = details["rejected_prediction_tokens"].as_u64().unwrap();
    assert!((1..120).contains(&accepted), "{usage}");
    assert_eq!((&tokens["drafted"], &tokens["accepted_draft"]), (&json!(accepted + rejected), &json!(accepted)));
    assert_eq!(tokens["total"], usage["total_tokens"]);
    assert_eq!(usage["total_tokens"], without["usage"]["total_tokens"]);
    assert_eq!(without["usage"].get("completion_tokens_details"), None);
    assert_eq!(without["dayfly"]["tokens"].get("drafted"), None);
    let series = r#"dayfly_tokens_total{tenant="anonymous",model="good",type="accepted_draft"}"#;
    assert!(auto.metric(series) >= accepted as f64);
}

#[test]
fn drafts_stop_where_the_answer_does_and_each_choice_has_its_own() {
    let (auto, off) = (Server::serving(good), off());
    for more in [
        json!({ "stop": ["aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab", "a".repeat(50)] }),
        json!({ "max_tokens": 33 }),
        json!({ "n": 3, "max_tokens": 50 }),
        json!({ "echo": true }),
        json!({ "temperature": 1.0, "seed": 7 }),
    ] {
        let mut body = monotonous();
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let (with, without) = (auto.complete(&body).ok(), off.complete(&body).ok());
        assert_eq!(with["choices"], without["choices"], "{more}");
        assert_eq!(with["usage"]["completion_tokens"], without["usage"]["completion_tokens"], "{more}");
    }
}

#[test]
fn a_stream_shows_several_tokens_at_once_and_all_of_them() {
    let server = Server::serving(good);
    let mut body = monotonous();
    body.as_object_mut().unwrap().remove("logprobs");
    let chunks = server.stream(&body).finish();
    assert_eq!(text_of(&chunks, 0), "a".repeat(120));
    assert!(chunks.len() < 118, "{} chunks", chunks.len());
}
