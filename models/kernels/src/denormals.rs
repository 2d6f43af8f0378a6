//! Denormal numbers count as zero while the kernels compute: they cost a hundred cycles each and mean nothing here.
//!
//! Off x86-64 this does nothing.

#[cfg(target_arch = "x86_64")]
mod control {
    use std::arch::asm;

    /// MXCSR's flush-to-zero (results) and denormals-are-zero (operands).
    const FLUSH: u32 = 1 << 15 | 1 << 6;

    fn read() -> u32 {
        let mut word = 0u32;
        // SAFETY: stores MXCSR in a local; every x86-64 has SSE.
        unsafe { asm!("stmxcsr [{}]", in(reg) &raw mut word, options(nostack, preserves_flags)) };
        word
    }

    fn write(word: u32) {
        // SAFETY: loads MXCSR from a local whose reserved bits are those that were read; only rounding of denormals
        // changes, and no code of this crate rests on them.
        unsafe { asm!("ldmxcsr [{}]", in(reg) &raw const word, options(nostack, preserves_flags, readonly)) };
    }

    /// Flushes denormals on this thread until dropped.
    pub(crate) struct Flushed(u32);

    impl Flushed {
        pub(crate) fn new() -> Self {
            let before = read();
            if before & FLUSH != FLUSH {
                write(before | FLUSH);
            }
            Self(before)
        }
    }

    impl Drop for Flushed {
        fn drop(&mut self) {
            if self.0 & FLUSH != FLUSH {
                write(self.0);
            }
        }
    }
}

#[cfg(not(target_arch = "x86_64"))]
mod control {
    /// Nothing to change on this processor.
    pub(crate) struct Flushed;

    impl Flushed {
        pub(crate) fn new() -> Self {
            Self
        }
    }
}

pub(crate) use control::Flushed;

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use std::hint::black_box;

    use super::*;

    #[test]
    fn denormals_vanish_within_and_return_after() {
        let half = |x: f32| black_box(black_box(x) * black_box(0.5));
        assert!(half(f32::MIN_POSITIVE) > 0.0);
        {
            let _flushed = Flushed::new();
            assert_eq!(half(f32::MIN_POSITIVE), 0.0);
        }
        assert!(half(f32::MIN_POSITIVE) > 0.0);
    }
}
