//! What the machine can do at best, on the threads and with the instructions of a [`Kernels`]: loops that do nothing
//! else than read, or than multiply and add in registers.
//!
//! Purpose: a kernel's speed means something beside the limit that was measured in the same minutes. What a call did
//! is returned in bytes' sums and operations; the caller holds the clock.
//!
//! Invariants: every byte is read, which the sum shows; a multiplication and an addition count as two operations; the
//! numbers are of middling size, so that neither zeros nor denormals flatter or slow a processor.
//!
//! Deliberately absent: any time; instructions that no kernel of this crate uses (AMX), so that the limit is of what
//! is there to be reached. On [`Isa::Scalar`] the loops are plain Rust, and show what the compiler makes of them.

use std::hint::black_box;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

#[cfg(target_arch = "x86_64")]
use crate::avx2::dots::{Dot, Vnni};
use crate::entry::Kernels;
use crate::isa::Isa;

/// Parts that each thread reads one after another, so that others can help a thread that was robbed of its core.
const PARTS_PER_THREAD: usize = 4;

/// Parts begin at multiples of this: a cache line for each of the streams that are read side by side.
const PART_STEP_BYTES: usize = 64 * STREAMS;

/// Places that a thread reads at in turn: one alone does not keep enough cache lines under way.
const STREAMS: usize = 4;

/// Sums that do not wait for each other: enough for the latency of a multiplication, few enough for 16 registers.
const CHAINS: usize = 12;

/// Claims per thread that the arithmetic is cut into.
const CLAIMS_PER_THREAD: usize = 8;

/// Reads all of `bytes` on all threads, `passes` times in one call; a thread keeps to its own part of them, so that
/// what fits its cache stays there. Returns the wrapping sum of the little-endian 64-bit words (the last one filled up
/// with zeros) over all passes.
#[must_use]
pub fn read(kernels: &Kernels, bytes: &[u8], passes: usize) -> u64 {
    let (threads, isa) = (kernels.threads(), kernels.isa());
    let parts = threads * PARTS_PER_THREAD;
    let part_bytes = bytes.len().div_ceil(parts).next_multiple_of(PART_STEP_BYTES);
    let total = AtomicU64::new(0);
    kernels.run(parts * passes, &|_, chunk| {
        let (thread, step) = (chunk / (PARTS_PER_THREAD * passes), chunk % PARTS_PER_THREAD);
        let start = ((thread * PARTS_PER_THREAD + step) * part_bytes).min(bytes.len());
        let part = &bytes[start..bytes.len().min(start + part_bytes)];
        total.fetch_add(sum_of_words(isa, part), Ordering::Relaxed);
    });
    total.into_inner()
}

/// Multiplies and adds int8 with 32-bit sums, as products of quantized weights do: at least `operations` of them, on
/// all threads. Returns how many were done.
pub fn multiply_int8(kernels: &Kernels, operations: u64) -> u64 {
    let isa = kernels.isa();
    let step_operations = match isa {
        Isa::Scalar | Isa::Avx2 | Isa::AvxVnni => 2 * 32 * CHAINS,
        Isa::Avx512 => 2 * 64 * CHAINS,
    };
    in_claims(kernels, operations, step_operations, &|steps| match isa {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: `Kernels::new` made sure of the instruction set.
        Isa::Avx512 => unsafe { avx512::int8(steps) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above.
        Isa::AvxVnni => unsafe { avx2::int8_by_fours::<Vnni>(steps) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above.
        Isa::Avx2 => unsafe { avx2::int8(steps) },
        _ => plain::int8(steps),
    })
}

/// Multiplies and adds f32 by fused instructions: at least `operations`, on all threads. Returns how many were done.
pub fn multiply_f32(kernels: &Kernels, operations: u64) -> u64 {
    let isa = kernels.isa();
    let step_operations = match isa {
        Isa::Scalar | Isa::Avx2 | Isa::AvxVnni => 2 * 8 * CHAINS,
        Isa::Avx512 => 2 * 16 * CHAINS,
    };
    in_claims(kernels, operations, step_operations, &|steps| match isa {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: `Kernels::new` made sure of the instruction set.
        Isa::Avx512 => unsafe { avx512::f32(steps) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above.
        Isa::Avx2 | Isa::AvxVnni => unsafe { avx2::f32(steps) },
        _ => plain::f32(steps),
    })
}

/// Runs `body` with a number of steps, on all threads, until `operations` are done; the number done in fact.
fn in_claims(kernels: &Kernels, operations: u64, step_operations: usize, body: &(dyn Fn(Range<u64>) + Sync)) -> u64 {
    let claims = kernels.threads() * CLAIMS_PER_THREAD;
    let claim_operations = claims as u64 * step_operations as u64;
    let steps = operations.div_ceil(claim_operations);
    kernels.run(claims, &|_, _| body(0..steps));
    steps * claim_operations
}

/// The wrapping sum of the 64-bit words of `bytes`.
fn sum_of_words(isa: Isa, bytes: &[u8]) -> u64 {
    let (steps, rest) = bytes.split_at(bytes.len() / PART_STEP_BYTES * PART_STEP_BYTES);
    let sum = match isa {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: `Kernels::new` made sure of the instruction set.
        Isa::Avx512 => unsafe { avx512::sum(steps) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above.
        Isa::Avx2 | Isa::AvxVnni => unsafe { avx2::sum(steps) },
        _ => plain::sum(steps),
    };
    sum.wrapping_add(plain::sum(rest))
}

mod plain {
    //! The loops in plain Rust.

    use super::*;

    pub(super) fn sum(bytes: &[u8]) -> u64 {
        let (words, rest) = bytes.as_chunks::<8>();
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        words.iter().chain([&last]).fold(0, |sum, word| sum.wrapping_add(u64::from_le_bytes(*word)))
    }

    pub(super) fn int8(steps: Range<u64>) {
        let mut sums = [[1i32; 32]; CHAINS];
        for _ in steps {
            let (a, b) = black_box(([3i8; 32], [5i8; 32]));
            for sum in sums.as_flattened_mut().chunks_exact_mut(32) {
                for (sum, (a, b)) in sum.iter_mut().zip(a.iter().zip(&b)) {
                    *sum = sum.wrapping_add(i32::from(*a) * i32::from(*b));
                }
            }
        }
        black_box(sums);
    }

    pub(super) fn f32(steps: Range<u64>) {
        let (factor, term) = black_box((0.5f32, 1.0f32));
        let mut sums = [[1.5f32; 8]; CHAINS];
        for _ in steps {
            sums.as_flattened_mut().iter_mut().for_each(|sum| *sum = *sum * factor + term);
        }
        black_box(sums);
    }
}

#[cfg(target_arch = "x86_64")]
mod avx2 {
    //! The loops with 256-bit registers.

    use std::arch::x86_64::*;

    use super::*;

    /// `bytes` are whole steps.
    #[target_feature(enable = "avx2,fma,f16c")]
    pub(super) fn sum(bytes: &[u8]) -> u64 {
        assert!(bytes.len().is_multiple_of(PART_STEP_BYTES), "whole steps");
        let mut sums = [_mm256_setzero_si256(); STREAMS];
        let stream = bytes.len() / STREAMS;
        for at in (0..stream).step_by(32) {
            for (i, sum) in sums.iter_mut().enumerate() {
                // SAFETY: 32 bytes within the i-th quarter.
                let word = unsafe { _mm256_loadu_si256(bytes.as_ptr().add(i * stream + at).cast()) };
                *sum = _mm256_add_epi64(*sum, word);
            }
        }
        let all = _mm256_add_epi64(_mm256_add_epi64(sums[0], sums[1]), _mm256_add_epi64(sums[2], sums[3]));
        let two = _mm_add_epi64(_mm256_castsi256_si128(all), _mm256_extracti128_si256::<1>(all));
        _mm_cvtsi128_si64(_mm_add_epi64(two, _mm_unpackhi_epi64(two, two))).cast_unsigned()
    }

    /// maddubs, madd, add: each sum is the signed operand of its next product, so that none can be moved out.
    #[target_feature(enable = "avx2,fma,f16c")]
    pub(super) fn int8(steps: Range<u64>) {
        let (ones, weights) = (_mm256_set1_epi16(1), black_box(_mm256_set1_epi8(3)));
        let mut sums = [black_box(_mm256_set1_epi8(5)); CHAINS];
        for _ in steps {
            for sum in &mut sums {
                *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(_mm256_maddubs_epi16(weights, *sum), ones));
            }
        }
        black_box(sums);
    }

    /// Four products a lane.
    ///
    /// # Safety
    /// The processor has the instructions of `D`.
    #[target_feature(enable = "avx2,fma,f16c")]
    pub(super) unsafe fn int8_by_fours<D: Dot>(steps: Range<u64>) {
        let (weights, values) = black_box((_mm256_set1_epi8(3), _mm256_set1_epi8(5)));
        let mut sums = [black_box(_mm256_set1_epi32(1)); CHAINS];
        for _ in steps {
            for sum in &mut sums {
                // SAFETY: by contract.
                *sum = unsafe { D::dot(*sum, weights, values) };
            }
        }
        black_box(sums);
    }

    #[target_feature(enable = "avx2,fma,f16c")]
    pub(super) fn f32(steps: Range<u64>) {
        let (factor, term) = black_box((_mm256_set1_ps(0.5), _mm256_set1_ps(1.0)));
        let mut sums = [black_box(_mm256_set1_ps(1.5)); CHAINS];
        for _ in steps {
            sums.iter_mut().for_each(|sum| *sum = _mm256_fmadd_ps(*sum, factor, term));
        }
        black_box(sums);
    }
}

#[cfg(target_arch = "x86_64")]
mod avx512 {
    //! The loops with 512-bit registers.

    use std::arch::x86_64::*;

    use super::*;

    /// `bytes` are whole steps.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    pub(super) fn sum(bytes: &[u8]) -> u64 {
        assert!(bytes.len().is_multiple_of(PART_STEP_BYTES), "whole steps");
        let mut sums = [_mm512_setzero_si512(); STREAMS];
        let stream = bytes.len() / STREAMS;
        for at in (0..stream).step_by(64) {
            for (i, sum) in sums.iter_mut().enumerate() {
                // SAFETY: 64 bytes within the i-th quarter.
                let word = unsafe { _mm512_loadu_si512(bytes.as_ptr().add(i * stream + at).cast()) };
                *sum = _mm512_add_epi64(*sum, word);
            }
        }
        let all = _mm512_add_epi64(_mm512_add_epi64(sums[0], sums[1]), _mm512_add_epi64(sums[2], sums[3]));
        _mm512_reduce_add_epi64(all).cast_unsigned()
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    pub(super) fn int8(steps: Range<u64>) {
        let (weights, values) = black_box((_mm512_set1_epi8(3), _mm512_set1_epi8(5)));
        let mut sums = [black_box(_mm512_set1_epi32(1)); CHAINS];
        for _ in steps {
            sums.iter_mut().for_each(|sum| *sum = _mm512_dpbusd_epi32(*sum, weights, values));
        }
        black_box(sums);
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    pub(super) fn f32(steps: Range<u64>) {
        let (factor, term) = black_box((_mm512_set1_ps(0.5), _mm512_set1_ps(1.0)));
        let mut sums = [black_box(_mm512_set1_ps(1.5)); CHAINS];
        for _ in steps {
            sums.iter_mut().for_each(|sum| *sum = _mm512_fmadd_ps(*sum, factor, term));
        }
        black_box(sums);
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use super::*;

    fn every_isa(threads: usize) -> impl Iterator<Item = Kernels> {
        let threads = NonZeroUsize::new(threads).unwrap();
        Isa::ALL.into_iter().filter(|isa| isa.is_available()).map(move |isa| Kernels::new(threads, isa))
    }

    #[test]
    fn every_byte_is_read_once_a_pass() {
        for kernels in (1..4).flat_map(every_isa) {
            for len in [0, 1, 7, 8, 255, 256, 257, 5000, 70_001] {
                let bytes: Vec<u8> = (0..len).map(|i| (i * 167 + i / 256) as u8).collect();
                for passes in [0, 1, 3] {
                    let expected = plain::sum(&bytes).wrapping_mul(passes as u64);
                    assert_eq!(read(&kernels, &bytes, passes), expected, "{len} bytes, {}", kernels.isa());
                }
            }
        }
    }

    #[test]
    fn at_least_the_operations_asked_for_are_done() {
        for kernels in (1..4).flat_map(every_isa) {
            for operations in [0, 1, 1_000_000] {
                assert!(multiply_int8(&kernels, operations) >= operations);
                assert!(multiply_f32(&kernels, operations) >= operations);
            }
            assert!(multiply_int8(&kernels, 1_000_000) < 1_100_000);
        }
    }
}
