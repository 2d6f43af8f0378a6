//! The HTTP interface: sockets, who may speak, what is asked, what is answered.
//!
//! A request passes [`accept`] (and [`paths`]) → [`record`] → [`guard`] → its route → `generate`, or `embed` over it →
//! [`stream`]. Errors are [`error::ApiError`]s made where they are met, and become an envelope, OpenAI's or that of the path's
//! interface, in one place. Interfaces other than OpenAI's older ones have folders: [`ollama`], [`anthropic`], [`llama_cpp`],
//! [`responses`]. Each reads its requests into what ours are, so that whatever is true of a request (its way, its receipt, its
//! refusals) is true of theirs.

mod accept;
mod anthropic;
mod body;
mod chat;
mod completions;
mod contexts;
mod cors;
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
mod openapi;
mod organization;
mod paths;
mod probes;
mod progress;
pub(crate) mod query;
mod reading;
pub(crate) mod record;
mod rerank;
mod responses;
mod savings;
mod score;
mod scores;
mod sign_in;
mod stream;
mod tokenize;
mod unknown_fields;
mod usage;
pub(crate) mod wire;

use std::sync::Arc;

use axum::Router;
use axum::http::{HeaderValue, header};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use tower_http::catch_panic::CatchPanicLayer;

pub(crate) use accept::{Exit, serve};
pub(crate) use probes::computes;

use crate::app::App;
use error::ApiError;
use openapi::{Routes, figures, site};

/// Every route, and what it takes and answers.
fn routes() -> Routes {
    Routes::new()
        .get("/", ollama::front, site::page())
        .get("/assets/{name}", dashboard::asset, site::asset())
        .post(sign_in::PATH, sign_in::begin, site::sign_in())
        .get(sign_in::PATH, sign_in::who, site::signed_in())
        .delete(sign_in::PATH, sign_in::end, site::sign_out())
        .get("/v1/live", live::follow, figures::live())
        .get("/livez", probes::livez, site::livez())
        .get("/readyz", probes::readyz, site::readyz())
        .get("/metrics", probes::metrics, site::metrics())
        .get("/v1/models", models::openai::list, openapi::openai::models())
        .get("/v1/models/{id}", models::openai::one, openapi::openai::one_model())
        .post("/v1/chat/completions", chat::complete, openapi::openai::chat_completions())
        .post("/v1/completions", completions::complete, openapi::openai::completions())
        .post("/v1/embeddings", embeddings::create, openapi::openai::embeddings())
        .post("/v1/rerank", rerank::rerank, openapi::openai::ranking("rerank"))
        .post("/v2/rerank", rerank::rerank, openapi::openai::ranking("rerankOfVersion2"))
        .post("/rerank", rerank::rerank, openapi::openai::ranking("rerankWithoutVersion"))
        .post("/v1/reranking", rerank::rerank, openapi::openai::ranking("reranking"))
        .post("/reranking", rerank::rerank, openapi::openai::ranking("rerankingWithoutVersion"))
        .post("/v1/score", score::score, openapi::openai::scores("score"))
        .post("/score", score::score, openapi::openai::scores("scoreWithoutVersion"))
        .get("/v1/contexts", contexts::list, openapi::contexts::all())
        .post("/v1/contexts", contexts::publish, openapi::contexts::publish())
        .get("/v1/contexts/{name}", contexts::one, openapi::contexts::one())
        .delete("/v1/contexts/{name}", contexts::delete, openapi::contexts::delete())
        .get("/v1/usage", usage::sums, figures::usage())
        .get("/v1/energy", energy::sensors, figures::energy())
        .get("/v1/usage/{id}", usage::of_request, figures::usage_of_request())
        .get("/v1/organization/usage/completions", organization::completions, figures::usage_of_organization())
        .get("/v1/organization/costs", organization::costs, figures::costs())
        .get("/v1/savings", savings::report, figures::savings())
        .post("/tokenize", tokenize::tokenize, openapi::llama_cpp::tokenize())
        .post("/detokenize", tokenize::detokenize, openapi::llama_cpp::detokenize())
        .get("/models", models::states, openapi::models::states())
        .post("/models/load", model_changes::load, openapi::models::load())
        .post("/models/unload", model_changes::unload, openapi::models::unload())
        .post("/models/pin", model_changes::pin, openapi::models::pin())
        .post("/models/unpin", model_changes::unpin, openapi::models::unpin())
        .post("/models/budget", model_changes::budget, openapi::models::budget())
        .get("/models/sse", model_events::listen, openapi::models::events())
        .merge(ollama::routes())
        .merge(anthropic::routes())
        .merge(llama_cpp::routes())
        .merge(responses::routes())
}

/// All of them, behind the guard.
fn router(app: Arc<App>) -> Router {
    routes()
        .described()
        .fallback(async || ApiError::not_found())
        .method_not_allowed_fallback(async || ApiError::method_not_allowed())
        .layer(middleware::from_fn_with_state(Arc::clone(&app), unknown_fields::let_pass))
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
