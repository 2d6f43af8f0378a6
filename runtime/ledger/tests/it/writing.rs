//! Order, repeats, batches and the queue's bound.

use std::sync::Arc;
use std::sync::mpsc;
use std::thread;

use ledger::{Ledger, LedgerError, LedgerOptions, Settlement, wait};
use meter::{Account, AccountInterval, HeldAs, KibMillis, Moment, Nanojoules, Nanos, Outcome};

use crate::support::{Pause, measured, open, promised, reservation, reserve, settle, settlement, settlement_of};

fn in_memory() -> Ledger {
    Ledger::in_memory(LedgerOptions::default()).unwrap()
}

#[test]
fn a_repeat_is_absorbed_and_a_contradiction_refused() {
    let ledger = in_memory();
    reserve(&ledger, "r").unwrap();
    reserve(&ledger, "r").unwrap();
    let other = wait(|done| ledger.reserve(reservation("r", "someone else", 0), done));
    assert!(matches!(other, Err(LedgerError::Duplicate { ref id }) if id == "r"), "{other:?}");

    settle(&ledger, "r").unwrap();
    settle(&ledger, "r").unwrap();
    let mut dearer = measured("r", "acme");
    dearer.tokens.completion += 1;
    let other = wait(|done| ledger.settle(settlement_of(dearer, 10), done));
    assert!(matches!(other, Err(LedgerError::Duplicate { .. })), "{other:?}");
    let foreign = wait(|done| ledger.settle(settlement_of(measured("r", "someone else"), 10), done));
    assert!(matches!(foreign, Err(LedgerError::Duplicate { .. })), "{foreign:?}");

    let totals = ledger.reader().tenant_totals().unwrap();
    assert_eq!((totals.len(), totals[0].requests, totals[0].completion_tokens), (1, 1, 7));
    assert_eq!(ledger.reader().usage("r").unwrap().unwrap().receipt.unwrap(), *settlement("r").receipt);
}

#[test]
fn a_settlement_without_a_reservation_is_refused() {
    let ledger = in_memory();
    let refusal = settle(&ledger, "r");
    assert!(matches!(refusal, Err(LedgerError::NotReserved { ref id }) if id == "r"), "{refusal:?}");
    assert_eq!(ledger.reader().usage("r").unwrap(), None);
}

#[test]
fn an_interval_is_recorded_once() {
    let ledger = in_memory();
    let interval = |sequence, kib_ms| AccountInterval {
        sequence,
        model: "m".into(),
        tenant: Some("acme".into()),
        held_as: HeldAs::Keepalive,
        kib_ms: KibMillis::new(kib_ms),
        from: Moment::new(5),
        to: Moment::new(9),
        ..AccountInterval::default()
    };
    wait(|done| ledger.interval(interval(0, 100), done)).unwrap();
    wait(|done| ledger.interval(interval(0, 100), done)).unwrap();
    wait(|done| ledger.interval(interval(1, 11), done)).unwrap();
    let pinned = AccountInterval { held_as: HeldAs::Pinned, ..interval(1, 11) };
    for other in [interval(1, 12), pinned, AccountInterval { cpu: Nanos::new(1), ..interval(1, 11) }] {
        let other = wait(|done| ledger.interval(other, done));
        assert!(matches!(other, Err(LedgerError::Duplicate { .. })), "{other:?}");
    }
    let totals = ledger.reader().account_totals().unwrap();
    assert_eq!(totals.len(), 1);
    assert_eq!((&totals[0].account, totals[0].kib_ms.get()), (&Account::Keepalive("acme".into()), 111));
}

#[test]
fn rows_stand_in_the_order_of_submission() {
    let ledger = in_memory();
    let ids: Vec<String> = (0..300).map(|number| format!("r{}", (number * 7919) % 1000)).collect();
    for id in &ids {
        ledger.reserve(reservation(id, "acme", 0), Box::new(|result| result.unwrap()));
    }
    reserve(&ledger, "last").unwrap();
    let recent: Vec<String> = ledger.reader().recent(301).unwrap().into_iter().map(|record| record.id).collect();
    assert_eq!(recent[0], "last");
    assert!(recent[1..].iter().eq(ids.iter().rev()));
    assert_eq!(ledger.reader().recent(2).unwrap().len(), 2);
}

#[test]
fn what_is_queued_is_one_commit() {
    let ledger = Arc::new(in_memory());
    let pause = Pause::begin(&ledger);
    let (sender, seen) = mpsc::channel();
    let handle = Arc::clone(&ledger);
    // The first completion of the batch runs when all of it is durable.
    ledger.reserve(
        reservation("r0", "acme", 0),
        Box::new(move |_| sender.send(handle.reader().recent(1000).unwrap().len()).unwrap()),
    );
    for number in 1..100 {
        ledger.reserve(reservation(&format!("r{number}"), "acme", 0), Box::new(|result| result.unwrap()));
    }
    pause.end();
    assert_eq!(seen.recv().unwrap(), 101);
}

#[test]
fn a_refusal_takes_nothing_else_in_its_batch_down() {
    let ledger = in_memory();
    let pause = Pause::begin(&ledger);
    let (first_done, first) = promised();
    let (refused_done, refused) = promised();
    let (large_done, large) = promised();
    let (last_done, last) = promised();
    ledger.reserve(reservation("r", "acme", 0), first_done);
    ledger.settle(settlement("unknown"), refused_done);
    let mut unbelievable = settlement("r");
    unbelievable.receipt.energy.total_nj = Nanojoules::MAX;
    ledger.settle(unbelievable, large_done);
    ledger.settle(settlement("r"), last_done);
    pause.end();
    first.recv().unwrap().unwrap();
    assert!(matches!(refused.recv().unwrap(), Err(LedgerError::NotReserved { .. })));
    assert!(matches!(large.recv().unwrap(), Err(LedgerError::OutOfRange { column: "energy_nj", .. })));
    last.recv().unwrap().unwrap();
    assert_eq!(ledger.reader().usage("r").unwrap().unwrap().outcome, Some(Outcome::Completed));
}

#[test]
fn a_full_queue_refuses_at_once_and_then_recovers() {
    let ledger = Ledger::in_memory(LedgerOptions { queue_max: 2, ..LedgerOptions::default() }).unwrap();
    let pause = Pause::begin(&ledger);
    let (first_done, first) = promised();
    let (second_done, second) = promised();
    ledger.reserve(reservation("r1", "acme", 0), first_done);
    ledger.reserve(reservation("r2", "acme", 0), second_done);
    // The writer is paused, so this returns only because it was refused here.
    let refusal = reserve(&ledger, "r3");
    assert!(matches!(refusal, Err(LedgerError::Overloaded { queue_max: 2 })), "{refusal:?}");
    assert!(refusal.unwrap_err().is_retryable());
    pause.end();
    first.recv().unwrap().unwrap();
    second.recv().unwrap().unwrap();
    reserve(&ledger, "r3").unwrap();
}

#[test]
fn a_panicking_completion_does_not_stop_the_writer() {
    let ledger = in_memory();
    ledger.reserve(reservation("r", "acme", 0), Box::new(|_| panic!("a completion that the ledger must survive")));
    settle(&ledger, "r").unwrap();
}

#[test]
fn the_last_handle_may_be_dropped_by_a_completion() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.sqlite");
    let ledger = Arc::new(open(&path).unwrap());
    let (dropped, waiting) = mpsc::channel();
    let handle = Arc::clone(&ledger);
    let (release, released) = mpsc::channel::<()>();
    ledger.reserve(
        reservation("r", "acme", 0),
        Box::new(move |_| {
            released.recv().unwrap();
            drop(handle);
            dropped.send(()).unwrap();
        }),
    );
    drop(ledger);
    release.send(()).unwrap();
    waiting.recv().unwrap();
}

#[test]
fn eight_threads_share_commits_and_every_request_has_its_row() {
    const REQUESTS: u64 = 60;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.sqlite");
    let ledger = open(&path).unwrap();
    thread::scope(|scope| {
        for tenant in 0..8 {
            let ledger = &ledger;
            scope.spawn(move || {
                let tenant = format!("t{tenant}");
                for number in 0..REQUESTS {
                    let id = format!("{tenant}-{number}");
                    wait(|done| ledger.reserve(reservation(&id, &tenant, number), done)).unwrap();
                    let over: Settlement = settlement_of(measured(&id, &tenant), number + 1);
                    wait(|done| ledger.settle(over, done)).unwrap();
                }
            });
        }
    });
    let totals = ledger.reader().tenant_totals().unwrap();
    assert_eq!(totals.len(), 8);
    for total in totals {
        assert_eq!((total.requests, total.completed), (REQUESTS, REQUESTS));
        assert_eq!((total.prompt_tokens, total.cached_tokens), (12 * REQUESTS, 4 * REQUESTS));
        let one = settlement_of(measured("x", "y"), 0).receipt;
        assert_eq!(total.energy_nj.get(), one.energy.total_nj.get() * REQUESTS);
        assert_eq!(total.pico_units.get(), one.cost.pico_units.unwrap().get() * REQUESTS);
        assert_eq!(total.weights_kib_ms.get(), 1000 * REQUESTS);
    }
}
