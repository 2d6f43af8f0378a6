//! The energy of graphics cards, each by a ladder of its own: its energy counter, its power, its model.
//!
//! A card is polled like the host ([`crate::host_energy`]), with the time for which it computed in the place of processor
//! time. Whoever else uses it goes unseen: what is above its base while it computes for us is ours, and otherwise idle.
//!
//! A card's energy may be within the host's ([`crate::sensor::Rung::may_cover_gpus`]): the two are shown beside each other
//! and never added. Deliberately absent: which device of whose name this is.

use std::time::Duration;

use crate::host_energy::MeasuredInterval;
use crate::interval::{Claim, EnergyRates, IntervalSplitter, IntervalUse};
use crate::ladder::{Ladder, LadderReport, PowerBounds, Tick};
use crate::limits::CARD_POWER_UNRATED;
use crate::power::{GpuPower, PowerModel};
use crate::sensor::{Device, Sensor};
use crate::units::Nanos;

/// The energy of one graphics card.
pub struct CardEnergy {
    number: u32,
    ladder: Ladder,
    splitter: IntervalSplitter,
    last: Nanos,
}

impl CardEnergy {
    /// One for each card that `sensors` are about.
    pub(crate) fn of_sensors(sensors: Vec<Box<dyn Sensor>>) -> Vec<Self> {
        let mut cards: Vec<Self> = Vec::new();
        for sensor in sensors {
            let Device::Gpu(number) = sensor.description().device else { continue };
            let place = cards.iter().position(|card| card.number == number).unwrap_or_else(|| {
                let name = sensor.description().domains.first().map_or("", String::as_str);
                let model = GpuPower::of_card(name).map(|power| Box::new(power) as Box<dyn PowerModel>);
                cards.push(Self {
                    number,
                    ladder: Ladder::new(Device::Gpu(number), model),
                    splitter: IntervalSplitter::of_card(0),
                    last: Nanos::ZERO,
                });
                cards.len() - 1
            });
            // What tells no rating is held to what no card exceeds.
            cards[place].ladder.add(sensor, PowerBounds::of_gpu(CARD_POWER_UNRATED));
        }
        cards
    }

    /// Its base is split by what models hold of `memory_bytes`.
    #[must_use]
    pub fn with_memory(self, memory_bytes: u64) -> Self {
        Self { splitter: IntervalSplitter::of_card(memory_bytes), ..self }
    }

    /// Its number among the machine's cards.
    #[must_use]
    pub const fn number(&self) -> u32 {
        self.number
    }

    /// Reads its sensors and splits what it took since the last time; `None` the first time, and when no time has passed.
    /// `busy` is the time for which it has computed for this process since some beginning.
    pub fn poll(&mut self, at: Duration, busy: Nanos, claims: &[Claim]) -> Option<MeasuredInterval> {
        let worked = busy.saturating_sub(std::mem::replace(&mut self.last, busy));
        let taken = self.ladder.poll(Tick { at, busy })?;
        let used = IntervalUse { claims, own_cpu: worked, host_cpu: Some(worked) };
        let accounts = self.splitter.split(&taken, &used);
        Some(MeasuredInterval { taken, accounts })
    }

    /// What computing and memory took lately, by a sensor or by the card's published figures; `None` before 2 seconds of work
    /// were seen, and while neither tells what it draws at rest.
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
    use crate::energy::{EnergySource as _, EnergyUse};
    use crate::ladder::RungState;
    use crate::sensor::{Counter, Reading, Rung, SensorDescription, SensorError};
    use crate::units::{KibMillis, Nanojoules};

    /// Whether it works in that second: at first, and after some rest.
    fn is_busy(second: u64) -> bool {
        !(5..30).contains(&second)
    }

    /// A card that takes 100 W at work and 30 at rest.
    struct Fixed {
        description: SensorDescription,
        second: u64,
        joules: u64,
    }

    impl Sensor for Fixed {
        fn description(&self) -> &SensorDescription {
            &self.description
        }

        fn read(&mut self) -> Result<Reading, SensorError> {
            self.joules += if is_busy(self.second) { 100 } else { 30 };
            self.second += 1;
            let energy = Nanojoules::new(self.joules * 1_000_000_000);
            Ok(Reading::Counters(vec![Counter { energy, range: None }]))
        }
    }

    fn sensor(rung: Rung, number: u32, name: &str) -> Box<dyn Sensor> {
        let device = Device::Gpu(number);
        let description =
            SensorDescription { device, ..SensorDescription::new(rung, "NVML", vec![format!("{number}: {name}")]) };
        Box::new(Fixed { description, second: 0, joules: 0 })
    }

    #[test]
    fn every_card_has_a_ladder_of_its_own_with_the_counter_first() {
        let sensors = vec![
            sensor(Rung::NvmlPower, 1, "Tesla T4"),
            sensor(Rung::NvmlCounter, 1, "Tesla T4"),
            sensor(Rung::NvmlCounter, 0, "NVIDIA H200"),
        ];
        let cards = CardEnergy::of_sensors(sensors);
        assert_eq!(cards.iter().map(CardEnergy::number).collect::<Vec<_>>(), [1, 0]);
        let report = cards[0].report();
        let sources: Vec<&str> = report.rungs.iter().map(|rung| rung.source.as_str()).collect();
        assert_eq!(sources, ["NVML energy counter (NVML: 1: Tesla T4)", "NVML power (NVML: 1: Tesla T4)"]);
        assert!(report.in_use.source.contains("8 to 71 W"), "{}", report.in_use.source);
        assert!(cards[1].report().in_use.source.starts_with("none"), "no model knows it");
    }

    #[test]
    fn a_card_is_believed_once_it_worked_and_charges_the_time_for_which_it_computed() {
        let mut card = CardEnergy::of_sensors(vec![sensor(Rung::NvmlCounter, 0, "NVIDIA H200")]).remove(0);
        card = card.with_memory(1 << 30);
        let (mut last, mut busy) = (None, Duration::ZERO);
        for second in 0..40_u64 {
            let worked = if is_busy(second) { Duration::from_millis(500) } else { Duration::ZERO };
            busy += worked;
            let claims = [Claim { cpu: worked.into(), memory: KibMillis::held(1 << 29, Duration::from_secs(1)) }];
            last = card.poll(Duration::from_secs(second), busy.into(), &claims);
            assert!(second > 20 || card.measured_rates().is_none(), "what it takes at rest is not known");
        }
        let MeasuredInterval { taken, accounts } = last.unwrap();
        assert_eq!(taken.energy.unwrap().joules(), 100.0);
        let accounts = accounts.unwrap();
        assert_eq!((accounts.total(), accounts.host_other), (taken.energy.unwrap(), Nanojoules::ZERO));
        assert_eq!(card.report().rungs[0].state, RungState::InUse);
        let one_second = EnergyUse {
            active_cpu: Duration::from_secs(9).into(),
            load_cpu: Duration::from_secs(9).into(),
            active_busy: Duration::from_secs(1).into(),
            ..EnergyUse::default()
        };
        let estimate = card.measured_rates().unwrap().estimate(&one_second);
        assert_eq!(
            (estimate.active.joules(), estimate.load),
            (140.0, Nanojoules::ZERO),
            "70 W above its base, half of the time"
        );
        assert_eq!((accounts.claims[0].dynamic.joules(), accounts.claims[0].residency.joules()), (70.0, 15.0));
    }
}
