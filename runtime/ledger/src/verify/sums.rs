//! Whether the roll-ups are the sums of their rows.

use rusqlite::types::Value;
use rusqlite::{Connection, Row};

use super::{Fault, Verification};
use crate::rollup::{Of, Span};
use crate::store::settle_plans;
use crate::{LedgerError, schema};

/// A store for sums, in memory while they are few and in a temporary file beyond that.
pub(super) fn scratch() -> Result<Connection, LedgerError> {
    let scratch = Connection::open("")?;
    scratch.execute_batch("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;")?;
    settle_plans(&scratch)?;
    schema::create_rollups(&scratch)?;
    // Never committed: it goes with the connection.
    scratch.execute_batch("BEGIN")?;
    Ok(scratch)
}

/// Compares the roll-ups with those in `expected`, which has nothing else.
pub(super) fn compare(
    connection: &Connection,
    expected: &Connection,
    found: &mut Verification,
) -> Result<(), LedgerError> {
    for span in Span::ALL {
        for of in Of::ALL {
            if let Some(key) = difference(connection, expected, span, of)? {
                found.faults.push(Fault::Sums { table: format!("{}_{}", span.name(), of.name()), key });
            }
        }
    }
    Ok(())
}

/// The key of the first row that is not the same in both.
fn difference(stored: &Connection, expected: &Connection, span: Span, of: Of) -> Result<Option<String>, LedgerError> {
    let keys: Vec<&str> = [span.name(), "run"].into_iter().chain(of.names()).collect();
    let columns: Vec<&str> = keys.iter().copied().chain(of.columns()).collect();
    let sql = format!("SELECT {} FROM {}_{} ORDER BY {}", columns.join(", "), span.name(), of.name(), keys.join(", "));
    let (mut stored, mut expected) = (stored.prepare(&sql)?, expected.prepare(&sql)?);
    let (mut stored, mut expected) = (stored.query([])?, expected.query([])?);
    loop {
        let (one, other) = (stored.next()?, expected.next()?);
        if let (Some(one), Some(other)) = (one, other)
            && are_same(one, other, columns.len())?
        {
            continue;
        }
        // Of two rows, the one that comes first is the one that the other side lacks or has otherwise.
        let key = |row: &Row<'_>| (0..keys.len()).map(|index| row.get(index)).collect::<Result<Vec<Value>, _>>();
        let found = [one, other].into_iter().flatten().map(key).collect::<Result<Vec<_>, _>>()?;
        return Ok(found.iter().map(|key| shown(key)).min());
    }
}

/// Compared where they lie: nearly all of them are.
fn are_same(one: &Row<'_>, other: &Row<'_>, columns: usize) -> Result<bool, rusqlite::Error> {
    for index in 0..columns {
        if one.get_ref(index)? != other.get_ref(index)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn shown(key: &[Value]) -> String {
    let parts = key.iter().map(|value| match value {
        Value::Integer(number) => number.to_string(),
        Value::Text(text) => format!("{text:?}"),
        other => format!("{other:?}"),
    });
    parts.collect::<Vec<_>>().join(" ")
}
