//! Sums of settlements and intervals by hour and by day, kept beside the rows.
//!
//! A row counts in the hour and the day (of UTC) of the wall-clock time that is stored in it, whatever the clock said
//! before or after: a clock that jumps moves figures to another hour and neither loses nor doubles any.
//!
//! Invariants: sums change in the transaction in which their rows are appended, so that the sums of an hour and of a day
//! are those of its rows at any time, removed ones included; integers only, and what does not fit is refused before
//! anything is written.
//!
//! Deliberately absent: quantiles, and anything else that does not add up.

mod contribution;

use std::collections::BTreeMap;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension, params_from_iter};
use sha2::{Digest as _, Sha256};

pub(crate) use self::contribution::Contribution;
use crate::LedgerError;
use crate::chain::{self, Digest};
use crate::limits::ROLLUPS_TOUCHED_MAX;

/// What is summed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Of {
    /// Settled requests.
    Requests,
    /// Intervals of accounts.
    Accounts,
}

/// How two values of a column become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rule {
    Add,
    Least,
    Most,
    /// That of the row whose next column is greater.
    OfLatest,
}

const REQUEST_COLUMNS: [(&str, Rule); 20] = [
    ("requests", Rule::Add),
    ("cold", Rule::Add),
    ("prompt_tokens", Rule::Add),
    ("cached_tokens", Rule::Add),
    ("completion_tokens", Rule::Add),
    ("load_wait_ns", Rule::Add),
    ("wall_ns", Rule::Add),
    ("cpu_ns", Rule::Add),
    ("load_cpu_ns", Rule::Add),
    ("weights_kib_ms", Rule::Add),
    ("load_kib_ms", Rule::Add),
    ("kv_kib_ms", Rule::Add),
    ("energy_nj", Rule::Add),
    ("micrograms_co2e", Rule::Add),
    ("pico_units", Rule::Add),
    ("unpriced", Rule::Add),
    ("first_ms", Rule::Least),
    ("last_ms", Rule::Most),
    ("weights_bytes", Rule::OfLatest),
    ("weights_link", Rule::Most),
];

const ACCOUNT_COLUMNS: [(&str, Rule); 4] =
    [("intervals", Rule::Add), ("kib_ms", Rule::Add), ("first_ms", Rule::Least), ("last_ms", Rule::Most)];

impl Of {
    pub(crate) const ALL: [Self; 2] = [Self::Requests, Self::Accounts];

    /// The end of its tables' names.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Accounts => "accounts",
        }
    }

    /// What its sums are told apart by, beside time and run.
    pub(crate) const fn names(self) -> [&'static str; 3] {
        match self {
            Self::Requests => ["tenant", "model", "outcome"],
            Self::Accounts => ["model", "account", "tenant"],
        }
    }

    /// What is summed of its rows.
    pub(crate) fn columns(self) -> impl ExactSizeIterator<Item = &'static str> {
        self.rules().iter().map(|(column, _)| *column)
    }

    const fn rules(self) -> &'static [(&'static str, Rule)] {
        match self {
            Self::Requests => &REQUEST_COLUMNS,
            Self::Accounts => &ACCOUNT_COLUMNS,
        }
    }
}

/// What is one bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Span {
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

/// A row of sums: a value for each of [`Of::columns`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sums(pub(crate) Vec<i64>);

impl Sums {
    /// Both together, or the column in which that does not fit.
    pub(crate) fn plus(&self, other: &Self, of: Of) -> Result<Self, &'static str> {
        let Self(ours) = self;
        let Self(theirs) = other;
        let merged = of.rules().iter().enumerate().map(|(index, (column, rule))| {
            let (one, two) = (ours[index], theirs[index]);
            match rule {
                Rule::Add => one.checked_add(two).ok_or(*column),
                Rule::Least => Ok(one.min(two)),
                Rule::Most => Ok(one.max(two)),
                Rule::OfLatest => Ok(if theirs[index + 1] > ours[index + 1] { two } else { one }),
            }
        });
        merged.collect::<Result<_, _>>().map(Self)
    }
}

/// Sums by key, of requests and accounts apart.
pub(crate) type SumsByKey = BTreeMap<(Of, Key), Sums>;

/// Adds `sums` to those of `key`.
pub(crate) fn add(to: &mut SumsByKey, of: Of, key: Key, sums: &Sums) -> Result<(), &'static str> {
    let place = (of, key);
    let merged = match to.get(&place) {
        Some(before) => before.plus(sums, of)?,
        None => sums.clone(),
    };
    to.insert(place, merged);
    Ok(())
}

/// What a set of sums is bound by in an anchor: SHA-256 over its rows in order, fields encoded as [`crate::chain`] has it.
pub(crate) fn digest<'a>(sums: impl Iterator<Item = (&'a (Of, Key), &'a Sums)>) -> Digest {
    let mut hash = Sha256::new();
    for ((of, key), Sums(values)) in sums {
        hash.update([*of as u8]);
        for number in [key.bucket, key.run] {
            chain::write_field(&mut hash, ValueRef::Integer(number));
        }
        key.names.iter().for_each(|name| chain::write_field(&mut hash, ValueRef::Text(name.as_bytes())));
        values.iter().for_each(|value| chain::write_field(&mut hash, ValueRef::Integer(*value)));
    }
    hash.finalize().into()
}

/// The roll-ups that a transaction touches.
pub(crate) struct Rollups<'t> {
    connection: &'t Connection,
    touched: BTreeMap<Span, SumsByKey>,
}

impl<'t> Rollups<'t> {
    pub(crate) fn new(connection: &'t Connection) -> Self {
        Self { connection, touched: Span::ALL.map(|span| (span, SumsByKey::new())).into() }
    }

    /// Counts a row.
    ///
    /// # Errors
    /// [`LedgerError::OutOfRange`] if a sum does not fit any more; nothing has changed then.
    pub(crate) fn add(&mut self, contribution: &Contribution) -> Result<(), LedgerError> {
        let Contribution { of, sums, .. } = contribution;
        let mut merged = Vec::with_capacity(Span::ALL.len());
        for span in Span::ALL {
            let place = (*of, contribution.key(span));
            let before = match self.touched[&span].get(&place) {
                Some(touched) => Some(touched.clone()),
                None => load(self.connection, span, *of, &place.1)?,
            };
            let after = before.map_or_else(|| Ok(sums.clone()), |before| before.plus(sums, *of));
            merged.push((span, place, after.map_err(|column| LedgerError::OutOfRange { column, value: u64::MAX })?));
        }
        for (span, place, after) in merged {
            self.touched.get_mut(&span).expect("there is a map for every span").insert(place, after);
        }
        Ok(())
    }

    /// The same, for more rows than a commit has: sums are written when there are too many of them to hold.
    pub(crate) fn add_within_bounds(&mut self, contribution: &Contribution) -> Result<(), LedgerError> {
        self.add(contribution)?;
        if self.touched.values().map(BTreeMap::len).sum::<usize>() > ROLLUPS_TOUCHED_MAX {
            self.store()?;
        }
        Ok(())
    }

    /// Writes what was touched.
    pub(crate) fn store(&mut self) -> Result<(), LedgerError> {
        for (span, touched) in &mut self.touched {
            for ((of, key), sums) in std::mem::take(touched) {
                store(self.connection, (span.name(), &[(span.name(), key.bucket)]), of, &key, &sums)?;
            }
        }
        Ok(())
    }
}

/// The sums of `key`, if there are any.
fn load(connection: &Connection, span: Span, of: Of, key: &Key) -> Result<Option<Sums>, LedgerError> {
    let [first, second, third] = of.names();
    let columns: Vec<&str> = of.columns().collect();
    let sql = format!(
        "SELECT {} FROM {span}_{} WHERE {span} = ?1 AND run = ?2 AND {first} = ?3 AND {second} = ?4 AND {third} = ?5",
        columns.join(", "),
        of.name(),
        span = span.name(),
    );
    let [one, two, three] = &key.names;
    let found =
        connection.prepare_cached(&sql)?.query_row(rusqlite::params![key.bucket, key.run, one, two, three], |row| {
            (0..columns.len()).map(|index| row.get(index)).collect::<Result<_, _>>()
        });
    Ok(found.optional()?.map(Sums))
}

/// Writes the sums of `key` to the table of that prefix, in whose first columns stands what `times` says.
pub(crate) fn store(
    connection: &Connection,
    (prefix, times): (&str, &[(&'static str, i64)]),
    of: Of,
    key: &Key,
    Sums(values): &Sums,
) -> Result<(), LedgerError> {
    use rusqlite::types::ToSqlOutput::Borrowed;
    let names = of.names();
    let columns: Vec<&str> =
        times.iter().map(|(column, _)| *column).chain(["run"]).chain(names).chain(of.columns()).collect();
    let places = vec!["?"; columns.len()].join(", ");
    let sql = format!("INSERT OR REPLACE INTO {prefix}_{} ({}) VALUES ({places})", of.name(), columns.join(", "));
    let before = times.iter().map(|(_, value)| *value).chain([key.run]).map(ValueRef::Integer);
    let texts = key.names.iter().map(|name| ValueRef::Text(name.as_bytes()));
    let after = values.iter().map(|value| ValueRef::Integer(*value));
    let all = before.chain(texts).chain(after).map(Borrowed);
    connection.prepare_cached(&sql)?.execute(params_from_iter(all))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_merged_by_their_rules() {
        let mut early = vec![1; 20];
        let mut late = vec![2; 20];
        early[16..].copy_from_slice(&[50, 60, 1000, 7]);
        late[16..].copy_from_slice(&[40, 55, 0, 0]);
        let (early, late) = (Sums(early), Sums(late));
        let merged = early.plus(&late, Of::Requests).unwrap();
        assert_eq!(merged, late.plus(&early, Of::Requests).unwrap());
        let Sums(values) = merged;
        assert_eq!(values[..16], [3; 16]);
        assert_eq!(values[16..], [40, 60, 1000, 7]);
        assert_eq!(Sums(vec![1, i64::MAX, 0, 0]).plus(&Sums(vec![1; 4]), Of::Accounts), Err("kib_ms"));
    }

    #[test]
    fn buckets_go_on_before_1970() {
        assert_eq!([Span::Hour.bucket(3_599_999), Span::Hour.bucket(-1), Span::Day.bucket(86_400_000)], [0, -1, 1]);
        assert_eq!(Span::Day.bucket(i64::MIN), i64::MIN.div_euclid(86_400_000));
    }
}
