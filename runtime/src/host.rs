//! What machine this is: its processors, and the memory that shares their power at rest.
//!
//! All of the machine's processors count, whatever this process may use of them: what is drawn at rest is shared by
//! everything on it.

use std::path::Path;

use meter::{CpuDescription, Host, Microwatts};

/// The machine whose files are below `root`, which is `/` but in tests; its memory is always this machine's.
/// `design_power` is what the operator says of its processors' together.
pub(crate) fn host(root: &Path, design_power: Option<Microwatts>) -> Host {
    let cpuinfo = std::fs::read_to_string(root.join("proc/cpuinfo")).unwrap_or_default();
    let memory_bytes = sysinfo::System::new().map_or(0, |mut system| {
        system.refresh_memory();
        system.total_memory()
    });
    let available = std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get);
    let cores = cpuinfo.lines().filter(|line| line.starts_with("processor")).count().max(available);
    Host {
        cpu: CpuDescription::from_cpuinfo(&cpuinfo),
        cores: u32::try_from(cores).unwrap_or(u32::MAX),
        memory_bytes,
        design_power,
    }
}
