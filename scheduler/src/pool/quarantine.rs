//! The memory of artifacts that failed, at their load or in use: with back-off.
//!
//! One that fails in use ([`Pool::quarantine`](super::Pool::quarantine)) is in memory then, and held: whoever asks for it is
//! refused, those who hold it keep it, and it goes with the last of them. A step that never returns keeps its hold for as
//! long as its thread lives: the bytes stay reserved, which is the truth, and nobody is made to wait for them; when the
//! back-off is over, requests get the copy that is still there. Such a copy is not made to give way (`turns`): it goes as
//! soon as it can anyway. A pin ends with the quarantine.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::error::LeaseError;
use super::event::{EvictionCause, PoolEventKind};
use super::loader::{Identity, LoadFault, ModelLoader};
use super::owner::Owner;
use super::slot::{Pin, Slot, State, Unload};

/// An artifact that failed, and until when it is not tried again.
#[derive(Debug)]
pub(super) struct Quarantine<E> {
    identity: Identity,
    source: Arc<E>,
    failed: Failed,
    backoff: Duration,
    until: Instant,
}

/// When it failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failed {
    /// A load that does better ends its memory.
    AtLoad,
    /// A load does not.
    InUse,
}

impl<E: LoadFault> Quarantine<E> {
    /// After `identity` failed with `source`: `shortest` at first, `longest` at most; twice as long as `before` when that
    /// was the same artifact, unless it has done well for longer than `longest` since.
    pub(super) fn after(
        before: Option<Self>,
        (identity, source, failed): (Identity, Arc<E>, Failed),
        (shortest, longest): (Duration, Duration),
        now: Instant,
    ) -> Self {
        let backoff = match before {
            Some(before) if before.identity == identity && now.saturating_duration_since(before.until) <= longest => {
                before.backoff.saturating_mul(2).min(longest)
            }
            _ => shortest.min(longest),
        };
        let until = now.checked_add(backoff).unwrap_or(now);
        Self { identity, source, failed, backoff, until }
    }

    /// Whether a load that ended well ends its memory.
    pub(super) fn ends_with_a_load(&self) -> bool {
        self.failed == Failed::AtLoad
    }

    /// The answer to those who ask meanwhile.
    pub(super) fn refusal(&self, now: Instant) -> Option<LeaseError<E>> {
        self.rest(now).map(|retry_after| LeaseError::Quarantined { source: Arc::clone(&self.source), retry_after })
    }

    pub(super) fn is_of(&self, identity: Identity) -> bool {
        self.identity == identity
    }

    /// The rest of the back-off; `None` once it is over.
    pub(super) fn rest(&self, now: Instant) -> Option<Duration> {
        self.until.checked_duration_since(now).filter(|rest| !rest.is_zero())
    }
}

impl<L: ModelLoader> Slot<L> {
    /// Why the copy in memory is given to nobody, if that is so.
    pub(super) fn faulty(&self, now: Instant) -> Option<LeaseError<L::Error>> {
        let State::Resident { model, .. } = &self.state else { return None };
        self.quarantine.as_ref().filter(|quarantine| quarantine.is_of(model.identity))?.refusal(now)
    }
}

impl<L: ModelLoader> Owner<L> {
    /// A model failed in the hands of somebody who holds it, or did a moment ago.
    pub(super) fn on_fault(&mut self, name: &Arc<str>, identity: Identity, source: Arc<L::Error>) {
        let now = Instant::now();
        let bounds = (self.options.quarantine_min, self.options.quarantine_max);
        let Some(slot) = self.slots.get_mut(name) else { return };
        if slot.quarantine.as_ref().is_some_and(|known| known.is_of(identity) && known.rest(now).is_some()) {
            // Another who shared the step was quicker.
            return;
        }
        let message = source.to_string();
        let quarantine = Quarantine::after(slot.quarantine.take(), (identity, source, Failed::InUse), bounds, now);
        let backoff = quarantine.backoff;
        slot.quarantine = Some(quarantine);
        tracing::warn!(model = &**name, error = message, ?backoff, "quarantined");
        self.tell(name, PoolEventKind::Quarantined { message, backoff });
        let slot = self.slot(name);
        let Some(refusal) = slot.faulty(now) else { return };
        slot.unload = Unload::Faulty;
        let is_idle = matches!(slot.state, State::Resident { idle: Some(_), .. });
        // Those who wait for it while it gives way.
        self.refuse_waiters(name, &refusal);
        if self.slot(name).pin == Pin::Pinned {
            self.unpin(name);
        }
        if is_idle && self.slot(name).resident_bytes() > 0 {
            self.evict(name, EvictionCause::Quarantined);
        }
    }
}
