//! OpenAI's newer interface: `POST /v1/responses`, whole and streamed, and `/v1/responses/input_tokens`, which counts.
//!
//! Nothing is stored, so that an answer says `"store": false` and there is nothing to go on from, to get or to delete;
//! what asks for that (`store: true`, `previous_response_id`, `conversation`, `background`) is refused by name, as are tools that
//! are no functions, and items that are neither text nor calls. What is thought is told in full and in the clear (`content` of
//! a reasoning item), whatever summary is asked for, a call whole also in a stream. Functions of a namespace are offered to the
//! model, and called by it, by both names. How many tokens were thoughts is not
//! counted apart: `reasoning_tokens` is 0. `keep_alive` and `timeout` are as in the older
//! interface. The receipt, `dayfly`, stands beside the last usage.

mod answer;
mod events;
mod input;
mod items;
mod request;
mod tools;

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use axum::{Extension, Json};
use models::generation::Echo;
use scheduler::Instant;
use serde_json::{Value, json};

use self::answer::ResponseAnswer;
use self::request::ResponseRequest;
use super::body::JsonBody;
use super::error::ApiError;
use super::openapi::{Routes, responses as openapi};
use super::reading::Reading;
use super::stream;
use super::tokenize::{chat_ids, check_bytes, with_descriptor};
use super::wire::{new_id, shown_bytes_max};
use crate::app::App;
use crate::generate::{Asked, Prompt};
use crate::limits::REQUEST_MAX;
use crate::tenancy::Access;

/// Its paths.
pub(super) fn routes() -> Routes {
    Routes::new().post("/v1/responses", create, openapi::responses()).post(
        "/v1/responses/input_tokens",
        count_tokens,
        openapi::input_tokens(),
    )
}

/// `POST /v1/responses`.
async fn create(
    State(app): State<Arc<App>>,
    Extension(access): Extension<Arc<Access>>,
    body: JsonBody,
) -> Result<Response, ApiError> {
    let ResponseRequest { common, messages, options, told } = ResponseRequest::parse(&body.bytes)?;
    let urgency = common.urgency.within(body.timeout);
    let id = new_id("resp");
    let reading = Reading::of(&common, &options);
    let dialect = ResponseAnswer::new(id.clone(), &common, (told, reading));
    let prompt = Prompt::Messages(messages, Box::new(options));
    let asked = Asked { id, asker: body.asker(access), urgency, common, prompt, echo: Echo::Nothing };
    stream::answer(&app, asked, dialect).await
}

/// `POST /v1/responses/input_tokens`: how many tokens the input of such a response has. No model is loaded for it.
async fn count_tokens(
    State(app): State<Arc<App>>,
    Extension(access): Extension<Arc<Access>>,
    body: JsonBody,
) -> Result<Json<Value>, ApiError> {
    let ResponseRequest { common, messages, options, .. } = ResponseRequest::parse(&body.bytes)?;
    check_bytes("input", shown_bytes_max(&messages, &options))?;
    let model = app.true_name(&access, &common.model, Instant::now() + REQUEST_MAX).await?;
    let counted =
        with_descriptor(&app, model, move |descriptor| Ok(chat_ids(descriptor, (&messages, &options))?.len()));
    Ok(Json(json!({ "object": "response.input_tokens", "input_tokens": counted.await? })))
}
