//! What machine this is: its processors, and the memory that shares their power at rest.
//!
//! All of the machine's processors count, whatever this process may use of them: what is drawn at rest is shared by
//! everything on it.

use std::path::Path;
use std::time::Duration;

use meter::{CpuDescription, Host, Microwatts, Nanos};
use rustix::time::{ClockId, clock_gettime};

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

/// Processor time of this process since it started.
pub(crate) fn process_cpu_time() -> Nanos {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or(0)).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_works_on_a_machine() {
        assert!(process_cpu_time() > Nanos::ZERO);
        let host = host(Path::new("/"), None);
        assert!(host.cores > 0 && host.memory_bytes > 0, "{host:?}");
    }
}
