//! Who gives up memory to a sequence that needs it: a pure policy.
//!
//! First those whose readers are slow: they could not use it now. Then those of low priority, the youngest first, then the
//! youngest of all, and never one that stands above the asker. Age is that of the submission, and a low priority becomes
//! normal with time, so the order of any two changes twice at most, and they cannot preempt each other in turn for ever. (A
//! slow reader's sequence can come back above its asker; but to become slow again it must have filled its stream.) As among
//! those who wait to begin, high is no more than normal here: memory is taken from nobody for being less urgent than another
//! tenant says it is.

use std::cmp::Reverse;

use super::admission::among_tenants;
use super::handle::Priority;
use super::inbox::SequenceId;

/// Where a sequence stands when memory is short: the greatest gives way first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank {
    priority: Reverse<Priority>,
    id: SequenceId,
}

/// A sequence that holds memory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Holder {
    pub(super) rank: Rank,
    pub(super) reader: Reader,
}

/// Whether a sequence's reader keeps up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Reader {
    Keeping,
    Slow,
}

impl Rank {
    pub(super) fn new(id: SequenceId, priority: Priority) -> Self {
        Self { priority: Reverse(among_tenants(priority)), id }
    }
}

/// The next to give way to `asker`, if anyone must.
pub(super) fn victim(asker: Rank, holders: impl Iterator<Item = Holder>) -> Option<SequenceId> {
    let below =
        holders.filter(|holder| holder.rank.id != asker.id && (holder.reader == Reader::Slow || holder.rank > asker));
    below.max_by_key(|holder| (holder.reader, holder.rank)).map(|holder| holder.rank.id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Random;

    fn holder(id: u64, priority: Priority) -> Holder {
        Holder { rank: Rank::new(SequenceId(id), priority), reader: Reader::Keeping }
    }

    fn victim_of(asker: Holder, holders: &[Holder]) -> Option<u64> {
        victim(asker.rank, holders.iter().copied()).map(|id| id.0)
    }

    #[test]
    fn the_youngest_of_the_lowest_priority_gives_way() {
        use Priority::{High, Low, Normal};
        let holders = [holder(1, Normal), holder(2, Low), holder(3, Low), holder(5, Normal), holder(6, High)];
        assert_eq!(victim_of(holder(4, Normal), &holders), Some(3));
        assert_eq!(victim_of(holder(4, Normal), &holders[3..]), Some(6));
        assert_eq!(victim_of(holder(4, Low), &holders[..2]), None, "older, or of normal priority");
        assert_eq!(victim_of(holder(6, High), &holders[..1]), None, "high does not outrank older ones");
        assert_eq!(victim_of(holder(6, High), &holders[4..]), None, "not the asker itself");
    }

    #[test]
    fn a_slow_reader_gives_way_before_all() {
        let slow = Holder { reader: Reader::Slow, ..holder(1, Priority::High) };
        assert_eq!(victim_of(holder(4, Priority::Low), &[holder(5, Priority::Low), slow]), Some(1));
    }

    #[test]
    fn no_two_whose_readers_keep_up_are_each_others_victims() {
        let mut random = Random::new(3);
        for _ in 0..10_000 {
            let mut any = |id| {
                let priority =
                    [Priority::Low, Priority::Normal, Priority::High][usize::try_from(random.below(3)).unwrap()];
                holder(id, priority)
            };
            let (a, b) = (any(1), any(2));
            assert!(victim_of(a, &[b]).is_some() != victim_of(b, &[a]).is_some());
        }
    }
}
