//! Which models there are, which are in memory, and why not. What OpenAI's and Anthropic's clients see is in [`openai`].

pub(super) mod openai;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::{Extension, Json};
use loader::catalog::Entry;
use scheduler::{EvictionRecord, ModelSnapshot, ModelState, PoolSnapshot};
use serde_json::{Value, json};

use super::error::ApiError;
use super::model_events::{break_even, cause_told, evicted_for, progress, source, status};
use crate::app::App;
use crate::config::word_of;
use crate::devices::Device;
use crate::live::Pool;
use crate::tenancy::Access;

/// `GET /models`: every model with its state in the pool, the budget, and the latest evictions with their reasons.
pub(super) async fn states(
    State(app): State<Arc<App>>,
    Extension(access): Extension<Arc<Access>>,
) -> Result<Json<Value>, ApiError> {
    let entries = Arc::new(entries(&app).await?);
    let pool = Pool::now(&app, entries).await;
    Ok(Json(told_pool((&app, &access), &pool, usize::MAX)))
}

/// The pool as `access` sees it, with so many models at most: those in memory before others.
pub(super) fn told_pool((app, access): (&App, &Access), pool: &Pool, models_max: usize) -> Value {
    let snapshots = &pool.snapshots;
    let mut entries: Vec<&Entry> = pool.entries.iter().filter(|entry| access.may_use(&entry.name)).collect();
    let left_out = entries.len().saturating_sub(models_max);
    if left_out > 0 {
        let known = snapshots.iter().flat_map(|snapshot| &snapshot.models);
        let there: HashSet<&str> =
            known.filter(|model| model.state != ModelState::Absent).map(|model| &*model.name).collect();
        entries.sort_by_key(|entry| !there.contains(entry.name.as_str()));
        entries.truncate(models_max);
    }
    let data: Vec<Value> = entries.iter().map(|entry| state((app, access), entry, snapshots)).collect();
    let sum = |bytes: fn(&PoolSnapshot) -> u64| snapshots.iter().map(bytes).fold(0, u64::saturating_add);
    json!({
        "object": "list",
        "data": data,
        "models_left_out": left_out,
        "memory": {
            "limit_bytes": sum(|snapshot| snapshot.limit_bytes),
            "used_bytes": sum(|snapshot| snapshot.used_bytes),
            "weights_bytes": sum(weights_bytes),
            "pinned_bytes": sum(|snapshot| snapshot.pinned_bytes),
            "prefix_cache": {
                "bytes": pool.prefixes.bytes,
                "unused_bytes": pool.prefixes.unused_bytes,
                "pages": pool.prefixes.pages,
            },
            "headers": { "count": pool.headers.0, "bytes": pool.headers.1 },
            "response_cache": { "answers": pool.responses.answers, "bytes": pool.responses.bytes },
            "waiting_requests": sum(|snapshot| (snapshot.waiters + snapshot.room_waiters) as u64),
        },
        "devices": app.devices.iter().zip(snapshots).map(device).collect::<Vec<_>>(),
        "evictions": evictions(app, access, snapshots),
    })
}

fn weights_bytes(snapshot: &PoolSnapshot) -> u64 {
    snapshot.models.iter().map(|model| model.weights_bytes).fold(0, u64::saturating_add)
}

/// One device and its memory.
fn device((device, snapshot): (&Device, &PoolSnapshot)) -> Value {
    json!({
        "id": &*device.name,
        "kind": device.way.name(),
        "memory": {
            "limit_bytes": snapshot.limit_bytes,
            "used_bytes": snapshot.used_bytes,
            "weights_bytes": weights_bytes(snapshot),
            "pinned_bytes": snapshot.pinned_bytes,
        },
        "waiting_requests": snapshot.waiters + snapshot.room_waiters,
        "queued_requests": device.executor.queued(),
        "backlog_seconds": device.backlog.total().as_secs_f64(),
    })
}

/// The latest evictions of all devices, the oldest first.
fn evictions(app: &App, access: &Access, snapshots: &[PoolSnapshot]) -> Vec<Value> {
    let of_device = |(device, snapshot): (&'_ Device, &'_ PoolSnapshot)| {
        let name = device.name.to_string();
        let told = |record: &EvictionRecord| (record.at, eviction(&name, access, record));
        snapshot.evictions.iter().filter(|record| access.may_use(&record.model)).map(told).collect::<Vec<_>>()
    };
    let mut evictions: Vec<_> = app.devices.iter().zip(snapshots).flat_map(of_device).collect();
    evictions.sort_by_key(|(at, _)| *at);
    evictions.into_iter().map(|(_, told)| told).collect()
}

/// What `GET /models` says of one model; null when its file is gone.
pub(super) async fn state_of(app: &Arc<App>, access: &Access, name: &str) -> Value {
    let (models, asked) = (Arc::clone(&app.models), name.to_owned());
    let entry = tokio::task::spawn_blocking(move || models.entry(&asked)).await;
    let snapshots = app.devices.snapshots().await;
    entry.ok().and_then(Result::ok).map_or(Value::Null, |entry| state((app, access), &entry, &snapshots))
}

async fn entries(app: &Arc<App>) -> Result<Vec<Entry>, ApiError> {
    let models = Arc::clone(&app.models);
    tokio::task::spawn_blocking(move || models.list()).await.map_err(ApiError::internal)
}

/// How much of a model there is on a device, for choosing which of several is told first.
fn nearness(model: &ModelSnapshot) -> u8 {
    match model.state {
        ModelState::Resident => 5,
        ModelState::Idle => 4,
        ModelState::Loading => 3,
        ModelState::AwaitingRoom | ModelState::Inspecting => 2,
        ModelState::Evicting => 1,
        ModelState::Absent => 0,
    }
}

/// One model: as it is on the device that has most of it, and on which devices it is.
fn state((app, access): (&App, &Access), entry: &Entry, snapshots: &[PoolSnapshot]) -> Value {
    let of_device = |(device, snapshot): (_, &'_ PoolSnapshot)| {
        let model = snapshot.models.iter().find(|model| *model.name == *entry.name)?;
        Some((device, model.clone()))
    };
    let known: Vec<(&Device, ModelSnapshot)> = app.devices.iter().zip(snapshots).filter_map(of_device).collect();
    // Of equals the first, in the order of the configuration.
    let first = known.iter().rev().max_by_key(|(_, model)| nearness(model));
    let kv_precision = word_of(app.config().kv_precision(&entry.name));
    let mut told = told(entry, access, kv_precision, first.map(|(_, model)| model));
    if let Some((device, _)) = first {
        told["device"] = json!(&*device.name);
    }
    let there = known.iter().filter(|(_, model)| model.state != ModelState::Absent);
    told["devices"] = there
        .map(|(device, model)| {
            json!({ "id": &*device.name, "state": model.state.name(), "weights_bytes": model.weights_bytes, "leases": model.leases })
        })
        .collect();
    told
}

fn told(entry: &Entry, access: &Access, kv_precision: &str, known: Option<&ModelSnapshot>) -> Value {
    let seconds = |time: Option<Duration>| time.map(|time| time.as_secs_f64());
    let Some(model) = known else {
        return json!({
            "id": entry.name,
            "object": "model",
            "status": { "value": "unloaded" },
            "size_bytes": entry.size_bytes,
        "kv_precision": kv_precision,
        });
    };
    json!({
        "id": entry.name,
        "object": "model",
        "status": { "value": status(model.state), "state": model.state.name(), "progress": model.progress.map(progress) },
        "size_bytes": entry.size_bytes,
        "kv_precision": kv_precision,
        "weights_bytes": model.weights_bytes,
        "pinned": model.pinned,
        "paged": model.paged,
        "gives_way_for": model.gives_way_for.as_ref().map(|cause| cause_told(cause, access)),
        "leases": model.leases,
        "waiting_requests": model.waiters,
        "idle_seconds": seconds(model.idle_for),
        "expires_in_seconds": seconds(model.expires_in),
        "break_even": model.break_even.map(break_even),
        "loads": model.loads,
        "last_load_seconds": seconds(model.last_load_wall),
        "last_load_source": model.last_load_source.map(source),
        "quarantined_for_seconds": seconds(model.quarantined_for),
    })
}

fn eviction(device: &str, access: &Access, record: &EvictionRecord) -> Value {
    json!({
        "device": device,
        "model": &*record.model,
        "bytes": record.bytes,
        "cause": cause_told(&record.cause, access),
        "for_model": evicted_for(&record.cause, access),
        "idle_seconds": record.idle_for.as_secs_f64(),
        "seconds_ago": record.at.elapsed().as_secs_f64(),
    })
}
