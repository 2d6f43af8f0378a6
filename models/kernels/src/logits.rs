//! Over a whole vocabulary: the best.

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
}
