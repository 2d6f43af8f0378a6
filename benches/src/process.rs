//! What a process holds: memory, descriptors, threads; and the processor time that it took.

use std::time::Duration;

use anyhow::Context as _;
use procfs::process::Process;

/// What this process holds at a moment.
#[derive(Clone, Copy, Debug)]
pub struct Held {
    /// Proportional set size in bytes: pages that are shared count in parts.
    pub pss_bytes: u64,
    /// Of these, bytes of no file: heap and stacks.
    pub anonymous_bytes: u64,
    /// Open descriptors, the one that counts them left out.
    pub descriptors: usize,
    /// Threads.
    pub threads: u64,
}

impl Held {
    /// What this process holds now.
    ///
    /// # Errors
    /// When `/proc` does not tell.
    pub fn now() -> anyhow::Result<Self> {
        Self::of(&Process::myself()?)
    }

    /// What the process with this id holds now.
    ///
    /// # Errors
    /// When `/proc` does not tell.
    pub fn of_child(id: u32) -> anyhow::Result<Self> {
        Self::of(&Process::new(id.try_into()?)?)
    }

    fn of(process: &Process) -> anyhow::Result<Self> {
        let rollup = process.smaps_rollup().context("smaps_rollup")?;
        let map = rollup.memory_map_rollup.iter().next().context("smaps_rollup is empty")?;
        let bytes = |field: &str| map.extension.map.get(field).copied().with_context(|| format!("no {field}"));
        Ok(Self {
            pss_bytes: bytes("Pss")?,
            anonymous_bytes: bytes("Anonymous")?,
            descriptors: process.fd_count()?.saturating_sub(1),
            threads: process.stat()?.num_threads.try_into()?,
        })
    }
}

/// Processor time that this process has taken.
///
/// # Errors
/// When `/proc` does not tell.
pub fn processor_time() -> anyhow::Result<Duration> {
    processor_time_of(std::process::id())
}

/// Processor time that the process with this id has taken.
///
/// # Errors
/// When `/proc` does not tell.
pub fn processor_time_of(id: u32) -> anyhow::Result<Duration> {
    let stat = Process::new(id.try_into()?)?.stat()?;
    Ok(Duration::from_secs_f64((stat.utime + stat.stime) as f64 / procfs::ticks_per_second() as f64))
}

#[cfg(test)]
mod tests {
    use super::Held;

    #[test]
    fn a_process_holds_something() {
        let held = Held::now().unwrap();
        assert!(held.pss_bytes > held.anonymous_bytes && held.anonymous_bytes > 0);
        assert!(held.descriptors > 0 && held.threads > 0);
    }
}
