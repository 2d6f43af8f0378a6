//! Answers as clients read them.

use loader::gguf;
use models::generation::{FinishReason, Output, ScoredToken, Span};
use models::reading::AnswerReader;
use models::sampling::{Logprob, TokenLogprobs};
use models::template::{ChatTemplate, Extras, Tool};
use models::tokenizer::Tokenizer;
use serde_json::{Value, json};

use super::{AnswerHead, AnswerWriter, Collector, Form, Usage};
use crate::http::wire::{ChatRequest, CompletionRequest};

const HALF_A_CRAB: u32 = 2;

/// Tokens: 0 `<|im_end|>`, 1 `a`, 2 the first two bytes of a crab, 3 ` b`.
fn tokenizer() -> Tokenizer {
    fn text(text: &str) -> Vec<u8> {
        [&(text.len() as u64).to_le_bytes(), text.as_bytes()].concat()
    }
    fn list(ty: u32, items: &[Vec<u8>]) -> Vec<u8> {
        [&9_u32.to_le_bytes()[..], &ty.to_le_bytes(), &(items.len() as u64).to_le_bytes(), &items.concat()].concat()
    }
    let string = |value: &str| [8_u32.to_le_bytes().to_vec(), text(value)].concat();
    let types: Vec<Vec<u8>> = [3_i32, 1, 1, 1].iter().map(|ty| ty.to_le_bytes().to_vec()).collect();
    let entries = [
        ("general.architecture", string("llama")),
        ("tokenizer.ggml.model", string("gpt2")),
        ("tokenizer.ggml.pre", string("smollm")),
        ("tokenizer.ggml.tokens", list(8, &["<|im_end|>", "a", "ðŁ", "Ġb"].map(text))),
        ("tokenizer.ggml.token_type", list(5, &types)),
        ("tokenizer.ggml.merges", list(8, &[])),
    ];
    let mut file = [&b"GGUF"[..], &3_u32.to_le_bytes(), &0_u64.to_le_bytes(), &6_u64.to_le_bytes()].concat();
    for (key, value) in entries {
        file.extend(text(key));
        file.extend(value);
    }
    Tokenizer::from_header(&gguf::parse(&file).expect("a valid header")).expect("a valid tokenizer")
}

fn chat(fields: &str) -> AnswerWriter {
    let body = format!("{{\"model\":\"m\",\"messages\":[{{\"role\":\"user\",\"content\":\"a\"}}]{fields}}}");
    let request = ChatRequest::parse(body.as_bytes()).expect("a valid request");
    AnswerWriter::new(head("chatcmpl-1"), Form::Chat, &request.common)
}

fn completion(fields: &str) -> AnswerWriter {
    let body = format!("{{\"model\":\"m\",\"prompt\":\"a\"{fields}}}");
    let request = CompletionRequest::parse(body.as_bytes()).expect("a valid request");
    AnswerWriter::new(head("cmpl-1"), Form::Completion, &request.common)
}

fn head(id: &str) -> AnswerHead {
    AnswerHead { id: id.to_owned(), created_unix_s: 1_700_000_000, model: "m".to_owned(), service_tier: None }
}

fn piece(text: &str, finish: Option<FinishReason>) -> Output {
    Output { choice: 0, span: Span { text: text.to_owned(), tokens: Vec::new() }, finish }
}

/// Token `id` at character `offset_chars`, with the log-probability of half and its alternatives.
fn scored(id: u32, offset_chars: usize, top: &[(u32, f32)]) -> ScoredToken {
    let top = top.iter().map(|&(id, logprob)| Logprob { id, logprob }).collect();
    ScoredToken { id, offset_chars, logprobs: Some(TokenLogprobs { token: Logprob { id, logprob: -0.5 }, top }) }
}

fn read(body: &str) -> Value {
    assert!(!body.contains('\n'), "an event's data is one line");
    serde_json::from_str(body).expect("JSON")
}

fn whole(writer: &AnswerWriter, output: Output) -> Value {
    let mut collector = Collector::new(1);
    collector.push(output);
    let usage = Usage { prompt: 5, cached: 2, completion: 3, ..Usage::default() };
    read(&writer.whole(&collector.finish(), (usage, &json!({"cold": true})), &tokenizer()))
}

#[test]
fn a_whole_chat_is_openai_s_with_usage_and_receipt() {
    let expected = json!({
        "id": "chatcmpl-1", "object": "chat.completion", "created": 1_700_000_000, "model": "m",
        "system_fingerprint": super::FINGERPRINT,
        "choices": [{
            "index": 0,
            "message": {"role": "assistant", "content": "hi\n", "refusal": null},
            "logprobs": null,
            "finish_reason": "stop",
        }],
        "usage": {
            "prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8,
            "prompt_tokens_details": {"cached_tokens": 2},
        },
        "dayfly": {"cold": true},
    });
    assert_eq!(whole(&chat(""), piece("hi\n", Some(FinishReason::Stop))), expected);
}

#[test]
fn a_whole_completion_is_openai_s() {
    let answer = whole(&completion(""), piece("hi", Some(FinishReason::Length)));
    assert_eq!(answer["object"], "text_completion");
    let choice = json!({"text": "hi", "index": 0, "logprobs": null, "finish_reason": "length"});
    assert_eq!(answer["choices"], json!([choice]));
    assert_eq!((&answer["usage"]["total_tokens"], &answer["dayfly"]["cold"]), (&json!(8), &json!(true)));
}

#[test]
fn a_streamed_chat_begins_with_the_role_and_ends_with_the_reason() {
    let (writer, tokenizer) = (chat(r#","stream":true"#), tokenizer());
    let first = read(&writer.first_chunk(0).expect("a chat has a first chunk"));
    assert_eq!(first["object"], "chat.completion.chunk");
    assert_eq!(first["choices"][0]["delta"], json!({"role": "assistant", "content": ""}));
    assert_eq!(first["choices"][0]["finish_reason"], Value::Null);
    let text = read(&writer.chunk(&piece("hi", None), &tokenizer));
    assert_eq!(
        text["choices"],
        json!([{"index": 0, "delta": {"content": "hi"}, "logprobs": null, "finish_reason": null}])
    );
    let end = read(&writer.chunk(&piece("", Some(FinishReason::Stop)), &tokenizer));
    assert_eq!(end["choices"][0]["delta"], json!({}));
    assert_eq!(end["choices"][0]["finish_reason"], "stop");
    for chunk in [first, text, end] {
        assert_eq!((&chunk["id"], &chunk["model"]), (&json!("chatcmpl-1"), &json!("m")));
        assert_eq!(
            (&chunk["created"], &chunk["system_fingerprint"]),
            (&json!(1_700_000_000), &json!(super::FINGERPRINT))
        );
        assert!(chunk.get("usage").is_none() && chunk.get("dayfly").is_none(), "nobody asked for usage");
    }
}

#[test]
fn a_streamed_completion_is_text_from_the_first_chunk_on() {
    let writer = completion(r#","stream":true"#);
    assert_eq!(writer.first_chunk(0), None);
    let chunk = read(&writer.chunk(&piece("hi", Some(FinishReason::Stop)), &tokenizer()));
    assert_eq!(chunk["object"], "text_completion");
    let choice = json!({"text": "hi", "index": 0, "logprobs": null, "finish_reason": "stop"});
    assert_eq!(chunk["choices"], json!([choice]));
}

#[test]
fn usage_is_null_until_the_chunk_that_has_it() {
    let streamed = r#","stream":true,"stream_options":{"include_usage":true}"#;
    for writer in [chat(streamed), completion(streamed)] {
        let mut chunks = vec![writer.chunk(&piece("hi", None), &tokenizer())];
        chunks.extend(writer.first_chunk(0));
        for chunk in chunks {
            assert_eq!(read(&chunk).get("usage"), Some(&Value::Null));
        }
        let usage = Usage { prompt: 1, completion: 2, ..Usage::default() };
        let last = read(&writer.usage_chunk(usage, &json!({"cold": false})));
        assert_eq!(last["choices"], json!([]));
        assert_eq!((&last["usage"]["total_tokens"], &last["dayfly"]), (&json!(3), &json!({"cold": false})));
    }
}

#[test]
fn chats_show_log_probabilities_with_bytes() {
    let tokens = vec![scored(1, 0, &[(HALF_A_CRAB, -0.25), (0, f32::NEG_INFINITY)])];
    let output = Output { choice: 0, span: Span { text: "a".to_owned(), tokens }, finish: None };
    let expected = json!({
        "content": [{
            "token": "a", "logprob": -0.5, "bytes": [97],
            "top_logprobs": [
                {"token": "\u{fffd}", "logprob": -0.25, "bytes": [0xf0, 0x9f]},
                {"token": "<|im_end|>", "logprob": -9999.0, "bytes": "<|im_end|>".as_bytes()},
            ],
        }],
        "refusal": null,
    });
    let writer = chat(r#","logprobs":true,"top_logprobs":2"#);
    assert_eq!(read(&writer.chunk(&output, &tokenizer()))["choices"][0]["logprobs"], expected);
    assert_eq!(whole(&writer, output.clone())["choices"][0]["logprobs"], expected);
    assert_eq!(whole(&chat(""), output)["choices"][0]["logprobs"], Value::Null);
    let nothing = whole(&writer, piece("", Some(FinishReason::Stop)));
    assert_eq!(nothing["choices"][0]["logprobs"]["content"], json!([]), "asked for, and no token to show");
}

#[test]
fn completions_show_log_probabilities_as_parallel_lists() {
    let first = ScoredToken { id: 1, offset_chars: 0, logprobs: None };
    let tokens = vec![first, scored(3, 1, &[(3, -0.5)]), scored(HALF_A_CRAB, 3, &[(1, -0.25)])];
    let output = Output { choice: 0, span: Span { text: "a b".to_owned(), tokens }, finish: None };
    let expected = json!({
        "tokens": ["a", " b", "bytes:\\xf0\\x9f"],
        "token_logprobs": [null, -0.5, -0.5],
        "top_logprobs": [null, {" b": -0.5}, {"a": -0.25, "bytes:\\xf0\\x9f": -0.5}],
        "text_offset": [0, 1, 3],
    });
    let writer = completion(r#","logprobs":1"#);
    assert_eq!(read(&writer.chunk(&output, &tokenizer()))["choices"][0]["logprobs"], expected);
    assert_eq!(whole(&writer, output)["choices"][0]["logprobs"], expected);
}

#[test]
fn heads_are_of_their_form_and_never_the_same() {
    let body = br#"{"model":"m","prompt":"a","service_tier":"flex"}"#;
    let request = CompletionRequest::parse(body).expect("a valid request").common;
    let (chat, completion) = (AnswerHead::new(Form::Chat, &request), AnswerHead::new(Form::Completion, &request));
    assert!(chat.id.starts_with("chatcmpl-") && completion.id.starts_with("cmpl-"));
    assert_ne!(chat.id, AnswerHead::new(Form::Chat, &request).id);
    assert_eq!((chat.model.as_str(), chat.service_tier), ("m", Some("flex")));
    assert!(chat.created_unix_s > 1_700_000_000);
}

#[test]
fn drafts_are_told_as_predictions_where_there_were_any() {
    let usage = |drafted, accepted_draft| {
        let usage = Usage { prompt: 5, cached: 2, completion: 9, drafted, accepted_draft };
        serde_json::to_value(usage).expect("numbers")
    };
    assert_eq!(usage(0, 0).get("completion_tokens_details"), None);
    let told = usage(7, 4);
    assert_eq!(
        told["completion_tokens_details"],
        json!({"accepted_prediction_tokens": 4, "rejected_prediction_tokens": 3})
    );
    assert_eq!(told["total_tokens"], 14, "what was rejected is no token of the answer");
}

/// A chat whose answers may call `get`.
fn calling(fields: &str) -> AnswerWriter {
    let mut writer = chat(fields);
    let template = ChatTemplate::compile("{{ tools }}<tool_call><think></think>", &tokenizer()).expect("a template");
    let tool = Tool { name: "get".to_owned(), description: None, parameters: None };
    let extras = Extras { tools: vec![tool], ..Extras::default() };
    writer.read_by(AnswerReader::new(&template, &extras, template.thoughts(&extras).expect("it renders")));
    writer
}

const CALLING: &str = "<think>hm</think>Wait.\n<tool_call>{\"name\":\"get\",\"arguments\":{\"a\":1}}</tool_call>";

#[test]
fn a_whole_chat_shows_thoughts_and_calls_apart() {
    let stop = Some(FinishReason::Stop);
    let answer = whole(&calling(""), piece(CALLING, stop));
    let choice = &answer["choices"][0];
    assert_eq!((&choice["finish_reason"], &choice["message"]["content"]), (&json!("tool_calls"), &json!("Wait.")));
    assert_eq!(choice["message"]["reasoning_content"], "hm");
    let call = &choice["message"]["tool_calls"][0];
    assert!(call["id"].as_str().is_some_and(|id| id.starts_with("call_")), "{call}");
    assert_eq!(call["type"], "function");
    assert_eq!(call["function"], json!({"name": "get", "arguments": "{\"a\":1}"}));
    let alone = whole(&calling(""), piece(CALLING.split_once("Wait.").expect("said").1, stop));
    assert_eq!(alone["choices"][0]["message"]["content"], Value::Null);
    let text = whole(&calling(""), piece("no call", stop));
    assert_eq!(text["choices"][0]["finish_reason"], "stop");
    assert_eq!(text["choices"][0]["message"], json!({"role": "assistant", "content": "no call", "refusal": null}));
    let cut = whole(&calling(""), piece(CALLING, Some(FinishReason::Length)));
    assert_eq!(cut["choices"][0]["finish_reason"], "length");
}

#[test]
fn a_streamed_chat_shows_the_same_in_chunks_and_its_end_once() {
    let writer = calling(r#","stream":true"#);
    let mut reader = writer.reader().expect("it reads");
    let mut chunks: Vec<Value> = Vec::new();
    let (first, second) = CALLING.split_at(40);
    for (text, finish) in [(first, None), (second, None), ("", Some(FinishReason::Stop))] {
        chunks.extend(
            writer.read_chunks(&piece(text, finish), &mut reader, &tokenizer()).iter().map(|chunk| read(chunk)),
        );
    }
    let choices: Vec<&Value> = chunks.iter().map(|chunk| &chunk["choices"][0]).collect();
    let deltas: Vec<&Value> = choices.iter().map(|choice| &choice["delta"]).collect();
    assert_eq!(deltas[0], &json!({"reasoning_content": "hm"}));
    assert_eq!(deltas[1], &json!({"content": "Wait."}));
    assert_eq!(
        (&deltas[2]["tool_calls"][0]["index"], &deltas[2]["tool_calls"][0]["function"]["name"]),
        (&json!(0), &json!("get"))
    );
    assert_eq!((choices.len(), deltas[3]), (4, &json!({})));
    let ends: Vec<&Value> = choices.iter().map(|choice| &choice["finish_reason"]).collect();
    assert_eq!(ends, [&Value::Null, &Value::Null, &Value::Null, &json!("tool_calls")]);
}
