//! Ollama's interface, under `/api`.
//!
//! What is served: `generate`, `chat`, `embed` (and the older `embeddings`), `tags`, `show`, `ps`, `pull`, `delete`,
//! `version`. As there, answers are streams of JSON lines unless `"stream": false` asks for one; durations are
//! nanoseconds, here those of the receipt, which the last line carries as `dayfly`. Lists put `:latest` behind a name that
//! has no tag, as there; names with it and without mean the same.
//!
//! What differs, beside what is refused by name: options that are not said are Ollama's (temperature 0.8, `top_k` 40,
//! `top_p` 0.9, `repeat_last_n` 64) but for `repeat_penalty`, which is off. A text that is longer than the context is refused
//! and never cut, as is a `num_predict` that it has no room for, unless the operator has answers cut there
//! (`overlong_answers`). Loading, unloading (an empty prompt), pulling and deleting need the scope `admin`. `digest` tells
//! versions of a model apart and is no hash of its bytes. A model's further names are listed as copies of it would be, with its digest; deleted by any of them it is gone.
//!
//! `format` holds an answer to JSON or a schema. `tools` may be called, never must; arguments are objects, kept to their schema
//! where a function says `strict`, as in OpenAI's interface, and a call comes whole, in a line of its own. What a model thinks is
//! `thinking`, whether `think` was said or not; `think` is refused where the model's template has no way to honour it. `show`
//! says `tools` and `thinking` of models whose own template knows them; others are told of tools in the system message. `GET /`
//! and `HEAD /` answer as Ollama does to who takes no page.
//!
//! Deliberately absent: `create`, `push`, `copy` and blobs (a further name for a model is the configuration's to give),
//! templates and models of a request's own, images.

mod answer;
mod conversation;
mod manage;
pub(super) mod options;
mod pull;
mod request;

use std::sync::Arc;
use std::time::SystemTime;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, Method, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use chrono::{DateTime, SecondsFormat, Utc};
use models::generation::Echo;
use scheduler::{Instant, KeepAlive};
use serde_json::json;

use self::answer::{OllamaAnswer, Shape};
use self::request::Asking;
use super::body::JsonBody;
use super::error::ApiError;
use super::model_changes::{Wanted, bring_in, known_name, let_go};
use super::openapi::{Routes, ollama as openapi};
use super::reading::Reading;
use super::wire::new_id;
use super::{dashboard, stream};
use crate::app::App;
use crate::embed::{Encoded, embed};
use crate::generate::{Asked, Prompt};
use crate::limits::REQUEST_MAX;
use crate::tenancy::{Access, Scope};

/// The version of Ollama whose interface this is.
const OLLAMA_VERSION: &str = "0.13.0";

/// Its paths.
pub(super) fn routes() -> Routes {
    Routes::new()
        .post("/api/generate", generate, openapi::generate())
        .post("/api/chat", chat, openapi::chat())
        .post("/api/embed", create_embeddings, openapi::embed())
        .post("/api/embeddings", create_embedding, openapi::embeddings())
        .get("/api/tags", manage::tags, openapi::tags())
        .post("/api/show", manage::show, openapi::show())
        .get("/api/ps", manage::running, openapi::running())
        .post("/api/pull", pull::pull, openapi::pull())
        .delete("/api/delete", manage::delete, openapi::delete())
        .get("/api/version", async || Json(json!({ "version": OLLAMA_VERSION })), openapi::version())
        .not_here(&Method::POST, "/api/copy", "models get further names in the configuration alone")
        .not_here(&Method::POST, "/api/create", "this server makes no models")
        .not_here(&Method::POST, "/api/push", "this server publishes no models")
}

/// `GET /`: the dashboard for whoever takes a page, or does not say; to others what tells them that a server is there.
pub(super) async fn front(headers: HeaderMap) -> Result<Response, ApiError> {
    let takes_page = match headers.get(header::ACCEPT).map(HeaderValue::to_str) {
        Some(Ok(kinds)) => kinds.contains("text/html"),
        Some(Err(_)) | None => true,
    };
    let mut response = if takes_page { dashboard::page(headers).await? } else { "Ollama is running".into_response() };
    response.headers_mut().append(header::VARY, HeaderValue::from_static("accept"));
    Ok(response)
}

/// `POST /api/generate`.
async fn generate(
    State(app): State<Arc<App>>,
    Extension(access): Extension<Arc<Access>>,
    body: JsonBody,
) -> Result<Response, ApiError> {
    let asking = Asking::generate(&body.bytes)?;
    answer(&app, access, (asking, body), Shape::Generate).await
}

/// `POST /api/chat`.
async fn chat(
    State(app): State<Arc<App>>,
    Extension(access): Extension<Arc<Access>>,
    body: JsonBody,
) -> Result<Response, ApiError> {
    let asking = Asking::chat(&body.bytes)?;
    answer(&app, access, (asking, body), Shape::Chat).await
}

async fn answer(
    app: &Arc<App>,
    access: Arc<Access>,
    (Asking { common, prompt }, body): (Asking, JsonBody),
    shape: Shape,
) -> Result<Response, ApiError> {
    let reading = match &prompt {
        Some(Prompt::Messages(_, options)) => Some(Reading::of(&common, options)),
        Some(Prompt::Raw(..)) | None => None,
    };
    let mut dialect = OllamaAnswer::new(shape, &common, reading);
    let Some(prompt) = prompt else {
        let reason = load_or_unload(app, access, &common.model, common.keep_alive).await?;
        return Ok(Json(dialect.without_answer(reason)).into_response());
    };
    let urgency = common.urgency.within(body.timeout);
    let asked = Asked { id: new_id("ollama"), asker: body.asker(access), urgency, common, prompt, echo: Echo::Nothing };
    stream::answer(app, asked, dialect).await
}

/// What an empty prompt asks for: the model is brought in, or let go where it is to be kept for no time at all. Which of
/// the two it was, as `done_reason` has it.
async fn load_or_unload(
    app: &Arc<App>,
    access: Arc<Access>,
    name: &str,
    keep_alive: Option<KeepAlive>,
) -> Result<&'static str, ApiError> {
    if !access.has(Scope::Admin) {
        return Err(ApiError::insufficient_scope(Scope::Admin.name()));
    }
    if keep_alive == Some(KeepAlive::DropAfterUse) {
        let model = known_name(app, &access, name.to_owned()).await?;
        return match let_go(app, &model).await? {
            scheduler::UnloadOutcome::Pinned => Err(ApiError::model_pinned(&model)),
            _ => Ok("unload"),
        };
    }
    let model = app.true_name(&access, name, Instant::now() + REQUEST_MAX).await?;
    bring_in(app, Wanted { model, keep_alive, access }).await.map_err(ApiError::internal)??;
    Ok("load")
}

/// `POST /api/embed`.
async fn create_embeddings(
    State(app): State<Arc<App>>,
    Extension(access): Extension<Arc<Access>>,
    body: JsonBody,
) -> Result<Response, ApiError> {
    let mut request = request::embed(&body.bytes)?;
    request.urgency = request.urgency.within(body.timeout);
    let model = request.model.clone();
    let Encoded { rows, receipt } = embed(&app, body.asker(access), request).await?;
    stream::json(receipt, move |receipt| answer::embeddings(&model, &rows, receipt)).await
}

/// `POST /api/embeddings`, of one text.
async fn create_embedding(
    State(app): State<Arc<App>>,
    Extension(access): Extension<Arc<Access>>,
    body: JsonBody,
) -> Result<Response, ApiError> {
    let mut request = request::embeddings(&body.bytes)?;
    request.urgency = request.urgency.within(body.timeout);
    let Encoded { rows, receipt } = embed(&app, body.asker(access), request).await?;
    stream::json(receipt, move |receipt| answer::embedding(&rows[0], receipt)).await
}

/// A point in time as Ollama writes it.
fn time_text(time: SystemTime) -> String {
    DateTime::<Utc>::from(time).to_rfc3339_opts(SecondsFormat::Micros, true)
}
