//! Receipts, after the fact.

use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::{Extension, Json};
use ledger::UsageRecord;

use super::error::ApiError;
use crate::app::App;
use crate::tenancy::Access;

/// `GET /v1/usage/{id}`: the row of one of the tenant's own requests; whoever administers sees everyone's.
pub(super) async fn of_request(
    State(app): State<Arc<App>>,
    Extension(access): Extension<Arc<Access>>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Json<UsageRecord>, ApiError> {
    let Ok(Path(id)) = id else { return Err(ApiError::not_found()) };
    let metering = Arc::clone(&app.metering);
    let read = tokio::task::spawn_blocking(move || metering.ledger().reader().usage(&id)).await;
    match read.map_err(ApiError::internal)?.map_err(ApiError::ledger_unavailable)? {
        Some(record) if access.sees(&record.tenant) => Ok(Json(record)),
        _ => Err(ApiError::not_found()),
    }
}
