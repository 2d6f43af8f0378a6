//! The energy of one host: its sensors, its model, and what both say of a request.
//!
//! Whoever serves polls this about once a second with its own processor time, and takes [`HostEnergy::rates`] for
//! receipts. In between nothing runs: a poll reads some small files.
//!
//! Invariants: an interval's figure is the model's until two seconds of work were seen in a sensor; rates are those of the
//! source of the last interval.
//! Deliberately absent: clocks, threads, and graphics cards, which are [`crate::card_energy`]'s.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::card_energy::CardEnergy;
use crate::energy::EnergyModel;
use crate::interval::{Claim, EnergyRates, IntervalAccounts, IntervalSplitter, IntervalUse};
use crate::ladder::{IntervalEnergy, Ladder, LadderReport, PowerBounds, Tick};
use crate::power::{PowerModel, TdpCurve};
use crate::processor::{CpuDescription, WallPower};
use crate::sensor::{Device, Found, busy_cpu, find};
use crate::units::{Microwatts, Nanos};

/// What the host is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Host {
    /// Its processor.
    pub cpu: CpuDescription,
    /// Threads that its processors run at a time: all of them, whatever this process may use.
    pub cores: u32,
    /// Its memory.
    pub memory_bytes: u64,
    /// The thermal design power of its processors together, where the operator tells it.
    pub design_power: Option<Microwatts>,
}

/// The energy of one host.
pub struct HostEnergy {
    root: PathBuf,
    ladder: Ladder,
    splitter: IntervalSplitter,
    last: Option<HostCpu>,
}

/// Processor time since some beginning.
#[derive(Clone, Copy)]
struct HostCpu {
    own: Nanos,
    host: Option<Nanos>,
}

/// An interval of a device, and who carries it.
#[derive(Debug, Clone, PartialEq)]
pub struct MeasuredInterval {
    /// What the device took.
    pub taken: IntervalEnergy,
    /// Who carries it; `None` if it is unknown.
    pub accounts: Option<IntervalAccounts>,
}

impl HostEnergy {
    /// Looks for the host's sensors below `root`, which is `/` but in tests.
    #[must_use]
    pub fn find(root: &Path, host: &Host) -> Self {
        Self::find_with_cards(root, host).0
    }

    /// The same, and this machine's graphics cards, where this build can see any.
    #[must_use]
    pub fn find_with_cards(root: &Path, host: &Host) -> (Self, Vec<CardEnergy>) {
        let Found { sensors, missing } = find(root, &host.cpu.vendor);
        let (of_host, of_cards): (Vec<_>, Vec<_>) =
            sensors.into_iter().partition(|sensor| sensor.description().device == Device::Host);
        (Self::of_sensors(root, host, Found { sensors: of_host, missing }), CardEnergy::of_sensors(of_cards))
    }

    fn of_sensors(root: &Path, host: &Host, found: Found) -> Self {
        let model = EnergyModel::new(&host.cpu, host.cores, host.memory_bytes);
        // Where nobody tells the design power, what the model takes the machine to draw at most is not less.
        let bounds = PowerBounds::of_host(host.cores, host.design_power.unwrap_or(model.max_power()));
        let stand_in: Box<dyn PowerModel> = match host.design_power {
            Some(power) if host.cpu.wall_power() == WallPower::UNKNOWN => Box::new(TdpCurve::new(power, host.cores)),
            _ => Box::new(model),
        };
        let mut ladder = Ladder::new(Device::Host, Some(stand_in)).with_missing(found.missing);
        found.sensors.into_iter().for_each(|sensor| ladder.add(sensor, bounds));
        let splitter = IntervalSplitter::new(host.cores, host.memory_bytes);
        Self { root: root.to_owned(), ladder, splitter, last: None }
    }

    /// Reads the sensors and splits what the host took since the last time; `None` the first time, and when no time has
    /// passed. `at` is the time since some beginning, `own_cpu` the processor time of this process since it started, and
    /// `claims` what each used since the last poll.
    pub fn poll(&mut self, at: Duration, own_cpu: Nanos, claims: &[Claim]) -> Option<MeasuredInterval> {
        let now = HostCpu { own: own_cpu, host: busy_cpu(&self.root).ok() };
        let last = self.last.replace(now);
        // Our own work is work too, where the host's is not told.
        let taken = self.ladder.poll(Tick { at, busy: now.host.unwrap_or(own_cpu) })?;
        let host_cpu = match (last.and_then(|last| last.host), now.host) {
            (Some(last), Some(now)) => Some(now.saturating_sub(last)),
            _ => None,
        };
        let own_cpu = last.map_or(Nanos::ZERO, |last| now.own.saturating_sub(last.own));
        let accounts = self.splitter.split(&taken, &IntervalUse { claims, own_cpu, host_cpu });
        Some(MeasuredInterval { taken, accounts })
    }

    /// What processor time and memory took lately; `None` before 2 seconds of work were seen.
    #[must_use]
    pub fn rates(&self) -> Option<&EnergyRates> {
        self.splitter.rates()
    }

    /// The same while a sensor is believed; `None` while all is modelled.
    #[must_use]
    pub fn measured_rates(&self) -> Option<&EnergyRates> {
        self.ladder.rung().and(self.rates())
    }

    /// What is in use and why the rest is not, for people.
    #[must_use]
    pub fn report(&self) -> LadderReport {
        self.ladder.report()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::energy::{EnergySource as _, EnergyUse, Quality};
    use crate::ladder::RungState;
    use crate::sensor::fixture::Machine;
    use crate::units::KibMillis;

    /// Four cores of an unknown maker and 1 GiB.
    fn host(design_watts: Option<u64>) -> Host {
        let design_power = design_watts.map(|watts| Microwatts::new(watts * 1_000_000));
        Host { cores: 4, memory_bytes: 1 << 30, design_power, ..Host::default() }
    }

    fn work_of_the_host(machine: &Machine, ticks: u64) {
        machine.put("proc", &[("stat", &format!("cpu  {ticks} 0 0 0 0 0 0 0 0 0"))]);
    }

    fn second(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    #[test]
    fn a_host_that_counts_charges_what_it_counted() {
        let machine = Machine::new();
        machine.zone("intel-rapl:0", "package-0", 0);
        let mut energy = HostEnergy::find(machine.root(), &host(Some(100)));
        let claims = [Claim { cpu: second(1).into(), memory: KibMillis::held(1 << 29, second(1)) }];
        let mut intervals = Vec::new();
        // 25 idle seconds of 10 W, then 50 W with two processors at work, one of them for the claim.
        for at in 0..40_u64 {
            let busy = at.saturating_sub(25);
            machine.zone("intel-rapl:0", "package-0", 10_000_000 * at + 40_000_000 * busy);
            work_of_the_host(&machine, 200 * busy);
            let claims = if busy == 0 { &[][..] } else { &claims };
            intervals.extend(energy.poll(second(at), second(busy).into(), claims));
        }
        let MeasuredInterval { taken, accounts } = intervals.last().unwrap();
        assert_eq!((taken.energy.unwrap().joules(), taken.label.quality), (50.0, Quality::Measured));
        // Idle seconds came before the counter was believed: the base is the least that is known, 12 W by the curve.
        let accounts = accounts.as_ref().unwrap();
        assert_eq!(accounts.total(), taken.energy.unwrap());
        let claimed = accounts.claims[0];
        assert_eq!((claimed.dynamic.joules(), claimed.residency.joules()), (19.0, 6.0));
        assert_eq!((accounts.host_other.joules(), accounts.idle.joules()), (19.0, 6.0));
        let one_second = EnergyUse { active_cpu: second(1).into(), ..EnergyUse::default() };
        let estimate = energy.measured_rates().unwrap().estimate(&one_second);
        assert_eq!((estimate.active.joules(), estimate.quality), (19.0, Quality::Modelled), "its base is the model's");
        assert!(estimate.source.starts_with("RAPL"), "{}", estimate.source);
        assert_eq!(energy.report().rungs[0].state, RungState::InUse);
    }

    #[test]
    fn a_host_without_sensors_is_modelled() {
        for (design_watts, source) in [(None, "W-per-vCPU model"), (Some(100), "curve over a thermal design power")] {
            let machine = Machine::new();
            let mut energy = HostEnergy::find(machine.root(), &host(design_watts));
            let used = EnergyUse { active_cpu: second(1).into(), ..EnergyUse::default() };
            assert!(energy.rates().is_none(), "nothing has worked yet");
            for at in 0..5 {
                work_of_the_host(&machine, 100 * at);
                let interval = energy.poll(second(at), second(at).into(), &[]);
                assert!(interval.is_none_or(|interval| interval.accounts.is_some()));
            }
            let estimate = energy.rates().unwrap().estimate(&used);
            assert!(energy.measured_rates().is_none());
            assert!(estimate.source.starts_with(source), "{}", estimate.source);
            assert_eq!(estimate.quality, Quality::Modelled);
            assert!(estimate.total().joules() > 0.0);
            assert!(
                energy.report().rungs.iter().all(|rung| rung.state == RungState::Missing && !rung.reason.is_empty())
            );
        }
    }

    #[test]
    fn without_the_hosts_processor_time_what_is_above_the_base_is_unmeasured() {
        let machine = Machine::new();
        machine.zone("intel-rapl:0", "package-0", 0);
        let mut energy = HostEnergy::find(machine.root(), &host(Some(100)));
        let mut last = None;
        for at in 0..5_u64 {
            machine.zone("intel-rapl:0", "package-0", 50_000_000 * at);
            last = energy.poll(second(at), second(at).into(), &[]);
        }
        let accounts = last.unwrap().accounts.unwrap();
        assert_eq!((accounts.unmeasured.joules(), accounts.idle.joules()), (38.0, 12.0));
    }
}
