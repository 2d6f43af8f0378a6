//! `[savings]`: what the operator knows of money that no rate card tells: machines that could be had, and what is really
//! paid less.
//!
//! Deliberately absent: a catalogue of our own. Prices of machines change and differ by place, and one that nobody checked
//! would be told as if it were known; without machines that tier is not told.

use meter::savings::{Catalogue, Machine};
use meter::units::PicoUnits;
use serde::Deserialize;

use super::ConfigError;
use super::quantity::ByteSize;
use crate::limits::{MACHINE_NAME_CHARS_MAX, MACHINES_MAX};

/// More than anybody pays for an hour, in units of the currency.
const REALISED_PER_HOUR_MAX: f64 = 1e6;

/// `[savings]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SavingsTable {
    /// Where the prices of the machines are from.
    machines_source: Option<String>,
    /// `[[savings.machines]]`.
    #[serde(default)]
    machines: Vec<MachineTable>,
    /// What is paid less in an hour than without this server, in the rate card's currency; negative for more.
    #[serde(default)]
    realised_per_hour: f64,
}

/// `[[savings.machines]]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct MachineTable {
    name: String,
    /// What can be used of its memory.
    memory: ByteSize,
    /// In the rate card's currency.
    price_per_hour: f64,
}

/// What the operator declares.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct MoneyChoices {
    /// The machines that could be had; none where nobody says.
    pub(crate) catalogue: Option<Catalogue>,
    /// What is paid less in an hour.
    pub(crate) realised_per_hour: f64,
}

impl SavingsTable {
    /// What the table says.
    pub(super) fn choices(self) -> Result<MoneyChoices, ConfigError> {
        let bad = |reason: String| ConfigError::Savings { reason };
        let realised_per_hour = self.realised_per_hour;
        if !(-REALISED_PER_HOUR_MAX..=REALISED_PER_HOUR_MAX).contains(&realised_per_hour) {
            return Err(bad(format!("realised_per_hour = {realised_per_hour} is more than anybody pays")));
        }
        if self.machines.len() > MACHINES_MAX {
            return Err(bad(format!("there are more than {MACHINES_MAX} machines")));
        }
        let catalogue = match (self.machines_source, self.machines.is_empty()) {
            (None, true) => None,
            (Some(_), true) => return Err(bad("machines_source needs machines".into())),
            (None, false) => return Err(bad("machines need machines_source: where their prices are from".into())),
            (Some(source), false) => {
                let machines = self.machines.into_iter().map(MachineTable::machine);
                Some(Catalogue { machines: machines.collect::<Result<_, _>>()?, source })
            }
        };
        Ok(MoneyChoices { catalogue, realised_per_hour })
    }
}

impl MachineTable {
    fn machine(self) -> Result<Machine, ConfigError> {
        let Self { name, memory: ByteSize(memory_bytes), price_per_hour } = self;
        let bad = |reason| ConfigError::Savings { reason };
        if name.trim().is_empty() || name.chars().count() > MACHINE_NAME_CHARS_MAX {
            return Err(bad(format!("a machine's name has 1 to {MACHINE_NAME_CHARS_MAX} characters")));
        }
        let per_hour = PicoUnits::from_units(price_per_hour)
            .ok_or_else(|| bad(format!("{name}: price_per_hour = {price_per_hour} is no price")))?;
        Ok(Machine { name, memory_bytes, per_hour })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(text: &str) -> Result<MoneyChoices, ConfigError> {
        toml::from_str::<SavingsTable>(text).unwrap().choices()
    }

    #[test]
    fn machines_have_prices_with_a_source_and_nothing_is_realised_unless_it_is_declared() {
        assert_eq!(chosen("").unwrap(), MoneyChoices::default());
        let declared = chosen(
            "realised_per_hour = -0.25\nmachines_source = 'a list'\n\
             [[machines]]\nname = 'small'\nmemory = '4GiB'\nprice_per_hour = 0.04",
        );
        let MoneyChoices { catalogue, realised_per_hour } = declared.unwrap();
        let machine = Machine { name: "small".into(), memory_bytes: 4 << 30, per_hour: PicoUnits::new(40_000_000_000) };
        assert_eq!(catalogue, Some(Catalogue { machines: vec![machine], source: "a list".into() }));
        assert!((realised_per_hour + 0.25).abs() < f64::EPSILON);
    }

    #[test]
    fn what_cannot_be_told_is_refused() {
        let machine = "[[machines]]\nname = 'm'\nmemory = '1GiB'\nprice_per_hour = 1\n";
        let sourced = |machines: String| format!("machines_source = 'x'\n{machines}");
        for text in [
            machine.to_owned(),
            "machines_source = 'x'".to_owned(),
            sourced(machine.repeat(MACHINES_MAX + 1)),
            sourced(machine.replace("= 1\n", "= -1\n")),
            sourced(machine.replace("'m'", "' '")),
            sourced(machine.replace("'m'", &format!("'{}'", "m".repeat(MACHINE_NAME_CHARS_MAX + 1)))),
            "realised_per_hour = nan".to_owned(),
        ] {
            assert!(matches!(chosen(&text), Err(ConfigError::Savings { .. })), "{text}");
        }
        assert!(chosen(&sourced(machine.repeat(MACHINES_MAX))).is_ok());
    }
}
