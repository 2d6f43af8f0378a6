//! Whether the roll-ups are the sums of their rows.

use rusqlite::Connection;
use rusqlite::types::Value;

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
    let read = |row: Option<&rusqlite::Row<'_>>| -> Result<Option<Vec<Value>>, rusqlite::Error> {
        row.map(|row| (0..columns.len()).map(|index| row.get(index)).collect()).transpose()
    };
    loop {
        let (one, other) = (read(stored.next()?)?, read(expected.next()?)?);
        if one == other {
            if one.is_none() {
                return Ok(None);
            }
            continue;
        }
        // Of two rows, the one that comes first is the one that the other side lacks or has otherwise.
        let shown = [one, other].into_iter().flatten().map(|row| shown(&row[..keys.len()])).min();
        return Ok(shown);
    }
}

fn shown(key: &[Value]) -> String {
    let parts = key.iter().map(|value| match value {
        Value::Integer(number) => number.to_string(),
        Value::Text(text) => format!("{text:?}"),
        other => format!("{other:?}"),
    });
    parts.collect::<Vec<_>>().join(" ")
}
