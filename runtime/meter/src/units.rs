//! The integer quantities that the ledger keeps, and the one way to split them.
//!
//! Invariants: arithmetic saturates or is checked, never wraps; every quantity is one JSON integer; floating point
//! appears only in the conversions to shown units. Deliberately absent: negative quantities. A difference of two
//! arms is a plain `i128` in [`crate::savings`].

use std::iter::Sum;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

const BYTES_PER_KIB: u64 = 1024;
const NANOS_PER_SECOND: f64 = 1e9;

macro_rules! quantity {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
        #[serde(transparent)]
        pub struct $name(u64);

        impl $name {
            /// Nothing of it.
            pub const ZERO: Self = Self(0);
            /// The most that can be held; sums saturate here.
            pub const MAX: Self = Self(u64::MAX);

            /// Wraps a count of this unit.
            #[must_use]
            pub const fn new(count: u64) -> Self {
                Self(count)
            }

            /// The count of this unit.
            #[must_use]
            pub const fn get(self) -> u64 {
                self.0
            }

            /// The sum, or `None` if it does not fit.
            #[must_use]
            pub const fn checked_add(self, other: Self) -> Option<Self> {
                match self.0.checked_add(other.0) {
                    Some(sum) => Some(Self(sum)),
                    None => None,
                }
            }

            /// The difference, or `None` if it would be negative.
            #[must_use]
            pub const fn checked_sub(self, other: Self) -> Option<Self> {
                match self.0.checked_sub(other.0) {
                    Some(difference) => Some(Self(difference)),
                    None => None,
                }
            }

            /// The sum, at most [`Self::MAX`].
            #[must_use]
            pub const fn saturating_add(self, other: Self) -> Self {
                Self(self.0.saturating_add(other.0))
            }

            /// The difference, at least zero.
            #[must_use]
            pub const fn saturating_sub(self, other: Self) -> Self {
                Self(self.0.saturating_sub(other.0))
            }

            /// The count from a wider integer, at most [`Self::MAX`].
            #[must_use]
            pub fn saturating_from(count: u128) -> Self {
                Self(u64::try_from(count).unwrap_or(u64::MAX))
            }
        }

        impl Sum for $name {
            fn sum<I: Iterator<Item = Self>>(quantities: I) -> Self {
                quantities.fold(Self::ZERO, Self::saturating_add)
            }
        }
    };
}

quantity!(
    /// Energy in 10⁻⁹ joules; the most it holds is 5 MWh.
    Nanojoules
);
quantity!(
    /// Power in 10⁻⁶ watts.
    Microwatts
);
quantity!(
    /// Memory held over time, in KiB · milliseconds (byte-microseconds would overflow 64 bits within hours).
    KibMillis
);
quantity!(
    /// Money in 10⁻¹² of a currency's unit; the currency is named by the rate card.
    PicoUnits
);
quantity!(
    /// A time span or processor time in nanoseconds; the most it holds is 584 years.
    Nanos
);
quantity!(
    /// Mass of CO₂ equivalent in 10⁻⁶ grams.
    Micrograms
);
quantity!(
    /// A point in monotonic time: milliseconds since the process began to meter.
    Moment
);

impl Nanojoules {
    /// For display: joules.
    #[must_use]
    pub fn joules(self) -> f64 {
        self.0 as f64 / 1e9
    }
}

impl Microwatts {
    /// The mean power of `energy` over `span`, rounded down, or `None` for an empty span.
    #[must_use]
    pub fn mean(energy: Nanojoules, span: Duration) -> Option<Self> {
        // nJ ÷ ns = W; × 10⁶ = µW
        (u128::from(energy.0) * 1_000_000).checked_div(span.as_nanos()).map(Self::saturating_from)
    }

    /// The energy of this power over `span`, rounded down.
    #[must_use]
    pub fn over(self, span: Duration) -> Nanojoules {
        // µW × ns = 10⁻¹⁵ J; both factors may be large, so saturate.
        Nanojoules::saturating_from(u128::from(self.0).saturating_mul(span.as_nanos()) / 1_000_000)
    }

    /// For display: watts.
    #[must_use]
    pub fn watts(self) -> f64 {
        self.0 as f64 / 1e6
    }
}

impl KibMillis {
    /// `bytes` (counted in whole KiB, rounded up) held for `span` (whole milliseconds).
    #[must_use]
    pub fn held(bytes: u64, span: Duration) -> Self {
        Self::saturating_from(u128::from(bytes.div_ceil(BYTES_PER_KIB)).saturating_mul(span.as_millis()))
    }

    /// For display: byte-seconds.
    #[must_use]
    pub fn byte_seconds(self) -> f64 {
        self.0 as f64 * (BYTES_PER_KIB as f64 / 1e3)
    }

    /// For display: GB-seconds (1 GB = 10⁹ bytes).
    #[must_use]
    pub fn gb_seconds(self) -> f64 {
        self.byte_seconds() / 1e9
    }

    /// For display: GB-hours (1 GB = 10⁹ bytes), byte-seconds ÷ 3.6 · 10¹².
    #[must_use]
    pub fn gb_hours(self) -> f64 {
        self.byte_seconds() / 3.6e12
    }
}

impl PicoUnits {
    /// A price or amount written as units of its currency, or `None` if it is negative, not finite or over
    /// 18 million.
    #[must_use]
    pub fn from_units(units: f64) -> Option<Self> {
        let picos = (units * 1e12).round();
        // 2⁶⁴ as f64 is exact; everything below it fits.
        if !(0.0..18_446_744_073_709_551_616.0).contains(&picos) {
            return None;
        }
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "range checked above")]
        Some(Self(picos as u64))
    }

    /// For display: units of the currency.
    #[must_use]
    pub fn units(self) -> f64 {
        self.0 as f64 / 1e12
    }
}

impl Nanos {
    /// For display: seconds.
    #[must_use]
    pub fn seconds(self) -> f64 {
        self.0 as f64 / NANOS_PER_SECOND
    }
}

impl From<Duration> for Nanos {
    fn from(span: Duration) -> Self {
        Self::saturating_from(span.as_nanos())
    }
}

impl From<Nanos> for Duration {
    fn from(nanos: Nanos) -> Self {
        Self::from_nanos(nanos.0)
    }
}

impl Micrograms {
    /// For display: grams.
    #[must_use]
    pub fn grams(self) -> f64 {
        self.0 as f64 / 1e6
    }
}

impl Moment {
    /// The moment this long after metering began.
    #[must_use]
    pub fn after_start(elapsed: Duration) -> Self {
        Self::saturating_from(elapsed.as_millis())
    }

    /// Whole milliseconds from `earlier` to here; zero if `earlier` is later.
    #[must_use]
    pub const fn millis_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// `bytes` in whole KiB, rounded up.
#[must_use]
pub const fn kib_of_bytes(bytes: u64) -> u64 {
    bytes.div_ceil(BYTES_PER_KIB)
}

/// Splits `total` in proportion to `weights`; the parts, one per weight, sum to `total` exactly.
///
/// Each part is its exact share rounded down, and the units left over go to the largest remainders, the earlier one
/// on a tie. So equal weights get parts that differ by at most one, and a weight of zero gets nothing, unless all
/// weights are zero: then the split is equal. With no weights there is nobody to charge and no part: the caller
/// keeps the total.
///
/// Source: the method of Hamilton, as in M. Balinski and H. P. Young, "Fair Representation", 1982.
#[must_use]
pub fn split_largest_remainder(total: u64, weights: &[u64]) -> Vec<u64> {
    let sum: u128 = weights.iter().map(|&weight| u128::from(weight)).sum();
    if sum == 0 {
        return split_equally(total, weights.len());
    }
    let mut remainders = Vec::with_capacity(weights.len());
    let mut parts = Vec::with_capacity(weights.len());
    let mut left = total;
    for (index, &weight) in weights.iter().enumerate() {
        let share = u128::from(total) * u128::from(weight);
        let part = u64::try_from(share / sum).expect("a share is at most the total");
        left -= part;
        parts.push(part);
        remainders.push((share % sum, index));
    }
    remainders.sort_unstable_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(&b.1)));
    for &(_, index) in &remainders {
        if left == 0 {
            break;
        }
        parts[index] += 1;
        left -= 1;
    }
    parts
}

/// Splits `total` into `count` parts that differ by at most one, the larger ones first.
#[must_use]
pub fn split_equally(total: u64, count: usize) -> Vec<u64> {
    let Some(divisor) = u64::try_from(count).ok().filter(|&count| count > 0) else { return Vec::new() };
    let (part, over) = (total / divisor, total % divisor);
    (0..divisor).map(|index| part + u64::from(index < over)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arbitrary::Arbitrary;

    #[test]
    fn splits_sum_exactly_and_are_within_one_of_the_exact_share() {
        for seed in 0..2000 {
            let mut arbitrary = Arbitrary::new(seed);
            let count = arbitrary.below(12) + 1;
            let weight_max = [1, 3, 1000, u64::MAX][arbitrary.index(4)];
            let weights: Vec<u64> = (0..count).map(|_| arbitrary.up_to(weight_max)).collect();
            let total = arbitrary.up_to([0, 5, 1_000_000, u64::MAX][arbitrary.clone().index(4)]);
            let parts = split_largest_remainder(total, &weights);
            let sum: u128 = parts.iter().map(|&part| u128::from(part)).sum();
            assert_eq!(sum, u128::from(total), "seed {seed}: {total} over {weights:?} gave {parts:?}");
            let all: u128 = weights.iter().map(|&weight| u128::from(weight)).sum();
            for (&weight, &part) in weights.iter().zip(&parts) {
                let exact = (u128::from(total) * u128::from(weight)).checked_div(all);
                let floor = exact.unwrap_or(u128::from(total) / u128::from(count));
                assert!((floor..=floor + 1).contains(&u128::from(part)), "seed {seed}: {weights:?} gave {parts:?}");
            }
        }
    }

    #[test]
    fn splits_are_symmetric_and_charge_null_players_nothing() {
        for seed in 0..2000 {
            let mut arbitrary = Arbitrary::new(seed);
            let mut weights: Vec<u64> = (0..arbitrary.below(8) + 2).map(|_| arbitrary.below(5)).collect();
            weights[0] += 1;
            let total = arbitrary.below(10_000);
            let parts = split_largest_remainder(total, &weights);
            for (i, &one) in weights.iter().enumerate() {
                assert!(one > 0 || parts[i] == 0, "seed {seed}: {weights:?} gave {parts:?}");
                for (j, &other) in weights.iter().enumerate() {
                    let apart = parts[i].abs_diff(parts[j]);
                    assert!(one != other || apart <= 1, "seed {seed}: {weights:?} gave {parts:?}");
                    assert!(one <= other || parts[i] >= parts[j], "seed {seed}: {weights:?} gave {parts:?}");
                }
            }
        }
    }

    #[test]
    fn equal_splits_are_splits_by_equal_weights() {
        for (total, count) in [(0, 1), (10, 3), (2, 5), (u64::MAX, 7)] {
            assert_eq!(split_equally(total, count), split_largest_remainder(total, &vec![9; count]));
            assert_eq!(split_equally(total, count), split_largest_remainder(total, &vec![0; count]));
        }
        assert_eq!(split_largest_remainder(5, &[]), [0; 0]);
        assert_eq!(split_equally(5, 0), [0; 0]);
        assert_eq!(split_largest_remainder(10, &[1, 1, 2]), [3, 2, 5]);
    }

    #[test]
    fn quantities_saturate_and_check() {
        assert_eq!(KibMillis::MAX.saturating_add(KibMillis::new(1)), KibMillis::MAX);
        assert_eq!(KibMillis::ZERO.saturating_sub(KibMillis::new(1)), KibMillis::ZERO);
        assert_eq!(KibMillis::MAX.checked_add(KibMillis::new(1)), None);
        assert_eq!(KibMillis::new(1).checked_sub(KibMillis::new(2)), None);
        assert_eq!([Nanos::MAX, Nanos::new(1)].into_iter().sum::<Nanos>(), Nanos::MAX);
        assert_eq!(Nanos::from(Duration::MAX), Nanos::MAX);
        assert_eq!(KibMillis::held(u64::MAX, Duration::MAX), KibMillis::MAX);
    }

    #[test]
    fn shown_units_are_the_usual_ones() {
        assert_eq!(KibMillis::held(1_024_000_000, Duration::from_secs(3600)).gb_hours(), 1.024);
        assert_eq!(KibMillis::held(1024, Duration::from_secs(2)).byte_seconds(), 2048.0);
        assert_eq!(KibMillis::held(1, Duration::from_millis(3)), KibMillis::new(3), "a started KiB counts whole");
        assert_eq!(PicoUnits::new(31_611_000_000).units(), 0.031_611);
        assert_eq!(Moment::after_start(Duration::from_micros(2999)), Moment::new(2));
        let (watt, second) = (Microwatts::new(1_000_000), Duration::from_secs(1));
        assert_eq!(watt.over(second), Nanojoules::new(1_000_000_000));
        assert_eq!(Microwatts::mean(watt.over(second), second), Some(watt));
        assert_eq!(Microwatts::mean(Nanojoules::MAX, Duration::ZERO), None);
        assert_eq!(Microwatts::MAX.over(Duration::MAX), Nanojoules::MAX);
    }

    #[test]
    fn quantities_are_json_integers() {
        assert_eq!(serde_json::to_string(&Nanojoules::MAX).unwrap(), "18446744073709551615");
        assert_eq!(serde_json::from_str::<Nanojoules>("7").unwrap(), Nanojoules::new(7));
        assert!(serde_json::from_str::<Nanojoules>("7.5").is_err());
    }
}
