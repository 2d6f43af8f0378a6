//! How fast: requests in a second and tokens in a minute, of keys and of tenants.
//!
//! Tokens are taken when a request is admitted, by an estimate, and corrected when it is over, by what it used.
//!
//! Invariants: time is the monotonic clock's; what a request took of one bucket comes back if another one refuses it; there
//! are no more buckets than keys and tenants with rates, which are the operator's to make, and those that are full are
//! forgotten. Deliberately absent: waiting. Who is too fast is told when to come again.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::access::{Access, Holder};
use super::bucket::{Bucket, Filling};
use super::permissions::{Allowance, RequestRate};
use crate::limits::BUCKETS_KEPT_MAX;

/// What comes at a rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Rated {
    /// Requests.
    Requests,
    /// Tokens of prompts and answers.
    Tokens,
}

impl Rated {
    /// Its word, as headers have it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Tokens => "tokens",
        }
    }
}

/// Someone is too fast.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooFast {
    pub(crate) of: Rated,
    /// When the same would be admitted, if nobody else came.
    pub(crate) wait: Duration,
}

/// How full a bucket is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Level {
    pub(crate) of: Rated,
    pub(crate) limit: u64,
    pub(crate) remaining: u64,
    /// Until it is full.
    pub(crate) reset: Duration,
}

/// All buckets of a server.
pub(crate) struct Rates {
    began: Instant,
    buckets: Mutex<HashMap<(Holder, Rated), Bucket>>,
}

impl Default for Rates {
    fn default() -> Self {
        Self { began: Instant::now(), buckets: Mutex::default() }
    }
}

impl Rates {
    /// Takes `count` of the buckets of whoever asks, or of none.
    pub(crate) fn take(&self, access: &Access, of: Rated, count: u64) -> Result<(), TooFast> {
        self.take_at(access, (of, count), self.began.elapsed())
    }

    fn take_at(&self, access: &Access, (of, count): (Rated, u64), now: Duration) -> Result<(), TooFast> {
        let mut buckets = self.buckets();
        let mut taken = Vec::new();
        for (holder, filling) in fillings(access, of) {
            let bucket = buckets.entry((holder.clone(), of)).or_default();
            if let Err(wait) = bucket.take(filling, count, now) {
                for (holder, filling) in taken {
                    buckets.entry((holder, of)).or_default().correct(filling, count, 0, now);
                }
                return Err(TooFast { of, wait });
            }
            taken.push((holder, filling));
        }
        if buckets.len() > BUCKETS_KEPT_MAX {
            buckets.retain(|_, bucket| !bucket.missing(now).is_zero());
        }
        Ok(())
    }

    /// Of `taken` tokens, this many were `used`.
    pub(crate) fn correct_tokens(&self, access: &Access, taken: u64, used: u64) {
        self.correct_at(access, (taken, used), self.began.elapsed());
    }

    fn correct_at(&self, access: &Access, (taken, used): (u64, u64), now: Duration) {
        let mut buckets = self.buckets();
        for (holder, filling) in fillings(access, Rated::Tokens) {
            buckets.entry((holder, Rated::Tokens)).or_default().correct(filling, taken, used, now);
        }
    }

    /// How full the buckets of whoever asks are: of each sort the one that has less left.
    pub(crate) fn levels(&self, access: &Access) -> Vec<Level> {
        self.levels_at(access, self.began.elapsed())
    }

    fn levels_at(&self, access: &Access, now: Duration) -> Vec<Level> {
        let buckets = self.buckets();
        let level = |of| {
            let of_holder = |(holder, filling): (Holder, Filling)| {
                let bucket = buckets.get(&(holder, of)).copied().unwrap_or_default();
                let (limit, remaining) = (filling.capacity(), bucket.left(filling, now));
                Level { of, limit, remaining, reset: bucket.missing(now) }
            };
            fillings(access, of).map(of_holder).min_by_key(|level| level.remaining)
        };
        [Rated::Requests, Rated::Tokens].into_iter().filter_map(level).collect()
    }

    fn buckets(&self) -> MutexGuard<'_, HashMap<(Holder, Rated), Bucket>> {
        self.buckets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whose buckets a request takes from, and how they fill.
fn fillings(access: &Access, of: Rated) -> impl Iterator<Item = (Holder, Filling)> {
    let filling = move |(holder, allowance): (Holder, &Allowance)| {
        let filling = match of {
            Rated::Requests => allowance.requests_per_second.map(RequestRate::per_second).map(Filling::per_second),
            Rated::Tokens => allowance.tokens_per_minute.map(|count| Filling::per_minute(count.get())),
        };
        filling.map(|filling| (holder, filling))
    };
    access.holders().filter_map(filling)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(of_key: &str, of_tenant: &str) -> Access {
        let allowance = |json: &str| serde_json::from_str::<Allowance>(json).unwrap();
        Access::bounded(allowance(of_key), allowance(of_tenant))
    }

    const fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn key_and_tenant_are_both_asked_and_nothing_is_lost_to_a_refusal() {
        let rates = Rates::default();
        let fast = access(r#"{"requests_per_second": 5}"#, r#"{"requests_per_second": 2}"#);
        let take = |now| rates.take_at(&fast, (Rated::Requests, 1), now);
        assert_eq!([take(secs(0)), take(secs(0))], [Ok(()), Ok(())]);
        let refused = TooFast { of: Rated::Requests, wait: Duration::from_millis(500) };
        for _ in 0..10 {
            assert_eq!(take(secs(0)), Err(refused), "by the tenant's bucket");
        }
        let level = |of: &Access, now| rates.levels_at(of, now)[0];
        assert_eq!((level(&fast, secs(0)).limit, level(&fast, secs(0)).remaining), (2, 0));
        let of_key_alone = access(r#"{"requests_per_second": 5}"#, "{}");
        assert_eq!(level(&of_key_alone, secs(0)).remaining, 3, "the key's gave two");
        assert_eq!(take(secs(1)), Ok(()));
        assert_eq!(rates.levels_at(&access("{}", "{}"), secs(0)), []);
    }

    #[test]
    fn tokens_are_corrected_to_what_was_used() {
        let rates = Rates::default();
        let some = access("{}", r#"{"tokens_per_minute": 600}"#);
        rates.take_at(&some, (Rated::Tokens, 500), secs(0)).unwrap();
        let refused = rates.take_at(&some, (Rated::Tokens, 200), secs(0)).unwrap_err();
        assert_eq!(refused, TooFast { of: Rated::Tokens, wait: secs(10) });
        rates.correct_at(&some, (500, 20), secs(0));
        assert_eq!(rates.take_at(&some, (Rated::Tokens, 200), secs(0)), Ok(()));
        let level = rates.levels_at(&some, secs(0))[0];
        assert_eq!(level, Level { of: Rated::Tokens, limit: 600, remaining: 380, reset: secs(22) });
    }
}
