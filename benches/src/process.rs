//! What a process holds: memory, descriptors, threads.

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
