//! What this machine, or the container around this process, has: memory and processors.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use serde::Serialize;

/// Of the memory there is, what models may take by default: the rest is the system's and this process' own.
const BUDGET_PERCENT: u64 = 80;
/// Version 1 of control groups writes a number of this size where there is no limit.
const NO_LIMIT_BYTES: u64 = 1 << 62;
/// The default budget where the memory cannot be told.
const BUDGET_BYTES_UNKNOWN: u64 = 1 << 30;

/// What there is, and what the system lets this process have of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Bounds {
    /// Memory of the host; `None` if it cannot be told.
    pub(crate) host_memory_bytes: Option<u64>,
    /// Of it, what the control group may have; `None` without a limit.
    pub(crate) group_memory_bytes_max: Option<u64>,
    /// Processors that the scheduler may put this process on.
    pub(crate) usable_processors: NonZeroUsize,
    /// Processors whose time the control group may use; `None` without a quota.
    pub(crate) group_processors_max: Option<NonZeroUsize>,
}

impl Bounds {
    /// Asks the system.
    pub(crate) fn detect() -> Self {
        let membership = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let group = ControlGroup::of(Path::new("/sys/fs/cgroup"), &membership);
        Self {
            host_memory_bytes: host_memory_bytes(),
            group_memory_bytes_max: group.memory_bytes_max(),
            usable_processors: usable_processors(),
            group_processors_max: group.processors_max(),
        }
    }
}

/// The bounds of this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Machine {
    /// Memory of the host, or of the control group if that is less; 0 if it cannot be told.
    pub(super) memory_bytes: u64,
    /// Processors that this process may use at the same time.
    pub(super) threads: NonZeroUsize,
}

impl Machine {
    /// Asks the system.
    pub(super) fn detect() -> Self {
        let bounds = Bounds::detect();
        let host_bytes = bounds.host_memory_bytes.unwrap_or(0);
        let limit = bounds.group_memory_bytes_max.unwrap_or(host_bytes);
        let memory_bytes = if host_bytes == 0 { limit } else { limit.min(host_bytes) };
        let allowed = bounds.usable_processors;
        let threads = bounds.group_processors_max.map_or(allowed, |quota| quota.min(allowed));
        Self { memory_bytes, threads }
    }

    /// The budget: what was asked for, but no more than there is; by default a share of what there is.
    pub(super) fn budget_bytes(&self, asked: Option<u64>) -> u64 {
        const MIB: u64 = 1 << 20;
        match asked {
            Some(asked) if self.memory_bytes > 0 => asked.min(self.memory_bytes),
            Some(asked) => asked,
            None if self.memory_bytes == 0 => BUDGET_BYTES_UNKNOWN,
            None => self.memory_bytes.saturating_mul(BUDGET_PERCENT) / 100 / MIB * MIB,
        }
    }

    /// The same beside `beside_bytes` of this memory that are others'.
    pub(super) fn budget_beside(&self, asked: Option<u64>, beside_bytes: u64) -> u64 {
        let budget_bytes = self.budget_bytes(asked);
        match asked {
            _ if beside_bytes == 0 || self.memory_bytes == 0 => budget_bytes,
            Some(_) => budget_bytes.min(self.memory_bytes.saturating_sub(beside_bytes)),
            None => budget_bytes.saturating_sub(beside_bytes),
        }
    }
}

fn host_memory_bytes() -> Option<u64> {
    let mut system = sysinfo::System::new().ok()?;
    system.refresh_memory();
    Some(system.total_memory()).filter(|bytes| *bytes > 0)
}

/// Processors that the scheduler may put this process on.
fn usable_processors() -> NonZeroUsize {
    let affinity = rustix::thread::sched_getaffinity(None).ok();
    let count = affinity.and_then(|set| NonZeroUsize::new(usize::try_from(set.count()).ok()?));
    count.or_else(|| std::thread::available_parallelism().ok()).unwrap_or(NonZeroUsize::MIN)
}

/// The control groups that this process is in, innermost first, each a folder.
///
/// Source: the kernel's admin-guide/cgroup-v2 and cgroup-v1/memory, scheduler/sched-bwc.
struct ControlGroup {
    unified: Vec<PathBuf>,
    memory: Vec<PathBuf>,
    cpu: Vec<PathBuf>,
}

impl ControlGroup {
    /// `membership` is what `/proc/self/cgroup` says: lines `id:controllers:path`.
    fn of(root: &Path, membership: &str) -> Self {
        let (mut unified, mut memory, mut cpu) = (Vec::new(), Vec::new(), Vec::new());
        for line in membership.lines() {
            let mut fields = line.splitn(3, ':');
            let (Some(_), Some(controllers), Some(path)) = (fields.next(), fields.next(), fields.next()) else {
                continue;
            };
            if controllers.is_empty() {
                unified = chain(root, path);
            }
            for controller in controllers.split(',') {
                match controller {
                    "memory" => memory = chain(&root.join("memory"), path),
                    "cpu" => cpu = chain(&root.join("cpu"), path),
                    _ => {}
                }
            }
        }
        Self { unified, memory, cpu }
    }

    /// The least limit on the way to the root.
    fn memory_bytes_max(&self) -> Option<u64> {
        let limit = |path: PathBuf| std::fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
        let unified = self.unified.iter().filter_map(|folder| limit(folder.join("memory.max")));
        let v1 = self.memory.iter().filter_map(|folder| limit(folder.join("memory.limit_in_bytes")));
        unified.chain(v1).filter(|bytes| *bytes < NO_LIMIT_BYTES).min()
    }

    /// The least quota on the way to the root, rounded up to whole processors.
    fn processors_max(&self) -> Option<NonZeroUsize> {
        let number = |text: &str| text.trim().parse::<u64>().ok();
        let unified = self.unified.iter().filter_map(|folder| {
            let text = std::fs::read_to_string(folder.join("cpu.max")).ok()?;
            let (quota, period) = text.trim().split_once(' ')?;
            Some((number(quota)?, number(period)?))
        });
        let v1 = self.cpu.iter().filter_map(|folder| {
            let read = |name: &str| number(&std::fs::read_to_string(folder.join(name)).ok()?);
            Some((read("cpu.cfs_quota_us")?, read("cpu.cfs_period_us")?))
        });
        let processors = unified.chain(v1).filter(|(_, period)| *period > 0);
        let least = processors.map(|(quota, period)| quota.div_ceil(period)).min()?;
        usize::try_from(least).ok().and_then(|least| NonZeroUsize::new(least.max(1)))
    }
}

/// The folder of `path` and all above it, as far as `root`. Inside a container the path may be of the host, and then only
/// the root is there.
fn chain(root: &Path, path: &str) -> Vec<PathBuf> {
    let inner = path.trim_start_matches('/');
    let mut folders: Vec<PathBuf> =
        Path::new(inner).ancestors().filter(|part| !part.as_os_str().is_empty()).map(|part| root.join(part)).collect();
    folders.push(root.to_owned());
    folders
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_innermost_and_outer_limits_of_both_versions_count() {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        write("memory.max", "9000000000\n");
        write("a/memory.max", "4000000000\n");
        write("a/b/memory.max", "max\n");
        write("a/b/cpu.max", "150000 100000\n");
        write("a/cpu.max", "max 100000\n");
        let group = ControlGroup::of(root.path(), "0::/a/b\n");
        assert_eq!(group.memory_bytes_max(), Some(4_000_000_000));
        assert_eq!(group.processors_max(), NonZeroUsize::new(2));

        write("memory/job/memory.limit_in_bytes", "123456\n");
        write("memory/job/inner/memory.limit_in_bytes", "9223372036854771712\n");
        write("cpu/job/cpu.cfs_quota_us", "-1\n");
        write("cpu/job/cpu.cfs_period_us", "100000\n");
        let group = ControlGroup::of(root.path(), "7:memory:/job\n5:cpu,cpuacct:/job\n");
        assert_eq!(group.memory_bytes_max(), Some(123_456));
        write("memory/free/memory.limit_in_bytes", "9223372036854771712\n");
        assert_eq!(ControlGroup::of(root.path(), "7:memory:/free\n").memory_bytes_max(), None);
        assert_eq!(group.processors_max(), None);
    }

    #[test]
    fn the_budget_is_never_more_than_there_is() {
        let machine = Machine { memory_bytes: 10 << 30, threads: NonZeroUsize::MIN };
        assert_eq!(machine.budget_bytes(None), 8 << 30);
        assert_eq!(machine.budget_bytes(Some(700 << 20)), 700 << 20);
        assert_eq!(machine.budget_bytes(Some(11 << 30)), 10 << 30);
        assert_eq!(machine.budget_beside(None, 1 << 30), 7 << 30);
        assert_eq!(machine.budget_beside(Some(9 << 30), 2 << 30), 8 << 30);
        assert_eq!(machine.budget_beside(Some(9 << 30), 11 << 30), 0);
        let unknown = Machine { memory_bytes: 0, ..machine };
        assert_eq!(unknown.budget_bytes(None), BUDGET_BYTES_UNKNOWN);
        assert_eq!(unknown.budget_bytes(Some(1 << 30)), 1 << 30);
    }
}
