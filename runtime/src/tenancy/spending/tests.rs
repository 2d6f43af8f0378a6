use std::cell::Cell;

use ledger::{Ledger, LedgerOptions};
use meter::{HeldAs, KibMillis, Micrograms, Nanojoules, PicoUnits};

use super::super::permissions::Allowance;
use super::*;

const HOUR: i64 = 3_600_000;
const YEAR: i64 = 366 * 24 * HOUR;
/// 2026-11-28 14:30 UTC.
const NOW: i64 = 1_795_876_200_000;

thread_local! {
    static CLOCKS: Cell<Reading> = const { Cell::new(Reading { wall_unix_ms: NOW, up: Duration::ZERO }) };
}

fn set_clocks(wall_unix_ms: i64, up_ms: i64) {
    CLOCKS.set(Reading { wall_unix_ms, up: Duration::from_millis(up_ms.unsigned_abs()) });
}

fn spending() -> Spending {
    let ledger = Ledger::in_memory(LedgerOptions::default()).unwrap();
    Spending::of_ledger_by(ledger.reader(), || CLOCKS.get()).unwrap()
}

fn access(of_key: &str, of_tenant: &str) -> Access {
    let allowance =
        |budgets: &str| serde_json::from_str::<Allowance>(&format!("{{\"budgets\": [{budgets}]}}")).unwrap();
    Access::bounded(allowance(of_key), allowance(of_tenant))
}

/// As a receipt of a request that came so.
fn spend(spending: &Spending, access: &Access, used: Use) {
    spending.add(access.holders().map(|(holder, _)| holder), used);
}

/// The same by another key of the tenant.
fn by_another_key(of_key: &str, of_tenant: &str) -> Access {
    let mut access = access(of_key, of_tenant);
    access.key.as_mut().unwrap().id = "key_2".into();
    access
}

fn tokens(count: u64) -> Use {
    Use { tokens: count, ..Use::default() }
}

#[test]
fn whoever_has_spent_a_budget_waits_for_its_next_window() {
    set_clocks(NOW, 0);
    let (spending, some) = (spending(), access("\"100 tokens/hour\"", "\"150 tokens/day\""));
    spend(&spending, &some, tokens(99));
    let running = spending.reserve(&some, 1).unwrap();
    spending.release(&some, running);
    spend(&spending, &some, tokens(1));
    let refused = spending.reserve(&some, 1).unwrap_err();
    assert_eq!((refused.budget.as_str(), refused.anew_in), ("100 tokens/hour", Duration::from_secs(1800)));
    let other = by_another_key("\"1 tokens/hour\"", "\"150 tokens/day\"");
    let running = spending.reserve(&other, 1).expect("nothing was spent by that key");
    spending.release(&other, running);
    set_clocks(NOW + HOUR / 2, HOUR / 2);
    let running = spending.reserve(&some, 1).unwrap();
    spending.release(&some, running);
    spend(&spending, &some, tokens(50));
    let refused = spending.reserve(&some, 1).unwrap_err();
    assert_eq!((refused.budget.as_str(), refused.anew_in), ("150 tokens/day", Duration::from_secs(9 * 3600)));
    let refused = spending.reserve(&other, 1).unwrap_err();
    assert_eq!(refused.budget, "150 tokens/day", "all keys of a tenant spend its budget");
}

/// A budget of a key is no tenant's: what another key of the tenant spends, or may, is none of it.
#[test]
fn a_budget_of_a_key_bounds_what_is_spent_by_that_key() {
    set_clocks(NOW, 0);
    let (spending, bounded, other) = (spending(), access("\"100 tokens/day\"", ""), by_another_key("", ""));
    spend(&spending, &other, tokens(1000));
    let beside = spending.reserve(&other, 1000).unwrap();
    let running = spending.reserve(&bounded, 99).unwrap();
    assert!(spending.reserve(&bounded, 1).is_ok(), "one token is left");
    assert!(spending.reserve(&bounded, 0).is_err(), "and is reserved");
    spending.release(&other, beside);
    assert!(spending.reserve(&bounded, 0).is_err(), "what is given back was another key's");
    spending.release(&bounded, running);
    assert!(spending.reserve(&bounded, 0).is_ok());
}

#[test]
fn those_that_run_pass_a_budget_by_one_estimate_at_most() {
    set_clocks(NOW, 0);
    let (spending, some) = (spending(), access("", "\"1000 tokens/day\""));
    let running: Vec<Reserved> = std::iter::from_fn(|| spending.reserve(&some, 300).ok()).collect();
    assert_eq!(running.len(), 4, "with 900 of 1000 reserved there is room for one more");
    running.into_iter().for_each(|reserved| spending.release(&some, reserved));
    assert!(spending.reserve(&some, 300).is_ok(), "nothing was used");
}

#[test]
fn other_units_are_estimated_by_what_tokens_took_so_far() {
    set_clocks(NOW, 0);
    let spending = spending();
    let joules = access("", "\"10 J/day\"");
    let first = spending.reserve(&joules, 1000).unwrap();
    assert_eq!(first.0, tokens(1000), "nothing is known yet");
    spend(&spending, &access("", ""), Use { tokens: 100, nanojoules: 1_000_000_000, ..Use::default() });
    let second = spending.reserve(&joules, 1000).unwrap();
    assert_eq!(second.0.nanojoules, 10_000_000_000);
    assert!(spending.reserve(&joules, 1).is_err(), "what runs may use all of it");
    for (unit, budget) in [("pico", "1 USD/day"), ("kib", "1 GBh/day"), ("nano", "1 J/day"), ("micro", "1 gCO2e/day")] {
        let one = access("", &format!("\"{budget}\""));
        let amount = one.of_tenant.budgets.iter().next().unwrap().amount;
        let of = |own: &str| if own == unit { amount } else { 0 };
        let mut used = Use { pico_units: of("pico"), kib_ms: of("kib"), ..Use::default() };
        (used.nanojoules, used.micrograms) = (of("nano"), of("micro"));
        let spending = self::spending();
        spend(&spending, &one, used.minus(Use { tokens: 0, pico_units: 1, kib_ms: 1, nanojoules: 1, micrograms: 1 }));
        assert!(spending.reserve(&one, 1).is_ok(), "{budget}");
        spend(&spending, &one, Use { tokens: 0, pico_units: 1, kib_ms: 1, nanojoules: 1, micrograms: 1 });
        assert!(spending.reserve(&one, 1).is_err(), "{budget}");
    }
}

#[test]
fn row_43_a_clock_that_is_set_opens_no_window_twice_and_loses_no_charge() {
    set_clocks(NOW, 0);
    let (spending, some) = (spending(), access("", "\"100 tokens/day\""));
    spend(&spending, &some, tokens(100));
    let is_refused = || spending.reserve(&some, 0).is_err();
    // A year back.
    set_clocks(NOW - YEAR, 1000);
    assert!(is_refused());
    // A year forward is another day, once.
    set_clocks(NOW + YEAR, 2000);
    assert!(!is_refused());
    spend(&spending, &some, tokens(60));
    set_clocks(NOW, 3000);
    assert!(!is_refused());
    spend(&spending, &some, tokens(40));
    assert!(is_refused());
    set_clocks(NOW + YEAR, 4000);
    assert!(is_refused(), "the same day as before");
    set_clocks(NOW - YEAR, 4000 + 24 * HOUR);
    assert!(!is_refused(), "a day later, whatever the clock says");
}

#[test]
fn sums_go_on_where_the_ledger_ends() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.sqlite");
    let record = |wall_clock: fn() -> i64, id: &str, count: u64, key_id: Option<&str>| {
        let ledger = Ledger::open(&path, LedgerOptions { wall_clock, ..LedgerOptions::default() }).unwrap();
        let mut receipt = crate::metering::tests::receipt_of(id, "acme", count);
        receipt.key_id = key_id.map(str::to_owned);
        let reservation = ledger::Reservation {
            id: id.to_owned(),
            tenant: "acme".to_owned(),
            model: receipt.model.clone(),
            at: meter::Moment::ZERO,
            idempotency_key: None,
            key_id: receipt.key_id.clone(),
        };
        ledger::wait(|done| ledger.reserve(reservation, done)).unwrap();
        let settlement = ledger::Settlement { at: meter::Moment::ZERO, receipt: Box::new(receipt) };
        ledger::wait(|done| ledger.settle(settlement, done)).unwrap();
    };
    let spent_by = |holder: Holder, wall_unix_ms: i64, window: Window| {
        set_clocks(wall_unix_ms, 0);
        let reader = Reader::open(&path).unwrap();
        let spending = Spending::of_ledger_by(&reader, || CLOCKS.get()).unwrap();
        let now_unix_ms = spending.book().clock.now_unix_ms(CLOCKS.get());
        let mut book = spending.book();
        book.spent.get_mut(&holder).map_or(0, |spent| spent.in_window(window, now_unix_ms).1.tokens)
    };
    let spent = |wall_unix_ms, window| spent_by(Holder::Tenant("acme".into()), wall_unix_ms, window);
    record(|| NOW - 20 * 24 * HOUR, "1", 1, Some("key_1"));
    record(|| NOW - 2 * HOUR, "2", 20, None);
    record(|| NOW, "3", 300, Some("key_1"));
    assert_eq!(Window::ALL.map(|window| spent(NOW, window)), [300, 320, 321]);
    assert_eq!(Window::ALL.map(|window| spent(NOW + HOUR, window)), [0, 320, 321]);
    assert_eq!(spent(NOW + 24 * HOUR, Window::Day), 0);
    // Set back before a restart: the last hour that is recorded is still the present one.
    assert_eq!(Window::ALL.map(|window| spent(NOW - YEAR, window)), [300, 320, 321]);
    // A year ahead for a while: what was charged then, and what was charged today.
    let by_key = |id: &str| Window::ALL.map(|window| spent_by(Holder::Key(id.into()), NOW, window));
    assert_eq!([by_key("key_1"), by_key("key_2")], [[300, 300, 301], [0; 3]]);
    record(|| NOW + YEAR, "4", 4000, None);
    assert_eq!(Window::ALL.map(|window| spent(NOW, window)), [4300, 4320, 4321]);
}

/// Kept after answers, pinned, published or loaded: in every budget but that of tokens.
#[test]
fn what_is_kept_for_a_tenant_counts_in_its_budgets_over_a_restart_too() {
    const EACH: u64 = 1_000_000;
    set_clocks(NOW, 0);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.sqlite");
    let keeps = |sequence: u64, tenant: Option<&str>, held_as: HeldAs| AccountInterval {
        sequence,
        model: "m".to_owned(),
        tenant: tenant.map(str::to_owned),
        held_as,
        kib_ms: KibMillis::new(EACH),
        cost: AccountCost {
            energy: Nanojoules::new(2 * EACH),
            carbon: Micrograms::new(3 * EACH),
            pico_units: Some(PicoUnits::new(4 * EACH)),
        },
        ..AccountInterval::default()
    };
    let acme = Some("acme");
    let intervals = [
        keeps(0, acme, HeldAs::Keepalive),
        keeps(1, acme, HeldAs::Pinned),
        keeps(2, acme, HeldAs::Context),
        keeps(3, acme, HeldAs::Load),
        keeps(4, None, HeldAs::Idle),
        keeps(5, None, HeldAs::Load),
        keeps(6, Some("other"), HeldAs::Pinned),
    ];
    let four = Use { tokens: 0, pico_units: 16 * EACH, kib_ms: 4 * EACH, nanojoules: 8 * EACH, micrograms: 12 * EACH };
    let spent = |spending: &Spending| {
        let mut book = spending.book();
        let acme = book.spent.get_mut(&Holder::Tenant("acme".into())).unwrap();
        Window::ALL.map(|window| *acme.in_window(window, NOW).1)
    };
    {
        let ledger = Ledger::open(&path, LedgerOptions { wall_clock: || NOW, ..LedgerOptions::default() }).unwrap();
        let spending = Spending::of_ledger_by(ledger.reader(), || CLOCKS.get()).unwrap();
        for interval in &intervals {
            ledger::wait(|done| ledger.interval(interval.clone(), done)).unwrap();
            spending.keeps(interval);
        }
        assert_eq!(spent(&spending), [four; 3]);
        assert_eq!(spending.book().all, Use::default(), "no estimate of a request goes by it");
    }
    let again = Spending::of_ledger_by(&Reader::open(&path).unwrap(), || CLOCKS.get()).unwrap();
    assert_eq!(spent(&again), [four; 3]);
    // A little more than that, and a little less.
    for (enough, too_little) in [
        ("0.0000012 GBh/hour", "0.000001 GBh/hour"),
        ("0.0000161 USD/day", "0.0000159 USD/day"),
        ("0.0081 J/day", "0.0079 J/day"),
        ("12.1 gCO2e/month", "11.9 gCO2e/month"),
    ] {
        let budget = |text: &str| access("", &format!("\"{text}\""));
        let running = again.reserve(&budget(enough), 0).unwrap_or_else(|_| panic!("{enough}"));
        again.release(&budget(enough), running);
        assert_eq!(again.reserve(&budget(too_little), 0).unwrap_err().budget, too_little);
    }
}
