use super::*;
use crate::testing::Random;

const SECOND: Duration = Duration::from_secs(1);

fn candidate(device: &str, work: f64) -> Candidate {
    Candidate {
        device: device.into(),
        obstacle: None,
        load: Duration::ZERO,
        ahead: Duration::ZERO,
        work: Work::Predicted(Duration::from_secs_f64(work)),
        busy_watts: None,
        busy_second_cost: None,
    }
}

fn rule(policy: Policy) -> Rule {
    Rule { policy, slack: 2.0 }
}

fn chosen(policy: Policy, candidates: &[Candidate]) -> Option<(&str, Reason)> {
    let Choice { index, reason } = choose(rule(policy), candidates)?;
    Some((&candidates[index].device, reason))
}

fn full_queue(candidate: Candidate) -> Candidate {
    Candidate { obstacle: Some(Obstacle::QueueFull), ..candidate }
}

fn full_memory(candidate: Candidate) -> Candidate {
    Candidate { obstacle: Some(Obstacle::MemoryFull { needed_bytes: 2, available_bytes: 1 }), ..candidate }
}

fn too_small(candidate: Candidate) -> Candidate {
    Candidate { obstacle: Some(Obstacle::TooLarge { needed_bytes: 2, limit_bytes: 1 }), ..candidate }
}

fn unknown(device: &str, exploration: Exploration) -> Candidate {
    Candidate { work: Work::Unknown(exploration), ..candidate(device, 0.0) }
}

fn watts(watts: f64, candidate: Candidate) -> Candidate {
    Candidate { busy_watts: Some(watts), ..candidate }
}

fn priced(cost: f64, candidate: Candidate) -> Candidate {
    Candidate { busy_second_cost: Some(cost), ..candidate }
}

#[test]
fn the_device_that_is_done_first_is_chosen_for_latency() {
    let (fast, slow) = (candidate("fast", 1.0), candidate("slow", 3.0));
    let both = [slow.clone(), fast.clone()];
    assert_eq!(chosen(Policy::Latency, &both), Some(("fast", Reason::Fastest)));
    let cold = Candidate { load: 5 * SECOND, ..fast.clone() };
    assert_eq!(chosen(Policy::Latency, &[cold, slow.clone()]), Some(("slow", Reason::Fastest)));
    let busy = Candidate { ahead: 5 * SECOND, ..fast.clone() };
    assert_eq!(chosen(Policy::Latency, &[busy, slow.clone()]), Some(("slow", Reason::Fastest)));
    let even = [candidate("first", 1.0), candidate("second", 1.0)];
    assert_eq!(chosen(Policy::Latency, &even), Some(("first", Reason::Fastest)));
}

#[test]
fn energy_and_money_are_saved_within_the_slack_alone() {
    let fast = watts(100.0, priced(9.0, candidate("fast", 1.0)));
    let frugal = |work: f64| watts(10.0, priced(1.0, candidate("frugal", work)));
    for (policy, reason) in [(Policy::Energy, Reason::LeastEnergy), (Policy::Cost, Reason::LeastCost)] {
        assert_eq!(chosen(policy, &[fast.clone(), frugal(1.9)]), Some(("frugal", reason)));
        assert_eq!(chosen(policy, &[fast.clone(), frugal(2.1)]), Some(("fast", reason)), "too slow");
        let unpriced = candidate("unknown", 0.9);
        assert_eq!(chosen(policy, &[unpriced.clone(), frugal(1.7)]), Some(("frugal", reason)), "what is known");
        let neither = [candidate("b", 1.5), unpriced];
        assert_eq!(chosen(policy, &neither), Some(("unknown", reason)), "then the faster");
    }
    // A load keeps the device busy as well.
    let cold = Candidate { load: Duration::from_millis(900), ..frugal(1.0) };
    assert_eq!(cold.prediction().unwrap().joules, Some(19.0));
    assert_eq!(chosen(Policy::Latency, &[frugal(1.5), fast]), Some(("fast", Reason::Fastest)));
}

#[test]
fn what_is_full_is_passed_over_for_the_next_best() {
    let (fast, slow) = (candidate("fast", 1.0), candidate("slow", 3.0));
    for full in [full_queue(fast.clone()), full_memory(fast.clone())] {
        assert_eq!(chosen(Policy::Latency, &[full, slow.clone()]), Some(("slow", Reason::Spilled)));
    }
    let waiting = [full_memory(slow.clone()), full_memory(fast.clone())];
    assert_eq!(chosen(Policy::Latency, &waiting), Some(("fast", Reason::AwaitsMemory)));
    let waiting = [full_queue(fast.clone()), full_memory(slow.clone())];
    assert_eq!(chosen(Policy::Latency, &waiting), Some(("slow", Reason::AwaitsMemory)));
    assert_eq!(chosen(Policy::Latency, &[full_queue(fast.clone()), full_queue(slow.clone())]), None);
    // A full one that nobody would have chosen changes nothing.
    assert_eq!(chosen(Policy::Latency, &[full_queue(slow.clone()), fast.clone()]), Some(("fast", Reason::Fastest)));
    assert_eq!(chosen(Policy::Latency, &[too_small(fast), slow]), Some(("slow", Reason::OnlyOne)));
}

#[test]
fn the_unknown_is_tried_and_then_left_alone() {
    let known = candidate("known", 1.0);
    let open = unknown("new", Exploration::Open);
    assert_eq!(chosen(Policy::Latency, &[known.clone(), open.clone()]), Some(("new", Reason::Exploring)));
    let done = unknown("new", Exploration::Done);
    assert_eq!(chosen(Policy::Energy, &[done.clone(), known.clone()]), Some(("known", Reason::LeastEnergy)));
    assert_eq!(chosen(Policy::Latency, &[done.clone(), full_queue(known)]), Some(("new", Reason::Spilled)));
    let other = unknown("other", Exploration::Done);
    assert_eq!(chosen(Policy::Latency, &[done, other]), Some(("new", Reason::Unmeasured)));
    assert_eq!(chosen(Policy::Latency, &[full_queue(open), candidate("known", 1.0)]), Some(("known", Reason::Spilled)));
}

#[test]
fn nothing_is_chosen_where_nothing_can_be() {
    assert_eq!(chosen(Policy::Latency, &[]), None);
    let ended = Candidate { obstacle: Some(Obstacle::Ended), ..candidate("a", 1.0) };
    assert_eq!(chosen(Policy::Latency, &[too_small(candidate("b", 1.0)), ended]), None);
}

fn random_candidate(random: &mut Random, index: usize) -> Candidate {
    let millis = |random: &mut Random, max: u64| Duration::from_millis(random.below(max));
    let base = Candidate {
        load: millis(random, 3) * 400,
        ahead: millis(random, 2000),
        work: match random.below(8) {
            0 => Work::Unknown(Exploration::Open),
            1 => Work::Unknown(Exploration::Done),
            _ => Work::Predicted(millis(random, 4000)),
        },
        busy_watts: (random.below(3) > 0).then(|| random.below(300) as f64),
        busy_second_cost: (random.below(3) > 0).then(|| random.below(300) as f64),
        ..candidate(&format!("device-{index}"), 0.0)
    };
    match random.below(8) {
        0 => full_queue(base),
        1 => full_memory(base),
        2 => too_small(base),
        3 => Candidate { obstacle: Some(Obstacle::Ended), ..base },
        _ => base,
    }
}

/// Seeded worlds of devices: what must hold in all of them.
#[test]
fn no_excluded_device_is_chosen_while_one_fits_and_slower_is_never_better() {
    let mut random = Random::new(11);
    for round in 0..20_000 {
        let count = usize::try_from(1 + random.below(5)).unwrap();
        let candidates: Vec<_> = (0..count).map(|index| random_candidate(&mut random, index)).collect();
        let policy = [Policy::Latency, Policy::Energy, Policy::Cost][usize::try_from(random.below(3)).unwrap()];
        let Some(Choice { index, .. }) = choose(rule(policy), &candidates) else {
            let is_hopeless = |one: &Candidate| {
                one.obstacle.as_ref().is_some_and(|obstacle| !matches!(obstacle, Obstacle::MemoryFull { .. }))
            };
            assert!(candidates.iter().all(is_hopeless), "round {round}: {candidates:?}");
            continue;
        };
        let is_free = |one: &Candidate| one.obstacle.is_none();
        assert!(is_free(&candidates[index]) || !candidates.iter().any(is_free), "round {round}: {candidates:?}");
        let lasting = candidates[index].obstacle.as_ref().is_some_and(|obstacle| !obstacle.is_passing());
        assert!(!lasting, "round {round}: {candidates:?}");
        // Any other device that becomes slower is not chosen for it.
        for other in (0..count).filter(|&other| other != index) {
            let mut slower = candidates.clone();
            slower[other].ahead += SECOND;
            if let Work::Predicted(work) = &mut slower[other].work {
                *work += SECOND;
            }
            let again = choose(rule(Policy::Latency), &slower).map(|choice| choice.index);
            let before = choose(rule(Policy::Latency), &candidates).map(|choice| choice.index);
            assert!(again != Some(other) || before == Some(other), "round {round}: {candidates:?}");
        }
    }
}

/// A stream of requests over two devices with bounded queues: each goes where it is done first by what is known, spills
/// when that one is full, and is refused only when both are.
#[test]
fn a_stream_of_requests_spills_and_comes_back() {
    const QUEUE_MAX: usize = 3;
    let works = [SECOND, 4 * SECOND];
    let backlogs = [Backlog::new(), Backlog::new()];
    let mut queues: [Vec<Expected>; 2] = [Vec::new(), Vec::new()];
    let model: Arc<str> = "m".into();
    let mut went = Vec::new();
    let mut arrive = |queues: &mut [Vec<Expected>; 2]| {
        let candidates: Vec<_> = (0..2)
            .map(|device| Candidate {
                obstacle: (queues[device].len() == QUEUE_MAX).then_some(Obstacle::QueueFull),
                ahead: backlogs[device].delay("other", works[device]),
                ..candidate(["fast", "slow"][device], works[device].as_secs_f64())
            })
            .collect();
        let choice = choose(rule(Policy::Latency), &candidates);
        if let Some(Choice { index, .. }) = choice {
            let whole = Share { alone: works[index], beside: works[index] };
            queues[index].push(backlogs[index].expect(&model, whole, Share::default(), 0));
        }
        went.push(choice.map(|Choice { index, reason }| (index, reason)));
    };
    for _ in 0..7 {
        arrive(&mut queues);
    }
    drop(queues[0].remove(0));
    arrive(&mut queues);
    let fast = Some((0, Reason::Fastest));
    let spilled = Some((1, Reason::Spilled));
    let expected = [fast, fast, fast, spilled, Some((1, Reason::Fastest)), spilled, None, fast];
    // With three of a second before it, the fast one is as slow as the idle slow one, and first in order: full, it spills.
    // With one more on the slow one, the fast one would be better again.
    for (index, (went, expected)) in went.iter().zip(&expected).enumerate() {
        let is_same_device = went.map(|(device, _)| device) == expected.map(|(device, _)| device);
        assert!(is_same_device, "request {index}: {went:?}");
    }
    assert_eq!(went[3], spilled);
    assert_eq!(went[6], None, "both are full");
    assert_eq!(went[7], fast, "it came back");
}
