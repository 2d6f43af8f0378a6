//! Small moves between lanes, shared by the kernels.

use std::arch::x86_64::*;

/// Rows that one kernel holds in registers at a time.
pub(super) const ROWS: usize = 16;

/// The same place in sixteen rows, a fixed number of bytes apart.
#[derive(Clone, Copy)]
pub(super) struct SixteenRows {
    /// Rows 0, 4, 8 and 12: the others are at most three strides from one of them, which an address can say by itself.
    quarters: [*const u8; 4],
    stride: usize,
}

impl SixteenRows {
    /// The rows from `first` on, `stride` bytes apart.
    #[inline(always)]
    pub(super) fn new(first: *const u8, stride: usize) -> Self {
        let quarter = |number: usize| first.wrapping_add(4 * number * stride);
        Self { quarters: [quarter(0), quarter(1), quarter(2), quarter(3)], stride }
    }

    /// The address `offset` bytes further in `row`.
    #[inline(always)]
    fn at(self, row: usize, offset: usize) -> *const u8 {
        self.quarters[row / 4].wrapping_add(row % 4 * self.stride).wrapping_add(offset)
    }

    /// The address in the first row.
    #[inline(always)]
    pub(super) fn first(self) -> *const u8 {
        self.quarters[0]
    }

    /// What follows the rows, where they follow each other.
    #[inline(always)]
    pub(super) fn end(self) -> *const u8 {
        self.quarters[3].wrapping_add(4 * self.stride)
    }

    /// Bytes from the first row to the end.
    #[inline(always)]
    pub(super) fn bytes(self) -> usize {
        ROWS * self.stride
    }

    /// The place `bytes` further in all rows.
    #[inline(always)]
    pub(super) fn right(self, bytes: usize) -> Self {
        Self { quarters: self.quarters.map(|row| opaque(row.wrapping_add(bytes))), ..self }
    }
}

/// The same pointer, of which the compiler knows nothing: it would carry sixteen along, and most of them on the stack.
#[inline(always)]
#[allow(clippy::pointers_in_nomem_asm_block, reason = "nothing is read through it there")]
fn opaque(mut pointer: *const u8) -> *const u8 {
    // SAFETY: no instruction at all; the register keeps its value.
    unsafe { std::arch::asm!("/* {0} */", inout(reg) pointer, options(pure, nomem, nostack, preserves_flags)) };
    pointer
}

/// 16 bytes of each row, as four vectors of which the i-th holds those of rows i, i + 4, i + 8 and i + 12.
///
/// # Safety
/// 16 bytes are readable at `offset` of every row.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
#[inline]
unsafe fn quartered(rows: SixteenRows, offset: usize) -> [__m512i; 4] {
    // SAFETY: readable by contract.
    let sixteen = |row: usize| unsafe { _mm_loadu_si128(rows.at(row, offset).cast()) };
    let four = |row: usize| {
        let v = _mm512_castsi128_si512(sixteen(row));
        let v = _mm512_inserti32x4::<1>(v, sixteen(row + 4));
        let v = _mm512_inserti32x4::<2>(v, sixteen(row + 8));
        _mm512_inserti32x4::<3>(v, sixteen(row + 12))
    };
    [four(0), four(1), four(2), four(3)]
}

/// 16 bytes of each row, as four vectors of which the i-th holds the i-th 32 bits of rows 0 to 15, in order.
///
/// # Safety
/// 16 bytes are readable at `offset` of every row.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
#[inline]
pub(super) unsafe fn transposed(rows: SixteenRows, offset: usize) -> [__m512i; 4] {
    // SAFETY: readable by contract.
    let [a, b, c, d] = unsafe { quartered(rows, offset) };
    let (ab_low, ab_high) = (_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
    let (cd_low, cd_high) = (_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
    [
        _mm512_unpacklo_epi64(ab_low, cd_low),
        _mm512_unpackhi_epi64(ab_low, cd_low),
        _mm512_unpacklo_epi64(ab_high, cd_high),
        _mm512_unpackhi_epi64(ab_high, cd_high),
    ]
}

/// 32 bytes of each row, as `load` reads them from an address: eight vectors of which the i-th holds the i-th 32 bits of
/// rows 0 to 15, in order.
///
/// # Safety
/// `load` may read at `offset` of every row.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
#[inline]
unsafe fn transposed_by(rows: SixteenRows, offset: usize, load: impl Fn(*const u8) -> __m256i) -> [__m512i; 8] {
    let two = |row: usize| {
        let v = _mm512_castsi256_si512(load(rows.at(row, offset)));
        _mm512_inserti64x4::<1>(v, load(rows.at(row + 4, offset)))
    };
    // Dwords i and i + 4 of four rows, and of the next four.
    let eight_rows = |first: usize| {
        let (a, b, c, d) = (two(first), two(first + 1), two(first + 2), two(first + 3));
        let (ab_low, ab_high) = (_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
        let (cd_low, cd_high) = (_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
        [
            _mm512_unpacklo_epi64(ab_low, cd_low),
            _mm512_unpackhi_epi64(ab_low, cd_low),
            _mm512_unpacklo_epi64(ab_high, cd_high),
            _mm512_unpackhi_epi64(ab_high, cd_high),
        ]
    };
    let (first, second) = (eight_rows(0), eight_rows(8));
    let low = |i: usize| _mm512_shuffle_i32x4::<0b10_00_10_00>(first[i], second[i]);
    let high = |i: usize| _mm512_shuffle_i32x4::<0b11_01_11_01>(first[i], second[i]);
    [low(0), low(1), low(2), low(3), high(0), high(1), high(2), high(3)]
}

/// 32 bytes of each row, as eight vectors of which the i-th holds the i-th 32 bits of rows 0 to 15, in order.
///
/// # Safety
/// 32 bytes are readable at `offset` of every row.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
#[inline]
pub(super) unsafe fn transposed_32(rows: SixteenRows, offset: usize) -> [__m512i; 8] {
    // SAFETY: readable by contract.
    unsafe { transposed_by(rows, offset, |at| _mm256_loadu_si256(at.cast())) }
}

/// The same of blocks of `BYTES`, an even number up to 32 − `BEFORE`, that begin `BEFORE` bytes after the first: what
/// stands before and after is zero, and not read.
///
/// # Safety
/// A block is readable at every row.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
#[inline]
pub(super) unsafe fn transposed_block<const BYTES: usize, const BEFORE: usize>(rows: SixteenRows) -> [__m512i; 8] {
    const { assert!(BYTES.is_multiple_of(2) && BEFORE.is_multiple_of(2) && BYTES + BEFORE <= 32, "sixteen words") };
    let words = (((1_u32 << (BYTES / 2)) - 1) << (BEFORE / 2)) as u16;
    // SAFETY: readable by contract; words that the mask leaves out are not read.
    let load = |at: *const u8| unsafe { _mm256_maskz_loadu_epi16(words, at.wrapping_sub(BEFORE).cast()) };
    // SAFETY: as above.
    unsafe { transposed_by(rows, 0, load) }
}

/// The 32 bits at `offset` of each row.
///
/// # Safety
/// 16 bytes are readable at `offset` of every row.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
#[inline]
pub(super) unsafe fn first_dwords(rows: SixteenRows, offset: usize) -> __m512i {
    // SAFETY: readable by contract.
    let [a, b, c, d] = unsafe { quartered(rows, offset) };
    _mm512_unpacklo_epi64(_mm512_unpacklo_epi32(a, b), _mm512_unpacklo_epi32(c, d))
}

/// The last 32 of the 128 bits before `end` of each row.
///
/// # Safety
/// 16 bytes are readable before `end` of every row.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
#[inline]
pub(super) unsafe fn last_dwords(rows: SixteenRows, end: usize) -> __m512i {
    // SAFETY: readable by contract.
    let [a, b, c, d] = unsafe { quartered(rows, end - 16) };
    _mm512_unpackhi_epi64(_mm512_unpackhi_epi32(a, b), _mm512_unpackhi_epi32(c, d))
}

/// Each lane's low half, as a float.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
#[inline]
pub(super) fn low_halves(pairs: __m512i) -> __m512 {
    _mm512_cvtph_ps(_mm512_cvtepi32_epi16(pairs))
}

/// Each lane's high half, as a float.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
#[inline]
pub(super) fn high_halves(pairs: __m512i) -> __m512 {
    low_halves(_mm512_srli_epi32::<16>(pairs))
}

/// `other` | (`value` & `mask`).
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
#[inline]
pub(super) fn or_masked(other: __m512i, value: __m512i, mask: __m512i) -> __m512i {
    // A | (B & C), by the truth table.
    _mm512_ternarylogic_epi32::<0xf8>(other, value, mask)
}

/// The low four bits of each byte.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
#[inline]
pub(super) fn low_nibbles(v: __m512i) -> __m512i {
    _mm512_and_si512(v, _mm512_set1_epi8(15))
}

/// The high four bits of each byte.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
#[inline]
pub(super) fn high_nibbles(v: __m512i) -> __m512i {
    low_nibbles(_mm512_srli_epi16::<4>(v))
}

/// Byte `byte` of each lane, as an unsigned number.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
#[inline]
pub(super) fn unsigned_byte(v: __m512i, byte: usize) -> __m512i {
    _mm512_and_si512(_mm512_srlv_epi32(v, _mm512_set1_epi32(8 * byte as i32)), _mm512_set1_epi32(255))
}

/// Byte `byte` of each lane, as a signed number.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
#[inline]
pub(super) fn signed_byte(v: __m512i, byte: usize) -> __m512i {
    _mm512_srai_epi32::<24>(_mm512_sllv_epi32(v, _mm512_set1_epi32(24 - 8 * byte as i32)))
}
