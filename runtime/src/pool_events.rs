//! Who hears of the devices' pools: the meter, always and first; and listeners, for as long as they keep up.
//!
//! Invariants: the meter misses nothing; a listener that is [`POOL_EVENTS_MAX`] events behind is told that it missed
//! some, and nobody waits for it. Deliberately absent: leases and their ends, of which there may be thousands a second.

use std::sync::Arc;

use scheduler::{PoolEvent, PoolEventKind, PoolObserver};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, broadcast};

use crate::limits::{POOL_EVENTS_MAX, POOL_LISTENERS_MAX};
use crate::metering::Metering;

/// Who hears of every device's pool.
pub(crate) struct PoolEvents {
    metering: Arc<Metering>,
    events: broadcast::Sender<DeviceEvent>,
    places: Arc<Semaphore>,
}

/// A change in the pool of one device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DeviceEvent {
    /// The device's name.
    pub(crate) device: Arc<str>,
    pub(crate) event: PoolEvent,
}

/// The observer of one device's pool.
pub(crate) struct DeviceObserver {
    events: Arc<PoolEvents>,
    number: usize,
    device: Arc<str>,
}

/// Hears every event from its making on.
pub(crate) struct Listener {
    events: broadcast::Receiver<DeviceEvent>,
    _place: OwnedSemaphorePermit,
}

/// What a listener hears.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// The next event.
    Event(DeviceEvent),
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

    /// What observes the pool of the device of this number.
    pub(crate) fn of_device(self: &Arc<Self>, number: usize, device: &Arc<str>) -> DeviceObserver {
        DeviceObserver { events: Arc::clone(self), number, device: Arc::clone(device) }
    }

    /// A listener, or `None` when [`POOL_LISTENERS_MAX`] listen already.
    pub(crate) fn listen(&self) -> Option<Listener> {
        let place = Arc::clone(&self.places).try_acquire_owned().ok()?;
        Some(Listener { events: self.events.subscribe(), _place: place })
    }
}

impl PoolObserver for DeviceObserver {
    fn observe(&self, event: &PoolEvent) {
        self.events.metering.observe(self.number, event);
        let is_told = !matches!(event.kind, PoolEventKind::Leased { .. } | PoolEventKind::Released { .. });
        if is_told && self.events.events.receiver_count() > 0 {
            // Fails when the last listener has just left.
            let _ = self.events.events.send(DeviceEvent { device: Arc::clone(&self.device), event: event.clone() });
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
