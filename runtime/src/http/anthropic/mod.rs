//! Anthropic's messages: `POST /v1/messages`, whole and streamed, and `/v1/messages/count_tokens`.
//!
//! Keys come as `x-api-key` or as a bearer's. The header `anthropic-version` may be left out; the versions are 2023-06-01
//! and 2026-10-21, which no longer has `temperature`, `top_p` and `top_k`: here they are honoured in both. What was found
//! computed (`cache_read_input_tokens`) needs no `cache_control`. The receipt, `dayfly`, stands beside the last usage.
//! An answer that may be longer than the context has room for ends with it, and says so (`model_context_window_exceeded`). Of
//! `context_management` those edits are taken that clear nothing.
//!
//! Tools are the client's own (`custom`); uses of them come whole, also in streams. `tool_choice` and `strict` hold answers, and
//! `output_config.format` (`output_format`, as it was called) does. What is thought is a block, in whichever way the model's
//! template is told to; where nothing is said of it, it is as the template has it.
//!
//! An answer goes on with a last message of the assistant's, spaces at its end included, where that is words alone, nothing is
//! to be thought before them, and the whole has no format to keep to.
//!
//! What is refused by name: tools of the service's own, content that is neither text nor of tools, and the rest of what would
//! change the answer. `anthropic-beta` asks for nothing by itself: what it opens are fields, each of which is known here or
//! refused.

mod answer;
mod conversation;
mod options;
mod request;

use std::sync::Arc;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use axum::{Extension, Json};
use models::generation::Echo;
use scheduler::Instant;
use serde_json::{Value, json};

use self::answer::AnthropicAnswer;
pub(super) use self::options::BUDGET_TOKENS_MIN;
use self::request::{Counting, MessagesRequest};
use super::body::JsonBody;
use super::error::ApiError;
use super::openapi::{Routes, anthropic as openapi};
use super::reading::Reading;
use super::stream;
use super::tokenize::{chat_ids, check_bytes, with_descriptor};
use super::wire::{new_id, shown_bytes_max};
use crate::app::App;
use crate::generate::{Asked, Prompt};
use crate::limits::REQUEST_MAX;
use crate::tenancy::Access;

pub(super) const VERSION_HEADER: &str = "anthropic-version";
/// Those whose streams are as they are written here.
pub(super) const VERSIONS: [&str; 2] = ["2023-06-01", "2026-10-21"];

/// Its paths.
pub(super) fn routes() -> Routes {
    Routes::new().post("/v1/messages", create, openapi::messages()).post(
        "/v1/messages/count_tokens",
        count_tokens,
        openapi::count_tokens(),
    )
}

/// `POST /v1/messages`.
async fn create(
    State(app): State<Arc<App>>,
    Extension(access): Extension<Arc<Access>>,
    headers: HeaderMap,
    body: JsonBody,
) -> Result<Response, ApiError> {
    check_version(&headers)?;
    let MessagesRequest { common, messages, options, display } = MessagesRequest::parse(&body.bytes)?;
    let urgency = common.urgency.within(body.timeout);
    let id = new_id("msg");
    let reading = Reading::of(&common, &options);
    let dialect = AnthropicAnswer::new(id.clone(), &common, (reading, display));
    let prompt = Prompt::Messages(messages, Box::new(options));
    let asked = Asked { id, asker: body.asker(access), urgency, common, prompt, echo: Echo::Nothing };
    stream::answer(&app, asked, dialect).await
}

/// `POST /v1/messages/count_tokens`. No model is loaded for it.
async fn count_tokens(
    State(app): State<Arc<App>>,
    Extension(access): Extension<Arc<Access>>,
    headers: HeaderMap,
    body: JsonBody,
) -> Result<Json<Value>, ApiError> {
    check_version(&headers)?;
    let Counting { model, messages, options } = Counting::parse(&body.bytes)?;
    check_bytes("messages", shown_bytes_max(&messages, &options))?;
    let model = app.true_name(&access, &model, Instant::now() + REQUEST_MAX).await?;
    let counted =
        with_descriptor(&app, model, move |descriptor| Ok(chat_ids(descriptor, (&messages, &options))?.len()));
    Ok(Json(json!({ "input_tokens": counted.await? })))
}

fn check_version(headers: &HeaderMap) -> Result<(), ApiError> {
    match headers.get(VERSION_HEADER) {
        Some(version) if VERSIONS.iter().all(|known| version != known) => {
            Err(ApiError::invalid_value(VERSION_HEADER, format_args!("must be {}", VERSIONS.join(" or "))))
        }
        _ => Ok(()),
    }
}
