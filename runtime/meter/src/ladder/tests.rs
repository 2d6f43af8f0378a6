//! Sensors as they are found in the wild, and what the ladder makes of them.

use super::*;
use crate::power::TdpCurve;
use crate::sensor::fixture::Machine;
use crate::sensor::{Counter, Reading, SensorDescription, SensorError, find};

const SECOND: Duration = Duration::from_secs(1);
/// Of a host of four cores and 100 W.
const BOUNDS: PowerBounds = PowerBounds { min: Microwatts::new(1_200_000), max: Microwatts::new(300_000_000) };

/// Tells what its rule says of the second in which it is read.
struct Ruled<F> {
    description: SensorDescription,
    tick: u64,
    rule: F,
}

impl<F: FnMut(u64) -> Result<Reading, SensorError> + Send> Sensor for Ruled<F> {
    fn description(&self) -> &SensorDescription {
        &self.description
    }

    fn read(&mut self) -> Result<Reading, SensorError> {
        self.tick += 1;
        (self.rule)(self.tick - 1)
    }
}

fn ruled(rung: Rung, rule: impl FnMut(u64) -> Result<Reading, SensorError> + Send + 'static) -> Box<dyn Sensor> {
    let domains = vec!["a".to_owned(), "b".to_owned()];
    Box::new(Ruled { description: SensorDescription::new(rung, "rule", domains), tick: 0, rule })
}

/// Counters at those millijoules, with a range of 100 kJ.
fn counters<const N: usize>(millijoules: [u64; N]) -> Result<Reading, SensorError> {
    let range = Some(Nanojoules::new(100_000 * 1_000_000_000));
    let counter = |millijoules: u64| Counter { energy: Nanojoules::new(millijoules * 1_000_000), range };
    Ok(Reading::Counters(millijoules.into_iter().map(counter).collect()))
}

fn watts(milliwatts: u64) -> Result<Reading, SensorError> {
    Ok(Reading::Power(Microwatts::new(milliwatts * 1000)))
}

fn failure(number: i32) -> Result<Reading, SensorError> {
    let (place, source) = ("a".to_owned(), std::io::Error::from_raw_os_error(number));
    match number {
        13 => Err(SensorError::Denied { place, remedy: "ask", source }),
        _ => Err(SensorError::Vanished { place, source }),
    }
}

/// A ladder, polled once a second with work of half a processor.
struct Bench {
    ladder: Ladder,
    at: Duration,
    busy: Duration,
}

impl Bench {
    fn new(sensors: Vec<Box<dyn Sensor>>) -> Self {
        let model = TdpCurve::new(Microwatts::new(100_000_000), 4);
        let mut ladder = Ladder::new(Device::Host, Some(Box::new(model)));
        sensors.into_iter().for_each(|sensor| ladder.add(sensor, BOUNDS));
        Self { ladder, at: Duration::ZERO, busy: Duration::ZERO }
    }

    fn poll_after(&mut self, span: Duration, busy: Duration) -> Option<IntervalEnergy> {
        (self.at, self.busy) = (self.at + span, self.busy + busy);
        self.ladder.poll(Tick { at: self.at, busy: self.busy.into() })
    }

    /// The joules of each of the next seconds; NaN where they are unknown.
    fn seconds(&mut self, count: usize) -> Vec<f64> {
        let joules = |bench: &mut Self| {
            let interval = bench.poll_after(SECOND, SECOND / 2)?;
            Some(interval.energy.map_or(f64::NAN, Nanojoules::joules))
        };
        (0..count).filter_map(|_| joules(self)).collect()
    }

    fn rung(&self, place: usize) -> (RungState, String) {
        let report = self.ladder.report();
        (report.rungs[place].state, report.rungs[place].code.clone())
    }
}

#[test]
fn sensors_are_believed_or_not_with_the_reason() {
    type Rule = fn(u64) -> Result<Reading, SensorError>;
    let cases: [(&str, Rule, RungState, &str); 12] = [
        ("a sound counter", |second| counters([20_000 * second]), RungState::InUse, ""),
        ("two sockets", |second| counters([20_000 * second, 9_000 * second]), RungState::InUse, ""),
        ("a virtual machine's platform event", |_| counters([0]), RungState::Refused, "stuck"),
        ("stuck elsewhere", |_| counters([77]), RungState::Refused, "stuck"),
        ("one socket stuck", |second| counters([20_000 * second, 5]), RungState::Refused, "stuck"),
        ("ten milliwatts", |second| counters([10 * second]), RungState::Refused, "too_low"),
        ("ten kilowatts", |second| counters([10_000_000 * second % 100_000_000]), RungState::Refused, "too_high"),
        ("denied", |_| failure(13), RungState::Refused, "denied"),
        ("gone", |_| failure(19), RungState::Refused, "vanished"),
        ("a sound meter", |second| watts(20_000 + second % 2), RungState::InUse, ""),
        ("a meter that never moves", |_| watts(20_000), RungState::Refused, "stuck"),
        ("a meter at zero", |second| watts(second % 2), RungState::Refused, "too_low"),
    ];
    for (name, rule, state, code) in cases {
        let mut bench = Bench::new(vec![ruled(Rung::RaplPackages, rule)]);
        bench.seconds(400);
        assert_eq!(bench.rung(0), (state, code.to_owned()), "{name}");
        let is_measured = bench.ladder.label().quality == Quality::Measured;
        assert_eq!(is_measured, state == RungState::InUse, "{name}");
        assert_eq!(bench.ladder.rung().is_some(), is_measured, "{name}");
        assert_eq!(bench.ladder.report().unmeasured_intervals, 0, "{name}");
    }
}

#[test]
fn without_work_nothing_is_believed_and_nothing_refused() {
    for rule in [|second| counters([20_000 * second]), |_| counters([0])] {
        let mut bench = Bench::new(vec![ruled(Rung::RaplPackages, rule)]);
        (0..60).for_each(|_| assert!(bench.poll_after(SECOND, SECOND / 20).is_none_or(|one| one.energy.is_some())));
        assert_eq!(bench.rung(0), (RungState::Watched, String::new()));
        assert!(bench.ladder.report().rungs[0].reason.contains("no work"));
    }
}

#[test]
fn readings_close_together_are_judged_together() {
    // 50 J in 10 ms are 5 kW, in which a counter that is brought up to date more rarely could be right.
    let mut bench = Bench::new(vec![ruled(Rung::RaplPackages, |tick| counters([50_000 * tick]))]);
    let moment = Duration::from_millis(10);
    (0..25).for_each(|_| drop(bench.poll_after(moment, moment)));
    assert_eq!(bench.rung(0), (RungState::Watched, String::new()));
    bench.poll_after(moment, moment);
    assert_eq!(bench.rung(0), (RungState::Refused, "too_high".to_owned()));
}

#[test]
fn readings_too_far_apart_open_no_gate() {
    let mut bench = Bench::new(vec![ruled(Rung::RaplPackages, |second| counters([60_000 * second]))]);
    (0..60).for_each(|_| assert!(bench.poll_after(3 * SECOND, SECOND).is_none_or(|one| one.energy.is_some())));
    assert_eq!(bench.rung(0), (RungState::Watched, String::new()));
}

#[test]
fn until_work_shows_the_model_speaks() {
    let mut bench = Bench::new(vec![ruled(Rung::RaplPackages, |second| counters([20_000 * second]))]);
    assert_eq!(bench.poll_after(SECOND, SECOND / 2), None, "there is no interval yet");
    assert_eq!(bench.ladder.label().quality, Quality::Modelled);
    let second = bench.poll_after(SECOND, SECOND / 2).unwrap();
    assert_eq!(second.energy.unwrap().joules(), 20.0, "work shows in the first second of it");
    assert_eq!(second.label.source, "RAPL packages (rule: a, b)");
    assert_eq!((second.label.quality, second.label.relative_uncertainty), (Quality::Measured, 0.1));
    let mut stuck = Bench::new(vec![ruled(Rung::RaplPackages, |_| counters([0]))]);
    // An eighth of four cores: 32 % of 100 W at a tenth, and a sixteenth of the 43 % from there to a half.
    assert_eq!(stuck.seconds(5), [34.6875; 4], "never zero");
}

#[test]
fn a_counter_is_followed_across_its_end() {
    let mut bench =
        Bench::new(vec![ruled(Rung::RaplPackages, |second| counters([(99_900_000 + 20_000 * second) % 100_000_000]))]);
    assert_eq!(bench.seconds(30), [20.0; 29]);
    assert_eq!(bench.ladder.report().unmeasured_intervals, 0);
}

#[test]
fn a_gap_of_more_than_half_a_turn_is_unknown_and_counted() {
    let mut bench = Bench::new(vec![ruled(Rung::RaplPackages, |second| counters([20_000 * second]))]);
    bench.seconds(3);
    // 300 W take 167 seconds for half of 100 kJ.
    let long = bench.poll_after(170 * SECOND, SECOND).unwrap();
    assert_eq!(long.energy, None);
    assert_eq!(bench.ladder.report().unmeasured_intervals, 1);
    assert_eq!(bench.seconds(2), [20.0; 2], "it is believed from there on as before");
    let short = bench.poll_after(160 * SECOND, SECOND).unwrap();
    assert_eq!(short.energy.unwrap().joules(), 20.0, "under half a turn it is just a long interval");
}

#[test]
fn a_counter_that_is_set_back_is_unknown_once_and_never_negative() {
    let rule = |second| counters([if second < 5 { 50_000_000 + 20_000 * second } else { 20_000 * second }]);
    let mut bench = Bench::new(vec![ruled(Rung::RaplPackages, rule)]);
    let joules = bench.seconds(8);
    assert!(joules[4].is_nan(), "{joules:?}");
    assert_eq!((&joules[..4], &joules[5..]), ([20.0; 4].as_slice(), [20.0; 2].as_slice()));
}

#[test]
fn a_counter_that_stops_later_is_dropped_and_has_to_show_more() {
    let rule = |second: u64| counters([20_000 * (second.min(10) + second.saturating_sub(20))]);
    let mut bench = Bench::new(vec![ruled(Rung::RaplPackages, rule)]);
    let joules = bench.seconds(12);
    assert!(joules[10].is_nan(), "a second without movement is unknown, not zero: {joules:?}");
    assert_eq!(bench.seconds(1), [34.6875], "from the second one on it is modelled");
    assert_eq!(bench.rung(0), (RungState::Refused, "stuck".to_owned()));
    let reason = &bench.ladder.report().rungs[0].reason;
    assert!(reason.contains("a stood still"), "{reason}");
    bench.seconds(8);
    assert_eq!(bench.seconds(5), [34.6875, 34.6875, 34.6875, 34.6875, 20.0], "five windows in a row");
    assert_eq!(bench.rung(0), (RungState::InUse, String::new()));
}

#[test]
fn the_best_one_that_works_is_used_and_the_others_are_not_read() {
    let platform = ruled(Rung::RaplPlatform, |second| counters([if second < 5 { 30_000 * second } else { 150_000 }]));
    let packages = ruled(Rung::RaplPackages, |second| counters([20_000 * second]));
    let wall = ruled(Rung::WallMeter, |_| failure(13));
    let mut bench = Bench::new(vec![packages, platform, wall]);
    assert_eq!(bench.seconds(5), [30.0; 4], "the platform's, and never the sum");
    assert_eq!(bench.rung(0), (RungState::Refused, "denied".to_owned()));
    assert_eq!((bench.rung(1).0, bench.rung(2).0), (RungState::InUse, RungState::Spare));
    // It stops: unknown for a second, modelled until the next one has shown work.
    let joules = bench.seconds(4);
    assert!(joules[1].is_nan() && (joules[0], joules[2], joules[3]) == (30.0, 34.6875, 20.0), "{joules:?}");
    assert_eq!((bench.rung(1).0, bench.rung(2).0), (RungState::Refused, RungState::InUse));
}

#[test]
fn what_cannot_be_read_is_tried_again_a_minute_later() {
    let reads = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0));
    let counted = std::sync::Arc::clone(&reads);
    let rule = move |_| {
        counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        failure(13)
    };
    let mut bench = Bench::new(vec![ruled(Rung::RaplPackages, rule)]);
    bench.seconds(121);
    assert_eq!(reads.load(std::sync::atomic::Ordering::Relaxed), 3);
}

#[test]
fn a_device_that_nothing_knows_has_no_energy_and_not_none_of_it() {
    let mut ladder = Ladder::new(Device::Gpu(0), None);
    let tick = |seconds| Tick { at: Duration::from_secs(seconds), busy: Nanos::ZERO };
    assert_eq!(ladder.poll(tick(1)), None);
    assert_eq!(ladder.poll(tick(1)), None, "no time has passed");
    let interval = ladder.poll(tick(2)).unwrap();
    assert_eq!(interval.energy, None);
    assert!(interval.label.source.starts_with("none"), "{}", interval.label.source);
    assert_eq!(ladder.report().unmeasured_intervals, 1);
    assert_eq!(ladder.poll(tick(1)), None, "time went back");
}

#[test]
fn files_of_a_machine_become_joules() {
    let machine = Machine::new();
    let stand = |second: u64| {
        machine.zone(
            "intel-rapl:0",
            "package-0",
            (262_143_328_850 - 40_000_000 + 20_000_000 * second) % 262_143_328_850,
        );
        machine.zone("intel-rapl:0:0", "dram", 4_000_000 * second).zone("intel-rapl:1", "psys", 0);
    };
    stand(0);
    let model = || Some(Box::new(TdpCurve::new(Microwatts::new(100_000_000), 4)) as Box<dyn PowerModel>);
    let mut ladder = Ladder::new(Device::Host, model());
    find(machine.root(), "GenuineIntel").sensors.into_iter().for_each(|sensor| ladder.add(sensor, BOUNDS));
    let mut joules = Vec::new();
    for second in 0..6 {
        stand(second);
        let at = Duration::from_secs(second);
        let tick = Tick { at, busy: (at / 2).into() };
        joules.extend(ladder.poll(tick).and_then(|interval| interval.energy).map(Nanojoules::joules));
    }
    assert_eq!(joules, [24.0; 5]);
    let states: Vec<_> =
        ladder.report().rungs.iter().map(|rung| (rung.source.clone(), rung.state, rung.code.clone())).collect();
    assert_eq!(states[0], ("RAPL platform (powercap: psys)".to_owned(), RungState::Refused, "stuck".to_owned()));
    assert_eq!(states[1].1, RungState::InUse);
    assert_eq!(states[2].1, RungState::Spare);
    let json = serde_json::to_value(ladder.report()).unwrap();
    assert_eq!((&json["in_use"]["quality"], &json["may_cover_gpus"]), (&"measured".into(), &false.into()));
    assert_eq!(json["rungs"][0]["state"], "refused");
}
