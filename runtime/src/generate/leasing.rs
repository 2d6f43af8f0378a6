//! A request's hold on its model: waited for beside the queue, and what is said where there is none.

use std::sync::Arc;

use scheduler::{FaultKind, Instant, KeepAlive, LeaseError, LeaseOptions, LoadFault as _, Place, PoolOptions};

use crate::app::{App, Lease};
use crate::http::error::ApiError;
use crate::limits::AT_HAND_WITHIN;
use crate::loading::LoadError;

/// Waits for a lease. One that takes longer than a model at hand does is waited for beside the queue.
pub(super) async fn standing_aside<T>(place: &mut Place, leasing: impl Future<Output = T>) -> T {
    tokio::pin!(leasing);
    if let Ok(leased) = tokio::time::timeout(AT_HAND_WITHIN, &mut leasing).await {
        return leased;
    }
    place.stand_aside();
    let leased = leasing.await;
    place.come_back();
    leased
}

pub(super) async fn lease(
    app: &App,
    (device, model): (usize, &Arc<str>),
    keep_alive: Option<KeepAlive>,
    deadline: Instant,
) -> Result<Lease, ApiError> {
    let leased = app.devices.get(device).pool.lease(model, LeaseOptions { keep_alive, deadline }).await;
    leased.map_err(|error| lease_error(model, error))
}

/// The one place where a pool's refusal becomes an answer.
pub(crate) fn lease_error(model: &str, error: LeaseError<LoadError>) -> ApiError {
    match error {
        LeaseError::NotFound(_) => ApiError::model_not_found(model),
        LeaseError::Quarantined { source, retry_after } => {
            ApiError::model_quarantined(retry_after, reasons(&*source)).because(source)
        }
        LeaseError::LoadFailed(source) => load_failed(source),
        LeaseError::TooLarge { .. } | LeaseError::PinnedTooLarge { .. } => ApiError::model_too_large(error),
        LeaseError::Overloaded { retry_after } => ApiError::overloaded(retry_after),
        LeaseError::DeadlinePassed => ApiError::deadline_passed(),
        LeaseError::ShuttingDown => ApiError::shutting_down(),
    }
}

/// A load that failed for the machine's reasons, or for the file's where nothing is remembered.
pub(crate) fn load_failed(source: Arc<LoadError>) -> ApiError {
    match source.kind() {
        FaultKind::Invalid => {
            ApiError::model_quarantined(PoolOptions::default().quarantine_min, reasons(&*source)).because(source)
        }
        FaultKind::NotFound | FaultKind::Transient => ApiError::load_failed(source),
    }
}

/// An error and what is below it, in one line, without the paths of this machine's folders.
pub(crate) fn reasons(error: &(dyn std::error::Error + 'static)) -> String {
    let mut line = error.to_string();
    let mut below = error.source();
    while let Some(error) = below {
        // The loader's errors name the file; a client knows the model's name already.
        if error.downcast_ref::<loader::OpenError>().is_none() {
            line.push_str(": ");
            line.push_str(&error.to_string());
        }
        below = error.source();
    }
    line
}

/// The file was replaced, and what is in memory is of the one before: the request's tokens may be none of its own. That
/// copy goes as soon as nobody uses it, and another try meets the new one.
pub(super) fn replaced(app: &Arc<App>, device: usize, lease: Lease) -> ApiError {
    let (app, model) = (Arc::clone(app), Arc::clone(lease.name()));
    drop(lease);
    tokio::spawn(async move {
        // Fails when the server stops, which lets it go as well.
        let _ = app.devices.get(device).pool.unload(&model).await;
    });
    ApiError::load_failed(LoadError::Replaced)
}
