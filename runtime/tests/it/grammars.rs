//! Answers that keep to schemas and grammars: drawn whole, in parts, again, and with drafts; and grammars that are refused.

use std::thread;

use serde_json::{Value, json};

use crate::client::text_of;
use crate::models::good;
use crate::schemas::{is_valid, schemas};
use crate::server::{Options, Server};
use crate::smollm2::models_dir;

/// A person, as a model without sense describes one.
fn person() -> Value {
    json!({
        "type": "object", "required": ["name", "age"], "additionalProperties": false,
        "properties": { "name": { "type": "string", "maxLength": 8 }, "age": { "type": "integer", "minimum": 0, "maximum": 150 } },
    })
}

fn format_of(schema: &Value) -> Value {
    json!({ "type": "json_schema", "json_schema": { "name": "it", "schema": schema, "strict": true } })
}

fn completion(more: &Value) -> Value {
    let mut body = json!({ "model": "good", "prompt": "hello", "max_tokens": 200, "seed": 7 });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

#[track_caller]
fn check_person(choice: &Value, text: &str) {
    match choice["finish_reason"].as_str().unwrap() {
        "stop" => assert!(is_valid(&serde_json::from_str(text).unwrap(), &person()), "{text}"),
        "length" => {}
        other => panic!("{other}"),
    }
}

#[test]
fn choices_keep_to_a_schema_each_whole_and_streamed() {
    let server = Server::serving(good);
    for sampling in [
        json!({ "temperature": 0 }),
        json!({ "temperature": 1.5, "n": 3 }),
        json!({ "temperature": 1, "top_k": 40, "top_p": 0.9, "min_p": 0.01, "presence_penalty": 1.0, "repetition_penalty": 1.2 }),
    ] {
        let mut body = completion(&sampling);
        body["response_format"] = format_of(&person());
        let answer = server.complete(&body).ok();
        let choices = answer["choices"].as_array().unwrap();
        let chunks = server.stream(&body).finish();
        for (index, choice) in (0..).zip(choices) {
            let text = choice["text"].as_str().unwrap();
            check_person(choice, text);
            assert_eq!(text_of(&chunks, index), text, "{sampling}");
        }
    }
    let mut chat = completion(&json!({ "response_format": { "type": "json_object" }, "temperature": 0 }));
    let fields = chat.as_object_mut().unwrap();
    fields.remove("prompt");
    fields.insert("messages".to_owned(), json!([{ "role": "user", "content": "hello" }]));
    let answer = server.chat(&chat).ok();
    assert!(answer["choices"][0]["message"]["content"].as_str().unwrap().starts_with('{'), "{answer}");
}

#[test]
fn rules_and_regular_expressions_are_kept_to_the_letter() {
    let server = Server::serving(good);
    let text = |more: Value| {
        let answer = server.complete(&completion(&more)).ok();
        assert_eq!(answer["choices"][0]["finish_reason"], "stop", "{answer}");
        answer["choices"][0]["text"].as_str().unwrap().to_owned()
    };
    let date = text(json!({ "regex": "2[0-9]{3}-(01|12)" }));
    assert!(date.len() == 7 && date.starts_with('2') && (date.ends_with("-01") || date.ends_with("-12")), "{date}");
    assert!(["yes", "no"].contains(&&*text(json!({ "guided_choice": ["yes", "no"] }))));
    let json = text(json!({ "structured_outputs": { "json": { "const": [1, "é"] } } }));
    assert_eq!(serde_json::from_str::<Value>(&json).unwrap(), json!([1, "é"]));
    assert_eq!(text(json!({ "grammar": "start: \"a\" b\nb: \"bc\"" })), "abc");
}

#[test]
fn an_answer_that_is_cut_says_so_and_a_stop_string_still_ends_one() {
    let server = Server::serving(good);
    let cut = server.complete(&completion(&json!({ "regex": "[a-z]{50}", "max_tokens": 10 }))).ok();
    assert_eq!(
        (&cut["choices"][0]["finish_reason"], &cut["usage"]["completion_tokens"]),
        (&json!("length"), &json!(10))
    );
    let exact = server.complete(&completion(&json!({ "regex": "[a-z]{10}", "max_tokens": 10 }))).ok();
    assert_eq!(exact["choices"][0]["finish_reason"], "stop", "it was complete");
    let stopped = server.complete(&completion(&json!({ "grammar": "start: \"ab--cd\"", "stop": "--" }))).ok();
    assert_eq!(
        (&stopped["choices"][0]["text"], &stopped["choices"][0]["finish_reason"]),
        (&json!("ab"), &json!("stop"))
    );
}

#[test]
fn log_probabilities_are_those_of_the_model_before_the_grammar() {
    let server = Server::serving(good);
    let body = completion(&json!({ "grammar": "start: \"zq\"", "logprobs": 20, "temperature": 0 }));
    let free = server.complete(&completion(&json!({ "logprobs": 20, "temperature": 0, "max_tokens": 1 }))).ok();
    let kept = server.complete(&body).ok();
    assert_eq!(kept["choices"][0]["text"], "zq");
    let logprobs = &kept["choices"][0]["logprobs"];
    let likeliest = |answer: &Value| {
        let top = answer["choices"][0]["logprobs"]["top_logprobs"][0].as_object().unwrap().clone();
        top.values().filter_map(Value::as_f64).fold(f64::MIN, f64::max)
    };
    assert_eq!(likeliest(&kept), likeliest(&free));
    assert!(logprobs["token_logprobs"].as_array().unwrap().iter().all(|one| one.as_f64().unwrap() < 0.0), "{logprobs}");
}

#[test]
fn drafts_and_the_response_cache_change_nothing() {
    let (auto, off) =
        (Server::serving(good), Options::with_models(good).config("[scheduler]\nspeculation = \"off\"").start());
    let repeated = json!({ "regex": "(ab){60}", "temperature": 0, "max_tokens": 200, "logprobs": 1 });
    let (with, without) = (auto.complete(&completion(&repeated)).ok(), off.complete(&completion(&repeated)).ok());
    assert_eq!(with["choices"], without["choices"]);
    let accepted = with["usage"]["completion_tokens_details"]["accepted_prediction_tokens"].as_u64().unwrap_or(0);
    assert!(accepted > 0, "{}", with["usage"]);
    // A guess that goes on as before where the grammar does not.
    let broken = json!({ "regex": "(ab){20}c(ab){5}", "temperature": 0 });
    let (with, without) = (auto.complete(&completion(&broken)).ok(), off.complete(&completion(&broken)).ok());
    assert_eq!(with["choices"], without["choices"]);
    assert_eq!(with["choices"][0]["text"], format!("{}c{}", "ab".repeat(20), "ab".repeat(5)));

    let cached = |regex: &str| {
        let answer = auto.complete(&completion(&json!({ "regex": regex, "cache": true })));
        (answer.header("x-dayfly-response-cache").unwrap().to_owned(), answer.ok()["choices"][0]["text"].clone())
    };
    assert_eq!(cached("x{3}"), ("miss".to_owned(), json!("xxx")));
    assert_eq!(cached("x{3}"), ("hit".to_owned(), json!("xxx")));
    assert_eq!(cached("x{4}"), ("miss".to_owned(), json!("xxxx")), "another grammar is another request");
}

#[test]
fn row_32_what_cannot_be_kept_to_is_refused_and_nothing_is_loaded_for_it() {
    let server = Server::serving(good);
    let names: Vec<String> = (0..100_000).map(|number| number.to_string()).collect();
    let path = "response_format.json_schema.schema";
    for (more, param) in [
        (json!({ "response_format": format_of(&json!({ "$ref": "#" })) }), path),
        (json!({ "response_format": format_of(&json!({ "enum": names })) }), path),
        (json!({ "response_format": format_of(&json!({})) }), path),
        (json!({ "response_format": format_of(&json!({ "type": "string", "pattern": "(?=a)b" })) }), path),
        (json!({ "regex": "((a{1,1000}){1,1000}){1,1000}" }), "regex"),
        (json!({ "regex": "(a)\\1" }), "regex"),
        (json!({ "regex": "" }), "regex"),
        (json!({ "grammar": "start: nowhere" }), "grammar"),
        (json!({ "grammar": "root ::= nowhere" }), "grammar"),
    ] {
        server.complete(&completion(&more)).refused_about(400, "invalid_schema", param);
    }
    let endless = completion(&json!({ "regex": "a", "ignore_eos": true }));
    server.complete(&endless).refused_about(400, "invalid_value", "ignore_eos");
    server.wait_for_status("good", "unloaded");
    server.settled_rows(0);
    // What other engines choke on is followed.
    let nested = json!({ "regex": "(x+x+)+y", "max_tokens": 30, "temperature": 0 });
    let text = server.complete(&completion(&nested)).ok()["choices"][0]["text"].as_str().unwrap().to_owned();
    assert!(text.starts_with("xx") && text.trim_start_matches('x').trim_start_matches('y').is_empty(), "{text}");
}

/// What one generation by SmolLM2 came to.
#[track_caller]
fn generate(server: &Server, schema: &Value, seed: usize) -> bool {
    let body = json!({
        "model": "smollm2", "max_tokens": 160, "temperature": 1, "seed": seed, "response_format": format_of(schema),
        "messages": [{ "role": "user", "content": format!("Make up an example. Answer in JSON by this schema: {schema}") }],
    });
    let answer = server.chat(&body).ok();
    let choice = &answer["choices"][0];
    let text = choice["message"]["content"].as_str().unwrap();
    match choice["finish_reason"].as_str().unwrap() {
        "stop" => {
            let value: Value = serde_json::from_str(text).unwrap_or_else(|error| panic!("{schema}: {error}: {text}"));
            assert!(is_valid(&value, schema), "{schema}: {text}");
            true
        }
        "length" => {
            assert_eq!(answer["usage"]["completion_tokens"], 160, "{answer}");
            false
        }
        other => panic!("{other}"),
    }
}

#[test]
fn smollm2_keeps_to_schemas_whatever_is_drawn() {
    let server = Options::with_models_in(models_dir()).config("ctx_max = 1024").start();
    let schemas = schemas();
    let whole = [7, 13, 24, 35, 39, 46]
        .into_iter()
        .filter(|&index| (0..2).all(|seed| generate(&server, &schemas[index], seed)));
    assert!(whole.count() >= 4, "most answers are whole");
}

#[test]
#[ignore = "takes minutes"]
fn five_hundred_generations_keep_to_fifty_schemas() {
    let server = Options::with_models_in(models_dir()).config("ctx_max = 1024").start();
    let schemas = schemas();
    assert_eq!(schemas.len(), 50);
    let whole: usize = thread::scope(|scope| {
        let (server, schemas) = (&server, &schemas);
        let worker = |worker: usize| {
            scope.spawn(move || {
                let mine = (0..500).filter(|number| number % 8 == worker);
                mine.filter(|number| generate(server, &schemas[number / 10], number % 10)).count()
            })
        };
        let workers: Vec<_> = (0..8).map(worker).collect();
        workers.into_iter().map(|worker| worker.join().unwrap()).sum()
    });
    assert!(whole >= 450, "{whole} of 500 were whole");
}
