//! `GET /v1/savings`: what ephemeral serving saved, or lost, against servers that never unload.

use std::sync::Arc;

use axum::extract::{RawQuery, State};
use axum::{Extension, Json};
use ledger::{SavingsQuery, Since};
use meter::savings::SavingsReport;
use serde_json::Value;

use super::error::ApiError;
use super::query::Query;
use super::usage::{now_unix_ms, read_ledger};
use crate::app::App;
use crate::reports::{self, Baseline};
use crate::tenancy::Access;

/// `baseline` (`shared` or `dedicated`) shows that comparison alone; `since` begins at the hour of a second since 1970, or
/// of so long ago.
pub(super) async fn report(
    State(app): State<Arc<App>>,
    Extension(access): Extension<Arc<Access>>,
    query: RawQuery,
) -> Result<Json<Value>, ApiError> {
    let mut query = Query::parse(query)?;
    let baseline = query.word("baseline", &Baseline::WORDS)?;
    let since = query.since(now_unix_ms())?;
    query.finish()?;
    let report = of_server(&app, since).await?;
    let report = if access.sees_all() { report } else { report.of_tenant(&access.tenant) };
    let shown = serde_json::to_value(&report).map_err(ApiError::internal)?;
    Ok(Json(reports::against(shown, baseline)))
}

/// The report up to when the accounts were last written, with what of unloaded models is in the page cache.
async fn of_server(app: &Arc<App>, since: Option<i64>) -> Result<SavingsReport, ApiError> {
    let since = since.map_or(Since::Beginning, Since::UnixMillis);
    let query = SavingsQuery { since, until: Some(app.metering.accounted_until()) };
    let (prices, process_bytes) = (app.metering.prices_of(0).clone(), app.process_bytes);
    let (report, models) = read_ledger(app, move |reader| {
        let inputs = reports::savings_inputs(reader, query, process_bytes)?;
        let models: Vec<String> = inputs.models.iter().map(|model| model.model.clone()).collect();
        Ok((reports::savings_of(&inputs, &prices), models))
    })
    .await?;
    Ok(match page_cache_bytes(app, models).await {
        Some(bytes) => report.with_page_cache(bytes),
        None => report,
    })
}

/// Bytes of those of `models` that are not loaded.
async fn page_cache_bytes(app: &Arc<App>, models: Vec<String>) -> Option<u64> {
    let snapshots = app.devices.snapshots().await;
    let is_held = |name: &String| {
        snapshots.iter().any(|pool| pool.models.iter().any(|model| model.weights_bytes > 0 && *model.name == **name))
    };
    let unloaded: Vec<String> = models.into_iter().filter(|name| !is_held(name)).collect();
    let app = Arc::clone(app);
    let counted = tokio::task::spawn_blocking(move || {
        // A model whose files are gone has no pages either.
        let entries = unloaded.iter().filter_map(|name| app.models.entry(name).ok());
        entries.map(|entry| entry.cached_bytes()).try_fold(0_u64, |sum, bytes| Some(sum.saturating_add(bytes?)))
    });
    counted.await.ok().flatten()
}
