//! Seeded draws that workloads are made of.
//!
//! The same seed gives the same draws on every machine. Deliberately absent: anything that must not be guessed.

/// A stream of random numbers.
///
/// Source: G. Steele et al.'s SplitMix64, OOPSLA 2014 (doi:10.1145/2714064.2660195).
#[derive(Clone, Debug)]
pub(super) struct Random {
    state: u64,
}

impl Random {
    /// The stream of `seed`; neighbouring seeds have streams that are not alike.
    pub(super) fn new(seed: u64) -> Self {
        Self { state: seed.wrapping_mul(0xbf58_476d_1ce4_e5b9) }
    }

    /// Any number.
    pub(super) fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.state ^ (self.state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// From 0 to below 1, evenly.
    #[expect(clippy::cast_precision_loss, reason = "53 bits are exact")]
    pub(super) fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// An index below `count`, which is not 0. The bias is below `count` ÷ 2⁶⁴.
    pub(super) fn index(&mut self, count: usize) -> usize {
        let index = (u128::from(self.next()) * count as u128) >> 64;
        usize::try_from(index).expect("below a count that is a usize")
    }

    /// The time to the next event of a Poisson process whose events are `mean` apart.
    pub(super) fn exponential(&mut self, mean: f64) -> f64 {
        // 1 − u is never 0.
        -mean * (1.0 - self.unit()).ln()
    }

    /// Tries until one succeeds, where `mean` are needed on average: at least 1.
    pub(super) fn geometric(&mut self, mean: f64) -> u32 {
        let mut tries = 1;
        while self.unit() >= 1.0 / mean && tries < u32::MAX {
            tries += 1;
        }
        tries
    }

    /// A count from half of `mean` to one and a half of it, evenly; at least 1.
    pub(super) fn about(&mut self, mean: u32) -> u32 {
        let spread = usize::try_from(mean).expect("a u32 fits").saturating_add(1);
        let drawn = mean / 2 + u32::try_from(self.index(spread)).expect("at most the mean");
        drawn.max(1)
    }
}

/// Ranks that are drawn in proportion to 1 ÷ rank to the power of an exponent: Zipf's law.
#[derive(Clone, Debug)]
pub(super) struct Zipf {
    /// The share of the ranks up to each.
    cumulative: Vec<f64>,
}

impl Zipf {
    /// `count` ranks, not 0; with the exponent 0 all are alike.
    pub(super) fn new(count: usize, exponent: f64) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "a few ranks")]
        let weights: Vec<f64> = (1..=count).map(|rank| (rank as f64).powf(-exponent)).collect();
        let total: f64 = weights.iter().sum();
        let mut sum = 0.0;
        let cumulative = weights.into_iter().map(|weight| {
            sum += weight / total;
            sum
        });
        Self { cumulative: cumulative.collect() }
    }

    /// A rank from 0.
    pub(super) fn draw(&self, random: &mut Random) -> usize {
        let drawn = random.unit();
        self.cumulative.partition_point(|&share| share <= drawn).min(self.cumulative.len() - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DRAWS: u32 = 40_000;

    fn mean(mut draw: impl FnMut() -> f64) -> f64 {
        (0..DRAWS).map(|_| draw()).sum::<f64>() / f64::from(DRAWS)
    }

    #[test]
    fn draws_have_the_means_that_they_are_asked_for() {
        for seed in 0..8 {
            let mut random = Random::new(seed);
            let unit = mean(|| random.unit());
            assert!((unit - 0.5).abs() < 0.01, "{unit}");
            let gap = mean(|| random.exponential(3.0));
            assert!((gap - 3.0).abs() < 0.1, "{gap}");
            let tries = mean(|| f64::from(random.geometric(4.0)));
            assert!((tries - 4.0).abs() < 0.15, "{tries}");
            let about = mean(|| f64::from(random.about(64)));
            assert!((about - 64.0).abs() < 0.6, "{about}");
        }
    }

    #[test]
    fn draws_stay_where_they_belong_and_repeat() {
        let mut random = Random::new(7);
        for count in [1, 2, 3, 1000] {
            assert!((0..1000).all(|_| random.index(count) < count));
        }
        assert!(
            (0..1000).all(|_| (32..=96).contains(&random.about(64)) && random.about(1) >= 1 && random.about(0) == 1)
        );
        assert_eq!(random.geometric(1.0), 1);
        let drawn =
            |seed| (0..4).map(|_| 0).scan(Random::new(seed), |random, _| Some(random.next())).collect::<Vec<_>>();
        assert_eq!(drawn(3), drawn(3));
        assert_ne!(drawn(3), drawn(4));
    }

    #[test]
    fn zipfs_shares_are_those_of_his_law() {
        let (zipf, mut random) = (Zipf::new(4, 1.0), Random::new(1));
        let mut counts = [0_u32; 4];
        (0..DRAWS).for_each(|_| counts[zipf.draw(&mut random)] += 1);
        let harmonic = 1.0 + 1.0 / 2.0 + 1.0 / 3.0 + 1.0 / 4.0;
        for (rank, count) in (1_u32..).zip(counts) {
            let (found, expected) = (f64::from(count) / f64::from(DRAWS), 1.0 / f64::from(rank) / harmonic);
            assert!((found - expected).abs() < 0.01, "rank {rank}: {found} instead of {expected}");
        }
        let (even, mut counts) = (Zipf::new(4, 0.0), [0_u32; 4]);
        (0..DRAWS).for_each(|_| counts[even.draw(&mut random)] += 1);
        assert!(counts.iter().all(|count| count.abs_diff(DRAWS / 4) < DRAWS / 100), "{counts:?}");
        assert_eq!(Zipf::new(1, 2.0).draw(&mut random), 0);
    }
}
