//! Texts to token ids and back, as llama.cpp's server and vLLM have it, with the model named. No model is loaded for it.

use std::sync::Arc;

use axum::extract::State;
use axum::{Extension, Json};
use models::Descriptor;
use models::template::Message;
use models::tokenizer::Tokenizer;
use serde_json::{Value, json};

use super::body::JsonBody;
use super::error::ApiError;
use super::wire::{ChatOptions, DetokenizeRequest, Subject, Telling, TokenizeRequest};
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
    let TokenizeRequest { model, subject, telling } = TokenizeRequest::parse(&body.bytes)?;
    let (param, bytes) = subject.size(telling);
    check_bytes(param, bytes)?;
    let model = app.true_name(&access, &model, deadline()).await?;
    let known = Arc::clone(&app);
    let told = with_descriptor(&app, model, move |descriptor| {
        let tokenizer = &descriptor.tokenizer;
        let ids = match subject {
            Subject::Text(text, start, special) => {
                tokenizer.encode(&text, special, start).map_err(ApiError::internal)?
            }
            Subject::Messages(messages, options) => chat_ids(descriptor, (&messages, &options))?,
        };
        Ok(told(&ids, telling, (tokenizer, known.context_of(descriptor))))
    });
    Ok(Json(told.await?))
}

/// The ids of a model's tokens, whose sequences have at most `context`.
fn told(ids: &[u32], telling: Telling, (tokenizer, context): (&Tokenizer, usize)) -> Value {
    let counted = |texts: Option<Vec<String>>| json!({ "count": ids.len(), "max_model_len": context, "tokens": ids, "token_strs": texts });
    match telling {
        Telling::Ids => json!({ "tokens": ids }),
        Telling::Pieces => {
            let piece = |id: &u32| json!({ "id": id, "piece": piece(tokenizer.bytes(*id)) });
            json!({ "tokens": ids.iter().map(piece).collect::<Vec<_>>() })
        }
        Telling::Counted => counted(None),
        Telling::CountedTexts => counted(Some(ids.iter().map(|id| tokenizer.text(*id)).collect())),
    }
}

/// A token's text; its bytes where they are no text.
fn piece(bytes: &[u8]) -> Value {
    std::str::from_utf8(bytes).map_or_else(|_| json!(bytes), |text| json!(text))
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
    // llama.cpp's name for it, and vLLM's.
    let text = content.await?;
    Ok(Json(json!({ "content": text, "prompt": text })))
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
