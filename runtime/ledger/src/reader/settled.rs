//! Settled requests one after another, for those who take all of them elsewhere.

use meter::Moment;
use rusqlite::{Connection, params};

use super::{StoredUsage, natural, stored_usage};
use crate::LedgerError;
use crate::limits::RECENT_MAX;
use crate::rows::SettledRequest;

/// The settlements behind the one of this number, in the order in which they were appended; at most [`RECENT_MAX`].
pub(super) fn settled_after(connection: &Connection, after: i64) -> Result<Vec<SettledRequest>, LedgerError> {
    let mut query = connection.prepare_cached(
        "SELECT reservations.id, reservations.tenant, reservations.model, reservations.unix_ms, settlements.outcome, \
         settlements.receipt, reservations.key_id, settlements.sequence, settlements.unix_ms, reservations.run, reservations.at_ms, \
         settlements.at_ms FROM settlements JOIN reservations ON reservations.sequence = settlements.reservation \
         WHERE settlements.sequence > ?1 ORDER BY settlements.sequence LIMIT ?2",
    )?;
    let limit = i64::try_from(RECENT_MAX).unwrap_or(i64::MAX);
    let rows = query.query_map(params![after, limit], |row| {
        let (number, settled_unix_ms, run) = (row.get(7)?, row.get(8)?, row.get(9)?);
        let (reserved, settled) = (Moment::new(natural(row, 10)?), Moment::new(natural(row, 11)?));
        Ok((stored_usage(row)?, number, settled_unix_ms, run, [reserved, settled]))
    })?;
    let mut settled = Vec::new();
    for row in rows {
        let (stored, number, settled_unix_ms, run, [reserved_at, settled_at]): (StoredUsage, _, _, _, _) = row?;
        settled.push(SettledRequest { number, run, reserved_at, settled_at, settled_unix_ms, usage: stored.read()? });
    }
    Ok(settled)
}
