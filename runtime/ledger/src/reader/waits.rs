//! How long requests waited for loads: the quantiles that sums cannot tell.

use meter::savings::LoadWaits;
use rusqlite::types::Value;
use rusqlite::{Connection, params_from_iter};

use super::sums::latest_run;
use super::{Since, natural};
use crate::LedgerError;
use crate::limits::WAITS_READ_MAX;
use crate::rollup::Span;

/// Of the latest waits, of everyone or of one tenant, as many as may be read, those that retention has left. By an index over
/// such rows alone.
pub(super) fn load_waits(
    connection: &Connection,
    since: Since,
    tenant: Option<&str>,
) -> Result<LoadWaits, LedgerError> {
    let (unix_ms, run) = match since {
        Since::Beginning => (i64::MIN, 0),
        Since::LatestRun => (i64::MIN, latest_run(connection)?),
        // The same hour that the sums begin with.
        Since::UnixMillis(unix_ms) => (Span::Hour.bucket(unix_ms).saturating_mul(Span::Hour.millis()), 0),
    };
    // What an earlier run reserved is settled as crashed by a later one, and waited for nothing.
    let first: i64 = connection.query_row(
        "SELECT coalesce((SELECT first_reservation FROM runs WHERE run = ?1), 0)",
        [run],
        |row| row.get(0),
    )?;
    let of_tenant = "AND (SELECT tenant FROM reservations WHERE sequence = reservation) = ?4";
    let sql = format!(
        "SELECT load_wait_ns FROM settlements INDEXED BY settlements_waited WHERE load_wait_ns > 0 AND unix_ms >= ?1 \
         AND reservation >= ?2 {} ORDER BY unix_ms DESC LIMIT ?3",
        if tenant.is_some() { of_tenant } else { "" }
    );
    let mut query = connection.prepare_cached(&sql)?;
    let limit = i64::try_from(WAITS_READ_MAX).unwrap_or(i64::MAX);
    let parameters = [unix_ms, first, limit].map(Value::Integer).into_iter();
    let parameters = parameters.chain(tenant.map(|name| Value::Text(name.to_owned())));
    let rows = query.query_map(params_from_iter(parameters), |row| natural(row, 0))?;
    Ok(LoadWaits::of(rows.collect::<Result<Vec<u64>, _>>()?))
}
