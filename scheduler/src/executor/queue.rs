//! The places of those who wait for their first step: bounded as a whole and for each tenant.
//!
//! A place is taken when a request arrives, before anything is done for it, so that a full queue costs nothing; it is
//! given back when the sequence steps first, or when whoever holds it drops it. One lock guards all of it; it is held for a
//! look or a change.
//!
//! Deliberately absent: the order in which sequences begin (`turns`).

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::inbox::SequenceId;

/// A place in the queue. Dropping it gives it back.
#[must_use = "dropping a place gives it back"]
pub struct Place {
    queue: Arc<Queue>,
    tenant: Arc<str>,
    /// Once something was submitted with it.
    id: Option<SequenceId>,
}

/// There is no place. Retry later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the queue is full")]
pub struct QueueFull {
    /// Which bound was reached.
    pub whose: Whose,
    /// An estimate from what was completed lately.
    pub retry_after: Duration,
}

/// Whose places are all taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// Everyone's.
    Whole,
    /// This tenant's.
    Tenant,
}

/// All places of one executor.
#[derive(Debug)]
pub(super) struct Queue {
    bounds: Bounds,
    state: Mutex<State>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) whole: usize,
    pub(super) tenant: usize,
}

#[derive(Debug, Default)]
struct State {
    taken: usize,
    by_tenant: HashMap<Arc<str>, usize>,
    /// Submitted sequences that have not begun: the model of each.
    waiting: BTreeMap<SequenceId, Arc<str>>,
}

impl Queue {
    pub(super) fn new(bounds: Bounds) -> Arc<Self> {
        Arc::new(Self { bounds, state: Mutex::default() })
    }

    /// Takes a place for `tenant`, or tells which bound is reached.
    pub(super) fn enter(self: &Arc<Self>, tenant: &Arc<str>) -> Result<Place, Whose> {
        let mut state = self.lock();
        if state.taken >= self.bounds.whole {
            return Err(Whose::Whole);
        }
        if state.by_tenant.get(tenant).is_some_and(|&taken| taken >= self.bounds.tenant) {
            return Err(Whose::Tenant);
        }
        state.taken += 1;
        *state.by_tenant.entry(Arc::clone(tenant)).or_default() += 1;
        drop(state);
        Ok(Place { queue: Arc::clone(self), tenant: Arc::clone(tenant), id: None })
    }

    /// Places taken.
    pub(super) fn taken(&self) -> usize {
        self.lock().taken
    }

    /// Sequences of the same model that wait and were submitted before `id`.
    pub(super) fn ahead(&self, id: SequenceId) -> usize {
        let state = self.lock();
        let Some(model) = state.waiting.get(&id) else { return 0 };
        state.waiting.range(..id).filter(|(_, other)| *other == model).count()
    }

    fn leave(&self, place: &Place) {
        let mut state = self.lock();
        state.taken -= 1;
        let taken = state.by_tenant.get_mut(&place.tenant).expect("a place is counted with its tenant");
        *taken -= 1;
        if *taken == 0 {
            state.by_tenant.remove(&place.tenant);
        }
        if let Some(id) = place.id {
            state.waiting.remove(&id);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing of the caller's runs under the lock, and each change is whole before anything can panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// From now on it is the place of the sequence `id`.
    pub(super) fn assign(&mut self, id: SequenceId, model: &Arc<str>) {
        self.id = Some(id);
        self.queue.lock().waiting.insert(id, Arc::clone(model));
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.queue.leave(self);
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Place").field("tenant", &self.tenant).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(whole: usize, tenant: usize) -> Arc<Queue> {
        Queue::new(Bounds { whole, tenant })
    }

    #[test]
    fn places_are_bounded_for_each_tenant_and_as_a_whole() {
        let (queue, [a, b, c]) = (queue(3, 2), ["a", "b", "c"].map(Arc::from));
        let _first = queue.enter(&a).unwrap();
        let second = queue.enter(&a).unwrap();
        assert_eq!(queue.enter(&a).unwrap_err(), Whose::Tenant);
        let _third = queue.enter(&b).unwrap();
        assert_eq!(queue.enter(&c).unwrap_err(), Whose::Whole);
        drop(second);
        let _fourth = queue.enter(&a).unwrap();
        assert_eq!(queue.taken(), 3);
    }

    #[test]
    fn nothing_is_left_of_those_who_left() {
        let queue = queue(4, 4);
        let mut place = queue.enter(&"a".into()).unwrap();
        place.assign(SequenceId(1), &"m".into());
        drop(place);
        let state = queue.lock();
        assert!(state.taken == 0 && state.by_tenant.is_empty() && state.waiting.is_empty());
    }

    #[test]
    fn those_ahead_are_the_older_ones_of_the_same_model() {
        let (queue, tenant) = (queue(9, 9), "a".into());
        let models = ["m", "n", "m", "m"].map(Arc::from);
        let mut places: Vec<_> = models.iter().map(|_| queue.enter(&tenant).unwrap()).collect();
        for (number, (place, model)) in (0..).zip(places.iter_mut().zip(&models)) {
            place.assign(SequenceId(number), model);
        }
        assert_eq!([0, 1, 2, 3].map(|id| queue.ahead(SequenceId(id))), [0, 0, 1, 2]);
        drop(places.remove(0));
        assert_eq!([0, 1, 2, 3].map(|id| queue.ahead(SequenceId(id))), [0, 0, 0, 1]);
    }
}
