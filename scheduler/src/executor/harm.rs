//! The rule of no harm: sharing a step may never make a tenant slower than a fair slice of time for itself would: a pure
//! policy.
//!
//! Of k tenants that can step, each with its weight w, tenant t's fair slice takes (Σ w ∕ w_t) times what t's own sequences
//! alone would: once for itself, the rest for the others. A step in which t takes part may be predicted to take as long as t
//! alone and [`SHARED_PERCENT`] of that rest; what is left makes up for the step that was running when t came. A tenant that
//! has used so much less than the others that it is owed [`OWED_MIN`] has its steps nearly to itself: [`OWED_SHARED_PERCENT`].
//! Where a step would take longer, sequences are left out, or their chunks cut, those of the tenant with the most virtual time
//! first and of these the ones that stepped last. Who is left out pays nothing, so its turn comes: none starves.
//!
//! Where nothing can be predicted nothing is left out.

use std::cmp::Reverse;
use std::time::Duration;

use super::batch::{Chosen, Predict, Scene};
use crate::engine::StepWork;
use crate::limits::{CHUNK_TOKENS_MIN, OWED_MIN, OWED_SHARED_PERCENT, SHARED_PERCENT};

/// What is left of `members`; at least one, if there was one.
pub(super) fn leave_out(scene: &Scene<'_>, mut members: Vec<Chosen>, predict: Predict<'_>) -> Vec<Chosen> {
    let weights: u64 = scene.tenants.iter().map(|share| u64::from(share.weight.get())).sum();
    let mut alone: Vec<Option<Duration>> =
        (0..scene.tenants.len()).map(|tenant| predict_alone(scene, &members, tenant, predict)).collect();
    loop {
        let Some(whole) = predict(work(scene, members.iter())) else { return members };
        let is_harmed = |tenant: usize, alone: &Option<Duration>| {
            let own = u64::from(scene.tenants[tenant].weight.get());
            let percent = 100 * u128::from(own) + shared_percent(scene, tenant) * u128::from(weights - own);
            alone.is_some_and(|alone| whole.as_nanos() * u128::from(own) * 100 > alone.as_nanos() * percent)
        };
        let present = alone.iter().filter(|alone| alone.is_some()).count();
        if present <= 1 || !alone.iter().enumerate().any(|(tenant, alone)| is_harmed(tenant, alone)) {
            return members;
        }
        let Some(tenant) = cut(scene, &mut members) else { return members };
        alone[tenant] = predict_alone(scene, &members, tenant, predict);
    }
}

/// Of the time that others' fair slices would take, how much a step of `tenant` may.
fn shared_percent(scene: &Scene<'_>, tenant: usize) -> u128 {
    let times = scene.tenants.iter().map(|share| share.standing.time).enumerate();
    let least_other = times.filter(|&(other, _)| other != tenant).map(|(_, time)| time).min();
    let own = scene.tenants[tenant].standing.time;
    if least_other.is_some_and(|other| own.is_behind(other, OWED_MIN)) { OWED_SHARED_PERCENT } else { SHARED_PERCENT }
}

/// Leaves out of a step that is predicted to take longer than `wall_max` who stands above the tenant of the candidate
/// `first`, until it is not.
pub(super) fn hasten(
    scene: &Scene<'_>,
    first: usize,
    (members, wall_max): (&mut Vec<Chosen>, Duration),
    predict: Predict<'_>,
) {
    let is_late = |members: &[Chosen]| predict(work(scene, members.iter())).is_some_and(|wall| wall > wall_max);
    let is_above = |member: &Chosen| scene.standing(member.index) > scene.standing(first);
    while members.iter().any(is_above) && is_late(members) {
        cut(scene, members);
    }
}

/// What the sequences of `tenant` alone would take; none where it has none in the step.
fn predict_alone(scene: &Scene<'_>, members: &[Chosen], tenant: usize, predict: Predict<'_>) -> Option<Duration> {
    let own = || members.iter().filter(|member| scene.candidates[member.index].tenant == tenant);
    own().next()?;
    predict(work(scene, own()))
}

fn work<'a>(scene: &Scene<'_>, members: impl Iterator<Item = &'a Chosen>) -> StepWork {
    members.map(|&member| scene.work(member)).sum()
}

/// Takes a little out of the step: of the tenant with the most time. Returns whose.
fn cut(scene: &Scene<'_>, members: &mut Vec<Chosen>) -> Option<usize> {
    let last = |member: &Chosen| {
        let candidate = &scene.candidates[member.index];
        (
            scene.standing(member.index),
            candidate.tenant,
            member.tokens > 1,
            candidate.stepped,
            Reverse(candidate.priority),
            candidate.id,
        )
    };
    let place = (0..members.len()).max_by_key(|&place| last(&members[place]))?;
    let tokens = members[place].tokens;
    if tokens > CHUNK_TOKENS_MIN {
        members[place].tokens = (tokens / 2).max(CHUNK_TOKENS_MIN);
        Some(scene.candidates[members[place].index].tenant)
    } else {
        Some(scene.candidates[members.remove(place).index].tenant)
    }
}
