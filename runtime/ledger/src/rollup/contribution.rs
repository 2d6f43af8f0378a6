//! What a row adds to the roll-ups.

use rusqlite::types::ValueRef;

use super::{Key, Of, Span, Sums};
use crate::chain::Kind;

/// What a row adds.
#[derive(Debug, Clone)]
pub(crate) struct Contribution {
    pub(crate) of: Of,
    unix_ms: i64,
    run: i64,
    names: [String; 3],
    pub(crate) sums: Sums,
}

/// A row that this program would not have written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Malformed;

impl Contribution {
    /// What the row of that kind adds; nothing for what is neither a settlement nor an interval. `link` is its place in
    /// the chain, `fields` are all that are linked of it.
    pub(crate) fn of(kind: Kind, link: i64, fields: &[ValueRef<'_>]) -> Result<Option<Self>, Malformed> {
        match kind {
            Kind::Settlement => of_settlement(link, fields).map(Some),
            Kind::Interval => of_interval(fields).map(Some),
            _ => Ok(None),
        }
    }

    /// What rows of an hour that were removed had added together.
    pub(crate) fn removed(of: Of, hour: Key, sums: Sums) -> Self {
        let unix_ms = hour.bucket.saturating_mul(Span::Hour.millis());
        Self { of, unix_ms, run: hour.run, names: hour.names, sums }
    }

    /// Where it counts.
    pub(crate) fn key(&self, span: Span) -> Key {
        Key { bucket: span.bucket(self.unix_ms), run: self.run, names: self.names.clone() }
    }
}

fn of_settlement(link: i64, fields: &[ValueRef<'_>]) -> Result<Contribution, Malformed> {
    let [_, outcome, last_ms, unix_ms, cold, more @ ..] = fields else { return Err(Malformed) };
    let [measured @ .., weights_bytes, energy, carbon, pico_units, _, run, _, tenant, model, first_ms] = more else {
        return Err(Malformed);
    };
    let (weights_bytes, pico_units) = (integer(weights_bytes)?, optional(pico_units)?);
    let mut sums = vec![1, integer(cold)?];
    for figure in measured.iter().chain([energy, carbon]) {
        sums.push(integer(figure)?);
    }
    sums.extend([pico_units.unwrap_or(0), i64::from(pico_units.is_none())]);
    sums.extend([integer(first_ms)?, integer(last_ms)?]);
    sums.extend([weights_bytes, if weights_bytes > 0 { link } else { 0 }]);
    Contribution::checked(Of::Requests, (unix_ms, run), [text(tenant)?, text(model)?, text(outcome)?], sums)
}

fn of_interval(fields: &[ValueRef<'_>]) -> Result<Contribution, Malformed> {
    let [run, _, model, account, tenant, kib_ms, from_ms, to_ms, unix_ms] = fields else { return Err(Malformed) };
    let tenant = if matches!(tenant, ValueRef::Null) { String::new() } else { text(tenant)? };
    let sums = vec![1, integer(kib_ms)?, integer(from_ms)?, integer(to_ms)?];
    Contribution::checked(Of::Accounts, (unix_ms, run), [text(model)?, text(account)?, tenant], sums)
}

impl Contribution {
    fn checked(
        of: Of,
        (unix_ms, run): (&ValueRef<'_>, &ValueRef<'_>),
        names: [String; 3],
        sums: Vec<i64>,
    ) -> Result<Self, Malformed> {
        if sums.len() != of.columns().len() {
            return Err(Malformed);
        }
        Ok(Self { of, unix_ms: integer(unix_ms)?, run: integer(run)?, names, sums: Sums(sums) })
    }
}

fn integer(field: &ValueRef<'_>) -> Result<i64, Malformed> {
    field.as_i64().map_err(|_| Malformed)
}

fn optional(field: &ValueRef<'_>) -> Result<Option<i64>, Malformed> {
    field.as_i64_or_null().map_err(|_| Malformed)
}

fn text(field: &ValueRef<'_>) -> Result<String, Malformed> {
    field.as_str().map(str::to_owned).map_err(|_| Malformed)
}
