//! Which of a model's queued sequences may begin: a pure policy.
//!
//! What is of low priority waits for everyone else's; then the tenant that has used least goes first; within a tenant the
//! higher priority, then what was preempted before what never began, then the oldest. A priority rises with the time that a
//! sequence has waited, so nothing starves. No tenant outruns another by calling its own work urgent, nor by having much of it
//! wait: among tenants, high is no more than normal.
//! A model has `started_max` sequences that have begun and not ended; a tenant
//! that has less than its equal share of them may begin even when others have filled it, up to twice as many in all.
//!
//! Whether anyone may begin at all (not while someone awaits memory) is not decided here.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::time::Duration;

use super::fair::VirtualTime;
use super::handle::Priority;
use super::inbox::SequenceId;
use crate::limits::PRIORITY_RISES_AFTER;

/// A sequence that waits to begin, or to begin again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waiting<'a> {
    pub(super) id: SequenceId,
    pub(super) tenant: &'a str,
    /// The tenant's.
    pub(super) time: VirtualTime,
    /// As it has aged.
    pub(super) priority: Priority,
    pub(super) begun: Begun,
}

/// Whether a sequence has stepped before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Begun {
    Yes,
    No,
}

/// A priority as it has become after waiting for so long: nothing starves.
pub(super) fn aged(priority: Priority, waited: Duration) -> Priority {
    let rises = waited.as_nanos() / PRIORITY_RISES_AFTER.as_nanos();
    match (priority, rises) {
        (Priority::Low, 0) => Priority::Low,
        (Priority::Low, 1) | (Priority::Normal, 0) => Priority::Normal,
        _ => Priority::High,
    }
}

/// What a priority is against other tenants'.
pub(super) fn among_tenants(priority: Priority) -> Priority {
    priority.min(Priority::Normal)
}

/// Those of `waiting` that may begin, best first. `started` counts what has begun, by tenant.
pub(super) fn admit<'a>(
    mut waiting: Vec<Waiting<'a>>,
    mut started: HashMap<&'a str, usize>,
    started_max: usize,
) -> Vec<SequenceId> {
    waiting
        .sort_by_key(|one| (Reverse(among_tenants(one.priority)), one.time, Reverse(one.priority), one.begun, one.id));
    let mut total: usize = started.values().sum();
    for one in &waiting {
        started.entry(one.tenant).or_default();
    }
    let share = (started_max / started.len().max(1)).max(1);
    let may_begin = |one: &Waiting<'a>| {
        let of_tenant = started.get_mut(one.tenant).expect("every tenant is counted");
        let begins = total < started_max || (*of_tenant < share && total < 2 * started_max);
        *of_tenant += usize::from(begins);
        total += usize::from(begins);
        begins
    };
    waiting.retain({
        let mut may_begin = may_begin;
        move |one| may_begin(one)
    });
    waiting.into_iter().map(|one| one.id).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Random;

    fn waiting(id: u64, tenant: &str) -> Waiting<'_> {
        let time = VirtualTime::default();
        Waiting { id: SequenceId(id), tenant, time, priority: Priority::Normal, begun: Begun::No }
    }

    fn ids(admitted: &[SequenceId]) -> Vec<u64> {
        admitted.iter().map(|id| id.0).collect()
    }

    fn charged(nanos: u64) -> VirtualTime {
        let mut times = super::super::fair::VirtualTimes::new(Duration::ZERO);
        times.charge(&(), Duration::from_nanos(nanos), std::num::NonZeroU32::MIN);
        times.time(&())
    }

    #[test]
    fn low_priority_waits_then_the_tenant_with_least_time_goes_first_then_its_most_urgent() {
        let used = charged(5);
        let queue = vec![
            Waiting { time: used, ..waiting(1, "heavy") },
            waiting(2, "light"),
            Waiting { priority: Priority::Low, ..waiting(3, "light") },
            Waiting { priority: Priority::High, time: used, ..waiting(4, "heavy") },
            Waiting { begun: Begun::Yes, ..waiting(5, "light") },
        ];
        assert_eq!(ids(&admit(queue, HashMap::new(), 9)), [5, 2, 4, 1, 3]);
    }

    #[test]
    fn a_tenant_below_its_share_begins_though_others_have_filled_the_model() {
        let started = HashMap::from([("many", 4)]);
        let queue = vec![waiting(1, "many"), waiting(2, "few"), waiting(3, "few"), waiting(4, "few")];
        assert_eq!(ids(&admit(queue, started, 4)), [2, 3], "its share is 2 of 4");
    }

    #[test]
    fn a_priority_rises_with_time_and_no_further_than_the_highest() {
        let ages = |priority| [0, 1, 2, 9].map(|times| aged(priority, times * PRIORITY_RISES_AFTER));
        assert_eq!(ages(Priority::Low), [Priority::Low, Priority::Normal, Priority::High, Priority::High]);
        assert_eq!(ages(Priority::Normal), [Priority::Normal, Priority::High, Priority::High, Priority::High]);
        assert_eq!(ages(Priority::High), [Priority::High; 4]);
    }

    #[test]
    fn bounds_hold_for_any_queue() {
        const TENANTS: [&str; 5] = ["a", "b", "c", "d", "e"];
        for seed in 0..2_000 {
            let mut random = Random::new(seed);
            let mut below = |bound| usize::try_from(random.below(bound)).unwrap();
            let max = 1 + below(8);
            let started: HashMap<_, _> = TENANTS.into_iter().map(|tenant| (tenant, below(4))).collect();
            let queue: Vec<_> = (0..below(30)).map(|id| waiting(id as u64, TENANTS[below(5)])).collect();
            let before: usize = started.values().sum();
            let admitted = admit(queue.clone(), started.clone(), max);
            assert!(before + admitted.len() <= before.max(2 * max));
            let share = (max / 5).max(1);
            for tenant in TENANTS {
                let own = |id: &SequenceId| queue[usize::try_from(id.0).unwrap()].tenant == tenant;
                let begins = admitted.iter().filter(|id| own(id)).count();
                let waits = queue.iter().any(|one| one.tenant == tenant && !admitted.contains(&one.id));
                let full = before + admitted.len() >= 2 * max;
                assert!(!waits || started[tenant] + begins >= share || full, "seed {seed}: {tenant} is kept out");
            }
        }
    }
}
