//! What a step of one model consists of: a pure policy.
//!
//! Sequences that decode all step together, `sequences_max` of them: each tenant's longest rested first, tenants in turn, so
//! that they rotate where there are more. Prompts are computed in chunks beside them, the most urgent first, then those of the
//! tenant that has used least, then the oldest. A step computes `tokens_max` tokens, or what is predicted to take no longer
//! than [`CHUNK_ALONE_WALL_MAX`], within which a client that leaves is noticed; while another sequence would wait for it, its
//! chunks are cut so that it is predicted to take no longer than `wall_max`, or than [`DECODES_SLOWED_MAX`] times what its
//! decodes alone would, or to a plain [`CHUNK_TOKENS_UNPREDICTED`] where nothing can be predicted; but those go first whose
//! tenants have used more than that of the first prompt. In any case [`CHUNK_TOKENS_MIN`] prompt tokens go into a step. Where
//! several tenants were here lately, so that one may come while it runs, all of a step is short ([`SHORT_STEP_DECODES`]): no
//! more decode than fit, which rotate, in half of it if prompts wait. In the end those are left out that would make the step
//! longer than fair to another tenant (`harm`). What is left of the tokens may go to drafts (`speculation`).
//!
//! A sequence that cannot share a step has one to itself when it comes first in that order.
//!
//! Invariants: where anyone can step, someone does; nobody is in a step twice.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::num::NonZeroU32;
use std::time::Duration;

use super::admission::among_tenants;
use super::fair::VirtualTime;
use super::handle::Priority;
use super::harm;
use super::inbox::SequenceId;
use super::speculation;
use crate::engine::{Batching, Demand, Phase, StepWork};
use crate::limits::{
    CHUNK_ALONE_WALL_MAX, CHUNK_TOKENS_ALONE_MIN, CHUNK_TOKENS_MIN, CHUNK_TOKENS_UNPREDICTED, DECODES_SLOWED_MAX,
    SHORT_STEP_DECODES, SHORT_STEP_WALL_MIN,
};

/// A sequence that could be in the step.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate {
    pub(super) id: SequenceId,
    /// Index of its tenant.
    pub(super) tenant: usize,
    /// As it has aged.
    pub(super) priority: Priority,
    pub(super) demand: Demand,
    /// Number of its last step among all sequences' steps; 0 before the first.
    pub(super) stepped: u64,
}

/// A tenant with candidates.
#[derive(Clone, Copy, Debug)]
pub(super) struct Share {
    pub(super) weight: NonZeroU32,
    pub(super) standing: Standing,
}

/// Who has used more: the greater one waits. Of two that are even, the one that stepped last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Standing {
    pub(super) time: VirtualTime,
    /// Number of its last step among all sequences' steps.
    pub(super) stepped: u64,
}

/// Who would wait for the step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Company {
    Nobody,
    /// A sequence of another request.
    Others,
    /// Whoever comes: several tenants were here lately.
    Visitors,
}

/// The bounds of a step.
#[derive(Clone, Copy, Debug)]
pub(super) struct StepBounds {
    pub(super) tokens_max: u32,
    pub(super) sequences_max: usize,
    pub(super) wall_max: Duration,
}

/// All that a composition depends on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scene<'a> {
    pub(super) candidates: &'a [Candidate],
    pub(super) tenants: &'a [Share],
    pub(super) company: Company,
    pub(super) bounds: StepBounds,
}

/// A candidate that is in the step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Chosen {
    /// Among the candidates.
    pub(super) index: usize,
    /// Tokens that it may compute.
    pub(super) tokens: u32,
}

/// As `admission` has it: the least goes first.
type Urgency = (Reverse<Priority>, Standing, Reverse<Priority>, SequenceId);

/// How long a step with this work would take, where that is known.
pub(super) type Predict<'a> = &'a dyn Fn(StepWork) -> Option<Duration>;

/// The members of the next step; none only where there are no candidates.
pub(super) fn compose(scene: &Scene<'_>, predict: Predict<'_>) -> Vec<Chosen> {
    let Some(first) = scene.all().min_by_key(|&index| scene.urgency(index)) else { return Vec::new() };
    if scene.candidates[first].demand.batching == Batching::Alone {
        return vec![Chosen { index: first, tokens: scene.bounds.tokens_max }];
    }
    let mut members = scene.decodes();
    let mut prompts: Vec<_> = scene.together().filter(|&index| !scene.decodes_next(index)).collect();
    prompts.sort_by_key(|&index| scene.urgency(index));
    let short = scene.short_wall(first, predict);
    if let Some(wall_max) = short {
        scene.shorten(&mut members, if prompts.is_empty() { wall_max } else { wall_max / 2 }, predict);
    }
    if let Some(&first) = prompts.first() {
        let tokens = scene.chunk_tokens((&members, &prompts), short, predict);
        members.extend(scene.chunks(&prompts, tokens));
        if scene.company != Company::Nobody {
            let wall_max = short.map_or(scene.bounds.wall_max, |short| short.min(scene.bounds.wall_max));
            harm::hasten(scene, first, (&mut members, wall_max), predict);
        }
    }
    let members = harm::leave_out(scene, members, predict);
    speculation::draft(scene, members, predict)
}

impl Scene<'_> {
    fn all(&self) -> impl Iterator<Item = usize> + use<> {
        0..self.candidates.len()
    }

    fn together(&self) -> impl Iterator<Item = usize> {
        self.all().filter(|&index| self.candidates[index].demand.batching == Batching::Together)
    }

    /// Whether its next token is all that a candidate has to compute.
    pub(super) fn decodes_next(&self, index: usize) -> bool {
        let demand = &self.candidates[index].demand;
        demand.phase == Phase::Decode && demand.tokens <= 1
    }

    /// Of a candidate's tenant.
    pub(super) fn standing(&self, index: usize) -> Standing {
        self.tenants[self.candidates[index].tenant].standing
    }

    fn urgency(&self, index: usize) -> Urgency {
        let Candidate { priority, id, .. } = self.candidates[index];
        (Reverse(among_tenants(priority)), self.standing(index), Reverse(priority), id)
    }

    /// The work of a member.
    pub(super) fn work(&self, member: Chosen) -> StepWork {
        self.candidates[member.index].demand.work(member.tokens)
    }

    /// Those that decode in this step.
    fn decodes(&self) -> Vec<Chosen> {
        let mut rested: Vec<_> = self.together().filter(|&index| self.decodes_next(index)).collect();
        rested.sort_by_key(|&index| (self.candidates[index].stepped, self.candidates[index].id));
        // The number of each within its tenant: tenants are served in rounds.
        let mut rounds: HashMap<usize, usize> = HashMap::new();
        let mut ordered: Vec<_> = rested
            .into_iter()
            .map(|index| {
                let round = rounds.entry(self.candidates[index].tenant).or_default();
                *round += 1;
                (*round, self.standing(index), index)
            })
            .collect();
        ordered.sort_by_key(|&(round, standing, index)| (round, standing, self.candidates[index].stepped, index));
        ordered.truncate(self.bounds.sequences_max.max(1));
        ordered.into_iter().map(|(_, _, index)| Chosen { index, tokens: 1 }).collect()
    }

    /// How long a step may take where tenants come and go; none where they do not, or nothing can be predicted. `one` is any
    /// candidate.
    fn short_wall(&self, one: usize, predict: Predict<'_>) -> Option<Duration> {
        if self.company != Company::Visitors {
            return None;
        }
        let kv_positions = u64::from(self.candidates[one].demand.kv_positions);
        let decode = predict(StepWork { prefill_tokens: 0, decode_tokens: 1, kv_positions })?;
        Some((SHORT_STEP_DECODES * decode).max(SHORT_STEP_WALL_MIN))
    }

    /// Keeps as many of the first of `decodes` as fit into `wall_max`, one at least.
    fn shorten(&self, decodes: &mut Vec<Chosen>, wall_max: Duration, predict: Predict<'_>) {
        let all = u32::try_from(decodes.len()).unwrap_or(u32::MAX);
        let fits = |count: u32| {
            let work = decodes.iter().take(count as usize).map(|&member| self.work(member)).sum();
            predict(work).is_some_and(|wall| wall <= wall_max)
        };
        let count = largest(all.min(1), all, fits);
        decodes.truncate(count as usize);
    }

    /// Prompt tokens that go into the step beside `decodes`, which is to be as `short` as that, if anything.
    fn chunk_tokens(
        &self,
        (decodes, prompts): (&[Chosen], &[usize]),
        short: Option<Duration>,
        predict: Predict<'_>,
    ) -> u32 {
        let decoded = u32::try_from(decodes.len()).unwrap_or(u32::MAX);
        let most = self.bounds.tokens_max.saturating_sub(decoded).max(CHUNK_TOKENS_MIN);
        // Nobody waits; but a client that leaves is noticed between steps.
        let (least, wall_max) = match self.company {
            Company::Nobody => (most.min(CHUNK_TOKENS_ALONE_MIN), CHUNK_ALONE_WALL_MAX),
            Company::Others | Company::Visitors => (CHUNK_TOKENS_MIN, self.bounds.wall_max),
        };
        // The first prompt is not cut for the sake of those who have used more than its tenant: they are.
        let first = self.standing(prompts[0]);
        let behind = decodes.iter().filter(|member| self.standing(member.index) <= first);
        let beside: StepWork = behind.map(|&member| self.work(member)).sum();
        // Where many decode, their own step takes most of that: prompts that wait behind them would hardly go on.
        let wall_max = match self.company {
            Company::Nobody => wall_max,
            Company::Others | Company::Visitors => {
                predict(beside).map_or(wall_max, |decodes| wall_max.max(DECODES_SLOWED_MAX * decodes))
            }
        };
        let wall_max = short.map_or(wall_max, |short| wall_max.min(short));
        let wall = |tokens| {
            let mut work = beside;
            work += self.chunks(prompts, tokens).into_iter().map(|member| self.work(member)).sum();
            predict(work)
        };
        if wall(least).is_none() {
            return match self.company {
                Company::Nobody => least,
                Company::Others | Company::Visitors => most.min(CHUNK_TOKENS_UNPREDICTED),
            };
        }
        largest(least, most, |tokens| wall(tokens).is_some_and(|wall| wall <= wall_max))
    }

    /// Shares `tokens` out among `prompts`, in their order.
    fn chunks(&self, prompts: &[usize], mut tokens: u32) -> Vec<Chosen> {
        let mut chunks = Vec::new();
        for &index in prompts {
            if tokens == 0 {
                break;
            }
            let taken = tokens.min(self.candidates[index].demand.tokens.max(1));
            tokens -= taken;
            chunks.push(Chosen { index, tokens: taken });
        }
        chunks
    }
}

/// The largest of `least..=most` that `fits`, where whatever is less than one that fits does too; `least` if none does.
fn largest(least: u32, most: u32, fits: impl Fn(u32) -> bool) -> u32 {
    let (mut known, mut open) = (least, most);
    while known < open {
        let middle = known + (open - known).div_ceil(2);
        if fits(middle) {
            known = middle;
        } else {
            open = middle - 1;
        }
    }
    known
}

#[cfg(test)]
pub(super) mod tests;
