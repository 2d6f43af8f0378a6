//! Which models there are, which are in memory and why not, and the way to let one go.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use loader::catalog::Entry;
use scheduler::{EvictionRecord, ModelSnapshot, UnloadOutcome};
use serde_json::{Value, json};

use super::body::JsonBody;
use super::error::ApiError;
use super::wire::parse_object;
use crate::app::App;
use crate::generate::load_failed;
use crate::loading::LoadError;

/// `GET /v1/models`: OpenAI's list.
pub(super) async fn openai_list(State(app): State<Arc<App>>) -> Result<Json<Value>, ApiError> {
    let models = Arc::clone(&app.models);
    let listed = tokio::task::spawn_blocking(move || models.list().iter().map(openai_model).collect::<Vec<Value>>());
    let data = listed.await.map_err(ApiError::internal)?;
    Ok(Json(json!({ "object": "list", "data": data })))
}

/// `GET /v1/models/{id}`.
pub(super) async fn openai_one(
    State(app): State<Arc<App>>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Json<Value>, ApiError> {
    let Ok(Path(id)) = id else { return Err(ApiError::model_not_found("")) };
    let models = Arc::clone(&app.models);
    let name = id.clone();
    let found = tokio::task::spawn_blocking(move || models.entry(&name).map(|entry| openai_model(&entry))).await;
    match found.map_err(ApiError::internal)? {
        Ok(model) => Ok(Json(model)),
        Err(LoadError::NotFound(_)) => Err(ApiError::model_not_found(&id)),
        Err(error) => Err(load_failed(Arc::new(error))),
    }
}

/// `GET /models`: every model with its state in the pool, the budget, and the latest evictions with their reasons.
pub(super) async fn states(State(app): State<Arc<App>>) -> Result<Json<Value>, ApiError> {
    let entries = entries(&app).await?;
    let snapshot = app.pool.snapshot().await;
    let data: Vec<Value> = entries
        .iter()
        .map(|entry| {
            let known = snapshot.models.iter().find(|model| *model.name == *entry.name);
            state(entry, known)
        })
        .collect();
    Ok(Json(json!({
        "object": "list",
        "data": data,
        "memory": {
            "limit_bytes": snapshot.limit_bytes,
            "used_bytes": snapshot.used_bytes,
            "waiting_requests": snapshot.waiters + snapshot.room_waiters,
        },
        "evictions": snapshot.evictions.iter().map(eviction).collect::<Vec<_>>(),
    })))
}

/// `POST /models/unload`: `{"model": …}`.
pub(super) async fn unload(State(app): State<Arc<App>>, body: JsonBody) -> Result<Json<Value>, ApiError> {
    let mut fields = parse_object(&body.bytes)?;
    let name = fields.required_text("model")?;
    fields.finish()?;
    let models = Arc::clone(&app.models);
    let asked = name.clone();
    let entry = tokio::task::spawn_blocking(move || models.entry(&asked)).await.map_err(ApiError::internal)?;
    // A model whose file is gone may still be in memory, under the name that it was asked for by.
    let model = entry.map_or(name.clone(), |entry| entry.name);
    let outcome = app.pool.unload(&model).await.map_err(|_| ApiError::shutting_down())?;
    Ok(Json(match outcome {
        UnloadOutcome::Evicting => json!({ "model": model, "outcome": "evicting" }),
        UnloadOutcome::WhenFree { users } => json!({ "model": model, "outcome": "when_free", "users": users }),
        UnloadOutcome::NotLoaded => json!({ "model": model, "outcome": "not_loaded" }),
        UnloadOutcome::Pinned => json!({ "model": model, "outcome": "pinned" }),
    }))
}

async fn entries(app: &Arc<App>) -> Result<Vec<Entry>, ApiError> {
    let models = Arc::clone(&app.models);
    tokio::task::spawn_blocking(move || models.list()).await.map_err(ApiError::internal)
}

fn openai_model(entry: &Entry) -> Value {
    let modified = std::fs::metadata(&entry.path).and_then(|metadata| metadata.modified());
    let created = modified.ok().and_then(|time: SystemTime| time.duration_since(UNIX_EPOCH).ok());
    json!({
        "id": entry.name,
        "object": "model",
        "created": created.map_or(0, |time| time.as_secs()),
        "owned_by": "dayfly",
    })
}

fn state(entry: &Entry, known: Option<&ModelSnapshot>) -> Value {
    let seconds = |time: Option<Duration>| time.map(|time| time.as_secs_f64());
    let Some(model) = known else {
        return json!({
            "id": entry.name,
            "object": "model",
            "status": { "value": "unloaded" },
            "size_bytes": entry.size_bytes,
        });
    };
    json!({
        "id": entry.name,
        "object": "model",
        "status": { "value": status(model) , "state": model.state.name() },
        "size_bytes": entry.size_bytes,
        "weights_bytes": model.weights_bytes,
        "leases": model.leases,
        "waiting_requests": model.waiters,
        "idle_seconds": seconds(model.idle_for),
        "expires_in_seconds": seconds(model.expires_in),
        "loads": model.loads,
        "last_load_seconds": seconds(model.last_load_wall),
        "quarantined_for_seconds": seconds(model.quarantined_for),
    })
}

/// llama.cpp's words for the states.
fn status(model: &ModelSnapshot) -> &'static str {
    match model.state.name() {
        "resident" | "idle" => "loaded",
        "loading" => "loading",
        "evicting" => "unloading",
        _ => "unloaded",
    }
}

fn eviction(record: &EvictionRecord) -> Value {
    json!({
        "model": &*record.model,
        "bytes": record.bytes,
        "cause": record.cause.to_string(),
        "idle_seconds": record.idle_for.as_secs_f64(),
        "seconds_ago": record.at.elapsed().as_secs_f64(),
    })
}
