//! `GET /models/sse`: what becomes of the models, as it happens; and the same for one load.
//!
//! The form is that of llama.cpp's router: `{"model", "event", "data": {"status", "progress"?, …}}`, with further fields
//! of ours. First every model that is not simply on the disk, as `model_status`; then every change, as `status_change`.
//! Memory that comes back while a newer copy is there, or on its way, is told as `memory_freed`.
//!
//! A client that reads too slowly is told how many events it missed, and gets every model's state again. Listening wakes
//! no model.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::body::Bytes;
use axum::extract::State;
use axum::response::Response;
use scheduler::limits::RETRY_AFTER_MIN;
use scheduler::{BreakEven, EvictionCause, LoadProgress, LoadSource, ModelSnapshot, ModelState, PoolEventKind};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::error::ApiError;
use super::stream::{event_stream, push_event};
use crate::app::App;
use crate::limits::LISTENER_SIGN_EVERY;
use crate::pool_events::{DeviceEvent, Heard, Listener};
use crate::tenancy::Access;

/// `GET /models/sse`.
pub(super) async fn listen(
    State(app): State<Arc<App>>,
    Extension(access): Extension<Arc<Access>>,
) -> Result<Response, ApiError> {
    // Before the states are taken: no change falls between the two.
    let listener = app.pool_events.listen().ok_or_else(|| ApiError::overloaded(RETRY_AFTER_MIN))?;
    let (events, body) = mpsc::channel(1);
    tokio::spawn(tell_all((app, access), listener, events));
    Ok(event_stream(body))
}

/// Tells every state and then every change, until the client leaves or the server stops.
async fn tell_all((app, access): (Arc<App>, Arc<Access>), mut listener: Listener, events: mpsc::Sender<Bytes>) {
    let mut stopping = app.stopping.clone();
    let mut statuses = Statuses::of(access);
    let mut text = statuses.of_all(&app).await;
    loop {
        if !text.is_empty() && events.send(std::mem::take(&mut text).into()).await.is_err() {
            return;
        }
        let heard = tokio::select! {
            heard = listener.next() => heard,
            () = tokio::time::sleep(LISTENER_SIGN_EVERY) => {
                text.push_str(": alive\n\n");
                continue;
            }
            () = events.closed() => return,
            _ = stopping.wait_for(|&stopping| stopping) => return,
        };
        match heard {
            Heard::Event(event) => {
                if let Some(event) = statuses.of_change(&event) {
                    push_event(&mut text, &event.to_string());
                }
            }
            Heard::Missed(missed) => {
                push_event(&mut text, &json!({ "event": "missed", "data": { "events": missed } }).to_string());
                text.push_str(&statuses.of_all(&app).await);
            }
            Heard::End => return,
        }
    }
}

/// The last status told of each model on each device: bounded, as the pool's memory of models is.
pub(super) struct Statuses {
    told: BTreeMap<(Arc<str>, Arc<str>), &'static str>,
    /// Of the models that there are for the listener.
    access: Arc<Access>,
}

impl Statuses {
    /// Nothing is told yet.
    pub(super) fn of(access: Arc<Access>) -> Self {
        Self { told: BTreeMap::new(), access }
    }

    async fn of_all(&mut self, app: &App) -> String {
        self.told.clear();
        let mut text = String::new();
        for (device, snapshot) in app.devices.iter().zip(app.devices.snapshots().await) {
            for model in snapshot.models.iter().filter(|model| model.state != ModelState::Absent) {
                if !self.access.may_use(&model.name) {
                    continue;
                }
                self.told.insert((Arc::clone(&device.name), Arc::clone(&model.name)), status(model.state));
                push_event(&mut text, &model_status(&device.name, model).to_string());
            }
        }
        text
    }

    /// What is told of a change, if anything is.
    pub(super) fn of_change(&mut self, DeviceEvent { device, event }: &DeviceEvent) -> Option<Value> {
        if !self.access.may_use(&event.model) {
            return None;
        }
        let key = (Arc::clone(device), Arc::clone(&event.model));
        let mut name = "status_change";
        let mut data = data(&event.kind, &self.access)?;
        if let PoolEventKind::Freed { .. } = event.kind
            && self.told.get(&key) != Some(&"unloading")
        {
            // An earlier copy's: the model itself is elsewhere by now.
            name = "memory_freed";
            data.as_object_mut().and_then(|data| data.remove("status"));
        } else if let Some(status) = data["status"].as_str().and_then(known) {
            match status {
                "unloaded" => self.told.remove(&key),
                status => self.told.insert(key, status),
            };
        }
        Some(json!({ "model": &*event.model, "event": name, "device": &**device, "data": data }))
    }
}

/// A model's state as the first event about it.
pub(super) fn model_status(device: &str, model: &ModelSnapshot) -> Value {
    let mut data = json!({ "status": status(model.state), "state": model.state.name() });
    if let Some(at) = model.progress {
        data["progress"] = progress(at);
    }
    json!({ "model": &*model.name, "event": "model_status", "device": device, "data": data })
}

/// llama.cpp's words for the states.
pub(super) fn status(state: ModelState) -> &'static str {
    match state {
        ModelState::Resident | ModelState::Idle => "loaded",
        ModelState::Inspecting | ModelState::AwaitingRoom | ModelState::Loading => "loading",
        ModelState::Evicting => "unloading",
        ModelState::Absent => "unloaded",
    }
}

fn known(status: &str) -> Option<&'static str> {
    ["loaded", "loading", "unloading", "unloaded"].into_iter().find(|known| *known == status)
}

/// llama.cpp's form of a load's progress: its stages, the one it is in, and the share of that one's work.
pub(super) fn progress(at: LoadProgress) -> Value {
    #[expect(clippy::cast_precision_loss, reason = "a share is shown")]
    let value = if at.total_bytes == 0 { 0.0 } else { at.done_bytes as f64 / at.total_bytes as f64 };
    json!({
        "stages": ["header", "weights"],
        "current": at.stage.name(),
        "value": value,
        "done_bytes": at.done_bytes,
        "total_bytes": at.total_bytes,
    })
}

/// Where a load's bytes came from.
pub(super) fn source(source: LoadSource) -> Value {
    json!({
        "label": source.label.name(),
        "cached_bytes": source.cached_bytes,
        "major_faults": source.major_faults,
    })
}

/// Why an automatic keep-alive is as long as it is.
pub(super) fn break_even(chosen: BreakEven) -> Value {
    json!({
        "time_out_seconds": seconds(chosen.time_out),
        "break_even_seconds": seconds(chosen.break_even),
        "reload_seconds": seconds(chosen.reload),
        "reload_cost": chosen.reload_cost(),
        "holding_cost_per_second": chosen.holding_cost_per_second(),
        "gaps": chosen.gaps,
    })
}

/// For whom an eviction made room, if there is that model for the asker.
pub(super) fn evicted_for<'a>(cause: &'a EvictionCause, access: &Access) -> Option<&'a str> {
    for_model(cause).filter(|model| access.may_use(model))
}

/// Why, in words. A model that there is not for the asker has no name there.
pub(super) fn cause_told(cause: &EvictionCause, access: &Access) -> String {
    let is_told = for_model(cause).is_none_or(|model| access.may_use(model));
    if is_told { cause.to_string() } else { "memory for another model".to_owned() }
}

fn for_model(cause: &EvictionCause) -> Option<&str> {
    match cause {
        EvictionCause::ModelPressure { for_model } | EvictionCause::KvPressure { for_model } => Some(for_model),
        _ => None,
    }
}

fn seconds(time: Duration) -> f64 {
    time.as_secs_f64()
}

fn data(kind: &PoolEventKind, access: &Access) -> Option<Value> {
    Some(match kind {
        PoolEventKind::Requested { cause } => {
            json!({ "status": "loading", "state": "inspecting", "cause": cause.name() })
        }
        PoolEventKind::AwaitingRoom { bytes } => {
            json!({ "status": "loading", "state": "awaiting_room", "weights_bytes": bytes })
        }
        PoolEventKind::Dismissed { reason } => json!({ "status": "unloaded", "reason": reason.name() }),
        PoolEventKind::LoadStarted { bytes, waited, .. } => json!({
            "status": "loading",
            "state": "loading",
            "weights_bytes": bytes,
            "waited_seconds": seconds(*waited),
        }),
        PoolEventKind::Progress(at) => json!({ "status": "loading", "state": "loading", "progress": progress(*at) }),
        PoolEventKind::Loaded { bytes, wall, waiters, source: from, cause, .. } => json!({
            "status": "loaded",
            "weights_bytes": bytes,
            "load_seconds": seconds(*wall),
            "source": source(*from),
            "cause": cause.name(),
            "waiting_requests": waiters,
        }),
        PoolEventKind::LoadFailed { message, .. } => {
            json!({ "status": "unloaded", "reason": "load_failed", "error": message })
        }
        PoolEventKind::Quarantined { message, backoff } => json!({
            "status": "loaded",
            "quarantined_for_seconds": backoff.as_secs_f64(),
            "error": message,
        }),
        PoolEventKind::Idle { expires_in, break_even: chosen } => json!({
            "status": "loaded",
            "state": "idle",
            "expires_in_seconds": expires_in.map(seconds),
            "break_even": chosen.map(break_even),
        }),
        PoolEventKind::Pinned => json!({ "status": "loaded", "pinned": true }),
        PoolEventKind::Unpinned => json!({ "status": "loaded", "pinned": false }),
        PoolEventKind::GivesWay { cause } => json!({
            "status": "loaded",
            "gives_way": true,
            "cause": cause_told(cause, access),
            "for_model": evicted_for(cause, access),
        }),
        PoolEventKind::KeepsOn => json!({ "status": "loaded", "gives_way": false }),
        PoolEventKind::Evicted { bytes, cause, idle_for } => json!({
            "status": "unloading",
            "weights_bytes": bytes,
            "cause": cause_told(cause, access),
            "for_model": evicted_for(cause, access),
            "idle_seconds": seconds(*idle_for),
        }),
        PoolEventKind::Freed { bytes, .. } => json!({ "status": "unloaded", "weights_bytes": bytes }),
        PoolEventKind::Leased { .. } | PoolEventKind::Released { .. } => return None,
    })
}

#[cfg(test)]
mod tests {
    use scheduler::{Identity, Instant, LoadCause, PoolEvent};

    use super::*;

    fn told(statuses: &mut Statuses, kind: PoolEventKind) -> (String, Value) {
        let event = PoolEvent { at: Instant::now(), model: "m".into(), kind };
        let told = statuses.of_change(&DeviceEvent { device: "cpu".into(), event }).unwrap();
        (told["event"].as_str().unwrap().to_owned(), told["data"]["status"].clone())
    }

    fn evicted() -> PoolEventKind {
        PoolEventKind::Evicted { bytes: 1, cause: EvictionCause::Requested, idle_for: Duration::ZERO }
    }

    #[test]
    fn memory_of_an_earlier_copy_says_nothing_of_the_model() {
        let mut statuses = Statuses::of(Access::unbounded("a"));
        let freed = || PoolEventKind::Freed { identity: Identity([0; 4]), bytes: 1 };
        let change = |status: &str| ("status_change".to_owned(), json!(status));
        assert_eq!(told(&mut statuses, evicted()), change("unloading"));
        assert_eq!(told(&mut statuses, freed()), change("unloaded"));
        assert_eq!(told(&mut statuses, evicted()), change("unloading"));
        assert_eq!(told(&mut statuses, PoolEventKind::Requested { cause: LoadCause::Demand }), change("loading"));
        assert_eq!(told(&mut statuses, freed()), ("memory_freed".to_owned(), Value::Null));
        assert_eq!(statuses.told.get(&("cpu".into(), "m".into())), Some(&"loading"), "it loads, as before");
    }

    #[test]
    fn progress_is_a_share_of_the_weights() {
        let at = LoadProgress { stage: scheduler::LoadStage::Weights, done_bytes: 25, total_bytes: 100 };
        let told = progress(at);
        assert_eq!((&told["current"], &told["value"]), (&json!("weights"), &json!(0.25)));
        assert_eq!(progress(LoadProgress { total_bytes: 0, done_bytes: 0, ..at })["value"], json!(0.0));
    }
}
