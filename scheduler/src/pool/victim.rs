//! Who goes when room is needed: a pure function of a snapshot.
//!
//! Guarantees: a busy model is never chosen; nothing is chosen unless that suffices; nothing is chosen needlessly; of
//! those that will do, the least recently used go.

/// The budget at one moment, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Room {
    /// Free now.
    pub(super) free: u64,
    /// On the way back from models that were chosen earlier.
    pub(super) returning: u64,
}

/// A model in memory, at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Candidate<K, T> {
    pub(super) key: K,
    pub(super) bytes: u64,
    /// Since when nobody holds it; `None` is busy.
    pub(super) idle_since: Option<T>,
}

/// What to do about a need.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Choice<K> {
    /// Evict these (possibly none, when enough is free or on the way back) and it will fit.
    Evict(Vec<K>),
    /// Not even evicting every idle model would do; wait for a lease to end.
    Wait,
}

/// Chooses victims among `candidates` so that `needed` bytes will fit.
///
/// Idle models are taken in the order of `(idle_since, key)` until they suffice; then those of them without which it
/// would still suffice are spared, the most recently used first.
pub(super) fn choose<K, T>(needed: u64, room: Room, candidates: &[Candidate<K, T>]) -> Choice<K>
where
    K: Ord + Clone,
    T: Ord + Copy,
{
    let mut missing = needed.saturating_sub(room.free.saturating_add(room.returning));
    let mut idle: Vec<_> =
        candidates.iter().filter_map(|candidate| candidate.idle_since.map(|since| (since, candidate))).collect();
    idle.sort_unstable_by(|(a_since, a), (b_since, b)| (a_since, &a.key).cmp(&(b_since, &b.key)));

    let mut chosen = Vec::new();
    let mut surplus = 0;
    for (_, candidate) in idle {
        if missing == 0 {
            break;
        }
        surplus = candidate.bytes.saturating_sub(missing);
        missing = missing.saturating_sub(candidate.bytes);
        chosen.push(candidate);
    }
    if missing > 0 {
        return Choice::Wait;
    }
    let mut victims = Vec::with_capacity(chosen.len());
    for candidate in chosen.into_iter().rev() {
        if candidate.bytes <= surplus {
            surplus -= candidate.bytes;
        } else {
            victims.push(candidate.key.clone());
        }
    }
    victims.reverse();
    Choice::Evict(victims)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FULL: Room = Room { free: 0, returning: 0 };

    fn idle(key: u32, bytes: u64, since: u64) -> Candidate<u32, u64> {
        Candidate { key, bytes, idle_since: Some(since) }
    }

    fn busy(key: u32, bytes: u64) -> Candidate<u32, u64> {
        Candidate { key, bytes, idle_since: None }
    }

    #[test]
    fn nothing_goes_when_enough_is_free_or_returning() {
        let models = [idle(1, 10, 1)];
        assert_eq!(choose(5, Room { free: 5, returning: 0 }, &models), Choice::Evict(vec![]));
        assert_eq!(choose(5, Room { free: 2, returning: 3 }, &models), Choice::Evict(vec![]));
    }

    #[test]
    fn the_least_recently_used_goes_first() {
        let models = [idle(1, 10, 30), idle(2, 10, 10), idle(3, 10, 20)];
        assert_eq!(choose(10, FULL, &models), Choice::Evict(vec![2]));
        assert_eq!(choose(20, FULL, &models), Choice::Evict(vec![2, 3]));
    }

    #[test]
    fn a_busy_model_never_goes() {
        assert_eq!(choose(10, FULL, &[busy(1, 100), idle(2, 9, 1)]), Choice::Wait);
    }

    #[test]
    fn a_small_old_model_is_spared_when_a_larger_must_go_anyway() {
        let models = [idle(1, 10, 1), idle(2, 600, 2)];
        assert_eq!(choose(600, FULL, &models), Choice::Evict(vec![2]));
        assert_eq!(choose(601, FULL, &models), Choice::Evict(vec![1, 2]));
    }

    #[test]
    fn sums_past_the_largest_number_are_no_wrap() {
        let models = [idle(1, u64::MAX, 1), idle(2, u64::MAX, 2)];
        assert_eq!(choose(u64::MAX, Room { free: 1, returning: 0 }, &models), Choice::Evict(vec![1]));
    }

    /// The guarantees, against every subset as oracle.
    #[test]
    fn every_choice_suffices_is_idle_and_is_minimal() {
        let mut random = crate::testing::Random::new(7);
        let mut waits = 0;
        for _ in 0..20_000 {
            let count = random.below(7);
            let models: Vec<_> = (0..count)
                .map(|key| Candidate {
                    key,
                    bytes: random.below(20),
                    idle_since: (random.below(3) > 0).then(|| random.below(5)),
                })
                .collect();
            let room = Room { free: random.below(10), returning: random.below(10) };
            let needed = random.below(80);
            let there = room.free + room.returning;
            let bytes_of = |keys: &[u64]| keys.iter().map(|&key| models[usize::try_from(key).unwrap()].bytes).sum();
            match choose(needed, room, &models) {
                Choice::Wait => {
                    waits += 1;
                    let all: u64 = models.iter().filter(|model| model.idle_since.is_some()).map(|m| m.bytes).sum();
                    assert!(there + all < needed, "it waits although evicting all would do");
                }
                Choice::Evict(victims) => {
                    let gain: u64 = bytes_of(&victims);
                    assert!(there + gain >= needed, "the choice does not suffice");
                    for &victim in &victims {
                        let model = models[usize::try_from(victim).unwrap()];
                        assert!(model.idle_since.is_some(), "a busy model was chosen");
                        assert!(there + gain - model.bytes < needed, "a victim is needless");
                    }
                }
            }
        }
        assert!(waits > 1_000, "the cases cover both answers");
    }
}
