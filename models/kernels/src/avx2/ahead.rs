//! Asking for weights before they are read.

use std::arch::x86_64::*;

use crate::limits::NEAR_GROUP_BYTES_MAX;

/// The bytes that follow a group of rows, asked for while the group is computed: the hardware's own prefetcher would stop
/// at every page, and sees as many streams as rows where memory has one. Groups that would fill the nearest cache go to
/// the second.
#[derive(Clone, Copy)]
pub(super) struct Ahead {
    next: *const u8,
    near: bool,
}

impl Ahead {
    /// What follows a group of `bytes` that ends at `end`.
    #[inline(always)]
    pub(super) fn of_group(end: *const u8, bytes: usize) -> Self {
        Self { next: end, near: bytes <= NEAR_GROUP_BYTES_MAX }
    }

    /// Asks for the next `bytes`. Prefetching never faults.
    #[inline(always)]
    pub(super) fn advance(&mut self, bytes: usize) {
        for offset in (0..bytes).step_by(64) {
            let at = self.next.wrapping_add(offset).cast();
            // SAFETY: a hint, whatever the address; every x86-64 processor has the instruction.
            unsafe { if self.near { _mm_prefetch::<_MM_HINT_T0>(at) } else { _mm_prefetch::<_MM_HINT_T1>(at) } }
        }
        self.next = self.next.wrapping_add(bytes);
    }
}
