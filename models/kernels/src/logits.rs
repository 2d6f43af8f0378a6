//! Over a whole vocabulary: softmax, log-probability, and the best.
//!
//! These run on the calling thread with the best instruction set of the processor.

use crate::isa::Isa;
use crate::scalar;

/// Replaces logits by probabilities: e^x / Σ e^x. None stays none; a NaN makes all of them NaN.
pub fn softmax_in_place(x: &mut [f32]) {
    match Isa::detect() {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: just detected.
        Isa::Avx2 | Isa::AvxVnni | Isa::Avx512 => unsafe { crate::avx2::elementwise::softmax(x) },
        _ => scalar::elementwise::softmax(x),
    }
}

/// The natural logarithm of the probability that softmax gives to `index`.
///
/// # Panics
/// When there is no such index.
#[must_use]
pub fn log_softmax_at(logits: &[f32], index: usize) -> f32 {
    let (max, sum) = match Isa::detect() {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: just detected.
        Isa::Avx2 | Isa::AvxVnni | Isa::Avx512 => unsafe { crate::avx2::elementwise::greatest_and_exp_sum(logits) },
        _ => scalar::elementwise::greatest_and_exp_sum(logits),
    };
    logits[index] - max - sum.ln()
}

/// The index of the greatest; the first of equals. NaNs are passed over.
///
/// # Panics
/// When `x` is empty.
#[must_use]
pub fn argmax(x: &[f32]) -> usize {
    assert!(!x.is_empty(), "the greatest of none");
    // Two passes, each of which the compiler vectorises: the greatest, then where it first stands.
    let greatest = x.chunks(8).fold([f32::NEG_INFINITY; 8], |mut lanes, x| {
        lanes.iter_mut().zip(x).for_each(|(lane, &x)| *lane = if x > *lane { x } else { *lane });
        lanes
    });
    let greatest = greatest.into_iter().fold(f32::NEG_INFINITY, f32::max);
    x.iter().position(|&x| x == greatest).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_is_the_first_of_the_greatest() {
        assert_eq!(argmax(&[1.0]), 0);
        assert_eq!(argmax(&[f32::NAN, 1.0, 3.0, f32::NEG_INFINITY, 3.0]), 2);
        assert_eq!(argmax(&[f32::NEG_INFINITY; 3]), 0);
        let mut many = vec![-5.0; 1003];
        many[1002] = -4.0;
        assert_eq!(argmax(&many), 1002);
    }

    #[test]
    fn probabilities_add_up_and_agree_with_their_logarithms() {
        for len in [1, 7, 8, 9, 1000] {
            let logits: Vec<f32> = (0..len).map(|i| (i as f32 * 0.37).sin() * 20.0).collect();
            let exact: f64 = logits.iter().map(|&x| f64::from(x).exp()).sum();
            let mut p = logits.clone();
            softmax_in_place(&mut p);
            assert!((p.iter().map(|&p| f64::from(p)).sum::<f64>() - 1.0).abs() < 1e-5);
            for (i, &logit) in logits.iter().enumerate() {
                let log_p = f64::from(logit) - exact.ln();
                assert!((f64::from(log_softmax_at(&logits, i)) - log_p).abs() < 1e-5);
                assert!((f64::from(p[i]) - log_p.exp()).abs() < 1e-6);
            }
        }
        softmax_in_place(&mut []);
    }

    #[test]
    fn a_nan_is_not_hidden() {
        let mut x = [1.0, f32::NAN, 2.0, 0.0, 1.0, 2.0, 3.0, 4.0, 5.0];
        softmax_in_place(&mut x);
        assert!(x.iter().all(|x| x.is_nan()));
    }
}
