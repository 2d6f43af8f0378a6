//! How long a durable settlement takes, alone and under load: `commit_latency [FOLDER]`.
//!
//! The folder's disk is what is measured; without one it is the folder for temporary files.

mod receipts;

use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use ledger::{Ledger, LedgerError, LedgerOptions, Reservation, Settlement, wait};
use meter::Moment;

use self::receipts::{Request, receipt};

const REQUESTS: usize = 2000;

fn main() -> Result<(), LedgerError> {
    let folder = std::env::args_os().nth(1).map_or_else(std::env::temp_dir, PathBuf::from);
    for threads in [1, 8, 64] {
        let folder = tempfile::Builder::new().prefix("ledger-").tempdir_in(&folder)?;
        let ledger = Ledger::open(&folder.path().join("ledger.sqlite"), LedgerOptions::default())?;
        let begun = Instant::now();
        let mut latencies = measure(&ledger, threads)?;
        let elapsed = begun.elapsed();
        latencies.sort_unstable();
        let at = |share: usize| latencies[(latencies.len() - 1) * share / 100];
        println!(
            "{threads:2} threads: settle p50 {:?}, p95 {:?}, p99 {:?}; {:.0} requests/s, each reserved and settled",
            at(50),
            at(95),
            at(99),
            latencies.len() as f64 / elapsed.as_secs_f64()
        );
    }
    Ok(())
}

/// Reserves and settles one request after another on each thread; how long each settlement took.
fn measure(ledger: &Ledger, threads: usize) -> Result<Vec<Duration>, LedgerError> {
    thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|worker| {
                scope.spawn(move || {
                    (0..REQUESTS / threads)
                        .map(|number| serve(ledger, &format!("chatcmpl-{worker}-{number}")))
                        .collect::<Result<Vec<_>, _>>()
                })
            })
            .collect();
        let mut latencies = Vec::with_capacity(REQUESTS);
        for worker in workers {
            latencies.extend(worker.join().expect("a worker does not panic")?);
        }
        Ok(latencies)
    })
}

fn serve(ledger: &Ledger, id: &str) -> Result<Duration, LedgerError> {
    let (id, tenant, model) = (id.to_owned(), "acme".to_owned(), "smollm2".to_owned());
    let request = Request { id, tenant, model, key_id: None, cold: false };
    let reservation = Reservation {
        id: request.id.clone(),
        tenant: request.tenant.clone(),
        model: request.model.clone(),
        at: Moment::ZERO,
        idempotency_key: None,
        key_id: None,
    };
    wait(|done| ledger.reserve(reservation, done))?;
    let settlement = Settlement { at: Moment::new(1), receipt: Box::new(receipt(request)) };
    let begun = Instant::now();
    wait(|done| ledger.settle(settlement, done))?;
    Ok(begun.elapsed())
}
