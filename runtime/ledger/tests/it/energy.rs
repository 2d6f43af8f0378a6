//! What devices took in energy: each interval once, its accounts its sum, whatever is removed.

use std::path::Path;

use ledger::{Ledger, LedgerError, LedgerOptions, Reader, wait};
use meter::{EnergyAccounts, EnergyInterval, Moment, Nanojoules, Quality};
use rusqlite::Connection;

use crate::support::{folder, open, reserve, settle};

fn interval(sequence: u64, source: &str, requests: u64) -> EnergyInterval {
    EnergyInterval {
        sequence,
        device: "host".into(),
        source: source.into(),
        quality: Quality::Measured,
        accounts: EnergyAccounts {
            requests: Nanojoules::new(requests),
            keepalive: Nanojoules::new(2),
            runtime: Nanojoules::new(3),
            host_other: Nanojoules::new(5),
            idle: Nanojoules::new(7),
            unmeasured: Nanojoules::new(11),
        },
        unknown_ms: 13,
        from: Moment::new(1000 * sequence),
        to: Moment::new(1000 * sequence + 1000),
    }
}

fn record(ledger: &Ledger, interval: &EnergyInterval) -> Result<(), LedgerError> {
    wait(|done| ledger.energy(interval.clone(), done))
}

#[test]
fn an_interval_of_energy_is_recorded_once_and_summed_by_its_source() {
    let ledger = Ledger::in_memory(LedgerOptions::default()).unwrap();
    record(&ledger, &interval(0, "RAPL", 100)).unwrap();
    record(&ledger, &interval(0, "RAPL", 100)).unwrap();
    record(&ledger, &interval(1, "RAPL", 1000)).unwrap();
    record(&ledger, &interval(2, "model", 17)).unwrap();
    let other = record(&ledger, &interval(2, "model", 18));
    assert!(matches!(other, Err(LedgerError::Duplicate { .. })), "{other:?}");
    let [rapl, model] = <[_; 2]>::try_from(ledger.reader().energy_totals().unwrap()).unwrap();
    assert_eq!((rapl.source.as_str(), rapl.quality.as_str(), rapl.unknown_ms), ("RAPL", "measured", 26));
    assert_eq!((rapl.accounts.requests.get(), rapl.accounts.unmeasured.get()), (1100, 22));
    assert_eq!((rapl.energy_nj, rapl.accounts.total()), (Nanojoules::new(1156), Nanojoules::new(1156)));
    assert_eq!((model.source.as_str(), model.energy_nj.get()), ("model", 45));
    assert!(ledger.reader().verify().unwrap().is_sound());
}

fn recorded(path: &Path) -> Ledger {
    let ledger = open(path).unwrap();
    (0..20).for_each(|sequence| record(&ledger, &interval(sequence, "RAPL", sequence)).unwrap());
    ledger
}

#[test]
fn what_is_removed_stays_in_the_sums() {
    let folder = folder();
    let path = folder.path().join("ledger.sqlite");
    let ledger = recorded(&path);
    let before = ledger.reader().energy_totals().unwrap();
    // The last link is never removed.
    reserve(&ledger, "r").unwrap();
    settle(&ledger, "r").unwrap();
    wait(|done| ledger.remove_before(i64::MAX, done)).unwrap();
    assert_eq!(ledger.reader().energy_totals().unwrap(), before);
    record(&ledger, &interval(20, "RAPL", 0)).unwrap();
    let found = ledger.reader().verify().unwrap();
    assert!(found.is_sound() && found.removed_links > 20, "{found:?}");
    drop(ledger);
    let rows: i64 = Connection::open(&path)
        .unwrap()
        .query_row("SELECT count(*) FROM energy_intervals", [], |row| row.get(0))
        .unwrap();
    assert_eq!(rows, 1);
}

#[test]
fn a_row_that_does_not_add_up_is_refused_and_none_is_changed() {
    let folder = folder();
    let path = folder.path().join("ledger.sqlite");
    drop(recorded(&path));
    let connection = Connection::open(&path).unwrap();
    let columns = "requests_nj, keepalive_nj, runtime_nj, host_other_nj, idle_nj, unmeasured_nj, unknown_ms, from_ms, \
                   to_ms, unix_ms";
    let unbalanced = format!(
        "INSERT INTO energy_intervals (run, source_sequence, device, source, quality, energy_nj, {columns}) \
         SELECT run, 99, device, source, quality, energy_nj + 1, {columns} FROM energy_intervals LIMIT 1"
    );
    let refusal = connection.execute(&unbalanced, []).unwrap_err().to_string();
    assert!(refusal.contains("CHECK"), "{refusal}");
    for change in ["UPDATE energy_intervals SET device = 'x'", "DELETE FROM energy_intervals"] {
        let refusal = connection.execute(change, []).unwrap_err().to_string();
        assert!(refusal.contains("never changed"), "{change}: {refusal}");
    }
    connection.execute("UPDATE day_energy SET idle_nj = idle_nj + 1, energy_nj = energy_nj + 1", []).unwrap();
    drop(connection);
    let faults = Reader::open(&path).unwrap().verify().unwrap().faults;
    assert!(faults.iter().any(|fault| fault.to_string().contains("day_energy")), "{faults:?}");
}
