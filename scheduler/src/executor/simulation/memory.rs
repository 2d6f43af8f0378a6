//! Memory that is short: who gives way, and comes back.

use super::engine::PAGE;
use super::tally::End;
use super::*;

const MODEL: SimModel = SimModel { step_micros: 5_000, token_micros: 200, position_nanos: 0, knows: Knows::ItsCosts };

fn request(number: u64, priority: Priority, prompt: u32, answer: u32) -> Arrival {
    let owner = Owner { tenant: "tenant".into(), weight: NonZeroU32::MIN, priority };
    let (batching, reading) = (Batching::Together, Reading::AtOnce);
    let script = Script { number, prompt, answer, batching, ..Script::default() };
    Arrival { at: millis(number), model: 0, owner, script, reading, leaves: None, drops: false, deadline: None }
}

/// Runs these in ten pages of memory.
fn run(options: ExecutorOptions, arrivals: Vec<Arrival>) -> Vec<End> {
    let world = WorldOptions { budget_bytes: 10 * u64::from(PAGE), room_delay: millis(1) };
    let tally = world::simulated(async move {
        let mut world = World::new(options, vec![MODEL], world);
        arrivals.into_iter().for_each(|arrival| world.arrives(arrival));
        world.run().await
    });
    assert!(tally.violations.is_empty(), "{:#?}", tally.violations);
    assert_eq!(tally.completed, tally.ends.len(), "{tally:#?}");
    tally.ends.into_values().collect()
}

#[test]
fn the_younger_gives_way_and_computes_again() {
    let [older, younger] = [(60, 60), (60, 30)].map(|(prompt, answer)| (Priority::Normal, prompt, answer));
    let ends = run(
        ExecutorOptions::default(),
        vec![request(0, older.0, older.1, older.2), request(1, younger.0, younger.1, younger.2)],
    );
    let [older, younger] = [ends[0].timing, ends[1].timing];
    assert_eq!((older.preempted, older.recompute.tokens), (0, 0));
    assert!(younger.preempted >= 1);
    assert!(younger.recompute.tokens >= 60, "its prompt at least: {younger:?}");
    assert!(younger.recompute.wall < younger.computed());
    assert!(younger.room_wait > Duration::ZERO);
    assert!(ends[0].latency < ends[1].latency);
}

#[test]
fn the_less_urgent_gives_way_though_it_is_older() {
    let ends =
        run(ExecutorOptions::default(), vec![request(0, Priority::Low, 60, 60), request(1, Priority::High, 60, 60)]);
    assert_eq!(ends[1].timing.preempted, 0);
    assert!(ends[0].timing.preempted >= 1);
}

#[test]
fn a_slow_readers_sequence_gives_way_first() {
    let mut slow = request(0, Priority::High, 60, 20);
    slow.reading = Reading::Every(millis(1_000));
    let options = ExecutorOptions { outputs_max: 2, ..ExecutorOptions::default() };
    let ends = run(options, vec![slow, request(1, Priority::Low, 60, 60)]);
    assert_eq!(ends[1].timing.preempted, 0);
    assert!(ends[0].timing.preempted >= 1 && ends[0].timing.stall > Duration::ZERO);
}

#[test]
fn a_preempted_sequence_that_waits_in_vain_queues_again() {
    let room_wait_max = millis(120);
    let options = ExecutorOptions { room_wait_max, ..ExecutorOptions::default() };
    let ends = run(options, vec![request(0, Priority::Normal, 60, 60), request(1, Priority::Normal, 60, 30)]);
    assert!(ends[1].timing.room_wait > room_wait_max, "{:?}", ends[1].timing);
}

#[test]
fn a_sequence_that_never_fits_ends_and_nobody_gives_way_for_long() {
    let world = WorldOptions { budget_bytes: 10 * u64::from(PAGE), room_delay: millis(1) };
    let tally = world::simulated(async move {
        let mut world = World::new(ExecutorOptions::default(), vec![MODEL], world);
        world.arrives(request(0, Priority::Normal, 200, 1));
        world.arrives(request(1, Priority::Normal, 60, 10));
        world.run().await
    });
    assert!(tally.violations.is_empty(), "{:#?}", tally.violations);
    assert_eq!((tally.no_room, tally.completed, tally.preemptions), (1, 1, 0));
}
