//! What was used: receipts after the fact, and their sums.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, State};
use axum::{Extension, Json};
use ledger::{LedgerError, Reader, SeriesQuery, Span, UsageBucket, UsageRecord};
use serde_json::{Value, json};

use super::error::ApiError;
use super::query::Query;
use crate::app::App;
use crate::tenancy::Access;

/// `GET /v1/usage/{id}`: the row of one of the tenant's own requests; whoever administers sees everyone's.
pub(super) async fn of_request(
    State(app): State<Arc<App>>,
    Extension(access): Extension<Arc<Access>>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Json<UsageRecord>, ApiError> {
    let Ok(Path(id)) = id else { return Err(ApiError::not_found()) };
    match read_ledger(&app, move |reader| reader.usage(&id)).await? {
        Some(record) if access.sees(&record.tenant) => Ok(Json(record)),
        _ => Err(ApiError::receipt_not_found()),
    }
}

/// `GET /v1/usage`: sums by hour or day (`bucket_width`, a day unless said), `since` a second or so long ago (30 days
/// unless said). The buckets are whole.
pub(super) async fn sums(
    State(app): State<Arc<App>>,
    Extension(access): Extension<Arc<Access>>,
    query: RawQuery,
) -> Result<Json<Value>, ApiError> {
    const SINCE_DEFAULT_MS: i64 = 30 * Span::Day.seconds() * 1000;
    let mut query = Query::parse(query)?;
    let width = query.word("bucket_width", &[("1h", Span::Hour), ("1d", Span::Day)])?.unwrap_or(Span::Day);
    let now = now_unix_ms();
    let since = query.since(now)?.unwrap_or(now - SINCE_DEFAULT_MS);
    query.finish()?;
    let series = SeriesQuery { width, from_unix_s: since.div_euclid(1000), to_unix_s: i64::MAX };
    let mut buckets = read_ledger(&app, move |reader| reader.series(series)).await?;
    buckets.iter_mut().for_each(|bucket| keep_seen(bucket, &access));
    Ok(Json(json!({ "object": "list", "data": buckets })))
}

/// Leaves out what is not for this client.
pub(super) fn keep_seen(bucket: &mut UsageBucket, access: &Access) {
    bucket.requests.retain(|total| access.sees(&total.tenant));
    bucket.keys.retain(|key| access.sees(&key.total.tenant));
    bucket.accounts.retain(|total| match &total.account {
        meter::Account::Keepalive(tenant) => access.sees(tenant),
        _ => access.sees_all(),
    });
}

/// Reads of the ledger on a thread that may wait for the disk.
pub(super) async fn read_ledger<T: Send + 'static>(
    app: &Arc<App>,
    read: impl FnOnce(&Reader) -> Result<T, LedgerError> + Send + 'static,
) -> Result<T, ApiError> {
    let metering = Arc::clone(&app.metering);
    let done = tokio::task::spawn_blocking(move || read(metering.ledger().reader())).await;
    done.map_err(ApiError::internal)?.map_err(ApiError::ledger_unavailable)
}

pub(super) fn now_unix_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
