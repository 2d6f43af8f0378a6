//! RAPL by the kernel's power zones, `/sys/class/powercap/intel-rapl:*` (AMD's are named so too).
//!
//! A zone's `name` tells what it is: `psys`, `package-N` (with `-die-M` where a package has several), and below a package
//! `dram`, `core`, `uncore`. The latter two are parts of their package and never added. `intel-rapl-mmio:*` counts the
//! packages a second time, by another way, and is looked at only where the first is not there.
//!
//! Each sum that can be made without counting twice is a sensor of its own: where a zone of one tells nothing, another
//! may stand in.
//!
//! Source: Linux' `Documentation/power/powercap/powercap.rst` and `drivers/powercap/intel_rapl_common.c`.

use std::path::{Path, PathBuf};

use super::files;
use super::{Counter, Reading, Rung, Sensor, SensorDescription, SensorError};
use crate::limits::SENSOR_DOMAINS_MAX;
use crate::units::{Microwatts, Nanojoules};

/// Who may read the counters. Source: Linux' commit 949dd0104c49, "powercap: restrict energy meter to root access"
/// (CVE-2020-8694).
const ROOT_ONLY: &str = "since Linux 5.10 energy counters are for root alone";

const CONTROL_TYPES: [&str; 2] = ["intel-rapl:", "intel-rapl-mmio:"];

#[derive(Clone)]
struct Zone {
    name: String,
    energy: PathBuf,
    range: Nanojoules,
    rated_power: Option<Microwatts>,
}

struct Powercap {
    description: SensorDescription,
    zones: Vec<Zone>,
}

/// The sensors of the power zones below `root`.
pub(super) fn find(root: &Path, relative_uncertainty: f64) -> Result<Vec<Box<dyn Sensor>>, SensorError> {
    let folder = root.join("sys/class/powercap");
    let names = files::names(&folder)?;
    let of_type = |prefix: &str| names.iter().any(|name| name.starts_with(prefix));
    let prefix = CONTROL_TYPES.into_iter().find(|prefix| of_type(prefix)).ok_or_else(|| files::absent(&folder))?;
    let mut zones = Vec::new();
    for name in names.iter().filter(|name| name.starts_with(prefix)).take(SENSOR_DOMAINS_MAX) {
        zones.push(zone(&folder.join(name))?);
    }
    let with =
        |wanted: fn(&str) -> bool| -> Vec<Zone> { zones.iter().filter(|zone| wanted(&zone.name)).cloned().collect() };
    let (platform, packages, memory) =
        (with(|name| name == "psys"), with(|name| name.starts_with("package-")), with(|name| name == "dram"));
    let mut sensors: Vec<Box<dyn Sensor>> = Vec::new();
    let mut add = |rung, zones: Vec<Zone>| {
        let domains = zones.iter().map(|zone| zone.name.clone()).collect();
        // Of memory there is none to add, and none is needed: the bound that it makes is three times as wide.
        let rated = zones.iter().filter(|zone| zone.name != "dram").map(|zone| zone.rated_power);
        let description = SensorDescription {
            relative_uncertainty,
            rated_power: rated.sum::<Option<Microwatts>>(),
            ..SensorDescription::new(rung, "powercap", domains)
        };
        sensors.push(Box::new(Powercap { description, zones }));
    };
    // Of several platforms nothing tells whether each counts the whole.
    if platform.len() == 1 {
        add(Rung::RaplPlatform, platform);
    }
    if !packages.is_empty() && !memory.is_empty() {
        add(Rung::RaplPackagesAndMemory, [packages.clone(), memory].concat());
    }
    if !packages.is_empty() {
        add(Rung::RaplPackages, packages);
    }
    if sensors.is_empty() { Err(files::absent(&folder.join(format!("{prefix}*/energy_uj")))) } else { Ok(sensors) }
}

fn zone(folder: &Path) -> Result<Zone, SensorError> {
    let range_path = folder.join("max_energy_range_uj");
    let range = files::microjoules(&range_path)?;
    if range == Nanojoules::ZERO {
        return Err(files::malformed(&range_path, "0", "a range that a counter can move in"));
    }
    Ok(Zone {
        name: files::text(&folder.join("name"))?,
        energy: folder.join("energy_uj"),
        range,
        // Zero where the firmware does not tell; not there where the zone cannot be limited.
        rated_power: files::number(&folder.join("constraint_0_max_power_uw"))
            .ok()
            .filter(|&power| power > 0)
            .map(Microwatts::new),
    })
}

pub(super) fn for_root(error: SensorError) -> SensorError {
    match error {
        SensorError::Denied { place, source, .. } => SensorError::Denied { place, remedy: ROOT_ONLY, source },
        error => error,
    }
}

impl Sensor for Powercap {
    fn description(&self) -> &SensorDescription {
        &self.description
    }

    fn read(&mut self) -> Result<Reading, SensorError> {
        let counter = |zone: &Zone| {
            let energy = files::microjoules(&zone.energy).map_err(for_root)?;
            Ok(Counter { energy, range: Some(zone.range) })
        };
        self.zones.iter().map(counter).collect::<Result<_, _>>().map(Reading::Counters)
    }
}
