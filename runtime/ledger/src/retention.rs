//! Old rows make way for anchors, and the roll-ups stay.
//!
//! An *anchor* covers the next links after those of the anchor before it. It has the digest that the chain has reached at
//! its last link, so that the chain is followed from there on; the digest of the anchor before it, so that the last anchor
//! binds all of them; and, by their digest, the sums of the rows that it covers, hour by hour, in tables of their own: so
//! that the roll-ups are still those of the rows and of what was removed. It is appended and linked like any row, before the
//! rows go and in the same transaction. An anchor is itself never removed, only its link is, like any other.
//!
//! Invariants: only what is older than asked for, settled, and at the beginning of the chain is removed, never the last
//! link, and only if all of it is as it was linked: damage is not buried. A settlement that is kept keeps its reservation.
//! The file lets nothing else be deleted (see the triggers in `schema`).
//!
//! Deliberately absent: a signature. An anchor is as trustworthy as the chain whose head somebody else has noted.

use std::ops::ControlFlow;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior};

use crate::LedgerError;
use crate::chain::{Digest, Head, Kind};
use crate::error::StoreFailure;
use crate::journal::Journal;
use crate::limits::REMOVED_LINKS_MAX;
use crate::rollup::{self, Contribution, Key, Of, SumsByKey};
use crate::walk::{self, Linked, Walked};

/// How far removal has come.
pub(crate) enum Progress {
    /// Something was removed; the chain ends here now.
    More(Head),
    /// Nothing was, and nothing is to be.
    Done,
}

/// What is to be removed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Removal {
    /// Rows that were written before this, in milliseconds since 1970 by the wall clock.
    pub(crate) before_unix_ms: i64,
    /// And that stand in the chain until here.
    pub(crate) last_link: i64,
}

/// Removes at most [`REMOVED_LINKS_MAX`] links and their rows. The chain ends at `head`; `unix_ms` is now.
pub(crate) fn remove(
    connection: &mut Connection,
    head: Head,
    removal: Removal,
    unix_ms: i64,
) -> Result<Progress, LedgerError> {
    // Which rows hold others is seen to here; the store would look through all reservations for each run that goes.
    connection.execute_batch("PRAGMA foreign_keys = OFF")?;
    let progress = remove_within(connection, head, removal, unix_ms);
    connection.execute_batch("PRAGMA foreign_keys = ON")?;
    progress
}

fn remove_within(
    connection: &mut Connection,
    head: Head,
    removal: Removal,
    unix_ms: i64,
) -> Result<Progress, LedgerError> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let before = Anchor::latest(&transaction)?;
    let covered = Covered::look(
        &transaction,
        before.as_ref(),
        Removal { last_link: removal.last_link.min(head.link - 1), ..removal },
    )?;
    let first_link = before.map_or(0, |anchor| anchor.last_link) + 1;
    if covered.anchor.last_link < first_link {
        return Ok(Progress::Done);
    }
    let previous = match &covered.anchor.sequence {
        0 => None,
        sequence => walk::anchor_digest(&transaction, *sequence)?,
    };
    let mut journal = Journal::new(&transaction, head);
    let sequence = covered.append(&mut journal, first_link, previous, unix_ms)?;
    for (place, sums) in &covered.sums {
        let times = [("anchor", sequence), ("hour", place.1.bucket)];
        rollup::store(&transaction, ("removed", &times), place, sums)?;
    }
    delete(&transaction, &covered.anchor)?;
    let head = journal.finish()?;
    transaction.commit()?;
    Ok(Progress::More(head))
}

/// How far anchors cover the chain.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Anchor {
    /// Zero for one that is not stored yet.
    pub(crate) sequence: i64,
    pub(crate) last_link: i64,
    pub(crate) digest: Digest,
    /// The last row covered of every kind, and every one before it, in the order of [`COVERED`].
    last_rows: [i64; 7],
    /// The run that was on at the last link: its number, and the row's fields.
    pub(crate) run: [i64; 3],
}

/// What an anchor may cover, in the order of its columns.
pub(crate) const COVERED: [Kind; 7] =
    [Kind::Run, Kind::Reservation, Kind::Checkpoint, Kind::Settlement, Kind::Interval, Kind::Migration, Kind::Energy];

impl Anchor {
    const NONE: Self = Self { sequence: 0, last_link: 0, digest: Head::START.digest, last_rows: [0; 7], run: [0; 3] };

    /// The last one.
    pub(crate) fn latest(connection: &Connection) -> Result<Option<Self>, LedgerError> {
        let found = connection
            .prepare_cached(
                "SELECT sequence, last_link, digest, runs_to, reservations_to, checkpoints_to, settlements_to, \
                 intervals_to, migrations_to, run, run_opened_unix_ms, run_first_reservation, \
                 coalesce(energy_intervals_to, 0) \
                 FROM anchors ORDER BY sequence DESC LIMIT 1",
            )?
            .query_row([], |row| {
                Ok(Self {
                    sequence: row.get(0)?,
                    last_link: row.get(1)?,
                    digest: row.get(2)?,
                    last_rows: [
                        row.get(3)?,
                        row.get(4)?,
                        row.get(5)?,
                        row.get(6)?,
                        row.get(7)?,
                        row.get(8)?,
                        row.get(12)?,
                    ],
                    run: [row.get(9)?, row.get(10)?, row.get(11)?],
                })
            });
        Ok(found.optional()?)
    }

    /// The last row covered of that kind, which is one of [`COVERED`].
    pub(crate) fn last_row(&self, kind: Kind) -> i64 {
        let index = COVERED.iter().position(|covered| *covered == kind).expect("an anchor covers all of these");
        self.last_rows[index]
    }

    /// Where the chain is followed from.
    pub(crate) const fn head(&self) -> Head {
        Head { link: self.last_link, digest: self.digest }
    }
}

/// What the next anchor will cover.
struct Covered {
    anchor: Anchor,
    sums: SumsByKey,
}

impl Covered {
    /// Follows the chain for as long as its links may be removed.
    fn look(transaction: &Transaction<'_>, before: Option<&Anchor>, removal: Removal) -> Result<Self, LedgerError> {
        let mut covered = Self { anchor: *before.unwrap_or(&Anchor::NONE), sums: SumsByKey::new() };
        let from = covered.anchor.head();
        let last_link = removal.last_link.min(from.link + REMOVED_LINKS_MAX);
        let mut is_settled =
            transaction.prepare_cached("SELECT EXISTS (SELECT 1 FROM settlements WHERE reservation = ?1)")?;
        let walked = walk::follow(transaction, from, |linked| {
            let Linked { row, head } = linked;
            let stays = head.link > last_link
                || written_unix_ms(row.kind, row.fields) >= removal.before_unix_ms
                || (row.kind == Kind::Reservation && !is_settled.query_row([row.sequence], |row| row.get(0))?);
            if stays {
                return Ok(ControlFlow::Break(()));
            }
            covered.take(linked)?;
            Ok(ControlFlow::Continue(()))
        })?;
        match walked {
            Walked::To(_) => Ok(covered),
            Walked::Broken(broken) => Err(LedgerError::corrupt(broken)),
        }
    }

    fn take(&mut self, Linked { row, head }: &Linked<'_>) -> Result<(), LedgerError> {
        let Self { anchor, sums } = self;
        (anchor.last_link, anchor.digest) = (head.link, head.digest);
        if let (Kind::Run, [ValueRef::Integer(opened), ValueRef::Integer(first)]) = (row.kind, row.fields) {
            anchor.run = [row.sequence, *opened, *first];
            // The run that was on at the last link has rows that stay.
            anchor.last_rows[0] = row.sequence - 1;
        } else if let Some(index) = COVERED.iter().position(|kind| *kind == row.kind) {
            anchor.last_rows[index] = row.sequence;
        }
        let malformed = |_| LedgerError::corrupt(StoreFailure::Unexpected("a stored row has fields of another type"));
        for contribution in Contribution::of(row.kind, head.link, row.fields).map_err(malformed)?.iter().flatten() {
            rollup::add(sums, &contribution.place, &contribution.sums)
                .map_err(|column| LedgerError::OutOfRange { column, value: u64::MAX })?;
        }
        Ok(())
    }

    fn append(
        &self,
        journal: &mut Journal<'_>,
        first_link: i64,
        previous: Option<Digest>,
        unix_ms: i64,
    ) -> Result<i64, LedgerError> {
        let Self { anchor, sums } = self;
        let sums = rollup::digest(sums.iter());
        let mut fields = vec![
            ValueRef::Integer(first_link),
            ValueRef::Integer(anchor.last_link),
            ValueRef::Blob(&anchor.digest),
            previous.as_ref().map_or(ValueRef::Null, |digest| ValueRef::Blob(digest)),
            ValueRef::Blob(&sums),
        ];
        let [of_schema_2 @ .., energy] = &anchor.last_rows;
        let numbers = of_schema_2.iter().chain(&anchor.run).chain([&unix_ms, energy]);
        fields.extend(numbers.map(|value| ValueRef::Integer(*value)));
        journal.append(Kind::Anchor, &fields)
    }
}

/// When a row was written, by the wall clock. One whose time is no number stays.
fn written_unix_ms(kind: Kind, fields: &[ValueRef<'_>]) -> i64 {
    let column = if kind == Kind::Run { "opened_unix_ms" } else { "unix_ms" };
    let index = kind.columns().iter().position(|name| *name == column);
    let field = index.and_then(|index| fields.get(index));
    field.and_then(|field| field.as_i64().ok()).unwrap_or(i64::MAX)
}

/// Settlements go before the reservations that they keep.
const DELETED: [Kind; 7] =
    [Kind::Settlement, Kind::Reservation, Kind::Checkpoint, Kind::Interval, Kind::Energy, Kind::Run, Kind::Migration];

fn delete(transaction: &Transaction<'_>, anchor: &Anchor) -> Result<(), LedgerError> {
    transaction.prepare_cached("DELETE FROM chain WHERE link <= ?1")?.execute([anchor.last_link])?;
    for kind in DELETED {
        let (table, key) = (kind.table(), kind.key());
        let unless = if kind == Kind::Reservation {
            "AND NOT EXISTS (SELECT 1 FROM settlements WHERE reservation = reservations.sequence)"
        } else {
            ""
        };
        transaction
            .prepare_cached(&format!("DELETE FROM {table} WHERE {key} <= ?1 {unless}"))?
            .execute([anchor.last_row(kind)])?;
    }
    Ok(())
}

/// The sums of what the anchor has removed, by hour.
pub(crate) fn removed_sums(connection: &Connection, anchor: i64) -> Result<SumsByKey, LedgerError> {
    let mut removed = SumsByKey::new();
    for of in Of::ALL {
        let columns: Vec<&str> = ["hour", "run"].into_iter().chain(of.names()).chain(of.columns()).collect();
        let sql = format!("SELECT {} FROM removed_{} WHERE anchor = ?1", columns.join(", "), of.name());
        let mut query = connection.prepare_cached(&sql)?;
        let mut rows = query.query([anchor])?;
        while let Some(row) = rows.next()? {
            let names = [row.get(2)?, row.get(3)?, row.get(4)?];
            let key = Key { bucket: row.get(0)?, run: row.get(1)?, names };
            removed.insert((of, key), rollup::read(row, 5, of)?);
        }
    }
    Ok(removed)
}
