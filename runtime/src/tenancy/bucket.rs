//! A token bucket, kept as the moment at which it is full again: the generic cell rate algorithm, which needs one number.
//!
//! What was taken can be given back, and more be taken afterwards than was announced, which is why this is no library's:
//! what a request uses is known at its end. Then the bucket owes, and refuses for longer. Whatever is wanted may be had
//! when the bucket is full, however much that is: a request larger than the bucket waits for that and is not refused for
//! ever.

use std::time::Duration;

/// How fast a bucket fills, and how much it holds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Filling {
    /// Until there is one more.
    each: Duration,
    /// From empty to full.
    whole: Duration,
}

impl Filling {
    /// `rate` in a second, as a [`RequestRate`](super::RequestRate) may be; it holds what comes in a second, and one at least.
    pub(super) fn per_second(rate: f64) -> Self {
        let each = Duration::from_secs_f64(1.0 / rate).max(Duration::from_nanos(1));
        Self { each, whole: each.max(Duration::from_secs(1)) }
    }

    /// `count` in a minute, which is what it holds.
    pub(super) fn per_minute(count: u64) -> Self {
        let each = Duration::from_nanos((60_000_000_000 / count).max(1));
        Self { each, whole: Duration::from_secs(60) }
    }

    /// What it holds.
    pub(super) fn capacity(self) -> u64 {
        self.count_in(self.whole)
    }

    fn count_in(self, span: Duration) -> u64 {
        u64::try_from(span.as_nanos() / self.each.as_nanos()).unwrap_or(u64::MAX)
    }

    fn span_of(self, count: u64) -> Duration {
        let nanos = self.each.as_nanos().saturating_mul(u128::from(count));
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

/// A bucket that begins full. Moments are since whenever its owner began to count, and do not go back.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Bucket {
    full_at: Duration,
}

impl Bucket {
    /// Takes `count`, or tells after how long that could be had.
    pub(super) fn take(&mut self, filling: Filling, count: u64, now: Duration) -> Result<(), Duration> {
        let missing = self.full_at.saturating_sub(now);
        let wanted = missing.saturating_add(filling.span_of(count));
        // Rates change with the configuration: what is missing is then by the old one.
        if wanted > filling.whole && !missing.is_zero() {
            let wait = wanted.saturating_sub(filling.whole).min(missing);
            return Err(wait);
        }
        self.full_at = now.saturating_add(wanted);
        Ok(())
    }

    /// Of `taken`, this much was `used`.
    pub(super) fn correct(&mut self, filling: Filling, taken: u64, used: u64, now: Duration) {
        let full_at = self.full_at.max(now);
        self.full_at = full_at
            .saturating_add(filling.span_of(used.saturating_sub(taken)))
            .saturating_sub(filling.span_of(taken.saturating_sub(used)));
    }

    /// What could be taken at once.
    pub(super) fn left(&self, filling: Filling, now: Duration) -> u64 {
        filling.count_in(filling.whole.saturating_sub(self.full_at.saturating_sub(now)))
    }

    /// How long until it is full, if nothing is taken.
    pub(super) fn missing(&self, now: Duration) -> Duration {
        self.full_at.saturating_sub(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn a_bucket_fills_at_its_rate_and_holds_a_second_of_it() {
        let filling = Filling::per_second(4.0);
        let mut bucket = Bucket::default();
        assert_eq!(filling.capacity(), 4);
        for left in (0..4).rev() {
            assert_eq!(bucket.take(filling, 1, ms(0)), Ok(()));
            assert_eq!(bucket.left(filling, ms(0)), left);
        }
        assert_eq!(bucket.take(filling, 1, ms(0)), Err(ms(250)));
        assert_eq!(bucket.take(filling, 1, ms(249)), Err(ms(1)));
        assert_eq!(bucket.take(filling, 1, ms(250)), Ok(()));
        assert_eq!(bucket.missing(ms(250)), ms(1000));
        assert_eq!(bucket.left(filling, ms(10_000)), 4, "never more than it holds");
        let slow = Filling::per_second(0.5);
        let mut bucket = Bucket::default();
        assert_eq!((bucket.take(slow, 1, ms(0)), bucket.take(slow, 1, ms(0))), (Ok(()), Err(ms(2000))));
    }

    #[test]
    fn what_was_not_used_comes_back_and_what_was_used_beyond_is_owed() {
        let filling = Filling::per_minute(60);
        let mut bucket = Bucket::default();
        bucket.take(filling, 50, ms(0)).unwrap();
        bucket.correct(filling, 50, 10, ms(0));
        assert_eq!(bucket.left(filling, ms(0)), 50);
        bucket.correct(filling, 0, 110, ms(0));
        assert_eq!((bucket.left(filling, ms(0)), bucket.left(filling, ms(60_000))), (0, 0));
        assert_eq!(bucket.take(filling, 1, ms(0)), Err(ms(61_000)));
        assert_eq!(bucket.take(filling, 1, ms(61_000)), Ok(()));
        // Giving back more than is missing fills it and no more.
        bucket.correct(filling, 1000, 0, ms(61_000));
        assert_eq!(bucket.left(filling, ms(61_000)), 60);
    }

    #[test]
    fn a_request_larger_than_the_bucket_waits_for_all_of_it() {
        let filling = Filling::per_minute(60);
        let mut bucket = Bucket::default();
        bucket.take(filling, 1, ms(0)).unwrap();
        assert_eq!(bucket.take(filling, 1000, ms(0)), Err(ms(1000)), "until it is full");
        assert_eq!(bucket.take(filling, 1000, ms(1000)), Ok(()));
        assert_eq!(bucket.take(filling, 1, ms(1000)), Err(ms(941_000)));
        assert_eq!(bucket.take(filling, u64::MAX, Duration::MAX), Ok(()));
    }
}
