//! The machine that figures were taken on.

use serde::Serialize;
use sysinfo::{CpuRefreshKind, MemoryRefreshKind, RefreshKind, System};

/// What a report says of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Machine {
    /// The processor's name for itself.
    pub processor: String,
    /// Processors that this process may use.
    pub cores: usize,
    /// Its memory.
    pub memory_bytes: u64,
}

impl Machine {
    /// This one.
    ///
    /// # Errors
    /// When the system does not tell.
    pub fn this() -> anyhow::Result<Self> {
        let what = RefreshKind::nothing()
            .with_cpu(CpuRefreshKind::nothing())
            .with_memory(MemoryRefreshKind::nothing().with_ram());
        let system = System::new_with_specifics(what)?;
        let processor = system.cpus().first().map(|cpu| cpu.brand().trim()).filter(|brand| !brand.is_empty());
        Ok(Self {
            processor: processor.unwrap_or(std::env::consts::ARCH).to_owned(),
            cores: std::thread::available_parallelism()?.get(),
            memory_bytes: system.total_memory(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_a_name_and_memory() {
        let machine = Machine::this().unwrap();
        assert!(!machine.processor.is_empty() && machine.cores > 0 && machine.memory_bytes > 0, "{machine:?}");
    }
}
