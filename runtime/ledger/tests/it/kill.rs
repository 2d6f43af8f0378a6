//! A process that writes is killed at arbitrary moments, and the next one goes on.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::thread;

use ledger::wait;
use meter::Outcome;

use crate::arbitrary::Arbitrary;
use crate::support::{checkpoint, child, measured, open, path_from_parent, reserve, settle, tell_parent};

const CHILD_THREADS: u64 = 4;

#[test]
fn no_acknowledged_row_is_lost_or_doubled_by_twenty_kills() {
    kill_cycles(20);
}

#[test]
#[ignore = "takes minutes"]
fn no_acknowledged_row_is_lost_or_doubled_by_two_hundred_kills() {
    kill_cycles(200);
}

/// What was acknowledged.
#[derive(Default)]
struct Acknowledged {
    reserved: BTreeSet<String>,
    settled: BTreeSet<String>,
    /// Checkpoints by request: how many.
    checkpoints: BTreeMap<String, u64>,
}

impl Acknowledged {
    fn hear(&mut self, line: &str) {
        match line.split_once(' ') {
            Some(("reserved", id)) => drop(self.reserved.insert(id.to_owned())),
            Some(("checkpoint", id)) => *self.checkpoints.entry(id.to_owned()).or_default() += 1,
            Some(("settled", id)) => drop(self.settled.insert(id.to_owned())),
            _ => {} // the test harness's own lines
        }
    }
}

fn kill_cycles(count: u64) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.sqlite");
    let (mut acknowledged, mut crashed, mut arbitrary) = (Acknowledged::default(), 0, Arbitrary(1));
    for cycle in 0..count {
        let mut process = child("kill::writes_until_it_is_killed", &path);
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        // None at all at times: the process is killed while it starts, opens or recovers.
        for _ in 0..arbitrary.below(100) {
            acknowledged.hear(&lines.next().unwrap().unwrap());
        }
        process.kill().unwrap();
        process.wait().unwrap();
        // What it said before it died was said after the commit.
        lines.for_each(|line| acknowledged.hear(&line.unwrap()));

        let ledger = open(&path).unwrap();
        crashed += ledger.crashed_on_open();
        assert!(ledger.crashed_on_open() <= CHILD_THREADS, "cycle {cycle}: {}", ledger.crashed_on_open());
        let found = ledger.reader().verify().unwrap();
        assert!(found.is_sound(), "cycle {cycle}: {:?}", found.faults);
    }
    compare(&path, &acknowledged, crashed);
}

fn compare(path: &Path, acknowledged: &Acknowledged, crashed_on_open: u64) {
    let outcomes = outcomes(path);
    for id in &acknowledged.reserved {
        assert!(outcomes.contains_key(id), "{id} was acknowledged and is gone");
    }
    for id in &acknowledged.settled {
        assert_eq!(outcomes[id].0, Some(Outcome::Completed), "{id} was acknowledged as settled");
    }
    let mut crashed = 0;
    for (id, (outcome, tokens)) in &outcomes {
        let outcome = outcome.unwrap_or_else(|| panic!("{id} is not settled"));
        if outcome == Outcome::Crashed {
            crashed += 1;
            // The checkpoint's figure is its number; one that was written may have been killed before it was told.
            let told = acknowledged.checkpoints.get(id).copied().unwrap_or(0);
            assert!((told..=told + 1).contains(tokens), "{id}: {tokens} charged after {told} checkpoints");
        }
    }
    // Those that died while the process recovered others were counted by a process that was killed, too.
    assert!(crashed >= crashed_on_open, "{crashed} of {crashed_on_open}");
    let settled = acknowledged.settled.len();
    assert!(crashed > 0 && settled > 100, "{crashed} crashed and {settled} settled test little");
}

/// Every request, exactly once, with its outcome and the tokens that it was charged: the rows are counted from outside the
/// reader, which would not show a double.
fn outcomes(path: &Path) -> BTreeMap<String, (Option<Outcome>, u64)> {
    let connection = rusqlite::Connection::open(path).unwrap();
    let mut query = connection
        .prepare(
            "SELECT id, outcome, coalesce(completion_tokens, 0) FROM reservations r \
             LEFT JOIN settlements s ON s.reservation = r.sequence",
        )
        .unwrap();
    let mut outcomes = BTreeMap::new();
    let mut rows = query.query([]).unwrap();
    while let Some(row) = rows.next().unwrap() {
        let outcome = row.get::<_, Option<String>>(1).unwrap().map(|name| Outcome::from_name(&name).unwrap());
        let tokens = u64::try_from(row.get::<_, i64>(2).unwrap()).unwrap();
        assert_eq!(outcomes.insert(row.get(0).unwrap(), (outcome, tokens)), None, "a request has two rows");
    }
    outcomes
}

#[test]
#[ignore = "a process that another test starts and kills"]
fn writes_until_it_is_killed() {
    let path = path_from_parent();
    let ledger = open(&path).unwrap();
    let process = std::process::id();
    thread::scope(|scope| {
        for thread in 0..CHILD_THREADS {
            let ledger = &ledger;
            scope.spawn(move || {
                for number in 0_u64.. {
                    let id = format!("{process}-{thread}-{number}");
                    reserve(ledger, &id).unwrap();
                    tell_parent(&format!("reserved {id}"));
                    for made in 0..number % 3 {
                        let mut so_far = measured(&id, "acme");
                        so_far.tokens.completion = made + 1;
                        wait(|done| ledger.checkpoint(checkpoint(so_far, made, made), done)).unwrap();
                        tell_parent(&format!("checkpoint {id}"));
                    }
                    settle(ledger, &id).unwrap();
                    tell_parent(&format!("settled {id}"));
                }
            });
        }
    });
}

#[test]
fn a_kill_while_rows_are_removed_leaves_a_sound_ledger_and_every_sum() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.sqlite");
    let (mut acknowledged, mut arbitrary, mut removed) = (0, Arbitrary(2), 0);
    for cycle in 1..=8 {
        let mut process = child("kill::writes_and_removes_until_it_is_killed", &path);
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let until = 20 + arbitrary.below(60);
        let mut settled = 0;
        while settled < until {
            settled += u64::from(lines.next().unwrap().unwrap().starts_with("settled"));
        }
        process.kill().unwrap();
        process.wait().unwrap();
        settled += lines.filter(|line| line.as_ref().unwrap().starts_with("settled")).count() as u64;
        acknowledged += settled;

        let ledger = open(&path).unwrap();
        let found = ledger.reader().verify().unwrap();
        assert!(found.is_sound(), "cycle {cycle}: {:?}", found.faults);
        let completed = ledger.reader().tenant_totals().unwrap()[0].completed;
        // One at most was settled and could not be told any more, each time.
        assert!((acknowledged..=acknowledged + cycle).contains(&completed), "{completed} of {acknowledged}");
        removed = found.removed_links;
    }
    assert!(removed > 100, "{removed} removed test little");
}

#[test]
#[ignore = "a process that another test starts and kills"]
fn writes_and_removes_until_it_is_killed() {
    let path = path_from_parent();
    let ledger = open(&path).unwrap();
    let process = std::process::id();
    thread::scope(|scope| {
        scope.spawn(|| {
            loop {
                wait(|done| ledger.remove_before(i64::MAX, done)).unwrap();
            }
        });
        for number in 0_u64.. {
            let id = format!("{process}-{number}");
            reserve(&ledger, &id).unwrap();
            settle(&ledger, &id).unwrap();
            tell_parent(&format!("settled {id}"));
        }
    });
}
