//! Scores of pairs of texts, and ranking by the names and in the shapes of other servers.

use serde_json::{Value, json};

use crate::encoders::encoders;
use crate::server::Server;

fn numbers(answer: &Value) -> Vec<f64> {
    answer["data"].as_array().unwrap().iter().map(|one| one["score"].as_f64().unwrap()).collect()
}

#[test]
fn pairs_are_scored_as_documents_are_ranked() {
    let server = Server::serving(encoders);
    let documents = ["the mayfly", "hello hello world", "a"];
    let score = |first: Value, second: Value| {
        server.post("/v1/score", &json!({ "model": "ranker", "text_1": first, "text_2": second })).ok()
    };
    let answer = score(json!("hello?"), json!(documents));
    let ranked = json!({ "model": "ranker", "query": "hello?", "documents": documents });
    let ranked = server.post("/v1/rerank", &ranked).ok();
    let scores = numbers(&answer);
    for result in ranked["results"].as_array().unwrap() {
        let index = usize::try_from(result["index"].as_u64().unwrap()).unwrap();
        assert_eq!(result["relevance_score"].as_f64(), Some(scores[index]));
    }
    assert_eq!((&answer["object"], &answer["data"][1]["index"]), (&json!("list"), &json!(1)));
    assert_eq!(answer["usage"], ranked["usage"]);
    assert_eq!(answer["id"], answer["dayfly"]["id"]);
    // Each for one, as each is for all.
    let each = score(json!(["hello?", "world"]), json!(["a", "a"]));
    let alone = numbers(&score(json!("world"), json!("a")))[0];
    assert_eq!(numbers(&each), [scores[2], alone]);
    assert_eq!(server.post("/score", &json!({ "model": "ranker", "text_1": "world", "text_2": "a" })).status, 200);
}

#[test]
fn a_model_that_embeds_scores_by_the_angle_between_vectors() {
    let server = Server::serving(encoders);
    let body = json!({ "model": "embedder", "text_1": "hello", "text_2": ["hello", "the mayfly"] });
    let answer = server.post("/v1/score", &body).ok();
    let scores = numbers(&answer);
    assert!((scores[0] - 1.0).abs() < 1e-4, "a text is like itself: {scores:?}");
    let vectors = server.post("/v1/embeddings", &json!({ "model": "embedder", "input": ["hello", "the mayfly"] })).ok();
    let vector = |index: usize| -> Vec<f64> {
        vectors["data"][index]["embedding"].as_array().unwrap().iter().filter_map(Value::as_f64).collect()
    };
    let product = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let (one, other) = (vector(0), vector(1));
    let cosine = product(&one, &other) / (product(&one, &one) * product(&other, &other)).sqrt();
    assert!((scores[1] - cosine).abs() < 1e-4, "{scores:?} {cosine}");
    let long = json!({ "model": "embedder", "text_1": "a", "text_2": ["b", "hello ".repeat(127)] });
    server.post("/v1/score", &long).refused_about(400, "context_length_exceeded", "text_2[1]");
    let wrong = json!({ "model": "good", "text_1": "a", "text_2": "b" });
    server.post("/v1/score", &wrong).refused_about(400, "model_not_suitable", "model");
    server.settled_rows(2);
}

#[test]
fn ranking_has_the_names_and_shapes_of_other_servers() {
    let server = Server::serving(encoders);
    let texts = ["the mayfly", "hello hello world", "a"];
    let ours = json!({ "model": "ranker", "query": "hello?", "documents": texts });
    let expected = server.post("/v1/rerank", &ours).ok();
    assert_eq!(expected["id"], expected["dayfly"]["id"]);
    for path in ["/rerank", "/v2/rerank", "/reranking", "/v1/reranking"] {
        assert_eq!(server.post(path, &ours).ok()["results"], expected["results"], "{path}");
    }
    let tei = json!({ "model": "ranker", "query": "hello?", "texts": texts, "return_text": true });
    let listed = server.post("/rerank", &tei);
    assert!(listed.header("x-dayfly-energy-joules").is_some());
    let listed = listed.ok();
    for (one, result) in listed.as_array().unwrap().iter().zip(expected["results"].as_array().unwrap()) {
        let index = usize::try_from(one["index"].as_u64().unwrap()).unwrap();
        assert_eq!((&one["index"], &one["score"]), (&result["index"], &result["relevance_score"]));
        assert_eq!(one["text"], texts[index]);
    }
    assert_eq!(listed.as_array().unwrap().len(), 3);
    let mut best = tei;
    (best["top_n"], best["return_text"]) = (json!(1), json!(false));
    assert_eq!(
        server.post("/rerank", &best).ok(),
        json!([{ "index": listed[0]["index"], "score": listed[0]["score"] }])
    );
}
