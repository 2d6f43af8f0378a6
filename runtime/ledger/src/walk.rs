//! Following the chain from link to link, each with the row that it is of.
//!
//! Invariants: one row in memory at a time; whatever the file holds, the walk ends, with the first link that does not fit.

use std::ops::ControlFlow;

use rusqlite::types::ValueRef;
use rusqlite::{CachedStatement, Connection, OptionalExtension, Rows};

use crate::LedgerError;
use crate::chain::{Digest, Head, Kind, Row};
use crate::error::ChainBreak;

/// A row that its link fits.
pub(crate) struct Linked<'a> {
    pub(crate) row: Row<'a>,
    /// Up to here.
    pub(crate) head: Head,
}

/// How a walk ends.
#[derive(Debug)]
pub(crate) enum Walked {
    /// At the end of the chain, or where the visitor stopped it.
    To(Head),
    /// At a link that does not fit.
    Broken(ChainBreak),
}

/// Follows the chain from `from` on. `visit` sees each link and says whether to go on; a link that it stops at is not
/// counted as followed.
///
/// # Errors
/// What the store or `visit` fails with.
pub(crate) fn follow(
    connection: &Connection,
    from: Head,
    mut visit: impl FnMut(&Linked<'_>) -> Result<ControlFlow<()>, LedgerError>,
) -> Result<Walked, LedgerError> {
    let queries = Kind::ALL.into_iter().map(|kind| connection.prepare_cached(&rows_query(kind)));
    let mut queries = queries.collect::<Result<Vec<_>, _>>()?;
    let rows = queries.iter_mut().map(|query| Cursor { query: Some(query), rows: None });
    let mut rows: Vec<Cursor<'_, '_>> = rows.collect();
    let mut links =
        connection.prepare("SELECT link, kind, sequence, digest FROM chain WHERE link > ?1 ORDER BY link")?;
    let mut links = links.query([from.link])?;
    let mut head = from;
    while let Some(link) = links.next()? {
        let found = Found {
            link: link.get(0)?,
            kind: Kind::from_number(link.get(1)?),
            sequence: link.get(2)?,
            digest: link.get_ref(3)?.as_blob().ok().and_then(|digest| digest.try_into().ok()),
        };
        match check(&mut rows, &head, &found, &mut visit)? {
            Checked::Fits(next) => head = next,
            Checked::Stopped => return Ok(Walked::To(head)),
            Checked::Broken(reason) => return Ok(Walked::Broken(found.broken(reason))),
        }
    }
    Ok(Walked::To(head))
}

/// A link as it is stored.
struct Found {
    link: i64,
    kind: Option<Kind>,
    sequence: i64,
    digest: Option<Digest>,
}

impl Found {
    fn broken(&self, reason: &'static str) -> ChainBreak {
        ChainBreak { link: self.link, table: self.kind.map(Kind::table), sequence: self.sequence, reason }
    }
}

enum Checked {
    Fits(Head),
    Stopped,
    Broken(&'static str),
}

/// The rows of one kind from the first one asked for on. Rows are linked in the order of their sequence numbers, so that
/// none is looked up.
struct Cursor<'s, 'c> {
    query: Option<&'s mut CachedStatement<'c>>,
    rows: Option<Rows<'s>>,
}

impl<'s> Cursor<'s, '_> {
    fn row(&mut self, sequence: i64) -> Result<Option<&rusqlite::Row<'s>>, rusqlite::Error> {
        if let Some(query) = self.query.take() {
            self.rows = Some(query.query([sequence])?);
        }
        self.rows.as_mut().expect("a query has rows from its first use on").next()
    }
}

fn check(
    rows: &mut [Cursor<'_, '_>],
    head: &Head,
    found: &Found,
    visit: &mut impl FnMut(&Linked<'_>) -> Result<ControlFlow<()>, LedgerError>,
) -> Result<Checked, LedgerError> {
    if found.link != head.link + 1 {
        return Ok(Checked::Broken("links before it are missing"));
    }
    let Some(kind) = found.kind else { return Ok(Checked::Broken("it is of no known kind")) };
    let index = Kind::ALL.iter().position(|one| *one == kind).expect("all kinds are there");
    let Some(stored) = rows[index].row(found.sequence)? else { return Ok(Checked::Broken("its row is missing")) };
    let mut fields = [ValueRef::Null; FIELDS_MAX];
    let fields = &mut fields[..kind.columns().len() + kind.bound().len()];
    for (index, field) in fields.iter_mut().enumerate() {
        *field = stored.get_ref(index + 1)?;
    }
    match stored.get_ref(0)? {
        ValueRef::Integer(sequence) if sequence == found.sequence => {}
        _ => return Ok(Checked::Broken("its row is missing, or one before it is not linked")),
    }
    let row = Row { kind, sequence: found.sequence, fields };
    let next = head.after(&row);
    if found.digest != Some(next.digest) {
        return Ok(Checked::Broken("the row is not the one that was linked"));
    }
    Ok(match visit(&Linked { row, head: next })? {
        ControlFlow::Continue(()) => Checked::Fits(next),
        ControlFlow::Break(()) => Checked::Stopped,
    })
}

/// Fields of a settlement, which has the most.
const FIELDS_MAX: usize = 26;

/// Sequence numbers and fields of a kind's rows, from one on.
fn rows_query(kind: Kind) -> String {
    let (table, key) = (kind.table(), kind.key());
    format!("{} WHERE {table}.{key} >= ?1 ORDER BY {table}.{key}", select(kind))
}

fn select(kind: Kind) -> String {
    let table = kind.table();
    let of = |table: &str, columns: &[&str]| columns.iter().map(|name| format!("{table}.{name}")).collect::<Vec<_>>();
    let mut columns = of(table, &[kind.key()]);
    columns.extend(of(table, kind.columns()));
    columns.extend(of("reservations", kind.bound()));
    let join = if kind.bound().is_empty() {
        ""
    } else {
        "LEFT JOIN reservations ON reservations.sequence = settlements.reservation"
    };
    format!("SELECT {} FROM {table} {join}", columns.join(", "))
}

/// The digest of the anchor with that sequence number, as the next anchor has it.
pub(crate) fn anchor_digest(connection: &Connection, sequence: i64) -> Result<Option<Digest>, LedgerError> {
    let kind = Kind::Anchor;
    let sql = format!("{} WHERE {} = ?1", select(kind), kind.key());
    let digest = connection.prepare_cached(&sql)?.query_row([sequence], |stored| {
        let fields = (0..kind.columns().len()).map(|index| stored.get_ref(index + 1)).collect::<Result<Vec<_>, _>>()?;
        Ok(Row { kind, sequence, fields: &fields }.digest())
    });
    Ok(digest.optional()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_fits_into_the_fields_of_a_row() {
        let most = Kind::ALL.map(|kind| kind.columns().len() + kind.bound().len()).into_iter().max();
        assert_eq!(most, Some(FIELDS_MAX));
    }
}
