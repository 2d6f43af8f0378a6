//! Reading, on a connection that cannot write.
//!
//! Every method blocks on the disk; call it from a thread that may. A reader never waits for the writer's commit.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use meter::savings::{ModelUse, SavingsInputs, TenantUse};
use meter::{Account, KibMillis, Micrograms, Moment, Nanojoules, Nanos, Outcome, PicoUnits};
use rusqlite::{Connection, OpenFlags, OptionalExtension, Row, Transaction, params};

use crate::error::StoreFailure;
use crate::limits::{BUSY_WAIT_MAX, RECENT_MAX};
use crate::rows::{AccountTotal, TenantTotal, UsageRecord, UsageState};
use crate::{LedgerError, schema};

/// From when on rows count.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Since {
    /// All of them.
    #[default]
    Beginning,
    /// Since the file was last opened for writing.
    LatestRun,
    /// Since this many milliseconds after 1970, by the wall clock at the time of writing.
    UnixMillis(i64),
}

/// Which rows a savings report is about.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SavingsQuery {
    /// The first of them.
    pub since: Since,
    /// The present moment of the latest run, up to which a server that never unloads would go on holding its models;
    /// none to end with the last event.
    pub until: Option<Moment>,
}

/// What is recorded.
#[derive(Debug)]
pub struct Reader {
    connection: Mutex<Connection>,
}

impl Reader {
    /// Opens the ledger at `path` for reading only, whether another process writes it or not.
    ///
    /// # Errors
    /// [`LedgerError::Unavailable`] if it does not exist or cannot be read; [`LedgerError::SchemaTooNew`] and
    /// [`LedgerError::Corrupt`] as they say.
    pub fn open(path: &Path) -> Result<Self, LedgerError> {
        Self::open_with(path, OpenFlags::empty())
    }

    /// Opens `name`, which `extra` says how to read.
    pub(crate) fn open_with(name: &Path, extra: OpenFlags) -> Result<Self, LedgerError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | extra;
        let connection = Connection::open_with_flags(name, flags)?;
        connection.busy_timeout(BUSY_WAIT_MAX)?;
        connection.execute_batch("PRAGMA query_only = ON; PRAGMA trusted_schema = OFF;")?;
        schema::verify(&connection)?;
        Ok(Self { connection: Mutex::new(connection) })
    }

    /// What is known of the request `id`, or `None` if it was never reserved.
    ///
    /// # Errors
    /// [`LedgerError::Unavailable`] and [`LedgerError::Corrupt`] as they say.
    pub fn usage(&self, id: &str) -> Result<Option<UsageRecord>, LedgerError> {
        let connection = self.lock();
        let mut query = connection.prepare_cached(&format!("{USAGE} WHERE reservations.id = ?1"))?;
        query.query_row([id], stored_usage).optional()?.map(StoredUsage::read).transpose()
    }

    /// The last requests that were reserved, the latest first; at most [`RECENT_MAX`].
    ///
    /// # Errors
    /// [`LedgerError::Unavailable`] and [`LedgerError::Corrupt`] as they say.
    pub fn recent(&self, count: usize) -> Result<Vec<UsageRecord>, LedgerError> {
        let limit = i64::try_from(count.min(RECENT_MAX)).unwrap_or(0);
        let connection = self.lock();
        let mut query = connection.prepare_cached(&format!("{USAGE} ORDER BY reservations.sequence DESC LIMIT ?1"))?;
        let rows = query.query_map([limit], stored_usage)?.collect::<Result<Vec<_>, _>>()?;
        rows.into_iter().map(StoredUsage::read).collect()
    }

    /// Sums of all settled requests, by tenant and model in that order.
    ///
    /// # Errors
    /// [`LedgerError::Unavailable`] and [`LedgerError::Corrupt`] as they say.
    pub fn tenant_totals(&self) -> Result<Vec<TenantTotal>, LedgerError> {
        let connection = self.lock();
        let mut query = connection.prepare_cached(TENANT_TOTALS)?;
        let totals = query.query_map([], tenant_total)?.collect::<Result<_, _>>()?;
        Ok(totals)
    }

    /// What every account carried, by model.
    ///
    /// # Errors
    /// [`LedgerError::Unavailable`] and [`LedgerError::Corrupt`] as they say.
    pub fn account_totals(&self) -> Result<Vec<AccountTotal>, LedgerError> {
        let mut connection = self.lock();
        let transaction = connection.transaction()?;
        account_totals(&transaction, Filter::ALL)
    }

    /// What [`meter::savings`] is computed from.
    ///
    /// # Errors
    /// [`LedgerError::Unavailable`] and [`LedgerError::Corrupt`] as they say.
    pub fn savings_inputs(&self, query: SavingsQuery) -> Result<SavingsInputs, LedgerError> {
        let mut connection = self.lock();
        // One transaction, so that all sums are of the same rows.
        let transaction = connection.transaction()?;
        let filter = Filter::of(&transaction, query.since)?;
        let mut models: BTreeMap<String, ModelUse> = BTreeMap::new();
        let mut tenants = tenant_uses(&transaction, filter)?;
        for (model, weights_bytes) in weights_bytes(&transaction, filter)? {
            models.insert(model.clone(), ModelUse { model, weights_bytes, ..ModelUse::default() });
        }
        for total in account_totals(&transaction, filter)? {
            let AccountTotal { model, account, kib_ms } = total;
            let of_model =
                models.entry(model.clone()).or_insert_with(|| ModelUse { model: model.clone(), ..ModelUse::default() });
            match account {
                Account::Load => of_model.load = of_model.load.saturating_add(kib_ms),
                Account::Idle | Account::Unmeasured => of_model.idle = of_model.idle.saturating_add(kib_ms),
                Account::Keepalive(tenant) => {
                    let key = (tenant, model);
                    let of_tenant = tenants.entry(key.clone()).or_insert_with(|| TenantUse {
                        tenant: key.0,
                        model: key.1,
                        ..TenantUse::default()
                    });
                    of_tenant.keepalive = of_tenant.keepalive.saturating_add(kib_ms);
                }
            }
        }
        Ok(SavingsInputs {
            window_ms: window_ms(&transaction, filter, query.until)?,
            models: models.into_values().collect(),
            tenants: tenants.into_values().collect(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Connection> {
        // A panic while reading leaves nothing half done.
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const USAGE: &str = "SELECT reservations.id, reservations.tenant, reservations.model, reservations.unix_ms, \
                     settlements.outcome, settlements.receipt FROM reservations \
                     LEFT JOIN settlements ON settlements.reservation = reservations.sequence";

struct StoredUsage {
    record: UsageRecord,
    outcome: Option<String>,
    receipt: Option<String>,
}

fn stored_usage(row: &Row<'_>) -> Result<StoredUsage, rusqlite::Error> {
    let record = UsageRecord {
        id: row.get(0)?,
        tenant: row.get(1)?,
        model: row.get(2)?,
        state: UsageState::Reserved,
        outcome: None,
        reserved_unix_ms: row.get(3)?,
        receipt: None,
    };
    Ok(StoredUsage { record, outcome: row.get(4)?, receipt: row.get(5)? })
}

impl StoredUsage {
    fn read(self) -> Result<UsageRecord, LedgerError> {
        let Self { mut record, outcome, receipt } = self;
        if let Some(name) = outcome {
            let unknown = StoreFailure::Unexpected("a stored outcome is unknown");
            record.outcome = Some(Outcome::from_name(&name).ok_or_else(|| LedgerError::corrupt(unknown))?);
            record.state = UsageState::Settled;
        }
        if let Some(json) = receipt {
            record.receipt = Some(serde_json::from_str(&json).map_err(LedgerError::corrupt)?);
        }
        Ok(record)
    }
}

const TENANT_TOTALS: &str = "SELECT reservations.tenant, reservations.model, count(*), \
    sum(outcome = 'completed'), sum(cold), sum(prompt_tokens), sum(cached_tokens), sum(completion_tokens), \
    sum(load_wait_ns), sum(wall_ns), sum(cpu_ns), sum(load_cpu_ns), sum(weights_kib_ms), sum(load_kib_ms), \
    sum(kv_kib_ms), sum(energy_nj), sum(micrograms_co2e), coalesce(sum(pico_units), 0), sum(pico_units IS NULL) \
    FROM settlements JOIN reservations ON reservations.sequence = settlements.reservation \
    GROUP BY reservations.tenant, reservations.model ORDER BY reservations.tenant, reservations.model";

fn tenant_total(row: &Row<'_>) -> Result<TenantTotal, rusqlite::Error> {
    Ok(TenantTotal {
        tenant: row.get(0)?,
        model: row.get(1)?,
        requests: natural(row, 2)?,
        completed: natural(row, 3)?,
        cold: natural(row, 4)?,
        prompt_tokens: natural(row, 5)?,
        cached_tokens: natural(row, 6)?,
        completion_tokens: natural(row, 7)?,
        load_wait_ns: Nanos::new(natural(row, 8)?),
        wall_ns: Nanos::new(natural(row, 9)?),
        cpu_ns: Nanos::new(natural(row, 10)?),
        load_cpu_ns: Nanos::new(natural(row, 11)?),
        weights_kib_ms: KibMillis::new(natural(row, 12)?),
        load_kib_ms: KibMillis::new(natural(row, 13)?),
        kv_kib_ms: KibMillis::new(natural(row, 14)?),
        energy_nj: Nanojoules::new(natural(row, 15)?),
        micrograms_co2e: Micrograms::new(natural(row, 16)?),
        pico_units: PicoUnits::new(natural(row, 17)?),
        unpriced: natural(row, 18)?,
    })
}

/// Which rows count.
#[derive(Clone, Copy)]
struct Filter {
    run: i64,
    unix_ms: i64,
}

impl Filter {
    const ALL: Self = Self { run: 0, unix_ms: i64::MIN };

    fn of(transaction: &Transaction<'_>, since: Since) -> Result<Self, LedgerError> {
        Ok(match since {
            Since::Beginning => Self::ALL,
            Since::LatestRun => Self { run: latest_run(transaction)?, ..Self::ALL },
            Since::UnixMillis(unix_ms) => Self { unix_ms, ..Self::ALL },
        })
    }
}

fn latest_run(transaction: &Transaction<'_>) -> Result<i64, rusqlite::Error> {
    transaction.query_row("SELECT coalesce(max(run), 0) FROM runs", [], |row| row.get(0))
}

fn account_totals(transaction: &Transaction<'_>, filter: Filter) -> Result<Vec<AccountTotal>, LedgerError> {
    let mut query = transaction.prepare_cached(
        "SELECT model, account, tenant, sum(kib_ms) FROM intervals WHERE run >= ?1 AND unix_ms >= ?2 \
         GROUP BY model, account, tenant ORDER BY model, account, tenant",
    )?;
    let mut rows = query.query(params![filter.run, filter.unix_ms])?;
    let mut totals = Vec::new();
    while let Some(row) = rows.next()? {
        let account = match (row.get_ref(1)?.as_str().unwrap_or_default(), row.get(2)?) {
            ("keepalive", Some(tenant)) => Account::Keepalive(tenant),
            ("load", None) => Account::Load,
            ("idle", None) => Account::Idle,
            ("unmeasured", None) => Account::Unmeasured,
            _ => return Err(LedgerError::corrupt(StoreFailure::Unexpected("a stored account is unknown"))),
        };
        totals.push(AccountTotal { model: row.get(0)?, account, kib_ms: KibMillis::new(natural(row, 3)?) });
    }
    Ok(totals)
}

/// Every tenant's settled requests on every model; spans are within a run, and summed over the runs.
fn tenant_uses(
    transaction: &Transaction<'_>,
    filter: Filter,
) -> Result<BTreeMap<(String, String), TenantUse>, LedgerError> {
    let mut query = transaction.prepare_cached(
        "SELECT tenant, model, count(*), sum(cold), max(settlements.at_ms) - min(reservations.at_ms), \
         sum(weights_kib_ms), sum(load_kib_ms), sum(load_cpu_ns), sum(load_wait_ns) \
         FROM settlements JOIN reservations ON reservations.sequence = settlements.reservation \
         WHERE run >= ?1 AND reservations.unix_ms >= ?2 GROUP BY tenant, model, run",
    )?;
    let mut rows = query.query(params![filter.run, filter.unix_ms])?;
    let mut uses: BTreeMap<(String, String), TenantUse> = BTreeMap::new();
    while let Some(row) = rows.next()? {
        let key: (String, String) = (row.get(0)?, row.get(1)?);
        let one = uses.entry(key.clone()).or_insert_with(|| TenantUse {
            tenant: key.0,
            model: key.1,
            ..TenantUse::default()
        });
        one.requests += natural(row, 2)?;
        one.cold_requests += natural(row, 3)?;
        one.span_ms += natural(row, 4)?;
        one.active = one.active.saturating_add(KibMillis::new(natural(row, 5)?));
        one.load = one.load.saturating_add(KibMillis::new(natural(row, 6)?));
        one.load_cpu = one.load_cpu.saturating_add(Nanos::new(natural(row, 7)?));
        one.load_wait = one.load_wait.saturating_add(Nanos::new(natural(row, 8)?));
    }
    Ok(uses)
}

/// Every model requested, with the resident bytes on its latest receipt that has any.
fn weights_bytes(transaction: &Transaction<'_>, filter: Filter) -> Result<Vec<(String, u64)>, LedgerError> {
    // With max() as the only aggregate, SQLite takes the bare columns from the row that has the maximum.
    let mut query = transaction.prepare_cached(
        "SELECT model, weights_bytes, max(iif(weights_bytes > 0, settlements.sequence, 0)) \
         FROM settlements JOIN reservations ON reservations.sequence = settlements.reservation \
         WHERE run >= ?1 AND reservations.unix_ms >= ?2 GROUP BY model",
    )?;
    let rows = query.query_map(params![filter.run, filter.unix_ms], |row| Ok((row.get(0)?, natural(row, 1)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The time between the first event and the last of each run, summed over the runs.
fn window_ms(transaction: &Transaction<'_>, filter: Filter, until: Option<Moment>) -> Result<u64, LedgerError> {
    let latest = latest_run(transaction)?;
    let mut query = transaction.prepare_cached(
        "WITH events (run, unix_ms, begins, ends) AS ( \
           SELECT run, reservations.unix_ms, reservations.at_ms, coalesce(settlements.at_ms, reservations.at_ms) \
             FROM reservations LEFT JOIN settlements ON settlements.reservation = reservations.sequence \
           UNION ALL SELECT run, unix_ms, from_ms, to_ms FROM intervals) \
         SELECT run, min(begins), max(ends) FROM events WHERE run >= ?1 AND unix_ms >= ?2 GROUP BY run",
    )?;
    let mut rows = query.query(params![filter.run, filter.unix_ms])?;
    let mut window: u64 = 0;
    while let Some(row) = rows.next()? {
        let (run, begins, mut ends) = (row.get::<_, i64>(0)?, natural(row, 1)?, natural(row, 2)?);
        if let Some(until) = until.filter(|_| run == latest) {
            ends = ends.max(until.get());
        }
        window = window.saturating_add(ends.saturating_sub(begins));
    }
    Ok(window)
}

/// The column as a count; SQLite's integers are signed.
fn natural(row: &Row<'_>, column: usize) -> Result<u64, rusqlite::Error> {
    let value: i64 = row.get(column)?;
    u64::try_from(value).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(column, value))
}
