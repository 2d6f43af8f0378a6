//! What llama.cpp's server has beside OpenAI's interface: shapes, streams, and its words for errors.

use serde_json::{Value, json};

use crate::client::{Response, post};
use crate::models::{byte_ids, good, good_and_thinker, letters_only, weather};
use crate::schemas::is_valid;
use crate::server::Server;

fn body() -> Value {
    json!({
        "model": "good", "prompt": "hello", "n_predict": 12, "seed": 7, "temperature": 1.5, "ignore_eos": true,
        "logit_bias": letters_only(), "top_k": 0, "top_p": 1, "min_p": 0,
    })
}

fn with(name: &str, value: Value) -> Value {
    let mut body = body();
    body[name] = value;
    body
}

#[track_caller]
fn refused(response: &Response, status: u16, kind: &str) -> String {
    assert_eq!(response.status, status, "{response}");
    let error = &response.json()["error"];
    assert_eq!((&error["code"], &error["type"]), (&json!(status), &json!(kind)), "{error}");
    error["message"].as_str().unwrap().to_owned()
}

#[test]
fn a_completion_has_its_shape_and_is_metered() {
    let server = Server::serving(good);
    let answer = server.post("/completion", &body()).ok();
    let mut as_openai = json!({ "max_tokens": 12 });
    for field in ["model", "prompt", "seed", "temperature", "ignore_eos", "logit_bias"] {
        as_openai[field] = body()[field].clone();
    }
    assert_eq!(answer["content"], server.complete(&as_openai).ok()["choices"][0]["text"]);
    assert_eq!(
        (&answer["stop"], &answer["stop_type"], &answer["prompt"]),
        (&json!(true), &json!("limit"), &json!("hello"))
    );
    assert_eq!(
        (&answer["tokens_predicted"], &answer["tokens_evaluated"], &answer["tokens"]),
        (&json!(12), &json!(1), &json!([]))
    );
    assert_eq!((&answer["generation_settings"]["seed"], &answer["has_new_line"]), (&json!(7), &json!(false)));
    let timings = &answer["timings"];
    assert_eq!((&timings["predicted_n"], &timings["prompt_n"]), (&json!(12), &json!(1)));
    let decode_ms = answer["dayfly"]["times"]["decode_ns"].as_f64().unwrap() / 1e6;
    assert!((timings["predicted_ms"].as_f64().unwrap() - decode_ms).abs() < 1e-6);
    let id = answer["dayfly"]["id"].as_str().unwrap();
    assert_eq!(server.settled(id)["tokens"], answer["dayfly"]["tokens"]);
    assert_eq!(server.post("/completions", &body()).ok()["content"], answer["content"]);
    server.settled_rows(3);
}

#[test]
fn a_stream_says_the_same() {
    let server = Server::serving(good);
    let whole = server.post("/completion", &with("return_tokens", json!(true))).ok();
    let mut connection = server.connect();
    connection.send(post("/completion", &with("stream", json!(true))));
    let events: Vec<Value> =
        connection.events().rest().iter().map(|data| serde_json::from_str(data).unwrap()).collect();
    let (last, pieces) = events.split_last().unwrap();
    assert!(pieces.iter().all(|piece| piece["stop"] == false && piece["tokens_evaluated"] == 1));
    let text: String = pieces.iter().map(|piece| piece["content"].as_str().unwrap()).collect();
    let tokens: Vec<Value> = pieces.iter().flat_map(|piece| piece["tokens"].as_array().unwrap().clone()).collect();
    assert_eq!((json!(text), json!(tokens)), (whole["content"].clone(), whole["tokens"].clone()));
    assert_eq!((&last["stop"], &last["content"], &last["stop_type"]), (&json!(true), &json!(""), &json!("limit")));
    assert_eq!(pieces.last().unwrap()["tokens_predicted"], last["tokens_predicted"]);
    assert!(last["timings"]["predicted_ms"].is_number());
}

#[test]
fn several_prompts_are_several_answers_and_a_stop_is_named() {
    let server = Server::serving(good);
    let alone = server.post("/completion", &body()).ok();
    let answers = server.post("/completion", &with("prompt", json!(["hello", byte_ids("abc")]))).ok();
    let answers = answers.as_array().unwrap();
    assert_eq!((answers.len(), &answers[1]["index"], &answers[1]["prompt"]), (2, &json!(1), &json!("abc")));
    assert_eq!(answers[0]["content"], alone["content"]);
    let text = alone["content"].as_str().unwrap();
    let stopped = server.post("/completion", &with("stop", json!(["?", text[3..5]]))).ok();
    assert_eq!((&stopped["stop_type"], &stopped["stopping_word"]), (&json!("word"), &json!(text[3..5])));
    let scored = server.post("/completion", &with("n_probs", json!(2))).ok();
    let first = &scored["completion_probabilities"][0];
    assert!(first["id"].is_u64() && first["top_logprobs"].as_array().unwrap().len() == 2, "{first}");
}

#[test]
fn a_template_is_applied_as_it_is_for_chats() {
    let server = Server::serving(good);
    let messages = json!([{ "role": "user", "content": "hello" }]);
    let applied = server.post("/apply-template", &json!({ "model": "good", "messages": messages })).ok();
    let prompt = applied["prompt"].as_str().unwrap();
    assert!(prompt.contains("hello"));
    let chat = json!({ "model": "good", "messages": messages, "max_tokens": 4, "temperature": 0 });
    let raw = json!({ "model": "good", "prompt": prompt, "n_predict": 4, "temperature": 0 });
    let expected = server.chat(&chat).ok();
    assert_eq!(server.post("/completion", &raw).ok()["content"], expected["choices"][0]["message"]["content"]);
    assert!(
        refused(&server.post("/apply-template", &json!({ "model": "good" })), 400, "invalid_request_error")
            .contains("messages")
    );
}

#[test]
fn properties_and_health_are_told() {
    let server = Server::serving(good);
    assert_eq!(server.get("/health").ok(), json!({ "status": "ok" }));
    assert_eq!(server.get("/v1/health").ok(), json!({ "status": "ok" }));
    assert_eq!(server.get("/props").ok()["role"], "router");
    let props = server.get("/props?model=good").ok();
    assert_eq!((&props["default_generation_settings"]["n_ctx"], &props["model_path"]), (&json!(512), &json!("good")));
    assert!(props["chat_template"].as_str().unwrap().contains("messages"));
    refused(&server.get("/props?model=none"), 404, "not_found_error");
    refused(&server.get("/props?slot=1"), 400, "invalid_request_error");
    assert_eq!(server.status("good"), "unloaded");
}

#[test]
fn a_schema_holds_an_answer_whole_and_streamed() {
    let server = Server::serving(good);
    let mut asked = json!({ "model": "good", "prompt": "hello", "n_predict": 64, "seed": 7, "json_schema": weather() });
    let answer = server.post("/completion", &asked).ok();
    let text = answer["content"].as_str().unwrap();
    assert!(is_valid(&serde_json::from_str(text).unwrap(), &weather()), "{answer}");
    assert_eq!(answer["stop_type"], "eos");
    asked["stream"] = json!(true);
    let mut connection = server.connect();
    connection.send(post("/completion", &asked));
    let events: Vec<Value> =
        connection.events().rest().iter().map(|data| serde_json::from_str(data).unwrap()).collect();
    assert_eq!(events.iter().map(|event| event["content"].as_str().unwrap()).collect::<String>(), text);
    asked["json_schema"] = json!({ "$ref": "#" });
    let told = refused(&server.post("/completion", &asked), 400, "invalid_request_error");
    assert!(told.contains("json_schema"), "{told}");
}

#[test]
fn what_is_absent_is_told_as_switched_off() {
    let server = Server::serving(good);
    let body = json!({ "model": "good", "input_prefix": "a", "input_suffix": "b" });
    for response in [
        server.post("/infill", &body),
        server.get("/slots"),
        server.post("/slots/0?action=save", &json!({ "filename": "a" })),
    ] {
        refused(&response, 501, "not_supported_error");
    }
    for (path, body) in [("/props", json!({})), ("/lora-adapters", json!([]))] {
        let response = server.post(path, &body);
        refused(&response, 405, "invalid_request_error");
        assert_eq!(response.header("allow"), Some("GET,HEAD"), "{response}");
    }
    assert_eq!(server.get("/lora-adapters").ok(), json!([]));
}

#[test]
fn errors_are_told_in_its_words() {
    let server = Server::serving(good);
    let refuses = |name: &str, value: Value, kind: &str| {
        let response = server.post("/completion", &with(name, value));
        refused(&response, response.status, kind)
    };
    assert!(refuses("mirostat", json!(2), "invalid_request_error").contains("mirostat"));
    assert!(refuses("grammar", json!(5), "invalid_request_error").contains("grammar"));
    assert!(refuses("model", json!("none"), "not_found_error").contains("none"));
    assert!(refuses("n_predict", json!(100_000), "exceed_context_size_error").contains("context"));
    refused(&server.get("/completion"), 405, "invalid_request_error");
    server.settled_rows(0);
}

#[test]
fn no_tokens_compute_the_prompt_for_a_next_request_that_finds_it() {
    let server = Server::serving(good);
    let long = "hello ".repeat(60);
    let asked = |tokens: u64| {
        let mut body = body();
        (body["prompt"], body["n_predict"]) = (json!(long), json!(tokens));
        server.post("/completion", &body).ok()
    };
    let first = asked(0);
    assert_eq!(
        (&first["content"], &first["tokens_predicted"], &first["stop_type"]),
        (&json!(""), &json!(0), &json!("limit"))
    );
    assert_eq!((&first["tokens_cached"], &first["timings"]["prompt_n"]), (&json!(0), &first["tokens_evaluated"]));
    let next = asked(2);
    assert!(next["tokens_cached"].as_u64().unwrap() >= 32, "{next}");
    assert_eq!((&next["tokens_predicted"], &next["tokens_evaluated"]), (&json!(2), &first["tokens_evaluated"]));
}

#[test]
fn an_answer_s_end_has_what_was_asked_for_and_nothing_else() {
    let server = Server::serving(good);
    let whole = server.post("/completion", &body()).ok();
    let asked = json!(["content", "generation_settings/seed", "timings/predicted_n", "none"]);
    let told = server.post("/completion", &with("response_fields", asked.clone())).ok();
    let expected = json!({ "content": whole["content"], "generation_settings/seed": 7, "timings/predicted_n": 12 });
    assert_eq!(told, expected);
    let mut streamed = with("response_fields", asked);
    streamed["stream"] = json!(true);
    let mut connection = server.connect();
    connection.send(post("/completion", &streamed));
    let events: Vec<Value> =
        connection.events().rest().iter().map(|data| serde_json::from_str(data).unwrap()).collect();
    let (last, pieces) = events.split_last().unwrap();
    assert!(pieces.iter().all(|piece| piece["stop"] == false));
    assert_eq!(last["timings/predicted_n"], 12);
}

#[test]
fn a_template_is_given_what_chats_give_it() {
    let server = Server::serving(good_and_thinker);
    let messages = json!([{ "role": "user", "content": "hello" }]);
    let applied = |more: Value| {
        let mut body = json!({ "model": "thinker", "messages": messages });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        server.post("/apply-template", &body).ok()["prompt"].as_str().unwrap().to_owned()
    };
    assert!(applied(json!({})).ends_with("<think>"));
    assert!(!applied(json!({ "chat_template_kwargs": { "enable_thinking": false } })).ends_with("<think>"));
    let tool = json!({ "type": "function", "function": { "name": "f", "parameters": weather() } });
    assert!(applied(json!({ "tools": [tool] })).contains("\"name\""));
}
