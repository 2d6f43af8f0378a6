//! What the machine can do at best, measured beside what it does: rates of [`kernels::roofline`]'s loops.
//!
//! A rate is the best of its rounds, by two clocks. By processor time (which all threads were running, divided by
//! their number) neighbours on a shared machine count less; it is zero where the system has no such clock.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::{Duration, Instant};

use kernels::{Kernels, roofline};
use serde::Serialize;

/// Bytes that one round reads at least: a small buffer is read again and again.
const READ_BYTES_MIN: usize = 128 << 20;

/// Operations of a round: about ten milliseconds of two cores.
const INT8_OPERATIONS: u64 = 4_000_000_000;
/// The same for floats.
const F32_OPERATIONS: u64 = 2_000_000_000;

/// The best of some rounds, in units per second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Best {
    /// By the clock on the wall.
    pub wall: f64,
    /// By the time that the threads were running.
    pub processor: f64,
}

impl Best {
    /// Times `work`, which tells the units that it did; how long it took on the wall.
    pub fn time(&mut self, kernels: &Kernels, work: impl FnOnce() -> f64) -> Duration {
        let (start, used) = (Instant::now(), kernels.cpu_time());
        let units = work();
        let (wall, used) = (start.elapsed(), kernels.cpu_time().saturating_sub(used));
        self.wall = self.wall.max(per_second(units, wall));
        self.processor = self.processor.max(per_second(units * kernels.threads() as f64, used));
        wall
    }
}

fn per_second(units: f64, time: Duration) -> f64 {
    if time.is_zero() { 0.0 } else { units / time.as_secs_f64() }
}

/// The limits seen so far.
#[derive(Clone, Debug, Default)]
pub struct Limits {
    read: BTreeMap<usize, Best>,
    int8: Best,
    f32: Best,
}

/// Limits by the clock on the wall, as a report has them.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// Plain reading of a buffer as large as the model.
    pub read_bytes_per_second: f64,
    /// Multiplications and additions of int8.
    pub int8_operations_per_second: f64,
    /// Multiplications and additions of f32.
    pub f32_operations_per_second: f64,
}

impl Limits {
    /// One round of reading all of `bytes`.
    pub fn try_read(&mut self, kernels: &Kernels, bytes: &[u8]) {
        let passes = READ_BYTES_MIN.div_ceil(bytes.len().max(1));
        if passes > 1 {
            // What a cache can hold is to be found there.
            black_box(roofline::read(kernels, bytes, 1));
        }
        self.read.entry(bytes.len()).or_default().time(kernels, || {
            black_box(roofline::read(kernels, bytes, passes));
            (bytes.len() * passes) as f64
        });
    }

    /// One round of int8 arithmetic.
    pub fn try_int8(&mut self, kernels: &Kernels) {
        self.int8.time(kernels, || roofline::multiply_int8(kernels, INT8_OPERATIONS) as f64);
    }

    /// One round of f32 arithmetic.
    pub fn try_f32(&mut self, kernels: &Kernels) {
        self.f32.time(kernels, || roofline::multiply_f32(kernels, F32_OPERATIONS) as f64);
    }

    /// Bytes per second of reading a buffer of `bytes`; zero when there was no round.
    #[must_use]
    pub fn read(&self, bytes: usize) -> Best {
        self.read.get(&bytes).copied().unwrap_or_default()
    }

    /// Operations per second of int8.
    #[must_use]
    pub fn int8(&self) -> Best {
        self.int8
    }

    /// Operations per second of f32.
    #[must_use]
    pub fn f32(&self) -> Best {
        self.f32
    }

    /// The limits of a model of `bytes`.
    #[must_use]
    pub fn summary(&self, bytes: usize) -> Summary {
        Summary {
            read_bytes_per_second: self.read(bytes).wall,
            int8_operations_per_second: self.int8.wall,
            f32_operations_per_second: self.f32.wall,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use kernels::Isa;

    use super::*;

    #[test]
    fn a_limit_is_known_after_a_round() {
        let kernels = Kernels::new(NonZeroUsize::MIN, Isa::detect());
        let mut limits = Limits::default();
        assert_eq!(limits.read(1000), Best::default());
        limits.try_read(&kernels, &[1; 1000]);
        limits.try_int8(&kernels);
        limits.try_f32(&kernels);
        let summary = limits.summary(1000);
        assert!(summary.read_bytes_per_second > 0.0);
        assert!(summary.int8_operations_per_second > 0.0 && summary.f32_operations_per_second > 0.0);
        assert_eq!(limits.read(999), Best::default());
    }

    #[test]
    fn the_best_round_stays() {
        let kernels = Kernels::new(NonZeroUsize::MIN, Isa::Scalar);
        let mut best = Best { wall: f64::MAX, processor: f64::MAX };
        best.time(&kernels, || 1.0);
        assert_eq!(best, Best { wall: f64::MAX, processor: f64::MAX });
    }
}
