//! What a verification finds.

use std::path::{Path, PathBuf};

use ledger::{Fault, LedgerError, Reader, Verification, wait};
use meter::{AccountInterval, HeldAs, KibMillis, Moment};
use rusqlite::Connection;

use crate::support::{checkpoint, folder, measured, open, reservation, reserve, settle};

/// A ledger with a row of every kind but those of retention and migration.
fn recorded(folder: &Path) -> PathBuf {
    let path = folder.join("ledger.sqlite");
    let ledger = open(&path).unwrap();
    for number in 0..20 {
        let id = format!("r{number}");
        reserve(&ledger, &id).unwrap();
        wait(|done| ledger.checkpoint(checkpoint(measured(&id, "acme"), 0, 5), done)).unwrap();
        settle(&ledger, &id).unwrap();
        let interval = AccountInterval {
            sequence: number,
            model: "m".into(),
            held_as: HeldAs::Idle,
            kib_ms: KibMillis::new(7),
            from: Moment::new(number),
            to: Moment::new(number + 1),
            ..AccountInterval::default()
        };
        wait(|done| ledger.interval(interval, done)).unwrap();
    }
    path
}

fn verify(path: &Path) -> Verification {
    Reader::open(path).unwrap().verify().unwrap()
}

/// Changes the file behind the ledger's back, triggers or not.
fn meddle(path: &Path, sql: &str) {
    let connection = Connection::open(path).unwrap();
    let triggers: Vec<(String, String)> = connection
        .prepare("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'")
        .unwrap()
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap();
    connection.execute_batch("PRAGMA foreign_keys = OFF").unwrap();
    triggers.iter().for_each(|(name, _)| connection.execute_batch(&format!("DROP TRIGGER {name}")).unwrap());
    connection.execute_batch(sql).unwrap();
    triggers.iter().for_each(|(_, trigger)| connection.execute_batch(trigger).unwrap());
}

#[test]
fn a_sound_ledger_is_told_by_its_head() {
    let folder = folder();
    let path = recorded(folder.path());
    let found = verify(&path);
    assert!(found.is_sound(), "{:?}", found.faults);
    assert_eq!((found.links, found.head_link, found.removed_links, found.open_requests), (81, 81, 0, 0));
    let rows: Vec<_> = found.rows.iter().map(|(table, rows)| (*table, *rows)).collect();
    assert_eq!(rows, [("checkpoints", 20), ("intervals", 20), ("reservations", 20), ("runs", 1), ("settlements", 20)]);
    assert_eq!((found.head_digest.len(), &verify(&path)), (64, &found));

    // Beside the process that writes, too; what is open is no fault.
    let ledger = open(&path).unwrap();
    reserve(&ledger, "more").unwrap();
    let later = verify(&path);
    assert!(later.is_sound(), "{:?}", later.faults);
    assert_eq!((later.head_link, later.open_requests), (83, 1));
    assert_ne!(later.head_digest, found.head_digest);
}

#[test]
fn whatever_is_changed_is_found() {
    let changes = [
        ("UPDATE settlements SET energy_nj = energy_nj - 1 WHERE sequence = 7", "settlements"),
        ("UPDATE settlements SET receipt = replace(receipt, 'acme', 'else') WHERE sequence = 7", "settlements"),
        ("UPDATE settlements SET pico_units = NULL WHERE sequence = 7", "settlements"),
        ("UPDATE reservations SET tenant = 'else' WHERE sequence = 7", "reservations"),
        ("UPDATE reservations SET idempotency_key = '' WHERE sequence = 7", "reservations"),
        ("UPDATE reservations SET key_id = 'key_1' WHERE sequence = 7", "reservations"),
        ("UPDATE checkpoints SET number = 1 WHERE sequence = 7", "checkpoints"),
        ("UPDATE intervals SET unix_ms = unix_ms + 1 WHERE sequence = 7", "intervals"),
        ("UPDATE intervals SET held_as = 'pinned' WHERE sequence = 7", "intervals"),
        ("UPDATE intervals SET held_as = NULL WHERE sequence = 7", "intervals"),
        ("UPDATE intervals SET pico_units = 1 WHERE sequence = 7", "intervals"),
        ("UPDATE runs SET opened_unix_ms = 0", "runs"),
        ("UPDATE chain SET digest = zeroblob(32) WHERE link = 30", "link 30"),
        ("UPDATE chain SET digest = x'00' WHERE link = 30", "link 30"),
        ("UPDATE chain SET kind = 99 WHERE link = 30", "no known kind"),
        ("UPDATE chain SET sequence = 19 WHERE link = 30", "link 30"),
        ("DELETE FROM chain WHERE link = 30", "link 31"),
        ("DELETE FROM chain WHERE link > 79", "intervals has 20 rows"),
        ("DELETE FROM settlements WHERE sequence = 20", "settlements"),
        ("DELETE FROM intervals WHERE sequence = 20; DELETE FROM chain WHERE link > 80", "hour_held"),
        (
            "INSERT INTO intervals SELECT 21, run, 99, model, account, tenant, kib_ms, from_ms, to_ms, unix_ms, \
          held_as, cpu_ns, energy_nj, micrograms_co2e, pico_units FROM intervals WHERE sequence = 20",
            "intervals has 21 rows",
        ),
        ("UPDATE hour_requests SET energy_nj = energy_nj + 1", "hour_requests"),
        ("UPDATE day_requests SET tenant = 'else'", "day_requests"),
        ("DELETE FROM day_held", "day_held"),
        ("DROP INDEX reservations_idempotency", "reservations_idempotency"),
        ("CREATE TABLE more (a)", "more"),
    ];
    for (sql, told) in changes {
        let folder = folder();
        let path = recorded(folder.path());
        meddle(&path, sql);
        let found = verify(&path);
        let faults: Vec<String> = found.faults.iter().map(ToString::to_string).collect();
        assert!(faults.iter().any(|fault| fault.contains(told)), "{sql}: {faults:?}");
    }
}

#[test]
fn triggers_that_were_dropped_are_found() {
    let folder = folder();
    let path = recorded(folder.path());
    Connection::open(&path).unwrap().execute_batch("DROP TRIGGER settlements_refuse_UPDATE").unwrap();
    assert_eq!(verify(&path).faults, [Fault::Declaration { name: "settlements_refuse_UPDATE".into() }]);
}

/// Nobody can check the whole chain at the start; but what is removed is looked at first.
#[test]
fn damage_is_not_buried_under_an_anchor() {
    let folder = folder();
    let path = recorded(folder.path());
    meddle(&path, "UPDATE settlements SET energy_nj = 0 WHERE sequence = 7");
    let before = verify(&path).faults;
    let ledger = open(&path).unwrap();
    let refusal = wait(|done| ledger.remove_before(i64::MAX, done));
    assert!(matches!(refusal, Err(LedgerError::Corrupt { .. })), "{refusal:?}");
    assert_eq!(ledger.reader().verify().unwrap().faults, before);
    reserve(&ledger, "goes on").unwrap();
}

#[test]
fn what_an_anchor_stands_for_cannot_be_changed_unseen() {
    let changes = [
        ("UPDATE removed_requests SET energy_nj = energy_nj + 1", "does not have its sums"),
        (
            "UPDATE removed_requests SET tenant = 'else'; UPDATE hour_requests SET tenant = 'else'; \
          UPDATE day_requests SET tenant = 'else'",
            "does not have its sums",
        ),
        ("DELETE FROM removed_held", "does not have its sums"),
        ("UPDATE anchors SET sums = zeroblob(32) WHERE sequence = 1", "does not have its sums"),
        ("UPDATE anchors SET unix_ms = 0 WHERE sequence = 1", "the one before it"),
        ("DELETE FROM anchors WHERE sequence = 1", "does not begin where"),
        ("UPDATE anchors SET unix_ms = 0 WHERE sequence = 2", "in anchors"),
        ("UPDATE anchors SET digest = zeroblob(32) WHERE sequence = 2", "the row is not the one"),
        ("UPDATE runs SET opened_unix_ms = 5 WHERE run = (SELECT max(run) FROM anchors)", "the run that it names"),
    ];
    for (sql, told) in changes {
        let folder = folder();
        let path = recorded(folder.path());
        for id in ["first", "second"] {
            let ledger = open(&path).unwrap();
            reserve(&ledger, id).unwrap();
            wait(|done| ledger.remove_before(i64::MAX, done)).unwrap();
            settle(&ledger, id).unwrap();
        }
        let found = verify(&path);
        assert!(found.is_sound() && found.removed_links > 80, "{found:?}");
        meddle(&path, sql);
        let faults: Vec<String> = verify(&path).faults.iter().map(ToString::to_string).collect();
        assert!(faults.iter().any(|fault| fault.contains(told)), "{sql}: {faults:?}");
    }
}

#[test]
fn rows_that_an_anchor_covers_may_be_deleted_and_no_others() {
    let folder = folder();
    let path = recorded(folder.path());
    let ledger = open(&path).unwrap();
    // Whatever is still at work stays, and what follows it in the chain.
    wait(|done| ledger.reserve(reservation("at work", "acme", 0), done)).unwrap();
    wait(|done| ledger.remove_before(i64::MAX, done)).unwrap();
    wait(|done| ledger.remove_before(i64::MAX, done)).unwrap();
    settle(&ledger, "at work").unwrap();
    assert_eq!(ledger.reader().usage("r19").unwrap(), None);
    assert_eq!(ledger.reader().recent(10).unwrap().len(), 1);
    drop(ledger);
    let connection = Connection::open(&path).unwrap();
    for change in [
        "DELETE FROM settlements",
        "DELETE FROM reservations",
        "DELETE FROM chain",
        "DELETE FROM runs",
        "DELETE FROM anchors",
        "DELETE FROM removed_requests",
        "UPDATE chain SET digest = zeroblob(32)",
        "UPDATE anchors SET unix_ms = 0",
    ] {
        let refusal = connection.execute(change, []).unwrap_err().to_string();
        assert!(refusal.contains("never changed"), "{change}: {refusal}");
    }
    drop(connection);
    assert!(verify(&path).is_sound());
}
