//! By which key a request came: on its row, in its digest, in sums of its own.

use ledger::{KeyTotal, Ledger, LedgerError, LedgerOptions, Reader, Reservation, SeriesQuery, Span, wait};
use meter::{Measured, Outcome};
use rusqlite::Connection;

use crate::support::{checkpoint, folder, measured, open, reservation, reserve, serve_by, settle, settlement_of};

const DAYS: SeriesQuery = SeriesQuery { width: Span::Day, from_unix_s: i64::MIN, to_unix_s: i64::MAX };

fn by(id: &str, key_id: &str) -> Reservation {
    Reservation { key_id: Some(key_id.to_owned()), ..reservation(id, "acme", 0) }
}

/// Requests and tokens generated, by key.
fn told(reader: &Reader) -> Vec<(String, u64, u64)> {
    let keys = reader.series(DAYS).unwrap().into_iter().flat_map(|day| day.keys);
    keys.map(|KeyTotal { key_id, total }| (key_id, total.requests, total.completion_tokens)).collect()
}

#[test]
fn each_key_has_its_sums_and_what_came_by_none_is_the_rest() {
    let ledger = Ledger::in_memory(LedgerOptions::default()).unwrap();
    serve_by(&ledger, "1", "key_1");
    serve_by(&ledger, "2", "key_2");
    serve_by(&ledger, "3", "key_1");
    reserve(&ledger, "4").unwrap();
    settle(&ledger, "4").unwrap();
    assert_eq!(told(ledger.reader()), [("key_1".into(), 2, 14), ("key_2".into(), 1, 7)]);
    let day = &ledger.reader().series(DAYS).unwrap()[0];
    let each: Vec<_> = day.by_key().into_iter().map(|(key, total)| (key, total.requests, total.completed)).collect();
    assert_eq!(each, [(None, 1, 1), (Some("key_1"), 2, 2), (Some("key_2"), 1, 1)]);
    let mut all = ledger::TenantTotal { tenant: "acme".into(), model: "m".into(), ..ledger::TenantTotal::default() };
    day.by_key().iter().for_each(|(_, total)| all.add(total));
    assert_eq!(all, day.requests[0], "every figure");
    assert!(ledger.reader().verify().unwrap().is_sound());

    let record = ledger.reader().usage("1").unwrap().unwrap();
    assert_eq!(record.key_id.as_deref(), Some("key_1"));
    assert_eq!(serde_json::to_value(&record).unwrap()["key_id"], "key_1");
    assert_eq!(ledger.reader().snapshot().unwrap().settled_after(0).unwrap()[1].usage.key_id.as_deref(), Some("key_2"));
}

#[test]
fn the_same_request_by_another_key_is_another_one() {
    let ledger = Ledger::in_memory(LedgerOptions::default()).unwrap();
    wait(|done| ledger.reserve(by("1", "key_1"), done)).unwrap();
    wait(|done| ledger.reserve(by("1", "key_1"), done)).unwrap();
    for other in [by("1", "key_2"), reservation("1", "acme", 0)] {
        let refusal = wait(|done| ledger.reserve(other, done));
        assert!(matches!(refusal, Err(LedgerError::Duplicate { .. })), "{refusal:?}");
    }
    let refusal = settle(&ledger, "1");
    assert!(matches!(refusal, Err(LedgerError::Duplicate { .. })), "{refusal:?}");
}

#[test]
fn a_crash_is_charged_to_the_key() {
    let folder = folder();
    let path = folder.path().join("ledger.sqlite");
    let ledger = open(&path).unwrap();
    for id in ["1", "2"] {
        wait(|done| ledger.reserve(by(id, "key_1"), done)).unwrap();
    }
    let so_far = Measured { key_id: Some("key_1".to_owned()), ..measured("2", "acme") };
    wait(|done| ledger.checkpoint(checkpoint(so_far, 0, 5), done)).unwrap();
    drop(ledger);
    let ledger = open(&path).unwrap();
    assert_eq!(ledger.crashed_on_open(), 2);
    assert_eq!(told(ledger.reader()), [("key_1".into(), 2, 7)], "what its checkpoint had");
    assert_eq!(ledger.reader().usage("1").unwrap().unwrap().outcome, Some(Outcome::Crashed));
    assert!(ledger.reader().verify().unwrap().is_sound());
}

#[test]
fn what_is_removed_stays_in_the_sums_of_keys_and_a_key_that_is_changed_is_found() {
    let folder = folder();
    let path = folder.path().join("ledger.sqlite");
    let ledger = open(&path).unwrap();
    (0..20).for_each(|number| serve_by(&ledger, &number.to_string(), if number % 3 > 0 { "key_1" } else { "key_2" }));
    // Reserved before the others are removed, and settled after.
    wait(|done| ledger.reserve(by("late", "key_2"), done)).unwrap();
    let before = told(ledger.reader());
    wait(|done| ledger.remove_before(i64::MAX, done)).unwrap();
    assert_eq!(told(ledger.reader()), before);
    let late = Measured { key_id: Some("key_2".to_owned()), ..measured("late", "acme") };
    wait(|done| ledger.settle(settlement_of(late, 9), done)).unwrap();
    wait(|done| ledger.remove_before(i64::MAX, done)).unwrap();
    let found = ledger.reader().verify().unwrap();
    assert!(found.is_sound() && found.removed_links > 40, "{found:?}");
    serve_by(&ledger, "kept", "key_1");
    drop(ledger);
    let changes = [
        "UPDATE hour_keys SET completion_tokens = completion_tokens + 1",
        "UPDATE day_keys SET key_id = 'key_3' WHERE key_id = 'key_2'",
        "DELETE FROM day_keys",
    ];
    for change in changes {
        let connection = Connection::open(&path).unwrap();
        connection.execute_batch("BEGIN").unwrap();
        connection.execute(change, []).unwrap();
        connection.execute_batch("COMMIT").unwrap();
        let faults = Reader::open(&path).unwrap().verify().unwrap().faults;
        assert!(faults.iter().any(|fault| fault.to_string().contains("_keys")), "{change}: {faults:?}");
    }
    let refusal = Connection::open(&path).unwrap().execute("DELETE FROM removed_keys", []).unwrap_err();
    assert!(refusal.to_string().contains("never changed"), "{refusal}");
}
