use std::num::NonZeroU32;

use super::*;

const A: &str = "a";
const B: &str = "b";

fn owner(tenant: &str) -> Owner {
    Owner { tenant: tenant.into(), weight: NonZeroU32::MIN, priority: Priority::Normal }
}

fn roster(sequences: &[(u64, &str)]) -> Roster {
    let mut roster = Roster::new(2);
    for &(id, model) in sequences {
        roster.enter(SequenceId(id), &model.into(), owner("t"), Instant::now(), None);
    }
    roster
}

/// The sequences of `model` that could step, those that have begun first.
fn steppable(roster: &mut Roster, model: &str) -> Vec<u64> {
    roster.steppable(&model.into(), Instant::now()).iter().map(|one| one.id.0).collect()
}

fn step(roster: &mut Roster, id: u64) -> Vec<SequenceId> {
    roster.step([SequenceId(id)].into_iter())
}

fn later() -> Instant {
    Instant::now() + Duration::from_secs(1)
}

#[test]
fn only_models_with_something_to_step_are_ready() {
    let mut roster = roster(&[(1, A), (2, B)]);
    assert_eq!(roster.ready_models(Instant::now()).len(), 2);
    step(&mut roster, 1);
    roster.set_aside(SequenceId(1), Aside::Stalled, later());
    assert_eq!(roster.ready_models(Instant::now()), [B.into()]);
    roster.leave(SequenceId(2));
    assert!(roster.ready_models(Instant::now()).is_empty());
}

#[test]
fn a_first_step_is_told_from_further_ones() {
    let mut roster = roster(&[(1, A)]);
    assert_eq!(step(&mut roster, 1), [SequenceId(1)]);
    assert!(step(&mut roster, 1).is_empty());
}

#[test]
fn as_many_begin_as_may_be_started_and_slow_readers_count() {
    let mut roster = roster(&[(1, A), (2, A), (3, A)]);
    assert_eq!(steppable(&mut roster, A), [1, 2]);
    step(&mut roster, 1);
    roster.set_aside(SequenceId(1), Aside::Stalled, later());
    assert_eq!(steppable(&mut roster, A), [2]);
    assert_eq!(roster.resume(SequenceId(1), Aside::Stalled), Some(History::Kept));
    assert_eq!(steppable(&mut roster, A), [1, 2]);
    roster.leave(SequenceId(1));
    assert_eq!(steppable(&mut roster, A), [2, 3]);
}

#[test]
fn none_of_a_model_begins_beside_one_that_awaits_room_but_those_that_had_go_on() {
    let mut roster = roster(&[(1, A), (2, A), (3, A), (4, B)]);
    step(&mut roster, 1);
    step(&mut roster, 2);
    roster.set_aside(SequenceId(1), Aside::AwaitingRoom, later());
    assert_eq!((steppable(&mut roster, A), steppable(&mut roster, B)), (vec![2], vec![4]));
    roster.leave(SequenceId(2));
    assert!(steppable(&mut roster, A).is_empty());
    roster.resume(SequenceId(1), Aside::AwaitingRoom);
    assert_eq!(steppable(&mut roster, A), [1, 3]);
}

#[test]
fn none_at_all_begins_while_one_awaits_what_others_gave_up_for_it() {
    let mut roster = roster(&[(1, A), (2, B), (3, B)]);
    step(&mut roster, 1);
    step(&mut roster, 2);
    roster.set_aside(SequenceId(1), Aside::AwaitingRoom, later());
    roster.claim(SequenceId(1));
    roster.take_history(SequenceId(2));
    assert!(steppable(&mut roster, B).is_empty());
    roster.resume(SequenceId(1), Aside::AwaitingRoom);
    assert_eq!(steppable(&mut roster, B), [2, 3], "the preempted one first");
    assert!(step(&mut roster, 2).is_empty(), "it had stepped before");
}

#[test]
fn one_preempted_while_its_reader_is_slow_queues_when_that_has_caught_up() {
    let mut roster = roster(&[(1, A), (2, A)]);
    step(&mut roster, 1);
    roster.set_aside(SequenceId(1), Aside::Stalled, later());
    roster.take_history(SequenceId(1));
    assert_eq!(steppable(&mut roster, A), [2]);
    assert_eq!(roster.overrun(later()), Some((SequenceId(1), Overrun::Aside(Aside::Stalled))));
    assert_eq!(roster.resume(SequenceId(1), Aside::Stalled), Some(History::Taken));
    assert_eq!(steppable(&mut roster, A), [1, 2]);
}

#[test]
fn a_late_resume_for_another_reason_changes_nothing() {
    let mut roster = roster(&[(1, A)]);
    step(&mut roster, 1);
    roster.set_aside(SequenceId(1), Aside::AwaitingRoom, later());
    assert_eq!(roster.resume(SequenceId(1), Aside::Stalled), None);
    assert!(roster.is_aside(SequenceId(1), Aside::AwaitingRoom));
    assert!(steppable(&mut roster, A).is_empty());
}

#[test]
fn limits_are_overrun_in_order_and_forgotten_with_their_sequence() {
    let mut roster = Roster::new(2);
    let start = Instant::now();
    let at = |seconds| start + Duration::from_secs(seconds);
    roster.enter(SequenceId(1), &A.into(), owner("t"), start, Some(at(9)));
    roster.enter(SequenceId(2), &B.into(), owner("t"), start, Some(at(3)));
    step(&mut roster, 1);
    roster.set_aside(SequenceId(1), Aside::AwaitingRoom, at(5));
    roster.lose_patience(SequenceId(1), at(1));
    roster.lose_patience(SequenceId(1), at(4));
    assert_eq!(roster.next_timer(), Some(at(3)));
    assert_eq!(roster.overrun(at(2)), None);
    assert_eq!(roster.overrun(at(6)), Some((SequenceId(2), Overrun::Deadline)), "while queued, too");
    roster.leave(SequenceId(2));
    assert_eq!(roster.overrun(at(6)), Some((SequenceId(1), Overrun::Patience)));
    roster.resume(SequenceId(1), Aside::AwaitingRoom);
    assert_eq!(roster.overrun(at(6)), None, "neither of the two is left");
    roster.leave(SequenceId(1));
    assert_eq!(roster.next_timer(), None);
}

#[test]
fn the_tenant_that_paid_less_begins_first() {
    let mut roster = Roster::new(1);
    for (id, tenant) in [(1, "t"), (2, "t"), (3, "u")] {
        roster.enter(SequenceId(id), &A.into(), owner(tenant), Instant::now(), None);
    }
    assert_eq!(steppable(&mut roster, A)[0], 1);
    step(&mut roster, 1);
    roster.charge(SequenceId(1), Duration::from_millis(5));
    roster.leave(SequenceId(1));
    assert_eq!(steppable(&mut roster, A)[0], 3);
}
