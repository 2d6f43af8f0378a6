//! Chooses the next step: a model by its turn, then what of it steps, by the policies.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use tokio::time::Instant;

use super::{AT_HOME, Core};
use crate::engine::{Engine, StepWork};
use crate::executor::batch::{Candidate, Chosen, Company, Scene, Share, Standing, StepBounds, compose};
use crate::executor::feed::Outcome;
use crate::executor::roster::Steppable;
use crate::executor::step::{Lent, Step};
use crate::executor::timing::Doing;
use crate::panic;
use crate::pool::Identity;

impl<E: Engine> Core<E> {
    /// The next step; none where nobody can step.
    pub(super) fn choose(&mut self, engine: &E) -> Option<Step<E>> {
        loop {
            let now = Instant::now();
            let ready = self.roster.ready_models(now);
            let model = self.turns.next(&ready)?;
            let steppable = self.roster.steppable(&model, now);
            let steppable = self.of_one_artifact(steppable);
            let (candidates, tenants) = self.candidates(engine, &model, steppable);
            let Some(first) = candidates.first() else {
                // What was there has ended: its engine panicked when it was asked.
                continue;
            };
            let lease = self.entry(first.id).lease.clone();
            let company = match () {
                () if self.roster.is_visited(now) => Company::Visitors,
                () if candidates.len() > 1 || ready.len() > 1 => Company::Others,
                () => Company::Nobody,
            };
            let bounds = StepBounds {
                tokens_max: self.options.step_tokens_max.max(1),
                sequences_max: self.options.step_sequences_max.max(1),
                wall_max: self.options.step_wall_max,
            };
            let scene = Scene { candidates: &candidates, tenants: &tenants, company, bounds };
            let predict = |work: StepWork| {
                // An engine that panics on it cannot tell.
                catch_unwind(AssertUnwindSafe(|| engine.predict(lease.model(), work))).ok().flatten()
            };
            let chosen = compose(&scene, &predict);
            let members = self.lend(&candidates, &chosen, now);
            return Some(Step { lease, began: now, members });
        }
    }

    /// A model's file may have been replaced while it serves: the sequences of each artifact step by themselves, those
    /// first of which none has stepped for longest.
    fn of_one_artifact(&self, mut steppable: Vec<Steppable>) -> Vec<Steppable> {
        let artifact = |one: &Steppable| self.entries[&one.id].lease.identity();
        let mut stepped: Vec<(Identity, u64)> = Vec::new();
        for one in &steppable {
            match stepped.iter_mut().find(|(identity, _)| *identity == artifact(one)) {
                Some((_, last)) => *last = one.stepped.max(*last),
                None => stepped.push((artifact(one), one.stepped)),
            }
        }
        if let Some(&(next, _)) = stepped.iter().min_by_key(|(_, last)| *last) {
            steppable.retain(|one| artifact(one) == next);
        }
        steppable
    }

    /// What each could do with the next step, and their tenants. One that cannot be asked ends.
    fn candidates(&mut self, engine: &E, model: &Arc<str>, steppable: Vec<Steppable>) -> (Vec<Candidate>, Vec<Share>) {
        let mut indices = BTreeMap::new();
        for one in &steppable {
            indices.insert(Arc::clone(&one.owner.tenant), 0);
        }
        (0..).zip(indices.values_mut()).for_each(|(number, index)| *index = number);
        let mut shares: Vec<Option<Share>> = vec![None; indices.len()];
        let mut candidates = Vec::with_capacity(steppable.len());
        for Steppable { id, owner, priority, stepped } in steppable {
            let sequence = self.entry(id).sequence.as_ref().expect(AT_HOME);
            let demand = match catch_unwind(AssertUnwindSafe(|| engine.demand(sequence))) {
                Ok(demand) => demand,
                Err(payload) => {
                    self.end(id, Outcome::EnginePanicked { message: panic::message(&*payload) });
                    continue;
                }
            };
            let tenant = indices[&owner.tenant];
            let time = self.roster.time(model, &owner.tenant);
            let before = shares[tenant].map_or(0, |share: Share| share.standing.stepped);
            let standing = Standing { time, stepped: stepped.max(before) };
            shares[tenant] = Some(Share { weight: owner.weight, standing });
            candidates.push(Candidate { id, tenant, priority, demand, stepped });
        }
        let nobody = Share { weight: std::num::NonZeroU32::MIN, standing: Standing::default() };
        (candidates, shares.into_iter().map(|share| share.unwrap_or(nobody)).collect())
    }

    /// Takes the chosen ones out of their entries.
    fn lend(&mut self, candidates: &[Candidate], chosen: &[Chosen], now: Instant) -> Vec<Lent<E>> {
        let first = self.roster.step(chosen.iter().map(|member| candidates[member.index].id));
        for id in first {
            let entry = self.entry(id);
            entry.feed.begin();
            entry.place = None;
        }
        let lend = |member: &Chosen| {
            let id = candidates[member.index].id;
            let entry = self.entry(id);
            entry.watch.turn_to(Doing::Stepping, now);
            let sequence = entry.sequence.take().expect(AT_HOME);
            Lent { id, sequence, tokens_max: member.tokens }
        };
        chosen.iter().map(lend).collect()
    }
}
