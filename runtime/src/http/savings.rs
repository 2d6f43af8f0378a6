//! `GET /v1/savings`: what ephemeral serving saved, or lost, against servers that never unload.
//!
//! Who administers is told of everyone. A tenant is told of its own use alone, by another report ([`TenantReport`]) that is
//! computed of that tenant's rows and of nothing else.

use std::sync::Arc;

use axum::extract::{RawQuery, State};
use axum::{Extension, Json};
use ledger::{SavingsQuery, Since};
use meter::savings::{SavingsReport, TenantReport, report_of_tenant};
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
    if access.sees_all() {
        let report = of_server(&app, since).await?;
        let shown = serde_json::to_value(&report).map_err(ApiError::internal)?;
        return Ok(Json(reports::against(shown, baseline)));
    }
    if baseline == Some(Baseline::Shared) {
        let why = "what a shared copy costs a tenant depends on who else uses it: that is told to who administers";
        return Err(ApiError::invalid_value("baseline", why));
    }
    let report = of_tenant(&app, &access.tenant, since).await?;
    Ok(Json(serde_json::to_value(&report).map_err(ApiError::internal)?))
}

/// A tenant's own. Its window ends with what was last recorded of it.
async fn of_tenant(app: &Arc<App>, tenant: &Arc<str>, since: Option<i64>) -> Result<TenantReport, ApiError> {
    let query = SavingsQuery { since: since.map_or(Since::Beginning, Since::UnixMillis), until: None };
    let (prices, tenant) = (app.metering.prices_of(0), Arc::clone(tenant));
    read_ledger(app, move |reader| {
        let inputs = reader.savings_inputs_of(&tenant, query)?;
        Ok(report_of_tenant(inputs, &tenant, &prices.energy, &prices.rates))
    })
    .await
}

/// The report up to when the accounts were last written, with what of unloaded models is in the page cache.
async fn of_server(app: &Arc<App>, since: Option<i64>) -> Result<SavingsReport, ApiError> {
    let since = since.map_or(Since::Beginning, Since::UnixMillis);
    let query = SavingsQuery { since, until: Some(app.metering.accounted_until()) };
    let (prices, process_bytes) = (app.metering.prices_of(0), app.process_bytes);
    let choices = app.config().savings.clone();
    let (report, models) = read_ledger(app, move |reader| {
        let inputs = reports::savings_inputs(reader, query, process_bytes)?;
        let models: Vec<String> = inputs.models.iter().map(|model| model.model.clone()).collect();
        let report = reports::savings_of(&inputs, &prices);
        Ok((reports::told_in_money(report, &inputs, (reader, query), &choices)?, models))
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
