//! Which processor this is, and the wall power per virtual core that is published for its generation.
//!
//! Deliberately absent: asking the machine. The caller reads `/proc/cpuinfo` or cpuid and passes what it found.

use serde::{Deserialize, Serialize};

use crate::limits::BRAND_CHARS_MAX;

/// What a processor says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CpuDescription {
    /// The vendor as cpuid spells it: `GenuineIntel`, `AuthenticAMD`; empty if unknown.
    pub vendor: String,
    /// The family with its extension added, in decimal as `/proc/cpuinfo` shows it.
    pub family: u32,
    /// The model with its extension added, in decimal.
    pub model: u32,
    /// The stepping: it alone tells Cascade Lake from Skylake.
    pub stepping: Option<u32>,
    /// The marketing name, for people.
    pub brand: String,
}

impl CpuDescription {
    /// Reads the first processor of a `/proc/cpuinfo` text; fields that are not there stay empty or zero.
    #[must_use]
    pub fn from_cpuinfo(text: &str) -> Self {
        let mut description = Self::default();
        for line in text.lines().take_while(|line| !line.trim().is_empty()) {
            let Some((key, value)) = line.split_once(':') else { continue };
            let value = value.trim();
            match key.trim() {
                "vendor_id" => description.vendor = value.to_owned(),
                "cpu family" => description.family = value.parse().unwrap_or(0),
                "model" => description.model = value.parse().unwrap_or(0),
                "stepping" => description.stepping = value.parse().ok(),
                "model name" => description.brand = value.chars().take(BRAND_CHARS_MAX).collect(),
                _ => {}
            }
        }
        description
    }

    /// The published wall power of this processor's generation; [`WallPower::UNKNOWN`] if there is none.
    ///
    /// Families and models after Linux' `arch/x86/include/asm/intel-family.h` and AMD's processor programming
    /// references. Client parts of a generation count as that generation; one without a figure is unknown.
    #[must_use]
    pub fn wall_power(&self) -> WallPower {
        match (self.vendor.as_str(), self.family) {
            ("AuthenticAMD", 23) => match self.model {
                0x00..=0x2f => WallPower::EPYC_1,
                _ => WallPower::EPYC_2,
            },
            ("AuthenticAMD", 25) => match self.model {
                0x10..=0x1f | 0x60..=0x7f | 0xa0..=0xaf => WallPower::EPYC_4,
                _ => WallPower::EPYC_3,
            },
            ("GenuineIntel", 6) => self.intel_wall_power(),
            _ => WallPower::UNKNOWN,
        }
    }

    fn intel_wall_power(&self) -> WallPower {
        match self.model {
            0x3c | 0x3f | 0x45 | 0x46 => WallPower::HASWELL,
            0x3d | 0x47 | 0x4f | 0x56 => WallPower::BROADWELL,
            0x4e | 0x5e => WallPower::SKYLAKE,
            // One model number, three generations: steppings 0 to 4 are Skylake, 5 and later Cascade and Cooper Lake.
            0x55 if self.stepping.is_some_and(|stepping| stepping >= 5) => WallPower::CASCADE_LAKE,
            0x55 => WallPower::SKYLAKE,
            0x6a | 0x6c | 0x7d | 0x7e => WallPower::ICE_LAKE,
            0x8f => WallPower::SAPPHIRE_RAPIDS,
            0xcf => WallPower::EMERALD_RAPIDS,
            0xad | 0xae => WallPower::GRANITE_RAPIDS,
            _ => WallPower::UNKNOWN,
        }
    }
}

/// Power at the wall per virtual core, memory and the rest of the machine included, at rest and fully loaded.
///
/// Source: Cloud Carbon Footprint's coefficients, which it derives from SPECpower_ssj2008.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WallPower {
    /// The generation's name.
    pub generation: &'static str,
    /// Milliwatts per virtual core at rest.
    pub idle_milliwatts: u32,
    /// Milliwatts per virtual core under full load.
    pub max_milliwatts: u32,
}

macro_rules! generations {
    ($($constant:ident = $name:literal, $idle:literal, $max:literal;)*) => {
        impl WallPower {
            $(
                #[doc = concat!($name, ": ", stringify!($idle), " to ", stringify!($max), " mW per virtual core.")]
                pub const $constant: Self =
                    Self { generation: $name, idle_milliwatts: $idle, max_milliwatts: $max };
            )*
        }
    };
}

generations! {
    HASWELL = "Haswell", 1857, 5595;
    BROADWELL = "Broadwell", 713, 3685;
    SKYLAKE = "Skylake", 613, 4104;
    CASCADE_LAKE = "Cascade Lake", 690, 4063;
    ICE_LAKE = "Ice Lake", 767, 3758;
    SAPPHIRE_RAPIDS = "Sapphire Rapids", 1036, 4160;
    EMERALD_RAPIDS = "Emerald Rapids", 814, 4482;
    GRANITE_RAPIDS = "Granite Rapids", 582, 2527;
    EPYC_1 = "EPYC 1st generation", 847, 2604;
    EPYC_2 = "EPYC 2nd generation", 474, 1693;
    EPYC_3 = "EPYC 3rd generation", 456, 1957;
    EPYC_4 = "EPYC 4th generation", 739, 2282;
    UNKNOWN = "unknown processor", 740, 3500;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cpu(vendor: &str, family: u32, model: u32, stepping: Option<u32>) -> CpuDescription {
        CpuDescription { vendor: vendor.into(), family, model, stepping, brand: String::new() }
    }

    #[test]
    fn reads_the_first_processor_of_cpuinfo() {
        let text = "processor\t: 0\nvendor_id\t: AuthenticAMD\ncpu family\t: 23\nmodel\t\t: 1\n\
                    model name\t: AMD EPYC\nstepping\t: 2\n\nprocessor\t: 1\nvendor_id\t: Other\n";
        let description = CpuDescription::from_cpuinfo(text);
        assert_eq!(description, CpuDescription { brand: "AMD EPYC".into(), ..cpu("AuthenticAMD", 23, 1, Some(2)) });
        assert_eq!(description.wall_power(), WallPower::EPYC_1);
        assert_eq!(CpuDescription::from_cpuinfo("Processor : ARMv8\n").wall_power(), WallPower::UNKNOWN);
    }

    #[test]
    fn knows_the_generations() {
        for (vendor, family, model, stepping, expected) in [
            ("AuthenticAMD", 23, 0x31, None, WallPower::EPYC_2),
            ("AuthenticAMD", 25, 0x01, None, WallPower::EPYC_3),
            ("AuthenticAMD", 25, 0x11, None, WallPower::EPYC_4),
            ("AuthenticAMD", 25, 0xa0, None, WallPower::EPYC_4),
            ("AuthenticAMD", 26, 0x02, None, WallPower::UNKNOWN),
            ("GenuineIntel", 6, 0x3f, None, WallPower::HASWELL),
            ("GenuineIntel", 6, 0x4f, None, WallPower::BROADWELL),
            ("GenuineIntel", 6, 0x55, Some(4), WallPower::SKYLAKE),
            ("GenuineIntel", 6, 0x55, Some(7), WallPower::CASCADE_LAKE),
            ("GenuineIntel", 6, 0x55, None, WallPower::SKYLAKE),
            ("GenuineIntel", 6, 0x6a, None, WallPower::ICE_LAKE),
            ("GenuineIntel", 6, 0x8f, None, WallPower::SAPPHIRE_RAPIDS),
            ("GenuineIntel", 6, 0xcf, None, WallPower::EMERALD_RAPIDS),
            ("GenuineIntel", 6, 0xad, None, WallPower::GRANITE_RAPIDS),
            ("GenuineIntel", 15, 0x04, None, WallPower::UNKNOWN),
            ("", 0, 0, None, WallPower::UNKNOWN),
        ] {
            assert_eq!(cpu(vendor, family, model, stepping).wall_power(), expected, "{vendor} {family} {model:#x}");
        }
    }
}
