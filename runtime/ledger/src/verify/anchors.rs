//! Whether each anchor follows the one before it and has the sums that it says.

use rusqlite::{Connection, OptionalExtension};

use super::{Fault, Verification};
use crate::LedgerError;
use crate::chain::Digest;
use crate::retention::{self, Anchor};
use crate::rollup::{self, Contribution, Rollups};
use crate::walk;

/// Checks every anchor and adds what was removed to `expected`. Returns the last one.
pub(super) fn check(
    connection: &Connection,
    expected: &mut Rollups<'_>,
    found: &mut Verification,
) -> Result<Option<Anchor>, LedgerError> {
    let mut query =
        connection.prepare("SELECT sequence, first_link, last_link, previous, sums FROM anchors ORDER BY sequence")?;
    let mut rows = query.query([])?;
    let (mut covered, mut before): (i64, Option<Digest>) = (0, None);
    while let Some(row) = rows.next()? {
        let (sequence, first_link, last_link): (i64, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let (previous, sums): (Option<Digest>, Digest) = (row.get(3)?, row.get(4)?);
        let removed = retention::removed_sums(connection, sequence)?;
        let reason = if first_link != covered + 1 || last_link < first_link {
            Some("it does not begin where the one before it ends")
        } else if previous != before {
            Some("the one before it is not the one that it followed")
        } else if rollup::digest(removed.iter()) != sums {
            Some("what it has removed does not have its sums")
        } else {
            None
        };
        if let Some(reason) = reason {
            found.faults.push(Fault::Anchor { sequence, reason });
            break;
        }
        for ((of, key), sums) in removed {
            expected.add([Some(Contribution::removed(of, key, sums)), None])?;
        }
        covered = last_link;
        before = walk::anchor_digest(connection, sequence)?;
    }
    found.removed_links = u64::try_from(covered).unwrap_or(0);
    let last = Anchor::latest(connection)?;
    if let Some(anchor) = &last {
        check_run(connection, anchor, found)?;
    }
    Ok(last)
}

/// The run that was on at the last removed link is bound by the anchor.
fn check_run(connection: &Connection, anchor: &Anchor, found: &mut Verification) -> Result<(), LedgerError> {
    let [run, opened, first] = anchor.run;
    let stored: Option<[i64; 2]> = connection
        .query_row("SELECT opened_unix_ms, first_reservation FROM runs WHERE run = ?1", [run], |row| {
            Ok([row.get(0)?, row.get(1)?])
        })
        .optional()?;
    if stored != Some([opened, first]) {
        let reason = "the run that it names is not the one that was on";
        found.faults.push(Fault::Anchor { sequence: anchor.sequence, reason });
    }
    Ok(())
}
