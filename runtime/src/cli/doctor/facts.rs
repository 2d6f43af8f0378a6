//! What the machine has, and what the system lets this process have of it.

use std::num::NonZeroUsize;

use kernels::Isa;
use meter::Host;
use rustix::process::{Resource, getrlimit};
use serde::Serialize;

use super::size;
use crate::config::{Bounds, Config, bytes_text};

/// What `doctor` tells beside energy. What cannot be known is `None`.
#[derive(Debug, Serialize)]
pub(super) struct Facts {
    /// As cpuid spells it.
    processor_vendor: String,
    /// Whose published power the model takes.
    processor_power_model: &'static str,
    /// Threads that all processors run at a time.
    host_threads: u32,
    /// Instructions of the kernels, the best last, and which are used.
    isa_available: Vec<String>,
    isa: String,
    /// Threads that compute.
    threads: NonZeroUsize,
    #[serde(flatten)]
    bounds: Bounds,
    /// What models may take.
    memory_budget_bytes: u64,
    /// What the system could give without swapping, and what it has cached of files: models' files among them.
    pub(super) memory_available_bytes: Option<u64>,
    page_cache_bytes: Option<u64>,
    /// When memory becomes huge pages: `always`, `madvise` or `never`. Those of files are asked for by the mappings.
    transparent_huge_pages: Option<String>,
    /// Huge pages that were set aside, which this runtime does not use, and their size.
    reserved_huge_pages: Option<u64>,
    huge_page_bytes: Option<u64>,
    /// Of memory and of its map.
    page_bytes: usize,
    /// Files and connections that may be open at once (`RLIMIT_NOFILE`); none without a limit.
    pub(super) descriptors_max: Option<u64>,
    /// What this build can have beside the processor's kernels, of what it could have been given.
    features: Vec<&'static str>,
    /// What `lock = true` may lock: `RLIMIT_MEMLOCK`, and whether there is none.
    pub(super) memlock_bytes: Option<u64>,
    memlock_is_unlimited: bool,
}

impl Facts {
    /// Reads a few short files of the system.
    pub(super) fn look(config: &Config, host: &Host) -> Self {
        let meminfo = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let kib = |name| meminfo_value(&meminfo, name).map(|kib| kib.saturating_mul(1024));
        let huge = std::fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled").ok();
        let memlock = getrlimit(Resource::Memlock).current;
        let available = Isa::ALL.into_iter().filter(|isa| isa.is_available());
        Self {
            processor_vendor: host.cpu.vendor.clone(),
            processor_power_model: host.cpu.wall_power().generation,
            host_threads: host.cores,
            isa_available: available.map(|isa| isa.to_string()).collect(),
            isa: config.isa.to_string(),
            threads: config.threads,
            bounds: Bounds::detect(),
            memory_budget_bytes: config.devices[0].memory_bytes,
            memory_available_bytes: kib("MemAvailable"),
            page_cache_bytes: kib("Cached"),
            transparent_huge_pages: huge.as_deref().and_then(chosen).map(str::to_owned),
            reserved_huge_pages: meminfo_value(&meminfo, "HugePages_Total"),
            huge_page_bytes: kib("Hugepagesize"),
            page_bytes: rustix::param::page_size(),
            descriptors_max: getrlimit(Resource::Nofile).current,
            features: features(),
            memlock_bytes: memlock,
            memlock_is_unlimited: memlock.is_none(),
        }
    }

    /// For people.
    pub(super) fn rows(&self) -> Vec<Vec<String>> {
        let Bounds { host_memory_bytes, group_memory_bytes_max, usable_processors, group_processors_max } = self.bounds;
        let unlimited = "no limit";
        let processors = group_processors_max.map_or_else(|| unlimited.to_owned(), |count| count.to_string());
        let vendor = if self.processor_vendor.is_empty() { "unknown" } else { &self.processor_vendor };
        let huge = self.transparent_huge_pages.as_deref().unwrap_or("unknown");
        let reserved = self.reserved_huge_pages.unwrap_or(0);
        let rows = [
            ("processor", format!("{vendor}, power as {}", self.processor_power_model)),
            ("its threads", self.host_threads.to_string()),
            ("usable by this process", usable_processors.to_string()),
            ("control group's quota", processors),
            ("threads that compute", self.threads.to_string()),
            ("instructions", format!("{} (of {})", self.isa, self.isa_available.join(", "))),
            ("memory", size(host_memory_bytes, "unknown")),
            ("control group's limit", size(group_memory_bytes_max, unlimited)),
            ("models may take", bytes_text(self.memory_budget_bytes).to_string()),
            ("available now", size(self.memory_available_bytes, "unknown")),
            ("page cache", size(self.page_cache_bytes, "unknown")),
            ("transparent huge pages", huge.to_owned()),
            ("reserved huge pages", format!("{reserved} of {}", size(self.huge_page_bytes, "unknown size"))),
            ("pages", bytes_text(self.page_bytes as u64).to_string()),
            ("memory that may be locked", size(self.memlock_bytes, unlimited)),
            ("descriptors", self.descriptors_max.map_or_else(|| unlimited.to_owned(), |count| count.to_string())),
            ("built with", if self.features.is_empty() { "no features".into() } else { self.features.join(", ") }),
        ];
        rows.into_iter().map(|(name, value)| vec![name.to_owned(), value]).collect()
    }
}

/// The features that this build has.
fn features() -> Vec<&'static str> {
    let all = [
        ("cuda", cfg!(feature = "cuda")),
        ("metal", cfg!(feature = "metal")),
        ("nvml", cfg!(feature = "nvml")),
        ("perf", cfg!(feature = "perf")),
    ];
    all.into_iter().filter(|(_, is_there)| *is_there).map(|(name, _)| name).collect()
}

/// The figure in the line `NAME:   FIGURE kB`.
fn meminfo_value(meminfo: &str, name: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

/// The word in brackets.
fn chosen(words: &str) -> Option<&str> {
    words.split_ascii_whitespace().find_map(|word| word.strip_prefix('[')?.strip_suffix(']'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_writes_is_read() {
        let meminfo =
            "MemTotal:       24672724 kB\nCached:          1234 kB\nSwapCached:       5 kB\nHugePages_Total:   3\n";
        assert_eq!(meminfo_value(meminfo, "Cached"), Some(1234));
        assert_eq!(meminfo_value(meminfo, "HugePages_Total"), Some(3));
        assert_eq!(meminfo_value(meminfo, "Mem"), None);
        assert_eq!(meminfo_value("Cached: much\n", "Cached"), None);
        assert_eq!((chosen("always [madvise] never\n"), chosen("always")), (Some("madvise"), None));
    }
}
