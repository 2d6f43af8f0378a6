//! Fairness by virtual time: whoever has used least for its weight is next.
//!
//! Each key (a model, a tenant) has a time, which runs as the key uses the device: by what that costs, divided by the
//! key's weight. The one with the least time goes first, so that keys that always have work get shares in proportion to
//! their weights, whatever their steps cost.
//!
//! Invariants: a key that was away gets no credit for that: when it comes back, its time is that of the least of those
//! who stayed, or its own if that is more; so it keeps what it owes. When nobody stayed, nobody owes anything.
//!
//! Source: start-time fair queueing (Goyal, Vin, Cheng, SIGCOMM 1996), with costs known after the fact.

use std::collections::HashMap;
use std::hash::Hash;
use std::num::NonZeroU32;
use std::time::Duration;

/// A point in virtual time; only comparisons mean something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct VirtualTime(u128);

/// Parts of a nanosecond, so that large weights do not round to nothing.
const FINE: u128 = 1 << 32;

/// The times of all keys that have work, or owe.
#[derive(Debug)]
pub(super) struct VirtualTimes<K> {
    /// The least time of those present, when it was looked at last; it never goes back.
    now: VirtualTime,
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
    pub(super) fn new() -> Self {
        Self { now: VirtualTime::default(), accounts: HashMap::new() }
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
        self.accounts.values_mut().for_each(|account| account.presence = Presence::Away);
        for key in present {
            let newcomer = Account { time: self.now, presence: Presence::Present };
            let account = self.accounts.entry(key.clone()).or_insert(newcomer);
            account.time = account.time.max(self.now);
            account.presence = Presence::Present;
        }
        self.accounts.retain(|_, account| account.presence == Presence::Present || account.time > self.now);
    }

    /// The time of `key`, as if it came now.
    pub(super) fn time(&self, key: &K) -> VirtualTime {
        self.accounts.get(key).map_or(self.now, |account| account.time.max(self.now))
    }

    /// `key` used `cost`.
    pub(super) fn charge(&mut self, key: &K, cost: Duration, weight: NonZeroU32) {
        let newcomer = || Account { time: self.now, presence: Presence::Away };
        let account = self.accounts.entry(key.clone()).or_insert_with(newcomer);
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
            let (mut times, mut used) = (VirtualTimes::new(), vec![Duration::ZERO; keys.len()]);
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
        let (mut times, keys) = (VirtualTimes::new(), [(0, weight(1)), (1, weight(1))]);
        let step = Duration::from_millis(1);
        (0..1_000).for_each(|_| assert_eq!(serve(&mut times, &keys[..1], step), 0));
        let served: Vec<_> = (0..10).map(|_| serve(&mut times, &keys, step)).collect();
        assert_eq!(served.iter().filter(|&&key| key == 1).count(), 5);
    }

    #[test]
    fn one_that_leaves_in_debt_comes_back_in_debt() {
        let (mut times, keys) = (VirtualTimes::new(), [(0, weight(1)), (1, weight(1))]);
        let step = Duration::from_millis(1);
        times.meet([0, 1].iter());
        times.charge(&0, 10 * step, weight(1));
        assert_eq!(serve(&mut times, &keys[1..], step), 1);
        let served: Vec<_> = (0..9).map(|_| serve(&mut times, &keys, step)).collect();
        assert_eq!(served, [1; 9]);
    }

    #[test]
    fn nothing_is_kept_of_those_who_owe_nothing() {
        let mut times = VirtualTimes::new();
        for key in 0..1_000_u32 {
            times.meet([key].iter());
            times.charge(&key, Duration::from_millis(1), weight(1));
        }
        times.meet([].iter());
        assert!(times.accounts.len() <= 1, "{}", times.accounts.len());
    }
}
