//! Roll-ups are the sums of their rows, whatever happened to the process, the clock or the rows.

use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};

use ledger::{Ledger, LedgerOptions, SavingsQuery, Since, wait};
use meter::savings::LoadWaits;
use meter::{
    AccountCost, AccountInterval, HeldAs, KibMillis, Micrograms, Moment, Nanojoules, Nanos, Outcome, PicoUnits,
};

use crate::arbitrary::Arbitrary;
use crate::support::{checkpoint, folder, measured, open_at, promised, reservation, settlement_of};

const HOUR_MS: i64 = 3_600_000;
const YEAR_MS: i64 = 365 * 24 * HOUR_MS;

/// Requests of all outcomes, checkpoints, intervals, ends of the process in the middle of them, a clock that jumps.
struct Life<'a> {
    path: &'a Path,
    wall_clock: fn() -> i64,
    clock: &'static AtomicI64,
    arbitrary: Arbitrary,
    ledger: Option<Ledger>,
    open: Vec<(String, &'static str)>,
    next: u64,
    intervals: u64,
}

impl Life<'_> {
    fn ledger(&self) -> &Ledger {
        self.ledger.as_ref().unwrap()
    }

    fn step(&mut self) {
        let jump = match self.arbitrary.below(40) {
            0 => YEAR_MS,
            1 => -YEAR_MS,
            _ => i64::try_from(self.arbitrary.below(20 * 60_000)).unwrap(),
        };
        self.clock.fetch_add(jump, Ordering::Relaxed);
        match self.arbitrary.below(20) {
            0..=6 => self.arrive(),
            7..=8 => self.leave_a_checkpoint(),
            9..=14 => self.finish(),
            15..=18 => self.charge(),
            _ => self.restart(),
        }
    }

    fn arrive(&mut self) {
        let tenant = self.arbitrary.pick(&["a", "b", "ü"]);
        let id = format!("r{}", self.next);
        self.next += 1;
        wait(|done| self.ledger().reserve(reservation(&id, tenant, self.next), done)).unwrap();
        self.open.push((id, tenant));
    }

    fn leave_a_checkpoint(&mut self) {
        let Some((id, tenant)) = self.open.first() else { return };
        let made = checkpoint(measured(id, tenant), self.next, self.next);
        wait(|done| self.ledger().checkpoint(made, done)).unwrap();
        self.next += 1;
    }

    fn finish(&mut self) {
        if self.open.is_empty() {
            return;
        }
        let (id, tenant) = self.open.remove(0);
        let mut measured = measured(&id, tenant);
        measured.outcome = [Outcome::Completed, Outcome::Cancelled, Outcome::Failed]
            [usize::try_from(self.arbitrary.below(3)).unwrap()];
        measured.cold = self.arbitrary.below(2) == 0;
        measured.tokens.completion = self.arbitrary.below(1000);
        measured.memory.kv = KibMillis::new(self.arbitrary.below(1 << 40));
        measured.memory.weights_bytes = self.arbitrary.below(30) << 20;
        let mut settlement = settlement_of(measured, self.next + 1);
        if self.arbitrary.below(3) == 0 {
            settlement.receipt.cost.pico_units = None;
        }
        wait(|done| self.ledger().settle(settlement, done)).unwrap();
    }

    fn charge(&mut self) {
        const HELD_AS: [HeldAs; 5] =
            [HeldAs::Keepalive, HeldAs::Pinned, HeldAs::Load, HeldAs::Context, HeldAs::Unmeasured];
        let pico_units = self.arbitrary.below(1 << 40);
        let interval = AccountInterval {
            sequence: self.intervals,
            model: "m".into(),
            tenant: [None, Some("a"), Some("ü")][self.arbitrary.index(3)].map(str::to_owned),
            held_as: HELD_AS[self.arbitrary.index(HELD_AS.len())],
            kib_ms: KibMillis::new(self.arbitrary.below(1 << 40)),
            cpu: Nanos::new(self.arbitrary.below(1 << 30)),
            cost: AccountCost {
                energy: Nanojoules::new(self.arbitrary.below(1 << 40)),
                carbon: Micrograms::new(self.arbitrary.below(1 << 30)),
                pico_units: (!pico_units.is_multiple_of(3)).then_some(PicoUnits::new(pico_units)),
            },
            from: Moment::new(self.next),
            to: Moment::new(self.next + 9),
        };
        self.intervals += 1;
        wait(|done| self.ledger().interval(interval, done)).unwrap();
    }

    fn restart(&mut self) {
        drop(self.ledger.take());
        self.ledger = Some(open_at(self.path, self.wall_clock));
        self.open.clear();
        self.intervals = 0;
    }

    fn remove_old(&mut self) {
        let before = self.clock.load(Ordering::Relaxed) - 24 * HOUR_MS;
        wait(|done| self.ledger().remove_before(before, done)).unwrap();
    }
}

fn live<'a>(path: &'a Path, seed: u64, wall_clock: fn() -> i64, clock: &'static AtomicI64) -> Life<'a> {
    clock.store(1_800_000_000_000, Ordering::Relaxed);
    Life {
        path,
        wall_clock,
        clock,
        arbitrary: Arbitrary(seed),
        ledger: Some(open_at(path, wall_clock)),
        open: Vec::new(),
        next: 0,
        intervals: 0,
    }
}

/// The columns of all settlements and intervals, summed without the program's own code.
fn summed(path: &Path, sql: &str) -> Vec<i64> {
    let connection = rusqlite::Connection::open(path).unwrap();
    let mut query = connection.prepare(sql).unwrap();
    let count = query.column_count();
    query.query_row([], |row| (0..count).map(|index| row.get(index)).collect()).unwrap()
}

const FIGURES: &str = "coalesce(sum(cold), 0), sum(prompt_tokens), sum(cached_tokens), sum(completion_tokens), \
    sum(load_wait_ns), sum(wall_ns), sum(cpu_ns), sum(load_cpu_ns), sum(weights_kib_ms), sum(load_kib_ms), \
    sum(kv_kib_ms), sum(energy_nj), sum(micrograms_co2e), coalesce(sum(pico_units), 0)";

#[test]
fn the_sums_of_hours_and_days_are_those_of_the_rows_at_any_time() {
    static CLOCK: AtomicI64 = AtomicI64::new(0);
    for seed in 0..6 {
        let folder = folder();
        let path = folder.path().join("ledger.sqlite");
        let mut life = live(&path, seed, || CLOCK.load(Ordering::Relaxed), &CLOCK);
        for step in 0..120 {
            life.step();
            if step % 40 != 39 {
                continue;
            }
            let of_rows =
                summed(&path, &format!("SELECT count(*), sum(pico_units IS NULL), {FIGURES} FROM settlements"));
            assert!(of_rows[0] > 0, "seed {seed} tests nothing");
            for span in ["hour", "day"] {
                let sql = format!("SELECT sum(requests), sum(unpriced), {FIGURES} FROM {span}_requests");
                assert_eq!(summed(&path, &sql), of_rows, "seed {seed}, step {step}, {span}");
            }
            let held = "sum(kib_ms), sum(cpu_ns), sum(energy_nj), sum(micrograms_co2e), coalesce(sum(pico_units), 0)";
            let of_intervals =
                summed(&path, &format!("SELECT count(*), sum(pico_units IS NULL), {held} FROM intervals"));
            for span in ["hour", "day"] {
                let sql = format!("SELECT sum(intervals), sum(unpriced), {held} FROM {span}_held");
                assert_eq!(summed(&path, &sql), of_intervals, "seed {seed}, step {step}, {span}");
            }
            let found = life.ledger().reader().verify().unwrap();
            assert!(found.is_sound(), "seed {seed}, step {step}: {:?}", found.faults);
        }
    }
}

#[test]
fn what_is_removed_stays_in_the_sums_and_the_ledger_stays_sound() {
    static CLOCK: AtomicI64 = AtomicI64::new(0);
    let mut removed = 0;
    for seed in 10..18 {
        let folder = folder();
        let path = folder.path().join("ledger.sqlite");
        let mut life = live(&path, seed, || CLOCK.load(Ordering::Relaxed), &CLOCK);
        for step in 0..160 {
            life.step();
            if step % 16 != 15 {
                continue;
            }
            let read = |life: &Life<'_>| {
                let reader = life.ledger().reader();
                let mut inputs = reader.savings_inputs(SavingsQuery::default()).unwrap();
                // Quantiles are of the rows that are left.
                inputs.waits = LoadWaits::default();
                (reader.tenant_totals().unwrap(), reader.account_totals().unwrap(), inputs)
            };
            let before = read(&life);
            life.remove_old();
            assert_eq!(read(&life), before, "seed {seed}, step {step}");
            let found = life.ledger().reader().verify().unwrap();
            assert!(found.is_sound(), "seed {seed}, step {step}: {:?}", found.faults);
            removed += found.removed_links;
        }
        // What is still there can be found and goes on.
        life.restart();
        life.arrive();
        life.finish();
        assert!(life.ledger().reader().verify().unwrap().is_sound(), "seed {seed}");
    }
    assert!(removed > 1000, "{removed} removed test little");
}

#[test]
fn a_clock_that_jumps_a_year_changes_no_order_and_no_sum() {
    static CLOCK: AtomicI64 = AtomicI64::new(1_800_000_000_000);
    let ledger =
        Ledger::in_memory(LedgerOptions { wall_clock: || CLOCK.load(Ordering::Relaxed), ..LedgerOptions::default() })
            .unwrap();
    for (number, jump) in [0, YEAR_MS, -2 * YEAR_MS, YEAR_MS].into_iter().enumerate() {
        let now = CLOCK.fetch_add(jump, Ordering::Relaxed) + jump;
        let (id, at) = (format!("r{number}"), 1000 * number as u64);
        wait(|done| ledger.reserve(reservation(&id, "acme", at), done)).unwrap();
        wait(|done| ledger.settle(settlement_of(measured(&id, "acme"), at + 500), done)).unwrap();
        assert_eq!(ledger.reader().usage(&id).unwrap().unwrap().reserved_unix_ms, now);
    }
    let recent = ledger.reader().recent(10).unwrap();
    assert_eq!(recent.iter().map(|record| record.id.as_str()).collect::<Vec<_>>(), ["r3", "r2", "r1", "r0"]);
    let inputs = ledger.reader().savings_inputs(SavingsQuery::default()).unwrap();
    assert_eq!((inputs.window_ms, inputs.tenants[0].span_ms, inputs.tenants[0].requests), (3500, 3500, 4));
    // A row counts in the hour that it says.
    let since = |unix_ms| {
        let query = SavingsQuery { since: Since::UnixMillis(unix_ms), until: None };
        ledger.reader().savings_inputs(query).unwrap().tenants.first().map_or(0, |tenant| tenant.requests)
    };
    let now = CLOCK.load(Ordering::Relaxed);
    assert_eq!([since(0), since(now - HOUR_MS), since(now), since(now + HOUR_MS)], [4, 3, 3, 1]);
    assert!(ledger.reader().verify().unwrap().is_sound());
}

#[test]
fn a_sum_that_does_not_fit_refuses_its_operation_alone() {
    let ledger = Ledger::in_memory(LedgerOptions::default()).unwrap();
    let huge = |sequence, kib_ms| AccountInterval {
        sequence,
        model: "m".into(),
        held_as: HeldAs::Idle,
        kib_ms: KibMillis::new(kib_ms),
        ..AccountInterval::default()
    };
    wait(|done| ledger.interval(huge(0, i64::MAX.cast_unsigned() - 5), done)).unwrap();
    let (refused_done, refused) = promised();
    ledger.interval(huge(1, 6), refused_done);
    wait(|done| ledger.interval(huge(2, 5), done)).unwrap();
    let refusal = refused.recv().unwrap();
    assert!(matches!(refusal, Err(ledger::LedgerError::OutOfRange { column: "kib_ms", .. })), "{refusal:?}");
    assert_eq!(ledger.reader().account_totals().unwrap()[0].kib_ms.get(), i64::MAX.cast_unsigned());
    assert!(ledger.reader().verify().unwrap().is_sound());
}
