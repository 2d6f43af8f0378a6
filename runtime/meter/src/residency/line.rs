//! A size between two moments at which it is known: a straight line.
//!
//! Invariant: areas of spans that follow one another sum to the area of the whole exactly, because each is the difference of
//! two values of one function, which is rounded once.

use crate::units::Moment;

/// How large something is over time, in KiB: in a straight line from one size to another, and the latter from then on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Line {
    from: Moment,
    to: Moment,
    from_kib: u64,
    to_kib: u64,
}

impl Line {
    /// So many KiB at any time.
    pub(super) const fn flat(kib: u64) -> Self {
        Self { from: Moment::ZERO, to: Moment::ZERO, from_kib: kib, to_kib: kib }
    }

    /// `from_kib` at `from`, and `to_kib` at `to` and after it.
    pub(super) const fn between((from, from_kib): (Moment, u64), (to, to_kib): (Moment, u64)) -> Self {
        Self { from, to, from_kib, to_kib }
    }

    /// The integral from one moment to another, in KiB · ms; none of it is before the line's beginning.
    pub(super) fn area(self, from: Moment, to: Moment) -> u64 {
        let area = self.area_until(to).saturating_sub(self.area_until(from));
        u64::try_from(area).unwrap_or(u64::MAX)
    }

    /// The integral from the line's beginning, in whole KiB · ms.
    fn area_until(self, at: Moment) -> u128 {
        let whole = u128::from(self.to.millis_since(self.from));
        let sloped = u128::from(at.min(self.to).millis_since(self.from));
        let level = u128::from(at.millis_since(self.to.max(self.from)));
        let (from_kib, to_kib) = (u128::from(self.from_kib), u128::from(self.to_kib));
        // At most the difference times half of the span: sizes are below 2^41 and spans below 2^64.
        let triangle = |kib: u128| match kib.checked_mul(sloped * sloped) {
            Some(product) => product.checked_div(2 * whole).unwrap_or(0),
            None => kib * (sloped * sloped).checked_div(whole).unwrap_or(0) / 2,
        };
        let slope = if to_kib >= from_kib {
            from_kib * sloped + triangle(to_kib - from_kib)
        } else {
            (from_kib * sloped).saturating_sub(triangle(from_kib - to_kib))
        };
        slope + to_kib * level
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arbitrary::Arbitrary;

    fn at(millis: u64) -> Moment {
        Moment::new(millis)
    }

    #[test]
    fn a_line_has_the_area_of_a_trapezoid_and_is_level_after_it() {
        for (first, last) in [(10, 30), (30, 10), (20, 20)] {
            let line = Line::between((at(100), first), (at(110), last));
            assert_eq!(line.area(at(100), at(110)), 200);
            assert_eq!(line.area(at(110), at(113)), 3 * last);
            assert_eq!(line.area(at(90), at(100)), 0, "it begins where it begins");
        }
        assert_eq!(Line::between((at(0), 0), (at(10), 20)).area(at(0), at(5)), 25);
        assert_eq!(Line::between((at(0), 20), (at(10), 0)).area(at(0), at(5)), 75);
        assert_eq!(Line::flat(7).area(at(40), at(50)), 70);
        assert_eq!(Line::between((at(5), 9), (at(5), 4)).area(at(5), at(7)), 8, "known at once is known from then on");
    }

    #[test]
    fn parts_of_a_line_sum_to_it() {
        for seed in 0..500 {
            let mut arbitrary = Arbitrary::new(seed);
            let line = Line::between((at(3), arbitrary.below(1 << 40)), (at(1003), arbitrary.below(1 << 40)));
            let (mut now, mut sum) = (3, 0);
            while now < 1003 {
                let next = (now + 1 + arbitrary.below(200)).min(1003);
                sum += line.area(at(now), at(next));
                now = next;
            }
            assert_eq!(sum, line.area(at(3), at(1003)), "seed {seed}");
        }
    }

    #[test]
    fn extremes_do_not_overflow() {
        let most = (1 << 40, u64::MAX);
        assert_eq!(Line::between((at(0), 0), (at(most.1), most.0)).area(at(0), at(most.1)), u64::MAX);
        assert_eq!(Line::between((at(0), most.0), (at(most.1), 0)).area(at(0), at(2)), 2 * most.0);
    }
}
