//! One error in the words of each interface: OpenAI's, Ollama's, Anthropic's, llama.cpp's.
//!
//! The path says which, whoever refuses: the guard, the router or a handler. Status and headers are the same in all of
//! them. In Anthropic's and llama.cpp's words the cause's name is lost; the message names the field.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;
use serde_json::{Value, json};

use super::{ApiError, ErrorKind};

/// Whose words an error is told in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Envelope {
    /// `{"error": {"message", "type", "param", "code"}}`.
    OpenAi,
    /// `{"error": message}`.
    Ollama,
    /// `{"type": "error", "error": {"type", "message"}}`.
    Anthropic,
    /// `{"error": {"code": status, "message", "type"}}`.
    LlamaCpp,
}

/// Has whatever error a request comes to told in the words of the interface that it is for.
pub(crate) async fn tell_errors(request: Request, next: Next) -> Response {
    let envelope = Envelope::of(request.uri().path(), request.headers());
    let mut response = next.run(request).await;
    let told = response.extensions_mut().remove::<Arc<ApiError>>();
    if let Some(error) = told.filter(|_| envelope != Envelope::OpenAi) {
        response.headers_mut().remove(header::CONTENT_LENGTH);
        *response.body_mut() = Body::from(error.told(envelope).to_string());
    }
    response
}

impl Envelope {
    /// That of the interface which a path belongs to. The lists of models are OpenAI's and Anthropic's both.
    fn of(path: &str, headers: &HeaderMap) -> Self {
        match path {
            _ if path.starts_with("/api/") => Self::Ollama,
            "/v1/messages" | "/v1/messages/count_tokens" => Self::Anthropic,
            _ if path.starts_with("/v1/models") && headers.contains_key("anthropic-version") => Self::Anthropic,
            "/completion" | "/completions" | "/apply-template" | "/props" | "/health" | "/v1/health" => Self::LlamaCpp,
            "/infill" | "/lora-adapters" | "/slots" => Self::LlamaCpp,
            _ if path.starts_with("/slots/") => Self::LlamaCpp,
            _ => Self::OpenAi,
        }
    }
}

impl ApiError {
    /// The error as one interface has it: a response's body, or a part of a stream that has begun.
    pub(crate) fn told(&self, envelope: Envelope) -> Value {
        match envelope {
            Envelope::OpenAi => self.envelope(),
            Envelope::Ollama => json!({ "error": self.message }),
            Envelope::Anthropic => {
                json!({ "type": "error", "error": { "type": self.anthropic_type(), "message": self.message } })
            }
            Envelope::LlamaCpp => json!({ "error": {
                "code": self.status.as_u16(),
                "message": self.message,
                "type": self.llama_cpp_type(),
            } }),
        }
    }

    fn anthropic_type(&self) -> &'static str {
        match (self.kind, self.status) {
            (ErrorKind::InvalidRequest, StatusCode::UNAUTHORIZED) => "authentication_error",
            (ErrorKind::InvalidRequest, StatusCode::FORBIDDEN) => "permission_error",
            (ErrorKind::InvalidRequest, StatusCode::NOT_FOUND) => "not_found_error",
            (ErrorKind::InvalidRequest, StatusCode::PAYLOAD_TOO_LARGE) => "request_too_large",
            (ErrorKind::InvalidRequest, _) => "invalid_request_error",
            (ErrorKind::RateLimit, _) => "rate_limit_error",
            (ErrorKind::ServiceUnavailable, _) => "overloaded_error",
            (ErrorKind::Server, StatusCode::GATEWAY_TIMEOUT) => "timeout_error",
            (ErrorKind::Server, _) => "api_error",
        }
    }

    fn llama_cpp_type(&self) -> &'static str {
        match (self.kind, self.status) {
            (ErrorKind::InvalidRequest, StatusCode::UNAUTHORIZED) => "authentication_error",
            (ErrorKind::InvalidRequest, StatusCode::FORBIDDEN) => "permission_error",
            (ErrorKind::InvalidRequest, StatusCode::NOT_FOUND) => "not_found_error",
            (ErrorKind::InvalidRequest, StatusCode::NOT_IMPLEMENTED) => "not_supported_error",
            (ErrorKind::InvalidRequest, _) if self.code == "context_length_exceeded" => "exceed_context_size_error",
            (ErrorKind::InvalidRequest, _) => "invalid_request_error",
            (ErrorKind::RateLimit | ErrorKind::ServiceUnavailable, _) => "unavailable_error",
            (ErrorKind::Server, _) => "server_error",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use axum::http::{HeaderMap, HeaderValue};
    use serde_json::json;

    use super::{ApiError, Envelope};

    #[test]
    fn a_path_says_whose_words_its_errors_have() {
        let none = HeaderMap::new();
        let anthropic = HeaderMap::from_iter([(
            axum::http::HeaderName::from_static("anthropic-version"),
            HeaderValue::from_static("2023-06-01"),
        )]);
        for (path, headers, envelope) in [
            ("/v1/chat/completions", &none, Envelope::OpenAi),
            ("/v1/responses", &none, Envelope::OpenAi),
            ("/v1/completions", &anthropic, Envelope::OpenAi),
            ("/api/chat", &none, Envelope::Ollama),
            ("/api/nothing", &none, Envelope::Ollama),
            ("/apis", &none, Envelope::OpenAi),
            ("/v1/messages", &none, Envelope::Anthropic),
            ("/v1/models", &anthropic, Envelope::Anthropic),
            ("/v1/models", &none, Envelope::OpenAi),
            ("/completion", &none, Envelope::LlamaCpp),
            ("/slots/0", &none, Envelope::LlamaCpp),
            ("/tokenize", &none, Envelope::OpenAi),
        ] {
            assert_eq!(Envelope::of(path, headers), envelope, "{path}");
        }
    }

    #[test]
    fn each_interface_has_its_own_words() {
        let error = ApiError::invalid_value("n", "must be 1");
        let message = "`n`: must be 1";
        assert_eq!(error.told(Envelope::Ollama), json!({ "error": message }));
        assert_eq!(
            error.told(Envelope::Anthropic),
            json!({ "type": "error", "error": { "type": "invalid_request_error", "message": message } })
        );
        assert_eq!(
            error.told(Envelope::LlamaCpp),
            json!({ "error": { "code": 400, "message": message, "type": "invalid_request_error" } })
        );
        let types = |error: ApiError| {
            let of = |envelope| error.told(envelope)["error"]["type"].as_str().map(str::to_owned).unwrap();
            (of(Envelope::Anthropic), of(Envelope::LlamaCpp))
        };
        for (error, anthropic, llama_cpp) in [
            (ApiError::invalid_api_key(), "authentication_error", "authentication_error"),
            (ApiError::insufficient_scope("admin"), "permission_error", "permission_error"),
            (ApiError::model_not_found("x"), "not_found_error", "not_found_error"),
            (ApiError::payload_too_large(1), "request_too_large", "invalid_request_error"),
            (ApiError::context_length_exceeded("prompt", "x"), "invalid_request_error", "exceed_context_size_error"),
            (ApiError::not_supported("x"), "invalid_request_error", "not_supported_error"),
            (ApiError::rate_limited("x", Duration::ZERO), "rate_limit_error", "unavailable_error"),
            (ApiError::overloaded(Duration::ZERO), "overloaded_error", "unavailable_error"),
            (ApiError::deadline_passed(), "timeout_error", "server_error"),
            (ApiError::non_finite_logits(), "api_error", "server_error"),
        ] {
            assert_eq!(types(error), (anthropic.to_owned(), llama_cpp.to_owned()));
        }
    }
}
