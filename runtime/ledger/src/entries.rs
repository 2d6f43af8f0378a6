//! What operations append, and what they find appended already.

use meter::{AccountInterval, EnergyInterval, Receipt};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension, params};

use crate::LedgerError;
use crate::chain::Kind;
use crate::journal::Journal;
use crate::limits::CHECKPOINTS_PER_REQUEST_MAX;
use crate::operation::{Checkpoint, Reservation, Settlement};

/// The run that writes, and what time it is by the wall clock.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Present {
    pub(crate) run: i64,
    pub(crate) unix_ms: i64,
}

const NULL: ValueRef<'static> = ValueRef::Null;

const fn int(value: i64) -> ValueRef<'static> {
    ValueRef::Integer(value)
}

const fn text(text: &str) -> ValueRef<'_> {
    ValueRef::Text(text.as_bytes())
}

fn optional(value: Option<&str>) -> ValueRef<'_> {
    value.map_or(NULL, text)
}

pub(crate) fn reserve(
    journal: &mut Journal<'_>,
    present: Present,
    reservation: &Reservation,
) -> Result<(), LedgerError> {
    let Reservation { id, tenant, model, at, idempotency_key, key_id } = reservation;
    let same = journal
        .connection()
        .prepare_cached(
            "SELECT tenant = ?2 AND model = ?3 AND idempotency_key IS ?4 AND key_id IS ?5 FROM reservations WHERE id = ?1",
        )?
        .query_row(params![id, tenant, model, idempotency_key, key_id], |row| row.get(0))
        .optional()?;
    if let Some(same) = same {
        return absorbed(same, id);
    }
    if let Some(key) = idempotency_key {
        let first: Option<String> = journal
            .connection()
            .prepare_cached("SELECT id FROM reservations WHERE tenant = ?1 AND idempotency_key = ?2")?
            .query_row(params![tenant, key], |row| row.get(0))
            .optional()?;
        if let Some(id) = first {
            return Err(LedgerError::KeyUsed { id });
        }
    }
    let at_ms = stored("at_ms", at.get())?;
    let fields = [
        int(present.run),
        text(id),
        text(tenant),
        text(model),
        int(at_ms),
        int(present.unix_ms),
        optional(idempotency_key.as_deref()),
        optional(key_id.as_deref()),
    ];
    journal.append(Kind::Reservation, &fields)?;
    Ok(())
}

/// A reservation, and how it was settled if it was.
struct Reserved {
    sequence: i64,
    run: i64,
    at_ms: i64,
    is_same: bool,
    settled: Option<Option<String>>,
}

fn reserved(connection: &Connection, receipt: &Receipt) -> Result<Reserved, LedgerError> {
    let found = connection
        .prepare_cached(
            "SELECT reservations.sequence, run, reservations.at_ms, tenant = ?2 AND model = ?3 AND key_id IS ?4, \
             settlements.sequence IS NOT NULL, receipt \
             FROM reservations LEFT JOIN settlements ON settlements.reservation = reservations.sequence WHERE id = ?1",
        )?
        .query_row(params![receipt.id, receipt.tenant, receipt.model, receipt.key_id], |row| {
            let is_settled: bool = row.get(4)?;
            let receipt: Option<String> = row.get(5)?;
            Ok(Reserved {
                sequence: row.get(0)?,
                run: row.get(1)?,
                at_ms: row.get(2)?,
                is_same: row.get(3)?,
                settled: is_settled.then_some(receipt),
            })
        })
        .optional()?;
    let found = found.ok_or_else(|| LedgerError::NotReserved { id: receipt.id.clone() })?;
    absorbed(found.is_same, &receipt.id)?;
    Ok(found)
}

pub(crate) fn checkpoint(
    journal: &mut Journal<'_>,
    present: Present,
    checkpoint: &Checkpoint,
) -> Result<(), LedgerError> {
    let Checkpoint { number, at, receipt } = checkpoint;
    let id = &receipt.id;
    let found = reserved(journal.connection(), receipt)?;
    // The end is written down: what was before it does not matter any more.
    if found.settled.is_some() {
        return Ok(());
    }
    if *number >= CHECKPOINTS_PER_REQUEST_MAX {
        return Err(LedgerError::TooManyCheckpoints { id: id.clone(), max: CHECKPOINTS_PER_REQUEST_MAX });
    }
    let json = json(receipt);
    let number = stored("number", *number)?;
    let same = journal
        .connection()
        .prepare_cached("SELECT receipt = ?3 FROM checkpoints WHERE reservation = ?1 AND number = ?2")?
        .query_row(params![found.sequence, number, json], |row| row.get(0))
        .optional()?;
    if let Some(same) = same {
        return absorbed(same, id);
    }
    let at_ms = stored("at_ms", at.get())?;
    let fields = [int(found.sequence), int(number), int(at_ms), int(present.unix_ms), text(&json)];
    journal.append(Kind::Checkpoint, &fields)?;
    Ok(())
}

pub(crate) fn settle(journal: &mut Journal<'_>, present: Present, settlement: &Settlement) -> Result<(), LedgerError> {
    let Settlement { at, receipt } = settlement;
    let found = reserved(journal.connection(), receipt)?;
    let json = json(receipt);
    if let Some(settled) = found.settled {
        return absorbed(settled.as_deref() == Some(json.as_str()), &receipt.id);
    }
    let Receipt { id, tenant, model, key_id, .. } = &**receipt;
    let bound = Bound { run: found.run, id, tenant, model, at_ms: found.at_ms, key_id: key_id.as_deref() };
    let ended = Ended { reservation: found.sequence, at_ms: stored("at_ms", at.get())?, unix_ms: present.unix_ms };
    append_settlement(journal, ended, (receipt, &json), bound)
}

/// What a settlement says of its reservation.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bound<'a> {
    pub(crate) run: i64,
    pub(crate) id: &'a str,
    pub(crate) tenant: &'a str,
    pub(crate) model: &'a str,
    pub(crate) at_ms: i64,
    pub(crate) key_id: Option<&'a str>,
}

impl<'a> Bound<'a> {
    fn fields(self) -> [ValueRef<'a>; 6] {
        let Self { run, id, tenant, model, at_ms, key_id } = self;
        [int(run), text(id), text(tenant), text(model), int(at_ms), optional(key_id)]
    }
}

/// Which reservation is over, and since when.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ended {
    pub(crate) reservation: i64,
    pub(crate) at_ms: i64,
    pub(crate) unix_ms: i64,
}

/// A settlement with its receipt, which is `json` as it is stored.
pub(crate) fn append_settlement(
    journal: &mut Journal<'_>,
    ended: Ended,
    (receipt, json): (&Receipt, &str),
    bound: Bound<'_>,
) -> Result<(), LedgerError> {
    let Receipt { tokens, times, cpu, memory, energy, carbon, cost, .. } = receipt;
    let figures = [
        ("prompt_tokens", tokens.prompt),
        ("cached_tokens", tokens.cached),
        ("completion_tokens", tokens.completion),
        ("load_wait_ns", times.load_wait_ns.get()),
        ("wall_ns", times.wall_ns.get()),
        ("cpu_ns", cpu.total_ns.get()),
        ("load_cpu_ns", cpu.load_ns.get()),
        ("weights_kib_ms", memory.weights_kib_ms.get()),
        ("load_kib_ms", memory.load_kib_ms.get()),
        ("kv_kib_ms", memory.kv_kib_ms.get()),
        ("weights_bytes", memory.weights_bytes),
        ("energy_nj", energy.total_nj.get()),
        ("micrograms_co2e", carbon.micrograms_co2e.get()),
    ];
    let mut fields = beginning(ended, receipt.outcome.name());
    fields.push(int(i64::from(receipt.cold)));
    for (column, figure) in figures {
        fields.push(int(stored(column, figure)?));
    }
    let price = cost.pico_units.map(|pico| stored("pico_units", pico.get())).transpose()?;
    fields.extend([price.map_or(NULL, int), text(json)]);
    fields.extend(bound.fields());
    journal.append(Kind::Settlement, &fields)?;
    Ok(())
}

/// A settlement of what is not known to have used anything.
pub(crate) fn append_crashed(journal: &mut Journal<'_>, ended: Ended, bound: Bound<'_>) -> Result<(), LedgerError> {
    let mut fields = beginning(ended, meter::Outcome::Crashed.name());
    // Cold or not, and every figure.
    fields.extend([int(0); 14]);
    fields.extend([NULL, NULL]);
    fields.extend(bound.fields());
    journal.append(Kind::Settlement, &fields)?;
    Ok(())
}

fn beginning(ended: Ended, outcome: &'static str) -> Vec<ValueRef<'static>> {
    vec![int(ended.reservation), text(outcome), int(ended.at_ms), int(ended.unix_ms)]
}

pub(crate) fn record_interval(
    journal: &mut Journal<'_>,
    present: Present,
    interval: &AccountInterval,
) -> Result<(), LedgerError> {
    let AccountInterval { sequence, model, tenant, held_as, kib_ms, cpu, cost, from, to } = interval;
    let (account, held_as) = (interval.account(), held_as.name());
    let sequence = stored("source_sequence", *sequence)?;
    let (kib_ms, cpu_ns) = (stored("kib_ms", kib_ms.get())?, stored("cpu_ns", cpu.get())?);
    let same = journal
        .connection()
        .prepare_cached(
            "SELECT model = ?3 AND tenant IS ?4 AND held_as IS ?5 AND kib_ms = ?6 AND cpu_ns IS ?7 FROM intervals \
             WHERE run = ?1 AND source_sequence = ?2",
        )?
        .query_row(params![present.run, sequence, model, tenant, held_as, kib_ms, cpu_ns], |row| row.get(0))
        .optional()?;
    if let Some(same) = same {
        return absorbed(same, &format!("interval {sequence}"));
    }
    let price = cost.pico_units.map(|pico| stored("pico_units", pico.get())).transpose()?;
    let fields = [
        int(present.run),
        int(sequence),
        text(model),
        text(account.name()),
        optional(tenant.as_deref()),
        int(kib_ms),
        int(stored("from_ms", from.get())?),
        int(stored("to_ms", to.get())?),
        int(present.unix_ms),
        text(held_as),
        int(cpu_ns),
        int(stored("energy_nj", cost.energy.get())?),
        int(stored("micrograms_co2e", cost.carbon.get())?),
        price.map_or(NULL, int),
    ];
    journal.append(Kind::Interval, &fields)?;
    Ok(())
}

pub(crate) fn record_energy(
    journal: &mut Journal<'_>,
    present: Present,
    interval: &EnergyInterval,
) -> Result<(), LedgerError> {
    let EnergyInterval { sequence, device, source, quality, accounts, unknown_ms, from, to } = interval;
    let sequence = stored("source_sequence", *sequence)?;
    let mut figures = vec![stored("energy_nj", accounts.total().get())?];
    for (account, part) in accounts.parts() {
        figures.push(stored(account, part.get())?);
    }
    figures.push(stored("unknown_ms", *unknown_ms)?);
    let same = journal
        .connection()
        .prepare_cached(
            "SELECT device = ?3 AND source = ?4 AND energy_nj = ?5 AND requests_nj = ?6 AND unknown_ms = ?7 \
             FROM energy_intervals WHERE run = ?1 AND source_sequence = ?2",
        )?
        .query_row(params![present.run, sequence, device, source, figures[0], figures[1], figures[7]], |row| row.get(0))
        .optional()?;
    if let Some(same) = same {
        return absorbed(same, &format!("interval of energy {sequence}"));
    }
    let mut fields = vec![int(present.run), int(sequence), text(device), text(source), text(quality.name())];
    fields.extend(figures.into_iter().map(ValueRef::Integer));
    fields.extend([int(stored("from_ms", from.get())?), int(stored("to_ms", to.get())?), int(present.unix_ms)]);
    journal.append(Kind::Energy, &fields)?;
    Ok(())
}

/// A receipt as it is stored.
pub(crate) fn json(receipt: &Receipt) -> String {
    serde_json::to_string(receipt).expect("a receipt has only string keys")
}

fn absorbed(is_same: bool, id: &str) -> Result<(), LedgerError> {
    if is_same { Ok(()) } else { Err(LedgerError::Duplicate { id: id.to_owned() }) }
}

fn stored(column: &'static str, value: u64) -> Result<i64, LedgerError> {
    i64::try_from(value).map_err(|_| LedgerError::OutOfRange { column, value })
}
