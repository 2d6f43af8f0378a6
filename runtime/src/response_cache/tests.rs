use std::collections::BTreeMap;
use std::path::Path;

use loader::catalog::{Catalog, CatalogOptions, LinkPolicy};
use loader::fixture::{TinyModel, tiny_model};
use models::generation::{FinishReason, Span};
use models::sampling::TokenLogprobs;

use super::*;
use crate::generate::{Asked, Prompt};
use crate::http::wire::{ChatRequest, CompletionRequest};
use crate::tenancy::{Access, Asker};

fn asker(tenant: &str) -> Asker {
    Asker { access: Access::unbounded(tenant), idempotency_key: None, record: None }
}

/// A completion, greedy unless it says something else.
fn completion(fields: &str) -> Asked {
    let greedy = if fields.contains("temperature") { "" } else { "\"temperature\":0," };
    let body = format!("{{\"model\":\"m\",{greedy}{fields}}}");
    let CompletionRequest { common, prompts, echo, special } = CompletionRequest::parse(body.as_bytes()).unwrap();
    let prompt = Prompt::Raw(prompts, special);
    Asked { id: "cmpl-1".to_owned(), asker: asker("acme"), urgency: common.urgency, common, prompt, echo }
}

fn chat(messages: &str) -> Asked {
    let body = format!("{{\"model\":\"m\",\"temperature\":0,\"messages\":{messages}}}");
    let ChatRequest { common, messages, options } = ChatRequest::parse(body.as_bytes()).unwrap();
    let prompt = Prompt::Messages(messages, Box::new(options));
    let echo = models::generation::Echo::Nothing;
    Asked { id: "chatcmpl-1".to_owned(), asker: asker("acme"), urgency: common.urgency, common, prompt, echo }
}

/// The version of a file that is written now.
fn identity(folder: &Path, layers: u32) -> ArtifactIdentity {
    let model = TinyModel { layers, ..TinyModel::default() };
    tiny_model(&model).write_to(&folder.join("m.gguf")).unwrap();
    let options =
        CatalogOptions { roots: vec![folder.to_owned()], aliases: BTreeMap::new(), links: LinkPolicy::default() };
    Catalog::new(options).resolve("m").unwrap().identity().unwrap()
}

fn some_identity() -> ArtifactIdentity {
    identity(tempfile::tempdir().unwrap().path(), 1)
}

fn key(asked: &Asked, identity: &ArtifactIdentity) -> Key {
    Key::of(asked, Served { model: "m", identity, template: None, context: None })
}

#[test]
fn whatever_decides_the_answer_is_of_the_key() {
    let identity = some_identity();
    let of = |fields: &str| key(&completion(fields), &identity);
    let different = [
        r#""prompt":"a""#,
        r#""prompt":"b""#,
        r#""prompt":["a","b"]"#,
        r#""prompt":["ab",""]"#,
        r#""prompt":["","ab"]"#,
        r#""prompt":[1]"#,
        r#""prompt":[[1],[2]]"#,
        r#""prompt":[1,2]"#,
        r#""prompt":"a","parse_special":false"#,
        r#""prompt":"a","max_tokens":7"#,
        r#""prompt":"a","max_tokens":8"#,
        r#""prompt":"a","n":2"#,
        r#""prompt":"a","stop":"x""#,
        r#""prompt":"a","stop":["x","y"]"#,
        r#""prompt":"a","stop":["xy"]"#,
        r#""prompt":"a","ignore_eos":true"#,
        r#""prompt":"a","logprobs":0"#,
        r#""prompt":"a","logprobs":1"#,
        r#""prompt":"a","echo":true"#,
        r#""prompt":"a","temperature":0.5,"seed":1"#,
        r#""prompt":"a","temperature":0.5,"seed":2"#,
        r#""prompt":"a","temperature":0.25,"seed":2"#,
        r#""prompt":"a","top_k":1"#,
        r#""prompt":"a","top_p":0.5"#,
        r#""prompt":"a","min_p":0.5"#,
        r#""prompt":"a","repeat_penalty":1.5"#,
        r#""prompt":"a","presence_penalty":1"#,
        r#""prompt":"a","frequency_penalty":1"#,
        r#""prompt":"a","logit_bias":{"1":1}"#,
        r#""prompt":"a","logit_bias":{"1":2}"#,
        r#""prompt":"a","logit_bias":{"2":1}"#,
        r#""prompt":"a","regex":"a""#,
        r#""prompt":"a","regex":"b""#,
        r#""prompt":"a","grammar":"a""#,
        r#""prompt":"a","response_format":{"type":"json_object"}"#,
        r#""prompt":"a","guided_json":{"properties":{"a":{},"b":{}}}"#,
        r#""prompt":"a","guided_json":{"properties":{"b":{},"a":{}}}"#,
    ];
    let keys = different.map(of);
    for (index, one) in keys.iter().enumerate() {
        for (other, fields) in keys[..index].iter().zip(different) {
            assert_ne!(one, other, "{fields} and {}", different[index]);
        }
    }
}

#[test]
fn how_an_answer_is_delivered_is_not_of_the_key() {
    let identity = some_identity();
    let plain = key(&completion(r#""prompt":"a""#), &identity);
    for fields in [
        r#""prompt":"a","stream":true,"stream_options":{"include_usage":true}"#,
        r#""prompt":"a","user":"u","metadata":{"a":"b"},"keep_alive":"1h","timeout":5,"service_tier":"flex""#,
        r#""prompt":"a","cache":true"#,
        r#""prompt":"a","seed":5"#,
    ] {
        assert_eq!(key(&completion(fields), &identity), plain, "{fields}");
    }
}

#[test]
fn conversations_are_told_apart_by_who_says_what() {
    let identity = some_identity();
    let keys = [
        r#"[{"role":"user","content":"a"}]"#,
        r#"[{"role":"user","content":"b"}]"#,
        r#"[{"role":"system","content":"a"}]"#,
        r#"[{"role":"user","content":"a","name":"b"}]"#,
        r#"[{"role":"user","content":"a"},{"role":"user","content":"a"}]"#,
    ]
    .map(|messages| key(&chat(messages), &identity));
    let get = r#"[{"role":"user","content":"a"}],"tools":[{"type":"function","function":{"name":"get"#;
    let beside = [
        format!("{get}\"}}}}]"),
        format!("{get}\",\"strict\":true}}}}]"),
        format!("{get}\",\"description\":\"d\"}}}}]"),
        format!("{get}\",\"parameters\":{{}}}}}}]"),
        format!("{get}\"}}}}],\"tool_choice\":\"required\""),
        format!("{get}\"}}}}],\"parallel_tool_calls\":false"),
        format!("{get}\"}}}}],\"chat_template_kwargs\":{{\"a\":1}}"),
        format!("{get}\"}}}}],\"reasoning_effort\":\"low\""),
        r#"[{"role":"assistant","content":"a","reasoning_content":"b"}]"#.to_owned(),
        r#"[{"role":"tool","content":"a","tool_call_id":"b"}]"#.to_owned(),
    ];
    let beside = beside.iter().map(|messages| key(&chat(messages), &identity));
    let keys: Vec<Key> = keys.into_iter().chain(beside).collect();
    let raw = key(&completion(r#""prompt":"a""#), &identity);
    for (index, one) in keys.iter().enumerate() {
        assert!(!keys[..index].contains(one) && *one != raw, "{index}");
    }
}

#[test]
fn tenants_names_files_and_templates_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let before = identity(folder.path(), 1);
    let after = identity(folder.path(), 2);
    let asked = completion(r#""prompt":"a""#);
    let of = |model, identity, template| Key::of(&asked, Served { model, identity, template, context: None });
    let mut other = completion(r#""prompt":"a""#);
    other.asker = asker("other");
    let keys = [
        of("m", &before, None),
        of("m", &after, None),
        of("n", &before, None),
        of("m", &before, Some("")),
        of("m", &before, Some("x")),
        key(&other, &before),
    ];
    for (index, one) in keys.iter().enumerate() {
        assert!(!keys[..index].contains(one), "{index}");
    }
    assert_eq!(keys[0], of("m", &before, None));
}

fn piece(choice: usize, text: &str, finish: Option<FinishReason>) -> Output {
    Output { choice, span: Span { text: text.to_owned(), tokens: Vec::new() }, finish }
}

fn numbered(seed: u64) -> (Key, ArtifactIdentity) {
    let identity = some_identity();
    (key(&completion(&format!("\"prompt\":\"a\",\"temperature\":1,\"seed\":{seed}")), &identity), identity)
}

/// Of one answer with a text of so many bytes.
fn recorded(seed: u64, bytes: usize) -> Recorder {
    let (key, identity) = numbered(seed);
    let mut recorder = Recorder::new(key, identity, 1);
    recorder.push(&piece(0, &"x".repeat(bytes), Some(FinishReason::Length)));
    recorder
}

#[test]
fn an_answer_comes_back_in_a_piece_for_each_choice() {
    let (key, identity) = numbered(1);
    let cache = ResponseCache::new(1 << 20);
    let mut recorder = Recorder::new(key, identity, 2);
    recorder.push(&piece(0, "he", None));
    recorder.push(&piece(0, "llo", Some(FinishReason::Stop)));
    recorder.push(&piece(1, "bye", Some(FinishReason::Length)));
    cache.keep(recorder, TokenCounts { prompt: 3, completion: 9, ..TokenCounts::default() });
    let answer = cache.find(&key).unwrap();
    assert_eq!((answer.prompt_tokens, answer.completion_tokens), (3, 9));
    let pieces: Vec<Output> = answer.outputs().collect();
    let expected = [piece(0, "hello", Some(FinishReason::Stop)), piece(1, "bye", Some(FinishReason::Length))];
    assert_eq!(pieces, expected);
    assert_eq!(cache.status(), ResponseCacheStatus { answers: 1, bytes: 1024 });
    assert!(cache.find(&numbered(2).0).is_none());
}

#[test]
fn what_is_not_whole_or_too_long_is_not_kept() {
    let cache = ResponseCache::new(64 << 20);
    let (key, identity) = numbered(1);
    let mut half = Recorder::new(key, identity.clone(), 2);
    half.push(&piece(0, "a", Some(FinishReason::Stop)));
    cache.keep(half, TokenCounts::default());
    assert!(cache.find(&key).is_none(), "the second answer is missing");
    let long = recorded(2, STORED_ANSWER_BYTES_MAX);
    let too_long = long.key;
    cache.keep(long, TokenCounts::default());
    assert!(cache.find(&too_long).is_none());
    // Tokens with alternatives weigh, too.
    let token = |count| ScoredToken {
        id: 0,
        offset_chars: 0,
        logprobs: Some(TokenLogprobs {
            token: Logprob { id: 0, logprob: 0.0 },
            top: vec![Logprob { id: 0, logprob: 0.0 }; count],
        }),
    };
    let scored =
        |count| Output { span: Span { text: String::new(), tokens: vec![token(count)] }, ..piece(0, "", None) };
    assert!(output_bytes(&scored(20)) >= output_bytes(&scored(0)) + 20 * 8);
}

#[test]
fn the_longest_unused_makes_room() {
    // Each takes two KiB, and three of them have room.
    let cache = ResponseCache::new(6 << 10);
    let of = |seed| recorded(seed, 1200);
    let keys: Vec<Key> = (0..4).map(|seed| of(seed).key).collect();
    let keep = |seed: usize| {
        let recorder = Recorder { key: keys[seed], ..of(seed as u64) };
        cache.keep(recorder, TokenCounts::default());
        cache.status();
    };
    (0..3).for_each(keep);
    assert_eq!(cache.status(), ResponseCacheStatus { answers: 3, bytes: 6 << 10 });
    assert!(cache.find(&keys[0]).is_some());
    cache.status();
    keep(3);
    assert_eq!(cache.status(), ResponseCacheStatus { answers: 3, bytes: 6 << 10 });
    let are_there: Vec<bool> = keys.iter().map(|key| cache.find(key).is_some()).collect();
    assert_eq!(are_there, [true, false, true, true]);
}

#[test]
fn a_cache_of_nothing_keeps_nothing() {
    let cache = ResponseCache::new(0);
    assert!(!cache.is_on());
    let recorder = recorded(1, 10);
    let key = recorder.key;
    cache.keep(recorder, TokenCounts::default());
    assert!(cache.find(&key).is_none());
    assert_eq!(cache.status(), ResponseCacheStatus::default());
}

#[test]
fn a_recorder_is_of_the_files_that_were_looked_at() {
    let folder = tempfile::tempdir().unwrap();
    let (before, after) = (identity(folder.path(), 1), identity(folder.path(), 2));
    let recorder = Recorder::new(numbered(1).0, before.clone(), 1);
    assert!(recorder.is_of(&before) && !recorder.is_of(&after));
}
