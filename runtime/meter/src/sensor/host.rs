//! How long the machine's processors worked, whoever for.

use std::path::Path;

use super::SensorError;
use super::files;
use crate::units::Nanos;

/// A tick of `/proc/stat`: USER_HZ is 100 on every architecture that this runs on.
const NANOS_PER_TICK: u128 = 10_000_000;

/// Processor time of all processes since the machine started, in steps of 10 ms per processor, from `proc/stat` below
/// `root`: user, nice, system, irq and softirq time. Idle and waiting are not work, and what a hypervisor took for others
/// is theirs.
///
/// # Errors
/// When the file is missing or tells something else.
pub fn busy_cpu(root: &Path) -> Result<Nanos, SensorError> {
    let path = root.join("proc/stat");
    let text = files::head(&path)?;
    let line = text.lines().next().unwrap_or_default();
    let mut fields = line.split_ascii_whitespace();
    let ticks = match fields.next() {
        Some("cpu") => fields.map(str::parse).collect::<Result<Vec<u64>, _>>().ok(),
        _ => None,
    };
    match ticks.as_deref() {
        Some([user, nice, system, _idle, _iowait, irq, softirq, ..]) => {
            let busy: u128 = [user, nice, system, irq, softirq].into_iter().map(|&ticks| u128::from(ticks)).sum();
            Ok(Nanos::saturating_from(busy * NANOS_PER_TICK))
        }
        _ => Err(files::malformed(&path, line, "the line `cpu` with seven figures")),
    }
}
