//! Activations as int8 with one scale per 32: the same numbers, bit for bit, as the scalar twin.

use std::arch::x86_64::*;

use crate::activations::QuantizedColumn;
use crate::limits::QUANT_BLOCK;
use crate::scalar::quantize::MAGNITUDE_MIN;

/// Quantizes `x`, whose length is a multiple of 32.
///
/// # Safety
/// The processor has AVX-512 F, BW, VL and VNNI.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(crate) unsafe fn column(x: &[f32], out: &QuantizedColumn<'_>) {
    for (index, block) in x.chunks_exact(QUANT_BLOCK).enumerate() {
        // SAFETY: 32 floats.
        let v: [__m512; 2] = std::array::from_fn(|i| unsafe { _mm512_loadu_ps(block.as_ptr().add(16 * i)) });
        // By bits, the order of magnitudes holds for infinities and puts NaNs above them.
        let bits = v.map(|v| _mm512_and_si512(_mm512_castps_si512(v), _mm512_set1_epi32(i32::MAX)));
        let magnitude = _mm512_reduce_max_epi32(_mm512_max_epi32(bits[0], bits[1]));
        let magnitude = f32::from_bits(magnitude.cast_unsigned());
        let (scale, inverse) =
            if magnitude < MAGNITUDE_MIN { (0.0, 0.0) } else { (magnitude / 127.0, 127.0 / magnitude) };
        let inverse = _mm512_set1_ps(inverse);
        // Converts by the rounding mode, which is to nearest, ties to even.
        let [first, second] = v.map(|v| _mm512_cvtsepi32_epi8(_mm512_cvtps_epi32(_mm512_mul_ps(v, inverse))));
        let mut quants = [0i8; QUANT_BLOCK];
        // SAFETY: twice 16 bytes.
        unsafe {
            _mm_storeu_si128(quants.as_mut_ptr().cast(), first);
            _mm_storeu_si128(quants.as_mut_ptr().add(16).cast(), second);
        }
        out.store(index, &quants, scale, [sum(first), sum(second)]);
    }
}

/// The sum of sixteen bytes.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
#[inline]
fn sum(bytes: __m128i) -> i16 {
    let fours = _mm_dpbusd_epi32(_mm_setzero_si128(), _mm_set1_epi8(1), bytes);
    let two = _mm_add_epi32(fours, _mm_unpackhi_epi64(fours, fours));
    _mm_cvtsi128_si32(_mm_add_epi32(two, _mm_shuffle_epi32::<1>(two))) as i16
}
