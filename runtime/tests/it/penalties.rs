//! Penalties that look at the last tokens alone, in the interfaces that have them.

use serde_json::{Value, json};

use crate::models::good;
use crate::server::Server;

/// A prompt of which the first letters are out of a small window's reach.
const PROMPT: &str = "abcdefghijklmnopqrstuvwxyz";

fn answer(server: &Server, path: &str, more: &Value) -> String {
    let options = |body: &mut Value| body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    if path == "/completion" {
        let mut body = json!({ "model": "good", "prompt": PROMPT, "n_predict": 24, "temperature": 0 });
        options(&mut body);
        return server.post(path, &body).ok()["content"].as_str().unwrap().to_owned();
    }
    let mut body = json!({
        "model": "good", "prompt": PROMPT, "raw": true, "stream": false,
        "options": { "num_predict": 24, "temperature": 0 },
    });
    options(&mut body["options"]);
    server.post(path, &body).ok()["response"].as_str().unwrap().to_owned()
}

#[test]
fn penalties_look_as_far_back_as_is_said() {
    let server = Server::serving(good);
    for path in ["/api/generate", "/completion"] {
        let penalized = |last: Value| {
            let mut more = json!({ "repeat_penalty": 8, "presence_penalty": 2 });
            if !last.is_null() {
                more["repeat_last_n"] = last;
            }
            answer(&server, path, &more)
        };
        let free = answer(&server, path, &json!({}));
        assert_eq!(penalized(json!(0)), free, "at nothing");
        assert_eq!(penalized(json!(null)), penalized(json!(64)), "at 64 tokens unless told");
        // Prompt and answer are not as many as that.
        assert_eq!(penalized(json!(64)), penalized(json!(-1)));
        assert!(penalized(json!(64)) != free && penalized(json!(1)) != penalized(json!(64)));
    }
}
