//! Events opened by the kernel.

use std::io;

use perf_event::events::Dynamic;
use perf_event::{Builder, Counter};

use super::{Count, SensorError};

/// Opens the event of that name on that processor; the machine's own, wherever its files were found.
pub(in crate::sensor) fn open(name: &str, cpu: usize) -> Result<Box<dyn Count>, SensorError> {
    let failed = |source: io::Error| {
        let place = format!("the event {name} on cpu {cpu}");
        match source.kind() {
            io::ErrorKind::PermissionDenied => SensorError::Denied {
                place,
                remedy: "it takes CAP_PERFMON, or kernel.perf_event_paranoid of 0 or less",
                source,
            },
            _ => SensorError::Unreadable { place, source },
        }
    };
    let mut described = Dynamic::builder("power").map_err(failed)?;
    let described = described.event(name).map_err(failed)?.build().map_err(|error| failed(io::Error::other(error)))?;
    // A socket's energy cannot be told apart by what ran on it: nothing may be excluded.
    let mut builder = Builder::new(described);
    builder.any_pid().one_cpu(cpu).include_kernel().include_hv();
    let mut counter = builder.build().map_err(failed)?;
    counter.enable().map_err(failed)?;
    Ok(Box::new(counter))
}

impl Count for Counter {
    fn count(&mut self) -> io::Result<u64> {
        self.read()
    }
}
