//! Opening the file, and the handle that the runtime holds.

use std::fs::{self, DirBuilder, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, SyncSender, TrySendError};
use std::thread::{self, JoinHandle};
use std::time::{SystemTime, UNIX_EPOCH};

use meter::{AccountInterval, EnergyInterval};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use crate::error::StoreFailure;
use crate::limits::{BUSY_WAIT_MAX, QUEUE_MAX, STATEMENTS_MAX};
use crate::lock::{self, ProcessLock};
use crate::mark::{self, HeadMark};
use crate::operation::{Checkpoint, Completion, Operation, Reservation, Settlement};
use crate::reader::Reader;
use crate::writer::{self, Submission, Writer};
use crate::{LedgerError, run, schema};

/// How to open a ledger.
#[derive(Debug, Clone)]
pub struct LedgerOptions {
    /// Operations that may wait for the writer.
    pub queue_max: usize,
    /// The most pages that the file may have; none for as many as fit the disk.
    pub pages_max: Option<u32>,
    /// Milliseconds since 1970 by the wall clock. What it says is stored and orders nothing.
    pub wall_clock: fn() -> i64,
}

impl Default for LedgerOptions {
    fn default() -> Self {
        Self { queue_max: QUEUE_MAX, pages_max: None, wall_clock: unix_millis }
    }
}

/// The ledger, open for writing. Dropping it writes what is queued and then closes the file.
#[derive(Debug)]
pub struct Ledger {
    /// `None` only while it is dropped.
    queue: Option<SyncSender<Submission>>,
    queue_max: usize,
    writer: Option<JoinHandle<()>>,
    reader: Reader,
    crashed: u64,
    opened_unix_ms: i64,
    /// Given back last, when writer and reader are closed.
    _lock: Option<ProcessLock>,
}

impl Ledger {
    /// Opens the ledger at `path`, creating it (mode 0600) and its folders (0700) if they do not exist, and settles as
    /// crashed what a dead process left reserved.
    ///
    /// # Errors
    /// [`LedgerError::Locked`] while another process has it open; [`LedgerError::SchemaTooNew`],
    /// [`LedgerError::Corrupt`] and [`LedgerError::Unavailable`] as they say.
    pub fn open(path: &Path, options: LedgerOptions) -> Result<Self, LedgerError> {
        if let Some(folder) = path.parent() {
            DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        }
        let lock = lock::acquire(path)?;
        create_file(path)?;
        let connection = Connection::open_with_flags(path, writing())?;
        settle_plans(&connection)?;
        // Until it is known that nothing is missing, not even closing may change what is there.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        let mode: String = connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?;
        if mode != "wal" {
            return Err(LedgerError::unavailable(StoreFailure::Unexpected("the file system does not allow a WAL")));
        }
        Self::start(connection, options, Some((lock, path)), || Reader::open(path))
    }

    /// A ledger in memory, gone when it is dropped.
    ///
    /// # Errors
    /// [`LedgerError::Unavailable`] if there is no memory or thread for it.
    pub fn in_memory(options: LedgerOptions) -> Result<Self, LedgerError> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let name = format!("file:/ledger-{}?vfs=memdb", COUNT.fetch_add(1, Ordering::Relaxed));
        let connection =
            Connection::open_with_flags(&name, writing() | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_URI)?;
        settle_plans(&connection)?;
        Self::start(connection, options, None, || Reader::open_with(Path::new(&name), OpenFlags::SQLITE_OPEN_URI))
    }

    fn start(
        mut connection: Connection,
        options: LedgerOptions,
        file: Option<(ProcessLock, &Path)>,
        open_reader: impl FnOnce() -> Result<Reader, LedgerError>,
    ) -> Result<Self, LedgerError> {
        connection.execute_batch(
            "PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; PRAGMA trusted_schema = OFF; \
             PRAGMA cell_size_check = ON;",
        )?;
        let now = (options.wall_clock)();
        schema::prepare(&mut connection, now)?;
        if let Some((_, path)) = &file {
            mark::check(path, &connection)?;
            connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false)?;
        }
        let begun = run::begin(&mut connection, now)?;
        let mark = file.as_ref().map(|(_, path)| HeadMark::open(path)).transpose()?;
        if let Some(mark) = &mark {
            mark.note(&begun.head);
        }
        if let Some(pages_max) = options.pages_max {
            connection.query_row(&format!("PRAGMA max_page_count = {pages_max}"), [], |_| Ok(()))?;
        }
        let reader = open_reader()?;
        let (queue, submissions) = mpsc::sync_channel(options.queue_max);
        let writing = Writer { connection, begun, wall_clock: options.wall_clock, mark, removals: Vec::new() };
        let writer = thread::Builder::new().name("ledger".to_owned()).spawn(move || writing.run(&submissions))?;
        Ok(Self {
            queue: Some(queue),
            queue_max: options.queue_max,
            writer: Some(writer),
            reader,
            crashed: begun.crashed,
            opened_unix_ms: now,
            _lock: file.map(|(lock, _)| lock),
        })
    }

    /// Records that work is about to be done for a request. A repeat is absorbed.
    ///
    /// `done` gets [`LedgerError::Duplicate`] if the id was reserved for another tenant or model,
    /// [`LedgerError::KeyUsed`] if another request of the tenant had its idempotency key, else what [`LedgerError`] says.
    pub fn reserve(&self, reservation: Reservation, done: Completion) {
        self.submit(Operation::Reserve(reservation), done);
    }

    /// Records what a request that goes on has used. A repeat is absorbed, and so is what comes after the settlement.
    ///
    /// `done` gets [`LedgerError::NotReserved`] without a reservation, [`LedgerError::Duplicate`] if its number had other
    /// figures, [`LedgerError::TooManyCheckpoints`] beyond [`CHECKPOINTS_PER_REQUEST_MAX`], else what [`LedgerError`] says.
    ///
    /// [`CHECKPOINTS_PER_REQUEST_MAX`]: crate::CHECKPOINTS_PER_REQUEST_MAX
    pub fn checkpoint(&self, checkpoint: Checkpoint, done: Completion) {
        self.submit(Operation::Checkpoint(checkpoint), done);
    }

    /// Records that a request is over. A repeat is absorbed.
    ///
    /// `done` gets [`LedgerError::NotReserved`] without a reservation and [`LedgerError::Duplicate`] if the request
    /// was settled with another receipt or reserved for another tenant or model, else what [`LedgerError`] says.
    pub fn settle(&self, settlement: Settlement, done: Completion) {
        self.submit(Operation::Settle(settlement), done);
    }

    /// Records what an account carried. A repeat, by its sequence number within this process, is absorbed.
    pub fn interval(&self, interval: AccountInterval, done: Completion) {
        self.submit(Operation::Interval(interval), done);
    }

    /// Records what a device took in energy and who carries it. A repeat, by its sequence number within this process, is
    /// absorbed.
    pub fn energy(&self, interval: EnergyInterval, done: Completion) {
        self.submit(Operation::Energy(interval), done);
    }

    /// Removes what was written before `unix_ms` (milliseconds since 1970 by the wall clock), from the oldest row to the
    /// first that is younger or belongs to a request that is not settled; the sums stay. In pieces, between commits.
    ///
    /// `done` gets [`LedgerError::Corrupt`] if a row is not as it was written, in which case it and what follows stay.
    pub fn remove_before(&self, unix_ms: i64, done: Completion) {
        self.submit(Operation::Remove { before_unix_ms: unix_ms }, done);
    }

    /// What is recorded.
    #[must_use]
    pub const fn reader(&self) -> &Reader {
        &self.reader
    }

    /// How many requests of a dead process were settled as crashed when this was opened.
    #[must_use]
    pub const fn crashed_on_open(&self) -> u64 {
        self.crashed
    }

    /// When this was opened, in milliseconds since 1970 by the wall clock.
    #[must_use]
    pub const fn opened_unix_ms(&self) -> i64 {
        self.opened_unix_ms
    }

    fn submit(&self, operation: Operation, done: Completion) {
        let Some(queue) = &self.queue else { return writer::complete(done, Err(LedgerError::Closed)) };
        match queue.try_send(Submission { operation, done }) {
            Ok(()) => {}
            Err(TrySendError::Full(refused)) => {
                writer::complete(refused.done, Err(LedgerError::Overloaded { queue_max: self.queue_max }));
            }
            Err(TrySendError::Disconnected(refused)) => writer::complete(refused.done, Err(LedgerError::Closed)),
        }
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        drop(self.queue.take());
        if let Some(writer) = self.writer.take() {
            // A completion may hold the last handle; the writer cannot wait for itself, and ends on its own.
            if writer.thread().id() != thread::current().id() {
                let _ = writer.join();
            }
        }
    }
}

/// Milliseconds since 1970 by the wall clock; for display only.
pub(crate) fn unix_millis() -> i64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX)
}

/// What every connection of ours has: patience, room for all of its statements, and plans that do not depend on the values
/// that are bound. Without the last, SQLite plans a statement anew each time that one could have made another plan better.
pub(crate) fn settle_plans(connection: &Connection) -> Result<(), rusqlite::Error> {
    connection.busy_timeout(BUSY_WAIT_MAX)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    Ok(())
}

fn writing() -> OpenFlags {
    OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX
}

fn create_file(path: &Path) -> Result<(), LedgerError> {
    match fs::metadata(path) {
        Ok(found) if found.is_file() => Ok(()),
        Ok(_) => Err(LedgerError::corrupt(StoreFailure::Unexpected("the path is not a regular file"))),
        Err(_) => {
            OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
            Ok(())
        }
    }
}
