//! Numbers of 16 bits as floats, and back.

/// An IEEE half as a float, exactly: subnormals, infinities and NaNs too.
pub(crate) fn half_to_float(half: u16) -> f32 {
    let sign = u32::from(half & 0x8000) << 16;
    let exponent = u32::from(half >> 10 & 0x1f);
    let fraction = u32::from(half & 0x3ff);
    let magnitude = match (exponent, fraction) {
        (0, 0) => 0,
        (0, _) => {
            // Subnormal: the leading one becomes the implicit bit.
            let shift = fraction.leading_zeros() - 21;
            (113 - shift) << 23 | (fraction << shift & 0x3ff) << 13
        }
        (31, _) => 0xff << 23 | fraction << 13,
        _ => (exponent + 112) << 23 | fraction << 13,
    };
    f32::from_bits(sign | magnitude)
}

/// The nearest half, ties to even; infinite from 65,520 on, and a quiet NaN for a NaN.
pub(crate) fn float_to_half(x: f32) -> u16 {
    const SUBNORMAL_BELOW: u32 = 113 << 23;
    const INFINITE_FROM: u32 = 0x477f_f000;
    const INFINITY: u32 = 0xff << 23;
    let (sign, magnitude) = ((x.to_bits() >> 16) as u16 & 0x8000, x.to_bits() & !(1 << 31));
    sign | match magnitude {
        // One half's last place is a subnormal half's: the addition rounds.
        0..SUBNORMAL_BELOW => ((f32::from_bits(magnitude) + 0.5).to_bits() - 0.5f32.to_bits()) as u16,
        SUBNORMAL_BELOW..INFINITE_FROM => {
            let rounded = magnitude + 0xfff + (magnitude >> 13 & 1);
            ((rounded - (112 << 23)) >> 13) as u16
        }
        INFINITE_FROM..=INFINITY => 0x7c00,
        _ => 0x7e00 | (magnitude >> 13) as u16 & 0x3ff,
    }
}

/// The float whose upper half this is.
pub(crate) fn brain_to_float(upper: u16) -> f32 {
    f32::from_bits(u32::from(upper) << 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_are_exact() {
        let known = [
            (0x0000, 0.0),
            (0x3c00, 1.0),
            (0xc000, -2.0),
            (0x7bff, 65504.0),
            (0x0001, 5.960_464_5e-8),
            (0x03ff, 6.097_555e-5),
            (0x0400, 6.103_515_6e-5),
            (0x7c00, f32::INFINITY),
            (0x3555, 0.333_251_95),
        ];
        for (half, float) in known {
            assert_eq!(half_to_float(half), float, "{half:#x}");
        }
        assert!(half_to_float(0x8000).is_sign_negative() && half_to_float(0x7e00).is_nan());
    }

    #[test]
    fn floats_become_the_nearest_halves() {
        for half in (0..=u16::MAX).filter(|half| half & 0x7fff <= 0x7c00) {
            let float = half_to_float(half);
            assert_eq!(float_to_half(float), half, "{half:#x}");
            // Of two neighbours, what lies between goes to the nearer one, and the middle to the even one.
            if half & 0x7fff < 0x7bff {
                let middle = (f64::from(float) + f64::from(half_to_float(half + 1))) / 2.0;
                let even = half + (half & 1);
                assert_eq!(float_to_half(middle as f32), even, "the middle above {half:#x}");
                let (below, above) = (middle as f32 * (1.0 - 1e-6), middle as f32 * (1.0 + 1e-6));
                assert_eq!((float_to_half(below), float_to_half(above)), (half, half + 1), "around it");
            }
        }
        assert_eq!((float_to_half(65_519.9), float_to_half(65_520.0), float_to_half(-1e30)), (0x7bff, 0x7c00, 0xfc00));
        assert!(half_to_float(float_to_half(f32::NAN)).is_nan() && float_to_half(1e-40) == 0);
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn the_processor_rounds_alike() {
        #[target_feature(enable = "f16c")]
        fn by_instruction(x: f32) -> u16 {
            use std::arch::x86_64::*;
            _mm_extract_epi16::<0>(_mm_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(_mm_set1_ps(x))) as u16
        }
        if !is_x86_feature_detected!("f16c") {
            return;
        }
        for bits in (0..=u32::MAX).step_by(9973) {
            let x = f32::from_bits(bits);
            // SAFETY: the processor has the feature.
            assert_eq!(float_to_half(x), unsafe { by_instruction(x) }, "{bits:#x}");
        }
    }
}
