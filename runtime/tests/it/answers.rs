//! What answers hold: texts, choices, seeds, stops, streams.

use serde_json::{Value, json};

use crate::client::{post, text_of};
use crate::models::{VOCABULARY, byte_ids, good, letters_only};
use crate::server::Server;

/// A completion of 24 small letters, drawn with this seed.
fn letters(seed: u64) -> Value {
    json!({
        "model": "good", "prompt": "hello", "max_tokens": 24, "seed": seed, "temperature": 1.5, "ignore_eos": true,
        "logit_bias": letters_only(),
    })
}

fn with(mut body: Value, name: &str, value: Value) -> Value {
    body[name] = value;
    body
}

#[track_caller]
fn text(server: &Server, body: &Value) -> String {
    server.complete(body).ok()["choices"][0]["text"].as_str().unwrap().to_owned()
}

#[test]
fn a_completion_has_openai_s_shape() {
    let server = Server::serving(good);
    let answer = server.complete(&letters(1)).ok();
    assert!(answer["id"].as_str().unwrap().starts_with("cmpl-"));
    assert_eq!((&answer["object"], &answer["model"]), (&json!("text_completion"), &json!("good")));
    assert!(answer["created"].as_u64().unwrap() > 1_700_000_000);
    let choice = &answer["choices"][0];
    assert_eq!(
        (&choice["index"], &choice["finish_reason"], &choice["logprobs"]),
        (&json!(0), &json!("length"), &Value::Null)
    );
    let text = choice["text"].as_str().unwrap();
    assert!(text.len() == 24 && text.bytes().all(|byte| byte.is_ascii_lowercase()), "{text:?}");
}

#[test]
fn a_chat_has_openai_s_shape_whole_and_streamed() {
    let server = Server::serving(good);
    let body = json!({
        "model": "good", "max_completion_tokens": 12, "temperature": 0, "ignore_eos": true, "logit_bias": letters_only(),
        "messages": [{ "role": "system", "content": "Be brief." }, { "role": "user", "content": "hello" }],
    });
    let answer = server.chat(&body).ok();
    assert!(answer["id"].as_str().unwrap().starts_with("chatcmpl-"));
    assert_eq!(answer["object"], "chat.completion");
    let choice = &answer["choices"][0];
    assert_eq!((&choice["message"]["role"], &choice["finish_reason"]), (&json!("assistant"), &json!("length")));
    let whole = choice["message"]["content"].as_str().unwrap();
    assert_eq!(whole.len(), 12);

    let mut connection = server.connect();
    connection.send(post("/v1/chat/completions", &with(body, "stream", json!(true))));
    let chunks = connection.events().finish();
    assert_eq!(chunks[0]["choices"][0]["delta"], json!({ "role": "assistant", "content": "" }));
    assert_eq!(text_of(&chunks, 0), whole);
    let ends = chunks.iter().filter(|chunk| !chunk["choices"][0]["finish_reason"].is_null()).count();
    let last = &chunks.last().unwrap()["choices"][0];
    assert_eq!((ends, &last["finish_reason"]), (1, &json!("length")));
    let head = |chunk: &Value| (chunk["id"].clone(), chunk["created"].clone(), chunk["model"].clone());
    assert!(chunks.iter().all(|chunk| chunk["object"] == "chat.completion.chunk" && head(chunk) == head(&chunks[0])));
    assert!(chunks.iter().all(|chunk| chunk.get("usage").is_none()), "no usage where none was asked for");
}

#[test]
fn parts_of_text_are_one_content() {
    let server = Server::serving(good);
    let chat = |content: Value| {
        let body = json!({
            "model": "good", "max_tokens": 8, "temperature": 0, "ignore_eos": true,
            "messages": [{ "role": "user", "content": content }],
        });
        let answer = server.chat(&body).ok();
        (answer["choices"][0]["message"]["content"].clone(), answer["usage"]["prompt_tokens"].clone())
    };
    let parts = json!([{ "type": "text", "text": "one" }, { "type": "text", "text": "two" }]);
    assert_eq!(chat(parts), chat(json!("one\ntwo")));
}

#[test]
fn the_same_seed_gives_the_same_text() {
    let server = Server::serving(good);
    let first = text(&server, &letters(7));
    assert_eq!(text(&server, &letters(7)), first);
    assert_ne!(text(&server, &letters(8)), first);
    let chunks = server.stream(&letters(7)).finish();
    assert_eq!(text_of(&chunks, 0), first, "streamed or not");
    assert_eq!(text(&server, &with(letters(7), "keep_alive", json!(0))), first);
    assert_eq!(text(&server, &letters(7)), first, "loaded anew or not");
    let seedless = || {
        let mut body = letters(0);
        body.as_object_mut().unwrap().remove("seed");
        text(&server, &body)
    };
    assert_ne!(seedless(), seedless(), "without a seed each request has one of its own");
    let negative = |seed: i64| text(&server, &with(letters(0), "seed", json!(seed)));
    assert_eq!(negative(-1), negative(-1));
}

#[test]
fn temperature_zero_needs_no_seed() {
    let server = Server::serving(good);
    let body =
        json!({ "model": "good", "prompt": "hello", "max_tokens": 24, "temperature": 0, "logit_bias": letters_only() });
    let first = text(&server, &body);
    assert_eq!(text(&server, &body), first);
    assert_eq!(
        text(&server, &with(letters(3), "top_k", json!(1))),
        text(&server, &with(letters(4), "top_k", json!(1)))
    );
}

#[test]
fn several_choices_differ_and_are_counted_together() {
    let server = Server::serving(good);
    let body = with(letters(7), "n", json!(3));
    let answer = server.complete(&body).ok();
    let choices = answer["choices"].as_array().unwrap();
    let texts: Vec<&str> = choices.iter().map(|choice| choice["text"].as_str().unwrap()).collect();
    assert!(choices.iter().map(|choice| choice["index"].as_u64()).eq([Some(0), Some(1), Some(2)]));
    assert!(texts[0] != texts[1] && texts[1] != texts[2] && texts[0] != texts[2], "{texts:?}");
    assert_eq!(texts[0], text(&server, &letters(7)), "the first is what n = 1 gives");
    let usage = &answer["usage"];
    assert_eq!(
        (&usage["prompt_tokens"], &usage["completion_tokens"]),
        (&json!(1), &json!(72)),
        "the prompt counts once"
    );

    let chunks = server.stream(&body).finish();
    for (index, text) in (0..).zip(&texts) {
        assert_eq!(text_of(&chunks, index), **text);
        let ends = chunks.iter().map(|chunk| &chunk["choices"][0]);
        let ends = ends.filter(|choice| choice["index"] == index && !choice["finish_reason"].is_null()).count();
        assert_eq!(ends, 1, "choice {index} ends once");
    }
}

#[test]
fn several_prompts_are_answered_in_order() {
    let server = Server::serving(good);
    let alone = |prompt: Value| {
        let mut body = with(letters(7), "temperature", json!(0));
        body["prompt"] = prompt;
        let answer = server.complete(&body).ok();
        answer["choices"].as_array().unwrap().iter().map(|one| one["text"].clone()).collect::<Vec<_>>()
    };
    let together = alone(json!(["hello", "goodbye"]));
    assert_eq!(together, [alone(json!("hello")), alone(json!("goodbye"))].concat());
    let ids = json!([byte_ids("ab"), byte_ids("xyz")]);
    assert_eq!(alone(ids), [alone(json!(byte_ids("ab"))), alone(json!(byte_ids("xyz")))].concat());
}

#[test]
fn stop_strings_end_the_text_before_them() {
    let server = Server::serving(good);
    let whole = text(&server, &letters(7));
    for (from, to) in [(10, 13), (5, 6), (0, 2), (20, 24)] {
        let stop = &whole[from..to];
        let at = whole.find(stop).unwrap();
        for stops in [json!(stop), json!(["THIS NEVER COMES", stop])] {
            let body = with(letters(7), "stop", stops);
            let answer = server.complete(&body).ok();
            let choice = &answer["choices"][0];
            assert_eq!(
                (&choice["text"], &choice["finish_reason"]),
                (&json!(whole[..at]), &json!("stop")),
                "at {stop:?}"
            );
            assert!(answer["usage"]["completion_tokens"].as_u64().unwrap() <= to as u64);
            let chunks = server.stream(&body).finish();
            assert_eq!(text_of(&chunks, 0), whole[..at], "no part of {stop:?} was shown");
        }
    }
    let body = with(letters(7), "stop", json!(format!("{}THIS NEVER COMES", &whole[20..])));
    assert_eq!(text(&server, &body), whole, "what might have become a stop string is shown in the end");
}

#[test]
fn ids_as_prompts_are_used_as_they_are() {
    let server = Server::serving(|folder| {
        good(folder);
        let mut writer = loader::fixture::tiny_model(&crate::models::quick());
        writer.set("tokenizer.ggml.add_bos_token", loader::fixture::FixtureValue::Bool(true));
        crate::models::write_file(folder, "begins", &writer);
    });
    let ask = |model: &str, prompt: Value| {
        let body = json!({ "model": model, "prompt": prompt, "max_tokens": 12, "temperature": 0, "ignore_eos": true });
        let answer = server.complete(&body).ok();
        (answer["usage"]["prompt_tokens"].as_u64().unwrap(), answer["choices"][0]["text"].clone())
    };
    let tokenize = |model: &str, add_special: bool| {
        let body = json!({ "model": model, "content": "hello there", "add_special": add_special });
        server.post("/tokenize", &body).ok()["tokens"].clone()
    };
    let count = |ids: &Value| ids.as_array().unwrap().len() as u64;
    let (bare, begun) = (tokenize("begins", false), tokenize("begins", true));
    assert_eq!((count(&begun), &begun[0]), (count(&bare) + 1, &json!(1)), "this model begins texts with a token");
    assert_eq!(tokenize("good", true), tokenize("good", false), "this one does not");

    let of_text = ask("begins", json!("hello there"));
    assert_eq!(of_text.0, count(&begun));
    assert_eq!(ask("begins", begun), of_text, "the same ids, the same answer");
    assert_eq!(ask("begins", bare.clone()).0, count(&bare), "nothing is put before ids");
    // Ids that no text gives: single bytes where the tokenizer would join them.
    assert_eq!(ask("good", json!(byte_ids("hello"))).0, 5);
    assert_eq!(ask("good", json!("hello")).0, 1);
    // Control tokens are ids like any other.
    assert_eq!(ask("good", json!([0, 1, 2, 5])).0, 4);
    let past = json!({ "model": "good", "prompt": [5, VOCABULARY], "max_tokens": 1 });
    server.complete(&past).refused_about(400, "invalid_value", "prompt");
}

#[test]
fn usage_comes_last_in_a_stream_that_asks_for_it() {
    let server = Server::serving(good);
    let body = with(letters(7), "stream_options", json!({ "include_usage": true }));
    let mut chunks = server.stream(&body).finish();
    let usage = chunks.pop().unwrap();
    assert_eq!(usage["choices"], json!([]));
    let figures = &usage["usage"];
    let expected = json!({
        "prompt_tokens": 1, "completion_tokens": 24, "total_tokens": 25, "prompt_tokens_details": { "cached_tokens": 0 },
    });
    assert_eq!(figures, &expected);
    assert_eq!(usage["dayfly"]["id"], usage["id"]);
    assert!(chunks.iter().all(|chunk| chunk["usage"].is_null() && chunk.as_object().unwrap().contains_key("usage")));

    for options in [json!({ "include_usage": false }), json!({}), Value::Null] {
        let chunks = server.stream(&with(letters(7), "stream_options", options)).finish();
        assert!(chunks.iter().all(|chunk| !chunk["choices"].as_array().unwrap().is_empty()), "no usage chunk");
        assert!(chunks.iter().all(|chunk| chunk.get("usage").is_none()));
    }
    let whole = with(letters(7), "stream_options", json!({ "include_usage": true }));
    server.complete(&whole).refused_about(400, "invalid_value", "stream_options");
}

#[test]
fn an_absent_bound_is_the_rest_of_the_context() {
    let server = crate::server::Options::with_models(good).flag("--ctx-max", "64").start();
    let mut body = with(letters(7), "prompt", json!(byte_ids("0123456789")));
    body.as_object_mut().unwrap().remove("max_tokens");
    let answer = server.complete(&body).ok();
    assert_eq!(answer["usage"]["completion_tokens"], 54);
    assert_eq!(answer["choices"][0]["finish_reason"], "length");
}

#[test]
fn an_ending_token_ends_the_answer_unless_it_is_ignored() {
    let server = Server::serving(good);
    let ending = json!({
        "model": "good", "prompt": "hello", "max_tokens": 9, "temperature": 0, "logit_bias": { "2": 100 },
    });
    let answer = server.complete(&ending).ok();
    let choice = &answer["choices"][0];
    assert_eq!((&choice["text"], &choice["finish_reason"]), (&json!(""), &json!("stop")));
    assert_eq!(answer["usage"]["completion_tokens"], 1, "the ending token is computed and counted");
    let answer = server.complete(&with(ending, "ignore_eos", json!(true))).ok();
    assert_eq!(answer["choices"][0]["finish_reason"], "length");
    assert_eq!(answer["usage"]["completion_tokens"], 9);
}

#[test]
fn characters_split_over_tokens_arrive_whole() {
    let server = Server::serving(good);
    // The bytes of "€" in any order: some of it is text, most of it is none.
    let bias: serde_json::Map<_, _> = byte_ids("€").into_iter().map(|id| (id.to_string(), json!(100))).collect();
    let body = json!({
        "model": "good", "prompt": "hello", "max_tokens": 300, "seed": 1, "temperature": 2.0, "ignore_eos": true,
        "logit_bias": bias, "logprobs": 0,
    });
    let choice = server.complete(&body).ok()["choices"][0].clone();
    let tokens = choice["logprobs"]["tokens"].as_array().unwrap().iter().map(|token| token.as_str().unwrap());
    let bytes: Vec<u8> = tokens
        .map(|token| token.strip_prefix("bytes:\\x").map(|digits| u8::from_str_radix(digits, 16).unwrap()).unwrap())
        .collect();
    let expected = String::from_utf8_lossy(&bytes);
    assert!(bytes.len() == 300 && expected.contains('€') && expected.contains('\u{FFFD}'), "{expected:?}");
    assert_eq!(choice["text"], *expected);
    let chunks = server.stream(&body).finish();
    assert_eq!(text_of(&chunks, 0), expected);
    let torn = |chunk: &Value| chunk["choices"][0]["text"].as_str().is_some_and(|text| text.contains('€'));
    assert!(chunks.iter().any(torn), "a character comes in one piece");
}

#[test]
fn harmless_fields_are_taken() {
    let server = Server::serving(good);
    let body = json!({
        "model": "good", "prompt": "hello", "max_tokens": 1, "user": "me", "metadata": { "a": "b" }, "store": false,
        "service_tier": "auto", "suffix": null, "best_of": 1, "logprobs": null, "stop": null, "stream": false,
    });
    server.complete(&body).ok();
    let chat = json!({
        "model": "good", "messages": [{ "role": "user", "content": "hello" }], "max_tokens": 1, "tools": [],
        "tool_choice": "none", "response_format": { "type": "text" }, "modalities": ["text"], "user": "me",
    });
    server.chat(&chat).ok();
}
