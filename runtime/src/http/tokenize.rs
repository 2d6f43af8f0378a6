//! Texts to token ids and back, as llama.cpp's server has it, with the model named. No model is loaded for it.

use std::sync::Arc;

use axum::extract::State;
use axum::{Extension, Json};
use models::Descriptor;
use models::template::Message;
use serde_json::{Value, json};

use super::body::JsonBody;
use super::error::ApiError;
use super::wire::{ChatOptions, DetokenizeRequest, TokenizeRequest};
use crate::app::App;
use crate::generate::{conversation_error, no_template, reasons};
use crate::limits::{REQUEST_MAX, TOKENIZE_BYTES_MAX, TOKENIZING_MAX};
use crate::loading::LoadError;
use crate::tenancy::Access;
use scheduler::{Instant, LoadFault as _};
use tokio::sync::Semaphore;

/// Each holds memory many times its text's.
static TOKENIZING: Semaphore = Semaphore::const_new(TOKENIZING_MAX);

fn deadline() -> Instant {
    Instant::now() + REQUEST_MAX
}

pub(super) async fn tokenize(
    State(app): State<Arc<App>>,
    Extension(access): Extension<Arc<Access>>,
    body: JsonBody,
) -> Result<Json<Value>, ApiError> {
    let request = TokenizeRequest::parse(&body.bytes)?;
    check_bytes("content", request.content.len())?;
    let model = app.true_name(&access, &request.model, deadline()).await?;
    let tokens = with_descriptor(&app, model, move |descriptor| {
        let encoded = descriptor.tokenizer.encode(&request.content, request.special, request.start);
        encoded.map_err(ApiError::internal)
    });
    Ok(Json(json!({ "tokens": tokens.await? })))
}

pub(super) async fn detokenize(
    State(app): State<Arc<App>>,
    Extension(access): Extension<Arc<Access>>,
    body: JsonBody,
) -> Result<Json<Value>, ApiError> {
    let request = DetokenizeRequest::parse(&body.bytes)?;
    let model = app.true_name(&access, &request.model, deadline()).await?;
    let content = with_descriptor(&app, model, move |descriptor| {
        let length = descriptor.tokenizer.len();
        match request.tokens.iter().find(|&&id| id as usize >= length) {
            Some(id) => Err(ApiError::invalid_value("tokens", format!("{id} is not a token of this model"))),
            None => Ok(descriptor.tokenizer.decode(&request.tokens)),
        }
    });
    Ok(Json(json!({ "content": content.await? })))
}

/// Refuses a text of so many bytes, if they are too many to tokenize beside what is computed.
pub(super) fn check_bytes(param: &str, bytes: usize) -> Result<(), ApiError> {
    if bytes > TOKENIZE_BYTES_MAX {
        return Err(ApiError::invalid_value(param, format_args!("it may have {TOKENIZE_BYTES_MAX} bytes")));
    }
    Ok(())
}

/// Ids of a conversation as the model would see it.
pub(super) fn chat_ids(
    descriptor: &Descriptor,
    (messages, options): (&[Message], &ChatOptions),
) -> Result<Vec<u32>, ApiError> {
    let template = descriptor.template.as_ref().ok_or_else(no_template)?;
    let extras = options.extras_for(template)?;
    template
        .encode_with(messages, &extras, &descriptor.tokenizer, usize::MAX)
        .map_err(|error| conversation_error(error, (options, &extras)))
}

/// Does `work` with what the header of the model of this true name says, where that holds nobody up.
pub(super) async fn with_descriptor<T: Send + 'static>(
    app: &Arc<App>,
    model: Arc<str>,
    work: impl FnOnce(&Descriptor) -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    let one_of_few = TOKENIZING.acquire().await.map_err(ApiError::internal)?;
    let models = Arc::clone(&app.models);
    let done = tokio::task::spawn_blocking(move || {
        // Also when the client has left.
        let _one_of_few = one_of_few;
        let descriptor = models.descriptor(&model).map_err(|error| unusable(&model, error))?;
        work(&descriptor)
    });
    done.await.map_err(ApiError::internal)?
}

/// What a model that cannot be read means without the pool, which would remember it.
fn unusable(model: &str, error: LoadError) -> ApiError {
    match error.kind() {
        scheduler::FaultKind::NotFound => ApiError::model_not_found(model),
        scheduler::FaultKind::Invalid => {
            let retry_after = scheduler::PoolOptions::default().quarantine_min;
            ApiError::model_quarantined(retry_after, reasons(&error)).because(error)
        }
        scheduler::FaultKind::Transient => ApiError::load_failed(error),
    }
}
