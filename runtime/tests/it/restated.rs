//! What clients of other servers send beside what they ask for: where it is what is done anyway, the answer is the same.

use serde_json::{Value, json};

use crate::models::good;
use crate::server::Server;

fn with(more: &Value) -> Value {
    let mut body = json!({
        "model": "good", "max_tokens": 8, "temperature": 0, "messages": [{ "role": "user", "content": "hello" }],
    });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

#[test]
fn clients_that_restate_what_is_done_get_the_same_answer() {
    let server = Server::serving(good);
    let expected = server.chat(&with(&json!({}))).ok()["choices"].clone();
    let marked = json!([{ "type": "text", "text": "hello", "cache_control": { "type": "ephemeral" } }]);
    for more in [
        json!({ "tools": [], "tool_choice": "auto" }),
        json!({ "messages": [{ "role": "user", "content": marked, "annotations": [] }] }),
        json!({ "prompt_cache_retention": "24h", "add_generation_prompt": true, "continue_final_message": false }),
        json!({ "skip_special_tokens": true, "min_tokens": 0, "stop_token_ids": [], "use_beam_search": false }),
        json!({ "cache_prompt": true, "id_slot": -1, "mirostat_mode": 0, "typical_p": 1, "dry_multiplier": 0 }),
    ] {
        assert_eq!(server.chat(&with(&more)).ok()["choices"], expected, "{more}");
    }
}

#[test]
fn json_objects_may_have_a_schema_as_with_llama_cpp() {
    let server = Server::serving(good);
    let format = json!({ "type": "json_object", "schema": { "enum": ["yes"] } });
    let answer = server.chat(&with(&json!({ "response_format": format }))).ok();
    assert_eq!(answer["choices"][0]["message"]["content"], "\"yes\"", "{answer}");
}
