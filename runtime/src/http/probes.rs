//! Whether the process lives, whether it can serve, and its figures. None of them wakes a model.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::error::ApiError;
use crate::app::App;

/// How long a part may take to answer a probe.
const ANSWER_MAX: Duration = Duration::from_secs(1);

pub(super) async fn livez() -> &'static str {
    "ok\n"
}

/// Ready when each device's pool answers and its executor lives, and the ledger can be read: an empty pool is ready.
pub(super) async fn readyz(State(app): State<Arc<App>>) -> Response {
    let (mut is_pool_ready, mut has_executor) = (true, true);
    for device in app.devices.iter() {
        let pool = tokio::time::timeout(ANSWER_MAX, device.pool.snapshot()).await;
        is_pool_ready &= pool.is_ok_and(|snapshot| !snapshot.shutting_down);
        has_executor &= !device.executor.has_ended();
    }
    let metering = Arc::clone(&app.metering);
    let ledger = tokio::task::spawn_blocking(move || metering.ledger().reader().recent(1).is_ok());
    let has_ledger = matches!(tokio::time::timeout(ANSWER_MAX, ledger).await, Ok(Ok(true)));
    let failing: Vec<&str> = [("pool", is_pool_ready), ("executor", has_executor), ("ledger", has_ledger)]
        .into_iter()
        .filter_map(|(part, is_ready)| (!is_ready).then_some(part))
        .collect();
    if failing.is_empty() {
        return "ready\n".into_response();
    }
    (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {}\n", failing.join(", "))).into_response()
}

pub(super) async fn metrics(State(app): State<Arc<App>>) -> Result<Response, ApiError> {
    let snapshots = app.devices.snapshots().await;
    let text = app.metering.metrics().text(&app, &snapshots).map_err(ApiError::internal)?;
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    Ok(([(header::CONTENT_TYPE, kind)], text).into_response())
}
