//! RAPL by the kernel's performance events, `/sys/bus/event_source/devices/power`.
//!
//! The events `energy-psys`, `energy-pkg` and `energy-ram` count since they are opened, in units that their `.scale`
//! and `.unit` tell; `cpumask` names a processor of each socket, and the event is opened once on each. Unlike power zones
//! they do not wrap, and may be read with CAP_PERFMON alone. Virtual machines list `energy-psys` and count nothing.
//!
//! Opening takes a system call; the crate `perf-event2` makes it safe to use, behind the feature `perf`. Without
//! that, events that are there are told of and not used.
//!
//! Source: Linux' `arch/x86/events/rapl.c` and `Documentation/ABI/testing/sysfs-bus-event_source-devices-events`.

#[cfg(all(feature = "perf", target_os = "linux"))]
mod kernel;

use std::io;
use std::path::Path;

#[cfg(all(feature = "perf", target_os = "linux"))]
pub(super) use self::kernel::open;
use super::files;
use super::{Counter, Reading, Rung, Sensor, SensorDescription, SensorError};
use crate::limits::SENSOR_DOMAINS_MAX;
use crate::units::Nanojoules;

const NANOJOULES_PER_JOULE: f64 = 1e9;

/// An open event on one processor.
pub(super) trait Count: Send {
    /// What it has counted.
    fn count(&mut self) -> io::Result<u64>;
}

/// Opens the event of that name on that processor.
pub(super) type Open<'a> = &'a dyn Fn(&str, usize) -> Result<Box<dyn Count>, SensorError>;

/// An event on each socket.
struct Event {
    name: &'static str,
    /// Nanojoules that one count stands for.
    scale: f64,
    cpus: Vec<usize>,
}

struct Perf {
    description: SensorDescription,
    counters: Vec<(Box<dyn Count>, f64)>,
}

/// The sensors of the events below `root`; `open` opens them.
pub(super) fn find(
    root: &Path,
    relative_uncertainty: f64,
    open: Open<'_>,
) -> Result<Vec<Box<dyn Sensor>>, SensorError> {
    let folder = root.join("sys/bus/event_source/devices/power");
    let cpus = cpu_list(&folder.join("cpumask"))?;
    let event = |name| match event(&folder, name, &cpus) {
        Err(SensorError::Absent { .. }) => Ok(None),
        event => event.map(Some),
    };
    let (platform, packages, memory) = (event("energy-psys")?, event("energy-pkg")?, event("energy-ram")?);
    let mut sensors: Vec<Box<dyn Sensor>> = Vec::new();
    let mut add = |rung, events: &[&Event]| -> Result<(), SensorError> {
        let mut domains = Vec::new();
        let mut counters = Vec::new();
        for event in events {
            for &cpu in &event.cpus {
                domains.push(format!("{} of cpu {cpu}", event.name));
                counters.push((open(event.name, cpu)?, event.scale));
            }
        }
        let description = SensorDescription { relative_uncertainty, ..SensorDescription::new(rung, "perf", domains) };
        sensors.push(Box::new(Perf { description, counters }));
        Ok(())
    };
    // Of several platforms nothing tells whether each counts the whole.
    if let Some(platform) = platform.as_ref().filter(|event| event.cpus.len() == 1) {
        add(Rung::RaplPlatform, &[platform])?;
    }
    if let Some(packages) = &packages {
        if let Some(memory) = &memory {
            add(Rung::RaplPackagesAndMemory, &[packages, memory])?;
        }
        add(Rung::RaplPackages, &[packages])?;
    }
    if sensors.is_empty() { Err(files::absent(&folder.join("events/energy-pkg"))) } else { Ok(sensors) }
}

fn event(folder: &Path, name: &'static str, cpus: &[usize]) -> Result<Event, SensorError> {
    let path = folder.join("events").join(name);
    files::text(&path)?;
    let unit_path = path.with_extension("unit");
    let unit = files::text(&unit_path)?;
    if unit != "Joules" {
        return Err(files::malformed(&unit_path, &unit, "Joules"));
    }
    let scale_path = path.with_extension("scale");
    let text = files::text(&scale_path)?;
    // A count of a joule would be too coarse to use, and a count of less than 10⁻¹⁵ J overflows soon.
    let scale = text.parse().ok().filter(|scale: &f64| (1e-15..=1.0).contains(scale));
    let scale = scale.ok_or_else(|| files::malformed(&scale_path, &text, "the joules of a count"))?;
    Ok(Event { name, scale: scale * NANOJOULES_PER_JOULE, cpus: cpus.to_vec() })
}

/// A list of processors as the kernel writes it: `0,18` or `0-3,7`.
fn cpu_list(path: &Path) -> Result<Vec<usize>, SensorError> {
    let text = files::text(path)?;
    let mut cpus = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (Ok(first), Ok(last)) = (first.parse::<usize>(), last.parse::<usize>()) else {
            return Err(files::malformed(path, &text, "a list of processors"));
        };
        cpus.extend((first..=last).take(SENSOR_DOMAINS_MAX - cpus.len()));
    }
    Ok(cpus)
}

impl Sensor for Perf {
    fn description(&self) -> &SensorDescription {
        &self.description
    }

    fn read(&mut self) -> Result<Reading, SensorError> {
        let mut read = Vec::with_capacity(self.counters.len());
        for ((counter, scale), domain) in self.counters.iter_mut().zip(&self.description.domains) {
            let count = counter.count().map_err(|error| files::failure(Path::new(domain), error))?;
            #[allow(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "it saturates, and is not negative"
            )]
            let energy = Nanojoules::new((count as f64 * *scale) as u64);
            read.push(Counter { energy, range: None });
        }
        Ok(Reading::Counters(read))
    }
}

/// Opens nothing.
#[cfg(not(all(feature = "perf", target_os = "linux")))]
pub(super) fn open(name: &str, _cpu: usize) -> Result<Box<dyn Count>, SensorError> {
    Err(SensorError::NotBuilt { place: format!("the event {name}"), feature: "perf" })
}
