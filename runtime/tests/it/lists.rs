//! What lists of models tell.

use loader::fixture::{EncoderPooling, TinyEncoder, tiny_encoder};
use serde_json::{Value, json};

use crate::client::request;
use crate::models::{good, write_file};
use crate::server::Server;

#[test]
fn lists_tell_what_a_model_is_for_and_whether_it_is_in_memory() {
    let server = Server::serving(|folder| {
        good(folder);
        let ranker = TinyEncoder { pooling: EncoderPooling::Rank, ..TinyEncoder::default() };
        write_file(folder, "ranker", &tiny_encoder(&ranker));
        std::fs::write(folder.join("broken.gguf"), "nothing").unwrap();
    });
    let listed = server.get("/v1/models").ok();
    assert_eq!((&listed["first_id"], &listed["last_id"]), (&json!("broken"), &json!("ranker")));
    let told = |index: usize, name: &str| listed["data"][index][name].clone();
    assert_eq!((told(0, "state"), told(0, "capabilities")), (json!("unloaded"), Value::Null));
    assert_eq!((told(1, "capabilities"), told(1, "context_length")), (json!(["chat", "completion"]), json!(512)));
    assert_eq!((told(2, "capabilities"), told(2, "architecture")), (json!(["rerank"]), json!("bert")));
    assert!(told(1, "parameters").as_u64().unwrap() > 0 && told(1, "quantization").is_string());
    server.answers("good");
    let one = server.get("/v1/models/good").ok();
    assert_eq!(
        (&one["state"], &one["type"], &one["display_name"]),
        (&json!("loaded"), &json!("model"), &json!("good"))
    );
    assert_eq!((&one["capabilities"], &one["parameters"]), (&told(1, "capabilities"), &told(1, "parameters")));
    // Anthropic's clients know another kind of capabilities.
    let told = server.send(&request("GET", "/v1/models/good", &["anthropic-version: 2023-06-01"], b"")).ok();
    assert_eq!((told.get("capabilities"), &told["lifecycle"]), (None, &json!("active")));
}
