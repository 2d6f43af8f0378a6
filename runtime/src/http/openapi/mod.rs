//! `GET /openapi.json`: every route of this server, what it takes and what it answers, as OpenAPI 3.1.
//!
//! [`Routes`] is the only way to a route, and each comes with its [`Operation`]: what is not described cannot be asked for, and
//! what is described can. Answers are described by the types that write them where there are such (`ToSchema`), and by forms
//! where they are written by hand; requests, which are read by hand, by forms with the very limits of their readers.
//!
//! Deliberately absent: what hangs together between fields (that `top_logprobs` needs `logprobs`), which is said in words;
//! and how the operator may bound a tenant.

pub(super) mod anthropic;
pub(super) mod contexts;
mod failure;
pub(super) mod figures;
mod form;
mod generation;
pub(super) mod llama_cpp;
pub(super) mod models;
pub(super) mod ollama;
pub(super) mod openai;
mod operation;
pub(super) mod responses;
mod restated;
mod sampling;
mod security;
mod shared;
pub(super) mod site;

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::handler::Handler;
use axum::http::{Method, header};
use axum::routing::{MethodFilter, on};
use bytes::Bytes;
use utoipa::openapi::info::LicenseBuilder;
use utoipa::openapi::path::{HttpMethod, Paths};
use utoipa::openapi::server::ServerBuilder;
use utoipa::openapi::tag::{Tag as NamedTag, TagBuilder};
use utoipa::openapi::{Components, ComponentsBuilder, InfoBuilder, OpenApi, OpenApiBuilder, Response};

pub(super) use self::operation::Operation;
use self::operation::Tag;
use crate::app::App;
use crate::http::error::ApiError;

/// Where it is.
pub(super) const PATH: &str = "/openapi.json";

/// The routes of the server, each described.
pub(super) struct Routes {
    router: Router<Arc<App>>,
    paths: Paths,
    errors: BTreeMap<String, Response>,
    /// Those that another server has and this one has not, as `POST /path`.
    not_here: Vec<String>,
}

impl Routes {
    pub(super) fn new() -> Self {
        Self { router: Router::new(), paths: Paths::new(), errors: BTreeMap::new(), not_here: Vec::new() }
    }

    pub(super) fn get<H: Handler<T, Arc<App>>, T: 'static>(self, path: &str, handler: H, operation: Operation) -> Self {
        self.on((MethodFilter::GET, HttpMethod::Get, Method::GET), path, handler, operation)
    }

    pub(super) fn post<H: Handler<T, Arc<App>>, T: 'static>(
        self,
        path: &str,
        handler: H,
        operation: Operation,
    ) -> Self {
        self.on((MethodFilter::POST, HttpMethod::Post, Method::POST), path, handler, operation)
    }

    pub(super) fn delete<H: Handler<T, Arc<App>>, T: 'static>(
        self,
        path: &str,
        handler: H,
        operation: Operation,
    ) -> Self {
        self.on((MethodFilter::DELETE, HttpMethod::Delete, Method::DELETE), path, handler, operation)
    }

    /// A route that another server has, and this one tells of that it has it not (501): there is no operation to describe.
    pub(super) fn not_here(mut self, method: &Method, path: &str, why: &'static str) -> Self {
        let filter = MethodFilter::try_from(method.clone()).expect("it is one of HTTP's own");
        self.not_here.push(format!("`{method} {path}`"));
        let answer = async move || ApiError::not_supported(why);
        Self { router: self.router.route(path, on(filter, answer)), ..self }
    }

    fn on<H: Handler<T, Arc<App>>, T: 'static>(
        mut self,
        (filter, described, method): (MethodFilter, HttpMethod, Method),
        path: &str,
        handler: H,
        operation: Operation,
    ) -> Self {
        let operation = operation.finish(&method, path, &mut self.errors);
        self.paths.add_path_operation(path, vec![described], operation);
        Self { router: self.router.route(path, on(filter, handler)), ..self }
    }

    /// These and others.
    pub(super) fn merge(mut self, other: Self) -> Self {
        self.paths.merge(other.paths);
        self.errors.extend(other.errors);
        self.not_here.extend(other.not_here);
        Self { router: self.router.merge(other.router), ..self }
    }

    /// The routes, and one with the description of all of them.
    pub(super) fn described(self) -> Router<Arc<App>> {
        let Self { router, mut paths, mut errors, not_here } = self;
        let operation = site::document().finish(&Method::GET, PATH, &mut errors);
        paths.add_path_operation(PATH, vec![HttpMethod::Get], operation);
        let text = document((paths, errors), &not_here)
            .to_json()
            .expect("what is described is made of texts, numbers and lists");
        let text = Bytes::from(text);
        let answer = async move || ([(header::CONTENT_TYPE, "application/json")], text.clone());
        router.route(PATH, on(MethodFilter::GET, answer))
    }
}

/// The document of these paths.
fn document((paths, errors): (Paths, BTreeMap<String, Response>), not_here: &[String]) -> OpenApi {
    let about = format!(
        "An ephemeral model-serving runtime, with its own interface and those of OpenAI, Anthropic, Ollama and llama.cpp. \
                 Fields of requests that mean nothing here are refused by name, unless the operator lets them pass. \
                 What those others have and this has not answers 501: {}.",
        not_here.join(", ")
    );
    let license = LicenseBuilder::new().name(env!("CARGO_PKG_LICENSE")).identifier(Some(env!("CARGO_PKG_LICENSE")));
    let info = InfoBuilder::new().title("dayfly").version(env!("CARGO_PKG_VERSION")).description(Some(about));
    let info = info.license(Some(license.build())).build();
    let server = ServerBuilder::new().url("/").description(Some("Where this document is from.")).build();
    let tag = |tag: Tag| -> NamedTag {
        let (name, about) = tag.told();
        TagBuilder::new().name(name).description(Some(about)).build()
    };
    OpenApiBuilder::new()
        .info(info)
        .servers(Some([server]))
        .paths(paths)
        .components(Some(components(errors)))
        .tags(Some(Tag::ALL.map(tag)))
        .build()
}

/// What is defined once.
fn components(errors: BTreeMap<String, Response>) -> Components {
    let own = [
        generation::components(),
        openai::components(),
        responses::components(),
        anthropic::components(),
        models::components(),
        contexts::components(),
    ];
    let components = security::add_to(ComponentsBuilder::new()).schemas_from_iter(own.into_iter().flatten());
    let components = figures::add_to(openai::add_to(shared::add_to(components)));
    let components = components.schemas_from_iter(shared::split_methods());
    let components = operation::headers().into_iter().fold(components, |all, (name, header)| all.header(name, header));
    errors.into_iter().fold(components, |components, (name, error)| components.response(name, error)).build()
}
