//! How long an idle model is worth its memory: a pure function of what a reload costs, what holding costs, and how soon
//! its requests came lately.
//!
//! Holding a model for the break-even time T* costs as much as loading it again. With no history it is held that long,
//! which never costs more than twice what someone who knew the future would pay (the ski-rental problem: Karlin, Manasse,
//! Rudolph, Sleator, Algorithmica 3, 1988). With history it is held for that T among 0, the gaps seen and T* which would
//! have cost least over those gaps; of several, the longest, which is the one that forgives a gap a little longer than
//! those seen. Between two gaps a longer T only costs more, so no other T up to T* would have cost less. None beyond it
//! is looked at: sixteen gaps are too few to give up for good what holding too long can cost at most.
//!
//! Deliberately absent: what a reload costs the one who waits for it (a price of time can be put into `load_second`), and
//! any forecast.

use std::time::Duration;

/// What memory and loads cost, in any unit: only their ratio counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prices {
    /// Holding one byte for one second.
    pub byte_second: u64,
    /// One second of loading.
    pub load_second: u64,
}

impl Default for Prices {
    /// An hour of a processor, which a load keeps busy, costs as much as 8 GB for an hour. OpenCost's default prices, USD
    /// 0.031611 and 0.004237, make it 7.46.
    fn default() -> Self {
        Self { byte_second: 1, load_second: 8_000_000_000 }
    }
}

impl Prices {
    /// By what an hour of a processor costs, and a gigabyte (10⁹ bytes) for an hour, in one unit.
    #[must_use]
    pub fn hourly(processor: u64, gigabyte: u64) -> Self {
        let load_second = u128::from(processor) * 1_000_000_000;
        // Only the ratio counts: both lose the bits that do not fit.
        let excess_bits = u64::BITS.saturating_sub(load_second.leading_zeros());
        let load_second = u64::try_from(load_second >> excess_bits).expect("the bits that do not fit are gone");
        let byte_second = if gigabyte == 0 { 0 } else { (gigabyte >> excess_bits).max(1) };
        Self { byte_second, load_second }
    }
}

/// A keep-alive that was chosen by what it costs, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakEven {
    /// How long the model is kept.
    pub time_out: Duration,
    /// T*: how long holding it costs as much as loading it again; the longest there is where holding costs nothing.
    pub break_even: Duration,
    /// How long a load takes, in the mean of the recent ones.
    pub reload: Duration,
    /// Bytes held.
    pub bytes: u64,
    /// Gaps between the end of use and the next request that were looked at.
    pub gaps: usize,
    /// What was reckoned with.
    pub prices: Prices,
}

impl BreakEven {
    /// What loading it again costs, in the unit of the prices.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a figure to look at")]
    pub fn reload_cost(&self) -> f64 {
        self.reload.as_secs_f64() * self.prices.load_second as f64
    }

    /// What holding it for a second costs, in the unit of the prices.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a figure to look at")]
    pub fn holding_cost_per_second(&self) -> f64 {
        self.bytes as f64 * self.prices.byte_second as f64
    }
}

/// Chooses how long a model of `bytes`, which loads in `reload`, is kept after its use; `gaps` are the latest times from
/// the end of a use to the next request.
pub(super) fn choose_time_out(reload: Duration, bytes: u64, gaps: &[Duration], prices: Prices) -> BreakEven {
    let break_even = break_even(reload, bytes, prices);
    let candidates = gaps.iter().copied().filter(|gap| *gap < break_even).chain([Duration::ZERO]);
    let mut best = (cost(break_even, break_even, gaps), break_even);
    for time_out in candidates {
        let cost = cost(time_out, break_even, gaps);
        if cost < best.0 || (cost == best.0 && time_out > best.1) {
            best = (cost, time_out);
        }
    }
    BreakEven { time_out: best.1, break_even, reload, bytes, gaps: gaps.len(), prices }
}

fn break_even(reload: Duration, bytes: u64, prices: Prices) -> Duration {
    let holding = u128::from(bytes) * u128::from(prices.byte_second);
    let nanos =
        reload.as_nanos().checked_mul(u128::from(prices.load_second)).and_then(|cost| cost.checked_div(holding));
    nanos.map_or(Duration::MAX, duration)
}

/// What keeping a model for `time_out` would have cost over `gaps`, as nanoseconds of holding it.
fn cost(time_out: Duration, break_even: Duration, gaps: &[Duration]) -> u128 {
    let of = |gap: &Duration| {
        if *gap <= time_out { gap.as_nanos() } else { time_out.as_nanos() + break_even.as_nanos() }
    };
    gaps.iter().map(of).sum()
}

fn duration(nanos: u128) -> Duration {
    const NANOS: u128 = 1_000_000_000;
    let subsecond = u32::try_from(nanos % NANOS).expect("a remainder is less than its divisor");
    u64::try_from(nanos / NANOS).map_or(Duration::MAX, |seconds| Duration::new(seconds, subsecond))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Random;

    /// A second of loading costs as much as this many byte-seconds.
    const PRICES: Prices = Prices { byte_second: 1, load_second: 1_000 };

    fn seconds(times: &[u64]) -> Vec<Duration> {
        times.iter().copied().map(Duration::from_secs).collect()
    }

    /// The choice for a model that loads in a second and breaks even after ten.
    fn chosen(gaps: &[u64]) -> u64 {
        let chosen = choose_time_out(Duration::from_secs(1), 100, &seconds(gaps), PRICES);
        assert_eq!((chosen.break_even, chosen.gaps), (Duration::from_secs(10), gaps.len()));
        chosen.time_out.as_secs()
    }

    #[test]
    fn without_history_it_is_kept_until_it_breaks_even() {
        assert_eq!(chosen(&[]), 10);
    }

    #[test]
    fn history_shows_what_would_have_cost_least() {
        assert_eq!(chosen(&[3, 4, 5]), 10, "every gap is worth it, and a longer time forgives a longer gap");
        assert_eq!(chosen(&[11, 60, 3_600]), 0, "no gap is worth it");
        assert_eq!(chosen(&[1, 1, 2, 1, 300, 300]), 2, "the short ones are, the long ones cost two seconds each");
        assert_eq!(chosen(&[9, 300, 300]), 0, "one would be, and the others cost more than it saves");
        assert_eq!(chosen(&[10]), 10);
        assert_eq!(chosen(&[0, 0, 0, 300]), 0);
    }

    #[test]
    fn the_costs_are_those_of_the_prices() {
        let choice =
            choose_time_out(Duration::from_millis(500), 2_000, &[], Prices { byte_second: 3, load_second: 60 });
        assert_eq!(choice.break_even, Duration::from_millis(5));
        let costs = (choice.reload_cost(), choice.holding_cost_per_second());
        assert!((costs.0 - 30.0).abs() < 1e-9 && (costs.1 - 6_000.0).abs() < 1e-9, "{costs:?}");
        let gigabyte = choose_time_out(Duration::from_secs(1), 1_000_000_000, &[], Prices::default());
        assert_eq!(gigabyte.time_out, Duration::from_secs(8));
    }

    #[test]
    fn hourly_prices_keep_their_ratio() {
        assert_eq!(Prices::hourly(8, 1), Prices::default());
        assert_eq!(Prices::hourly(1, 0).byte_second, 0);
        // OpenCost's, in millionths of a millionth: too many bits.
        let second = Duration::from_secs(1);
        let choice = choose_time_out(second, 1_000_000_000, &[], Prices::hourly(31_611_000_000, 4_237_000_000));
        assert!((choice.break_even.as_secs_f64() - 31_611.0 / 4_237.0).abs() < 1e-6, "{choice:?}");
        let dearest = Prices::hourly(u64::MAX, u64::MAX);
        let break_even = choose_time_out(second, 1_000_000_000, &[], dearest).break_even;
        assert!((break_even.as_secs_f64() - 1.0).abs() < 1e-6, "{break_even:?}");
    }

    #[test]
    fn what_costs_nothing_and_what_is_past_all_numbers_is_no_fault() {
        let day = Duration::from_secs(86_400);
        let free = Prices { byte_second: 0, load_second: 1 };
        assert_eq!(choose_time_out(day, 100, &[day], free).time_out, Duration::MAX);
        assert_eq!(choose_time_out(day, 0, &[day], PRICES).time_out, Duration::MAX);
        assert_eq!(choose_time_out(Duration::ZERO, 100, &[], PRICES).time_out, Duration::ZERO);
        let dear = Prices { byte_second: 1, load_second: u64::MAX };
        assert_eq!(choose_time_out(Duration::MAX, 1, &[Duration::MAX; 16], dear).time_out, Duration::MAX);
        let cheap = Prices { byte_second: u64::MAX, load_second: 1 };
        assert_eq!(choose_time_out(day, u64::MAX, &[day; 16], cheap).time_out, Duration::ZERO);
    }

    #[test]
    fn without_history_it_never_costs_more_than_twice_what_a_clairvoyant_pays() {
        let mut random = Random::new(3);
        for _ in 0..10_000 {
            let reload = Duration::from_millis(random.below(5_000));
            let choice = choose_time_out(reload, 1 + random.below(5_000), &[], PRICES);
            let gaps: Vec<_> = (0..20).map(|_| Duration::from_millis(random.below(60_000))).collect();
            let clairvoyant: u128 = gaps.iter().map(|gap| (*gap).min(choice.break_even).as_nanos()).sum();
            assert!(cost(choice.time_out, choice.break_even, &gaps) <= 2 * clairvoyant);
        }
    }

    #[test]
    fn no_other_time_out_would_have_cost_less_over_the_history() {
        let mut random = Random::new(4);
        let (mut nothing, mut between, mut all) = (0, 0, 0);
        for _ in 0..5_000 {
            // Breaks even after 0 to 20 seconds; gaps on both sides of that.
            let reload = Duration::from_millis(20 * random.below(101));
            let gaps: Vec<_> =
                (0..1 + random.below(16)).map(|_| Duration::from_millis(500 * random.below(90))).collect();
            let choice = choose_time_out(reload, 100, &gaps, PRICES);
            assert!(choice.time_out <= choice.break_even);
            let least = cost(choice.time_out, choice.break_even, &gaps);
            for other in (0..60_000).step_by(250).map(Duration::from_millis).filter(|time| *time <= choice.break_even) {
                assert!(
                    least <= cost(other, choice.break_even, &gaps),
                    "{other:?} is cheaper than {choice:?}: {gaps:?}"
                );
            }
            match choice.time_out {
                time_out if time_out == choice.break_even => all += 1,
                Duration::ZERO => nothing += 1,
                _ => between += 1,
            }
        }
        assert!(nothing.min(between).min(all) > 100, "all three kinds of answers come up: {nothing}, {between}, {all}");
    }
}
