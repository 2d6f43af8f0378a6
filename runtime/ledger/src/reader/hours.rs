//! What was held hour by hour, from the roll-ups by hour.

use std::collections::BTreeMap;

use meter::KibMillis;
use meter::savings::{CopySpan, HeldHour, HeldHours};
use rusqlite::{Row, Transaction};

use super::sums::Filter;
use super::{Since, natural};
use crate::LedgerError;

/// An hour in which anything was written, if only of energy, is one in which the runtime was up.
pub(super) fn held_hours(transaction: &Transaction<'_>, since: Since) -> Result<HeldHours, LedgerError> {
    let filter = Filter::of(transaction, since)?;
    let mut hours: BTreeMap<i64, HeldHour> = BTreeMap::new();
    let mut of = |hour: i64, model: Option<String>, held: u64, kv: u64| {
        let one = hours.entry(hour).or_insert_with(|| HeldHour { hour, ..HeldHour::default() });
        one.kv = one.kv.saturating_add(KibMillis::new(kv));
        if let Some(model) = model.filter(|_| held > 0) {
            let sum = one.models.entry(model).or_default();
            *sum = sum.saturating_add(KibMillis::new(held));
        }
    };
    let of_requests = "SELECT hour, model, sum(weights_kib_ms + load_kib_ms), sum(kv_kib_ms) FROM hour_requests";
    let of_accounts = "SELECT hour, model, sum(kib_ms), 0 FROM hour_accounts";
    let of_held = "SELECT hour, model, sum(iif(held_as IN ('prefix', 'context'), 0, kib_ms)), \
                   sum(iif(held_as IN ('prefix', 'context'), kib_ms, 0)) FROM hour_held";
    for select in [of_requests, of_accounts, of_held] {
        each(transaction, filter, (select, "hour, model"), |row| {
            of(row.get(0)?, Some(row.get(1)?), natural(row, 2)?, natural(row, 3)?);
            Ok(())
        })?;
    }
    each(transaction, filter, ("SELECT hour FROM hour_energy", "hour"), |row| {
        of(row.get(0)?, None, 0, 0);
        Ok(())
    })?;
    let mut copies = Vec::new();
    let spans = ("SELECT tenant, model, min(hour), max(hour) FROM hour_requests", "tenant, model");
    each(transaction, filter, spans, |row| {
        let (tenant, model) = (row.get(0)?, row.get(1)?);
        copies.push(CopySpan { tenant, model, first_hour: row.get(2)?, last_hour: row.get(3)? });
        Ok(())
    })?;
    Ok(HeldHours { hours: hours.into_values().collect(), copies })
}

/// Reads each row that `select` finds among those that count, grouped.
fn each(
    transaction: &Transaction<'_>,
    filter: Filter<'_>,
    (select, group): (&str, &str),
    mut read: impl FnMut(&Row<'_>) -> Result<(), rusqlite::Error>,
) -> Result<(), LedgerError> {
    let sql = format!("{select} WHERE hour >= ?1 AND run >= ?2 GROUP BY {group}");
    let mut query = transaction.prepare_cached(&sql)?;
    let mut rows = query.query([filter.first_hour(), filter.run])?;
    while let Some(row) = rows.next()? {
        read(row)?;
    }
    Ok(())
}
