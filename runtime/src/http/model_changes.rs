//! Bringing models in, letting them go and keeping them because someone says so: `POST /models/load`, `/models/unload`,
//! `/models/pin`, `/models/unpin`; and `/models/budget`, the memory for all of them. Where there are several devices, what
//! is brought in or kept is on the first, the kernels', whose memory the budget is; what is let go goes from all.
//!
//! A load answers when the model is in memory, or with `"stream": true` tells its progress until then. It goes on when
//! the client leaves. Its failure is the request's here, and not an inference's that met a broken model: 400.

use std::sync::Arc;

use axum::Extension;
use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use meter::residency::Pin;
use scheduler::limits::RETRY_AFTER_MIN;
use scheduler::{
    BudgetRefused, FaultKind, Instant, KeepAlive, LeaseError, LeaseOptions, LoadFault as _, LoadOutcome, ModelState,
    UnloadOutcome, UnpinOutcome,
};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use uuid::Uuid;

use super::body::JsonBody;
use super::error::ApiError;
use super::model_events::{Statuses, model_status};
use super::models::state_of;
use super::stream::{event_stream, push_event};
use super::wire::{LoadRequest, parse_object};
use crate::app::App;
use crate::generate::{lease_error, reasons};
use crate::limits::{MEMORY_BUDGET_BYTES_MIN, REQUEST_MAX};
use crate::loading::{LoadError, untagged};
use crate::pool_events::{Heard, Listener};
use crate::tenancy::Access;

/// `POST /models/load`: `{"model", "keep_alive"?, "stream"?}`.
pub(super) async fn load(
    State(app): State<Arc<App>>,
    Extension(access): Extension<Arc<Access>>,
    body: JsonBody,
) -> Result<Response, ApiError> {
    let LoadRequest { model, keep_alive, is_streamed } = LoadRequest::parse(&body.bytes)?;
    let model = app.true_name(&access, &model, Instant::now() + REQUEST_MAX).await?;
    let wanted = Wanted { model: Arc::clone(&model), keep_alive, access: Arc::clone(&access) };
    if is_streamed {
        let listener = app.pool_events.listen().ok_or_else(|| ApiError::overloaded(RETRY_AFTER_MIN))?;
        let (events, body) = mpsc::channel(1);
        tokio::spawn(tell_load(app, wanted, listener, events));
        return Ok(event_stream(body));
    }
    let was_loaded = bring_in(&app, wanted).await.map_err(ApiError::internal)??;
    let status = state_of(&app, &access, &model).await;
    Ok(Json(json!({ "success": true, "was_loaded": was_loaded, "model": &*model, "state": status })).into_response())
}

/// Loads the model, if it is not in memory; whether it was. The load goes on if nobody waits for this any more, and ends
/// with the server. Its memory and processor time are the asker's to carry, beside any request that waits for it as well; from
/// then on the asker is the last to have used the model, and carries it for its keep-alive.
pub(super) fn bring_in(app: &Arc<App>, wanted: Wanted) -> JoinHandle<Result<bool, ApiError>> {
    let app = Arc::clone(app);
    app.requests.clone().spawn(async move {
        let Wanted { model, keep_alive, access } = wanted;
        let stay = app.metering.arrives(&Uuid::now_v7().to_string(), &access.tenant, (0, &model));
        let options = LeaseOptions { keep_alive, deadline: Instant::now() + REQUEST_MAX };
        let loaded = unless_stopping(&app, app.devices.first().pool.load(&model, options)).await?;
        let loaded = loaded.map_err(|error| explicit_load_error(&model, error))?;
        stay.begins();
        // It ends at once, without a receipt: the asker's account carries what the load took.
        stay.asked_for_load();
        Ok(loaded == LoadOutcome::Present)
    })
}

/// What someone wants in memory.
pub(super) struct Wanted {
    pub(super) model: Arc<str>,
    pub(super) keep_alive: Option<KeepAlive>,
    pub(super) access: Arc<Access>,
}

/// A server that stops answers those who wait for the pool at once.
async fn unless_stopping<T>(app: &App, work: impl Future<Output = T>) -> Result<T, ApiError> {
    let mut stopping = app.stopping.clone();
    tokio::select! {
        done = work => Ok(done),
        _ = stopping.wait_for(|&stopping| stopping) => Err(ApiError::shutting_down()),
    }
}

/// What fails here was asked for by name, so the file's fault is told as that.
fn explicit_load_error(model: &str, error: LeaseError<LoadError>) -> ApiError {
    match error {
        LeaseError::Quarantined { source, .. } => ApiError::model_file_invalid(reasons(&*source)).because(source),
        LeaseError::LoadFailed(source) if source.kind() == FaultKind::Invalid => {
            ApiError::model_file_invalid(reasons(&*source)).because(source)
        }
        error => lease_error(model, error),
    }
}

/// Tells what becomes of the model until it is in memory, or why it will not be.
async fn tell_load(app: Arc<App>, wanted: Wanted, listener: Listener, events: mpsc::Sender<Bytes>) {
    let (model, access) = (Arc::clone(&wanted.model), Arc::clone(&wanted.access));
    let loading = bring_in(&app, wanted);
    let Some(done) = tell_changes((&model, access), loading, listener, &events).await else { return };
    let mut text = String::new();
    match done {
        Ok(was_loaded) => {
            let first = app.devices.first();
            let snapshot = first.pool.snapshot().await;
            let now = snapshot.models.iter().find(|found| found.name == model && found.state != ModelState::Absent);
            if let Some(now) = now.filter(|_| was_loaded) {
                push_event(&mut text, &model_status(&first.name, now).to_string());
            }
            text.push_str("data: [DONE]\n\n");
        }
        Err(error) => {
            error.log();
            push_event(&mut text, &error.envelope().to_string());
        }
    }
    // Fails when the client has left, who then needs no end.
    let _ = events.send(text.into()).await;
}

/// Tells every change of `model` until `loading` ends, and what it ended in; `None` when the client has left.
async fn tell_changes(
    (model, access): (&str, Arc<Access>),
    mut loading: JoinHandle<Result<bool, ApiError>>,
    mut listener: Listener,
    events: &mpsc::Sender<Bytes>,
) -> Option<Result<bool, ApiError>> {
    let mut statuses = Statuses::of(access);
    let mut is_telling = true;
    loop {
        let heard = tokio::select! {
            biased;
            heard = listener.next(), if is_telling => heard,
            done = &mut loading => return Some(done.unwrap_or_else(|died| Err(ApiError::internal(died)))),
            () = events.closed() => return None,
        };
        match heard {
            Heard::Event(event) if &*event.event.model == model => {
                if let Some(event) = statuses.of_change(&event) {
                    send(events, &event).await.ok()?;
                }
            }
            // How it ended is told in any case.
            Heard::Event(_) | Heard::Missed(_) => {}
            Heard::End => is_telling = false,
        }
    }
}

async fn send(events: &mpsc::Sender<Bytes>, event: &Value) -> Result<(), mpsc::error::SendError<Bytes>> {
    let mut text = String::new();
    push_event(&mut text, &event.to_string());
    events.send(text.into()).await
}

/// `POST /models/unload`: `{"model": …}`.
pub(super) async fn unload(
    State(app): State<Arc<App>>,
    Extension(access): Extension<Arc<Access>>,
    body: JsonBody,
) -> Result<Json<Value>, ApiError> {
    let mut fields = parse_object(&body.bytes)?;
    let name = fields.model()?;
    fields.finish()?;
    let known = app.known_name(&access, &name).await?;
    let is_known = known.is_some();
    let model = known.unwrap_or_else(|| untagged(&name).to_owned());
    Ok(Json(match let_go(&app, &model).await? {
        // One whose file is gone may still be in memory.
        UnloadOutcome::NotLoaded if !is_known => return Err(ApiError::model_not_found(&name)),
        UnloadOutcome::Evicting => json!({ "success": true, "model": model, "outcome": "evicting" }),
        UnloadOutcome::WhenFree { users } => {
            json!({ "success": true, "model": model, "outcome": "when_free", "users": users })
        }
        UnloadOutcome::NotLoaded => json!({ "success": true, "model": model, "outcome": "not_loaded" }),
        UnloadOutcome::Pinned => return Err(ApiError::model_pinned(&model)),
    }))
}

/// Lets the model of this true name go from every device.
pub(super) async fn let_go(app: &App, model: &str) -> Result<UnloadOutcome, ApiError> {
    let mut outcome = UnloadOutcome::NotLoaded;
    for device in app.devices.iter() {
        let here = device.pool.unload(model).await.map_err(|_| ApiError::shutting_down())?;
        outcome = united(outcome, here);
    }
    Ok(outcome)
}

/// What is told of an unload that did the one here and the other there.
fn united(one: UnloadOutcome, other: UnloadOutcome) -> UnloadOutcome {
    match (one, other) {
        (UnloadOutcome::Pinned, _) | (_, UnloadOutcome::Pinned) => UnloadOutcome::Pinned,
        (UnloadOutcome::WhenFree { users }, UnloadOutcome::WhenFree { users: more }) => {
            UnloadOutcome::WhenFree { users: users + more }
        }
        (when_free @ UnloadOutcome::WhenFree { .. }, _) | (_, when_free @ UnloadOutcome::WhenFree { .. }) => when_free,
        (UnloadOutcome::Evicting, _) | (_, UnloadOutcome::Evicting) => UnloadOutcome::Evicting,
        (UnloadOutcome::NotLoaded, UnloadOutcome::NotLoaded) => UnloadOutcome::NotLoaded,
    }
}

/// `POST /models/pin`: `{"model": …}`. Loads the model, if it is not in memory; from then on it stays, and its memory is
/// this tenant's to carry whenever no request uses it.
pub(super) async fn pin(
    State(app): State<Arc<App>>,
    Extension(access): Extension<Arc<Access>>,
    body: JsonBody,
) -> Result<Json<Value>, ApiError> {
    let mut fields = parse_object(&body.bytes)?;
    let name = fields.model()?;
    fields.finish()?;
    let deadline = Instant::now() + REQUEST_MAX;
    let model = app.true_name(&access, &name, deadline).await?;
    let pinning = {
        let (app, model, tenant) = (Arc::clone(&app), Arc::clone(&model), Arc::clone(&access.tenant));
        app.requests.clone().spawn(async move {
            // Before the pool tells of the pin: whose it is must be known then.
            let _wish = app.metering.pins(&model, Pin::Tenant(tenant));
            let pinned = unless_stopping(&app, app.devices.first().pool.pin(&model, deadline)).await?;
            pinned.map_err(|error| explicit_load_error(&model, error))
        })
    };
    let was_loaded = pinning.await.map_err(ApiError::internal)?? == LoadOutcome::Present;
    let state = state_of(&app, &access, &model).await;
    Ok(Json(json!({ "success": true, "was_loaded": was_loaded, "model": &*model, "state": state })))
}

/// `POST /models/unpin`: `{"model": …}`. The model stays for its keep-alive, as after an answer.
pub(super) async fn unpin(
    State(app): State<Arc<App>>,
    Extension(access): Extension<Arc<Access>>,
    body: JsonBody,
) -> Result<Json<Value>, ApiError> {
    let mut fields = parse_object(&body.bytes)?;
    let name = fields.model()?;
    fields.finish()?;
    let known = app.known_name(&access, &name).await?;
    let is_known = known.is_some();
    let model = known.unwrap_or_else(|| untagged(&name).to_owned());
    let outcome = app.devices.first().pool.unpin(&model).await.map_err(|_| ApiError::shutting_down())?;
    let outcome = match outcome {
        UnpinOutcome::NotPinned if !is_known => return Err(ApiError::model_not_found(&name)),
        UnpinOutcome::Unpinned => "unpinned",
        UnpinOutcome::NotPinned => "not_pinned",
    };
    Ok(Json(json!({ "success": true, "model": model, "outcome": outcome })))
}

/// `POST /models/budget`: `{"memory_budget": "2GiB"}`, or a number of bytes. Never more than there is: the machine's, or
/// its container's, memory bounds it.
pub(super) async fn budget(State(app): State<Arc<App>>, body: JsonBody) -> Result<Json<Value>, ApiError> {
    let asked_bytes = budget_request(&body.bytes)?;
    let limit_bytes = app.memory_budget.ask(asked_bytes).await.map_err(|refused| match refused {
        BudgetRefused::Pinned { .. } => ApiError::budget_too_small(refused),
        BudgetRefused::ShuttingDown => ApiError::shutting_down(),
    })?;
    Ok(Json(json!({ "success": true, "memory": { "limit_bytes": limit_bytes } })))
}

fn budget_request(body: &[u8]) -> Result<u64, ApiError> {
    const NAME: &str = "memory_budget";
    let mut fields = parse_object(body)?;
    let bytes = fields.bytes(NAME)?.ok_or_else(|| ApiError::missing_field(NAME))?;
    fields.finish()?;
    if bytes < MEMORY_BUDGET_BYTES_MIN {
        return Err(ApiError::invalid_value(NAME, format_args!("must be at least {MEMORY_BUDGET_BYTES_MIN} bytes")));
    }
    Ok(bytes)
}

/// The name by which the pool knows what is called `name`. A model whose file is gone may still be in memory, under the
/// name that it was asked for by.
pub(super) async fn known_name(app: &Arc<App>, access: &Access, name: String) -> Result<String, ApiError> {
    let known = app.known_name(access, &name).await?;
    Ok(known.unwrap_or_else(|| untagged(&name).to_owned()))
}

#[cfg(test)]
mod tests {
    use scheduler::{LoadCause, PoolEvent, PoolEventKind, PoolObserver as _};

    use super::*;
    use crate::metering::tests::metering;
    use crate::pool_events::PoolEvents;

    #[tokio::test]
    async fn a_load_that_outlives_the_pools_events_is_told_to_its_end() {
        let pool_events = Arc::new(PoolEvents::new(metering()));
        let observer = pool_events.of_device(0, &"cpu".into());
        let listener = pool_events.listen().unwrap();
        let (events, mut told) = mpsc::channel(4);
        let (ends, end) = tokio::sync::oneshot::channel();
        let loading = tokio::spawn(async { end.await.unwrap() });
        for model in ["other", "m"] {
            let kind = PoolEventKind::Requested { cause: LoadCause::Explicit };
            observer.observe(&PoolEvent { at: Instant::now(), model: model.into(), kind });
        }
        drop((observer, pool_events));
        let telling =
            tokio::spawn(async move { tell_changes(("m", Access::unbounded("a")), loading, listener, &events).await });
        let first = told.recv().await.unwrap();
        assert!(first.starts_with(b"data: {") && first.windows(11).any(|part| part == b"\"model\":\"m\""), "{first:?}");
        assert!(ends.send(Ok(true)).is_ok());
        assert!(telling.await.unwrap().unwrap().unwrap());
        assert!(told.recv().await.is_none(), "the stream ends");
    }
}
