//! Who can fit at all, and how large: by the budget, what is pinned, and whether what is larger may be paged.
//!
//! Whoever can never fit is refused at once; nothing is evicted for it. The answer is the same for those who come and for
//! those who wait already, and is looked at again whenever the budget or the pins change.

use std::sync::Arc;

use super::error::{LeaseError, NoRoom};
use super::event::Dismissal;
use super::loader::{Inspection, ModelLoader};
use super::options::Oversize;
use super::owner::Owner;
use super::slot::{Slot, State};
use crate::limits::PAGED_KV_DIVISOR;

impl<L: ModelLoader> Owner<L> {
    /// The artifact as it can be loaded: whole, or paged.
    pub(super) fn admit(&self, inspection: Inspection) -> Result<Inspection, LeaseError<L::Error>> {
        let (limit_bytes, pinned_bytes) = (self.budget.limit_bytes(), self.pinned_bytes);
        let needed_bytes = inspection.weights_bytes;
        let available_bytes = limit_bytes.saturating_sub(pinned_bytes);
        let paged_bytes = available_bytes.saturating_sub(limit_bytes.div_ceil(PAGED_KV_DIVISOR));
        if needed_bytes <= available_bytes {
            Ok(Inspection { resident_bytes: needed_bytes, ..inspection })
        } else if self.options.oversize == Oversize::Page && paged_bytes > 0 {
            Ok(Inspection { resident_bytes: paged_bytes, ..inspection })
        } else {
            Err(LeaseError::TooLarge { needed_bytes, limit_bytes, pinned_bytes })
        }
    }

    /// Bytes that a sequence of `model` can have at most: what neither its model nor pinned ones hold.
    pub(super) fn bytes_beside(&self, model: &Arc<str>) -> u64 {
        let own = self.slots.get(model).map_or(0, Slot::resident_bytes);
        self.budget.limit_bytes().saturating_sub(own).saturating_sub(self.pinned_bytes_beside(model))
    }

    /// Looks at everyone in line again, and refuses those who can never have room any more.
    pub(super) fn admit_again(&mut self) {
        for model in self.room.models.clone() {
            let State::AwaitingRoom { inspection, since } = self.slots[&model].state else {
                unreachable!("only models that await room stand in line")
            };
            match self.admit(inspection) {
                Ok(inspection) => self.slot(&model).state = State::AwaitingRoom { inspection, since },
                Err(refusal) => {
                    self.room.models.retain(|waiting| *waiting != model);
                    self.refuse_waiters(&model, &refusal);
                    self.dismiss(&model, Dismissal::TooLarge);
                }
            }
        }
        for waiter in std::mem::take(&mut self.room.sequences) {
            let available_bytes = self.bytes_beside(&waiter.model);
            if waiter.bytes > available_bytes {
                let _ = waiter.reply.send(Err(NoRoom::TooLarge { needed_bytes: waiter.bytes, available_bytes }));
            } else {
                self.room.sequences.push_back(waiter);
            }
        }
    }
}
