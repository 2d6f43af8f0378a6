//! Who goes when room is needed: a pure function of a snapshot.
//!
//! Guarantees of [`choose`]: a busy model is never chosen; nothing is chosen unless that suffices; nothing is chosen
//! needlessly; of those that will do, the least recently used go. Of [`give_way`], which ends nobody's use: nothing is
//! chosen needlessly, or in vain; of those that will do, the ones that were in memory longest.

/// The budget at one moment, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Room {
    /// Free now.
    pub(super) free: u64,
    /// On the way back from models that were chosen earlier.
    pub(super) returning: u64,
    /// Held by sequences, which give it back when they end, whether their models go or not.
    pub(super) of_sequences: u64,
}

/// A model in memory, at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Candidate<K, T> {
    pub(super) key: K,
    pub(super) bytes: u64,
    pub(super) resident_since: T,
    pub(super) standing: Standing<T>,
}

/// Whether somebody holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing<T> {
    Busy,
    IdleSince(T),
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
    let mut idle: Vec<_> = candidates
        .iter()
        .filter_map(|candidate| match candidate.standing {
            Standing::IdleSince(since) => Some((since, candidate)),
            Standing::Busy => None,
        })
        .collect();
    idle.sort_unstable_by(|(a_since, a), (b_since, b)| (a_since, &a.key).cmp(&(b_since, &b.key)));
    let missing = needed.saturating_sub(room.free.saturating_add(room.returning));
    match fewest(missing, idle.into_iter().map(|(_, candidate)| candidate)) {
        Some(victims) => Choice::Evict(victims),
        None => Choice::Wait,
    }
}

/// Bytes for somebody in line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Needed {
    /// Of this one alone.
    pub(super) alone: u64,
    /// And of those who stand before it.
    pub(super) in_all: u64,
}

/// Chooses busy models among `candidates` so that what is `needed` in all will fit once those were let go and evicted, idle
/// ones too. When all together do not suffice, all of them are chosen; but none if not even one that stood alone would
/// fit after all sequences ended, since those who stand before it may leave, and no more than that can come back.
///
/// They are taken in the order of `(resident_since, key)` and spared as [`choose`] does.
pub(super) fn give_way<K, T>(needed: Needed, room: Room, candidates: &[Candidate<K, T>]) -> Vec<K>
where
    K: Ord + Clone,
    T: Ord + Copy,
{
    let (mut busy, idle): (Vec<_>, Vec<_>) =
        candidates.iter().partition(|candidate| candidate.standing == Standing::Busy);
    let idle_bytes = idle.iter().fold(0, |sum: u64, candidate| sum.saturating_add(candidate.bytes));
    let there = room.free.saturating_add(room.returning).saturating_add(idle_bytes);
    busy.sort_unstable_by_key(|candidate| (candidate.resident_since, &candidate.key));
    let all = || busy.iter().map(|candidate| candidate.key.clone()).collect();
    let at_most = busy.iter().fold(there, |sum, candidate| sum.saturating_add(candidate.bytes));
    match fewest(needed.in_all.saturating_sub(there), busy.iter().copied()) {
        Some(chosen) => chosen,
        None if needed.alone <= at_most.saturating_add(room.of_sequences) => all(),
        None => Vec::new(),
    }
}

/// The first of `ordered` that make up for `missing` bytes, less those without which the others still do, the last of
/// them first; `None` when all together do not.
fn fewest<'a, K, T>(missing: u64, ordered: impl IntoIterator<Item = &'a Candidate<K, T>>) -> Option<Vec<K>>
where
    K: Clone + 'a,
    T: 'a,
{
    let mut missing = missing;
    let mut chosen = Vec::new();
    let mut surplus = 0;
    for candidate in ordered {
        if missing == 0 {
            break;
        }
        surplus = candidate.bytes.saturating_sub(missing);
        missing = missing.saturating_sub(candidate.bytes);
        chosen.push(candidate);
    }
    if missing > 0 {
        return None;
    }
    let mut needed = Vec::with_capacity(chosen.len());
    for candidate in chosen.into_iter().rev() {
        if candidate.bytes <= surplus {
            surplus -= candidate.bytes;
        } else {
            needed.push(candidate.key.clone());
        }
    }
    needed.reverse();
    Some(needed)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FULL: Room = Room { free: 0, returning: 0, of_sequences: 0 };

    fn idle(key: u32, bytes: u64, since: u64) -> Candidate<u32, u64> {
        Candidate { key, bytes, resident_since: 0, standing: Standing::IdleSince(since) }
    }

    fn busy(key: u32, bytes: u64) -> Candidate<u32, u64> {
        Candidate { key, bytes, resident_since: u64::from(key), standing: Standing::Busy }
    }

    fn alone(bytes: u64) -> Needed {
        Needed { alone: bytes, in_all: bytes }
    }

    #[test]
    fn nothing_goes_when_enough_is_free_or_returning() {
        let models = [idle(1, 10, 1)];
        assert_eq!(choose(5, Room { free: 5, ..FULL }, &models), Choice::Evict(vec![]));
        assert_eq!(choose(5, Room { free: 2, returning: 3, of_sequences: 9 }, &models), Choice::Evict(vec![]));
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
        assert_eq!(choose(u64::MAX, Room { free: 1, ..FULL }, &models), Choice::Evict(vec![1]));
    }

    #[test]
    fn the_longest_resident_of_the_busy_gives_way_and_idle_models_count_as_gone() {
        let models = [busy(3, 10), busy(1, 10), busy(2, 10), idle(4, 5, 1)];
        assert_eq!(give_way(alone(5), FULL, &models), [0; 0]);
        assert_eq!(give_way(alone(6), FULL, &models), [1]);
        assert_eq!(give_way(alone(25), FULL, &models), [1, 2]);
        assert_eq!(give_way(alone(25), Room { free: 5, returning: 5, of_sequences: 9 }, &models), [1]);
        assert_eq!(give_way(alone(36), FULL, &models), [0; 0], "all of them would not suffice");
        let sequences = Room { of_sequences: 1, ..FULL };
        assert_eq!(give_way(alone(36), sequences, &models), [1, 2, 3], "with what their sequences hold it does");
        assert_eq!(give_way(alone(37), sequences, &models), [0; 0]);
        let behind = |in_all| Needed { alone: 30, in_all };
        assert_eq!(give_way(behind(40), FULL, &models), [1, 2, 3], "those before it may leave");
        assert_eq!(give_way(behind(34), FULL, &models), [1, 2, 3]);
        assert_eq!(give_way(alone(600), FULL, &[busy(1, 10), busy(2, 600)]), [2], "the small one would be needless");
    }

    #[test]
    fn whoever_gives_way_is_busy_needed_and_enough_if_anything_is() {
        let mut random = crate::testing::Random::new(11);
        let (mut partly, mut in_vain) = (0, 0);
        for _ in 0..20_000 {
            let models: Vec<_> = (0..random.below(7))
                .map(|key| {
                    let bytes = random.below(20);
                    let standing =
                        if random.below(3) == 0 { Standing::IdleSince(random.below(5)) } else { Standing::Busy };
                    Candidate { key, bytes, resident_since: random.below(5), standing }
                })
                .collect();
            let needed = random.below(90);
            let room = Room { free: random.below(10), returning: random.below(10), of_sequences: random.below(3) * 5 };
            let own = random.below(needed + 1);
            let chosen = give_way(Needed { alone: own, in_all: needed }, room, &models);
            let is_chosen = |model: &&Candidate<u64, u64>| chosen.contains(&model.key);
            let bytes =
                |some: &mut dyn Iterator<Item = &Candidate<u64, u64>>| some.map(|model| model.bytes).sum::<u64>();
            let busy = || models.iter().filter(|model| model.standing == Standing::Busy);
            let there = room.free + room.returning + bytes(&mut models.iter()) - bytes(&mut busy());
            let gain = bytes(&mut busy().filter(is_chosen));
            assert_eq!(busy().filter(is_chosen).count(), chosen.len(), "an idle model was chosen");
            let all = there + bytes(&mut busy());
            if all < needed && all + room.of_sequences < own {
                assert!(chosen.is_empty(), "some give way in vain");
                in_vain += 1;
            } else if all < needed {
                assert_eq!(chosen.len(), busy().count(), "not all give way although all are needed");
            } else {
                assert!(there + gain >= needed, "the choice does not suffice");
                assert!(busy().filter(is_chosen).all(|model| there + gain - model.bytes < needed), "needless");
                partly += usize::from(!chosen.is_empty() && chosen.len() < busy().count());
            }
        }
        assert!(partly > 1_000 && in_vain > 1_000, "the cases leave something to choose: {partly}, {in_vain}");
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
                    resident_since: random.below(5),
                    standing: match random.below(3) {
                        0 => Standing::Busy,
                        _ => Standing::IdleSince(random.below(5)),
                    },
                })
                .collect();
            let room = Room { free: random.below(10), returning: random.below(10), of_sequences: 0 };
            let needed = random.below(80);
            let there = room.free + room.returning;
            let bytes_of = |keys: &[u64]| keys.iter().map(|&key| models[usize::try_from(key).unwrap()].bytes).sum();
            match choose(needed, room, &models) {
                Choice::Wait => {
                    waits += 1;
                    let all: u64 =
                        models.iter().filter(|model| model.standing != Standing::Busy).map(|m| m.bytes).sum();
                    assert!(there + all < needed, "it waits although evicting all would do");
                }
                Choice::Evict(victims) => {
                    let gain: u64 = bytes_of(&victims);
                    assert!(there + gain >= needed, "the choice does not suffice");
                    for &victim in &victims {
                        let model = models[usize::try_from(victim).unwrap()];
                        assert!(model.standing != Standing::Busy, "a busy model was chosen");
                        assert!(there + gain - model.bytes < needed, "a victim is needless");
                    }
                }
            }
        }
        assert!(waits > 1_000, "the cases cover both answers");
    }
}
