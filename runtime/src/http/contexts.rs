//! Published contexts: `POST /v1/contexts`, `GET /v1/contexts`, and `GET` and `DELETE /v1/contexts/{id or name}`.
//!
//! Everyone may list and use them. Who may publish, and delete what it published, is the operator's choice.

use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::Response;
use axum::{Extension, Json};
use serde_json::{Value, json};

use super::body::JsonBody;
use super::error::ApiError;
use super::stream;
use super::wire::ContextRequest;
use crate::app::App;
use crate::contexts::{Context, ContextState, PublishRequest, Published};
use crate::loading::Models;
use crate::tenancy::{Access, ContextAuthority};

/// `POST /v1/contexts`: `{"model", "name", "text" | "messages", "keep_alive"?, "timeout"?}`.
pub(super) async fn publish(
    State(app): State<Arc<App>>,
    Extension(access): Extension<Arc<Access>>,
    body: JsonBody,
) -> Result<Response, ApiError> {
    let authority = authority(&app, &access)?;
    let ContextRequest { model, name, source, keep_alive, urgency } = ContextRequest::parse(&body.bytes)?;
    let urgency = urgency.within(body.timeout);
    let asker = body.asker(access);
    let request = PublishRequest { asker, authority, model, name, source, keep_alive, urgency };
    let Published { context, receipt } = crate::contexts::publish(&app, request).await?;
    stream::json(receipt, move |receipt| {
        let mut answer = described(&context, ContextState::Ready);
        answer["dayfly"] = serde_json::to_value(receipt).unwrap_or(Value::Null);
        answer.to_string()
    })
    .await
}

/// `GET /v1/contexts`.
pub(super) async fn list(
    State(app): State<Arc<App>>,
    Extension(access): Extension<Arc<Access>>,
) -> Result<Json<Value>, ApiError> {
    let mut contexts = app.contexts.list();
    contexts.retain(|context| access.may_use(&context.record.about.model));
    let data = described_now(&app, contexts).await?;
    Ok(Json(json!({ "object": "list", "data": data })))
}

/// `GET /v1/contexts/{id or name}`.
pub(super) async fn one(
    State(app): State<Arc<App>>,
    Extension(access): Extension<Arc<Access>>,
    name: Result<Path<String>, PathRejection>,
) -> Result<Json<Value>, ApiError> {
    let context = called(&app, &access, name)?;
    let mut data = described_now(&app, vec![context]).await?;
    Ok(Json(data.pop().unwrap_or(Value::Null)))
}

/// `DELETE /v1/contexts/{id or name}`. Sequences that run keep what they hold of it.
pub(super) async fn delete(
    State(app): State<Arc<App>>,
    Extension(access): Extension<Arc<Access>>,
    name: Result<Path<String>, PathRejection>,
) -> Result<Json<Value>, ApiError> {
    let authority = authority(&app, &access)?;
    let context = called(&app, &access, name)?;
    if !authority.may_change(&access.tenant, &context.record.about.publisher) {
        return Err(ApiError::permission_denied("another tenant published this context"));
    }
    let (contexts, id) = (Arc::clone(&app.contexts), context.id().to_owned());
    let removed = tokio::task::spawn_blocking(move || contexts.remove(&id)).await;
    removed.map_err(ApiError::internal)?.map_err(ApiError::context_not_stored)?;
    Ok(Json(json!({ "id": context.id(), "object": "context.deleted", "deleted": true })))
}

/// Whose contexts the asker may change.
fn authority(app: &App, access: &Access) -> Result<ContextAuthority, ApiError> {
    let authority = access.context_authority(&app.config().contexts);
    authority.ok_or_else(|| ApiError::permission_denied("this tenant may not publish contexts"))
}

/// The one of this name. Contexts of models that the asker may not use are not there.
fn called(app: &App, access: &Access, name: Result<Path<String>, PathRejection>) -> Result<Arc<Context>, ApiError> {
    let Ok(Path(name)) = name else { return Err(ApiError::context_not_found("")) };
    let mut called = app.contexts.called(&name);
    called.retain(|context| access.may_use(&context.record.about.model));
    match (called.pop(), called.is_empty()) {
        (Some(context), true) => Ok(context),
        (Some(_), false) => Err(ApiError::context_ambiguous(&name)),
        (None, _) => Err(ApiError::context_not_found(&name)),
    }
}

/// What is told of contexts, with the states that their models' files make.
async fn described_now(app: &Arc<App>, contexts: Vec<Arc<Context>>) -> Result<Vec<Value>, ApiError> {
    let (models, isa) = (Arc::clone(&app.models), app.contexts.isa());
    let described = move || {
        let state = |context: &Context| context.state(identity_words(&models, &context.record.about.model), isa);
        contexts.iter().map(|context| described(context, state(context))).collect()
    };
    tokio::task::spawn_blocking(described).await.map_err(ApiError::internal)
}

fn identity_words(models: &Models, name: &str) -> Option<[u64; 4]> {
    Some(models.entry(name).ok()?.identity().ok()?.words())
}

fn described(context: &Context, state: ContextState) -> Value {
    let record = &context.record;
    let about = &record.about;
    json!({
        "id": about.id,
        "object": "context",
        "name": about.name,
        "model": about.model,
        "publisher": about.publisher,
        "created": about.created_unix_s,
        "state": state.name(),
        "tokens": record.tokens.len(),
        "blocks": record.blocks,
        "cached_tokens": record.blocks * models::limits::KV_BLOCK_POSITIONS,
        "bytes": record.file_bytes,
    })
}
