use std::path::Path;

use kernels::{KvCache, KvPrecision};
use models::contexts::{ContextAbout, ContextDraft};

use super::*;
use crate::tenancy::ContextAuthority;

const SHAPE: KvShape =
    KvShape { layers: 1, kv_heads: 1, head_dim: 16, block_positions: KV_BLOCK_POSITIONS, precision: KvPrecision::F16 };
const ISA: Isa = Isa::Scalar;

fn key() -> ContextKey {
    ContextKey::of_files([1, 2, 3, 4], 5, ISA, SHAPE)
}

/// Two blocks of tokens, of which the second is of this number, and some behind them.
fn tokens(number: u32) -> Vec<u32> {
    [[1; KV_BLOCK_POSITIONS], [number; KV_BLOCK_POSITIONS], [9; KV_BLOCK_POSITIONS]].concat()
}

fn draft(name: &str, number: u32) -> ContextDraft {
    let about = ContextAbout {
        id: format!("ctx_{name}"),
        name: name.to_owned(),
        model: "m".to_owned(),
        publisher: "p".to_owned(),
        created_unix_s: 0,
        key: key(),
    };
    let tokens = tokens(number)[..2 * KV_BLOCK_POSITIONS].into();
    ContextDraft { about, tokens, source: ContextSource::Text(name.to_owned()) }
}

/// A folder with contexts of these numbers, called by them.
fn write(folder: &Path, numbers: impl Iterator<Item = u32>) {
    let mut cache = KvCache::new(SHAPE);
    (0..2).for_each(|_| cache.push_block());
    cache.set_len(cache.capacity());
    let blocks = [cache.block(0), cache.block(1)];
    for number in numbers {
        let written = ContextStore::at(folder.to_owned()).write(&draft(&number.to_string(), number), &blocks);
        written.unwrap().commit().unwrap();
    }
}

fn open(folder: &Path, disk_bytes_max: u64) -> Arc<Contexts> {
    Contexts::open(&ContextChoices::in_folder(folder.to_owned(), disk_bytes_max), ISA, Prefixes::new(1 << 20))
}

#[test]
fn a_file_is_mapped_for_those_whom_it_helps_and_while_they_hold_it() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), 7..9);
    let contexts = open(folder.path(), 1 << 20);
    let at_hand = |number, known| contexts.at_hand(&key(), SHAPE, &tokens(number), known);
    assert_eq!(contexts.status().contexts, 2);
    assert!(at_hand(7, 2).is_none(), "as much is found without it");
    let held = at_hand(7, 1).unwrap();
    assert_eq!((held.id(), held.covers(&tokens(7)), held.covers(&tokens(8))), ("ctx_7", 2, 1));
    assert!(Arc::ptr_eq(&held, &at_hand(7, 2).unwrap()), "what is mapped costs nothing");
    assert_eq!((contexts.status().mapped, contexts.status().maps), (1, 1));
    let other = ContextKey::of_files([1, 2, 3, 5], 5, ISA, SHAPE);
    assert!(contexts.at_hand(&other, SHAPE, &tokens(7), 0).is_none(), "of another version of the files");
    drop(held);
    assert_eq!(contexts.status().mapped, 0);
    assert!(at_hand(7, 0).is_some());
    assert_eq!((contexts.status().mapped, contexts.status().maps), (0, 2));
}

#[test]
fn what_is_withdrawn_helps_nobody_who_begins_later() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), 7..8);
    let contexts = open(folder.path(), 1 << 20);
    let held = contexts.at_hand(&key(), SHAPE, &tokens(7), 0).unwrap();
    contexts.remove("ctx_7").unwrap();
    assert!(held.is_withdrawn() && held.covers(&tokens(7)) == 0 && held.is_unchanged());
    assert_eq!(held.block(1).bytes(), SHAPE.block_bytes(), "who holds it keeps it");
    assert!(contexts.at_hand(&key(), SHAPE, &tokens(7), 0).is_none());
    assert_eq!((contexts.status().contexts, contexts.status().bytes), (0, 0));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn a_file_that_is_gone_or_damaged_is_forgotten_and_the_next_best_used() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), 7..9);
    let contexts = open(folder.path(), 1 << 20);
    std::fs::write(folder.path().join("ctx_7.context"), "damaged").unwrap();
    let next_best = contexts.at_hand(&key(), SHAPE, &tokens(7), 0).unwrap();
    assert_eq!((next_best.id(), next_best.covers(&tokens(7)), contexts.status().contexts), ("ctx_8", 1, 1));
    std::fs::remove_file(folder.path().join("ctx_8.context")).unwrap();
    assert!(contexts.source(&contexts.called("8")[0]).is_err());
    assert_eq!(contexts.status().contexts, 0);
}

#[test]
fn no_more_are_mapped_than_leave_places_for_models() {
    let folder = tempfile::tempdir().unwrap();
    let count = u32::try_from(CONTEXT_MAPPINGS_MAX).unwrap();
    write(folder.path(), 100..=100 + count);
    let contexts = open(folder.path(), 1 << 30);
    let at_hand = |number| contexts.at_hand(&key(), SHAPE, &tokens(number), 1);
    let mut held: Vec<Arc<AtHand>> = (100..100 + count).map(|number| at_hand(number).unwrap()).collect();
    assert!(at_hand(100 + count).is_none());
    held.pop();
    assert!(at_hand(100 + count).is_some());
}

#[test]
fn room_is_planned_before_anything_is_computed_and_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), 7..8);
    let one_bytes = open(folder.path(), 0).status().bytes;
    let contexts = open(folder.path(), 2 * one_bytes);
    let plan = |name: &str| Publication::plan(&contexts, draft(name, 8), SHAPE, ContextAuthority::All);
    let planned = plan("8").unwrap();
    let full = plan("9").err().unwrap();
    assert_eq!((full.status().as_u16(), full.code()), (507, "contexts_full"));
    let replacing = plan("7").unwrap();
    drop(planned);
    drop(replacing);
    assert!(plan("9").is_ok());
}
