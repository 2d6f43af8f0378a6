//! Fairness by virtual time: whoever has used least for its weight is next.
//!
//! Each key (a model, a tenant) has a time, which runs as the key uses the device: by what that costs, divided by the
//! key's weight. The one with the least time goes first, so that keys that always have work get shares in proportion to
//! their weights, whatever their steps cost.
//!
//! Invariants: a key that was away gets no more than a bounded credit for that: when it comes back, its time is that of the
//! least of those who stayed less the credit, or its own if that is more; so it keeps what it owes, and over any time uses
//! no more than its share and the credit. With a credit one who asks now and then is served before one who always does,
//! as long as it uses less than its share. When nobody stayed, nobody owes anything.
//!
//! Source: start-time fair queueing (Goyal, Vin, Cheng, SIGCOMM 1996), with costs known after the fact; the credit is a
//! bounded warp as in borrowed virtual time (Duda, Cheriton, SOSP 1999), but earned by being away.

use std::collections::HashMap;
use std::hash::Hash;
use std::num::NonZeroU32;
use std::time::Duration;

/// A point in virtual time; only comparisons mean something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct VirtualTime(u128);

impl VirtualTime {
    /// Whether it is so much device time, at a weight of 1, before `other`.
    pub(super) fn is_behind(self, other: Self, by: Duration) -> bool {
        self.0.saturating_add(by.as_nanos() * FINE) <= other.0
    }
}

/// Parts of a nanosecond, so that large weights do not round to nothing.
const FINE: u128 = 1 << 32;

/// The times of all keys that have work, or owe.
#[derive(Debug)]
pub(super) struct VirtualTimes<K> {
    /// The least time of those present, when it was looked at last; it never goes back.
    now: VirtualTime,
    /// How far behind that a key may be that was away.
    credit: VirtualTime,
    accounts: HashMap<K, Account>,
}

#[derive(Debug)]
struct Account {
    time: VirtualTime,
    presence: Presence,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Presence {
    Present,
    Away,
}

impl<K: Clone + Eq + Hash> VirtualTimes<K> {
    /// No key has used anything. Each gets at most `credit` for being away: device time at a weight of 1, in proportion
    /// at others.
    pub(super) fn new(credit: Duration) -> Self {
        let credit = VirtualTime(credit.as_nanos() * FINE);
        Self { now: VirtualTime(credit.0), credit, accounts: HashMap::new() }
    }

    /// These keys, each named once, and no others have work now.
    pub(super) fn meet<'a>(&mut self, present: impl Iterator<Item = &'a K> + Clone)
    where
        K: 'a,
    {
        let stayed = present.clone().filter_map(|key| self.accounts.get(key));
        let stayed = stayed.filter(|account| account.presence == Presence::Present).map(|account| account.time).min();
        let settled = stayed.or_else(|| self.accounts.values().map(|account| account.time).max());
        self.now = self.now.max(settled.unwrap_or_default());
        let floor = self.floor();
        self.accounts.values_mut().for_each(|account| account.presence = Presence::Away);
        for key in present {
            let newcomer = Account { time: floor, presence: Presence::Present };
            let account = self.accounts.entry(key.clone()).or_insert(newcomer);
            account.time = account.time.max(floor);
            account.presence = Presence::Present;
        }
        self.accounts.retain(|_, account| account.presence == Presence::Present || account.time > floor);
    }

    /// The time of `key`, as if it came now.
    pub(super) fn time(&self, key: &K) -> VirtualTime {
        self.accounts.get(key).map_or(self.floor(), |account| account.time.max(self.floor()))
    }

    /// The least time that anybody can have.
    fn floor(&self) -> VirtualTime {
        VirtualTime(self.now.0.saturating_sub(self.credit.0))
    }

    /// `key` used `cost`.
    pub(super) fn charge(&mut self, key: &K, cost: Duration, weight: NonZeroU32) {
        let newcomer = Account { time: self.floor(), presence: Presence::Away };
        let account = self.accounts.entry(key.clone()).or_insert(newcomer);
        account.time.0 += cost.as_nanos() * FINE / u128::from(weight.get());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Random;

    const fn weight(weight: u32) -> NonZeroU32 {
        NonZeroU32::new(weight).expect("not zero")
    }

    /// Serves the least of `keys` once, at `cost`; returns it.
    fn serve(times: &mut VirtualTimes<u8>, keys: &[(u8, NonZeroU32)], cost: Duration) -> u8 {
        times.meet(keys.iter().map(|(key, _)| key));
        let &(key, weight) = keys.iter().min_by_key(|(key, _)| times.time(key)).unwrap();
        times.charge(&key, cost, weight);
        key
    }

    #[test]
    fn shares_follow_the_weights_whatever_each_step_costs() {
        for seed in 0..200 {
            let mut random = Random::new(seed);
            let count = u8::try_from(2 + random.below(5)).unwrap();
            let keys: Vec<_> =
                (0..count).map(|key| (key, weight(u32::try_from(1 + random.below(9)).unwrap()))).collect();
            let (mut times, mut used) = (VirtualTimes::new(Duration::ZERO), vec![Duration::ZERO; keys.len()]);
            const LONGEST: u64 = 1_000;
            for _ in 0..3_000 {
                let cost = Duration::from_nanos(1 + random.below(LONGEST));
                used[usize::from(serve(&mut times, &keys, cost))] += cost;
            }
            // Two that are always there differ, per weight, by one service of each at most.
            for (&(a, weight_a), &(b, weight_b)) in keys.iter().zip(&keys[1..]) {
                let [a, b] = [(a, weight_a), (b, weight_b)]
                    .map(|(key, weight)| used[usize::from(key)].as_nanos() / u128::from(weight.get()));
                assert!(a.abs_diff(b) <= 2 * u128::from(LONGEST), "seed {seed}: {a} and {b}");
            }
        }
    }

    #[test]
    fn one_that_was_away_gets_no_credit() {
        let (mut times, keys) = (VirtualTimes::new(Duration::ZERO), [(0, weight(1)), (1, weight(1))]);
        let step = Duration::from_millis(1);
        (0..1_000).for_each(|_| assert_eq!(serve(&mut times, &keys[..1], step), 0));
        let served: Vec<_> = (0..10).map(|_| serve(&mut times, &keys, step)).collect();
        assert_eq!(served.iter().filter(|&&key| key == 1).count(), 5);
    }

    #[test]
    fn one_that_was_away_is_served_first_for_as_long_as_its_credit_lasts() {
        let (mut times, keys) = (VirtualTimes::new(Duration::from_millis(6)), [(0, weight(1)), (1, weight(2))]);
        let step = Duration::from_millis(1);
        for round in 0..3 {
            // However long it was away.
            (0..20 << round).for_each(|_| assert_eq!(serve(&mut times, &keys[..1], step), 0));
            let served: Vec<_> = (0..12).map(|_| serve(&mut times, &keys, step)).collect();
            assert_eq!(served, [1; 12], "twice the weight, twice the time");
            let served: Vec<_> = (0..30).map(|_| serve(&mut times, &keys, step)).collect();
            let of_other = served.iter().filter(|&&key| key == 1).count();
            assert!((19..=21).contains(&of_other), "then its share: {served:?}");
        }
    }

    #[test]
    fn a_credit_is_earned_by_being_away() {
        let (mut times, keys) = (VirtualTimes::new(Duration::from_millis(6)), [(0, weight(1)), (1, weight(1))]);
        let step = Duration::from_millis(1);
        (0..100).for_each(|_| _ = serve(&mut times, &keys, step));
        let mut of_other = 0;
        for _ in 0..100 {
            // It is away every other step, which is its share for the other one.
            serve(&mut times, &keys[..1], step);
            of_other += u32::from(serve(&mut times, &keys, step));
        }
        assert_eq!(of_other, 100);
        let served: Vec<_> = (0..100).map(|_| serve(&mut times, &keys, step)).collect();
        let of_other = served.iter().filter(|&&key| key == 1).count();
        assert!((50..=51).contains(&of_other), "it has used its share, and no credit is left: {of_other}");
    }

    #[test]
    fn one_that_leaves_in_debt_comes_back_in_debt() {
        let (mut times, keys) = (VirtualTimes::new(Duration::ZERO), [(0, weight(1)), (1, weight(1))]);
        let step = Duration::from_millis(1);
        times.meet([0, 1].iter());
        times.charge(&0, 10 * step, weight(1));
        assert_eq!(serve(&mut times, &keys[1..], step), 1);
        let served: Vec<_> = (0..9).map(|_| serve(&mut times, &keys, step)).collect();
        assert_eq!(served, [1; 9]);
    }

    #[test]
    fn nothing_is_kept_of_those_who_owe_nothing() {
        let mut times = VirtualTimes::new(Duration::ZERO);
        for key in 0..1_000_u32 {
            times.meet([key].iter());
            times.charge(&key, Duration::from_millis(1), weight(1));
        }
        times.meet([].iter());
        assert!(times.accounts.len() <= 1, "{}", times.accounts.len());
    }
}
