//! Splitting and learning after every step allocates nothing. Alone in its process, because it counts what is allocated.

use std::alloc::System;
use std::time::Duration;

use meter::step_costs::{SplitMethod, StepCosts, StepWork};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static COUNTING: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

#[test]
fn splitting_steps_allocates_nothing_once_it_is_warm() {
    let mut work = [StepWork::default(); 64];
    let (mut costs, mut parts) = (StepCosts::new(), Vec::new());
    let mut step = |number: u32| {
        let batch = &mut work[..2 + number as usize % 62];
        for (place, one) in batch.iter_mut().enumerate() {
            one.prefill_tokens = if place == 0 { number % 7 * 64 } else { 0 };
            one.decode_tokens = u32::from(place > 0);
            one.kv_positions = u64::from(number.wrapping_mul(2_654_435_761) >> 20);
        }
        costs.learn(Duration::from_micros(500 + 90 * batch.len() as u64), batch);
        costs.split(1_000_003, batch, &mut parts)
    };
    for number in 0..200 {
        step(number);
    }
    let region = Region::new(COUNTING);
    let affine = (200..1000).filter(|&number| matches!(step(number), SplitMethod::Affine { .. })).count();
    let change = region.change();
    assert_eq!((change.allocations, change.reallocations), (0, 0));
    assert_eq!(affine, 800, "the rule was at work");
}
