//! `[devices.NAME]`: what computes, beside the processor's own kernels.
//!
//! `cpu` is always there and always the first; its memory and threads are the server's (`memory_budget`, `threads`), and
//! its table says only what it draws and costs. All others compute through candle and follow by name.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::Arc;

use meter::{DevicePower, PicoUnits};
use models::candle::DeviceKind;
use serde::Deserialize;

use super::ConfigError;
use super::quantity::{ByteSize, Choice};
use crate::limits::{DEVICE_NAME_CHARS_MAX, DEVICES_MAX, MEMORY_BUDGET_BYTES_MIN};

/// The device that is always there.
const CPU: &str = "cpu";
/// What the machine is called where the energy of devices and its own are told.
pub(crate) const HOST: &str = "host";

/// `[devices.NAME]`.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DeviceTable {
    /// What it is; only `cpu` needs no word.
    kind: Option<Choice<DeviceWord>>,
    /// Which of its kind; the first without.
    number: Option<usize>,
    /// Its memory for weights and keys and values together.
    memory: Option<ByteSize>,
    /// Threads that compute, or that feed it.
    threads: Option<NonZeroUsize>,
    /// Watts while it does nothing.
    watts_idle: Option<f64>,
    /// Watts while it computes.
    watts_max: Option<f64>,
    /// For an hour for which it computes.
    price_per_hour: Option<f64>,
}

/// Kinds of devices, as they are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DeviceWord {
    /// Our kernels.
    Cpu,
    /// candle's plain ops on the processor.
    CandleCpu,
    /// An NVIDIA GPU.
    Cuda,
    /// An Apple GPU.
    Metal,
}

/// How a device computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DeviceWay {
    /// By our kernels, from where weights are mapped.
    Kernels,
    /// Through candle, from copies.
    Candle(DeviceKind),
}

impl DeviceWay {
    /// The word for it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Kernels => "cpu",
            Self::Candle(DeviceKind::Cpu) => "candle-cpu",
            Self::Candle(DeviceKind::Cuda(_)) => "cuda",
            Self::Candle(DeviceKind::Metal(_)) => "metal",
        }
    }

    /// Whether its memory is the host's.
    pub(crate) fn is_of_host(self) -> bool {
        matches!(self, Self::Kernels | Self::Candle(DeviceKind::Cpu))
    }
}

/// A device that was chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DeviceChoice {
    pub(crate) name: Arc<str>,
    pub(crate) way: DeviceWay,
    pub(crate) memory_bytes: u64,
    pub(crate) threads: NonZeroUsize,
    /// What it draws, where the operator says.
    pub(crate) power: Option<DevicePower>,
    /// For an hour for which it computes, where the operator says.
    pub(crate) device_hour: Option<PicoUnits>,
}

/// All devices, `cpu` first; its memory is not known before that of the others is, and set by the caller.
pub(super) fn choices(
    mut tables: BTreeMap<String, DeviceTable>,
    threads: NonZeroUsize,
) -> Result<Vec<DeviceChoice>, ConfigError> {
    let cpu = tables.remove(CPU).unwrap_or_default();
    if tables.len() >= DEVICES_MAX {
        return Err(refused(CPU, format!("a server has at most {DEVICES_MAX} devices")));
    }
    let mut devices = vec![of_cpu(cpu, threads)?];
    for (name, table) in tables {
        let device = table.choice(&name, threads)?;
        if devices.iter().any(|other| other.way == device.way) {
            return Err(refused(&name, "another table is about the same device".into()));
        }
        devices.push(device);
    }
    Ok(devices)
}

/// Bytes of the host's memory that devices other than `cpu` take.
pub(super) fn host_bytes_beside_cpu(devices: &[DeviceChoice]) -> u64 {
    let others = devices.iter().skip(1).filter(|device| device.way.is_of_host());
    others.map(|device| device.memory_bytes).fold(0, u64::saturating_add)
}

fn refused(name: &str, reason: String) -> ConfigError {
    ConfigError::Device { name: name.chars().take(DEVICE_NAME_CHARS_MAX).collect(), reason }
}

fn of_cpu(table: DeviceTable, threads: NonZeroUsize) -> Result<DeviceChoice, ConfigError> {
    let is_other = table.kind.is_some_and(|Choice(kind)| kind != DeviceWord::Cpu);
    for (is_said, reason) in [
        (is_other, "it is the processor's kernels; give another kind another name"),
        (table.number.is_some(), "there is only one: number says nothing"),
        (table.memory.is_some(), "its memory is memory_budget"),
        (table.threads.is_some(), "its threads are the server's: say threads at the top"),
    ] {
        if is_said {
            return Err(refused(CPU, reason.into()));
        }
    }
    let (power, device_hour) = (table.power(CPU)?, table.device_hour(CPU)?);
    let way = DeviceWay::Kernels;
    Ok(DeviceChoice { name: CPU.into(), way, memory_bytes: 0, threads, power, device_hour })
}

impl DeviceTable {
    fn choice(self, name: &str, threads: NonZeroUsize) -> Result<DeviceChoice, ConfigError> {
        let is_plain = |character: char| character.is_ascii_alphanumeric() || "-_.".contains(character);
        if name.is_empty() || name.chars().count() > DEVICE_NAME_CHARS_MAX || !name.chars().all(is_plain) {
            return Err(refused(name, "a name has letters, digits, hyphens, dots and underscores alone".into()));
        }
        if name == HOST {
            return Err(refused(name, "host is what the machine's own energy is called".into()));
        }
        let number = self.number.unwrap_or(0);
        let kind = match self.kind {
            None => return Err(refused(name, "say its kind: candle-cpu, cuda or metal".into())),
            Some(Choice(DeviceWord::Cpu)) => {
                return Err(refused(name, "the processor's kernels are the device called cpu".into()));
            }
            Some(Choice(DeviceWord::CandleCpu)) if number > 0 => {
                return Err(refused(name, "there is only one: number says nothing".into()));
            }
            Some(Choice(DeviceWord::CandleCpu)) => DeviceKind::Cpu,
            Some(Choice(DeviceWord::Cuda)) => DeviceKind::Cuda(number),
            Some(Choice(DeviceWord::Metal)) => DeviceKind::Metal(number),
        };
        let memory_bytes = match self.memory {
            Some(ByteSize(bytes)) if bytes >= MEMORY_BUDGET_BYTES_MIN => bytes,
            Some(_) => return Err(refused(name, format!("memory is at least {MEMORY_BUDGET_BYTES_MIN} bytes"))),
            None => return Err(refused(name, "say its memory: what models may take of it".into())),
        };
        let default = if kind == DeviceKind::Cpu { threads } else { NonZeroUsize::MIN };
        Ok(DeviceChoice {
            name: name.into(),
            way: DeviceWay::Candle(kind),
            memory_bytes,
            threads: self.threads.unwrap_or(default),
            power: self.power(name)?,
            device_hour: self.device_hour(name)?,
        })
    }

    /// What it draws; both figures or none.
    fn power(&self, name: &str) -> Result<Option<DevicePower>, ConfigError> {
        const WATTS_MAX: f64 = 100_000.0;
        let (idle, max) = match (self.watts_idle, self.watts_max) {
            (None, None) => return Ok(None),
            (Some(idle), Some(max)) => (idle, max),
            _ => return Err(refused(name, "say both watts_idle and watts_max, or neither".into())),
        };
        if !(0.0..=max).contains(&idle) || !(0.0..=WATTS_MAX).contains(&max) {
            return Err(refused(name, format!("watts are 0 ≤ watts_idle ≤ watts_max ≤ {WATTS_MAX}")));
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and 10⁸")]
        let milliwatts = |watts: f64| (watts * 1e3).round() as u32;
        Ok(Some(DevicePower { idle_milliwatts: milliwatts(idle), max_milliwatts: milliwatts(max) }))
    }

    fn device_hour(&self, name: &str) -> Result<Option<PicoUnits>, ConfigError> {
        let Some(price) = self.price_per_hour else { return Ok(None) };
        let bad = || refused(name, format!("price_per_hour = {price} is not between 0 and 18 million"));
        PicoUnits::from_units(price).map(Some).ok_or_else(bad)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Result<Vec<DeviceChoice>, ConfigError> {
        choices(toml::from_str(text).unwrap(), NonZeroUsize::new(3).unwrap())
    }

    #[test]
    fn the_kernels_are_there_without_a_word_and_come_first() {
        let alone = of("").unwrap();
        assert_eq!((alone.len(), &*alone[0].name, alone[0].way), (1, "cpu", DeviceWay::Kernels));
        let text = "[a]\nkind = 'candle-cpu'\nmemory = '1GiB'\nthreads = 2\n[gpu]\nkind = 'cuda'\nnumber = 1\nmemory = '8GiB'\n\
                    watts_idle = 50.0\nwatts_max = 350.5\nprice_per_hour = 0.95\n[cpu]\nprice_per_hour = 0.1";
        let devices = of(text).unwrap();
        let names: Vec<&str> = devices.iter().map(|device| &*device.name).collect();
        assert_eq!(names, ["cpu", "a", "gpu"]);
        assert_eq!(devices[1].way, DeviceWay::Candle(DeviceKind::Cpu));
        assert_eq!((devices[0].threads.get(), devices[1].threads.get(), devices[2].threads.get()), (3, 2, 1));
        assert_eq!(devices[2].way, DeviceWay::Candle(DeviceKind::Cuda(1)));
        assert_eq!(devices[2].power, Some(DevicePower { idle_milliwatts: 50_000, max_milliwatts: 350_500 }));
        assert_eq!(devices[2].device_hour, PicoUnits::from_units(0.95));
        assert_eq!(host_bytes_beside_cpu(&devices), 1 << 30);
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        for (text, word) in [
            ("[cpu]\nmemory = '1GiB'", "memory_budget"),
            ("[cpu]\nthreads = 2", "threads"),
            ("[cpu]\nkind = 'cuda'", "another name"),
            ("[x]\nmemory = '1GiB'", "kind"),
            ("[x]\nkind = 'cpu'\nmemory = '1GiB'", "called cpu"),
            ("[x]\nkind = 'candle-cpu'", "memory"),
            ("[x]\nkind = 'candle-cpu'\nmemory = '1KiB'", "at least"),
            ("[x]\nkind = 'candle-cpu'\nnumber = 1\nmemory = '1GiB'", "only one"),
            ("[x]\nkind = 'cuda'\nmemory = '1GiB'\n[y]\nkind = 'cuda'\nmemory = '1GiB'", "same device"),
            ("[x]\nkind = 'cuda'\nmemory = '1GiB'\nwatts_max = 5.0", "both"),
            ("[x]\nkind = 'cuda'\nmemory = '1GiB'\nwatts_max = 5.0\nwatts_idle = 6.0", "watts_idle ≤"),
            ("[x]\nkind = 'cuda'\nmemory = '1GiB'\nwatts_max = nan\nwatts_idle = 6.0", "watts_idle ≤"),
            ("[x]\nkind = 'cuda'\nmemory = '1GiB'\nprice_per_hour = -1.0", "price_per_hour"),
            ("[host]\nkind = 'cuda'\nmemory = '1GiB'", "energy"),
            ("['x y']\nkind = 'cuda'\nmemory = '1GiB'", "letters"),
        ] {
            let error = of(text).unwrap_err().to_string();
            assert!(error.contains(word), "{text}: {error}");
        }
        for text in ["[x]\nkind = 'tpu'", "[x]\nmemroy = '1GiB'", "[x]\nthreads = 0"] {
            assert!(toml::from_str::<BTreeMap<String, DeviceTable>>(text).is_err(), "{text}");
        }
    }
}
