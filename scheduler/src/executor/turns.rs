//! Which sequence steps next, and which must end: a pure policy, told of events and asked for decisions.
//!
//! Models take turns in a ring, one step each. Within a model the oldest sequence that can step does. A sequence set
//! aside as stalled lets the next one of its model start; one that awaits room lets none start. See the module above
//! for why.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::inbox::SequenceId;

/// Where a sequence stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Queued,
    Ready,
    Aside(Aside, Instant),
}

/// Why a sequence does not step for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Aside {
    Stalled,
    AwaitingRoom,
}

/// Which of its limits a sequence has overrun.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Overrun {
    Deadline,
    Aside(Aside),
}

/// A sequence's turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    First(SequenceId),
    Further(SequenceId),
}

#[derive(Debug)]
struct Place {
    model: Arc<str>,
    standing: Standing,
    deadline: Option<Instant>,
}

/// All sequences of one executor.
#[derive(Debug)]
pub(super) struct Turns {
    started_per_model_max: usize,
    places: HashMap<SequenceId, Place>,
    /// Sequences of each model, oldest first: those that started, then those that queue.
    lines: HashMap<Arc<str>, VecDeque<SequenceId>>,
    /// Models with sequences, but for the one that stepped last; the first that can step is next.
    ring: VecDeque<Arc<str>>,
    stepped: Option<Arc<str>>,
    timers: BTreeSet<(Instant, SequenceId, Overrun)>,
}

impl Turns {
    pub(super) fn new(started_per_model_max: usize) -> Self {
        Self {
            started_per_model_max: started_per_model_max.max(1),
            places: HashMap::new(),
            lines: HashMap::new(),
            ring: VecDeque::new(),
            stepped: None,
            timers: BTreeSet::new(),
        }
    }

    /// A sequence joins the end of its model's line.
    pub(super) fn enter(&mut self, id: SequenceId, model: &Arc<str>, deadline: Option<Instant>) {
        self.places.insert(id, Place { model: Arc::clone(model), standing: Standing::Queued, deadline });
        if let Some(deadline) = deadline {
            self.timers.insert((deadline, id, Overrun::Deadline));
        }
        if let Some(line) = self.lines.get_mut(model) {
            line.push_back(id);
        } else {
            self.lines.insert(Arc::clone(model), VecDeque::from([id]));
            self.ring.push_back(Arc::clone(model));
        }
    }

    /// Whose turn it is. The model of the turn before goes to the end of the ring only now, behind those that came
    /// while it stepped.
    pub(super) fn next(&mut self) -> Option<Turn> {
        self.ring.extend(self.stepped.take());
        let (place, turn) =
            self.ring.iter().enumerate().find_map(|(place, model)| Some((place, self.next_of(model)?)))?;
        self.stepped = self.ring.remove(place);
        if let Turn::First(id) = turn {
            self.place(id).standing = Standing::Ready;
        }
        Some(turn)
    }

    fn next_of(&self, model: &str) -> Option<Turn> {
        let mut started = 0;
        let mut awaiting_room = 0;
        for &id in &self.lines[model] {
            match self.places[&id].standing {
                Standing::Ready => return Some(Turn::Further(id)),
                Standing::Aside(Aside::Stalled, _) => started += 1,
                Standing::Aside(Aside::AwaitingRoom, _) => {
                    started += 1;
                    awaiting_room += 1;
                }
                Standing::Queued => {
                    let may_start = awaiting_room == 0 && started < self.started_per_model_max;
                    return may_start.then_some(Turn::First(id));
                }
            }
        }
        None
    }

    /// A started sequence does not step until it is resumed, or overruns `until`.
    pub(super) fn set_aside(&mut self, id: SequenceId, why: Aside, until: Instant) {
        self.resume(id, Aside::Stalled);
        self.resume(id, Aside::AwaitingRoom);
        self.place(id).standing = Standing::Aside(why, until);
        self.timers.insert((until, id, Overrun::Aside(why)));
    }

    /// A sequence that was set aside for `why` may step again. Anything else stays as it is.
    pub(super) fn resume(&mut self, id: SequenceId, why: Aside) {
        let Some(place) = self.places.get_mut(&id) else { return };
        if let Standing::Aside(reason, until) = place.standing
            && reason == why
        {
            place.standing = Standing::Ready;
            self.timers.remove(&(until, id, Overrun::Aside(why)));
        }
    }

    /// Whether `id` is set aside for `why`.
    pub(super) fn is_aside(&self, id: SequenceId, why: Aside) -> bool {
        matches!(self.places.get(&id), Some(Place { standing: Standing::Aside(reason, _), .. }) if *reason == why)
    }

    /// A sequence is over.
    pub(super) fn leave(&mut self, id: SequenceId) {
        let Some(place) = self.places.remove(&id) else { return };
        if let Some(deadline) = place.deadline {
            self.timers.remove(&(deadline, id, Overrun::Deadline));
        }
        if let Standing::Aside(why, until) = place.standing {
            self.timers.remove(&(until, id, Overrun::Aside(why)));
        }
        let line = self.lines.get_mut(&place.model).expect("every place is in a line");
        line.retain(|&other| other != id);
        if line.is_empty() {
            self.lines.remove(&place.model);
            self.ring.retain(|model| *model != place.model);
            self.stepped.take_if(|model| *model == place.model);
        }
    }

    /// A sequence that has overrun one of its limits at `now`, if any has.
    pub(super) fn overrun(&self, now: Instant) -> Option<(SequenceId, Overrun)> {
        self.timers.first().filter(|(at, ..)| *at <= now).map(|&(_, id, overrun)| (id, overrun))
    }

    /// When the next limit will be overrun.
    pub(super) fn next_timer(&self) -> Option<Instant> {
        self.timers.first().map(|&(at, ..)| at)
    }

    fn place(&mut self, id: SequenceId) -> &mut Place {
        self.places.get_mut(&id).expect("a sequence that is spoken of has a place")
    }
}

/// A time after `now` that no clock reaches stands for never.
pub(super) fn after(now: Instant, time: Duration) -> Instant {
    const NEVER: Duration = Duration::from_secs(60 * 60 * 24 * 365);
    now + time.min(NEVER)
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "a";
    const B: &str = "b";

    fn turns(sequences: &[(u64, &str)]) -> Turns {
        let mut turns = Turns::new(2);
        for &(id, model) in sequences {
            turns.enter(SequenceId(id), &model.into(), None);
        }
        turns
    }

    fn next(turns: &mut Turns) -> Option<u64> {
        turns.next().map(|turn| match turn {
            Turn::First(id) | Turn::Further(id) => id.0,
        })
    }

    #[test]
    fn models_take_turns_and_each_runs_its_oldest() {
        let mut turns = turns(&[(1, A), (2, A), (3, B), (4, A)]);
        let steps: Vec<_> = (0..4).map(|_| next(&mut turns).unwrap()).collect();
        assert_eq!(steps, [1, 3, 1, 3]);
        turns.leave(SequenceId(1));
        let steps: Vec<_> = (0..3).map(|_| next(&mut turns).unwrap()).collect();
        assert_eq!(steps, [2, 3, 2]);
        turns.leave(SequenceId(3));
        assert_eq!((next(&mut turns), next(&mut turns)), (Some(2), Some(2)));
    }

    #[test]
    fn a_model_that_comes_during_a_step_goes_before_the_one_that_steps() {
        let mut turns = turns(&[(1, A)]);
        assert_eq!(next(&mut turns), Some(1));
        turns.enter(SequenceId(2), &B.into(), None);
        assert_eq!((next(&mut turns), next(&mut turns)), (Some(2), Some(1)));
    }

    #[test]
    fn a_first_turn_is_told_from_further_ones() {
        let mut turns = turns(&[(1, A)]);
        assert_eq!(turns.next(), Some(Turn::First(SequenceId(1))));
        assert_eq!(turns.next(), Some(Turn::Further(SequenceId(1))));
    }

    #[test]
    fn a_stalled_sequence_lets_the_next_start_and_goes_first_again() {
        let mut turns = turns(&[(1, A), (2, A), (3, A)]);
        let later = Instant::now() + Duration::from_secs(1);
        next(&mut turns);
        turns.set_aside(SequenceId(1), Aside::Stalled, later);
        assert_eq!(next(&mut turns), Some(2));
        turns.set_aside(SequenceId(2), Aside::Stalled, later);
        assert_eq!(next(&mut turns), None, "two started already, the most there may be");
        turns.resume(SequenceId(2), Aside::Stalled);
        assert_eq!(next(&mut turns), Some(2));
        turns.resume(SequenceId(1), Aside::Stalled);
        assert_eq!(next(&mut turns), Some(1));
    }

    #[test]
    fn none_starts_beside_one_that_awaits_room_but_those_that_had_go_on() {
        let mut turns = turns(&[(1, A), (2, A), (3, A), (4, B)]);
        let later = Instant::now() + Duration::from_secs(1);
        next(&mut turns);
        turns.set_aside(SequenceId(1), Aside::Stalled, later);
        assert_eq!((next(&mut turns), next(&mut turns)), (Some(4), Some(2)));
        turns.resume(SequenceId(1), Aside::Stalled);
        turns.set_aside(SequenceId(1), Aside::AwaitingRoom, later);
        assert_eq!((next(&mut turns), next(&mut turns)), (Some(4), Some(2)));
        turns.leave(SequenceId(2));
        assert_eq!((next(&mut turns), next(&mut turns)), (Some(4), Some(4)), "3 must not start");
        turns.resume(SequenceId(1), Aside::AwaitingRoom);
        assert_eq!(next(&mut turns), Some(1));
    }

    #[test]
    fn a_late_resume_for_another_reason_changes_nothing() {
        let mut turns = turns(&[(1, A)]);
        let now = Instant::now();
        next(&mut turns);
        turns.set_aside(SequenceId(1), Aside::AwaitingRoom, now);
        turns.resume(SequenceId(1), Aside::Stalled);
        assert!(turns.is_aside(SequenceId(1), Aside::AwaitingRoom));
        assert_eq!(next(&mut turns), None);
    }

    #[test]
    fn limits_are_overrun_in_order_and_forgotten_with_their_sequence() {
        let mut turns = Turns::new(2);
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        turns.enter(SequenceId(1), &A.into(), Some(at(9)));
        turns.enter(SequenceId(2), &B.into(), Some(at(3)));
        next(&mut turns);
        turns.set_aside(SequenceId(1), Aside::Stalled, at(5));
        assert_eq!(turns.next_timer(), Some(at(3)));
        assert_eq!(turns.overrun(at(2)), None);
        assert_eq!(turns.overrun(at(6)), Some((SequenceId(2), Overrun::Deadline)), "while queued, too");
        turns.leave(SequenceId(2));
        assert_eq!(turns.overrun(at(6)), Some((SequenceId(1), Overrun::Aside(Aside::Stalled))));
        turns.resume(SequenceId(1), Aside::Stalled);
        assert_eq!(turns.overrun(at(6)), None);
        turns.leave(SequenceId(1));
        assert_eq!((turns.next_timer(), turns.next()), (None, None));
    }
}
