//! What one route takes and answers, and the answers that follow from where it stands.
//!
//! Invariants: the scope that a route needs, who need not show a key, and the words of its errors are asked of those who decide
//! them ([`guard`], [`Envelope`]), and never said again here.

use std::collections::BTreeMap;

use axum::http::{HeaderMap, Method, StatusCode};
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::path::{OperationBuilder, Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::{Content, Header, Required, Response, ResponseBuilder, SecurityRequirement};

use super::form::{Form, bounded_like, either, named, number_above, text};
use super::security;
use crate::http::error::envelope::Envelope;
use crate::http::guard;
use crate::limits::REQUEST_MAX;
use ledger::IDEMPOTENCY_KEY_BYTES_MAX;

const JSON: &str = "application/json";
/// What a stream of events is called in the document: parameters of a type are left out.
const EVENTS: &str = "text/event-stream";
const LINES: &str = "application/x-ndjson";

/// One route by one method.
pub(in crate::http) struct Operation {
    id: &'static str,
    tag: Tag,
    summary: &'static str,
    parameters: Vec<Parameter>,
    body: Option<Form>,
    answers: BTreeMap<u16, Response>,
    errors: Vec<StatusCode>,
}

/// Whose interface a route belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::http) enum Tag {
    OpenAi,
    Anthropic,
    Ollama,
    LlamaCpp,
    Models,
    Contexts,
    Figures,
    Server,
}

impl Tag {
    pub(super) const ALL: [Self; 8] = [
        Self::OpenAi,
        Self::Anthropic,
        Self::Ollama,
        Self::LlamaCpp,
        Self::Models,
        Self::Contexts,
        Self::Figures,
        Self::Server,
    ];

    pub(super) fn name(self) -> &'static str {
        self.told().0
    }

    /// Its name, and what it is.
    pub(super) fn told(self) -> (&'static str, &'static str) {
        match self {
            Self::OpenAi => ("OpenAI", "OpenAI's interface, and reranking as Jina and Cohere have it."),
            Self::Anthropic => ("Anthropic", "Anthropic's messages."),
            Self::Ollama => ("Ollama", "Ollama's interface."),
            Self::LlamaCpp => ("llama.cpp", "What llama.cpp's server has beside OpenAI's interface."),
            Self::Models => ("models", "Which models are in memory, and what brings them in and lets them go."),
            Self::Contexts => ("contexts", "Published contexts: what many requests begin with, computed once."),
            Self::Figures => ("figures", "What was used, saved and paid."),
            Self::Server => ("server", "The server itself: probes, metrics, the dashboard."),
        }
    }
}

impl Operation {
    pub(super) fn new(id: &'static str, tag: Tag, summary: &'static str) -> Self {
        let (parameters, answers) = (Vec::new(), BTreeMap::new());
        Self { id, tag, summary, parameters, body: None, answers, errors: Vec::new() }
    }

    /// A part of the path.
    pub(super) fn at(self, name: &str, form: Form) -> Self {
        self.parameter(name, ParameterIn::Path, (Required::True, form))
    }

    /// What may stand behind the `?`.
    pub(super) fn asks(self, name: &str, form: Form) -> Self {
        self.parameter(name, ParameterIn::Query, (Required::False, form))
    }

    /// What has to stand there.
    pub(super) fn needs(self, name: &str, form: Form) -> Self {
        self.parameter(name, ParameterIn::Query, (Required::True, form))
    }

    /// A header that is looked at.
    pub(super) fn hears(self, name: &str, form: Form) -> Self {
        self.parameter(name, ParameterIn::Header, (Required::False, form))
    }

    fn parameter(mut self, name: &str, place: ParameterIn, (required, form): (Required, Form)) -> Self {
        let parameter = ParameterBuilder::new().name(name).parameter_in(place).required(required).schema(Some(form));
        self.parameters.push(parameter.build());
        self
    }

    /// A body of JSON, with the headers that are read with any.
    pub(super) fn takes(mut self, form: Form) -> Self {
        self.body = Some(form);
        let key = "Made up by the client: what is sent again with it is charged once, and gets 409 with the first one's receipt.";
        let wait = "Seconds from the request's arrival to the end of its answer.";
        self.hears("Idempotency-Key", bounded_like(key, "^[!-~]+$", IDEMPOTENCY_KEY_BYTES_MAX))
            .hears("x-request-timeout", number_above(wait, 0.0, REQUEST_MAX.as_secs_f64()))
            .fails(&[
                StatusCode::REQUEST_TIMEOUT,
                StatusCode::PAYLOAD_TOO_LARGE,
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                StatusCode::SERVICE_UNAVAILABLE,
            ])
    }

    /// An answer of JSON.
    pub(super) fn answers(self, form: Form) -> Self {
        self.answers_as(JSON, form)
    }

    /// An answer of another kind.
    pub(super) fn answers_as(mut self, kind: &str, form: Form) -> Self {
        let response = self.answers.remove(&200).unwrap_or_else(|| Response::new("The answer."));
        let response = ResponseBuilder::from(response).content(kind, Content::new(Some(form)));
        self.answers.insert(200, response.build());
        self
    }

    /// Server-sent events, each of whose data is this, or `[DONE]` where the interface has that.
    pub(super) fn answers_events(self, event: Form) -> Self {
        self.stream(EVENTS, event)
    }

    /// Lines of JSON.
    pub(super) fn answers_lines(self, line: Form) -> Self {
        self.stream(LINES, line)
    }

    fn stream(mut self, kind: &str, item: Form) -> Self {
        let response = self.answers.remove(&200).unwrap_or_else(|| Response::new("The answer."));
        // The whole of it is a text; what its parts are stands beside.
        let mut content = Content::new(Some(text("The parts as they come; of each `x-item-schema` tells the form.")));
        let item = serde_json::to_value(item).expect("forms are made of texts, numbers and lists");
        content.extensions = Some([("x-item-schema", item)].into_iter().collect());
        self.answers.insert(200, ResponseBuilder::from(response).content(kind, content).build());
        self
    }

    /// An answer that has no body.
    pub(super) fn answers_nothing(mut self, status: StatusCode, about: &str) -> Self {
        self.answers.insert(status.as_u16(), Response::new(about));
        self
    }

    /// An answer that is a text.
    pub(super) fn answers_text(mut self, status: StatusCode, about: &str) -> Self {
        let response = ResponseBuilder::new().description(about).content("text/plain", Content::new(Some(text(""))));
        self.answers.insert(status.as_u16(), response.build());
        self
    }

    /// A header of the good answers.
    pub(super) fn tells(mut self, name: &str, form: Form) -> Self {
        for response in self.answers.values_mut() {
            response.headers.insert(name.to_owned(), Header::new(form.clone()).into());
        }
        self
    }

    /// What it may fail with, beside what every route may.
    pub(super) fn fails(mut self, errors: &[StatusCode]) -> Self {
        self.errors.extend(errors);
        self
    }

    /// It is about a model, which need not be there or may not be read.
    pub(super) fn of_a_model(self) -> Self {
        self.fails(&[StatusCode::NOT_FOUND, StatusCode::SERVICE_UNAVAILABLE, StatusCode::GATEWAY_TIMEOUT])
    }

    /// A model computes for it, and a receipt is written.
    pub(super) fn computes(self) -> Self {
        self.of_a_model()
            .fails(&[StatusCode::CONFLICT])
            .tells("x-dayfly-cold", text("Whether the model had to be loaded: `true` or `false`."))
            .tells("x-dayfly-cost", text("What a whole answer costs, where everything has a price: `0.000012 USD`."))
            .tells("x-dayfly-energy-joules", text("What a whole answer took, in joules."))
    }

    /// The operation of the route at `path`.
    pub(super) fn finish(mut self, method: &Method, path: &str) -> utoipa::openapi::path::Operation {
        let access = guard::access_to(method, path);
        let mut about = String::new();
        match access {
            guard::RouteAccess::Probe => {}
            guard::RouteAccess::Open => self.errors.extend([StatusCode::BAD_REQUEST, StatusCode::FORBIDDEN]),
            guard::RouteAccess::Scoped(scope) => {
                about = format!("Needs the scope `{}`.", scope.name());
                self.errors.extend([
                    StatusCode::BAD_REQUEST,
                    StatusCode::UNAUTHORIZED,
                    StatusCode::FORBIDDEN,
                    StatusCode::TOO_MANY_REQUESTS,
                    StatusCode::SERVICE_UNAVAILABLE,
                ]);
            }
        }
        self.errors.push(StatusCode::INTERNAL_SERVER_ERROR);
        let mut operation = OperationBuilder::new()
            .operation_id(Some(self.id))
            .tag(self.tag.name())
            .summary(Some(self.summary))
            .description(Some(about).filter(|about| !about.is_empty()));
        for parameter in self.parameters {
            operation = operation.parameter(parameter);
        }
        if let Some(form) = self.body {
            let body = RequestBodyBuilder::new().content(JSON, Content::new(Some(form))).required(Some(Required::True));
            operation = operation.request_body(Some(body.build()));
        }
        for (status, response) in self.answers {
            operation = operation.response(status.to_string(), response);
        }
        self.errors.sort_by_key(StatusCode::as_u16);
        self.errors.dedup();
        let form = error_form(path);
        for status in self.errors {
            operation = operation.response(status.as_str(), error(status, form.clone()));
        }
        let securities: Vec<SecurityRequirement> = match access {
            guard::RouteAccess::Probe | guard::RouteAccess::Open => vec![SecurityRequirement::default()],
            guard::RouteAccess::Scoped(_) => security::requirements(),
        };
        operation.securities(Some(securities)).build()
    }
}

/// An error of a route at `path`, in the words of its interface.
fn error_form(path: &str) -> Form {
    let named_by = |envelope: Envelope| match envelope {
        Envelope::OpenAi => named("OpenAiError"),
        Envelope::Ollama => named("OllamaError"),
        Envelope::Anthropic => named("AnthropicError"),
        Envelope::LlamaCpp => named("LlamaCppError"),
    };
    let usual = Envelope::of(path, &HeaderMap::new());
    let anthropic = HeaderMap::from_iter([(
        axum::http::HeaderName::from_static("anthropic-version"),
        axum::http::HeaderValue::from_static("2023-06-01"),
    )]);
    match Envelope::of(path, &anthropic) {
        other if other != usual => either("", [named_by(usual), named_by(other)]),
        _ => named_by(usual),
    }
}

fn error(status: StatusCode, form: Form) -> Response {
    let mut response = ResponseBuilder::new().description(why(status)).content(JSON, Content::new(Some(form)));
    if matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
        let retry =
            HeaderBuilder::new().schema(Some(text("Whole seconds after which it may go well, where that is known.")));
        response = response.header("Retry-After", retry.build());
    }
    if status == StatusCode::CONFLICT {
        let place =
            HeaderBuilder::new().schema(Some(text("The receipt of the first request with this Idempotency-Key.")));
        response = response.header("Location", place.build());
    }
    response.build()
}

/// What a status means here.
fn why(status: StatusCode) -> &'static str {
    match status {
        StatusCode::BAD_REQUEST => "The request cannot be read or honoured; the field is named where there is one.",
        StatusCode::UNAUTHORIZED => "No key, or none that is known.",
        StatusCode::FORBIDDEN => "The host or origin is foreign, or the key is not for this.",
        StatusCode::NOT_FOUND => "There is no such thing, or none that is open to this key.",
        StatusCode::REQUEST_TIMEOUT => "The body did not arrive in time.",
        StatusCode::CONFLICT => "It was asked before with this Idempotency-Key, or what there is stands against it.",
        StatusCode::PAYLOAD_TOO_LARGE => "The body is too long.",
        StatusCode::UNSUPPORTED_MEDIA_TYPE => "The body is not JSON, or is compressed.",
        StatusCode::TOO_MANY_REQUESTS => "A rate is reached, or a budget spent.",
        StatusCode::INTERNAL_SERVER_ERROR => "The server or the model failed at this request.",
        StatusCode::NOT_IMPLEMENTED => "Another server does this at this path; this one does not.",
        StatusCode::BAD_GATEWAY => "The model could not be brought from where it is.",
        StatusCode::SERVICE_UNAVAILABLE => "It may work later: too much work, no room, or the model is set aside.",
        StatusCode::GATEWAY_TIMEOUT => "The time was over before the answer.",
        StatusCode::INSUFFICIENT_STORAGE => "There is no room for another context.",
        _ => "It failed.",
    }
}
