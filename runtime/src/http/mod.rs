//! The HTTP interface: sockets, who may speak, what is asked, what is answered.
//!
//! A request passes [`accept`] → [`record`] → [`guard`] → its route → `generate`, or `embed` over it → [`stream`]. Errors are
//! [`error::ApiError`]s made where they are met, and become an envelope, OpenAI's or that of the path's interface, in one
//! place. Interfaces other than OpenAI's older ones have folders: [`ollama`], [`anthropic`], [`llama_cpp`], [`responses`].
//! Each reads its requests into what ours are, so that whatever is true of a request (its way, its receipt, its refusals) is
//! true of theirs.

mod accept;
mod anthropic;
mod body;
mod chat;
mod completions;
mod contexts;
mod dashboard;
mod embeddings;
mod energy;
pub(crate) mod error;
mod guard;
mod live;
mod llama_cpp;
pub(crate) mod metrics;
mod model_changes;
mod model_events;
mod models;
mod ollama;
mod openai;
mod organization;
mod probes;
mod progress;
pub(crate) mod query;
mod reading;
pub(crate) mod record;
mod rerank;
mod responses;
mod savings;
mod scores;
mod sign_in;
mod stream;
mod tokenize;
mod usage;
pub(crate) mod wire;

use std::sync::Arc;

use axum::Router;
use axum::http::{HeaderValue, header};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use tower_http::catch_panic::CatchPanicLayer;

pub(crate) use accept::{Exit, serve};
pub(crate) use probes::computes;

use crate::app::App;
use error::ApiError;

/// Every route, behind the guard.
fn router(app: Arc<App>) -> Router {
    Router::new()
        .route("/", get(ollama::front))
        .route("/assets/{name}", get(dashboard::asset))
        .route(sign_in::PATH, post(sign_in::begin).delete(sign_in::end))
        .route("/v1/live", get(live::follow))
        .route("/livez", get(probes::livez))
        .route("/readyz", get(probes::readyz))
        .route("/metrics", get(probes::metrics))
        .route("/v1/models", get(models::openai::list))
        .route("/v1/models/{id}", get(models::openai::one))
        .route("/v1/chat/completions", post(chat::complete))
        .route("/v1/completions", post(completions::complete))
        .route("/v1/embeddings", post(embeddings::create))
        .route("/v1/rerank", post(rerank::rerank))
        .route("/v1/contexts", get(contexts::list).post(contexts::publish))
        .route("/v1/contexts/{name}", get(contexts::one).delete(contexts::delete))
        .route("/v1/usage", get(usage::sums))
        .route("/v1/energy", get(energy::sensors))
        .route("/v1/usage/{id}", get(usage::of_request))
        .route("/v1/organization/usage/completions", get(organization::completions))
        .route("/v1/organization/costs", get(organization::costs))
        .route("/v1/savings", get(savings::report))
        .route("/tokenize", post(tokenize::tokenize))
        .route("/detokenize", post(tokenize::detokenize))
        .route("/models", get(models::states))
        .route("/models/load", post(model_changes::load))
        .route("/models/unload", post(model_changes::unload))
        .route("/models/pin", post(model_changes::pin))
        .route("/models/unpin", post(model_changes::unpin))
        .route("/models/budget", post(model_changes::budget))
        .route("/models/sse", get(model_events::listen))
        .merge(ollama::routes())
        .merge(anthropic::routes())
        .merge(llama_cpp::routes())
        .merge(responses::routes())
        .fallback(async || ApiError::not_found())
        .method_not_allowed_fallback(async || ApiError::method_not_allowed())
        .layer(middleware::from_fn_with_state(Arc::clone(&app), guard::guard))
        .layer(middleware::map_response(async |mut response: Response| {
            let name = HeaderValue::from_static(concat!("dayfly/", env!("CARGO_PKG_VERSION")));
            response.headers_mut().insert(header::SERVER, name);
            response
        }))
        .layer(CatchPanicLayer::custom(|_| ApiError::internal("a request's handler panicked").into_response()))
        .layer(middleware::from_fn_with_state(Arc::clone(&app), record::follow))
        .layer(middleware::from_fn(error::envelope::tell_errors))
        .with_state(app)
}
