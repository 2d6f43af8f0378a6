//! What the machine draws however idle it is.

use std::collections::VecDeque;

use crate::limits::{BASELINE_INTERVALS_MAX, BASELINE_INTERVALS_MIN};
use crate::units::Microwatts;

/// Below this many thousandths of use the machine counts as idle.
const IDLE_USE_THOUSANDTHS: u128 = 50;

/// The 5th percentile of the power in the last 512 intervals below 5 % of use.
#[derive(Debug, Default)]
pub struct Baseline {
    powers: VecDeque<Microwatts>,
    least: Option<Microwatts>,
}

impl Baseline {
    /// Nothing is known.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes an interval's mean power, and the share of the processors' time that was used in thousandths.
    pub fn observe(&mut self, power: Microwatts, use_thousandths: u128) {
        self.least = Some(self.least.map_or(power, |least| least.min(power)));
        if use_thousandths >= IDLE_USE_THOUSANDTHS {
            return;
        }
        if self.powers.len() == BASELINE_INTERVALS_MAX {
            self.powers.pop_front();
        }
        self.powers.push_back(power);
    }

    /// The base power, by the nearest rank; `None` before 20 intervals of low use.
    #[must_use]
    pub fn power(&self) -> Option<Microwatts> {
        if self.powers.len() < BASELINE_INTERVALS_MIN {
            return None;
        }
        let mut powers: Vec<Microwatts> = self.powers.iter().copied().collect();
        let rank = powers.len().div_ceil(20) - 1;
        let (_, power, _) = powers.select_nth_unstable(rank);
        Some(*power)
    }

    /// The least power of any interval.
    #[must_use]
    pub const fn least(&self) -> Option<Microwatts> {
        self.least
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(powers: impl IntoIterator<Item = u64>) -> Baseline {
        let mut baseline = Baseline::new();
        powers.into_iter().for_each(|power| baseline.observe(Microwatts::new(power), 49));
        baseline
    }

    #[test]
    fn the_base_is_the_fifth_percentile_of_idle_intervals() {
        assert_eq!(after(1..=100).power(), Some(Microwatts::new(5)));
        assert_eq!(after((1..=20).rev()).power(), Some(Microwatts::new(1)));
        assert_eq!(after(1..=19).power(), None, "too few");
        let mut busy = after(100..=119);
        (0..1000).for_each(|_| busy.observe(Microwatts::new(7), 50));
        assert_eq!(busy.power(), Some(Microwatts::new(100)), "work is not rest, whatever it draws");
        assert_eq!(busy.least(), Some(Microwatts::new(7)));
    }

    #[test]
    fn old_intervals_are_forgotten() {
        let renewed = after((0..BASELINE_INTERVALS_MAX).map(|_| 5).chain((0..BASELINE_INTERVALS_MAX).map(|_| 9)));
        assert_eq!(renewed.power(), Some(Microwatts::new(9)));
        assert_eq!(renewed.powers.len(), BASELINE_INTERVALS_MAX);
    }
}
