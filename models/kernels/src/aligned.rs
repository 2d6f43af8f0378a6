//! Buffers whose first element begins a cache line, and slices that several threads fill at once.

use std::marker::PhantomData;
use std::ops::Range;

/// One cache line.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([u8; 64]);

/// A number for which every pattern of bits is a value.
///
/// # Safety
/// The type has no padding, no invalid bit pattern, no drop, and needs an alignment of at most 64.
pub(crate) unsafe trait Plain: Copy {}
// SAFETY: a primitive number.
unsafe impl Plain for f32 {}
// SAFETY: a primitive number.
unsafe impl Plain for i8 {}
// SAFETY: a primitive number.
unsafe impl Plain for u16 {}
// SAFETY: two primitive numbers without padding.
unsafe impl Plain for [i16; 2] {}

/// A zeroed buffer on a cache line's border that grows and never shrinks.
pub(crate) struct AlignedBuffer<T: Plain> {
    lines: Vec<Line>,
    len: usize,
    element: PhantomData<T>,
}

impl<T: Plain> AlignedBuffer<T> {
    pub(crate) const fn new() -> Self {
        Self { lines: Vec::new(), len: 0, element: PhantomData }
    }

    /// A buffer of `len` zeros.
    pub(crate) fn zeroed(len: usize) -> Self {
        let mut buffer = Self::new();
        buffer.set_len(len);
        buffer
    }

    /// Makes it `len` long; what it holds then is unspecified. Allocates only beyond the greatest length so far.
    pub(crate) fn set_len(&mut self, len: usize) {
        let bytes = len.checked_mul(size_of::<T>()).expect("a buffer fits the address space");
        let lines = bytes.div_ceil(size_of::<Line>());
        if lines > self.lines.len() {
            self.lines.resize(lines, Line([0; 64]));
        }
        self.len = len;
    }

    /// Bytes held, used or not.
    pub(crate) fn capacity_bytes(&self) -> usize {
        self.lines.len() * size_of::<Line>()
    }

    pub(crate) fn as_slice(&self) -> &[T] {
        // SAFETY: the lines hold at least `len` elements (`set_len`), all initialised, and `T` is plain.
        unsafe { std::slice::from_raw_parts(self.lines.as_ptr().cast(), self.len) }
    }

    pub(crate) fn as_mut_slice(&mut self) -> &mut [T] {
        // SAFETY: as `as_slice`, and borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), self.len) }
    }
}

/// A mutable slice handed to several threads, each of which writes its own parts.
pub(crate) struct Shared<'a, T> {
    start: *mut T,
    len: usize,
    slice: PhantomData<&'a mut [T]>,
}

// SAFETY: it is a mutable slice; the parts taken from it do not overlap (`part`'s contract).
unsafe impl<T: Send> Sync for Shared<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Send> Send for Shared<'_, T> {}

impl<'a, T> Shared<'a, T> {
    pub(crate) fn new(slice: &'a mut [T]) -> Self {
        Self { start: slice.as_mut_ptr(), len: slice.len(), slice: PhantomData }
    }

    /// The elements of `range`.
    ///
    /// # Safety
    /// No two parts in use at the same time overlap.
    #[allow(clippy::mut_from_ref, reason = "the parts are disjoint by contract")]
    pub(crate) unsafe fn part(&self, range: Range<usize>) -> &mut [T] {
        assert!(range.start <= range.end && range.end <= self.len, "a part within the slice");
        // SAFETY: within the slice (asserted), and not aliased (contract).
        unsafe { std::slice::from_raw_parts_mut(self.start.add(range.start), range.len()) }
    }

    /// Writes one element.
    ///
    /// # Safety
    /// No other thread reads or writes it at the same time.
    #[inline]
    pub(crate) unsafe fn write(&self, index: usize, value: T) {
        assert!(index < self.len, "an element within the slice");
        // SAFETY: within the slice (asserted), and not aliased (contract).
        unsafe { self.start.add(index).write(value) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_begin_a_line_and_keep_their_room() {
        let mut buffer = AlignedBuffer::<f32>::zeroed(33);
        assert!(buffer.as_slice().as_ptr().addr().is_multiple_of(64));
        assert!(buffer.as_slice().iter().all(|&x| x == 0.0) && buffer.as_slice().len() == 33);
        let held = buffer.capacity_bytes();
        buffer.set_len(1);
        assert_eq!((buffer.as_mut_slice().len(), buffer.capacity_bytes()), (1, held));
    }
}
