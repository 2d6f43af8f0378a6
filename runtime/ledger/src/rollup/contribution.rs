//! What a row adds to the roll-ups.

use meter::Outcome;
use rusqlite::types::ValueRef;

use super::{Key, Of, Span, Sums};
use crate::chain::Kind;

/// What a row adds.
#[derive(Debug, Clone)]
pub(crate) struct Contribution {
    /// When it was written; where it counts in an hour or a day is the bucket of that.
    pub(crate) unix_ms: i64,
    /// Where it counts in its hour.
    pub(crate) place: (Of, Key),
    pub(crate) sums: Sums,
}

/// What one row adds: to the sums of its tenant or account, and to those of its key.
pub(crate) type Contributions = [Option<Contribution>; 2];

/// A row that this program would not have written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Malformed;

impl Contribution {
    /// What the row of that kind adds; nothing for what is neither a settlement nor an interval of either kind. `link` is its
    /// place in the chain, `fields` are all that are linked of it.
    pub(crate) fn of(kind: Kind, link: i64, fields: &[ValueRef<'_>]) -> Result<Contributions, Malformed> {
        match kind {
            Kind::Settlement => of_settlement(link, fields),
            Kind::Interval => of_interval(fields).map(|one| [Some(one), None]),
            Kind::Energy => of_energy(fields).map(|one| [Some(one), None]),
            _ => Ok([None, None]),
        }
    }

    /// What rows of an hour that were removed had added together.
    pub(crate) fn removed(of: Of, hour: Key, sums: Sums) -> Self {
        Self { unix_ms: hour.bucket.saturating_mul(Span::Hour.millis()), place: (of, hour), sums }
    }
}

/// What a settlement adds to its tenant's sums, and to its key's.
fn of_settlement(link: i64, fields: &[ValueRef<'_>]) -> Result<Contributions, Malformed> {
    let [_, outcome, last_ms, unix_ms, cold, more @ ..] = fields else { return Err(Malformed) };
    let [measured @ .., weights_bytes, energy, carbon, pico_units, _, run, _, tenant, model, first_ms, key_id] = more
    else {
        return Err(Malformed);
    };
    let (weights_bytes, pico_units) = (integer(weights_bytes)?, optional(pico_units)?);
    let mut sums = [0; 20];
    let mut places = sums.iter_mut();
    let mut put = |value| places.next().map(|place| *place = value).ok_or(Malformed);
    put(1)?;
    put(integer(cold)?)?;
    for figure in measured.iter().chain([energy, carbon]) {
        put(integer(figure)?)?;
    }
    put(pico_units.unwrap_or(0))?;
    put(i64::from(pico_units.is_none()))?;
    put(integer(first_ms)?)?;
    put(integer(last_ms)?)?;
    put(weights_bytes)?;
    put(if weights_bytes > 0 { link } else { 0 })?;
    let names = [text(tenant)?, text(model)?, text(outcome)?];
    let of_tenant = Contribution::checked(Of::Requests, (unix_ms, run), names, &sums)?;
    if matches!(key_id, ValueRef::Null) {
        return Ok([Some(of_tenant), None]);
    }
    let [requests, summed @ .., _, _, _, _] = sums;
    let is_completed = i64::from(outcome.as_str() == Ok(Outcome::Completed.name()));
    let mut of_key = vec![requests, is_completed];
    of_key.extend(summed);
    let names = [text(key_id)?, text(tenant)?, text(model)?];
    let of_key = Contribution::checked(Of::Keys, (unix_ms, run), names, &of_key)?;
    Ok([Some(of_tenant), Some(of_key)])
}

fn of_interval(fields: &[ValueRef<'_>]) -> Result<Contribution, Malformed> {
    let [run, _, model, account, tenant, kib_ms, from_ms, to_ms, unix_ms, held_as, figures @ .., pico_units] = fields
    else {
        return Err(Malformed);
    };
    let tenant = if matches!(tenant, ValueRef::Null) { String::new() } else { text(tenant)? };
    let (kib_ms, span) = (integer(kib_ms)?, [integer(from_ms)?, integer(to_ms)?]);
    if matches!(held_as, ValueRef::Null) {
        let names = [text(model)?, text(account)?, tenant];
        return Contribution::checked(Of::Accounts, (unix_ms, run), names, &[1, kib_ms, span[0], span[1]]);
    }
    let pico_units = optional(pico_units)?;
    let mut sums = vec![1, kib_ms];
    for figure in figures {
        sums.push(integer(figure)?);
    }
    sums.extend([pico_units.unwrap_or(0), i64::from(pico_units.is_none())]);
    sums.extend(span);
    Contribution::checked(Of::Held, (unix_ms, run), [text(model)?, tenant, text(held_as)?], &sums)
}

fn of_energy(fields: &[ValueRef<'_>]) -> Result<Contribution, Malformed> {
    let [run, _, device, source, quality, figures @ .., unix_ms] = fields else { return Err(Malformed) };
    let sums = std::iter::once(Ok(1)).chain(figures.iter().map(integer)).collect::<Result<Vec<_>, _>>()?;
    Contribution::checked(Of::Energy, (unix_ms, run), [text(device)?, text(source)?, text(quality)?], &sums)
}

impl Contribution {
    fn checked(
        of: Of,
        (unix_ms, run): (&ValueRef<'_>, &ValueRef<'_>),
        names: [String; 3],
        sums: &[i64],
    ) -> Result<Self, Malformed> {
        let (unix_ms, run) = (integer(unix_ms)?, integer(run)?);
        let place = (of, Key { bucket: Span::Hour.bucket(unix_ms), run, names });
        Ok(Self { unix_ms, place, sums: Sums::new(of, sums.iter().copied()).ok_or(Malformed)? })
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
