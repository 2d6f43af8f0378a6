//! The memory of loads that failed: by artifact, with back-off.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::loader::Identity;

/// An artifact that did not load, and until when it is not tried again.
#[derive(Debug)]
pub(super) struct Quarantine<E> {
    identity: Identity,
    source: Arc<E>,
    backoff: Duration,
    until: Instant,
}

impl<E> Quarantine<E> {
    /// After the load of `identity` failed with `source`: `shortest` at first, twice as long as `before` when that
    /// was the same artifact, `longest` at most.
    pub(super) fn after(
        before: Option<Self>,
        failed: (Identity, Arc<E>),
        (shortest, longest): (Duration, Duration),
        now: Instant,
    ) -> Self {
        let (identity, source) = failed;
        let backoff = match before {
            Some(before) if before.identity == identity => before.backoff.saturating_mul(2).min(longest),
            _ => shortest.min(longest),
        };
        let until = now.checked_add(backoff).unwrap_or(now);
        Self { identity, source, backoff, until }
    }

    pub(super) fn is_of(&self, identity: Identity) -> bool {
        self.identity == identity
    }

    pub(super) fn source(&self) -> &Arc<E> {
        &self.source
    }

    /// The rest of the back-off; `None` once it is over.
    pub(super) fn rest(&self, now: Instant) -> Option<Duration> {
        self.until.checked_duration_since(now).filter(|rest| !rest.is_zero())
    }
}
