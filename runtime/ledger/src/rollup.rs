//! Sums of settlements and of intervals of both kinds by hour and by day, kept beside the rows; of settlements by tenants and
//! by keys, of intervals of accounts by whose they are and as what memory was held.
//!
//! A row counts in the hour and the day (of UTC) of the wall-clock time that is stored in it, whatever the clock said
//! before or after: a clock that jumps moves figures to another hour and neither loses nor doubles any.
//!
//! Invariants: sums change in the transaction in which their rows are appended, so that the sums of an hour and of a day
//! are those of its rows at any time, removed ones included; integers only, and what does not fit is refused before
//! anything is written.
//!
//! Deliberately absent: quantiles, and anything else that does not add up.

mod columns;
mod contribution;

use std::collections::BTreeMap;
use std::sync::LazyLock;

use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, OptionalExtension, params_from_iter};
use sha2::{Digest as _, Sha256};

pub(crate) use self::columns::Of;
use self::columns::{REQUEST_COLUMNS, Rule};
pub(crate) use self::contribution::{Contribution, Contributions};
use crate::LedgerError;
use crate::chain::{self, Digest};
use crate::limits::ROLLUPS_TOUCHED_MAX;

/// What is one bucket of the sums.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Span {
    /// 3,600,000 ms.
    Hour,
    /// 24 hours.
    Day,
}

impl Span {
    pub(crate) const ALL: [Self; 2] = [Self::Hour, Self::Day];

    /// The beginning of its tables' names, and its column's.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Hour => "hour",
            Self::Day => "day",
        }
    }

    pub(crate) const fn millis(self) -> i64 {
        match self {
            Self::Hour => 3_600_000,
            Self::Day => 86_400_000,
        }
    }

    /// The same in seconds.
    #[must_use]
    pub const fn seconds(self) -> i64 {
        self.millis() / 1000
    }

    /// How many of these there were since 1970.
    pub(crate) const fn bucket(self, unix_ms: i64) -> i64 {
        unix_ms.div_euclid(self.millis())
    }
}

/// Whose sums, and of when. Ordered as the tables are.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    /// Of a [`Span`].
    pub(crate) bucket: i64,
    pub(crate) run: i64,
    /// As [`Of::names`].
    pub(crate) names: [String; 3],
}

/// The columns of whichever has more.
const COLUMNS_MAX: usize = REQUEST_COLUMNS.len();

/// A row of sums: a value for each of [`Of::columns`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sums([i64; COLUMNS_MAX]);

impl Sums {
    /// These values; nothing if there are more or fewer of them than columns.
    pub(crate) fn new(of: Of, values: impl IntoIterator<Item = i64>) -> Option<Self> {
        let mut sums = [0; COLUMNS_MAX];
        let mut count = 0;
        for value in values {
            *sums[..of.rules().len()].get_mut(count)? = value;
            count += 1;
        }
        (count == of.rules().len()).then_some(Self(sums))
    }

    /// In the order of the columns.
    pub(crate) fn values(&self, of: Of) -> &[i64] {
        &self.0[..of.rules().len()]
    }

    /// Both together, or the column in which that does not fit.
    pub(crate) fn plus(&self, other: &Self, of: Of) -> Result<Self, &'static str> {
        let Self(ours) = self;
        let Self(theirs) = other;
        let mut merged = *ours;
        for (index, (column, rule)) in of.rules().iter().enumerate() {
            let (one, two) = (ours[index], theirs[index]);
            merged[index] = match rule {
                Rule::Add => one.checked_add(two).ok_or(*column)?,
                Rule::Least => one.min(two),
                Rule::Most => one.max(two),
            };
        }
        Ok(Self(merged))
    }
}

/// Sums by key, of each [`Of`] apart.
pub(crate) type SumsByKey = BTreeMap<(Of, Key), Sums>;

/// Adds `sums` to those of `place`.
pub(crate) fn add(to: &mut SumsByKey, place: &(Of, Key), sums: &Sums) -> Result<(), &'static str> {
    if let Some(before) = to.get_mut(place) {
        *before = before.plus(sums, place.0)?;
    } else {
        to.insert(place.clone(), *sums);
    }
    Ok(())
}

/// What a set of sums is bound by in an anchor: SHA-256 over its rows in order, fields encoded as [`crate::chain`] has it.
pub(crate) fn digest<'a>(sums: impl Iterator<Item = (&'a (Of, Key), &'a Sums)>) -> Digest {
    let mut hash = Sha256::new();
    let mut bytes = Vec::new();
    for ((of, key), sums) in sums {
        bytes.clear();
        bytes.push(*of as u8);
        for number in [key.bucket, key.run] {
            chain::write_field(&mut bytes, ValueRef::Integer(number));
        }
        key.names.iter().for_each(|name| chain::write_field(&mut bytes, ValueRef::Text(name.as_bytes())));
        sums.values(*of).iter().for_each(|value| chain::write_field(&mut bytes, ValueRef::Integer(*value)));
        hash.update(&bytes);
    }
    hash.finalize().into()
}

/// The roll-ups that a transaction touches.
pub(crate) struct Rollups<'t> {
    connection: &'t Connection,
    touched: BTreeMap<Span, SumsByKey>,
    /// Nothing is stored that could be added to.
    is_first: bool,
}

impl<'t> Rollups<'t> {
    pub(crate) fn new(connection: &'t Connection) -> Self {
        Self { connection, touched: Span::ALL.map(|span| (span, SumsByKey::new())).into(), is_first: false }
    }

    /// For tables that are empty.
    pub(crate) fn anew(connection: &'t Connection) -> Self {
        Self { is_first: true, ..Self::new(connection) }
    }

    /// Counts what a row adds: all of it or, where a sum does not fit any more, nothing. Sums are written when there are too
    /// many of them to hold, which a commit never has.
    ///
    /// # Errors
    /// [`LedgerError::OutOfRange`].
    pub(crate) fn add(&mut self, mut contributions: Contributions) -> Result<(), LedgerError> {
        let mut after = [[Sums([0; COLUMNS_MAX]); Span::ALL.len()]; 2];
        for (Contribution { unix_ms, place, sums }, after) in contributions.iter_mut().flatten().zip(&mut after) {
            for (span, after) in Span::ALL.into_iter().zip(after) {
                place.1.bucket = span.bucket(*unix_ms);
                let before = match self.touched[&span].get(place) {
                    Some(touched) => Some(*touched),
                    None if self.is_first => None,
                    None => load(self.connection, span, place)?,
                };
                let merged = before.map_or(Ok(*sums), |before| before.plus(sums, place.0));
                *after = merged.map_err(|column| LedgerError::OutOfRange { column, value: u64::MAX })?;
            }
        }
        for (Contribution { unix_ms, mut place, .. }, after) in contributions.into_iter().flatten().zip(after) {
            for (span, after) in Span::ALL.into_iter().zip(after) {
                place.1.bucket = span.bucket(unix_ms);
                let touched = self.touched.get_mut(&span).expect("there is a map for every span");
                match touched.get_mut(&place) {
                    Some(sums) => *sums = after,
                    None => drop(touched.insert(place.clone(), after)),
                }
            }
        }
        if self.touched.values().map(BTreeMap::len).sum::<usize>() > ROLLUPS_TOUCHED_MAX {
            self.store()?;
        }
        Ok(())
    }

    /// Writes what was touched.
    pub(crate) fn store(&mut self) -> Result<(), LedgerError> {
        self.is_first = false;
        for (span, touched) in &mut self.touched {
            for (place, sums) in std::mem::take(touched) {
                store(self.connection, (span.name(), &[(span.name(), place.1.bucket)]), &place, &sums)?;
            }
        }
        Ok(())
    }
}

/// The sums of a place, if there are any.
fn load(connection: &Connection, span: Span, (of, key): &(Of, Key)) -> Result<Option<Sums>, LedgerError> {
    /// In the order of spans, and of what is summed within each.
    static SELECTS: LazyLock<Vec<String>> = LazyLock::new(|| {
        let each = Span::ALL.into_iter().flat_map(|span| Of::ALL.map(|of| (span, of)));
        let select = |(span, of): (Span, Of)| {
            let ([first, second, third], columns) = (of.names(), of.columns().collect::<Vec<_>>().join(", "));
            let (span, table) = (span.name(), of.name());
            format!(
                "SELECT {columns} FROM {span}_{table} WHERE {span} = ?1 AND run = ?2 AND {first} = ?3 AND {second} = ?4 \
                 AND {third} = ?5"
            )
        };
        each.map(select).collect()
    });
    let sql = &SELECTS[span as usize * Of::ALL.len() + *of as usize];
    let [one, two, three] = &key.names;
    let parameters = rusqlite::params![key.bucket, key.run, one, two, three];
    let found = connection.prepare_cached(sql)?.query_row(parameters, |row| read(row, 0, *of)).optional()?;
    Ok(found)
}

/// The sums in the columns from `first` on.
pub(crate) fn read(row: &rusqlite::Row<'_>, first: usize, of: Of) -> Result<Sums, rusqlite::Error> {
    let mut sums = Sums([0; COLUMNS_MAX]);
    for (index, value) in sums.0[..of.rules().len()].iter_mut().enumerate() {
        *value = row.get(first + index)?;
    }
    Ok(sums)
}

/// Writes the sums of a place to the table of that prefix, in whose first columns stands what `times` says.
pub(crate) fn store(
    connection: &Connection,
    (prefix, times): (&str, &[(&'static str, i64)]),
    (of, key): &(Of, Key),
    sums: &Sums,
) -> Result<(), LedgerError> {
    let names = of.names();
    let columns: Vec<&str> =
        times.iter().map(|(column, _)| *column).chain(["run"]).chain(names).chain(of.columns()).collect();
    let places = vec!["?"; columns.len()].join(", ");
    let sql = format!("INSERT OR REPLACE INTO {prefix}_{} ({}) VALUES ({places})", of.name(), columns.join(", "));
    let before = times.iter().map(|(_, value)| *value).chain([key.run]).map(ValueRef::Integer);
    let texts = key.names.iter().map(|name| ValueRef::Text(name.as_bytes()));
    let after = sums.values(*of).iter().map(|value| ValueRef::Integer(*value));
    let all = before.chain(texts).chain(after).map(ToSqlOutput::Borrowed);
    connection.prepare_cached(&sql)?.execute(params_from_iter(all))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_merged_by_their_rules() {
        let of = Of::Requests;
        let row = |value, last: [i64; 4]| Sums::new(of, [value; 16].into_iter().chain(last)).unwrap();
        let (early, late) = (row(1, [50, 60, 1000, 3]), row(2, [40, 55, 900, 7]));
        let merged = early.plus(&late, of).unwrap();
        assert_eq!(merged, late.plus(&early, of).unwrap());
        assert_eq!(merged, row(3, [40, 60, 1000, 7]));
        let account = |value| Sums::new(Of::Accounts, [1, value, 0, 0]).unwrap();
        assert_eq!(account(i64::MAX).plus(&account(1), Of::Accounts), Err("kib_ms"));
        assert_eq!(Sums::new(Of::Accounts, [1; 3]), None);
        assert_eq!(Sums::new(Of::Accounts, [1; 5]), None);
    }

    #[test]
    fn sums_that_are_too_many_to_hold_are_stored_and_found_again() {
        let connection = Connection::open_in_memory().unwrap();
        crate::schema::create_rollups(&connection).unwrap();
        let mut rollups = Rollups::anew(&connection);
        let row = |hour: i64| {
            let names = ["m", "idle", ""].map(str::to_owned);
            let place = (Of::Accounts, Key { bucket: hour, run: 1, names });
            let sums = Sums::new(Of::Accounts, [1, 2, hour, hour]).unwrap();
            [Some(Contribution { unix_ms: hour * Span::Hour.millis(), place, sums }), None]
        };
        let count = i64::try_from(ROLLUPS_TOUCHED_MAX).unwrap();
        (0..count).for_each(|hour| rollups.add(row(hour)).unwrap());
        let held: usize = rollups.touched.values().map(BTreeMap::len).sum();
        assert!(held < ROLLUPS_TOUCHED_MAX / 2, "{held} held");
        // A clock that was set back, and time that goes on.
        [5, 5, count, count + 1].into_iter().for_each(|hour| rollups.add(row(hour)).unwrap());
        rollups.store().unwrap();
        let read = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
        assert_eq!(read("SELECT count(*) FROM hour_accounts"), count + 2);
        assert_eq!(read("SELECT intervals FROM hour_accounts WHERE hour = 5"), 3);
        for span in ["hour", "day"] {
            assert_eq!(read(&format!("SELECT sum(kib_ms) FROM {span}_accounts")), 2 * (count + 4), "{span}");
        }
    }

    #[test]
    fn buckets_go_on_before_1970() {
        assert_eq!([Span::Hour.bucket(3_599_999), Span::Hour.bucket(-1), Span::Day.bucket(86_400_000)], [0, -1, 1]);
        assert_eq!(Span::Day.bucket(i64::MIN), i64::MIN.div_euclid(86_400_000));
    }
}
