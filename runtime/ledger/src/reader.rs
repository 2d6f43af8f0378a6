//! Reading, on a connection that cannot write.
//!
//! Every method blocks on the disk; call it from a thread that may. A reader never waits for the writer's commit. Sums
//! come from the roll-ups, so that they take as long for ten million requests as for ten thousand over the same days.

mod hours;
mod series;
mod settled;
mod sums;
mod waits;

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use meter::savings::HeldHours;
use meter::{Moment, Outcome, SavingsInputs};
use rusqlite::{Connection, OpenFlags, OptionalExtension, Row};

pub use self::series::SeriesQuery;
use crate::error::StoreFailure;
use crate::limits::RECENT_MAX;
use crate::rows::{AccountTotal, EnergyTotal, SettledRequest, TenantTotal, UsageBucket, UsageRecord, UsageState};
use crate::store::settle_plans;
use crate::verify::{self, Verification};
use crate::{LedgerError, schema};

/// From when on rows count, by what they say themselves: a settlement's end, an interval's writing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Since {
    /// All of them.
    #[default]
    Beginning,
    /// Since the file was last opened for writing.
    LatestRun,
    /// Since the hour of this many milliseconds after 1970, by the wall clock at the time of writing.
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
        settle_plans(&connection)?;
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

    /// What is known of the request that `tenant` called `idempotency_key`, or `None` if there was none, or its row was removed
    /// since.
    ///
    /// # Errors
    /// [`LedgerError::Unavailable`] and [`LedgerError::Corrupt`] as they say.
    pub fn usage_by_key(&self, tenant: &str, idempotency_key: &str) -> Result<Option<UsageRecord>, LedgerError> {
        let connection = self.lock();
        let of_key = format!("{USAGE} WHERE reservations.tenant = ?1 AND reservations.idempotency_key = ?2");
        let mut query = connection.prepare_cached(&of_key)?;
        query.query_row([tenant, idempotency_key], stored_usage).optional()?.map(StoredUsage::read).transpose()
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
        sums::tenant_totals(&self.lock())
    }

    /// The beginning of the latest hour in which anything was settled, by the wall clock; none where nothing was.
    ///
    /// # Errors
    /// [`LedgerError::Unavailable`] and [`LedgerError::Corrupt`] as they say.
    pub fn latest_unix_ms(&self) -> Result<Option<i64>, LedgerError> {
        Ok(sums::latest_unix_ms(&self.lock())?)
    }

    /// What every account carried, by model.
    ///
    /// # Errors
    /// [`LedgerError::Unavailable`] and [`LedgerError::Corrupt`] as they say.
    pub fn account_totals(&self) -> Result<Vec<AccountTotal>, LedgerError> {
        sums::account_totals(&self.lock())
    }

    /// What every device took in energy, by source.
    ///
    /// # Errors
    /// [`LedgerError::Unavailable`] and [`LedgerError::Corrupt`] as they say.
    pub fn energy_totals(&self) -> Result<Vec<EnergyTotal>, LedgerError> {
        sums::energy_totals(&self.lock())
    }

    /// What [`meter::savings`] is computed from.
    ///
    /// # Errors
    /// [`LedgerError::Unavailable`] and [`LedgerError::Corrupt`] as they say.
    pub fn savings_inputs(&self, query: SavingsQuery) -> Result<SavingsInputs, LedgerError> {
        let mut connection = self.lock();
        // One transaction, so that all sums are of the same rows.
        sums::savings_inputs(&connection.transaction()?, query, None)
    }

    /// The same of what is `tenant`'s alone: its requests, what was kept for it, and the time from the first of that to the
    /// last. What is everyone's or nobody's is not in it.
    ///
    /// # Errors
    /// [`LedgerError::Unavailable`] and [`LedgerError::Corrupt`] as they say.
    pub fn savings_inputs_of(&self, tenant: &str, query: SavingsQuery) -> Result<SavingsInputs, LedgerError> {
        let mut connection = self.lock();
        sums::savings_inputs(&connection.transaction()?, query, Some(tenant))
    }

    /// What was held hour by hour, which [`meter::savings::Catalogue`] chooses machines by. Takes longer the more hours
    /// there are, and not for more requests.
    ///
    /// # Errors
    /// [`LedgerError::Unavailable`] and [`LedgerError::Corrupt`] as they say.
    pub fn held_hours(&self, since: Since) -> Result<HeldHours, LedgerError> {
        let mut connection = self.lock();
        hours::held_hours(&connection.transaction()?, since)
    }

    /// The sums of each hour or day in which anything happened.
    ///
    /// # Errors
    /// [`LedgerError::Unavailable`] and [`LedgerError::Corrupt`] as they say.
    pub fn series(&self, query: SeriesQuery) -> Result<Vec<UsageBucket>, LedgerError> {
        self.snapshot()?.series(query)
    }

    /// What is recorded now, for those who read more than once: it stays the same for them. Other readers of this
    /// connection wait meanwhile; the writer does not.
    ///
    /// # Errors
    /// [`LedgerError::Unavailable`] if the file cannot be read.
    pub fn snapshot(&self) -> Result<Snapshot<'_>, LedgerError> {
        let connection = self.lock();
        connection.execute_batch("BEGIN")?;
        Ok(Snapshot { connection })
    }

    /// Checks that everything is as it was written: see [`Verification`] for what that is. Reads the whole file, and other
    /// readers of this connection wait; the writer does not.
    ///
    /// # Errors
    /// [`LedgerError::Unavailable`] if the file cannot be read; damage is no error but what is found.
    pub fn verify(&self) -> Result<Verification, LedgerError> {
        let mut connection = self.lock();
        verify::verify(&*connection.transaction()?)
    }

    fn lock(&self) -> MutexGuard<'_, Connection> {
        // A panic while reading leaves nothing half done.
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The ledger as it was at one moment.
#[derive(Debug)]
pub struct Snapshot<'a> {
    connection: MutexGuard<'a, Connection>,
}

impl Snapshot<'_> {
    /// As [`Reader::series`].
    ///
    /// # Errors
    /// As [`Reader::series`].
    pub fn series(&self, query: SeriesQuery) -> Result<Vec<UsageBucket>, LedgerError> {
        series::series(&self.connection, &query)
    }

    /// The requests that were settled after the one of this number (0 for the first), in that order; at most
    /// [`RECENT_MAX`] at a time, none at the end.
    ///
    /// # Errors
    /// [`LedgerError::Unavailable`] and [`LedgerError::Corrupt`] as they say.
    pub fn settled_after(&self, number: i64) -> Result<Vec<SettledRequest>, LedgerError> {
        settled::settled_after(&self.connection, number)
    }
}

impl Drop for Snapshot<'_> {
    fn drop(&mut self) {
        // Nothing was written; a connection that cannot end its transaction says so at its next one.
        let _ = self.connection.execute_batch("ROLLBACK");
    }
}

const USAGE: &str = "SELECT reservations.id, reservations.tenant, reservations.model, reservations.unix_ms, \
                     settlements.outcome, settlements.receipt, reservations.key_id FROM reservations \
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
        key_id: row.get(6)?,
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

/// The column as a count; SQLite's integers are signed.
fn natural(row: &Row<'_>, column: usize) -> Result<u64, rusqlite::Error> {
    let value: i64 = row.get(column)?;
    u64::try_from(value).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(column, value))
}
