//! Meters of the whole machine among the kernel's hardware monitors, `/sys/class/hwmon/hwmon*`.
//!
//! Only monitors of drivers that measure the whole machine count: `power_meter` (ACPI's, fed by the BMC) and `aem0`,
//! `aem1`, … (IBM's). All others are parts: a card's, a drive's, a voltage regulator's. A counter (`energy1_input`, 10⁻⁶ J)
//! is preferred to an average (`power1_average`) and that to a momentary power (`power1_input`, 10⁻⁶ W).
//!
//! Source: Linux' `Documentation/hwmon/sysfs-interface.rst`, `acpi_power_meter.rst`, `ibmaem.rst`.

use std::path::{Path, PathBuf};

use super::files;
use super::{Counter, Reading, Rung, Sensor, SensorDescription, SensorError};
use crate::units::Microwatts;

#[derive(Clone, Copy)]
enum Form {
    Counter,
    Power,
}

const ATTRIBUTES: [(&str, Form); 3] =
    [("energy1_input", Form::Counter), ("power1_average", Form::Power), ("power1_input", Form::Power)];

struct Monitor {
    description: SensorDescription,
    path: PathBuf,
    form: Form,
}

/// The wall meter below `root`.
pub(super) fn find(root: &Path) -> Result<Vec<Box<dyn Sensor>>, SensorError> {
    let folder = root.join("sys/class/hwmon");
    let mut meters = Vec::new();
    for entry in files::names(&folder)? {
        // The attributes of older drivers lie with the device.
        for place in [folder.join(&entry), folder.join(&entry).join("device")] {
            let Ok(name) = files::text(&place.join("name")) else { continue };
            let attribute = ATTRIBUTES.into_iter().find(|(attribute, _)| place.join(attribute).exists());
            if let Some((attribute, form)) = attribute.filter(|_| measures_the_machine(&name)) {
                let description = SensorDescription::new(Rung::WallMeter, "hwmon", vec![name]);
                meters.push(Monitor { description, path: place.join(attribute), form });
                break;
            }
        }
    }
    match meters.len() {
        0 => Err(SensorError::Absent { place: format!("a meter of the machine in {}", folder.display()) }),
        1 => Ok(meters.into_iter().map(|meter| Box::new(meter) as Box<dyn Sensor>).collect()),
        count => Err(SensorError::Ambiguous { count }),
    }
}

fn measures_the_machine(name: &str) -> bool {
    let is_number = |rest: &str| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit());
    name == "power_meter" || name.strip_prefix("aem").is_some_and(is_number)
}

impl Sensor for Monitor {
    fn description(&self) -> &SensorDescription {
        &self.description
    }

    fn read(&mut self) -> Result<Reading, SensorError> {
        match self.form {
            Form::Counter => {
                let energy = files::microjoules(&self.path)?;
                Ok(Reading::Counters(vec![Counter { energy, range: None }]))
            }
            Form::Power => files::number(&self.path).map(Microwatts::new).map(Reading::Power),
        }
    }
}
