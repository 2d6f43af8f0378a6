//! What llama.cpp's server has beside OpenAI's interface: `/completion` (and `/completions`), `/props`, `/apply-template`,
//! `/health`; `/tokenize` and `/detokenize` (`http::tokenize`), `/models` and what changes them (`http::models`,
//! `http::model_changes`), in the form of its router: requests name their model.
//!
//! What is not said is as llama.cpp has it (temperature 0.8, `top_k` 40, `top_p` 0.95, `min_p` 0.05, `repeat_last_n` 64).
//! `json_schema` or a `grammar` in GBNF holds an answer. Samplers that are not here, another order of them and the rest of what
//! would change the answer are refused by name where they are switched on.
//!
//! Deliberately absent: slots and infill, told as it tells what is switched off; adapters, and changing properties, by no route.

mod answer;
mod props;
pub(super) mod request;

use std::sync::Arc;

use axum::extract::State;
use axum::http::Method;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use models::generation::Echo;
use scheduler::Instant;
use serde_json::{Value, json};

use self::answer::LlamaCppAnswer;
use self::request::{CompletionRequest, TemplateRequest};
use super::body::JsonBody;
use super::error::ApiError;
use super::openapi::{Routes, llama_cpp as openapi};
use super::probes::failing_parts;
use super::stream;
use super::tokenize::{check_bytes, with_descriptor};
use super::wire::{new_id, shown_bytes_max};
use crate::app::App;
use crate::generate::{Asked, Prompt, conversation_error, no_template};
use crate::limits::REQUEST_MAX;
use crate::tenancy::Access;

/// Why there are none.
const NO_SLOTS: &str = "this server has no slots: requests join and leave steps as they come";

/// Its paths.
pub(super) fn routes() -> Routes {
    Routes::new()
        .post("/completion", complete, openapi::completion("llamaCppCompletion"))
        .post("/completions", complete, openapi::completion("llamaCppCompletions"))
        .post("/apply-template", apply_template, openapi::apply_template())
        .get("/props", props::props, openapi::props())
        .not_here(&Method::GET, "/slots", NO_SLOTS)
        .not_here(&Method::POST, "/slots/{id}", NO_SLOTS)
        .not_here(&Method::POST, "/infill", "this server fills no gaps in code")
        .get("/lora-adapters", async || Json(json!([])), openapi::adapters())
        .get("/health", health, openapi::health("health"))
        .get("/v1/health", health, openapi::health("healthOfVersion1"))
}

/// `POST /completion`.
async fn complete(
    State(app): State<Arc<App>>,
    Extension(access): Extension<Arc<Access>>,
    body: JsonBody,
) -> Result<Response, ApiError> {
    let request = CompletionRequest::parse(&body.bytes)?;
    let dialect = LlamaCppAnswer::new(&request);
    let CompletionRequest { common, prompts, special, .. } = request;
    let urgency = common.urgency.within(body.timeout);
    let prompt = Prompt::Raw(prompts, special);
    let id = new_id("llama");
    let asked = Asked { id, asker: body.asker(access), urgency, common, prompt, echo: Echo::Nothing };
    stream::answer(&app, asked, dialect).await
}

/// `POST /apply-template`: a conversation as the text that the model would see. No model is loaded for it. Special tokens
/// that a message spells are told as it spells them: whoever completes that text makes tokens of them.
async fn apply_template(
    State(app): State<Arc<App>>,
    Extension(access): Extension<Arc<Access>>,
    body: JsonBody,
) -> Result<Json<Value>, ApiError> {
    let TemplateRequest { model, messages, options } = TemplateRequest::parse(&body.bytes)?;
    check_bytes("messages", shown_bytes_max(&messages, &options))?;
    let model = app.true_name(&access, &model, Instant::now() + REQUEST_MAX).await?;
    let prompt = with_descriptor(&app, model, move |descriptor| {
        let template = descriptor.template.as_ref().ok_or_else(no_template)?;
        let extras = options.extras_for(template)?;
        template.text(&messages, &extras).map_err(|error| conversation_error(error, (&options, &extras)))
    });
    Ok(Json(json!({ "prompt": prompt.await? })))
}

/// `GET /health`: as `/readyz`, in its words.
async fn health(State(app): State<Arc<App>>) -> Response {
    let failing = failing_parts(&app).await;
    if failing.is_empty() {
        return Json(json!({ "status": "ok" })).into_response();
    }
    ApiError::not_ready(failing.join(", ")).into_response()
}
