//! Who hears of the pool: the meter, always and first; and listeners, for as long as they keep up.
//!
//! Invariants: the meter misses nothing; a listener that is [`POOL_EVENTS_MAX`] events behind is told that it missed
//! some, and nobody waits for it. Deliberately absent: leases and their ends, of which there may be thousands a second.

use std::sync::Arc;

use scheduler::{PoolEvent, PoolEventKind, PoolObserver};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, broadcast};

use crate::limits::{POOL_EVENTS_MAX, POOL_LISTENERS_MAX};
use crate::metering::Metering;

/// The pool's observer.
pub(crate) struct PoolEvents {
    metering: Arc<Metering>,
    events: broadcast::Sender<PoolEvent>,
    places: Arc<Semaphore>,
}

/// Hears every event from its making on.
pub(crate) struct Listener {
    events: broadcast::Receiver<PoolEvent>,
    _place: OwnedSemaphorePermit,
}

/// What a listener hears.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// The next event.
    Event(PoolEvent),
    /// It was too slow: so many events are lost to it.
    Missed(u64),
    /// The pool is gone.
    End,
}

impl PoolEvents {
    /// Nobody but `metering` listens yet.
    pub(crate) fn new(metering: Arc<Metering>) -> Self {
        let places = Arc::new(Semaphore::new(POOL_LISTENERS_MAX));
        Self { metering, events: broadcast::Sender::new(POOL_EVENTS_MAX), places }
    }

    /// A listener, or `None` when [`POOL_LISTENERS_MAX`] listen already.
    pub(crate) fn listen(&self) -> Option<Listener> {
        let place = Arc::clone(&self.places).try_acquire_owned().ok()?;
        Some(Listener { events: self.events.subscribe(), _place: place })
    }
}

impl PoolObserver for PoolEvents {
    fn observe(&self, event: &PoolEvent) {
        self.metering.observe(event);
        let is_told = !matches!(event.kind, PoolEventKind::Leased { .. } | PoolEventKind::Released { .. });
        if is_told && self.events.receiver_count() > 0 {
            // Fails when the last listener has just left.
            let _ = self.events.send(event.clone());
        }
    }
}

impl Listener {
    /// Waits for the next event. Nothing is lost when the future is dropped.
    pub(crate) async fn next(&mut self) -> Heard {
        match self.events.recv().await {
            Ok(event) => Heard::Event(event),
            Err(broadcast::error::RecvError::Lagged(missed)) => Heard::Missed(missed),
            Err(broadcast::error::RecvError::Closed) => Heard::End,
        }
    }
}
