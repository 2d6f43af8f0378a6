//! Ollama's interface: shapes, streams, what is refused and in which words.

use loader::fixture::{EncoderPooling, TinyEncoder, tiny_encoder};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::client::{Response, request, until};
use crate::models::{good, write_file};
use crate::server::{Options, SOON, Server};
use crate::smollm2;

/// The lines of a stream.
#[track_caller]
fn lines(response: &Response) -> Vec<Value> {
    assert_eq!(response.status, 200, "{response}");
    assert_eq!(response.header("content-type"), Some("application/x-ndjson"));
    response.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Text, of `generate` or `chat`.
fn text(lines: &[Value]) -> String {
    let piece = |line: &Value| line["response"].as_str().or(line["message"]["content"].as_str()).map(str::to_owned);
    lines.iter().filter_map(piece).collect()
}

#[track_caller]
fn refused(response: &Response, status: u16) -> String {
    assert_eq!(response.status, status, "{response}");
    let body = response.json();
    assert_eq!(body.as_object().unwrap().len(), 1, "{body}");
    body["error"].as_str().unwrap_or_else(|| panic!("no message: {body}")).to_owned()
}

fn generation(options: &Value) -> Value {
    json!({ "model": "good", "prompt": "hello", "options": options })
}

fn chat(options: &Value) -> Value {
    json!({ "model": "good", "messages": [{ "role": "user", "content": "hello" }], "options": options })
}

#[test]
fn answers_are_lines_unless_one_is_asked_for() {
    let server = Server::serving(good);
    let options = json!({ "num_predict": 24, "seed": 7, "temperature": 1.5 });
    for (path, body) in [("/api/generate", generation(&options)), ("/api/chat", chat(&options))] {
        let streamed = lines(&server.post(path, &body));
        let (last, pieces) = streamed.split_last().unwrap();
        assert!(pieces.iter().all(|line| line["done"] == false && line["model"] == "good"), "{pieces:?}");
        let mut whole = body.clone();
        whole["stream"] = json!(false);
        let answer = server.post(path, &whole);
        assert_eq!(answer.header("content-type"), Some("application/json"));
        let answer = answer.ok();
        assert_eq!(text(&streamed), text(std::slice::from_ref(&answer)), "{path}");
        for end in [last, &answer] {
            assert_eq!(end["done"], true);
            let times = &end["dayfly"]["times"];
            let tokens = &end["dayfly"]["tokens"];
            assert_eq!((&end["prompt_eval_count"], &end["eval_count"]), (&tokens["prompt"], &tokens["completion"]));
            for (field, of_receipt) in [
                ("total_duration", "wall_ns"),
                ("load_duration", "load_wait_ns"),
                ("prompt_eval_duration", "prefill_ns"),
                ("eval_duration", "decode_ns"),
            ] {
                assert_eq!(end[field], times[of_receipt], "{field}");
            }
            let reason = if tokens["completion"] == 24 { "length" } else { "stop" };
            assert_eq!(end["done_reason"], reason, "{end}");
            let id = end["dayfly"]["id"].as_str().unwrap();
            assert_eq!(server.settled(id)["tokens"], *tokens);
        }
    }
    server.settled_rows(4);
}

#[test]
fn a_conversation_is_the_same_whoever_s_words_it_is_in() {
    let server = Server::serving(good);
    let messages = json!([{ "role": "system", "content": "be brief" }, { "role": "user", "content": "hello" }]);
    let expected =
        server.chat(&json!({ "model": "good", "messages": messages, "max_tokens": 8, "temperature": 0 })).ok();
    let expected = &expected["choices"][0]["message"]["content"];
    let options = json!({ "num_predict": 8, "temperature": 0 });
    let body = json!({ "model": "good:latest", "messages": messages, "options": options, "stream": false });
    assert_eq!(server.post("/api/chat", &body).ok()["message"], json!({ "role": "assistant", "content": expected }));
    let body = json!({
        "model": "good", "prompt": "hello", "system": "be brief", "options": options, "stream": false,
    });
    assert_eq!(server.post("/api/generate", &body).ok()["response"], *expected);
    let raw = json!({
        "model": "good", "prompt": "hello", "raw": true, "options": options, "stream": false,
        "logprobs": true, "top_logprobs": 2,
    });
    let answer = server.post("/api/generate", &raw).ok();
    let completed = json!({ "model": "good", "prompt": "hello", "max_tokens": 8, "temperature": 0 });
    assert_eq!(answer["response"], server.complete(&completed).ok()["choices"][0]["text"]);
    assert_eq!(answer["prompt_eval_count"], 1);
    let scores = answer["logprobs"].as_array().unwrap();
    assert!(scores.len() as u64 <= 8 && scores[0]["top_logprobs"].as_array().unwrap().len() == 2, "{scores:?}");
    assert_eq!(scores[0]["logprob"], scores[0]["top_logprobs"][0]["logprob"], "the likeliest was taken");
}

#[test]
fn num_ctx_bounds_prompt_and_answer() {
    let server = Server::serving(good);
    let mut body = generation(&json!({ "num_ctx": 5, "temperature": 0 }));
    (body["raw"], body["stream"]) = (json!(true), json!(false));
    let answer = server.post("/api/generate", &body).ok();
    let tokens = answer["prompt_eval_count"].as_u64().unwrap() + answer["eval_count"].as_u64().unwrap();
    assert!(tokens <= 5 && (answer["done_reason"] == "stop" || tokens == 5), "{answer}");
    body["prompt"] = json!("hello hello hello hello hello hello");
    assert!(refused(&server.post("/api/generate", &body), 400).contains("tokens > 5 maximum"));
}

#[test]
fn an_empty_prompt_loads_and_unloads() {
    let server = Server::serving(good);
    let loaded = server.post("/api/generate", &json!({ "model": "good" })).ok();
    assert_eq!(
        (&loaded["done"], &loaded["done_reason"], &loaded["response"]),
        (&json!(true), &json!("load"), &json!(""))
    );
    assert_eq!(server.status("good"), "loaded");
    let running = server.get("/api/ps").ok();
    let running = &running["models"][0];
    assert_eq!(
        (&running["name"], &running["size_vram"], &running["context_length"]),
        (&json!("good:latest"), &json!(0), &json!(512))
    );
    assert!(running["size"].as_u64().unwrap() > 0 && running["expires_at"].as_str().unwrap().ends_with('Z'));
    let body = json!({ "model": "good", "messages": [], "keep_alive": 0 });
    assert_eq!(server.post("/api/chat", &body).ok()["done_reason"], "unload");
    server.wait_for_status("good", "unloaded");
    assert_eq!(server.get("/api/ps").ok(), json!({ "models": [] }));
    server.settled_rows(0);
}

#[test]
fn row_20_any_type_will_do_but_from_a_page() {
    let server = Server::serving(good);
    let body = br#"{"model":"good","prompt":"hello","stream":false,"options":{"num_predict":1}}"#;
    for kind in [&[][..], &["content-type: application/x-www-form-urlencoded"], &["content-type: text/plain"]] {
        assert_eq!(server.send(&request("POST", "/api/generate", kind, body)).status, 200, "{kind:?}");
        let from_page = [&["origin: http://localhost"], kind].concat();
        refused(&server.send(&request("POST", "/api/generate", &from_page, body)), 415);
    }
    refused(&server.send(&request("POST", "/api/generate", &["content-encoding: gzip"], body)), 415);
    server.settled_rows(3);
}

#[test]
fn errors_are_told_in_its_words() {
    let server = Server::serving(good);
    assert!(
        refused(
            &server.post("/api/chat", &json!({ "model": "none", "messages": [{ "role": "user", "content": "a" }] })),
            404
        )
        .contains("none")
    );
    assert!(
        refused(&server.post("/api/generate", &generation(&json!({ "mirostat": 2 }))), 400)
            .contains("options.mirostat")
    );
    let mut body = chat(&json!({}));
    body["tools"] = json!([{ "type": "function" }]);
    assert!(refused(&server.post("/api/chat", &body), 400).contains("tools"));
    refused(&server.post_bytes("/api/generate", b"{"), 400);
    refused(&server.get("/api/generate"), 405);
    refused(&server.get("/api/nothing"), 404);
    for path in ["/api/copy", "/api/create", "/api/push"] {
        refused(&server.post(path, &json!({ "model": "good" })), 501);
    }
    refused(&server.send(b"GET /api/tags HTTP/1.1\r\nhost: example.com\r\n\r\n"), 403);
    server.settled_rows(0);
}

#[test]
fn keys_and_scopes_hold() {
    let hash = |key: &str| Sha256::digest(key).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let toml = format!("[[keys]]\ntenant = \"acme\"\nsha256 = \"{}\"\n", hash("sk-acme"));
    let server = Options::with_models(good).config(&toml).start();
    let headers = ["authorization: Bearer sk-acme", "content-type: application/json"];
    let send = |method: &str, path: &str, body: &str| server.send(&request(method, path, &headers, body.as_bytes()));
    refused(&server.get("/api/tags"), 401);
    assert_eq!(send("GET", "/api/tags", "").status, 200);
    let answered = send("POST", "/api/generate", r#"{"model":"good","prompt":"a","options":{"num_predict":1}}"#);
    assert_eq!(lines(&answered).last().unwrap()["dayfly"]["tenant"], "acme");
    for (method, path, body) in [
        ("POST", "/api/pull", r#"{"model":"smollm2"}"#),
        ("DELETE", "/api/delete", r#"{"model":"good"}"#),
        ("POST", "/api/generate", r#"{"model":"good"}"#),
        ("POST", "/api/chat", r#"{"model":"good","keep_alive":0}"#),
    ] {
        assert!(refused(&send(method, path, body), 403).contains("admin"), "{path}");
    }
    assert_eq!(send("POST", "/api/show", r#"{"model":"good"}"#).status, 200);
}

#[test]
fn embeddings_are_those_of_openai_s_interface() {
    let encoder = TinyEncoder { pooling: EncoderPooling::Mean, hidden: 64, ..TinyEncoder::default() };
    let server = Server::serving(|folder| {
        write_file(folder, "embedder", &tiny_encoder(&encoder));
        good(folder);
    });
    let texts = ["hello world", "the mayfly lives for the day"];
    let expected = server.post("/v1/embeddings", &json!({ "model": "embedder", "input": texts })).ok();
    let options = json!({ "num_ctx": 64 });
    let body = json!({ "model": "embedder", "input": texts, "truncate": true, "options": options, "keep_alive": "1m" });
    let answer = server.post("/api/embed", &body).ok();
    let rows = answer["embeddings"].as_array().unwrap();
    assert!(rows.iter().enumerate().all(|(index, row)| *row == expected["data"][index]["embedding"]));
    assert_eq!((rows.len(), &answer["prompt_eval_count"]), (2, &expected["usage"]["prompt_tokens"]));
    assert_eq!(answer["total_duration"], answer["dayfly"]["times"]["wall_ns"]);
    let one = server.post("/api/embeddings", &json!({ "model": "embedder", "prompt": texts[0] })).ok();
    assert_eq!(one["embedding"], rows[0]);
    let long = json!({ "model": "embedder", "input": "word ".repeat(2000), "truncate": true });
    assert!(refused(&server.post("/api/embed", &long), 400).contains("the context has"));
    refused(&server.post("/api/embed", &json!({ "model": "good", "input": "a" })), 400);
}

#[test]
fn models_are_listed_and_shown() {
    let server = Server::serving(|folder| {
        good(folder);
        std::fs::write(folder.join("broken.gguf"), "nothing").unwrap();
    });
    let tags = server.get("/api/tags").ok();
    let models = tags["models"].as_array().unwrap();
    assert_eq!((&models[0]["name"], &models[1]["name"]), (&json!("broken:latest"), &json!("good:latest")));
    assert_eq!((&models[0]["details"]["family"], &models[1]["details"]["family"]), (&json!(""), &json!("llama")));
    let digest = models[1]["digest"].as_str().unwrap();
    assert_eq!(digest.len(), 64);
    let shown = server.post("/api/show", &json!({ "model": "good:latest" })).ok();
    assert_eq!((&shown["capabilities"], &shown["details"]), (&json!(["completion"]), &models[1]["details"]));
    let info = &shown["model_info"];
    assert_eq!((&info["general.architecture"], &info["llama.context_length"]), (&json!("llama"), &json!(512)));
    assert!(info["tokenizer.ggml.tokens"].is_null() && info["general.parameter_count"].as_u64().unwrap() > 0);
    assert!(shown["template"].as_str().unwrap().contains("messages"));
    let verbose = server.post("/api/show", &json!({ "model": "good", "verbose": true })).ok();
    assert_eq!(
        verbose["model_info"]["tokenizer.ggml.tokens"].as_array().unwrap().len(),
        crate::models::VOCABULARY as usize
    );
    refused(&server.post("/api/show", &json!({ "model": "none" })), 404);
    assert!(server.get("/api/version").ok()["version"].as_str().unwrap().contains('.'));
}

#[test]
fn every_name_is_listed_and_means_its_model_with_a_tag_and_without() {
    let config = "[aliases]\nshort = 'good'\n'small:1b' = 'good'\nlost = 'gone'\nother = 'good'\n";
    let both = |folder: &std::path::Path| {
        good(folder);
        std::fs::copy(folder.join("good.gguf"), folder.join("other.gguf")).unwrap();
    };
    let server = Options::with_models(both).config(config).start();
    let tags = server.get("/api/tags").ok();
    let models = tags["models"].as_array().unwrap();
    let names: Vec<&str> = models.iter().map(|model| model["name"].as_str().unwrap()).collect();
    // The file that is called `other` has lost its name to an alias.
    assert_eq!(names, ["good:latest", "other:latest", "short:latest", "small:1b"]);
    assert!(models.iter().all(|model| model["digest"] == models[0]["digest"] && model["model"] == model["name"]));
    for name in names.iter().copied().chain(["good", "short"]) {
        assert_eq!(server.post("/api/show", &json!({ "model": name })).ok()["details"], models[0]["details"], "{name}");
        assert_eq!(server.get(&format!("/v1/models/{name}")).ok()["id"], "good", "{name}");
        let answer = server.complete(&json!({ "model": name, "prompt": "a", "max_tokens": 1 })).ok();
        assert_eq!((&answer["model"], &answer["dayfly"]["model"]), (&json!(name), &json!("good")));
    }
    for name in ["lost", "lost:latest", "good:1b", "small", ":latest"] {
        refused(&server.post("/api/show", &json!({ "model": name })), 404);
    }
}

#[test]
fn what_is_deleted_is_gone_and_links_are_not() {
    let server = Server::serving(|folder| {
        good(folder);
        std::os::unix::fs::symlink(folder.join("good.gguf"), folder.join("link.gguf")).unwrap();
    });
    let delete = |name: &str| {
        let body = json!({ "model": name }).to_string();
        server.send(&request("DELETE", "/api/delete", &[], body.as_bytes()))
    };
    server.answers("good");
    refused(&delete("link"), 409);
    assert_eq!(delete("good").status, 200);
    assert!(!server.models_dir().join("good.gguf").exists());
    until("it leaves memory", SOON, || (server.get("/api/ps").ok() == json!({ "models": [] })).then_some(()));
    refused(&server.post("/api/generate", &generation(&json!({}))), 404);
    refused(&delete("good"), 404);
}

#[test]
fn a_pull_tells_how_far_it_is() {
    let server = Options::with_models_in(smollm2::models_dir()).start();
    let told = lines(&server.post("/api/pull", &json!({ "model": "smollm2" })));
    assert_eq!(told.first().unwrap()["status"], "pulling manifest");
    assert_eq!(told.last(), Some(&json!({ "status": "success" })));
    let verified = told.iter().find(|line| line["status"] == "verifying sha256 digest").unwrap();
    assert!(verified["completed"].as_u64().unwrap() <= verified["total"].as_u64().unwrap(), "{verified}");
    let whole = server.post("/api/pull", &json!({ "model": "smollm2:latest", "stream": false }));
    assert_eq!(whole.ok(), json!({ "status": "success" }));
    for source in ["file:/etc/passwd", "http://127.0.0.1:1/x.gguf", "nothing-known", "hf:nothing"] {
        refused(&server.post("/api/pull", &json!({ "model": source })), 400);
    }
    let broken = server.post("/api/pull", &json!({ "model": "https://127.0.0.1:1/x.gguf", "stream": false }));
    assert!(refused(&broken, 502).contains("could not be fetched"));
    let broken = lines(&server.post("/api/pull", &json!({ "model": "https://127.0.0.1:1/x.gguf" })));
    assert!(broken.last().unwrap()["error"].as_str().unwrap().contains("could not be fetched"));
}
