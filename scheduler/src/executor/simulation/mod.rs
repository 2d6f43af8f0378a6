//! The executor under random loads, in simulated time: deterministic, without threads.
//!
//! A world has one core, driven by hand: between choosing a step and booking it, as much time passes as the step costs,
//! and everything that clients do meanwhile. The engine's costs are affine and its memory is pages of a budget. The same
//! seed is the same run.
//!
//! What is checked, in every run:
//! - no more pages than the budget has; none freed while a sequence needs it (`engine`);
//! - a sequence that was cancelled never steps again;
//! - every sequence ends exactly once, and nothing is left in the end: no place, no page, no sequence;
//! - nothing starves: whoever can step does so before long, and all ends soon after the last arrival;
//! - each sequence's times sum to its life, its costs to its shares, and all shares to what all steps cost, exactly, whatever
//!   drafts are in them and come to.
//!
//! `fairness` has runs of a kind of their own, whose shares and latencies are compared.

mod checks;
mod engine;
mod fairness;
mod memory;
mod tally;
mod world;

use std::num::NonZeroU32;
use std::time::Duration;

use self::engine::{Knows, Script, SimModel};
use self::tally::Tally;
use self::world::{Arrival, Reading, World, WorldOptions};
use super::{ExecutorOptions, Owner, Priority};
use crate::engine::{Batching, Drafts};
use crate::testing::Random;

const SEEDS: u64 = 300;
const SEEDS_LONG: u64 = 10_000;

#[test]
fn three_hundred_seeds_keep_every_invariant() {
    simulate(0..SEEDS);
}

#[test]
#[ignore = "long: a quarter of an hour"]
fn long_ten_thousand_seeds_keep_every_invariant() {
    simulate(SEEDS..SEEDS + SEEDS_LONG);
}

#[test]
fn the_same_seed_is_the_same_run() {
    assert_eq!(run(42), run(42));
    assert_ne!(run(42), run(43));
}

fn simulate(seeds: std::ops::Range<u64>) {
    let count = usize::try_from(seeds.end - seeds.start).unwrap();
    let mut total = Tally::default();
    for seed in seeds {
        let tally = run(seed);
        assert!(tally.violations.is_empty(), "seed {seed}: {:#?}", tally.violations);
        total.add(&tally);
    }
    // The runs must reach what they are about.
    let drafted = [total.accepted, total.rejected].map(|drafts| usize::try_from(drafts).unwrap());
    assert!(drafted.into_iter().all(|drafts| drafts > count), "{drafted:?} drafts were right and wrong");
    let often = [total.completed, total.cancelled, total.room_waits, total.batched];
    let seldom = [
        total.preemptions,
        total.stalls,
        total.panicked,
        total.failed,
        total.late,
        total.refused_places,
        total.no_room,
        total.reclaims,
    ];
    let enough = often.into_iter().all(|times| times > count) && seldom.into_iter().all(|times| times > count / 10);
    assert!(enough, "the simulation hardly does anything: {total:#?}");
}

/// Runs one seed to its end.
fn run(seed: u64) -> Tally {
    let mut random = Random::new(seed);
    let options = options(&mut random);
    let models: Vec<_> = (0..1 + random.below(3)).map(|_| model(&mut random)).collect();
    let tenants: Vec<_> = (0..1 + random.below(5)).map(|number| owner(number, &mut random)).collect();
    let pages = 12 + random.below(80);
    let world = WorldOptions { budget_bytes: pages * u64::from(engine::PAGE), room_delay: millis(random.below(30)) };
    let count = 10 + random.below(80);
    // From all at once to seldom.
    let apart = 1 << random.below(9);
    let mut at = Duration::ZERO;
    let mut arrivals = Vec::new();
    for number in 0..count {
        at += millis(random.below(apart));
        arrivals.push(arrival(number, at, &tenants, &models, &mut random));
    }
    let stop = (random.below(10) == 0).then(|| millis(random.below(3_000)));
    let prefixes = random.below(2) == 0;
    if !prefixes {
        arrivals.iter_mut().for_each(|arrival| arrival.script.prefix = None);
    }
    world::simulated(async move {
        let mut world = World::new(options, models, world);
        arrivals.into_iter().for_each(|arrival| world.arrives(arrival));
        if let Some(stop) = stop {
            world.stops(stop);
        }
        world.run().await
    })
}

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn options(random: &mut Random) -> ExecutorOptions {
    let small = |random: &mut Random, bound| 1 + usize::try_from(random.below(bound)).unwrap();
    ExecutorOptions {
        queue_max: small(random, 60),
        queue_per_tenant_max: small(random, 40),
        outputs_max: small(random, 8),
        started_per_model_max: small(random, 20),
        step_sequences_max: small(random, 20),
        step_tokens_max: 16 + u32::try_from(random.below(300)).unwrap(),
        step_wall_max: millis(5 + random.below(80)),
        stall_max: millis(200 + random.below(2_000)),
        room_wait_max: millis(200 + random.below(3_000)),
        preempt_after: millis(random.below(100)),
        ..ExecutorOptions::default()
    }
}

fn model(random: &mut Random) -> SimModel {
    SimModel {
        step_micros: random.below(20_000),
        token_micros: 1 + random.below(2_000),
        position_nanos: random.below(1_000),
        knows: if random.below(4) == 0 { Knows::Nothing } else { Knows::ItsCosts },
    }
}

fn owner(number: u64, random: &mut Random) -> Owner {
    let weight = NonZeroU32::new(1 + u32::try_from(random.below(4)).unwrap()).expect("not zero");
    Owner { tenant: format!("tenant-{number}").into(), weight, priority: Priority::Normal }
}

/// What half of all sequences guess, and how often that is right in truth; the other half guesses nothing.
fn drafts(random: &mut Random) -> (Drafts, u16) {
    let permille = |random: &mut Random| u16::try_from(random.below(1_001)).unwrap();
    let tokens = if random.below(2) == 0 { u32::try_from(random.below(16)).unwrap() } else { 0 };
    let right_permille = permille(random);
    // Some know it, some are wrong about it.
    let truth = if random.below(2) == 0 { right_permille } else { permille(random) };
    (Drafts { tokens, right_permille }, truth)
}

fn arrival(number: u64, at: Duration, tenants: &[Owner], models: &[SimModel], random: &mut Random) -> Arrival {
    let mut pick = |count: usize| usize::try_from(random.below(count as u64)).unwrap();
    let (mut owner, model) = (tenants[pick(tenants.len())].clone(), pick(models.len()));
    owner.priority = [Priority::Low, Priority::Normal, Priority::Normal, Priority::High][pick(4)];
    let small = |bound: u64, random: &mut Random| 1 + u32::try_from(random.below(bound)).unwrap();
    let prompt = if random.below(8) == 0 { small(600, random) } else { small(100, random) };
    let answer = small(40, random);
    let seldom = |random: &mut Random| (random.below(25) == 0).then(|| 1 + u32::try_from(random.below(9)).unwrap());
    let drafts = drafts(random);
    let script = Script {
        number,
        prompt,
        answer,
        drafts: drafts.0,
        right_permille: drafts.1,
        batching: if random.below(12) == 0 { Batching::Alone } else { Batching::Together },
        panics_at: seldom(random),
        fails_at: seldom(random),
        prefix: (random.below(2) == 0).then(|| random.below(3)),
    };
    let reading = match random.below(6) {
        0 => Reading::Every(millis(1 + random.below(400))),
        1 => Reading::Never,
        _ => Reading::AtOnce,
    };
    let leaves = (random.below(6) == 0).then(|| at + millis(random.below(2_000)));
    let deadline = (random.below(4) == 0).then(|| millis(random.below(4_000)));
    Arrival { at, model, owner, script, reading, leaves, drops: random.below(2) == 0, deadline }
}
