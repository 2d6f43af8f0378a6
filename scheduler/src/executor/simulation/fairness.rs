//! Shares and latencies under loads that compete.

use std::collections::HashMap;

use super::*;

const MODEL: SimModel =
    SimModel { step_micros: 10_000, token_micros: 500, position_nanos: 100, knows: Knows::ItsCosts };

/// Memory for everyone.
const PLENTY: WorldOptions = WorldOptions { budget_bytes: 1 << 40, room_delay: Duration::ZERO };

fn tenant(number: u64, weight: u32) -> Owner {
    let weight = NonZeroU32::new(weight).expect("not zero");
    Owner { tenant: format!("tenant-{number}").into(), weight, priority: Priority::Normal }
}

/// A request of `owner` for the model of that index.
fn request(number: u64, owner: &Owner, model: usize, (prompt, answer): (u32, u32)) -> Arrival {
    let (batching, reading) = (Batching::Together, Reading::AtOnce);
    let script = Script { number, prompt, answer, batching, ..Script::default() };
    let owner = owner.clone();
    Arrival { at: Duration::ZERO, model, owner, script, reading, leaves: None, drops: false, deadline: None }
}

fn wide() -> ExecutorOptions {
    ExecutorOptions { queue_max: 100_000, queue_per_tenant_max: 100_000, ..ExecutorOptions::default() }
}

fn run(options: ExecutorOptions, models: Vec<SimModel>, arrivals: Vec<Arrival>, stop: Option<Duration>) -> Tally {
    let tally = world::simulated(async move {
        let mut world = World::new(options, models, PLENTY);
        arrivals.into_iter().for_each(|arrival| world.arrives(arrival));
        if let Some(stop) = stop {
            world.stops(stop);
        }
        world.run().await
    });
    assert!(tally.violations.is_empty(), "{:#?}", tally.violations);
    tally
}

/// What each tenant paid, in milliseconds, when all had more to do than could be done.
fn paid(tenants: &[(Owner, (u32, u32))], model: SimModel, seconds: u64) -> Vec<u128> {
    let mut arrivals = Vec::new();
    for (index, (owner, size)) in (0..).zip(tenants) {
        arrivals.extend((0..250).map(|number| request(1_000 * index + number, owner, 0, *size)));
    }
    // They come mixed, as far as their numbers go.
    arrivals.sort_by_key(|arrival| arrival.script.number % 1_000);
    let tally = run(wide(), vec![model], arrivals, Some(Duration::from_secs(seconds)));
    let mut paid = vec![Duration::ZERO; tenants.len()];
    for (number, end) in &tally.ends {
        paid[usize::try_from(number / 1_000).unwrap()] += end.timing.computed();
    }
    paid.into_iter().map(|paid| paid.as_millis()).collect()
}

#[test]
fn tenants_with_equal_weights_pay_alike_whatever_they_ask_for() {
    let sizes = [(20, 50), (400, 5), (100, 100), (5, 200)];
    let tenants: Vec<_> = (0..).zip(sizes).map(|(number, size)| (tenant(number, 1), size)).collect();
    let paid = paid(&tenants, MODEL, 15);
    let (least, most) = (paid.iter().min().unwrap(), paid.iter().max().unwrap());
    assert!(paid.iter().sum::<u128>() > 14_500, "the device is busy: {paid:?}");
    assert!(most - least <= 500, "within a few steps: {paid:?} ms");
}

#[test]
fn weights_are_shares() {
    let tenants = [(tenant(0, 1), (100, 30)), (tenant(1, 3), (30, 100))];
    let paid = paid(&tenants, MODEL, 15);
    assert!((paid[0] * 3).abs_diff(paid[1]) <= 1_500, "{paid:?} ms");
}

#[test]
fn tenants_get_their_shares_where_nothing_can_be_predicted() {
    let tenants = [(tenant(0, 1), (20, 50)), (tenant(1, 1), (400, 5))];
    let paid = paid(&tenants, SimModel { knows: Knows::Nothing, ..MODEL }, 15);
    assert!(paid[0].abs_diff(paid[1]) <= 2_000, "{paid:?} ms");
}

#[test]
fn models_share_the_device_by_weight() {
    let options = ExecutorOptions {
        model_weights: HashMap::from([("model-1".into(), NonZeroU32::new(3).expect("not zero"))]),
        ..wide()
    };
    let large = SimModel { step_micros: 40_000, ..MODEL };
    let owner = tenant(0, 1);
    let arrivals = (0..1_000).map(|number| request(number, &owner, usize::from(number >= 500), (50, 50))).collect();
    let tally = run(options, vec![large, MODEL], arrivals, Some(Duration::from_secs(20)));
    let paid = |range| tally.ends.range(range).map(|(_, end)| end.timing.computed()).sum::<Duration>().as_millis();
    let (first, second) = (paid(0..500), paid(500..1_000));
    assert!((first * 3).abs_diff(second) <= 500, "{first} and {second} ms");
}

/// Latencies of a tenant that asks once a second, with and without one that asks `times` as often.
fn latencies(times: u64, size: (u32, u32), others: (u32, u32)) -> Vec<(Duration, Duration)> {
    latencies_of(MODEL, times, size, others)
}

fn latencies_of(model: SimModel, times: u64, size: (u32, u32), others: (u32, u32)) -> Vec<(Duration, Duration)> {
    let (victim, aggressor) = (tenant(0, 1), tenant(1, 1));
    const SECONDS: u64 = 30;
    let asks = |number: u64| Arrival { at: millis(number * 1_000 + 137), ..request(number, &victim, 0, size) };
    let quiet = run(ExecutorOptions::default(), vec![model], (0..SECONDS).map(asks).collect(), None);
    let attacks = (0..SECONDS * times).map(|number| {
        let at = millis(number * 1_000 / times);
        Arrival { at, ..request(1_000_000 + number, &aggressor, 0, others) }
    });
    let arrivals = (0..SECONDS).map(asks).chain(attacks).collect();
    let loud = run(ExecutorOptions::default(), vec![model], arrivals, Some(Duration::from_secs(SECONDS + 5)));
    assert_eq!(quiet.completed, usize::try_from(SECONDS).unwrap());
    quiet.ends.iter().map(|(number, end)| (end.latency, loud.ends[number].latency)).collect()
}

/// How many of a hundred requests take no longer beside an aggressor than `percent` of their quiet time and `spare`.
fn percent_within(size: (u32, u32), others: (u32, u32), percent: u32, spare: Duration) -> usize {
    let latencies = latencies(100, size, others);
    let within = latencies.iter().filter(|(quiet, loud)| *loud <= *quiet * percent / 100 + spare).count();
    100 * within / latencies.len()
}

#[test]
fn one_who_asks_now_and_then_is_hardly_slower_beside_one_who_asks_a_hundred_times_as_often() {
    // A step may take two fifths longer for the sake of others; the rest is the step that runs when it comes.
    for (size, others) in [((50, 20), (50, 20)), ((20, 30), (400, 10)), ((200, 10), (10, 200)), ((64, 64), (64, 16))] {
        let percent = percent_within(size, others, 165, Duration::ZERO);
        assert!(percent >= 90, "{size:?} beside {others:?}: {percent} %");
    }
}

#[test]
fn a_request_of_many_quick_steps_is_not_held_up_by_long_ones() {
    // A step of 64 sequences would take as long as the whole request does alone.
    let model = SimModel { step_micros: 1_100, token_micros: 650, position_nanos: 50, knows: Knows::ItsCosts };
    let latencies = latencies_of(model, 100, (64, 16), (64, 16));
    let within = latencies.iter().filter(|(quiet, loud)| *loud <= *quiet * 175 / 100).count();
    assert!(within * 10 >= latencies.len() * 9, "{latencies:?}");
}

#[test]
fn a_request_as_short_as_a_step_waits_for_one_step_more() {
    // The step that runs when it comes cannot be shared; where many decode it is as long as two of theirs.
    let step = ExecutorOptions::default().step_wall_max * 3 / 2;
    for (size, others) in [((10, 5), (100, 100)), ((5, 1), (64, 64))] {
        let percent = percent_within(size, others, 140, step);
        assert!(percent >= 90, "{size:?} beside {others:?}: {percent} %");
    }
}

#[test]
fn a_stream_beside_long_prompts_is_never_interrupted_for_long() {
    // 60 ms is the most that a step may take, and half of it is the other tenant's.
    let (reader, writer) = (tenant(0, 1), tenant(1, 1));
    let arrivals = std::iter::once(request(0, &reader, 0, (10, 300)));
    let arrivals = arrivals.chain((1..40).map(|number| request(number, &writer, 0, (1_000, 1)))).collect();
    let tally = run(wide(), vec![MODEL], arrivals, None);
    let stream = tally.ends[&0];
    let alone = MODEL.cost(crate::engine::StepWork { prefill_tokens: 0, decode_tokens: 1, kv_positions: 310 });
    assert!(stream.latency <= 2 * 300 * alone + Duration::from_millis(200), "{:?}", stream.latency);
}

#[test]
fn drafts_that_are_right_make_a_stream_faster_and_nobody_beside_it_slower() {
    let streams = |count: u64, drafts: &dyn Fn(u64) -> (u32, u16)| {
        let arrivals = (0..count).map(|number| {
            let mut arrival = request(number, &tenant(number, 1), 0, (50, 200));
            let (tokens, right_permille) = drafts(number);
            arrival.script = Script { drafts: Drafts { tokens, right_permille }, right_permille, ..arrival.script };
            arrival
        });
        let tally = run(wide(), vec![MODEL], arrivals.collect(), None);
        (tally.ends.values().map(|end| end.latency).collect::<Vec<_>>(), tally.accepted + tally.rejected)
    };
    let alone = |right| streams(1, &|_| (8, right)).0[0];
    let plain = alone(0);
    assert!(alone(950) < plain / 3 && alone(700) < plain / 2, "{:?}, {:?} of {plain:?}", alone(950), alone(700));
    for count in [2, 8, 32] {
        let (without, none) = streams(count, &|_| (0, 0));
        // Each guesses as it can: those of even numbers well, the others hardly or not at all.
        let (with, _) = streams(count, &|number| if number % 2 == 0 { (8, 950) } else { (0, 300) });
        for (number, (with, without)) in with.iter().zip(&without).enumerate() {
            assert!(*with <= *without * 106 / 100, "{number} of {count}: {with:?} instead of {without:?}");
        }
        let (all, drafted) = streams(count, &|_| (8, 950));
        assert!(none == 0 && (count > 8 || drafted > 0), "{count}: {drafted}");
        for (number, (with, without)) in all.iter().zip(&without).enumerate() {
            assert!(*with <= *without * 106 / 100, "{number} of {count}: {with:?} instead of {without:?}");
        }
    }
}
