//! Following the chain from link to link, each with the row that it is of.
//!
//! Invariants: one row in memory at a time; whatever the file holds, the walk ends, with the first link that does not fit.

use std::ops::ControlFlow;

use rusqlite::types::ValueRef;
use rusqlite::{CachedStatement, Connection, OptionalExtension};

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
    let mut rows = RowQueries::new(connection)?;
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
        match rows.check(&head, &found, &mut visit)? {
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

/// A prepared query for the rows of each kind.
struct RowQueries<'c> {
    queries: Vec<(Kind, CachedStatement<'c>)>,
}

impl<'c> RowQueries<'c> {
    fn new(connection: &'c Connection) -> Result<Self, LedgerError> {
        let queries = Kind::ALL.into_iter().map(|kind| Ok((kind, connection.prepare_cached(&row_query(kind))?)));
        Ok(Self { queries: queries.collect::<Result<_, rusqlite::Error>>()? })
    }

    fn check(
        &mut self,
        head: &Head,
        found: &Found,
        visit: &mut impl FnMut(&Linked<'_>) -> Result<ControlFlow<()>, LedgerError>,
    ) -> Result<Checked, LedgerError> {
        if found.link != head.link + 1 {
            return Ok(Checked::Broken("links before it are missing"));
        }
        let Some(kind) = found.kind else { return Ok(Checked::Broken("it is of no known kind")) };
        let (_, query) = self.queries.iter_mut().find(|(of, _)| *of == kind).expect("every kind has its query");
        let mut rows = query.query([found.sequence])?;
        let Some(stored) = rows.next()? else { return Ok(Checked::Broken("its row is missing")) };
        let mut fields = [ValueRef::Null; FIELDS_MAX];
        let fields = &mut fields[..kind.columns().len() + kind.bound().len()];
        for (index, field) in fields.iter_mut().enumerate() {
            *field = stored.get_ref(index)?;
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
}

/// Fields of a settlement, which has the most.
const FIELDS_MAX: usize = 25;

/// The fields of one row, by its sequence number.
fn row_query(kind: Kind) -> String {
    let (table, key) = (kind.table(), kind.key());
    let of =
        |table: &str, columns: &[&str]| columns.iter().map(|column| format!("{table}.{column}")).collect::<Vec<_>>();
    let mut columns = of(table, kind.columns());
    columns.extend(of("reservations", kind.bound()));
    let join = if kind.bound().is_empty() {
        ""
    } else {
        "LEFT JOIN reservations ON reservations.sequence = settlements.reservation"
    };
    format!("SELECT {} FROM {table} {join} WHERE {table}.{key} = ?1", columns.join(", "))
}

/// The digest of the anchor with that sequence number, as the next anchor has it.
pub(crate) fn anchor_digest(connection: &Connection, sequence: i64) -> Result<Option<Digest>, LedgerError> {
    let kind = Kind::Anchor;
    let digest = connection.prepare_cached(&row_query(kind))?.query_row([sequence], |stored| {
        let fields = (0..kind.columns().len()).map(|index| stored.get_ref(index)).collect::<Result<Vec<_>, _>>()?;
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
