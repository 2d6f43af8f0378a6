//! Bringing the tables of older schemas up.
//!
//! Rows of schema 1 have no links. They are linked run by run: the run, its reservations, their settlements, its
//! intervals, each in the order in which they were appended. A row in `migrations`, which is linked like any other, says
//! which links were made so: until then nothing vouched for those rows. Later schemas add columns and tables, sum anew what is
//! to be summed otherwise, and change no
//! row that there is: a column that they added is null in it, and is not in its digest.

use rusqlite::types::ValueRef;
use rusqlite::{Connection, Transaction, params};

use super::{SCHEMA, tables};
use crate::LedgerError;
use crate::chain::{Head, Kind, Row};
use crate::journal::Journal;

/// From schema `found` to the present one.
pub(super) fn raise(transaction: &Transaction<'_>, found: i64, unix_ms: i64) -> Result<(), LedgerError> {
    let steps = [
        (2, tables::raise_to_2 as fn(&Connection) -> _),
        (3, tables::raise_to_3),
        (4, tables::raise_to_4),
        (5, tables::raise_to_5),
    ];
    for (_, raise) in steps.into_iter().filter(|(schema, _)| *schema > found) {
        raise(transaction)?;
    }
    if found < 2 {
        link(transaction, unix_ms)?;
    }
    transaction.execute_batch(&format!("PRAGMA user_version = {SCHEMA}"))?;
    Ok(())
}

/// Links all rows of schema 1.
fn link(transaction: &Transaction<'_>, unix_ms: i64) -> Result<(), LedgerError> {
    let mut journal = Journal::new(transaction, Head::START);
    let mut query = transaction.prepare(
        "SELECT run, first_reservation, coalesce(lead(first_reservation) OVER (ORDER BY run) - 1, 9223372036854775807) FROM runs",
    )?;
    let mut runs = query.query([])?;
    while let Some(run) = runs.next()? {
        let (run, first, last): (i64, i64, i64) = (run.get(0)?, run.get(1)?, run.get(2)?);
        adopt(&mut journal, Kind::Run, "run BETWEEN ?1 AND ?2", [run, run])?;
        adopt(&mut journal, Kind::Reservation, "sequence BETWEEN ?1 AND ?2", [first, last])?;
        adopt(&mut journal, Kind::Settlement, "reservation BETWEEN ?1 AND ?2", [first, last])?;
        adopt(&mut journal, Kind::Interval, "run BETWEEN ?1 AND ?2", [run, run])?;
    }
    let last_link = journal.head().link;
    if last_link > 0 {
        let fields = [1, 2, 1, last_link, unix_ms].map(ValueRef::Integer);
        journal.append(Kind::Migration, &fields)?;
    }
    journal.finish()?;
    Ok(())
}

/// Links the rows that `condition` holds for.
fn adopt(journal: &mut Journal<'_>, kind: Kind, condition: &str, range: [i64; 2]) -> Result<(), LedgerError> {
    let (table, key) = (kind.table(), kind.key());
    let names = [key].into_iter().chain(kind.columns().iter().copied()).map(|column| format!("{table}.{column}"));
    let bound = kind.bound().iter().map(|column| format!("reservations.{column}"));
    let columns: Vec<String> = names.chain(bound).collect();
    let join = if kind.bound().is_empty() { "" } else { "JOIN reservations ON reservations.sequence = reservation" };
    let sql = format!("SELECT {} FROM {table} {join} WHERE {condition} ORDER BY {table}.{key}", columns.join(", "));
    let mut query = journal.connection().prepare_cached(&sql)?;
    let mut rows = query.query(params![range[0], range[1]])?;
    while let Some(stored) = rows.next()? {
        let fields = (1..columns.len()).map(|index| stored.get_ref(index)).collect::<Result<Vec<_>, _>>()?;
        journal.adopt(&Row { kind, sequence: stored.get(0)?, fields: &fields })?;
    }
    Ok(())
}
