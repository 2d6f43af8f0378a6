//! Whether the process lives, whether it can serve, and its figures. None of them wakes a model.

use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::error::ApiError;
use super::metrics::FOR_ADMINISTRATORS;
use crate::app::App;
use crate::tenancy::{Access, Scope};

/// How long a part may take to answer a probe.
const ANSWER_MAX: Duration = Duration::from_secs(1);

pub(super) async fn livez() -> &'static str {
    "ok\n"
}

/// Ready when each device's pool answers and its executor lives, and the ledger can be read: an empty pool is ready.
pub(super) async fn readyz(State(app): State<Arc<App>>) -> Response {
    let failing = failing_parts(&app).await;
    if failing.is_empty() {
        return "ready\n".into_response();
    }
    (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {}\n", failing.join(", "))).into_response()
}

/// What is not ready.
pub(super) async fn failing_parts(app: &App) -> Vec<&'static str> {
    let (is_pool_ready, has_executor) = devices_ready(app).await;
    let metering = Arc::clone(&app.metering);
    let ledger = tokio::task::spawn_blocking(move || metering.ledger().reader().recent(1).is_ok());
    let has_ledger = matches!(tokio::time::timeout(ANSWER_MAX, ledger).await, Ok(Ok(true)));
    [("pool", is_pool_ready), ("executor", has_executor), ("ledger", has_ledger)]
        .into_iter()
        .filter_map(|(part, is_ready)| (!is_ready).then_some(part))
        .collect()
}

/// Whether every device computes.
pub(crate) async fn computes(app: &App) -> bool {
    matches!(devices_ready(app).await, (true, true))
}

/// Whether every pool answers, and every executor lives.
async fn devices_ready(app: &App) -> (bool, bool) {
    let (mut is_pool_ready, mut has_executor) = (true, true);
    for device in app.devices.iter() {
        let pool = tokio::time::timeout(ANSWER_MAX, device.pool.snapshot()).await;
        is_pool_ready &= pool.is_ok_and(|snapshot| !snapshot.shutting_down);
        has_executor &= !device.executor.has_ended();
    }
    (is_pool_ready, has_executor)
}

/// `GET /metrics`. Whoever does not administer sees what is its own, and what has no tenant at all, of the models that there are
/// for it; what accounts carry for nobody (an empty tenant) is told to who administers.
pub(super) async fn metrics(
    State(app): State<Arc<App>>,
    Extension(access): Extension<Arc<Access>>,
) -> Result<Response, ApiError> {
    let snapshots = app.devices.snapshots().await;
    let text = app.metering.metrics().text(&app, &snapshots).map_err(ApiError::internal)?;
    let text = if access.has(Scope::Admin) { text } else { seen_by(&access, &text) };
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    Ok(([(header::CONTENT_TYPE, kind)], text).into_response())
}

/// The lines that are about nobody but whoever asks.
fn seen_by(access: &Access, text: &str) -> String {
    let is_seen = |line: &&str| {
        line.starts_with('#')
            || !line.starts_with(FOR_ADMINISTRATORS)
                && label(line, "tenant").is_none_or(|tenant| access.sees(&tenant))
                && label(line, "model").is_none_or(|model| access.may_use(&model))
    };
    text.lines().filter(is_seen).flat_map(|line| [line, "\n"]).collect()
}

/// The value of a series' label, of those that are there.
fn label(line: &str, name: &str) -> Option<String> {
    let start = ["{", ","].iter().find_map(|before| {
        let begin = format!("{before}{name}=\"");
        line.find(&begin).map(|at| at + begin.len())
    })?;
    let mut value = String::new();
    let mut characters = line[start..].chars();
    loop {
        match characters.next()? {
            '"' => return Some(value),
            '\\' => match characters.next()? {
                'n' => value.push('\n'),
                escaped => value.push(escaped),
            },
            character => value.push(character),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_reads_sees_its_own_figures() {
        let own = "requests_total{tenant=\"a\\\"b\",model=\"m\"} 1";
        let text = [
            "# TYPE requests counter",
            own,
            "requests_total{tenant=\"a\",model=\"m\"} 2",
            "requests_total{model=\"m\",tenant=\"_other\"} 2",
            "loads_total{model=\"m\"} 3",
            "used_bytes 4",
            "dayfly_saved_gb_hours{baseline=\"shared\"} -5",
            "# EOF",
        ];
        let seen = seen_by(&Access::reading("a\"b"), &(text.join("\n") + "\n"));
        assert_eq!(seen.lines().collect::<Vec<_>>(), [text[0], own, text[4], text[5], text[7]]);
        assert_eq!(label("x{model=\"a", "model"), None, "it has no end");
    }
}
