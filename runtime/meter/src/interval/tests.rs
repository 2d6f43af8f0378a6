//! Energy is conserved whatever the figures are, and carried by whom it should be.

use std::time::Duration;

use super::*;
use crate::arbitrary::Arbitrary;
use crate::energy::{EnergyLabel, EnergyModel, EnergySource, EnergyUse};
use crate::power::PowerModel;
use crate::processor::CpuDescription;

const SECOND: Duration = Duration::from_secs(1);
const HOST_KIB: u64 = 1 << 20;

fn interval(joules: Option<u64>, busy: Nanos, quality: Quality) -> IntervalEnergy {
    IntervalEnergy {
        span: SECOND,
        busy,
        energy: joules.map(|joules| Nanojoules::new(joules * 1_000_000_000)),
        label: EnergyLabel { source: "a".to_owned(), quality, scope: "b".to_owned(), relative_uncertainty: 0.1 },
        modelled_base: Some(Microwatts::new(8_000_000)),
    }
}

fn seconds(millis: u64) -> Nanos {
    Duration::from_millis(millis).into()
}

/// A splitter of two cores and 1 GiB that has seen 20 idle seconds of 10 W.
fn settled() -> IntervalSplitter {
    let mut splitter = IntervalSplitter::new(2, HOST_KIB << 10);
    for _ in 0..20 {
        let idle = IntervalUse { claims: &[], own_cpu: Nanos::ZERO, host_cpu: Some(Nanos::ZERO) };
        splitter.split(&interval(Some(10), Nanos::ZERO, Quality::Measured), &idle).unwrap();
    }
    splitter
}

fn joules(energy: Nanojoules) -> f64 {
    energy.joules()
}

#[test]
fn dynamic_energy_follows_processor_time_and_the_base_follows_memory() {
    let mut splitter = settled();
    // A second of half the machine's memory, and a second of none.
    let claims = [
        Claim { cpu: seconds(300), memory: KibMillis::new(HOST_KIB * 500) },
        Claim { cpu: seconds(100), memory: KibMillis::ZERO },
    ];
    let used = IntervalUse { claims: &claims, own_cpu: seconds(500), host_cpu: Some(seconds(1000)) };
    let accounts = splitter.split(&interval(Some(30), seconds(1000), Quality::Measured), &used).unwrap();
    assert_eq!(accounts.claims.iter().map(|claim| joules(claim.dynamic)).collect::<Vec<_>>(), [6.0, 2.0]);
    assert_eq!(accounts.claims.iter().map(|claim| joules(claim.residency)).collect::<Vec<_>>(), [5.0, 0.0]);
    assert_eq!((joules(accounts.runtime), joules(accounts.host_other), joules(accounts.idle)), (2.0, 10.0, 5.0));
    assert_eq!((accounts.unmeasured, accounts.adjustments), (Nanojoules::ZERO, vec![]));
}

#[test]
fn a_shortfall_against_the_base_is_paid_by_the_next_intervals() {
    let mut splitter = settled();
    let busy = IntervalUse { claims: &[], own_cpu: seconds(1000), host_cpu: Some(seconds(1000)) };
    let mut runtime = |watts| {
        let accounts = splitter.split(&interval(Some(watts), seconds(1000), Quality::Measured), &busy).unwrap();
        (joules(accounts.runtime), joules(accounts.idle), accounts.adjustments)
    };
    assert_eq!(runtime(7), (0.0, 7.0, vec![Adjustment::BelowBase]));
    assert_eq!(runtime(12), (0.0, 12.0, vec![Adjustment::BelowBase]), "3 J were owed");
    assert_eq!(runtime(20), (9.0, 11.0, vec![]), "1 J was left of them");
    assert_eq!(runtime(20), (10.0, 10.0, vec![]));
    (0..100).for_each(|_| drop(runtime(0)));
    assert_eq!(runtime(200).0, 90.0, "no more than ten seconds of the base are carried");
}

#[test]
fn figures_that_do_not_fit_are_bent_and_told() {
    let mut splitter = settled();
    let claims = [Claim { cpu: seconds(600), memory: KibMillis::new(HOST_KIB * 2000) }];
    let mut split = |own, host| {
        let used = IntervalUse { claims: &claims, own_cpu: seconds(own), host_cpu: host };
        splitter.split(&interval(Some(30), seconds(1000), Quality::Measured), &used).unwrap()
    };
    let accounts = split(500, Some(seconds(550)));
    assert_eq!((joules(accounts.claims[0].dynamic), joules(accounts.claims[0].residency)), (20.0, 10.0));
    let told =
        [Adjustment::MemoryBeyondHost, Adjustment::ClaimsBeyondProcess, Adjustment::ProcessBeyondHost].as_slice();
    assert_eq!(accounts.adjustments, told);
    let unknown = split(600, None);
    assert_eq!((joules(unknown.unmeasured), unknown.claims[0].dynamic), (20.0, Nanojoules::ZERO));
}

#[test]
fn until_the_base_is_known_the_least_stands_for_it() {
    let mut splitter = IntervalSplitter::new(2, HOST_KIB << 10);
    let busy = IntervalUse { claims: &[], own_cpu: seconds(1000), host_cpu: Some(seconds(1000)) };
    let accounts = splitter.split(&interval(Some(30), seconds(1000), Quality::Measured), &busy).unwrap();
    assert_eq!((joules(accounts.idle), joules(accounts.runtime)), (8.0, 22.0), "the model's 8 W");
    assert_eq!(accounts.adjustments, [Adjustment::ProvisionalBase]);
    let accounts = splitter.split(&interval(Some(5), seconds(1000), Quality::Measured), &busy).unwrap();
    assert_eq!((joules(accounts.idle), joules(accounts.runtime)), (5.0, 0.0), "5 W were seen");
}

#[test]
fn a_modelled_interval_has_the_models_base_and_an_unknown_one_no_parts() {
    let mut splitter = settled();
    let busy = IntervalUse { claims: &[], own_cpu: seconds(1000), host_cpu: Some(seconds(1000)) };
    assert_eq!(splitter.split(&interval(None, seconds(1000), Quality::Measured), &busy), None);
    let accounts = splitter.split(&interval(Some(30), seconds(1000), Quality::Modelled), &busy).unwrap();
    assert_eq!((joules(accounts.idle), joules(accounts.runtime)), (8.0, 22.0));
    assert_eq!(accounts.adjustments, []);
}

#[test]
fn another_source_begins_anew() {
    let mut splitter = settled();
    let busy = IntervalUse { claims: &[], own_cpu: seconds(1000), host_cpu: Some(seconds(1000)) };
    let mut other = interval(Some(60), seconds(1000), Quality::Measured);
    other.label.source = "another".to_owned();
    let accounts = splitter.split(&other, &busy).unwrap();
    assert_eq!(accounts.adjustments, [Adjustment::ProvisionalBase]);
}

#[test]
fn rates_price_a_request_as_its_intervals_were() {
    let mut splitter = settled();
    assert_eq!(splitter.rates(), None, "nothing worked");
    let busy = IntervalUse { claims: &[], own_cpu: seconds(500), host_cpu: Some(seconds(1000)) };
    for _ in 0..1000 {
        splitter.split(&interval(Some(30), seconds(1000), Quality::Measured), &busy).unwrap();
    }
    let rates = splitter.rates().unwrap();
    let memory = KibMillis::new(HOST_KIB * 500);
    let estimate = rates.estimate(&EnergyUse {
        active_busy: Nanos::ZERO,
        active_cpu: seconds(250),
        load_cpu: seconds(100),
        active_memory: memory,
        load_memory: memory,
        keepalive_memory: memory,
        idle_memory: KibMillis::ZERO,
    });
    assert_eq!(
        (joules(estimate.active), joules(estimate.residency)),
        (5.0, 5.0),
        "20 J a second of work; 10 W at rest"
    );
    assert_eq!((joules(estimate.load), joules(estimate.keepalive), joules(estimate.idle)), (7.0, 5.0, 0.0));
    assert_eq!((estimate.quality, estimate.source.as_str()), (Quality::Derived, "a"));
}

#[test]
fn modelled_intervals_price_a_request_as_their_model_does() {
    let cpu = CpuDescription { vendor: "AuthenticAMD".into(), family: 23, model: 1, ..CpuDescription::default() };
    let model = EnergyModel::new(&cpu, 2, HOST_KIB << 10);
    let mut splitter = IntervalSplitter::new(2, HOST_KIB << 10);
    let busy = IntervalUse { claims: &[], own_cpu: seconds(500), host_cpu: Some(seconds(1000)) };
    for _ in 0..700 {
        let mut modelled = interval(None, seconds(1000), Quality::Modelled);
        modelled.energy = Some(PowerModel::energy(&model, SECOND, seconds(1000)));
        modelled.modelled_base = Some(model.base());
        splitter.split(&modelled, &busy).unwrap();
    }
    let used = EnergyUse {
        active_cpu: seconds(123),
        load_cpu: seconds(45),
        load_memory: KibMillis::new(678_901),
        active_memory: KibMillis::new(HOST_KIB * 77),
        ..EnergyUse::default()
    };
    let (priced, expected) = (splitter.rates().unwrap().estimate(&used), model.estimate(&used));
    assert_eq!((priced.total(), priced.quality), (expected.total(), Quality::Modelled));
}

#[test]
fn every_nanojoule_is_carried_by_someone() {
    for seed in 0..500 {
        let mut arbitrary = Arbitrary::new(seed);
        let mut splitter =
            IntervalSplitter::new([0, 1, 64, u32::MAX][arbitrary.index(4)], arbitrary.any() >> arbitrary.below(64));
        for _ in 0..8 {
            let any = |arbitrary: &mut Arbitrary| arbitrary.any() >> arbitrary.below(64);
            let claims: Vec<Claim> = (0..arbitrary.below(6))
                .map(|_| Claim { cpu: Nanos::new(any(&mut arbitrary)), memory: KibMillis::new(any(&mut arbitrary)) })
                .collect();
            let quality = if arbitrary.below(2) == 0 { Quality::Measured } else { Quality::Modelled };
            let mut taken = interval(Some(0), Nanos::new(any(&mut arbitrary)), quality);
            taken.span = Duration::from_nanos(any(&mut arbitrary));
            taken.energy = Some(Nanojoules::new(any(&mut arbitrary)));
            taken.modelled_base = (arbitrary.below(3) > 0).then(|| Microwatts::new(any(&mut arbitrary)));
            let host_cpu = (arbitrary.below(4) > 0).then(|| Nanos::new(any(&mut arbitrary)));
            let own_cpu = Nanos::new(any(&mut arbitrary));
            let accounts = splitter.split(&taken, &IntervalUse { claims: &claims, own_cpu, host_cpu }).unwrap();
            let claimed = accounts.claims.iter().flat_map(|claim| [claim.dynamic, claim.residency]);
            let others = [accounts.runtime, accounts.host_other, accounts.idle, accounts.unmeasured];
            let sum: u128 = claimed.chain(others).map(|part| u128::from(part.get())).sum();
            assert_eq!(sum, u128::from(taken.energy.unwrap().get()), "seed {seed}: {taken:?} {claims:?} {accounts:?}");
            assert_eq!(accounts.total(), taken.energy.unwrap());
            assert_eq!(accounts.claims.len(), claims.len());
        }
    }
}
