//! Answers, held against the description: their statuses, kinds and headers are described, and bodies are what their schemas
//! say and nothing else. The schemas are read here in those words of JSON Schema that answers are described with; any other
//! is a failure.

use std::collections::BTreeSet;

use loader::fixture::{EncoderPooling, TinyEncoder, tiny_encoder};
use serde_json::{Value, json};

use crate::client::{Response, request};
use crate::models::{good, write_file};
use crate::server::{Options, Server};

/// What says nothing of a value.
const SILENT: [&str; 6] = ["description", "title", "format", "example", "default", "contentMediaType"];

struct Description(Value);

impl Description {
    fn of(server: &Server) -> Self {
        Self(server.get("/openapi.json").ok())
    }

    fn resolved<'a>(&'a self, value: &'a Value) -> &'a Value {
        match value["$ref"].as_str() {
            Some(target) => self.0.pointer(&target[1..]).unwrap_or_else(|| panic!("{target} is nowhere")),
            None => value,
        }
    }

    /// Holds an answer of `method` at `path`, which the description calls `pattern`, against it.
    fn describes(&self, (method, pattern): (&str, &str), answer: &Response) {
        let what = format!("{method} {pattern}: {answer}");
        let responses = &self.0["paths"][pattern][method.to_lowercase()]["responses"];
        let response = self.resolved(&responses[answer.status.to_string()]);
        assert!(response.is_object(), "the status is not described: {what}");
        let ours = |name: &str| name.starts_with("x-") && name != "x-content-type-options";
        let told = ["retry-after", "location", "etag", "set-cookie"];
        for (name, _) in answer.headers.iter().filter(|(name, _)| ours(name) || told.contains(&name.as_str())) {
            let described = response["headers"].as_object().unwrap();
            assert!(described.keys().any(|known| known.eq_ignore_ascii_case(name)), "{name} is not described: {what}");
        }
        if answer.body.is_empty() && response["content"].is_null() {
            return;
        }
        let kind = answer.header("content-type").unwrap().split(';').next().unwrap();
        let content = &response["content"][kind];
        assert!(content.is_object(), "{kind} is not described: {what}");
        let fits = |schema: &Value, value: &Value| {
            if let Err(why) = self.fits(schema, value, "") {
                panic!("{why} in {value} of {what}");
            }
        };
        match kind {
            "application/json" => fits(&content["schema"], &answer.json()),
            "text/event-stream" => events(&answer.text()).iter().for_each(|event| fits(&content["schema"], event)),
            "application/x-ndjson" => {
                for line in answer.text().lines() {
                    fits(&content["x-item-schema"], &serde_json::from_str(line).unwrap());
                }
            }
            _ => fits(&content["schema"], &Value::from(answer.text())),
        }
    }

    /// Why `value`, which stands at `place`, is not what `schema` says, or has members that it does not name.
    fn fits(&self, schema: &Value, value: &Value, place: &str) -> Result<(), String> {
        let schema = self.resolved(schema);
        self.is_as_said(schema, value, place)?;
        let (Some(members), Some(known)) = (value.as_object(), self.names(schema)) else { return Ok(()) };
        match members.keys().find(|name| !known.contains(name.as_str())) {
            Some(name) => Err(format!("{place}/{name} is not described")),
            None => Ok(()),
        }
    }

    /// The names that an object may have; none where they may be any, or one of several forms says it.
    fn names<'a>(&'a self, schema: &'a Value) -> Option<BTreeSet<&'a str>> {
        let schema = self.resolved(schema);
        let parts = schema["allOf"].as_array().into_iter().flatten();
        let mut names = schema["properties"].as_object().map(|all| all.keys().map(String::as_str).collect());
        for part in parts.filter_map(|part| self.names(part)) {
            names.get_or_insert_with(BTreeSet::new).extend(part);
        }
        names
    }

    fn is_as_said(&self, schema: &Value, value: &Value, place: &str) -> Result<(), String> {
        let schema = self.resolved(schema);
        let wrong = |keyword: &str| Err(format!("{place} is not as `{keyword}` has it: {schema}"));
        let each_of = |said: &'_ Value| said.as_array().cloned().unwrap_or_default();
        let numbers = |bound: &Value| value.as_f64().zip(bound.as_f64());
        let count =
            |said: &Value| value.as_array().map(Vec::len).zip(said.as_u64().and_then(|said| said.try_into().ok()));
        for (keyword, said) in schema.as_object().unwrap() {
            let holds = match keyword.as_str() {
                silent if SILENT.contains(&silent) => true,
                "type" => is_of_type(said, value),
                "enum" => each_of(said).contains(value),
                "const" => value == said,
                "minimum" => numbers(said).is_none_or(|(value, least)| value >= least),
                "maximum" => numbers(said).is_none_or(|(value, most)| value <= most),
                "minItems" => count(said).is_none_or(|(items, least): (usize, usize)| items >= least),
                "maxItems" => count(said).is_none_or(|(items, most): (usize, usize)| items <= most),
                "required" => value
                    .as_object()
                    .is_none_or(|all| each_of(said).iter().all(|name| all.contains_key(name.as_str().unwrap()))),
                "anyOf" => each_of(said).iter().any(|form| self.fits(form, value, place).is_ok()),
                "oneOf" => each_of(said).iter().filter(|form| self.fits(form, value, place).is_ok()).count() == 1,
                "allOf" => {
                    each_of(said).iter().try_for_each(|part| self.is_as_said(part, value, place))?;
                    true
                }
                "properties" => {
                    for (name, form) in said.as_object().unwrap() {
                        if let Some(member) = value.get(name) {
                            self.fits(form, member, &format!("{place}/{name}"))?;
                        }
                    }
                    true
                }
                "additionalProperties" if said.is_object() => {
                    for (name, member) in value.as_object().into_iter().flatten() {
                        self.fits(said, member, &format!("{place}/{name}"))?;
                    }
                    true
                }
                "additionalProperties" => *said == true,
                "items" => {
                    for (index, item) in value.as_array().into_iter().flatten().enumerate() {
                        self.fits(said, item, &format!("{place}/{index}"))?;
                    }
                    true
                }
                "contentSchema" => {
                    let inner = value.as_str().and_then(|text| serde_json::from_str(text).ok());
                    inner.is_some_and(|inner| self.fits(said, &inner, place).is_ok())
                }
                other => panic!("answers are described with `{other}`, which is not read here"),
            };
            if !holds {
                return wrong(keyword);
            }
        }
        Ok(())
    }
}

fn is_of_type(said: &Value, value: &Value) -> bool {
    match said {
        Value::Array(kinds) => kinds.iter().any(|kind| is_of_type(kind, value)),
        kind => match kind.as_str().unwrap() {
            "null" => value.is_null(),
            "boolean" => value.is_boolean(),
            "integer" => value.is_i64() || value.is_u64(),
            "number" => value.is_number(),
            "string" => value.is_string(),
            "array" => value.is_array(),
            "object" => value.is_object(),
            other => panic!("there is no type {other}"),
        },
    }
}

/// The events of a stream, as the description has them: what stands behind `event` and `data`.
fn events(text: &str) -> Vec<Value> {
    let lines = |event: &str| -> Value {
        let pairs = event.lines().filter(|line| !line.starts_with(':')).map(|line| line.split_once(": ").unwrap());
        Value::Object(pairs.map(|(name, value)| (name.to_owned(), value.into())).collect())
    };
    text.split("\n\n").map(lines).filter(|event| event.as_object().is_some_and(|event| !event.is_empty())).collect()
}

fn asked(server: &Server, method: &str, path: &str, body: Option<&Value>) -> Response {
    let body = body.map(Value::to_string).unwrap_or_default();
    server.send(&request(method, path, &["content-type: application/json"], body.as_bytes()))
}

fn serving() -> Server {
    let models = |folder: &std::path::Path| {
        good(folder);
        write_file(folder, "encoder", &tiny_encoder(&TinyEncoder::default()));
        let ranker = TinyEncoder { pooling: EncoderPooling::Rank, ..TinyEncoder::default() };
        write_file(folder, "ranker", &tiny_encoder(&ranker));
    };
    Options::with_models(models).config("[rates]\ncpu_hour = 1.0\n").start()
}

/// Bodies by which something is generated, whole and streamed, with all that an answer may have.
fn generating() -> Vec<(&'static str, Value)> {
    let messages = json!([{ "role": "user", "content": "hello" }]);
    vec![
        (
            "/v1/chat/completions",
            json!({ "model": "good", "messages": messages, "max_tokens": 3, "n": 2, "logprobs": true, "top_logprobs": 2,
                    "service_tier": "flex", "temperature": 0, "cache": true }),
        ),
        (
            "/v1/completions",
            json!({ "model": "good", "prompt": ["hello", [1, 2]], "max_tokens": 3, "logprobs": 2, "echo": true }),
        ),
        (
            "/v1/responses",
            json!({ "model": "good", "input": "hello", "max_output_tokens": 3, "top_logprobs": 2, "metadata": { "a": "b" },
                    "include": ["message.output_text.logprobs"], "instructions": "be brief", "user": "me" }),
        ),
        ("/v1/messages", json!({ "model": "good", "messages": messages, "max_tokens": 3, "stop_sequences": ["zz"] })),
        (
            "/api/chat",
            json!({ "model": "good", "messages": messages, "logprobs": true, "top_logprobs": 1, "options": { "num_predict": 3 } }),
        ),
        ("/api/generate", json!({ "model": "good", "prompt": "hello", "options": { "num_predict": 3 } })),
        (
            "/completion",
            json!({ "model": "good", "prompt": "hello", "n_predict": 3, "n_probs": 2, "return_tokens": true }),
        ),
    ]
}

#[test]
fn what_generates_answers_as_described_whole_streamed_and_refused() {
    let server = serving();
    let description = Description::of(&server);
    for (path, body) in generating() {
        for stream in [false, true] {
            let mut body = body.clone();
            body["stream"] = stream.into();
            if stream && path.starts_with("/v1/c") {
                body["stream_options"] = json!({ "include_usage": true });
            }
            let answer = asked(&server, "POST", path, Some(&body));
            assert_eq!(answer.status, 200, "{answer}");
            description.describes(("POST", path), &answer);
        }
        let mut unknown = body.clone();
        unknown["model"] = "none".into();
        let mut wrong = body;
        wrong["stream"] = 5.into();
        for (body, status) in [(unknown, 404), (wrong, 400)] {
            let answer = asked(&server, "POST", path, Some(&body));
            assert_eq!(answer.status, status, "{answer}");
            description.describes(("POST", path), &answer);
        }
        let typeless = server.send(&request("POST", path, &["content-encoding: gzip"], b"x"));
        assert_eq!(typeless.status, 415, "{typeless}");
        description.describes(("POST", path), &typeless);
    }
}

#[test]
fn what_clients_of_other_servers_are_told_is_as_described() {
    let server = serving();
    let description = Description::of(&server);
    let messages = json!([{ "role": "user", "content": "hello" }]);
    for (path, body) in [
        ("/v1/rerank", json!({ "model": "ranker", "query": "a", "documents": ["b"], "return_documents": true })),
        ("/rerank", json!({ "model": "ranker", "query": "a", "texts": ["b"], "return_text": true })),
        ("/v1/score", json!({ "model": "encoder", "text_1": "a", "text_2": ["b"] })),
        ("/tokenize", json!({ "model": "good", "content": "hello é", "with_pieces": true })),
        ("/tokenize", json!({ "model": "good", "prompt": "hello", "return_token_strs": true })),
        ("/tokenize", json!({ "model": "good", "messages": messages })),
        ("/v1/responses/input_tokens", json!({ "model": "good", "input": "hello" })),
        ("/completion", json!({ "model": "good", "prompt": "a", "n_predict": 1, "response_fields": ["content"] })),
    ] {
        let answer = asked(&server, "POST", path, Some(&body));
        assert_eq!(answer.status, 200, "{path}: {answer}");
        description.describes(("POST", path), &answer);
    }
    description.describes(("GET", "/v1/sign-in"), &asked(&server, "GET", "/v1/sign-in", None));
}

#[test]
fn what_is_told_is_as_described() {
    let server = serving();
    let description = Description::of(&server);
    let id = server.complete(&json!({ "model": "good", "prompt": "hello", "max_tokens": 1 })).ok()["id"].clone();
    let (of_usage, of_model) = (format!("/v1/usage/{}", id.as_str().unwrap()), "/v1/models/good");
    let vectors = json!({ "model": "encoder", "input": ["hello", "you"] });
    let conversation = json!({ "model": "good", "messages": [{ "role": "user", "content": "hello" }] });
    let context = json!({ "model": "good", "name": "manual", "text": "hello ".repeat(100) });
    let model = json!({ "model": "good" });
    for (method, path, pattern, body) in [
        ("GET", "/", "/", None),
        ("POST", "/v1/sign-in", "", None),
        ("DELETE", "/v1/sign-in", "", None),
        ("POST", "/v1/embeddings", "", Some(&vectors)),
        ("POST", "/api/embed", "", Some(&vectors)),
        ("POST", "/api/embeddings", "", Some(&json!({ "model": "encoder", "prompt": "hello" }))),
        ("POST", "/v1/messages/count_tokens", "", Some(&conversation)),
        ("POST", "/apply-template", "", Some(&conversation)),
        ("POST", "/tokenize", "", Some(&json!({ "model": "good", "content": "hello" }))),
        ("POST", "/detokenize", "", Some(&json!({ "model": "good", "tokens": [1, 2] }))),
        ("POST", "/v1/contexts", "", Some(&context)),
        ("GET", "/v1/contexts", "", None),
        ("GET", "/v1/contexts/manual", "/v1/contexts/{name}", None),
        ("DELETE", "/v1/contexts/manual", "/v1/contexts/{name}", None),
        ("GET", "/v1/contexts/manual", "/v1/contexts/{name}", None),
        ("POST", "/models/load", "", Some(&model)),
        ("POST", "/models/load", "", Some(&json!({ "model": "encoder", "stream": true }))),
        ("POST", "/models/pin", "", Some(&model)),
        ("POST", "/models/unload", "", Some(&model)),
        ("POST", "/models/unpin", "", Some(&model)),
        ("POST", "/models/unload", "", Some(&model)),
        ("POST", "/models/unload", "", Some(&json!({ "model": "none" }))),
        ("POST", "/models/unpin", "", Some(&json!({ "model": "none" }))),
        ("POST", "/models/budget", "", Some(&json!({ "memory_budget": "1GiB" }))),
        ("POST", "/models/budget", "", Some(&json!({ "memory_budget": 1 }))),
        ("GET", "/models", "", None),
        ("GET", "/v1/models", "", None),
        ("GET", of_model, "/v1/models/{id}", None),
        ("GET", "/v1/models/none", "/v1/models/{id}", None),
        ("GET", "/api/tags", "", None),
        ("GET", "/api/ps", "", None),
        ("GET", "/api/version", "", None),
        ("POST", "/api/show", "", Some(&model)),
        ("POST", "/api/pull", "", Some(&json!({ "model": "no source at all", "stream": false }))),
        ("DELETE", "/api/delete", "", Some(&json!({ "model": "none" }))),
        ("GET", "/v1/usage", "", None),
        ("GET", "/v1/usage?since=soon", "/v1/usage", None),
        ("GET", &of_usage, "/v1/usage/{id}", None),
        ("GET", "/v1/usage/none", "/v1/usage/{id}", None),
        ("GET", "/v1/energy", "", None),
        ("GET", "/v1/savings", "", None),
        ("GET", "/v1/organization/usage/completions?start_time=1", "/v1/organization/usage/completions", None),
        ("GET", "/v1/organization/costs?start_time=1", "/v1/organization/costs", None),
        ("GET", "/v1/organization/costs", "", None),
        ("GET", "/props", "", None),
        ("GET", "/props?model=good", "/props", None),
        ("GET", "/lora-adapters", "", None),
        ("GET", "/health", "", None),
        ("GET", "/v1/health", "", None),
        ("GET", "/livez", "", None),
        ("GET", "/readyz", "", None),
        ("GET", "/metrics", "", None),
        ("GET", "/assets/none", "/assets/{name}", None),
        ("GET", "/openapi.json", "", None),
    ] {
        let pattern = if pattern.is_empty() { path } else { pattern };
        description.describes((method, pattern), &asked(&server, method, path, body));
    }
}
