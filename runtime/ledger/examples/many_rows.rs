//! What metering costs a request, and how long a ledger with many rows takes to open after a kill, to tell the savings and
//! to be verified: `many_rows [ROWS] [FOLDER]`.
//!
//! The rows are written by another process, which ends without closing the file and with 64 requests open. They are of a year
//! and of 20 tenants, each with one of 5 models. A request is two rows, or three with the interval that follows every eighth.

mod receipts;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::{Duration, Instant};

use ledger::{Ledger, LedgerError, LedgerOptions, Reservation, SavingsQuery, Settlement, Since};
use meter::{AccountInterval, HeldAs, KibMillis, Moment};

use self::receipts::{Request, receipt};

const YEAR_MS: i64 = 365 * 86_400_000;
const BEGIN_UNIX_MS: i64 = 1_767_225_600_000;
/// Operations under way at once, so that commits are shared as they are under load.
const UNDER_WAY: usize = 256;
const LEFT_OPEN: u64 = 64;

static CLOCK: AtomicI64 = AtomicI64::new(BEGIN_UNIX_MS);

fn options() -> LedgerOptions {
    LedgerOptions { wall_clock: || CLOCK.load(Ordering::Relaxed), ..LedgerOptions::default() }
}

fn main() -> Result<(), LedgerError> {
    let mut arguments = std::env::args_os().skip(1);
    let rows = arguments.next().and_then(|rows| rows.to_str()?.parse().ok()).unwrap_or(1_000_000);
    let folder = arguments.next().map_or_else(std::env::temp_dir, PathBuf::from);
    if arguments.next().is_some() {
        return write_and_die(&folder, rows);
    }
    measure_cost()?;
    let folder = tempfile::Builder::new().prefix("ledger-").tempdir_in(&folder)?;
    let path = folder.path().join("ledger.sqlite");
    let begun = Instant::now();
    let status = Command::new(std::env::current_exe()?).arg(rows.to_string()).arg(&path).arg("write").status()?;
    let bytes = std::fs::metadata(&path)?.len();
    println!("{rows} rows written in {:?} ({status}); {} MB", begun.elapsed(), bytes / 1_000_000);
    CLOCK.store(BEGIN_UNIX_MS + YEAR_MS, Ordering::Relaxed);

    let begun = Instant::now();
    let ledger = Ledger::open(&path, options())?;
    println!("opened after a kill in {:?}, {} requests settled as crashed", begun.elapsed(), ledger.crashed_on_open());
    let recent = Since::UnixMillis(BEGIN_UNIX_MS + YEAR_MS - 30 * 86_400_000 + 5 * 3_600_000);
    for (name, since) in [("all", Since::Beginning), ("the last 30 days", recent), ("this run", Since::LatestRun)] {
        let begun = Instant::now();
        let inputs = ledger.reader().savings_inputs(SavingsQuery { since, until: None })?;
        let requests: u64 = inputs.tenants.iter().map(|one| one.requests).sum();
        println!("savings of {name}: {:?} for {requests} requests", begun.elapsed());
    }
    let begun = Instant::now();
    let hours = ledger.reader().held_hours(Since::Beginning)?.hours.len();
    println!("what was held in {hours} hours: {:?}", begun.elapsed());
    let (begun, processor) = (Instant::now(), processor_time());
    let found = ledger.reader().verify()?;
    let (elapsed, processor, links) = (begun.elapsed(), processor_time() - processor, found.links);
    let rate = links as f64 / elapsed.as_secs_f64();
    println!(
        "verified {links} rows in {elapsed:?} ({processor:?} of processor time): {rate:.0} a second, {} faults",
        found.faults.len()
    );
    let begun = Instant::now();
    ledger::wait(|done| ledger.remove_before(BEGIN_UNIX_MS + YEAR_MS / 10, done))?;
    let elapsed = begun.elapsed();
    let removed = ledger.reader().verify()?;
    println!(
        "removed {} links in {elapsed:?}, {:?} each; {} faults",
        removed.removed_links,
        elapsed / u32::try_from(removed.removed_links).unwrap_or(u32::MAX).max(1),
        removed.faults.len()
    );
    Ok(())
}

/// What a request's rows cost, with commits that wait for no disk and that many requests share.
fn measure_cost() -> Result<(), LedgerError> {
    const REQUESTS: u64 = 50_000;
    for round in 0..3 {
        let ledger = Ledger::in_memory(options())?;
        let mut writing = Writing::new();
        let (begun, processor) = (Instant::now(), processor_time());
        for number in 0..REQUESTS {
            writing.serve(&ledger, number, true)?;
        }
        writing.finish()?;
        let count = u32::try_from(REQUESTS).expect("a small constant");
        let (each, processor) = (begun.elapsed() / count, (processor_time() - processor) / count);
        let begun = processor_time();
        for number in 0..REQUESTS {
            std::hint::black_box(receipt(request(number)));
        }
        let receipts = (processor_time() - begun) / count;
        println!(
            "round {round}: {processor:?} of processor time a request, {receipts:?} of which make its receipt \
             ({each:?} by the clock)"
        );
    }
    Ok(())
}

/// Of all threads of this process.
fn processor_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

fn write_and_die(path: &Path, rows: u64) -> Result<(), LedgerError> {
    let ledger = Ledger::open(path, options())?;
    let mut writing = Writing::new();
    // Reservation, settlement and an eighth of an interval.
    let requests = rows * 8 / 17;
    let step_ms = YEAR_MS / i64::try_from(requests).unwrap_or(i64::MAX);
    for number in 0..requests {
        CLOCK.fetch_add(step_ms, Ordering::Relaxed);
        writing.serve(&ledger, number, number + LEFT_OPEN < requests)?;
        if number.is_multiple_of(8) {
            let interval = AccountInterval {
                sequence: number,
                model: model(number),
                tenant: Some(tenant(number)),
                held_as: HeldAs::Keepalive,
                kib_ms: KibMillis::new(1000),
                from: Moment::new(number),
                to: Moment::new(number + 1),
                ..AccountInterval::default()
            };
            ledger.interval(interval, writing.promise());
            writing.settle_one()?;
        }
    }
    writing.finish()?;
    std::process::abort()
}

/// Operations under way, and what became of them.
struct Writing {
    sender: Sender<Result<(), LedgerError>>,
    results: Receiver<Result<(), LedgerError>>,
    under_way: usize,
}

impl Writing {
    fn new() -> Self {
        let (sender, results) = mpsc::channel();
        Self { sender, results, under_way: 0 }
    }

    fn promise(&mut self) -> ledger::Completion {
        self.under_way += 1;
        let sender = self.sender.clone();
        // The receiver lives as long as this.
        Box::new(move |result| drop(sender.send(result)))
    }

    fn settle_one(&mut self) -> Result<(), LedgerError> {
        while self.under_way > UNDER_WAY {
            self.results.recv().unwrap_or(Err(LedgerError::Closed))?;
            self.under_way -= 1;
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<(), LedgerError> {
        while self.under_way > 0 {
            self.results.recv().unwrap_or(Err(LedgerError::Closed))?;
            self.under_way -= 1;
        }
        Ok(())
    }

    fn serve(&mut self, ledger: &Ledger, number: u64, is_settled: bool) -> Result<(), LedgerError> {
        let reservation = Reservation {
            id: id(number),
            tenant: tenant(number),
            model: model(number),
            at: Moment::new(number),
            idempotency_key: None,
            key_id: key_id(number),
        };
        ledger.reserve(reservation, self.promise());
        if is_settled {
            let settlement = Settlement { at: Moment::new(number + 1), receipt: Box::new(receipt(request(number))) };
            ledger.settle(settlement, self.promise());
        }
        self.settle_one()
    }
}

fn id(number: u64) -> String {
    format!("chatcmpl-{number:032x}")
}

fn tenant(number: u64) -> String {
    format!("tenant-{}", number * 7 % 20)
}

/// Two of three requests come by a key with an id, of which each tenant has three.
fn key_id(number: u64) -> Option<String> {
    (!number.is_multiple_of(3)).then(|| format!("key_{:016x}", number % 60))
}

fn model(number: u64) -> String {
    format!("model-{}", number * 7 % 20 % 5)
}

fn request(number: u64) -> Request {
    Request {
        id: id(number),
        tenant: tenant(number),
        model: model(number),
        key_id: key_id(number),
        cold: number.is_multiple_of(10),
    }
}
