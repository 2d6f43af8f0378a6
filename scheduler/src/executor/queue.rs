//! The places of those who wait for their first step: bounded as a whole and for each tenant.
//!
//! A place is taken when a request arrives, before anything is done for it, so that a full queue costs nothing; it is
//! given back when the sequence steps first, or when whoever holds it drops it. One lock guards all of it; it is held for a
//! look or a change.
//!
//! Whoever waits for its model's load stands aside ([`Place::stand_aside`]), in a bound of its own, and so keeps nobody else
//! out, however long that takes. It comes back to the queue even where that is full by then: so the queue holds
//! `whole` of those who come from outside, and at most `aside` more.
//!
//! Deliberately absent: the order in which sequences begin (`admission`).

use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::handle::Owner;
use super::inbox::SequenceId;

/// A place in the queue. Dropping it gives it back.
#[must_use = "dropping a place gives it back"]
pub struct Place {
    queue: Arc<Queue>,
    tenant: Arc<str>,
    line: Line,
    /// Once something was submitted with it.
    id: Option<SequenceId>,
}

/// Where a place counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Line {
    /// Among those who wait for a step.
    Queue,
    /// Among those who wait for a load.
    Aside,
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
    /// Of each tenant, in the queue and aside.
    pub(super) tenant: usize,
    pub(super) aside: usize,
}

#[derive(Debug, Default)]
struct State {
    queue: Taken,
    aside: Taken,
    /// Submitted sequences that have not begun.
    waiting: BTreeMap<SequenceId, Waiting>,
}

/// Places taken of one line.
#[derive(Debug, Default)]
struct Taken {
    in_all: usize,
    by_tenant: HashMap<Arc<str>, usize>,
}

impl Taken {
    fn of(&self, tenant: &str) -> usize {
        self.by_tenant.get(tenant).copied().unwrap_or(0)
    }

    fn add(&mut self, tenant: &Arc<str>) {
        self.in_all += 1;
        *self.by_tenant.entry(Arc::clone(tenant)).or_default() += 1;
    }

    fn remove(&mut self, tenant: &str) {
        self.in_all -= 1;
        let taken = self.by_tenant.get_mut(tenant).expect("a place is counted with its tenant");
        *taken -= 1;
        if *taken == 0 {
            self.by_tenant.remove(tenant);
        }
    }
}

#[derive(Debug)]
struct Waiting {
    model: Arc<str>,
    owner: Owner,
}

impl Queue {
    pub(super) fn new(bounds: Bounds) -> Arc<Self> {
        Arc::new(Self { bounds, state: Mutex::default() })
    }

    /// Takes a place for `tenant`, or tells which bound is reached.
    pub(super) fn enter(self: &Arc<Self>, tenant: &Arc<str>) -> Result<Place, Whose> {
        let mut state = self.lock();
        if state.queue.in_all >= self.bounds.whole {
            return Err(Whose::Whole);
        }
        if state.queue.of(tenant) >= self.bounds.tenant {
            return Err(Whose::Tenant);
        }
        state.queue.add(tenant);
        drop(state);
        Ok(Place { queue: Arc::clone(self), tenant: Arc::clone(tenant), line: Line::Queue, id: None })
    }

    /// Places taken in the queue, and by those who stand aside.
    pub(super) fn taken(&self) -> (usize, usize) {
        let state = self.lock();
        (state.queue.in_all, state.aside.in_all)
    }

    /// Sequences that would begin before `id` if nobody else came, as far as can be told without knowing what they will
    /// cost: those of its model that are more urgent, its tenant's older ones, and as many of each other tenant's.
    pub(super) fn ahead(&self, id: SequenceId) -> usize {
        let state = self.lock();
        let Some(mine) = state.waiting.get(&id) else { return 0 };
        let mut urgent = 0;
        let mut older: HashMap<&str, usize> = HashMap::new();
        for (&other_id, other) in state.waiting.iter().filter(|(_, other)| other.model == mine.model) {
            match other.owner.priority.cmp(&mine.owner.priority) {
                Ordering::Greater => urgent += 1,
                Ordering::Equal if other_id < id => *older.entry(&other.owner.tenant).or_default() += 1,
                Ordering::Equal | Ordering::Less => {}
            }
        }
        let own = older.remove(&*mine.owner.tenant).unwrap_or(0);
        urgent + own + older.into_values().map(|theirs| theirs.min(own + 1)).sum::<usize>()
    }

    fn leave(&self, place: &Place) {
        let mut state = self.lock();
        state.line(place.line).remove(&place.tenant);
        if let Some(id) = place.id {
            state.waiting.remove(&id);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing of the caller's runs under the lock, and each change is whole before anything can panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn line(&mut self, line: Line) -> &mut Taken {
        match line {
            Line::Queue => &mut self.queue,
            Line::Aside => &mut self.aside,
        }
    }
}

impl Place {
    /// Its request waits for a load: it makes place in the queue, unless too many stand aside already.
    pub fn stand_aside(&mut self) {
        let bounds = self.queue.bounds;
        let mut state = self.queue.lock();
        let has_room = state.aside.in_all < bounds.aside && state.aside.of(&self.tenant) < bounds.tenant;
        if self.line == Line::Queue && has_room {
            state.queue.remove(&self.tenant);
            state.aside.add(&self.tenant);
            self.line = Line::Aside;
        }
    }

    /// The wait for a load is over: it counts in the queue, full or not.
    pub fn come_back(&mut self) {
        let mut state = self.queue.lock();
        if self.line == Line::Aside {
            state.aside.remove(&self.tenant);
            state.queue.add(&self.tenant);
            self.line = Line::Queue;
        }
    }

    /// From now on it is the place of the sequence `id`.
    pub(super) fn assign(&mut self, id: SequenceId, model: &Arc<str>, owner: &Owner) {
        self.id = Some(id);
        let waiting = Waiting { model: Arc::clone(model), owner: owner.clone() };
        self.queue.lock().waiting.insert(id, waiting);
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
    use std::num::NonZeroU32;

    use super::*;
    use crate::executor::Priority;

    fn owner(tenant: &str, priority: Priority) -> Owner {
        Owner { tenant: tenant.into(), weight: NonZeroU32::MIN, priority }
    }

    fn queue(whole: usize, tenant: usize) -> Arc<Queue> {
        Queue::new(Bounds { whole, tenant, aside: whole })
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
        assert_eq!(queue.taken(), (3, 0));
    }

    #[test]
    fn those_who_wait_for_a_load_keep_nobody_out() {
        let queue = Queue::new(Bounds { whole: 2, tenant: 2, aside: 3 });
        let [a, b] = ["a", "b"].map(Arc::from);
        let mut loading = vec![queue.enter(&a).unwrap(), queue.enter(&a).unwrap()];
        assert_eq!(queue.enter(&b).unwrap_err(), Whose::Whole);
        loading.iter_mut().for_each(Place::stand_aside);
        assert_eq!(queue.taken(), (0, 2));
        // A third of the same tenant finds its bound aside reached, and keeps its place in the queue.
        let mut third = queue.enter(&a).unwrap();
        third.stand_aside();
        assert_eq!(queue.taken(), (1, 2));
        let mut other = queue.enter(&b).unwrap();
        other.stand_aside();
        other.stand_aside();
        assert_eq!(queue.taken(), (1, 3), "once");
        let mut last = queue.enter(&b).unwrap();
        last.stand_aside();
        assert_eq!(queue.taken(), (2, 3), "there is no room aside");
        // Who comes back is never refused.
        loading.iter_mut().for_each(Place::come_back);
        loading.iter_mut().for_each(Place::come_back);
        assert_eq!(queue.taken(), (4, 1));
        drop((loading, third, other, last));
        assert_eq!(queue.taken(), (0, 0));
        let state = queue.lock();
        assert!(state.queue.by_tenant.is_empty() && state.aside.by_tenant.is_empty());
    }

    #[test]
    fn nothing_is_left_of_those_who_left() {
        let queue = queue(4, 4);
        let mut place = queue.enter(&"a".into()).unwrap();
        place.assign(SequenceId(1), &"m".into(), &owner("a", Priority::Normal));
        drop(place);
        let state = queue.lock();
        assert!(state.queue.in_all == 0 && state.queue.by_tenant.is_empty() && state.waiting.is_empty());
    }

    #[test]
    fn those_ahead_are_of_the_same_model_in_fair_order() {
        use Priority::{High, Low, Normal};
        let queue = queue(9, 9);
        let waiting = [("m", "a", Normal), ("n", "a", Normal), ("m", "a", Normal), ("m", "a", Normal)];
        let more = [("m", "b", Normal), ("m", "b", Low), ("n", "b", High)];
        let mut places = Vec::new();
        for (number, (model, tenant, priority)) in (0..).zip(waiting.into_iter().chain(more)) {
            let mut place = queue.enter(&tenant.into()).unwrap();
            place.assign(SequenceId(number), &model.into(), &owner(tenant, priority));
            places.push(place);
        }
        let ahead = |ids: [u64; 7]| ids.map(|id| queue.ahead(SequenceId(id)));
        // b's first waits for one of a's three; b's urgent one goes before a's in the other model.
        assert_eq!(ahead([0, 1, 2, 3, 4, 5, 6]), [0, 1, 1, 2, 1, 4, 0]);
        drop(places.remove(0));
        assert_eq!(ahead([0, 1, 2, 3, 4, 5, 6]), [0, 1, 0, 1, 1, 3, 0]);
    }
}
