//! Embeddings and reranking: what is answered, what is refused, and that they are requests like any other.

use std::path::Path;

use loader::fixture::{EncoderPooling, TinyEncoder, tiny_encoder};
use meter::Outcome;
use serde_json::{Value, json};

use crate::client::{post, until};
use crate::models::{good, write_file};
use crate::server::{SOON, Server};

const HIDDEN: usize = 64;

fn quick(pooling: EncoderPooling) -> TinyEncoder {
    TinyEncoder { pooling, hidden: 64, ..TinyEncoder::default() }
}

/// Models `embedder`, `ranker` and `good`.
pub(crate) fn encoders(folder: &Path) {
    write_file(folder, "embedder", &tiny_encoder(&quick(EncoderPooling::Mean)));
    write_file(folder, "ranker", &tiny_encoder(&quick(EncoderPooling::Rank)));
    good(folder);
}

#[track_caller]
fn vectors(server: &Server, input: &Value) -> Vec<Vec<f64>> {
    let answer = server.post("/v1/embeddings", &json!({ "model": "embedder", "input": input })).ok();
    let data = answer["data"].as_array().unwrap();
    assert!(data.iter().enumerate().all(|(index, entry)| entry["index"] == index && entry["object"] == "embedding"));
    data.iter()
        .map(|entry| entry["embedding"].as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect())
        .collect()
}

#[test]
fn embeddings_have_openai_s_shape_and_a_length_of_one() {
    let server = Server::serving(encoders);
    let body = json!({ "model": "embedder", "input": ["hello world", "the mayfly lives for the day"], "user": "me" });
    let response = server.post("/v1/embeddings", &body);
    let answer = response.ok();
    assert_eq!((&answer["object"], &answer["model"]), (&json!("list"), &json!("embedder")));
    // With [CLS] and [SEP] around each.
    assert_eq!(answer["usage"], json!({ "prompt_tokens": 4 + 9, "total_tokens": 4 + 9 }));
    for vector in vectors(&server, &body["input"]) {
        let length = vector.iter().map(|x| x * x).sum::<f64>().sqrt();
        assert!(vector.len() == HIDDEN && (length - 1.0).abs() < 1e-6, "{length}");
    }
    let receipt = &answer["dayfly"];
    assert!(receipt["id"].as_str().unwrap().starts_with("embd-"));
    assert_eq!((&receipt["tokens"]["prompt"], &receipt["tokens"]["completion"]), (&json!(13), &json!(0)));
    assert_eq!((&receipt["outcome"], &receipt["cold"]), (&json!("completed"), &json!(true)));
    assert!(receipt["cpu"]["prefill_ns"].as_u64().unwrap() > 0 && receipt["memory"]["kv_kib_ms"] == 0);
    assert_eq!(response.header("x-dayfly-cold"), Some("true"));
    assert!(response.header("x-dayfly-energy-joules").is_some());
    let record = server.get(&format!("/v1/usage/{}", receipt["id"].as_str().unwrap())).ok();
    assert_eq!(
        (&record["state"], &record["tokens"]),
        (&json!("settled"), &receipt["tokens"]),
        "durable before the answer"
    );
}

#[test]
fn a_request_of_too_many_tokens_in_all_is_refused_before_any_is_computed() {
    let server = Server::serving(|folder| {
        let long = TinyEncoder { context_length: 1024, ..quick(EncoderPooling::Mean) };
        write_file(folder, "embedder", &tiny_encoder(&long));
    });
    // Each of them fits, and 1,024 of them are all that a request may have.
    let input = vec![vec![4; 1024]; 1025];
    let refused = server.post("/v1/embeddings", &json!({ "model": "embedder", "input": input }));
    refused.refused_about(400, "invalid_value", "input[1024]");
    assert!(refused.text().contains("together may have 1048576 tokens"), "{refused}");
    assert!(vectors(&server, &json!([4, 5, 6])).len() == 1, "and the next is answered");
}

#[test]
fn inputs_of_every_form_have_the_same_vectors() {
    let server = Server::serving(encoders);
    let texts = json!(["hello world", "a", "the day and the world"]);
    let all = vectors(&server, &texts);
    let ids = |text: &Value| {
        let body = json!({ "model": "embedder", "content": text, "add_special": true });
        server.post("/tokenize", &body).ok()["tokens"].clone()
    };
    let texts = texts.as_array().unwrap();
    let lists: Vec<Value> = texts.iter().map(ids).collect();
    assert_eq!(vectors(&server, &json!(lists)), all, "lists of ids are taken as they are");
    for ((text, list), vector) in texts.iter().zip(&lists).zip(&all) {
        assert_eq!(&vectors(&server, text), std::slice::from_ref(vector), "alone as in a batch");
        assert_eq!(&vectors(&server, list), std::slice::from_ref(vector));
    }
    assert_eq!(vectors(&server, &json!("HELLO  World")), [all[0].clone()], "the model does not tell cases apart");
}

#[test]
fn base64_holds_the_same_floats() {
    let server = Server::serving(encoders);
    let body = json!({ "model": "embedder", "input": "hello", "encoding_format": "base64", "dimensions": HIDDEN });
    let answer = server.post("/v1/embeddings", &body).ok();
    let text = answer["data"][0]["embedding"].as_str().unwrap();
    let floats = &vectors(&server, &json!("hello"))[0];
    let found: Vec<f64> =
        bytes_of(text).chunks_exact(4).map(|bytes| f64::from(f32::from_le_bytes(bytes.try_into().unwrap()))).collect();
    assert_eq!(found.len(), HIDDEN);
    assert!(found.iter().zip(floats).all(|(found, float)| (found - float).abs() < 1e-7));
}

/// What base64 stands for.
fn bytes_of(text: &str) -> Vec<u8> {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digits =
        text.trim_end_matches('=').bytes().map(|byte| ALPHABET.iter().position(|&digit| digit == byte).unwrap());
    let (mut bytes, mut held, mut bits) = (Vec::new(), 0, 0);
    for digit in digits {
        (held, bits) = (held << 6 | digit, bits + 6);
        if bits >= 8 {
            bits -= 8;
            bytes.push(u8::try_from(held >> bits & 0xFF).unwrap());
        }
    }
    bytes
}

#[test]
fn what_the_model_cannot_embed_is_refused() {
    let server = Server::serving(encoders);
    let embed = |input: Value| server.post("/v1/embeddings", &json!({ "model": "embedder", "input": input }));
    embed(json!("")).refused_about(400, "invalid_value", "input");
    embed(json!(["a", ""])).refused_about(400, "invalid_value", "input[1]");
    embed(json!(vec![5; 129])).refused_about(400, "context_length_exceeded", "input");
    embed(json!(["a", "hello ".repeat(127)])).refused_about(400, "context_length_exceeded", "input[1]");
    embed(json!("x".repeat(1 << 20))).refused_about(400, "context_length_exceeded", "input");
    embed(json!([[5], [93]])).refused_about(400, "invalid_value", "input[1]");
    embed(json!("hello ".repeat(126))).ok();
    let dimensions = json!({ "model": "embedder", "input": "a", "dimensions": 32 });
    server.post("/v1/embeddings", &dimensions).refused_about(400, "unsupported_parameter", "dimensions");
    let unknown = json!({ "model": "none", "input": "a" });
    server.post("/v1/embeddings", &unknown).refused_about(404, "model_not_found", "model");
    assert_eq!(server.get("/v1/embeddings").status, 405);
    server.settled_rows(1);
}

#[test]
fn a_model_is_asked_only_for_what_it_does() {
    let server = Server::serving(encoders);
    let refused = |path: &str, model: &str, advice: &str| {
        let body = match path {
            "/v1/embeddings" => json!({ "model": model, "input": "a" }),
            "/v1/rerank" => json!({ "model": model, "query": "a", "documents": ["b"] }),
            "/v1/completions" => json!({ "model": model, "prompt": "a" }),
            _ => json!({ "model": model, "messages": [{ "role": "user", "content": "a" }] }),
        };
        let response = server.post(path, &body);
        response.refused_about(400, "model_not_suitable", "model");
        assert!(response.text().contains(advice), "{path} of {model}: {}", response.text());
    };
    for path in ["/v1/embeddings", "/v1/rerank"] {
        refused(path, "good", "/v1/completions");
    }
    for path in ["/v1/completions", "/v1/chat/completions"] {
        refused(path, "embedder", "/v1/embeddings");
        refused(path, "ranker", "/v1/rerank");
    }
    refused("/v1/embeddings", "ranker", "/v1/rerank");
    refused("/v1/rerank", "embedder", "/v1/embeddings");
    server.settled_rows(0);
    server.answers("good");
}

fn index_of(result: &Value) -> usize {
    usize::try_from(result["index"].as_u64().unwrap()).unwrap()
}

#[test]
fn documents_are_ranked_by_their_scores() {
    let server = Server::serving(encoders);
    let documents = json!(["the mayfly", { "text": "hello hello world" }, "a", ""]);
    let body = |documents: &Value| json!({ "model": "ranker", "query": "hello?", "documents": documents });
    let answer = server.post("/v1/rerank", &body(&documents)).ok();
    let results = answer["results"].as_array().unwrap();
    let scores: Vec<f64> = results.iter().map(|result| result["relevance_score"].as_f64().unwrap()).collect();
    assert!(scores.is_sorted_by(|a, b| a >= b) && scores.iter().all(|score| (0.0..=1.0).contains(score)), "{scores:?}");
    let mut indices: Vec<usize> = results.iter().map(index_of).collect();
    assert!(results.iter().all(|result| result.get("document").is_none()));
    for result in results {
        let alone = server.post("/v1/rerank", &body(&json!([documents[index_of(result)]])));
        assert_eq!(alone.ok()["results"][0]["relevance_score"], result["relevance_score"]);
    }
    // [CLS] hello ? [SEP] document [SEP]
    assert_eq!(answer["usage"]["prompt_tokens"], 4 * 5 + 3 + 3 + 1);
    assert!(answer["dayfly"]["id"].as_str().unwrap().starts_with("rerank-"));

    let mut best = body(&documents);
    (best["top_n"], best["return_documents"]) = (json!(2), json!(true));
    let best = server.post("/v1/rerank", &best).ok();
    let texts = ["the mayfly", "hello hello world", "a", ""];
    for (result, index) in best["results"].as_array().unwrap().iter().zip(&indices) {
        assert_eq!((&result["index"], &result["document"]["text"]), (&json!(index), &json!(texts[*index])));
    }
    assert_eq!(best["results"].as_array().unwrap().len(), 2);
    indices.sort_unstable();
    assert_eq!(indices, [0, 1, 2, 3]);

    let long = json!(["a", "hello ".repeat(125)]);
    server.post("/v1/rerank", &body(&long)).refused_about(400, "context_length_exceeded", "documents[1]");
    let query = json!({ "model": "ranker", "query": "hello ".repeat(200), "documents": ["a"] });
    server.post("/v1/rerank", &query).refused_about(400, "context_length_exceeded", "query");
}

#[test]
fn row_24_a_client_that_leaves_ends_its_embeddings_beside_which_others_go_on() {
    const TEXTS: u64 = 2000;
    const TOKENS: u64 = 128;
    let server = Server::serving(|folder| {
        let shape = TinyEncoder { layers: 8, hidden: 256, ffn: 1024, ..TinyEncoder::default() };
        write_file(folder, "embedder", &tiny_encoder(&shape));
        good(folder);
    });
    let texts = vec![vec![5; usize::try_from(TOKENS).unwrap()]; usize::try_from(TEXTS).unwrap()];
    let mut connection = server.connect();
    connection.send(post("/v1/embeddings", &json!({ "model": "embedder", "input": texts })));
    until("it computes", SOON, || {
        let is_running = server.status("embedder") == "loaded" && server.model("embedder")["leases"] == 1;
        is_running.then_some(())
    });
    server.answers("good");
    assert_eq!(server.model("embedder")["leases"], 1, "between its steps another model had its turns");
    drop(connection);
    until("it is let go", SOON, || (server.model("embedder")["leases"] == 0).then_some(()));
    let rows = server.settled_rows(2);
    let embedding = rows.iter().find(|row| row.model == "embedder").unwrap();
    assert_eq!(embedding.outcome, Some(Outcome::Cancelled));
    let tokens = embedding.receipt.as_ref().unwrap().tokens;
    assert!(tokens.prompt < TEXTS * TOKENS && tokens.completion == 0, "charged for what was computed: {tokens:?}");
}

#[test]
fn an_encoder_has_no_contexts() {
    let server = Server::serving(encoders);
    for model in ["embedder", "ranker"] {
        let body = json!({ "model": model, "name": "manual", "text": "hello world ".repeat(40) });
        server.post("/v1/contexts", &body).refused_about(400, "model_not_suitable", "model");
    }
    assert_eq!(server.get("/v1/contexts").ok()["data"], json!([]));
}

#[test]
fn vectors_that_are_no_numbers_cost_their_request_alone() {
    let server = Server::serving(|folder| {
        let mut spoiled = tiny_encoder(&quick(EncoderPooling::First));
        spoiled.tensor_mut("blk.0.attn_output_norm.weight").data[..4].copy_from_slice(&f32::NAN.to_le_bytes());
        write_file(folder, "spoiled", &spoiled);
        encoders(folder);
    });
    let body = json!({ "model": "spoiled", "input": "hello" });
    server.post("/v1/embeddings", &body).refused(500, "server_error", "non_finite_vector");
    vectors(&server, &json!("hello"));
    let failed = server.settled_rows(2).into_iter().find(|row| row.model == "spoiled").unwrap();
    assert_eq!(failed.outcome, Some(Outcome::Failed));
}
