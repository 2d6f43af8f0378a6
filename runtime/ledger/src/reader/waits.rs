//! How long requests waited for loads: the quantiles that sums cannot tell.

use meter::savings::LoadWaits;
use rusqlite::{Connection, params};

use super::sums::latest_run;
use super::{Since, natural};
use crate::LedgerError;
use crate::limits::WAITS_READ_MAX;
use crate::rollup::Span;

/// Of the latest waits, as many as may be read, those that retention has left. By an index over such rows alone.
pub(super) fn load_waits(connection: &Connection, since: Since) -> Result<LoadWaits, LedgerError> {
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
    let mut query = connection.prepare_cached(
        "SELECT load_wait_ns FROM settlements INDEXED BY settlements_waited \
         WHERE load_wait_ns > 0 AND unix_ms >= ?1 AND reservation >= ?2 ORDER BY unix_ms DESC LIMIT ?3",
    )?;
    let limit = i64::try_from(WAITS_READ_MAX).unwrap_or(i64::MAX);
    let rows = query.query_map(params![unix_ms, first, limit], |row| natural(row, 0))?;
    Ok(LoadWaits::of(rows.collect::<Result<Vec<u64>, _>>()?))
}
