//! Activations as int8 with one scale per 32: the same numbers, bit for bit, as the scalar twin.

use std::arch::x86_64::*;

use crate::activations::QuantizedColumn;
use crate::limits::QUANT_BLOCK;
use crate::scalar::quantize::MAGNITUDE_MIN;

/// Quantizes `x`, whose length is a multiple of 32.
///
/// # Safety
/// The processor has AVX2, FMA and F16C.
#[target_feature(enable = "avx2,fma,f16c")]
pub(crate) unsafe fn column(x: &[f32], out: &QuantizedColumn<'_>) {
    for (index, block) in x.chunks_exact(QUANT_BLOCK).enumerate() {
        // SAFETY: 32 floats.
        let v: [__m256; 4] = std::array::from_fn(|i| unsafe { _mm256_loadu_ps(block.as_ptr().add(8 * i)) });
        let magnitude = greatest_magnitude(v);
        let (scale, inverse) =
            if magnitude < MAGNITUDE_MIN { (0.0, 0.0) } else { (magnitude / 127.0, 127.0 / magnitude) };
        let inverse = _mm256_set1_ps(inverse);
        // Converts by the rounding mode, which is to nearest, ties to even.
        let [a, b, c, d] = v.map(|v| _mm256_cvtps_epi32(_mm256_mul_ps(v, inverse)));
        let words = _mm256_packs_epi32(a, b);
        let bytes = _mm256_packs_epi16(words, _mm256_packs_epi32(c, d));
        let bytes = _mm256_permutevar8x32_epi32(bytes, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
        let mut quants = [0i8; QUANT_BLOCK];
        // SAFETY: 32 bytes.
        unsafe { _mm256_storeu_si256(quants.as_mut_ptr().cast(), bytes) };
        let fours = _mm256_maddubs_epi16(_mm256_set1_epi8(1), bytes);
        let eights = _mm256_madd_epi16(fours, _mm256_set1_epi16(1));
        let half = |v: __m128i| {
            let two = _mm_add_epi32(v, _mm_unpackhi_epi64(v, v));
            _mm_cvtsi128_si32(_mm_add_epi32(two, _mm_shuffle_epi32::<1>(two))) as i16
        };
        let half_sums = [half(_mm256_castsi256_si128(eights)), half(_mm256_extracti128_si256::<1>(eights))];
        out.store(index, &quants, scale, half_sums);
    }
}

/// The greatest magnitude; infinite or NaN where there is one.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
fn greatest_magnitude(v: [__m256; 4]) -> f32 {
    // By bits, the order of magnitudes holds for infinities and puts NaNs above them.
    let bits = v.map(|v| _mm256_and_si256(_mm256_castps_si256(v), _mm256_set1_epi32(i32::MAX)));
    let eight = _mm256_max_epi32(_mm256_max_epi32(bits[0], bits[1]), _mm256_max_epi32(bits[2], bits[3]));
    let four = _mm_max_epi32(_mm256_castsi256_si128(eight), _mm256_extracti128_si256::<1>(eight));
    let two = _mm_max_epi32(four, _mm_unpackhi_epi64(four, four));
    f32::from_bits(_mm_cvtsi128_si32(_mm_max_epi32(two, _mm_shuffle_epi32::<1>(two))).cast_unsigned())
}
