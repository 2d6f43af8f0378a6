//! What vLLM's clients ask for beside OpenAI's interface: tokens by their ids, usage as it grows, tokens of a conversation.

use serde_json::{Value, json};

use crate::client::text_of;
use crate::models::{good, letters_only};
use crate::server::Server;

#[test]
fn tokens_with_scores_may_be_called_by_their_ids() {
    let server = Server::serving(good);
    let mut body = json!({
        "model": "good", "prompt": "hello", "max_tokens": 4, "temperature": 0, "logprobs": 2,
        "logit_bias": letters_only(),
    });
    let by_text = server.complete(&body).ok()["choices"][0]["logprobs"].clone();
    body["return_tokens_as_token_ids"] = json!(true);
    let by_id = server.complete(&body).ok()["choices"][0]["logprobs"].clone();
    assert_eq!(by_id["token_logprobs"], by_text["token_logprobs"]);
    let ids: Vec<u64> = names(&by_id["tokens"]).iter().map(|name| id_of(name)).collect();
    let text = server.post("/detokenize", &json!({ "model": "good", "tokens": ids })).ok();
    assert_eq!(text["content"], names(&by_text["tokens"]).concat());
    assert!(by_id["top_logprobs"][0].as_object().unwrap().keys().all(|name| name.starts_with("token_id:")));

    let messages = json!([{ "role": "user", "content": "hello" }]);
    let chat = json!({
        "model": "good", "messages": messages, "max_tokens": 2, "temperature": 0, "logprobs": true, "top_logprobs": 1,
        "return_tokens_as_token_ids": true,
    });
    let scored = server.chat(&chat).ok()["choices"][0]["logprobs"]["content"][0].clone();
    id_of(scored["token"].as_str().unwrap());
    id_of(scored["top_logprobs"][0]["token"].as_str().unwrap());
}

fn names(list: &Value) -> Vec<String> {
    list.as_array().unwrap().iter().map(|name| name.as_str().unwrap().to_owned()).collect()
}

fn id_of(name: &str) -> u64 {
    name.strip_prefix("token_id:").unwrap().parse().unwrap()
}

#[test]
fn a_stream_may_tell_its_usage_as_it_grows() {
    let server = Server::serving(good);
    let mut body = json!({
        "model": "good", "prompt": "hello", "max_tokens": 6, "temperature": 0, "logit_bias": letters_only(),
        "stream": true, "stream_options": { "include_usage": true, "continuous_usage_stats": true },
    });
    let chunks = server.stream(&body).finish();
    let usage: Vec<(u64, u64)> = chunks
        .iter()
        .map(|chunk| (chunk["usage"]["prompt_tokens"].as_u64(), chunk["usage"]["completion_tokens"].as_u64()))
        .map(|(prompt, completion)| (prompt.unwrap(), completion.unwrap()))
        .collect();
    assert!(usage.iter().all(|(prompt, _)| *prompt == 1), "{usage:?}");
    assert!(usage.is_sorted_by_key(|(_, completion)| *completion), "{usage:?}");
    assert_eq!((usage.first(), usage.last()), (Some(&(1, 1)), Some(&(1, 6))), "{usage:?}");
    assert!(
        chunks.iter().all(|chunk| chunk["choices"].as_array().unwrap().iter().all(|one| one["logprobs"].is_null()))
    );
    // Without usage there is none of it either.
    body["stream_options"] = json!({ "continuous_usage_stats": true });
    let plain = server.stream(&body).finish();
    assert!(plain.iter().all(|chunk| chunk.get("usage").is_none()));
    assert_eq!(text_of(&plain, 0), text_of(&chunks, 0));
}

#[test]
fn tokens_are_told_as_vllm_tells_them() {
    let server = Server::serving(good);
    let tokenize = |body: Value| server.post("/tokenize", &body).ok();
    let ours = tokenize(json!({ "model": "good", "content": "hello there" }))["tokens"].clone();
    let told = tokenize(json!({ "model": "good", "prompt": "hello there", "return_token_strs": true }));
    assert_eq!((&told["tokens"], &told["max_model_len"]), (&ours, &json!(512)));
    assert_eq!(told["count"], ours.as_array().unwrap().len());
    assert_eq!(names(&told["token_strs"]).concat(), "hello there");
    let plain = tokenize(json!({ "model": "good", "prompt": "hello there" }));
    assert!(plain["token_strs"].is_null());
    let text = server.post("/detokenize", &json!({ "model": "good", "tokens": ours })).ok();
    assert_eq!((&text["prompt"], &text["content"]), (&json!("hello there"), &json!("hello there")));

    let messages = json!([{ "role": "user", "content": "hello" }]);
    let counted = tokenize(json!({ "model": "good", "messages": messages }));
    let chat = server.chat(&json!({ "model": "good", "messages": messages, "max_tokens": 1 })).ok();
    assert_eq!(counted["count"], chat["usage"]["prompt_tokens"]);
    let prompt = counted["tokens"].clone();
    let raw = server.complete(&json!({ "model": "good", "prompt": prompt, "max_tokens": 3, "temperature": 0 })).ok();
    let chat = json!({ "model": "good", "messages": messages, "max_tokens": 3, "temperature": 0 });
    assert_eq!(raw["choices"][0]["text"], server.chat(&chat).ok()["choices"][0]["message"]["content"]);
    let long = json!({ "model": "good", "messages": [{ "role": "user", "content": "a".repeat((1 << 20) + 1) }] });
    server.post("/tokenize", &long).refused_about(400, "invalid_value", "messages");
}

#[test]
fn tokens_come_with_their_texts_where_llama_cpp_s_clients_want_them() {
    let server = Server::serving(good);
    // Half a character is no text.
    let body = json!({ "model": "good", "content": "hello é", "with_pieces": true });
    let told = server.post("/tokenize", &body).ok();
    let plain = server.post("/tokenize", &json!({ "model": "good", "content": "hello é" })).ok();
    let pieces = told["tokens"].as_array().unwrap();
    let ids: Vec<&Value> = pieces.iter().map(|piece| &piece["id"]).collect();
    assert_eq!(ids, plain["tokens"].as_array().unwrap().iter().collect::<Vec<_>>());
    let bytes = |piece: &Value| match piece {
        Value::String(text) => text.clone().into_bytes(),
        bytes => bytes.as_array().unwrap().iter().map(|byte| u8::try_from(byte.as_u64().unwrap()).unwrap()).collect(),
    };
    let all: Vec<u8> = pieces.iter().flat_map(|piece| bytes(&piece["piece"])).collect();
    assert_eq!(String::from_utf8(all).unwrap(), "hello é");
    assert!(pieces.iter().any(|piece| piece["piece"].is_array()), "{told}");
}
