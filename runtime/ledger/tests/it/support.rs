//! Requests to record, and a second process.

use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};

use ledger::{Checkpoint, Completion, Ledger, LedgerError, LedgerOptions, Reservation, Settlement, wait};
use meter::receipt::{AnsweredFrom, MeasuredCpu, MeasuredMemory, MeasuredTimes, MeasuredTokens, StepSharing};
use meter::{
    CarbonFactors, CpuDescription, EnergyModel, KibMillis, Measured, Moment, Nanos, Outcome, Quality, RateCard,
    Receipt, RequestCharge,
};
use tempfile::TempDir;

/// Takes from a ledger what schema 5 has added, before there is anything in it.
pub(crate) const FROM_SCHEMA_5: &str = "ALTER TABLE intervals DROP COLUMN held_as; \
    ALTER TABLE intervals DROP COLUMN cpu_ns; ALTER TABLE intervals DROP COLUMN energy_nj; \
    ALTER TABLE intervals DROP COLUMN micrograms_co2e; ALTER TABLE intervals DROP COLUMN pico_units; \
    DROP TABLE hour_held; DROP TABLE day_held; DROP TABLE removed_held; PRAGMA user_version = 4;";

/// The same of schema 4.
pub(crate) const FROM_SCHEMA_4: &str = "ALTER TABLE reservations DROP COLUMN key_id; DROP TABLE hour_keys; \
    DROP TABLE day_keys; DROP TABLE removed_keys; PRAGMA user_version = 3;";

/// The same of schema 3.
pub(crate) const FROM_SCHEMA_3: &str = "DROP INDEX settlements_waited; DROP TABLE energy_intervals; \
    DROP TABLE hour_energy; DROP TABLE day_energy; DROP TABLE removed_energy; \
    ALTER TABLE anchors DROP COLUMN energy_intervals_to; PRAGMA user_version = 2;";

pub(crate) fn open(path: &Path) -> Result<Ledger, LedgerError> {
    Ledger::open(path, LedgerOptions::default())
}

/// A folder in memory where there is one, for tests that are not about the disk and commit thousands of times.
pub(crate) fn folder() -> TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

/// With a wall clock that the test sets.
pub(crate) fn open_at(path: &Path, wall_clock: fn() -> i64) -> Ledger {
    Ledger::open(path, LedgerOptions { wall_clock, ..LedgerOptions::default() }).unwrap()
}

pub(crate) fn reservation(id: &str, tenant: &str, at: u64) -> Reservation {
    let (idempotency_key, key_id, at) = (None, None, Moment::new(at));
    Reservation { id: id.into(), tenant: tenant.into(), model: "m".into(), at, idempotency_key, key_id }
}

pub(crate) fn reserve(ledger: &Ledger, id: &str) -> Result<(), LedgerError> {
    wait(|done| ledger.reserve(reservation(id, "acme", 0), done))
}

pub(crate) fn settle(ledger: &Ledger, id: &str) -> Result<(), LedgerError> {
    wait(|done| ledger.settle(settlement(id), done))
}

/// A request of the tenant `acme` from reservation to settlement, by the key of this id.
pub(crate) fn serve_by(ledger: &Ledger, id: &str, key_id: &str) {
    let key_id = Some(key_id.to_owned());
    let reservation = Reservation { key_id: key_id.clone(), ..reservation(id, "acme", 0) };
    wait(|done| ledger.reserve(reservation, done)).unwrap();
    let settlement = settlement_of(Measured { key_id, ..measured(id, "acme") }, 10);
    wait(|done| ledger.settle(settlement, done)).unwrap();
}

pub(crate) fn settlement(id: &str) -> Settlement {
    settlement_of(measured(id, "acme"), 10)
}

pub(crate) fn settlement_of(measured: Measured, at: u64) -> Settlement {
    Settlement { at: Moment::new(at), receipt: Box::new(receipt(measured)) }
}

pub(crate) fn checkpoint(measured: Measured, number: u64, at: u64) -> Checkpoint {
    Checkpoint { number, at: Moment::new(at), receipt: Box::new(receipt(measured)) }
}

pub(crate) fn receipt(measured: Measured) -> Receipt {
    let energy = EnergyModel::new(&CpuDescription::default(), 2, 8 << 30);
    Receipt::assemble(measured, &energy, &CarbonFactors::default(), &RateCard::default())
}

pub(crate) fn measured(id: &str, tenant: &str) -> Measured {
    Measured {
        id: id.into(),
        tenant: tenant.into(),
        key_id: None,
        model: "m".into(),
        cold: false,
        outcome: Outcome::Completed,
        answered_from: AnsweredFrom::Model,
        tokens: MeasuredTokens { prompt: 12, cached: 4, completion: 7, ..MeasuredTokens::default() },
        times: MeasuredTimes { load_wait: Nanos::new(3), wall: Nanos::new(1_000), ..MeasuredTimes::default() },
        cpu: MeasuredCpu { prefill: Nanos::new(50_000_000), decode: Nanos::new(7), load: Nanos::new(11) },
        memory: MeasuredMemory {
            weights: RequestCharge { active: KibMillis::new(1000), load: KibMillis::new(30) },
            kv: KibMillis::new(5),
            weights_bytes: 1 << 20,
            quality: Quality::Measured,
        },
        busy: Nanos::default(),
        kv_precision: None,
        sharing: StepSharing::WholeStep,
        routing: None,
    }
}

/// Keeps the writer busy in a completion until it is told to go on, so that what is queued meanwhile is one batch.
pub(crate) struct Pause {
    release: mpsc::Sender<()>,
}

impl Pause {
    pub(crate) fn begin(ledger: &Ledger) -> Self {
        let (release, released) = mpsc::channel::<()>();
        let (reached, reach) = mpsc::channel();
        let done: Completion = Box::new(move |result| {
            reached.send(result).unwrap();
            released.recv().unwrap();
        });
        ledger.reserve(reservation("pause", "nobody", 0), done);
        reach.recv().unwrap().unwrap();
        Self { release }
    }

    pub(crate) fn end(self) {
        self.release.send(()).unwrap();
    }
}

/// A completion, and where its result arrives.
pub(crate) fn promised() -> (Completion, Receiver<Result<(), LedgerError>>) {
    let (sender, receiver) = mpsc::channel();
    (Box::new(move |result| sender.send(result).unwrap()), receiver)
}

/// Runs the ignored test `name` of this binary in a process of its own, which is told `path` on its standard input.
pub(crate) fn child(name: &str, path: &Path) -> Child {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([name, "--exact", "--ignored", "--nocapture", "--test-threads=1"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    writeln!(child.stdin.take().unwrap(), "{}", path.display()).unwrap();
    child
}

/// The path that the parent gave this process.
pub(crate) fn path_from_parent() -> std::path::PathBuf {
    // The test harness has begun a line of its own.
    tell_parent("");
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).unwrap();
    line.trim_end().into()
}

/// Says something to the parent, at once.
pub(crate) fn tell_parent(line: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").unwrap();
    out.flush().unwrap();
}
