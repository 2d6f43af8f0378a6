//! The end of the process, repeats after it, a full disk.

use std::fs;

use ledger::{CHECKPOINTS_PER_REQUEST_MAX, Ledger, LedgerError, LedgerOptions, Reader, Reservation, UsageState, wait};
use meter::Outcome;

use crate::support::{checkpoint, measured, open, promised, reservation, reserve, settle, settlement, settlement_of};

#[test]
fn what_was_reserved_when_the_process_ended_is_settled_as_crashed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.sqlite");
    let ledger = open(&path).unwrap();
    assert_eq!(ledger.crashed_on_open(), 0);
    for id in ["done", "lost", "lost too"] {
        reserve(&ledger, id).unwrap();
    }
    settle(&ledger, "done").unwrap();
    assert_eq!(ledger.reader().usage("lost").unwrap().unwrap().state, UsageState::Reserved);
    drop(ledger);

    let ledger = open(&path).unwrap();
    assert_eq!(ledger.crashed_on_open(), 2);
    let lost = ledger.reader().usage("lost").unwrap().unwrap();
    assert_eq!((lost.state, lost.outcome, lost.receipt), (UsageState::Settled, Some(Outcome::Crashed), None));
    let done = ledger.reader().usage("done").unwrap().unwrap();
    assert_eq!((done.outcome, done.receipt.as_ref()), (Some(Outcome::Completed), Some(&*settlement("done").receipt)));
    // A settlement that comes too late finds that its request was given up.
    assert!(matches!(settle(&ledger, "lost"), Err(LedgerError::Duplicate { .. })));
    drop(ledger);
    assert_eq!(open(&path).unwrap().crashed_on_open(), 0, "crashed once, not at every opening");
}

#[test]
fn a_crashed_request_is_settled_with_its_last_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.sqlite");
    let ledger = open(&path).unwrap();
    let made = |number, completion| {
        let mut measured = measured("lost", "acme");
        measured.tokens.completion = completion;
        checkpoint(measured, number, 100 * (number + 1))
    };
    let leave = |checkpoint| wait(|done| ledger.checkpoint(checkpoint, done));
    assert!(matches!(leave(made(0, 5)), Err(LedgerError::NotReserved { .. })));
    reserve(&ledger, "lost").unwrap();
    leave(made(0, 5)).unwrap();
    leave(made(0, 5)).unwrap();
    assert!(matches!(leave(made(0, 6)), Err(LedgerError::Duplicate { .. })));
    leave(made(1, 50)).unwrap();
    let beyond = leave(made(CHECKPOINTS_PER_REQUEST_MAX, 60));
    assert!(matches!(beyond, Err(LedgerError::TooManyCheckpoints { .. })), "{beyond:?}");
    // One that comes after the end is absorbed.
    reserve(&ledger, "done").unwrap();
    settle(&ledger, "done").unwrap();
    leave(checkpoint(measured("done", "acme"), 0, 100)).unwrap();
    drop(ledger);

    let ledger = open(&path).unwrap();
    assert_eq!(ledger.crashed_on_open(), 1);
    let lost = ledger.reader().usage("lost").unwrap().unwrap();
    let receipt = lost.receipt.unwrap();
    assert_eq!((lost.outcome, receipt.outcome), (Some(Outcome::Crashed), Outcome::Crashed));
    assert_eq!(receipt.tokens, made(1, 50).receipt.tokens);
    assert!(receipt.method.notes.iter().any(|note| note.contains("last checkpoint")), "{:?}", receipt.method.notes);
    let totals = &ledger.reader().tenant_totals().unwrap()[0];
    assert_eq!((totals.requests, totals.completed, totals.completion_tokens), (2, 1, 57));
    assert_eq!(totals.unpriced, 0, "what was computed has its price");
    let found = ledger.reader().verify().unwrap();
    assert!(found.is_sound(), "{:?}", found.faults);
    assert_eq!(found.rows["checkpoints"], 2);
}

#[test]
fn an_idempotency_key_is_one_charge_for_its_tenant_whatever_becomes_of_the_process() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.sqlite");
    let keyed =
        |id: &str, tenant: &str| Reservation { idempotency_key: Some("key".into()), ..reservation(id, tenant, 0) };
    let ledger = open(&path).unwrap();
    let reserve_keyed = |ledger: &Ledger, id, tenant| wait(|done| ledger.reserve(keyed(id, tenant), done));
    reserve_keyed(&ledger, "first", "acme").unwrap();
    reserve_keyed(&ledger, "first", "acme").unwrap();
    reserve_keyed(&ledger, "another's", "else").unwrap();
    let without = wait(|done| ledger.reserve(reservation("first", "acme", 0), done));
    assert!(matches!(without, Err(LedgerError::Duplicate { .. })), "{without:?}");
    drop(ledger);

    let ledger = open(&path).unwrap();
    let again = reserve_keyed(&ledger, "second", "acme");
    assert!(matches!(again, Err(LedgerError::KeyUsed { ref id }) if id == "first"), "{again:?}");
    let first = ledger.reader().usage("first").unwrap().unwrap();
    assert_eq!(first.outcome, Some(Outcome::Crashed));
    assert_eq!(ledger.reader().usage("second").unwrap(), None);
    assert!(matches!(settle(&ledger, "second"), Err(LedgerError::NotReserved { .. })));
    assert_eq!(ledger.reader().tenant_totals().unwrap()[0].requests, 1);
}

#[test]
fn dropping_writes_what_is_queued() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.sqlite");
    let ledger = open(&path).unwrap();
    let results: Vec<_> = (0..100)
        .flat_map(|number| {
            let id = format!("r{number}");
            let (reserved, first) = promised();
            let (settled, second) = promised();
            ledger.reserve(reservation(&id, "acme", 0), reserved);
            ledger.settle(settlement(&id), settled);
            [first, second]
        })
        .collect();
    drop(ledger);
    assert!(results.iter().all(|result| result.recv().unwrap().is_ok()));
    assert_eq!(open(&path).unwrap().crashed_on_open(), 0);
}

#[test]
fn a_damaged_page_is_reported() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.sqlite");
    let ledger = open(&path).unwrap();
    for number in 0..200 {
        ledger.reserve(reservation(&format!("r{number}"), "acme", 0), Box::new(|result| result.unwrap()));
    }
    drop(ledger);
    let mut bytes = fs::read(&path).unwrap();
    for page in bytes.chunks_mut(4096).skip(1) {
        page[..64].fill(0xa5);
    }
    fs::write(&path, bytes).unwrap();
    let opened = open(&path).map(drop);
    assert!(matches!(opened, Err(LedgerError::Corrupt { .. })), "{opened:?}");
    let read = Reader::open(&path).and_then(|reader| reader.recent(10));
    assert!(matches!(read, Err(LedgerError::Corrupt { .. })), "{read:?}");
}

#[test]
fn a_full_disk_fails_its_callers_and_loses_nothing_that_was_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.sqlite");
    let full = LedgerOptions { pages_max: Some(48), ..LedgerOptions::default() };
    let ledger = Ledger::open(&path, full).unwrap();
    let (mut acknowledged, mut failures) = (Vec::new(), Vec::new());
    for number in 0..200 {
        let id = format!("r{number}");
        match reserve(&ledger, &id).and_then(|()| settle(&ledger, &id)) {
            Ok(()) => acknowledged.push(id),
            Err(failure) => failures.push(failure),
        }
    }
    assert!(acknowledged.len() > 3 && failures.len() > 100, "{} acknowledged", acknowledged.len());
    for failure in &failures {
        assert!(failure.is_retryable(), "{failure:?}");
        let LedgerError::Unavailable { source } = failure else { panic!("{failure:?}") };
        assert!(source.to_string().contains("full"), "{source}");
    }
    assert_eq!(ledger.reader().tenant_totals().unwrap()[0].requests, acknowledged.len() as u64);
    drop(ledger);
    let ledger = open(&path).unwrap();
    for id in &acknowledged {
        assert_eq!(ledger.reader().usage(id).unwrap().unwrap().outcome, Some(Outcome::Completed));
    }
    reserve(&ledger, "after").unwrap();
    settle(&ledger, "after").unwrap();
}

#[test]
fn a_failed_commit_fails_its_whole_batch_and_no_other() {
    let ledger = Ledger::in_memory(LedgerOptions { pages_max: Some(60), ..LedgerOptions::default() }).unwrap();
    reserve(&ledger, "huge").unwrap();
    let mut huge = settlement_of(measured("huge", "acme"), 1);
    huge.receipt.method.notes.push("x".repeat(1 << 20));
    let pause = crate::support::Pause::begin(&ledger);
    let (first_done, first) = promised();
    let (huge_done, second) = promised();
    let (last_done, third) = promised();
    ledger.reserve(reservation("before", "acme", 0), first_done);
    ledger.settle(huge, huge_done);
    ledger.reserve(reservation("behind", "acme", 0), last_done);
    pause.end();
    for result in [first, second, third] {
        let result = result.recv().unwrap();
        assert!(matches!(result, Err(LedgerError::Unavailable { .. })), "{result:?}");
    }
    assert_eq!(ledger.reader().usage("before").unwrap(), None, "what failed is not there");
    wait(|done| ledger.reserve(reservation("before", "acme", 0), done)).unwrap();
    settle(&ledger, "huge").unwrap();
}
