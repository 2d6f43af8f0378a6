//! Books what a step did: on its members, on their tenants, on its model.

use tokio::time::Instant;

use super::Core;
use crate::engine::{Engine, SequenceState, StepCost, StepOutcome};
use crate::executor::feed::{Outcome, Space};
use crate::executor::inbox::SequenceId;
use crate::executor::roster::{Aside, after};
use crate::executor::step::{Batch, Did, Lent, Ran};
use crate::executor::timing::Doing;

impl<E: Engine> Core<E> {
    /// Takes back what a step was lent, and books what it did.
    pub(in crate::executor) fn book(&mut self, engine: &mut E, ran: Ran<E>) {
        let Ran { model, began, members, did } = ran;
        let now = Instant::now();
        let ids: Vec<_> = members.iter().map(|lent| lent.id).collect();
        for Lent { id, sequence, .. } in members {
            self.entry(id).sequence = Some(sequence);
        }
        let wall = did.as_ref().map_or_else(|_| now.saturating_duration_since(began), |did| did.cost.wall);
        self.busy += wall;
        self.turns.charge(&model, wall);
        match did {
            Ok(Did { outcomes, .. }) => {
                for (id, outcome) in ids.into_iter().zip(outcomes) {
                    self.book_one(engine, id, outcome, now);
                }
            }
            Err(message) => self.book_broken(&ids, now, || Outcome::EnginePanicked { message: message.clone() }),
        }
    }

    /// Books a step on one of its members, shows its output, and sees how it goes on.
    fn book_one(&mut self, engine: &mut E, id: SequenceId, outcome: StepOutcome<E::Output, E::Fault>, now: Instant) {
        let StepOutcome { output, phase, tokens, rejected, share, state } = outcome;
        self.roster.charge(id, share.wall);
        let entry = self.entry(id);
        entry.watch.charge(phase, share, tokens);
        entry.watch.reject(rejected);
        let space = output.map_or(Space::Free, |output| entry.feed.push(output));
        match state {
            SequenceState::Continue => self.go_on(id, space, now),
            SequenceState::Finished => self.end(id, Outcome::Completed),
            SequenceState::Failed(fault) => self.end(id, Outcome::Failed(fault)),
            SequenceState::NeedsRoom { bytes } => self.ask_for_room(engine, id, bytes, now),
        }
    }

    /// Ends the members of a step that does not return. It keeps what it was lent.
    pub(in crate::executor) fn abandon(&mut self, batch: Batch) {
        let Batch { model, began, ids } = batch;
        let now = Instant::now();
        let wall = now.saturating_duration_since(began);
        self.busy += wall;
        self.turns.charge(&model, wall);
        self.book_broken(&ids, now, || Outcome::EngineTimeout);
    }

    /// Ends the members of a step that broke. Nobody knows what each cost: they pay its time in equal parts.
    fn book_broken(&mut self, ids: &[SequenceId], now: Instant, outcome: impl Fn() -> Outcome<E::Fault>) {
        for &id in ids {
            let StepCost { wall, .. } = self.entry(id).watch.charge_broken(ids.len(), now);
            self.roster.charge(id, wall);
            self.end(id, outcome());
        }
    }

    pub(super) fn go_on(&mut self, id: SequenceId, space: Space, now: Instant) {
        let doing = match space {
            Space::Free => Doing::AwaitingTurn,
            Space::Full => {
                self.roster.set_aside(id, Aside::Stalled, after(now, self.options.stall_max));
                Doing::Stalled
            }
        };
        self.entry(id).watch.turn_to(doing, now);
    }
}
