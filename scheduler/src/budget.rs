//! The byte budget that weights and KV share.
//!
//! Invariants: a reservation is granted only while it and all others together fit the limit of that very moment, so that
//! `used_bytes() <= limit_bytes()` at every moment unless the limit was lowered below what was in use; then nothing is
//! granted until enough came back. Every reserved byte belongs to exactly one [`Reservation`] and comes back when that
//! is dropped, waking whoever waits for room.
//!
//! Deliberately absent: order among those who want bytes. Whoever calls [`Budget::try_reserve`] first wins; the pool
//! is the queue in front of it, and alone changes the limit.

mod account;

use std::fmt;
use std::sync::{Arc, Mutex};

use tokio::sync::watch;

use self::account::{Account, Balance};

/// A number of bytes, reserved piecewise.
pub struct Budget {
    account: Account,
}

impl Budget {
    /// A budget of `limit_bytes`, all of them free.
    #[must_use]
    pub fn new(limit_bytes: u64) -> Arc<Self> {
        let balance = Balance { limit_bytes, used_bytes: 0 };
        Arc::new(Self { account: Account::new(Mutex::new(balance), watch::Sender::new(())) })
    }

    /// The bytes that reservations together never exceed, as it is now.
    #[must_use]
    pub fn limit_bytes(&self) -> u64 {
        self.account.balance().limit_bytes
    }

    /// The bytes reserved now.
    #[must_use]
    pub fn used_bytes(&self) -> u64 {
        self.account.balance().used_bytes
    }

    /// The bytes that are free now.
    #[must_use]
    pub fn free_bytes(&self) -> u64 {
        let balance = self.account.balance();
        balance.limit_bytes.saturating_sub(balance.used_bytes)
    }

    /// The bytes reserved beyond the limit: none, unless it was lowered below what was in use.
    #[must_use]
    pub fn excess_bytes(&self) -> u64 {
        let balance = self.account.balance();
        balance.used_bytes.saturating_sub(balance.limit_bytes)
    }

    /// Takes `bytes` out of the budget, or nothing at all when they do not fit now.
    #[must_use]
    pub fn try_reserve(self: &Arc<Self>, bytes: u64) -> Option<Reservation> {
        self.account.try_take(bytes).then(|| Reservation { budget: Arc::clone(self), bytes })
    }

    /// From now on no more than `limit_bytes` are granted in all. What is reserved stays so.
    pub(crate) fn set_limit(&self, limit_bytes: u64) {
        self.account.set_limit(limit_bytes);
    }

    /// Tells of every byte that comes back from now on; no wake-up is lost between two looks.
    pub(crate) fn freed(&self) -> watch::Receiver<()> {
        self.account.bell().subscribe()
    }
}

impl fmt::Debug for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Budget")
            .field("limit_bytes", &self.limit_bytes())
            .field("used_bytes", &self.used_bytes())
            .finish_non_exhaustive()
    }
}

/// Bytes taken out of a [`Budget`]; dropping it gives them back.
#[derive(Debug)]
#[must_use = "dropping a reservation gives its bytes back"]
pub struct Reservation {
    budget: Arc<Budget>,
    bytes: u64,
}

impl Reservation {
    /// The bytes held.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Adds the bytes of `other` to this reservation.
    ///
    /// # Panics
    /// When `other` comes from another budget: bytes would change owners unseen.
    pub fn merge(&mut self, mut other: Self) {
        assert!(Arc::ptr_eq(&self.budget, &other.budget), "reservations of different budgets cannot be merged");
        self.bytes += std::mem::take(&mut other.bytes);
    }

    /// Takes `bytes` of this reservation into one of their own.
    ///
    /// # Panics
    /// When it holds fewer.
    pub fn split(&mut self, bytes: u64) -> Self {
        self.bytes = self.bytes.checked_sub(bytes).expect("no more is split off than is held");
        Self { budget: Arc::clone(&self.budget), bytes }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.budget.account.give_back(self.bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use super::*;

    #[test]
    fn a_reservation_fits_whole_or_not_at_all() {
        let budget = Budget::new(100);
        let first = budget.try_reserve(60).unwrap();
        assert!(budget.try_reserve(41).is_none());
        assert_eq!(budget.used_bytes(), 60);
        let second = budget.try_reserve(40).unwrap();
        assert_eq!(budget.free_bytes(), 0);
        drop(first);
        assert_eq!(budget.used_bytes(), second.bytes());
    }

    #[test]
    fn what_is_split_off_comes_back_by_itself() {
        let budget = Budget::new(100);
        let mut whole = budget.try_reserve(60).unwrap();
        let part = whole.split(20);
        assert_eq!((whole.bytes(), part.bytes(), budget.used_bytes()), (40, 20, 60));
        drop(part);
        assert_eq!(budget.used_bytes(), 40);
        drop(whole);
        assert_eq!(budget.used_bytes(), 0);
    }

    #[test]
    #[should_panic(expected = "no more is split off")]
    fn no_more_can_be_split_off_than_there_is() {
        let _ = Budget::new(100).try_reserve(10).unwrap().split(11);
    }

    #[test]
    fn a_size_that_wraps_is_refused() {
        let budget = Budget::new(u64::MAX);
        let _one = budget.try_reserve(1).unwrap();
        assert!(budget.try_reserve(u64::MAX).is_none());
    }

    #[test]
    fn a_limit_below_what_is_used_grants_nothing_until_enough_came_back() {
        let budget = Budget::new(100);
        let (large, small) = (budget.try_reserve(60).unwrap(), budget.try_reserve(30).unwrap());
        budget.set_limit(50);
        assert_eq!((budget.used_bytes(), budget.free_bytes(), budget.excess_bytes()), (90, 0, 40));
        assert!(budget.try_reserve(0).is_none() && budget.try_reserve(1).is_none());
        drop(large);
        assert_eq!((budget.free_bytes(), budget.excess_bytes()), (20, 0));
        assert!(budget.try_reserve(21).is_none());
        budget.set_limit(51);
        assert_eq!(budget.try_reserve(21).map(|room| room.bytes()), Some(21));
        drop(small);
        assert_eq!(budget.used_bytes(), 0);
    }

    #[test]
    fn merged_bytes_come_back_once() {
        let budget = Budget::new(10);
        let mut all = budget.try_reserve(3).unwrap();
        all.merge(budget.try_reserve(4).unwrap());
        assert_eq!((all.bytes(), budget.used_bytes()), (7, 7));
        drop(all);
        assert_eq!(budget.used_bytes(), 0);
    }

    #[test]
    #[should_panic(expected = "different budgets")]
    fn reservations_of_two_budgets_do_not_merge() {
        let mut one = Budget::new(10).try_reserve(1).unwrap();
        one.merge(Budget::new(10).try_reserve(1).unwrap());
    }

    #[test]
    fn a_drop_before_the_wait_is_not_lost() {
        let budget = Budget::new(10);
        let mut freed = budget.freed();
        drop(budget.try_reserve(1));
        assert!(freed.has_changed().unwrap());
        freed.mark_unchanged();
        assert!(!freed.has_changed().unwrap());
    }

    #[test]
    fn threads_never_exceed_the_limit_together() {
        let budget = Budget::new(7);
        let start = Barrier::new(4);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    start.wait();
                    for round in 0..2_000 {
                        let held = budget.try_reserve(1 + round % 5);
                        assert!(budget.used_bytes() <= 7);
                        drop(held);
                    }
                });
            }
        });
        assert_eq!(budget.used_bytes(), 0);
    }
}
