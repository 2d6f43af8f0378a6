//! How long requests waited for loads: the quantiles that sums cannot tell.

use meter::savings::LoadWaits;
use rusqlite::{Connection, params};

use super::sums::latest_run;
use super::{Since, natural};
use crate::LedgerError;
use crate::limits::{WAITS_LOOKED_THROUGH_MAX, WAITS_READ_MAX};
use crate::rollup::Span;

/// Of the latest waits, of everyone or of one tenant, those that retention has left. No more are looked at than may be,
/// whoever's they are; where there are older ones, that is told. By an index over such rows alone.
pub(super) fn load_waits(
    connection: &Connection,
    since: Since,
    tenant: Option<&str>,
) -> Result<LoadWaits, LedgerError> {
    let looked_at_max = if tenant.is_some() { WAITS_LOOKED_THROUGH_MAX } else { WAITS_READ_MAX };
    latest_waits(connection, since, (tenant, looked_at_max))
}

fn latest_waits(
    connection: &Connection,
    since: Since,
    (tenant, looked_at_max): (Option<&str>, usize),
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
    // Whether a row counts is asked of each that is looked at, so that no number of others is walked over.
    let sql = "SELECT load_wait_ns, reservation >= ?2 AND (?3 IS NULL OR \
               (SELECT tenant FROM reservations WHERE sequence = reservation) = ?3) \
               FROM settlements INDEXED BY settlements_waited WHERE load_wait_ns > 0 AND unix_ms >= ?1 \
               ORDER BY unix_ms DESC LIMIT ?4";
    let mut query = connection.prepare_cached(sql)?;
    let limit = i64::try_from(looked_at_max).unwrap_or(i64::MAX).saturating_add(1);
    let mut rows = query.query(params![unix_ms, first, tenant, limit])?;
    let (mut waits, mut looked_at) = (Vec::new(), 0);
    while let Some(row) = rows.next()? {
        if looked_at == looked_at_max {
            return Ok(LoadWaits { older_left_out: true, ..LoadWaits::of(waits) });
        }
        looked_at += 1;
        if row.get(1)? {
            waits.push(natural(row, 0)?);
        }
    }
    Ok(LoadWaits::of(waits))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema;

    /// Two runs; each settles what waited 1, 2, 3 … ns, by two tenants in turns.
    fn recorded(each: i64) -> Connection {
        let mut connection = Connection::open_in_memory().unwrap();
        schema::prepare(&mut connection, 0).unwrap();
        for run in 0..2 {
            let first = run * each + 1;
            connection.execute("INSERT INTO runs VALUES (?1, 0, ?2)", [run + 1, first]).unwrap();
            for number in first..first + each {
                let reserve = "INSERT INTO reservations (run, id, tenant, model, at_ms, unix_ms) \
                               VALUES (?1, ?2, iif(?2 % 2, 'odd', 'even'), 'm', 0, 0)";
                connection.execute(reserve, [run + 1, number]).unwrap();
                let settle = "INSERT INTO settlements (reservation, outcome, at_ms, unix_ms, load_wait_ns) \
                              VALUES (?1, 'completed', 0, ?1, ?1)";
                connection.execute(settle, [number]).unwrap();
            }
        }
        connection
    }

    #[test]
    fn no_more_rows_are_looked_at_than_may_be_and_what_is_left_out_is_told() {
        let connection = recorded(10);
        let read = |since, tenant, looked_at_max| {
            let waits = latest_waits(&connection, since, (tenant, looked_at_max)).unwrap();
            (waits.requests, waits.max_ns.get(), waits.older_left_out)
        };
        assert_eq!(read(Since::Beginning, None, 20), (20, 20, false), "all of them");
        assert_eq!(read(Since::Beginning, None, 19), (19, 20, true));
        assert_eq!(read(Since::Beginning, Some("odd"), 20), (10, 19, false));
        assert_eq!(read(Since::Beginning, Some("odd"), 6), (3, 19, true), "of six of whoever's");
        assert_eq!(read(Since::Beginning, Some("nobody"), 6), (0, 0, true));
        assert_eq!(read(Since::LatestRun, Some("even"), 20), (5, 20, false));
        assert_eq!(read(Since::LatestRun, None, 12), (10, 20, true), "of an earlier run, but who would know");
        assert_eq!(read(Since::UnixMillis(1), None, 20), (20, 20, false), "the whole hour");
    }
}
