//! Where energy is from and who carried it.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use ledger::EnergyTotal;
use meter::LadderReport;
use serde::Serialize;
use utoipa::ToSchema;

use super::error::ApiError;
use crate::app::App;

/// `GET /v1/energy`'s answer.
#[derive(Serialize, ToSchema)]
pub(super) struct Energy {
    /// `energy`.
    object: &'static str,
    /// Of the host, and of each card that a device computes on: what is believed, and why not the rest.
    sensors: Vec<Sensors>,
    /// What the ledger has of both, in all runs, by source; the last minute is not in it yet.
    recorded: Vec<EnergyTotal>,
}

/// The sensors of a device.
#[derive(Serialize, ToSchema)]
struct Sensors {
    /// The device.
    name: String,
    #[serde(flatten)]
    report: LadderReport,
}

/// `GET /v1/energy`.
pub(super) async fn sensors(State(app): State<Arc<App>>) -> Result<Json<Energy>, ApiError> {
    let metering = Arc::clone(&app.metering);
    let read = tokio::task::spawn_blocking(move || metering.ledger().reader().energy_totals()).await;
    let recorded = read.map_err(ApiError::internal)?.map_err(ApiError::ledger_unavailable)?;
    let reports = app.metering.energy().reports().into_iter();
    let sensors = reports.map(|(name, report)| Sensors { name: name.to_string(), report }).collect();
    Ok(Json(Energy { object: "energy", sensors, recorded }))
}
