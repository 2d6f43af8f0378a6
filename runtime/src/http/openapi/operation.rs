//! What one route takes and answers, and the answers that follow from where it stands.
//!
//! Invariants: the scope that a route needs, who need not show a key, and the words of its errors are asked of those who decide
//! them ([`guard`], [`failure`]), and never said again here.

use std::collections::BTreeMap;

use axum::http::{Method, StatusCode};
use utoipa::openapi::path::{OperationBuilder, Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::{Content, Header, Ref, RefOr, Required, Response, ResponseBuilder, SecurityRequirement};

use super::form::{Form, at_times, bounded_like, either, json_text, must, named, number_in, text, told, word};
use super::{failure, security};
use crate::http::{guard, sign_in, unknown_fields};
use crate::limits::REQUEST_MAX;
use ledger::IDEMPOTENCY_KEY_BYTES_MAX;

pub(super) const JSON: &str = "application/json";
/// What a stream of events is called in the document: parameters of a type are left out.
const EVENTS: &str = "text/event-stream";
const LINES: &str = "application/x-ndjson";

/// What every answer tells.
pub(super) const REQUEST_ID: &str = "x-request-id";
/// What is left of the asker's rates, where there are any.
pub(super) const RATES: [&str; 6] = [
    "x-ratelimit-limit-requests",
    "x-ratelimit-remaining-requests",
    "x-ratelimit-reset-requests",
    "x-ratelimit-limit-tokens",
    "x-ratelimit-remaining-tokens",
    "x-ratelimit-reset-tokens",
];

/// Headers that many routes tell.
pub(super) fn headers() -> Vec<(&'static str, Header)> {
    let ignored = "Names of the body's fields that mean nothing here, where the operator lets them pass.";
    let mut told = vec![
        (REQUEST_ID, text("Which request it was, as the server's log has it.")),
        (unknown_fields::HEADER, text(ignored)),
        ("x-dayfly-cold", word("Whether the model had to be loaded.", &["true", "false"])),
        ("x-dayfly-cost", text("What a whole answer costs, where everything has a price: `0.000012 USD`.")),
        ("x-dayfly-energy-joules", text("What a whole answer took, in joules.")),
    ];
    told.extend(
        RATES.map(|name| (name, text("Of the asker's rates, where there are any; spans as `120ms` or `6m0s`."))),
    );
    told.into_iter().map(|(name, form)| (name, Header::new(form))).collect()
}

/// One of [`headers`].
pub(super) fn shared_header(name: &str) -> Ref {
    Ref::new(format!("#/components/headers/{name}"))
}

/// One route by one method.
pub(in crate::http) struct Operation {
    id: &'static str,
    tag: Tag,
    summary: &'static str,
    parameters: Vec<Parameter>,
    body: Option<Form>,
    answers: BTreeMap<u16, Response>,
    /// Of good answers.
    headers: Vec<(&'static str, RefOr<Header>)>,
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

    /// An error within a stream.
    fn error(self) -> Form {
        match self {
            Self::Anthropic => named("AnthropicError"),
            Self::Ollama => named("OllamaError"),
            Self::LlamaCpp => named("LlamaCppError"),
            Self::OpenAi | Self::Models | Self::Contexts | Self::Figures | Self::Server => named("OpenAiError"),
        }
    }

    /// Its name, and what it is.
    pub(super) fn told(self) -> (&'static str, &'static str) {
        match self {
            Self::OpenAi => ("OpenAI", "OpenAI's interface, and ranking and scores as other servers have them."),
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
        Self { id, tag, summary, parameters, body: None, answers, headers: Vec::new(), errors: Vec::new() }
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
        self = self.tells_shared(unknown_fields::HEADER);
        let key = "Made up by the client: what is sent again with it is charged once, and gets 409 with the first one's receipt.";
        let wait = "Seconds from the request's arrival to the end of its answer.";
        self.hears("Idempotency-Key", bounded_like(key, r"^[\t -~]*[!-~][\t -~]*$", IDEMPOTENCY_KEY_BYTES_MAX))
            .hears("x-request-timeout", number_in(wait, 1e-9..=REQUEST_MAX.as_secs_f64()))
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

    /// Server-sent events, of each of which the form is told: its data is this, an error, or `[DONE]` where the interface has
    /// that.
    pub(super) fn answers_events(self, data: Form) -> Self {
        let data = either("", [data, self.tag.error()]);
        let event = [
            at_times("event", text("Its name, where events have names.")),
            must("data", either("", [word("The end.", &["[DONE]"]), json_text(data)])),
        ];
        self.answers_as(EVENTS, told("An event; there are any number of them, and comments in between.", event))
    }

    /// Lines of JSON, of each of which `x-item-schema` tells the form: the whole of them is a text.
    pub(super) fn answers_lines(mut self, line: Form) -> Self {
        let line = either("", [line, self.tag.error()]);
        let line = serde_json::to_value(line).expect("forms are made of texts, numbers and lists");
        let mut content = Content::new(Some(text("Lines of JSON.")));
        content.extensions = Some([("x-item-schema", line)].into_iter().collect());
        let response = self.answers.remove(&200).unwrap_or_else(|| Response::new("The answer."));
        self.answers.insert(200, ResponseBuilder::from(response).content(LINES, content).build());
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
    pub(super) fn tells(mut self, name: &'static str, form: Form) -> Self {
        self.headers.push((name, RefOr::T(Header::new(form))));
        self
    }

    /// The same of what many routes tell.
    fn tells_shared(mut self, name: &'static str) -> Self {
        self.headers.push((name, RefOr::Ref(shared_header(name))));
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
            .tells_shared("x-dayfly-cold")
            .tells_shared("x-dayfly-cost")
            .tells_shared("x-dayfly-energy-joules")
    }

    /// The operation of the route at `path`; the errors that it names are added to `errors`.
    pub(super) fn finish(
        mut self,
        method: &Method,
        path: &str,
        errors: &mut BTreeMap<String, Response>,
    ) -> utoipa::openapi::path::Operation {
        self = self.tells_shared(REQUEST_ID);
        let access = guard::access_to(method, path);
        let mut about = String::new();
        match access {
            guard::RouteAccess::Probe => about.push_str("For whoever reaches the server, by any host's name."),
            guard::RouteAccess::Open => {
                about.push_str("Nobody has to show a key.");
                self.errors.extend([StatusCode::BAD_REQUEST, StatusCode::FORBIDDEN]);
            }
            guard::RouteAccess::Scoped(scope) => {
                about = format!("Needs the scope `{}`.", scope.name());
                self = RATES.into_iter().fold(self, Self::tells_shared);
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
            .description(Some(about));
        for parameter in self.parameters {
            operation = operation.parameter(parameter);
        }
        if let Some(form) = self.body {
            let body = RequestBodyBuilder::new().content(JSON, Content::new(Some(form))).required(Some(Required::True));
            operation = operation.request_body(Some(body.build()));
        }
        for (status, mut response) in self.answers {
            response.headers.extend(self.headers.iter().map(|(name, header)| ((*name).to_owned(), header.clone())));
            operation = operation.response(status.to_string(), response);
        }
        self.errors.sort_by_key(StatusCode::as_u16);
        self.errors.dedup();
        let (words, form) = failure::form(path);
        for status in self.errors {
            let name = format!("{words}{}", status.as_u16());
            operation = operation.response(status.as_str(), Ref::from_response_name(&name));
            errors.entry(name).or_insert_with(|| failure::response(status, form.clone()));
        }
        let securities: Vec<SecurityRequirement> = match access {
            guard::RouteAccess::Probe | guard::RouteAccess::Open => vec![SecurityRequirement::default()],
            guard::RouteAccess::Scoped(_) if path == sign_in::PATH => security::keys(),
            guard::RouteAccess::Scoped(_) => security::requirements(),
        };
        operation.securities(Some(securities)).build()
    }
}
