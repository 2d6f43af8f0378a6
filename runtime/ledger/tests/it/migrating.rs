//! Ledgers of earlier schemas: of schema 1, as the program wrote it that had no chain, and of those after it.

use std::fs;
use std::path::Path;

use ledger::{LedgerError, Reader, SavingsQuery, SeriesQuery, Span, UsageState, wait};
use meter::{
    Account, AccountInterval, EnergyAccounts, EnergyInterval, HeldAs, KibMillis, Moment, Nanojoules, Nanos, Outcome,
    Quality,
};
use rusqlite::Connection;

use crate::support::{
    FROM_SCHEMA_3, FROM_SCHEMA_4, FROM_SCHEMA_5, folder, measured, open, receipt, reserve, serve_by, settle,
};

/// The tables of schema 1 and three runs, the last of which died with a request open.
const SCHEMA_1: &str = include_str!("schema_1.sql");

fn recorded(path: &Path) {
    let connection = Connection::open(path).unwrap();
    connection.execute_batch("PRAGMA journal_mode = WAL").unwrap();
    connection.execute_batch(SCHEMA_1).unwrap();
    // Receipts are as this program writes them: their form has not changed with the schema.
    let json = serde_json::to_string(&receipt(measured("r1", "acme"))).unwrap();
    let settle = "INSERT INTO settlements (reservation, outcome, at_ms, unix_ms, prompt_tokens, pico_units, energy_nj, \
                  weights_bytes, receipt) VALUES (?1, ?2, ?3, ?4, 12, 7, 1000, 5000, ?5)";
    for (reservation, outcome, at_ms, unix_ms) in [
        (2, "completed", 40, 1_700_000_000_300_i64),
        (1, "cancelled", 50, 1_700_000_000_400),
        (4, "completed", 9, 1_700_003_600_000),
    ] {
        if reservation == 4 {
            // As the second run found it.
            let crash = "INSERT INTO settlements (reservation, outcome, at_ms, unix_ms) \
                         VALUES (3, 'crashed', 60, 1700003500000)";
            connection.execute(crash, []).unwrap();
        }
        connection.execute(settle, rusqlite::params![reservation, outcome, at_ms, unix_ms, json]).unwrap();
    }
}

#[test]
fn a_ledger_of_schema_1_is_linked_and_says_so() {
    let folder = folder();
    let path = folder.path().join("ledger.sqlite");
    recorded(&path);
    let refusal = Reader::open(&path).map(drop);
    assert!(matches!(refusal, Err(LedgerError::SchemaOld { found: 1, supported: 5 })), "{refusal:?}");

    let ledger = open(&path).unwrap();
    assert_eq!(ledger.crashed_on_open(), 1, "what was open before is settled now");
    let found = ledger.reader().verify().unwrap();
    assert!(found.is_sound(), "{:?}", found.faults);
    // Three runs, five reservations, four settlements, two intervals; then that they were adopted, the crash, a run.
    assert_eq!((found.adopted_links, found.head_link), (14, 17));

    let first = ledger.reader().usage("r1").unwrap().unwrap();
    assert_eq!((first.state, first.outcome), (UsageState::Settled, Some(Outcome::Cancelled)));
    let lost = ledger.reader().usage("r5").unwrap().unwrap();
    assert_eq!((lost.outcome, lost.receipt), (Some(Outcome::Crashed), None));
    let totals = ledger.reader().tenant_totals().unwrap();
    let shown: Vec<_> = totals
        .iter()
        .map(|one| (one.tenant.as_str(), one.requests, one.completed, one.prompt_tokens, one.unpriced))
        .collect();
    assert_eq!(shown, [("acme", 4, 2, 36, 1), ("other", 1, 0, 0, 1)]);
    let accounts = ledger.reader().account_totals().unwrap();
    assert_eq!(accounts.iter().map(|one| one.kib_ms.get()).sum::<u64>(), 30);

    reserve(&ledger, "new").unwrap();
    settle(&ledger, "new").unwrap();
    drop(ledger);
    assert!(Reader::open(&path).unwrap().verify().unwrap().is_sound());
}

#[test]
fn an_empty_ledger_of_schema_1_becomes_a_new_one() {
    let folder = folder();
    let path = folder.path().join("ledger.sqlite");
    let (tables, _) = SCHEMA_1.split_once("-- rows").unwrap();
    Connection::open(&path).unwrap().execute_batch(tables).unwrap();
    let found = open(&path).unwrap().reader().verify().unwrap();
    assert!(found.is_sound(), "{:?}", found.faults);
    assert_eq!((found.adopted_links, found.head_link), (0, 1));
}

#[test]
fn a_migration_that_fails_changes_nothing() {
    let folder = folder();
    let path = folder.path().join("ledger.sqlite");
    recorded(&path);
    let connection = Connection::open(&path).unwrap();
    connection.execute_batch("CREATE TABLE chain (mine)").unwrap();
    drop(connection);
    let before = fs::read(&path).unwrap();
    assert!(open(&path).is_err());
    assert_eq!(fs::read(&path).unwrap(), before);
}

/// What there is has the digests that it had, and what comes has keys, energy and sums of both.
#[test]
fn a_ledger_of_schema_2_or_3_gets_what_it_lacks() {
    let to_3 = [FROM_SCHEMA_5, FROM_SCHEMA_4].concat();
    for (found, lowering) in [(2, to_3.clone() + FROM_SCHEMA_3), (3, to_3)] {
        let folder = folder();
        let path = folder.path().join("ledger.sqlite");
        let ledger = open(&path).unwrap();
        reserve(&ledger, "old").unwrap();
        settle(&ledger, "old").unwrap();
        drop(ledger);
        let head = Reader::open(&path).unwrap().verify().unwrap().head_digest;
        Connection::open(&path).unwrap().execute_batch(&lowering).unwrap();
        let refusal = Reader::open(&path).map(drop);
        let is_told = matches!(refusal, Err(LedgerError::SchemaOld { found: told, supported: 5 }) if told == found);
        assert!(is_told, "{refusal:?}");
        let ledger = open(&path).unwrap();
        serve_by(&ledger, "new", "key_1");
        let interval = EnergyInterval {
            sequence: 0,
            device: "host".to_owned(),
            source: "RAPL".to_owned(),
            quality: Quality::Measured,
            accounts: EnergyAccounts { idle: Nanojoules::new(33), ..EnergyAccounts::default() },
            unknown_ms: 0,
            from: Moment::ZERO,
            to: Moment::new(1000),
        };
        wait(|done| ledger.energy(interval, done)).unwrap();
        assert_eq!(ledger.reader().energy_totals().unwrap()[0].energy_nj.get(), 33);
        let verified = ledger.reader().verify().unwrap();
        assert!(verified.is_sound(), "{:?}", verified.faults);
        assert_eq!((verified.adopted_links, ledger.reader().tenant_totals().unwrap()[0].requests), (0, 2));
        let of_old: Vec<u8> = Connection::open(&path)
            .unwrap()
            .query_row("SELECT digest FROM chain WHERE link = 3", [], |row| row.get(0))
            .unwrap();
        assert_eq!(of_old.iter().map(|byte| format!("{byte:02x}")).collect::<String>(), head, "schema {found}");
        let waits = ledger.reader().savings_inputs(SavingsQuery::default()).unwrap().waits;
        assert_eq!(waits.requests, 2, "rows from before the index are in it");
        let days = SeriesQuery { width: Span::Day, from_unix_s: i64::MIN, to_unix_s: i64::MAX };
        let keys: Vec<_> = ledger.reader().series(days).unwrap().into_iter().flat_map(|day| day.keys).collect();
        assert_eq!((keys.len(), keys[0].key_id.as_str(), keys[0].total.requests), (1, "key_1", 1));
    }
}

/// A ledger of schema 4, as the program wrote it that knew no later one.
const SCHEMA_4: &str = include_str!("schema_4.sql");

/// What was written is as it was, to the letter and to the link; what comes tells more, and both are summed once.
#[test]
fn a_ledger_of_schema_4_goes_on_with_accounts_that_tell_more() {
    let folder = folder();
    let path = folder.path().join("ledger.sqlite");
    let connection = Connection::open(&path).unwrap();
    // Its tables stand in the order of their names.
    connection.execute_batch("PRAGMA journal_mode = WAL; PRAGMA foreign_keys = OFF;").unwrap();
    connection.execute_batch(SCHEMA_4).unwrap();
    drop(connection);
    let refusal = Reader::open(&path).map(drop);
    assert!(matches!(refusal, Err(LedgerError::SchemaOld { found: 4, supported: 5 })), "{refusal:?}");

    let ledger = open(&path).unwrap();
    let found = ledger.reader().verify().unwrap();
    assert!(found.is_sound(), "{:?}", found.faults);
    // The open request was settled, and a run began.
    assert_eq!((found.removed_links, found.adopted_links, found.head_link), (7, 0, 21));
    let accounts = || {
        let totals = ledger.reader().account_totals().unwrap();
        totals.into_iter().map(|one| (one.account, one.held_as, one.kib_ms.get(), one.cpu_ns.get())).collect::<Vec<_>>()
    };
    let acme = || Account::Keepalive("acme".into());
    let before = [(acme(), None, 120, 0), (Account::Load, None, 3, 0), (Account::Idle, None, 7, 0)];
    assert_eq!(accounts(), before, "removed ones too");
    // 8,000 bytes, then 5,000 and 4,000; of the removed hour's 9,000 and 6,000 the last is known.
    let size = || ledger.reader().savings_inputs(SavingsQuery::default()).unwrap().models[0].weights_bytes;
    assert_eq!(size(), 8000, "the largest that is known");

    let kept = AccountInterval {
        model: "m".into(),
        tenant: Some("acme".into()),
        held_as: HeldAs::Prefix,
        kib_ms: KibMillis::new(50),
        cpu: Nanos::new(9),
        ..AccountInterval::default()
    };
    wait(|done| ledger.interval(kept, done)).unwrap();
    let [of_acme, load, idle] = before;
    assert_eq!(accounts(), [of_acme, (acme(), Some(HeldAs::Prefix), 50, 9), load, idle]);
    let inputs = ledger.reader().savings_inputs(SavingsQuery::default()).unwrap();
    let of_acme = inputs.tenants.iter().find(|one| one.tenant == "acme").unwrap();
    assert_eq!((of_acme.keepalive.get(), of_acme.pages.get(), of_acme.load_cpu.get()), (120, 50, 44 + 9));
    wait(|done| ledger.remove_before(i64::MAX, done)).unwrap();
    let found = ledger.reader().verify().unwrap();
    assert!(found.is_sound() && found.removed_links > 15, "{found:?}");
    assert_eq!(size(), 8000);
    assert_eq!(accounts().iter().map(|(_, _, kib_ms, _)| kib_ms).sum::<u64>(), 180);
}
