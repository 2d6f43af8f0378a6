//! What ends an answer and where it begins, in the words of vLLM and of those whose answers go on with the assistant's.

use serde_json::{Value, json};

use crate::client::{post, text_of};
use crate::models::{FIRST_BYTE_ID, good, good_and_thinker, letters_only};
use crate::server::Server;

/// A completion of letters, as long as it may be.
fn letters(more: &Value) -> Value {
    let mut body = json!({
        "model": "good", "prompt": "hello", "max_tokens": 24, "temperature": 0, "logit_bias": letters_only(),
    });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

fn text(server: &Server, more: &Value) -> (String, String) {
    let answer = server.complete(&letters(more)).ok();
    let choice = &answer["choices"][0];
    (choice["text"].as_str().unwrap().to_owned(), choice["finish_reason"].as_str().unwrap().to_owned())
}

fn ended(text: &str, why: &str) -> (String, String) {
    (text.to_owned(), why.to_owned())
}

#[test]
fn a_token_of_the_request_s_ends_an_answer_and_may_be_shown() {
    let server = Server::serving(good);
    let (whole, why) = text(&server, &json!({ "seed": 3, "temperature": 1 }));
    assert_eq!((whole.len(), why.as_str()), (24, "length"));
    let letter = whole.as_bytes()[5];
    let first = whole.find(char::from(letter)).unwrap();
    let ends_at = json!([FIRST_BYTE_ID + u32::from(letter), 7]);
    let stopped = |more: Value| {
        let mut body = json!({ "seed": 3, "temperature": 1, "stop_token_ids": ends_at });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    assert_eq!(text(&server, &stopped(json!({}))), ended(&whole[..first], "stop"));
    let shown = stopped(json!({ "include_stop_str_in_output": true }));
    assert_eq!(text(&server, &shown), ended(&whole[..=first], "stop"));
    let mut streamed = letters(&shown);
    streamed["stream"] = json!(true);
    let chunks = server.stream(&streamed).finish();
    assert_eq!(text_of(&chunks, 0), whole[..=first]);
    server.complete(&letters(&json!({ "stop_token_ids": [100_000] }))).refused_about(
        400,
        "invalid_value",
        "stop_token_ids",
    );
}

#[test]
fn a_stop_string_may_be_shown_whole() {
    let server = Server::serving(good);
    let (whole, _) = text(&server, &json!({}));
    let stop = &whole[4..7];
    let first = whole.find(stop).unwrap();
    assert_eq!(text(&server, &json!({ "stop": ["?", stop] })), ended(&whole[..first], "stop"));
    let shown = json!({ "stop": ["?", stop], "include_stop_str_in_output": true });
    assert_eq!(text(&server, &shown), ended(&whole[..first + 3], "stop"));
}

#[test]
fn an_answer_has_its_least_length_whatever_would_end_it() {
    let server = Server::serving(good);
    // The token that ends a text is far likelier than any other.
    let ends = json!({ "logit_bias": { "2": 100 }, "max_tokens": 24 });
    let at_once = server.complete(&letters(&ends)).ok();
    assert_eq!((&at_once["usage"]["completion_tokens"], &at_once["choices"][0]["text"]), (&json!(1), &json!("")));
    let mut least = ends.clone();
    least["min_tokens"] = json!(9);
    let answer = server.complete(&letters(&least)).ok();
    assert_eq!(answer["usage"]["completion_tokens"], 10, "nine, and the end: {answer}");
    assert_eq!(answer["choices"][0]["finish_reason"], "stop");
    let (whole, _) = text(&server, &json!({}));
    // A stop string within the least length ends nothing; a token that would end it is not drawn.
    assert_eq!(text(&server, &json!({ "stop": &whole[..1], "min_tokens": 24 })), ended(&whole, "length"));
    let ends = FIRST_BYTE_ID + u32::from(whole.as_bytes()[0]);
    let (kept, why) = text(&server, &json!({ "stop_token_ids": [ends], "min_tokens": 24 }));
    assert!(why == "length" && kept.len() == 24 && !kept.contains(&whole[..1]), "{kept} {why}");
    server.complete(&letters(&json!({ "min_tokens": 25 }))).refused_about(400, "invalid_value", "min_tokens");
}

#[test]
fn a_least_length_of_what_a_grammar_ends_is_refused_before_anything_is_loaded() {
    let server = Server::serving(good);
    let held = json!({ "min_tokens": 2, "regex": "[a-z]" });
    server.complete(&letters(&held)).refused_about(400, "invalid_value", "min_tokens");
    assert_eq!(server.status("good"), "unloaded");
}

#[test]
fn control_tokens_are_shown_where_they_are_not_skipped() {
    let server = Server::serving(good);
    let control = json!({ "logit_bias": { "1": 100 }, "ignore_eos": true, "max_tokens": 2 });
    let silent = server.complete(&letters(&control)).ok();
    assert_eq!(silent["choices"][0]["text"], "");
    let mut shown = control.clone();
    shown["skip_special_tokens"] = json!(false);
    let names = server.post("/detokenize", &json!({ "model": "good", "tokens": [1, 1] })).ok()["content"].clone();
    assert_eq!(server.complete(&letters(&shown)).ok()["choices"][0]["text"], names);
}

/// A conversation whose last message is the assistant's.
fn begun(model: &str) -> Value {
    json!({
        "model": model, "max_tokens": 4, "temperature": 0,
        "messages": [{ "role": "user", "content": "hello" }, { "role": "assistant", "content": "Sure, it is " }],
    })
}

#[test]
fn an_answer_goes_on_with_the_assistant_s_words_to_the_letter() {
    let server = Server::serving(good);
    let mut asked = begun("good");
    asked["continue_final_message"] = json!(true);
    let applied = server.post("/apply-template", &{
        let mut applied = asked.clone();
        for field in ["max_tokens", "temperature"] {
            applied.as_object_mut().unwrap().remove(field);
        }
        applied
    });
    let prompt = applied.ok()["prompt"].as_str().unwrap().to_owned();
    assert!(prompt.ends_with("Sure, it is "), "{prompt:?}");
    let raw = json!({ "model": "good", "prompt": prompt, "max_tokens": 4, "temperature": 0 });
    let expected = server.complete(&raw).ok()["choices"][0]["text"].clone();
    let answer = server.chat(&asked).ok();
    assert_eq!(answer["choices"][0]["message"]["content"], expected);
    // Anew, it is another prompt; without either it ends behind the message.
    let opened = server.chat(&begun("good")).ok()["usage"]["prompt_tokens"].as_u64().unwrap();
    let mut unopened = begun("good");
    unopened["add_generation_prompt"] = json!(false);
    let unopened = server.chat(&unopened).ok()["usage"]["prompt_tokens"].as_u64().unwrap();
    let continued = answer["usage"]["prompt_tokens"].as_u64().unwrap();
    assert!(continued < unopened && unopened < opened, "{continued} {unopened} {opened}");
}

#[test]
fn every_interface_that_knows_it_goes_on_alike() {
    let server = Server::serving(good_and_thinker);
    for model in ["good", "thinker"] {
        let mut chat = begun(model);
        chat["continue_final_message"] = json!(true);
        let expected = server.chat(&chat).ok();
        let (content, message) = (&expected["choices"][0]["message"]["content"], &expected["choices"][0]["message"]);
        assert!(message.get("reasoning_content").is_none(), "it thinks before it speaks: {message}");
        let messages = begun(model)["messages"].clone();
        let anthropic = json!({ "model": model, "max_tokens": 4, "messages": messages, "temperature": 0 });
        let told = server.post("/v1/messages", &anthropic).ok();
        assert_eq!(told["content"][0]["text"], *content, "{told}");
        let counting = json!({ "model": model, "messages": messages });
        let count = server.post("/v1/messages/count_tokens", &counting).ok()["input_tokens"].clone();
        assert_eq!(count, expected["usage"]["prompt_tokens"]);
        let options = json!({ "num_predict": 4, "temperature": 0 });
        let ollama = json!({ "model": model, "messages": messages, "stream": false, "options": options });
        assert_eq!(server.post("/api/chat", &ollama).ok()["message"]["content"], *content);
    }
    let thinking = json!({ "type": "enabled", "budget_tokens": 1024 });
    let messages = begun("thinker")["messages"].clone();
    let asked = json!({ "model": "thinker", "max_tokens": 2000, "messages": messages, "thinking": thinking });
    let refused = server.send(&post("/v1/messages", &asked));
    assert_eq!(refused.status, 400, "{refused}");
    assert!(refused.text().contains("thoughts"), "{refused}");
    let asked = json!({ "model": "thinker", "messages": begun("thinker")["messages"], "think": true });
    assert_eq!(server.post("/api/chat", &asked).status, 400);
}
