//! Whether everything in the file is as it was written.
//!
//! Checked are: the store's own structure; that tables and triggers are those of this program; every anchor, and that each
//! follows the one before it; every link from the last anchor on, with its row; that no table has a row without a link;
//! that every request of an earlier run is settled once, and those of the last run at most once; and that the roll-ups are
//! the sums of the rows and of what was removed.
//!
//! What that proves: nothing was changed by damage, nor by whoever could not compute the digests anew. Whoever noted the
//! head's digest elsewhere knows more: if a later verification reaches the same link with the same digest, no row up to it
//! was changed by anybody.
//!
//! Invariants: one snapshot, whoever writes meanwhile; memory that does not grow with the file (sums that do not fit are
//! in a temporary file). Deliberately absent: repair.

mod anchors;
mod sums;

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use rusqlite::Connection;
use rusqlite::types::ValueRef;
use serde::Serialize;

use crate::chain::{self, Head, Kind};
use crate::error::ChainBreak;
use crate::limits::STORE_FAULTS_MAX;
use crate::retention::{Anchor, COVERED};
use crate::rollup::{Contribution, Rollups};
use crate::walk::{self, Linked, Walked};
use crate::{LedgerError, schema};

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Verification {
    /// Links that were followed, each with its row.
    pub links: u64,
    /// Links that retention has removed, of which anchors are left.
    pub removed_links: u64,
    /// Links that were made for rows of an older schema, which had none when they were written.
    pub adopted_links: u64,
    /// The number of the last link.
    pub head_link: i64,
    /// Its digest, in hexadecimal: what to note elsewhere.
    pub head_digest: String,
    /// Rows that were followed, by table.
    pub rows: BTreeMap<&'static str, u64>,
    /// Requests of the last run that are not settled: those that it works for, or that the next one settles as crashed.
    pub open_requests: u64,
    /// What is wrong; empty for a sound ledger.
    pub faults: Vec<Fault>,
}

impl Verification {
    /// Whether nothing is wrong.
    #[must_use]
    pub const fn is_sound(&self) -> bool {
        self.faults.is_empty()
    }
}

/// Something that is not as it was written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize)]
#[serde(tag = "fault", rename_all = "snake_case")]
pub enum Fault {
    /// The store is damaged.
    #[error("the store is damaged: {found}")]
    Store {
        /// What it says.
        found: String,
    },
    /// A table, index or trigger is not the one that this program makes.
    #[error("{name} is not as this program declares it")]
    Declaration {
        /// Its name.
        name: String,
    },
    /// A link does not fit; what follows it was not looked at.
    #[error(transparent)]
    Chain(ChainBreak),
    /// An anchor does not fit the one before it, its sums or the chain.
    #[error("anchor {sequence}: {reason}")]
    Anchor {
        /// The anchor.
        sequence: i64,
        /// What is wrong.
        reason: &'static str,
    },
    /// Rows that no link and no anchor vouches for, or that are gone.
    #[error("{table} has {found} rows beyond what anchors cover, and {linked} of them are linked")]
    Unlinked {
        /// The table.
        table: &'static str,
        /// Rows that are there.
        found: u64,
        /// Rows that should be.
        linked: u64,
    },
    /// Rows that an anchor covers and that are still there.
    #[error("{table} has {found} rows that an anchor says were removed")]
    NotRemoved {
        /// The table.
        table: &'static str,
        /// How many.
        found: u64,
    },
    /// Requests that have no settlement, or more than one.
    #[error("before run {run}, {reservations} more requests were reserved than settled")]
    Unsettled {
        /// The run at whose beginning that was found.
        run: i64,
        /// How many; negative for settlements without a reservation.
        reservations: i64,
    },
    /// A row that is as it was written, which this program would not have done.
    #[error("link {link}: the row's figures cannot be summed")]
    Malformed {
        /// Its link.
        link: i64,
    },
    /// A row of sums is not the sum of its rows.
    #[error("{table} is not the sum of its rows at {key}")]
    Sums {
        /// The table.
        table: String,
        /// The first row that differs: hour or day since 1970, run and names.
        key: String,
    },
}

/// Checks everything, in the transaction that `connection` is in.
pub(crate) fn verify(connection: &Connection) -> Result<Verification, LedgerError> {
    let mut found = Verification::default();
    match check(connection, &mut found) {
        Err(LedgerError::Corrupt { source }) => found.faults.push(Fault::Store { found: source.to_string() }),
        checked => checked?,
    }
    Ok(found)
}

fn check(connection: &Connection, found: &mut Verification) -> Result<(), LedgerError> {
    check_declarations(connection, found)?;
    let scratch = sums::scratch()?;
    let mut expected = Rollups::anew(&scratch);
    let anchor = anchors::check(connection, &mut expected, found)?;
    let is_whole = check_chain(connection, anchor.as_ref(), &mut expected, found)?;
    expected.store()?;
    // What is beyond a break was not looked at.
    if is_whole {
        check_rows(connection, anchor.as_ref(), found)?;
        sums::compare(connection, &scratch, found)?;
    }
    check_store(connection, found)
}

fn check_store(connection: &Connection, found: &mut Verification) -> Result<(), LedgerError> {
    let mut query = connection.prepare(&format!("PRAGMA integrity_check({STORE_FAULTS_MAX})"))?;
    let mut rows = query.query([])?;
    while let Some(row) = rows.next()? {
        let said: String = row.get(0)?;
        if said != "ok" {
            found.faults.push(Fault::Store { found: said });
        }
    }
    Ok(())
}

fn check_declarations(connection: &Connection, found: &mut Verification) -> Result<(), LedgerError> {
    let expected: BTreeMap<String, String> = schema::expected_declarations()?.into_iter().collect();
    let mut declared: BTreeMap<String, String> = schema::declarations(connection)?.into_iter().collect();
    for (name, sql) in expected {
        if declared.remove(&name).as_ref() != Some(&sql) {
            found.faults.push(Fault::Declaration { name });
        }
    }
    found.faults.extend(declared.into_keys().take(STORE_FAULTS_MAX).map(|name| Fault::Declaration { name }));
    Ok(())
}

/// Follows the chain from the last anchor on. Whether it came to the end.
fn check_chain(
    connection: &Connection,
    anchor: Option<&Anchor>,
    expected: &mut Rollups<'_>,
    found: &mut Verification,
) -> Result<bool, LedgerError> {
    let mut open = kept_reservations(connection, anchor)?;
    let mut last_anchor = None;
    let Verification { rows, faults, links, adopted_links, .. } = found;
    let from = anchor.map_or(Head::START, Anchor::head);
    let walked = walk::follow(connection, from, |Linked { row, head }| {
        *links += 1;
        *rows.entry(row.kind.table()).or_default() += 1;
        match row.kind {
            Kind::Run if open != 0 => {
                faults.push(Fault::Unsettled { run: row.sequence, reservations: open });
                open = 0;
            }
            Kind::Reservation => open += 1,
            Kind::Settlement => open -= 1,
            Kind::Anchor => last_anchor = Some(row.sequence),
            Kind::Migration => *adopted_links += adopted(row.fields),
            _ => {}
        }
        match Contribution::of(row.kind, head.link, row.fields) {
            Ok(contributions) => expected.add(contributions)?,
            Err(_) => faults.push(Fault::Malformed { link: head.link }),
        }
        // One fault a row at most, and a file of nothing else must end, too.
        Ok(if faults.len() < STORE_FAULTS_MAX { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
    })?;
    if let Some(Anchor { sequence, .. }) = anchor.filter(|anchor| last_anchor != Some(anchor.sequence)) {
        faults.push(Fault::Anchor { sequence: *sequence, reason: "the chain does not reach it" });
    }
    match walked {
        Walked::To(head) => {
            (found.head_link, found.head_digest) = (head.link, chain::hex(&head.digest));
            found.open_requests = u64::try_from(open).unwrap_or(0);
            if open < 0 {
                found.faults.push(Fault::Unsettled { run: i64::MAX, reservations: open });
            }
            Ok(found.faults.len() < STORE_FAULTS_MAX)
        }
        Walked::Broken(broken) => {
            found.head_link = broken.link - 1;
            found.faults.push(Fault::Chain(broken));
            Ok(false)
        }
    }
}

/// How many links a migration has made, by its own row.
fn adopted(fields: &[ValueRef<'_>]) -> u64 {
    match fields {
        [_, _, ValueRef::Integer(first), ValueRef::Integer(last), _] => {
            u64::try_from(last.saturating_sub(*first).saturating_add(1)).unwrap_or(0)
        }
        _ => 0,
    }
}

/// Reservations that are covered, and that their settlements keep.
fn kept_reservations(connection: &Connection, anchor: Option<&Anchor>) -> Result<i64, LedgerError> {
    let to = anchor.map_or(0, |anchor| anchor.last_row(Kind::Reservation));
    Ok(connection.query_row("SELECT count(*) FROM reservations WHERE sequence <= ?1", [to], |row| row.get(0))?)
}

/// Every row is linked, or bound by the last anchor.
fn check_rows(connection: &Connection, anchor: Option<&Anchor>, found: &mut Verification) -> Result<(), LedgerError> {
    for kind in COVERED {
        let (table, key) = (kind.table(), kind.key());
        let to = anchor.map_or(0, |anchor| anchor.last_row(kind));
        let count = |condition: &str| -> Result<u64, LedgerError> {
            let sql = format!("SELECT count(*) FROM {table} WHERE {condition}");
            let count: i64 = connection.query_row(&sql, [to], |row| row.get(0))?;
            Ok(u64::try_from(count).unwrap_or(0))
        };
        let mut linked = found.rows.get(table).copied().unwrap_or(0);
        if kind == Kind::Run {
            linked += u64::from(anchor.is_some());
        }
        let beyond = count(&format!("{key} > ?1"))?;
        if beyond != linked {
            found.faults.push(Fault::Unlinked { table, found: beyond, linked });
        }
        let unless = if kind == Kind::Reservation {
            "AND NOT EXISTS (SELECT 1 FROM settlements WHERE reservation = reservations.sequence)"
        } else {
            ""
        };
        let left = count(&format!("{key} <= ?1 {unless}"))?;
        if left != 0 {
            found.faults.push(Fault::NotRemoved { table, found: left });
        }
    }
    Ok(())
}
