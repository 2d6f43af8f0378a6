//! Processor time of single threads, read from any other.
//!
//! Linux alone: elsewhere [`ThreadClock::elapsed`] is zero.

use std::time::Duration;

/// The processor-time clock of one thread.
#[derive(Clone, Copy)]
pub(crate) struct ThreadClock(i32);

#[cfg(target_os = "linux")]
mod system {
    use std::ffi::{c_int, c_long, c_ulong};

    /// `struct timespec` of 64-bit Linux.
    #[repr(C)]
    pub(super) struct Timespec {
        pub(super) seconds: c_long,
        pub(super) nanoseconds: c_long,
    }

    // SAFETY: the signatures are those of POSIX on 64-bit Linux; std links the C library.
    unsafe extern "C" {
        pub(super) safe fn pthread_self() -> c_ulong;
        pub(super) fn pthread_getcpuclockid(thread: c_ulong, clock: *mut c_int) -> c_int;
        pub(super) fn clock_gettime(clock: c_int, time: *mut Timespec) -> c_int;
    }
}

impl ThreadClock {
    /// The calling thread's.
    #[cfg(target_os = "linux")]
    pub(crate) fn of_this_thread() -> Self {
        let mut clock = 0;
        // SAFETY: the calling thread exists, and `clock` outlives the call.
        let failed = unsafe { system::pthread_getcpuclockid(system::pthread_self(), &raw mut clock) };
        Self(if failed == 0 { clock } else { -1 })
    }

    /// What its thread has used so far; zero once the thread is gone.
    #[cfg(target_os = "linux")]
    pub(crate) fn elapsed(self) -> Duration {
        let mut time = system::Timespec { seconds: 0, nanoseconds: 0 };
        // SAFETY: `time` outlives the call; an id that names no clock (any more) is an error, not undefined.
        if unsafe { system::clock_gettime(self.0, &raw mut time) } != 0 {
            return Duration::ZERO;
        }
        Duration::new(time.seconds.unsigned_abs(), u32::try_from(time.nanoseconds).unwrap_or(0))
    }

    /// The calling thread's.
    #[cfg(not(target_os = "linux"))]
    pub(crate) fn of_this_thread() -> Self {
        Self(0)
    }

    /// Unknown here.
    #[cfg(not(target_os = "linux"))]
    pub(crate) fn elapsed(self) -> Duration {
        Duration::ZERO
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::hint::black_box;

    use super::*;

    #[test]
    fn work_moves_the_clock() {
        let clock = ThreadClock::of_this_thread();
        let before = clock.elapsed();
        black_box((0..2_000_000u64).fold(0, |sum, x| black_box(sum ^ x)));
        assert!(clock.elapsed() > before);
    }
}
