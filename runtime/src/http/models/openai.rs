//! `GET /v1/models` and `/v1/models/{id}`: OpenAI's list, with what Anthropic's clients look for in it, and of ours what
//! each model is for, how large it is and whether it is in memory.
//!
//! A list of very many models tells of some by name and state alone (`facts`); the next one knows more.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::{Extension, Json};
use chrono::{DateTime, SecondsFormat, Utc};
use loader::catalog::Entry;
use scheduler::{ModelSnapshot, PoolSnapshot};
use serde_json::{Value, json};

use super::nearness;
use crate::app::{App, NO_MODEL};
use crate::facts::{Facts, Task};
use crate::generate::load_failed;
use crate::http::error::ApiError;
use crate::http::model_events::status;
use crate::loading::LoadError;
use crate::tenancy::Access;

/// `GET /v1/models`.
pub(in crate::http) async fn list(
    State(app): State<Arc<App>>,
    Extension(access): Extension<Arc<Access>>,
    headers: HeaderMap,
) -> Result<Json<Value>, ApiError> {
    let snapshots = app.devices.snapshots().await;
    let listed = tokio::task::spawn_blocking(move || {
        let mut entries = app.models.list();
        entries.retain(|entry| access.may_use(&entry.name));
        let (facts, states) = (app.facts.of_all(&entries), states(&snapshots));
        let one = |(entry, facts): (&Entry, &Option<Arc<Facts>>)| model(&app, entry, facts.as_deref(), &states);
        entries.iter().zip(&facts).map(one).collect::<Vec<Value>>()
    });
    let mut data = listed.await.map_err(ApiError::internal)?;
    data.iter_mut().for_each(|model| fit(model, &headers));
    let end = |model: Option<&Value>| model.map_or(Value::Null, |model| model["id"].clone());
    let (first, last) = (end(data.first()), end(data.last()));
    Ok(Json(json!({ "object": "list", "data": data, "has_more": false, "first_id": first, "last_id": last })))
}

/// `GET /v1/models/{id}`.
pub(in crate::http) async fn one(
    State(app): State<Arc<App>>,
    Extension(access): Extension<Arc<Access>>,
    id: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
) -> Result<Json<Value>, ApiError> {
    let Ok(Path(id)) = id else { return Err(ApiError::model_not_found("")) };
    let snapshots = app.devices.snapshots().await;
    let name = id.clone();
    let found = tokio::task::spawn_blocking(move || {
        let entry = app.models.entry(&name)?;
        if access.may_use(&entry.name) {
            return Ok(Some(model(&app, &entry, app.facts.of(&entry).as_deref(), &states(&snapshots))));
        }
        // As long as one takes that is not there.
        let _ = app.models.entry(NO_MODEL);
        Ok(None)
    });
    match found.await.map_err(ApiError::internal)? {
        Ok(Some(mut model)) => {
            fit(&mut model, &headers);
            Ok(Json(model))
        }
        Ok(None) => Err(ApiError::model_not_found(&id)),
        Err(LoadError::NotFound(_)) => Err(ApiError::model_not_found(&id)),
        Err(error) => Err(load_failed(Arc::new(error))),
    }
}

/// Leaves out of a model's description what its reader takes for something else: Anthropic's clients, who name a version,
/// have an object called `capabilities`.
fn fit(model: &mut Value, headers: &HeaderMap) {
    if headers.contains_key("anthropic-version")
        && let Some(model) = model.as_object_mut()
    {
        model.remove("capabilities");
    }
}

/// Each model as it is where there is most of it.
fn states(snapshots: &[PoolSnapshot]) -> BTreeMap<&str, &ModelSnapshot> {
    let mut states: BTreeMap<&str, &ModelSnapshot> = BTreeMap::new();
    for model in snapshots.iter().flat_map(|snapshot| &snapshot.models) {
        let known = states.entry(&model.name).or_insert(model);
        if nearness(model) > nearness(known) {
            *known = model;
        }
    }
    states
}

fn model(app: &App, entry: &Entry, facts: Option<&Facts>, states: &BTreeMap<&str, &ModelSnapshot>) -> Value {
    let modified = std::fs::metadata(&entry.path).and_then(|metadata| metadata.modified()).unwrap_or(UNIX_EPOCH);
    let created = modified.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let mut told = json!({
        "id": entry.name,
        "object": "model",
        "created": created,
        "owned_by": "dayfly",
        "type": "model",
        "display_name": entry.name,
        "lifecycle": "active",
        "created_at": DateTime::<Utc>::from(modified).to_rfc3339_opts(SecondsFormat::Secs, true),
        "state": states.get(entry.name.as_str()).map_or("unloaded", |model| status(model.state)),
        "size_bytes": entry.size_bytes,
    });
    if let Some(facts) = facts {
        let has_template = facts.has_template || app.models.chat_template(&entry.name).is_some();
        told["capabilities"] = json!(capabilities(facts.task, has_template));
        told["architecture"] = json!(facts.architecture);
        told["parameters"] = json!(facts.parameters);
        told["quantization"] = json!(facts.quantization);
        told["context_length"] = json!(app.context_within(facts.context_length));
    }
    told
}

/// What a model can be asked for.
fn capabilities(task: Task, has_template: bool) -> &'static [&'static str] {
    match task {
        Task::Generation if has_template => &["chat", "completion"],
        Task::Generation => &["completion"],
        Task::Embedding => &["embedding"],
        Task::Ranking => &["rerank"],
    }
}
