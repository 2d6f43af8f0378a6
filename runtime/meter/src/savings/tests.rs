use super::*;
use crate::processor::CpuDescription;

const MIB: u64 = 1 << 20;

fn energy() -> EnergyModel {
    EnergyModel::new(&CpuDescription::default(), 2, 8 << 30)
}

fn compare(inputs: &SavingsInputs) -> SavingsReport {
    report(inputs, &energy(), &RateCard::default())
}

fn used(tenant: &str, model: &str, span_ms: u64, active: u64) -> TenantUse {
    TenantUse {
        tenant: tenant.into(),
        model: model.into(),
        requests: 1,
        span_ms,
        active: KibMillis::new(active),
        ..TenantUse::default()
    }
}

fn of_model(model: &str, mib: u64) -> ModelUse {
    ModelUse { model: model.into(), weights_bytes: mib * MIB, ..ModelUse::default() }
}

#[test]
fn a_model_used_two_hours_of_a_day_saves_the_other_twenty_two() {
    let (hour, kib) = (3_600_000, 100 * 1024);
    let inputs = SavingsInputs {
        window_ms: 24 * hour,
        models: vec![of_model("m", 100)],
        tenants: vec![used("a", "m", 2 * hour, 2 * hour * kib)],
        ..SavingsInputs::default()
    };
    let report = compare(&inputs);
    let shared = &report.total.shared_persistent;
    assert_eq!(shared.baseline.kib_ms.get(), 24 * hour * kib);
    assert_eq!(shared.saved.kib_ms, (22 * hour * kib) as i64);
    assert!((shared.saved.memory_share.unwrap() - 22.0 / 24.0).abs() < 1e-12);
    assert_eq!(shared.judged.verdict, Verdict::Saving);
    assert_eq!(shared.judged.cause, None);
    // Its own copy would have been held for just the time that it was used.
    assert_eq!(report.total.dedicated.judged.verdict, Verdict::NoSignificantDifference);
    assert_eq!(shared.saved.marginal_joules, 0.0, "memory that stays powered saves nothing");
    assert!(shared.saved.attributional_joules > 0.0);
}

#[test]
fn an_always_hot_tenant_shows_a_loss_as_a_negative_saving() {
    let kib = 10 * 1024;
    let mut hot = used("hot", "m", 1000, 900 * kib);
    hot.load = KibMillis::new(100 * kib);
    hot.load_cpu = Nanos::new(5_000_000_000);
    hot.cold_requests = 1;
    hot.load_wait = Nanos::new(100_000_000);
    let inputs = SavingsInputs {
        window_ms: 1000,
        models: vec![of_model("m", 10)],
        tenants: vec![hot],
        ..SavingsInputs::default()
    };
    let report = compare(&inputs);
    let shared = &report.total.shared_persistent;
    assert_eq!(shared.saved.kib_ms, 0);
    assert!(shared.saved.pico_units.unwrap() < 0, "the load's processor time is charged against us");
    assert!(shared.saved.cost.unwrap() < 0.0);
    assert!(shared.saved.marginal_joules < 0.0);
    assert_eq!(shared.judged.verdict, Verdict::Loss);
    assert!(report.cold_starts.break_even_per_second.unwrap() < 0.0);
    assert_eq!(report.cold_starts.requests, 1);
    // Two tenants on one model: the hot one carries more than its equal share of a persistent copy.
    let inputs = SavingsInputs {
        window_ms: 1000,
        models: vec![of_model("m", 10)],
        tenants: vec![used("hot", "m", 1000, 950 * kib), used("rare", "m", 10, 10 * kib)],
        ..SavingsInputs::default()
    };
    let report = compare(&inputs);
    let verdicts: Vec<_> =
        report.tenants.iter().map(|tenant| tenant.savings.shared_persistent.judged.verdict).collect();
    assert_eq!(verdicts, [Verdict::Loss, Verdict::Saving]);
    assert_eq!(report.tenants[0].savings.shared_persistent.judged.cause, Some(LossCause::AlwaysHot));
    assert_eq!(report.total.shared_persistent.judged.verdict, Verdict::NoSignificantDifference);
}

#[test]
fn each_cause_of_a_loss_is_told_apart() {
    let kib = 10 * 1024;
    let mut thrashing = used("a", "m", 1000, 100 * kib);
    thrashing.load = KibMillis::new(1000 * kib);
    let inputs = SavingsInputs {
        window_ms: 1000,
        models: vec![of_model("m", 10)],
        tenants: vec![thrashing],
        ..SavingsInputs::default()
    };
    assert_eq!(compare(&inputs).total.shared_persistent.judged.cause, Some(LossCause::ReloadThrash));

    let held = KibMillis::new(1500 * kib);
    let idle = ModelUse { idle: held, ..of_model("m", 10) };
    let pinned = TenantUse { pinned: held, ..used("a", "m", 1000, 100 * kib) };
    for (model, tenant) in [(idle, used("a", "m", 1000, 100 * kib)), (of_model("m", 10), pinned)] {
        let inputs =
            SavingsInputs { window_ms: 1000, models: vec![model], tenants: vec![tenant], ..SavingsInputs::default() };
        let judged = compare(&inputs).total.shared_persistent.judged;
        assert_eq!(judged.cause, Some(LossCause::HeldIdle));
        assert_eq!(judged.remedy.as_deref(), Some(LossCause::HeldIdle.remedy()));
    }
}

#[test]
fn memory_that_nobody_used_is_charged_against_us() {
    let unused = ModelUse { idle: KibMillis::new(777_000), load: KibMillis::new(3_000), ..of_model("unused", 0) };
    let inputs = SavingsInputs { window_ms: 1000, models: vec![unused], tenants: vec![], ..SavingsInputs::default() };
    let report = compare(&inputs);
    assert_eq!(report.tenants.len(), 1);
    assert_eq!(report.tenants[0].tenant, None);
    assert_eq!(report.total.shared_persistent.saved.kib_ms, -780_000);
    assert_eq!(report.total.shared_persistent.saved.memory_share, None);
    assert_eq!(report.total.shared_persistent.judged.cause, Some(LossCause::HeldIdle));
}

#[test]
fn tenants_sum_to_the_total_of_every_arm() {
    let inputs = SavingsInputs {
        window_ms: 1003,
        models: vec![
            ModelUse {
                load: KibMillis::new(101),
                idle: KibMillis::new(7),
                load_cpu: Nanos::new(10),
                ..of_model("m", 3)
            },
            ModelUse {
                idle: KibMillis::new(11),
                pinned: KibMillis::new(29),
                pages: KibMillis::new(37),
                ..of_model("n", 5)
            },
        ],
        tenants: vec![
            TenantUse {
                pinned: KibMillis::new(31),
                pages: KibMillis::new(41),
                load_cpu: Nanos::new(3),
                ..used("a", "m", 500, 5)
            },
            used("b", "m", 700, 50),
            used("c", "m", 1, 500),
            used("a", "n", 20, 13),
            used("b", "n", 1003, 9),
        ],
        ..SavingsInputs::default()
    };
    let report = compare(&inputs);
    let each = |figure: fn(&Savings) -> u64| report.tenants.iter().map(|tenant| figure(&tenant.savings)).sum::<u64>();
    let shared = (3 + 5) * 1024 * 1003;
    assert_eq!(report.total.shared_persistent.baseline.kib_ms.get(), shared);
    assert_eq!(each(|one| one.shared_persistent.baseline.kib_ms.get()), shared);
    let dedicated = 1024 * (3 * (500 + 700 + 1) + 5 * (20 + 1003));
    assert_eq!(report.total.dedicated.baseline.kib_ms.get(), dedicated);
    assert_eq!(each(|one| one.dedicated.baseline.kib_ms.get()), dedicated);
    let held = 101 + 7 + 11 + 5 + 50 + 500 + 13 + 9 + 29 + 31 + 37 + 41;
    assert_eq!(report.total.ephemeral.kib_ms.get(), held);
    assert_eq!(each(|one| one.ephemeral.kib_ms.get()), held);
    assert_eq!(report.total.held.total().get(), held);
    assert_eq!((report.total.held.pinned_kib_ms.get(), each(|one| one.held.pinned_kib_ms.get())), (60, 60));
    assert_eq!(report.total.held.pages_kib_ms.get(), 37 + 41);
    assert_eq!((report.total.ephemeral.load_cpu_ns.get(), each(|one| one.ephemeral.load_cpu_ns.get())), (13, 13));
    assert_eq!(each(|one| one.ephemeral.energy_nj.get()), report.total.ephemeral.energy_nj.get());
}

#[test]
fn keys_and_values_kept_long_after_the_last_request_are_a_loss() {
    let inputs = SavingsInputs {
        window_ms: 1000,
        models: vec![of_model("m", 1)],
        tenants: vec![TenantUse { pages: KibMillis::new(1 << 20), ..used("a", "m", 1, 10) }],
        ..SavingsInputs::default()
    };
    let report = compare(&inputs);
    let judged = &report.tenants[0].savings.dedicated.judged;
    assert_eq!((judged.verdict, judged.cause), (Verdict::Loss, Some(LossCause::AlwaysHot)));
}

#[test]
fn a_missing_price_leaves_money_unknown_and_memory_decides() {
    let rates = RateCard { cpu_hour: None, ..RateCard::default() };
    let inputs = SavingsInputs {
        window_ms: 1000,
        models: vec![of_model("m", 1)],
        tenants: vec![TenantUse { load_wait: Nanos::new(1), ..used("a", "m", 10, 10 * 1024) }],
        ..SavingsInputs::default()
    };
    let report = report(&inputs, &energy(), &rates);
    let shared = &report.total.shared_persistent;
    assert_eq!((shared.saved.pico_units, shared.saved.cost), (None, None));
    assert_eq!((shared.judged.by, shared.judged.verdict), (Measure::Memory, Verdict::Saving));
    assert_eq!(report.cold_starts.break_even_per_second, None);
}

#[test]
fn nothing_happened_saves_nothing() {
    let report = compare(&SavingsInputs::default());
    assert_eq!(report.total.shared_persistent.judged.verdict, Verdict::NoSignificantDifference);
    assert_eq!(report.total.shared_persistent.saved.kib_ms, 0);
    assert!(report.tenants.is_empty());
}

#[test]
fn what_a_process_holds_is_in_every_arm() {
    let (kib, process_kib) = (10 * 1024, 1024);
    let inputs = SavingsInputs {
        window_ms: 1000,
        process_bytes: process_kib * 1024,
        models: vec![of_model("m", 10), of_model("n", 10)],
        tenants: vec![used("a", "m", 600, 300 * kib), used("a", "n", 400, 400 * kib), used("b", "m", 200, 100 * kib)],
        ..SavingsInputs::default()
    };
    let total = compare(&inputs).total;
    assert_eq!(total.held.process_kib_ms.get(), 1000 * process_kib);
    assert_eq!(total.ephemeral.kib_ms.get(), 800 * kib + 1000 * process_kib);
    assert_eq!(total.shared_persistent.baseline.kib_ms.get(), 2 * 1000 * kib + 1000 * process_kib);
    // One process for each tenant, for as long as the longest of its copies.
    assert_eq!(total.dedicated.baseline.kib_ms.get(), (600 + 400 + 200) * kib + (600 + 200) * process_kib);
    let unused = compare(&SavingsInputs { window_ms: 10, process_bytes: 2048, ..SavingsInputs::default() });
    assert_eq!((unused.tenants.len(), unused.total.shared_persistent.saved.kib_ms), (1, 0));
}

#[test]
fn the_page_cache_counts_for_no_longer_than_models_were_not_loaded() {
    let kib = 10 * 1024;
    let inputs = SavingsInputs {
        window_ms: 1000,
        process_bytes: 1 << 20,
        models: vec![of_model("m", 10)],
        tenants: vec![used("a", "m", 500, 300 * kib)],
        ..SavingsInputs::default()
    };
    assert_eq!(compare(&inputs).page_cache, None);
    let half = compare(&inputs).with_page_cache(5 * MIB).page_cache.unwrap();
    assert_eq!((half.kib_ms.get(), half.quality), (5 * 1024 * 1000, Quality::Assumed));
    let shared = 1000 * (kib + 1024);
    let expected = 1.0 - (300 * kib + 1000 * 1024 + half.kib_ms.get()) as f64 / shared as f64;
    assert!((half.shared_memory_share.unwrap() - expected).abs() < 1e-12);
    assert!(half.dedicated_memory_share.unwrap() < 0.0, "a loss is not clipped");
    let all = compare(&inputs).with_page_cache(10 * MIB).page_cache.unwrap();
    assert_eq!((all.kib_ms.get(), all.shared_memory_share), (700 * kib, Some(0.0)));
    assert_eq!(compare(&SavingsInputs::default()).with_page_cache(9).page_cache.unwrap().shared_memory_share, None);
}

/// Whatever is known of others changes nothing of it.
#[test]
fn a_tenant_s_report_is_computed_of_its_own_inputs_alone() {
    let own = SavingsInputs {
        window_ms: 600,
        waits: LoadWaits::of(vec![3, 5]),
        models: vec![of_model("m", 10)],
        tenants: vec![TenantUse { load_wait: Nanos::new(8), cold_requests: 2, ..used("b", "m", 500, 200) }],
        ..SavingsInputs::default()
    };
    let told = |inputs: &SavingsInputs| report_of_tenant(inputs.clone(), "b", &energy(), &RateCard::default());
    let alone = told(&own);
    assert_eq!((alone.ephemeral.kib_ms.get(), alone.dedicated.baseline.kib_ms.get()), (200, 10 * 1024 * 500));
    assert_eq!((alone.cold_starts.requests, alone.cold_starts.waits.max_ns.get()), (2, 5));
    let expected = alone.dedicated.saved.cost.unwrap() / 8e-9;
    assert!((alone.cold_starts.break_even_per_second.unwrap() / expected - 1.0).abs() < 1e-12);
    let mut others = own.clone();
    others.process_bytes = 5 * MIB;
    others.models[0].idle = KibMillis::new(77);
    others.models[0].load = KibMillis::new(78);
    (others.models[0].pinned, others.models[0].load_cpu) = (KibMillis::new(79), Nanos::new(80));
    others.models.push(of_model("n", 100));
    others.tenants.push(used("a", "m", 500, 300));
    others.tenants.push(used("a", "n", 500, 300));
    assert_eq!(told(&others), alone);
    let nobody = report_of_tenant(own, "nobody", &energy(), &RateCard::default());
    assert_eq!((nobody.ephemeral.kib_ms, nobody.cold_starts.requests), (KibMillis::ZERO, 0));
}
