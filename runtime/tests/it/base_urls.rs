//! Paths as clients make them of base URLs that end with a slash, or leave a part out.

use serde_json::json;

use crate::models::good;
use crate::server::Server;

#[test]
fn slashes_that_say_nothing_change_nothing() {
    let server = Server::serving(good);
    let chat = json!({
        "model": "good", "messages": [{ "role": "user", "content": "hello" }], "max_tokens": 4, "temperature": 0,
    });
    let expected = &server.chat(&chat).ok()["choices"];
    for path in ["/v1/chat/completions/", "//v1/chat/completions", "/v1//chat/completions", "/chat/completions"] {
        assert_eq!(&server.post(path, &chat).ok()["choices"], expected, "{path}");
    }
    for path in ["/v1/models/", "/v1//models?", "//v1/models"] {
        assert_eq!(server.get(path).ok()["data"][0]["id"], "good", "{path}");
    }
    assert_eq!(server.get("/api/tags/").ok()["models"][0]["name"], "good:latest");
    let input = json!({ "model": "good", "input": "hello", "max_output_tokens": 4 });
    assert_eq!(server.post("/responses", &input).ok()["object"], "response");
}

#[test]
fn a_path_of_nothing_says_where_the_interfaces_begin() {
    let server = Server::serving(good);
    for path in ["/v1/v1/messages", "/v1", "/engines", "/v1/models/a/b"] {
        let refused = server.get(path);
        assert_eq!(refused.status, 404, "{path}: {refused}");
        let body = refused.json();
        assert_eq!(body["error"]["code"], "not_found", "{path}");
        assert!(body["error"]["message"].as_str().unwrap().contains("/openapi.json"), "{path}");
    }
}
