use std::collections::HashMap;
use std::sync::Arc;

use super::*;
use crate::testing::Random;

const BYTES: u64 = 10;

#[derive(Clone, Debug)]
struct FakePage(Arc<u32>);

impl Page for FakePage {
    fn bytes(&self) -> u64 {
        BYTES
    }

    fn holders(&self) -> usize {
        Arc::strong_count(&self.0)
    }
}

fn page(number: u32) -> FakePage {
    FakePage(Arc::new(number))
}

const MODEL: ModelInstance = ModelInstance(7);

fn tenant(name: &str) -> Scope {
    Scope::Tenant(name.into())
}

/// Inserts blocks of one token each; the cache alone holds them. Returns how many were taken.
fn insert(cache: &mut PrefixCache<FakePage>, scope: &Scope, tokens: &[u32]) -> usize {
    let mut place = PrefixPlace::start(MODEL);
    for (index, token) in tokens.iter().enumerate() {
        match cache.insert(place, scope, &[*token], &page(*token)) {
            Insertion::Taken(next) | Insertion::Known(next) => place = next,
            Insertion::Refused => return index,
        }
    }
    tokens.len()
}

fn numbers(cache: &mut PrefixCache<FakePage>, scope: &Scope, tokens: &[u32]) -> Vec<u32> {
    let beginning = cache.beginning(MODEL, scope, tokens.chunks(1));
    beginning.pages.iter().map(|page| *page.0).collect()
}

#[test]
fn a_beginning_is_found_as_far_as_it_agrees() {
    let mut cache = PrefixCache::new(1000);
    let a = tenant("a");
    insert(&mut cache, &a, &[1, 2, 3]);
    assert_eq!(numbers(&mut cache, &a, &[1, 2, 9, 3]), [1, 2]);
    assert_eq!(numbers(&mut cache, &a, &[1, 2, 3, 4]), [1, 2, 3]);
    assert_eq!(numbers(&mut cache, &a, &[2, 3]), [0; 0], "a block counts behind what it was computed behind alone");
    let reach = |model, tokens: &[u32]| cache.reach(Reach::start(model), &a, tokens.chunks(1)).blocks;
    assert_eq!((reach(MODEL, &[1, 2]), reach(ModelInstance(8), &[1, 2])), (2, 0));
}

/// Counts the blocks that are handed out: those that are skipped are not.
#[derive(Clone)]
struct Counted<'a>(std::slice::Chunks<'a, u32>, &'a std::cell::Cell<usize>);
impl<'a> Iterator for Counted<'a> {
    type Item = &'a [u32];
    fn next(&mut self) -> Option<&'a [u32]> {
        self.1.set(self.1.get() + 1);
        self.0.next()
    }
    fn nth(&mut self, n: usize) -> Option<&'a [u32]> {
        self.1.set(self.1.get() + 1);
        self.0.nth(n)
    }
}

/// Blocks that are looked at, among `tokens` of one each.
fn looked_at(cache: &PrefixCache<FakePage>, known: Reach, tokens: &[u32]) -> (Reach, usize) {
    let looked = std::cell::Cell::new(0);
    let scope = tenant("a");
    let reach = cache.reach(known, &scope, Counted(tokens.chunks(1), &looked));
    (reach, looked.get())
}

#[test]
fn a_beginning_that_was_found_is_not_looked_at_again() {
    let mut cache = PrefixCache::new(1000);
    let (a, tokens): (_, Vec<u32>) = (tenant("a"), (0..50).collect());
    insert(&mut cache, &a, &tokens[..30]);
    let (reach, looked) = looked_at(&cache, Reach::start(MODEL), &tokens);
    // One more each time, of what everyone shares: there is nothing.
    assert_eq!((reach.blocks, looked), (30, 31 + 1));
    assert_eq!(looked_at(&cache, reach, &tokens), (reach, 1 + 1), "the next one alone");
    insert(&mut cache, &a, &tokens[..40]);
    let (more, looked) = looked_at(&cache, reach, &tokens);
    assert_eq!((more.blocks, looked), (40, 11 + 1), "what came since");
    // The last pages go: what is left is found anew.
    assert!(cache.reclaim(15 * BYTES) >= 15 * BYTES);
    let (less, _) = looked_at(&cache, more, &tokens);
    assert_eq!(less.blocks, 25);
    cache.forget(MODEL);
    assert_eq!(looked_at(&cache, less, &tokens).0, Reach::start(MODEL));
}

#[test]
fn a_tenant_finds_its_own_and_what_is_everyones() {
    let mut cache = PrefixCache::new(1000);
    let (a, b) = (tenant("a"), tenant("b"));
    insert(&mut cache, &Scope::Everyone, &[1, 2]);
    let place = cache.beginning(MODEL, &a, [[1], [2]].iter().map(|block| &block[..])).place;
    assert!(matches!(cache.insert(place, &a, &[3], &page(3)), Insertion::Taken(_)));
    assert!(matches!(cache.insert(place, &a, &[3], &page(4)), Insertion::Known(_)));
    assert_eq!(numbers(&mut cache, &a, &[1, 2, 3]), [1, 2, 3]);
    assert_eq!(numbers(&mut cache, &b, &[1, 2, 3]), [1, 2]);
}

#[test]
fn the_least_recently_used_leaf_goes_first_and_none_that_is_held() {
    let mut cache = PrefixCache::new(4 * BYTES);
    let a = tenant("a");
    insert(&mut cache, &a, &[1, 2]);
    insert(&mut cache, &a, &[5, 6]);
    assert_eq!(numbers(&mut cache, &a, &[1]), [1], "which makes 5 and 6 the older ones");
    let held = cache.beginning(MODEL, &a, [[1], [2]].iter().map(|block| &block[..]));
    assert_eq!(cache.status().unused_bytes, 2 * BYTES);
    assert_eq!(insert(&mut cache, &a, &[7]), 1);
    assert_eq!(numbers(&mut cache, &a, &[5, 6]), [5], "6 is below 5");
    assert_eq!(cache.reclaim(1000), 2 * BYTES, "5 and 7: the others are held");
    drop(held);
    assert_eq!(cache.reclaim(1000), 2 * BYTES);
    assert_eq!(cache.status().bytes, 0);
}

#[test]
fn room_is_found_behind_pages_that_are_held() {
    let mut cache = PrefixCache::new(1000);
    let (a, b) = (tenant("a"), tenant("b"));
    let first = cache.insert(PrefixPlace::start(MODEL), &a, &[1], &page(1));
    let Insertion::Taken(place) = first else { panic!("{first:?}") };
    insert(&mut cache, &b, &[1]);
    let held = cache.beginning(MODEL, &b, [[1]].iter().map(|block| &block[..]));
    assert!(matches!(cache.insert(place, &a, &[2], &page(2)), Insertion::Taken(_)));
    assert_eq!(cache.reclaim(1000), 2 * BYTES, "the chain of a, whose first page is older than the one that is held");
    drop(held);
}

#[test]
fn what_has_no_room_is_not_kept_and_costs_nobody_else() {
    let mut cache = PrefixCache::new(2 * BYTES);
    let a = tenant("a");
    insert(&mut cache, &a, &[1, 2]);
    let held = cache.beginning(MODEL, &a, [[1], [2]].iter().map(|block| &block[..]));
    assert_eq!(cache.insert(held.place, &a, &[3], &page(3)), Insertion::Refused);
    assert_eq!(insert(&mut cache, &a, &[9]), 0);
    drop(held);
    assert_eq!(insert(&mut cache, &a, &[9]), 1);
    assert_eq!(numbers(&mut cache, &a, &[1, 2]), [1]);
}

#[test]
fn a_chain_longer_than_the_cache_keeps_its_beginning() {
    let mut cache = PrefixCache::new(2 * BYTES);
    let a = tenant("a");
    assert_eq!(insert(&mut cache, &a, &[1, 2, 3]), 2, "nothing above a block is given up for it");
    assert_eq!(numbers(&mut cache, &a, &[1, 2, 3]), [1, 2]);
}

#[test]
fn nothing_of_a_forgotten_model_is_found_or_gone_on_from() {
    let mut cache = PrefixCache::new(1000);
    let a = tenant("a");
    insert(&mut cache, &a, &[1, 2]);
    let held = cache.beginning(MODEL, &a, [[1]].iter().map(|block| &block[..]));
    assert_eq!(cache.forget(MODEL), BYTES, "the other one is held");
    assert_eq!((cache.status().bytes, cache.status().pages), (0, 0));
    assert_eq!(numbers(&mut cache, &a, &[1, 2]), [0; 0]);
    assert_eq!(cache.insert(held.place, &a, &[2], &page(2)), Insertion::Refused, "its place went with the model");
}

#[test]
fn bytes_stay_within_bounds_and_what_is_found_is_what_was_inserted() {
    for seed in 0..300 {
        random_acts(&mut Random::new(seed));
    }
}

fn random_acts(random: &mut Random) {
    let bytes_max = random.below(120);
    let mut cache = PrefixCache::new(bytes_max);
    // The pages that were inserted, by all that a block is found by.
    let mut inserted: HashMap<(u64, Vec<u32>), Vec<u32>> = HashMap::new();
    let mut held = Vec::new();
    let mut next = 0;
    for _ in 0..60 {
        let owner = random.below(3);
        let scope = if owner == 0 { Scope::Everyone } else { tenant(&owner.to_string()) };
        let tokens: Vec<u32> = (0..=random.below(5)).map(|_| u32::try_from(random.below(3)).unwrap()).collect();
        match random.below(9) {
            0..4 => {
                let mut place = PrefixPlace::start(MODEL);
                for (index, token) in tokens.iter().enumerate() {
                    next += 1;
                    match cache.insert(place, &scope, &[*token], &page(next)) {
                        Insertion::Taken(behind) => {
                            inserted.entry((owner, tokens[..=index].to_vec())).or_default().push(next);
                            place = behind;
                        }
                        Insertion::Known(behind) => place = behind,
                        Insertion::Refused => break,
                    }
                }
            }
            4..6 => {
                let beginning = cache.beginning(MODEL, &scope, tokens.chunks(1));
                for (index, page) in beginning.pages.iter().enumerate() {
                    let key = &tokens[..=index];
                    let of = |owner: u64| inserted.get(&(owner, key.to_vec())).is_some_and(|all| all.contains(&page.0));
                    assert!(of(owner) || of(0), "page {} of {key:?} for {owner}", page.0);
                }
                held.push(beginning);
            }
            6 => drop(held.pop()),
            7 => {
                let before = cache.status().bytes;
                let freed = cache.reclaim(random.below(100));
                assert_eq!(before - cache.status().bytes, freed);
            }
            _ => {
                cache.forget(MODEL);
                assert_eq!(cache.status().bytes, 0);
                inserted.clear();
            }
        }
        assert!(cache.status().bytes <= bytes_max);
        assert_eq!(cache.status().bytes, cache.status().pages * BYTES);
    }
    drop(held);
    cache.reclaim(u64::MAX);
    assert_eq!(cache.status().pages, 0, "every node can be reached from its leaves");
}

#[test]
fn what_everyone_shares_is_found_by_those_who_had_computed_a_part_of_it() {
    let mut cache = PrefixCache::new(1000);
    let a = tenant("a");
    insert(&mut cache, &a, &[1, 2]);
    insert(&mut cache, &Scope::Everyone, &[1, 2, 3, 4]);
    assert_eq!(numbers(&mut cache, &a, &[1, 2, 3, 4, 5]), [1, 2, 3, 4]);
    assert_eq!(numbers(&mut cache, &tenant("b"), &[1, 2, 3]), [1, 2, 3]);
    insert(&mut cache, &a, &[1, 2, 3, 4, 5]);
    let blocks = [[1_u32], [2], [3], [4], [5], [6]];
    let reach = cache.reach(Reach::start(MODEL), &a, blocks.iter().map(|block| &block[..]));
    assert_eq!(reach.blocks, 5);
}

#[test]
fn unwanted_pages_go_with_all_behind_them() {
    let mut cache = PrefixCache::new(1000);
    let a = tenant("a");
    insert(&mut cache, &Scope::Everyone, &[1, 2, 3]);
    insert(&mut cache, &a, &[1, 2, 9, 8]);
    insert(&mut cache, &a, &[4, 5]);
    let held = cache.beginning(MODEL, &a, [[1_u32], [2]].iter().map(|block| &block[..])).pages;
    assert_eq!(cache.forget_pages(|page| *page.0 == 77), 0);
    assert_eq!(cache.forget_pages(|page| [2, 3].contains(&*page.0)), 4 * BYTES, "one of the five is held");
    assert_eq!(numbers(&mut cache, &a, &[1, 2, 9, 8]), [1]);
    assert_eq!(numbers(&mut cache, &a, &[4, 5]), [4, 5]);
    assert_eq!((cache.status().pages, cache.status().bytes), (4, 4 * BYTES));
    drop(held);
    assert_eq!(cache.reclaim(u64::MAX), 4 * BYTES, "what is left can all be given back");
}
