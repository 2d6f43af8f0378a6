//! What a device has been given and has not done yet, as it was predicted.
//!
//! Devices take turns between requests, so that the others' work delays a request by no more than it takes itself: a
//! short answer does not wait behind a whole long one. Those of the same model share their steps with it, and add only
//! what their own tokens cost there.
//!
//! Invariant: what was promised is gone when its [`Expected`] is dropped, however it ended.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The work that one device has before it.
#[derive(Default)]
pub struct Backlog {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    next: u64,
    works: BTreeMap<u64, Remaining>,
}

struct Remaining {
    model: Arc<str>,
    prefill: Share,
    token: Share,
    tokens: u32,
}

/// Time of a piece of work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Share {
    /// In steps of its own.
    pub alone: Duration,
    /// Beside others' in the same steps: no more than alone.
    pub beside: Duration,
}

impl Remaining {
    fn time(&self, of: impl Fn(Share) -> Duration) -> Duration {
        of(self.prefill).saturating_add(of(self.token).saturating_mul(self.tokens))
    }
}

impl Backlog {
    /// Nothing to do.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Counts a request's work from now until the guard drops: a prompt, then `tokens` tokens.
    pub fn expect(self: &Arc<Self>, model: &Arc<str>, prefill: Share, token: Share, tokens: u32) -> Expected {
        let mut state = self.state();
        let id = state.next;
        state.next += 1;
        state.works.insert(id, Remaining { model: Arc::clone(model), prefill, token, tokens });
        drop(state);
        Expected { backlog: Arc::clone(self), id }
    }

    /// What all this adds to the time of a request for `model` that computes for `own`.
    #[must_use]
    pub fn delay(&self, model: &str, own: Duration) -> Duration {
        let state = self.state();
        let delays = state.works.values().map(|work| {
            let is_shared = *work.model == *model;
            work.time(|share| if is_shared { share.beside } else { share.alone }).min(own)
        });
        delays.fold(Duration::ZERO, Duration::saturating_add)
    }

    /// All of it, one after another.
    #[must_use]
    pub fn total(&self) -> Duration {
        let state = self.state();
        let works = state.works.values().map(|work| work.time(|share| share.alone));
        works.fold(Duration::ZERO, Duration::saturating_add)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing of the caller's runs under the lock, and each change is whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Backlog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Backlog").field("total", &self.total()).finish()
    }
}

/// One request's part of a backlog.
#[derive(Debug)]
#[must_use = "dropping it takes the work out of the backlog"]
pub struct Expected {
    backlog: Arc<Backlog>,
    id: u64,
}

impl Expected {
    /// Its prompt is done, and one token more.
    pub fn token(&self) {
        if let Some(work) = self.backlog.state().works.get_mut(&self.id) {
            work.prefill = Share::default();
            work.tokens = work.tokens.saturating_sub(1);
        }
    }
}

impl Drop for Expected {
    fn drop(&mut self) {
        self.backlog.state().works.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share(alone: u64, beside: u64) -> Share {
        Share { alone: Duration::from_millis(alone), beside: Duration::from_millis(beside) }
    }

    fn millis(duration: Duration) -> u128 {
        duration.as_millis()
    }

    #[test]
    fn others_delay_a_request_by_no_more_than_it_takes() {
        let backlog = Backlog::new();
        let first = backlog.expect(&"m".into(), share(100, 60), share(10, 2), 20);
        let second = backlog.expect(&"n".into(), share(50, 50), share(5, 5), 2);
        assert_eq!(millis(backlog.total()), 300 + 60);
        assert_eq!(millis(backlog.delay("x", Duration::MAX)), 300 + 60);
        assert_eq!(millis(backlog.delay("m", Duration::MAX)), 100 + 60, "it shares the steps of m");
        assert_eq!(millis(backlog.delay("x", Duration::from_millis(80))), 80 + 60);
        first.token();
        assert_eq!(millis(backlog.total()), 190 + 60);
        for _ in 0..30 {
            first.token();
        }
        assert_eq!(millis(backlog.total()), 60);
        drop(second);
        drop(first);
        assert_eq!(backlog.total(), Duration::ZERO);
    }
}
