//! What a server does by itself for as long as it runs: accounts and energy go to the ledger, old rows go from it, and what
//! is configured to stay is brought in.

use std::sync::Arc;

use meter::residency::Pin;
use scheduler::Instant;

use super::App;
use crate::generate::lease_error;
use crate::http::error::ApiError;
use crate::limits::{ACCOUNTS_EVERY, ENERGY_STORED_EVERY, PIN_AGAIN_AFTER, REQUEST_MAX, RETENTION_EVERY};
use crate::metering::Metering;
use crate::tenancy::Access;

/// Whose the wishes of the configuration are.
const OPERATOR: &str = "operator";

/// Pins what the configuration says, one after another. Nobody's: the operator carries it. What fails for the moment is
/// tried again until it is done.
pub(super) async fn pin_configured(app: Arc<App>) {
    for name in &app.config().models.pinned {
        while let Err(error) = pin_one(&app, name).await {
            tracing::error!(model = name, error = &error as &dyn std::error::Error, "it is not pinned");
            if !error.is_retryable() {
                break;
            }
            tokio::time::sleep(PIN_AGAIN_AFTER).await;
        }
    }
}

async fn pin_one(app: &Arc<App>, name: &str) -> Result<(), ApiError> {
    let deadline = Instant::now() + REQUEST_MAX;
    let model = app.true_name(&Access::unbounded(OPERATOR), name, deadline).await?;
    let _wish = app.metering.pins(&model, Pin::Operator);
    let pinned = app.devices.first().pool.pin(&model, deadline).await;
    pinned.map(|_| ()).map_err(|error| lease_error(&model, error))
}

/// Lets rows go that are older than the configuration says at the time.
pub(super) async fn remove_old_rows(app: Arc<App>) {
    let mut ticks = tokio::time::interval(RETENTION_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let Some(retention) = app.config().ledger_retention else { continue };
        if let Err(error) = app.metering.remove_older_than(retention).await {
            tracing::error!(error = &error as &dyn std::error::Error, "old rows of the ledger stay");
        }
    }
}

/// Writes down what devices took.
pub(super) async fn store_energy(metering: Arc<Metering>) {
    let mut ticks = tokio::time::interval(ENERGY_STORED_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if let Err(error) = metering.store_energy().await {
            tracing::error!(error = &error as &dyn std::error::Error, "energy waits for the ledger");
        }
    }
}

/// Notes which keys were used.
pub(super) async fn store_key_uses(app: &App) {
    let keyring = Arc::clone(&app.keyring);
    match tokio::task::spawn_blocking(move || keyring.store_uses()).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(error = &error as &dyn std::error::Error, "uses of keys are not noted"),
        Err(error) => tracing::warn!("uses of keys are not noted: {error}"),
    }
}

/// Writes down what accounts carried.
pub(super) async fn store_accounts(app: Arc<App>) {
    let mut ticks = tokio::time::interval(ACCOUNTS_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if let Err(error) = app.metering.store_accounts().await {
            tracing::error!(error = &error as &dyn std::error::Error, "accounts wait for the ledger");
        }
        store_key_uses(&app).await;
    }
}
