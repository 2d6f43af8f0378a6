use kernels::{Isa, KvPrecision, KvShape};
use models::contexts::{ContextAbout, ContextRecord};
use models::limits::KV_BLOCK_POSITIONS;

use super::*;

const SHAPE: KvShape =
    KvShape { layers: 1, kv_heads: 1, head_dim: 16, block_positions: KV_BLOCK_POSITIONS, precision: KvPrecision::F16 };

fn key(inode: u64) -> ContextKey {
    ContextKey::of_files([1, inode, 3, 4], 5, Isa::Scalar, SHAPE)
}

fn context(id: &str, name: &str, key: ContextKey, tokens: Vec<u32>) -> Arc<Context> {
    let about = ContextAbout {
        id: id.to_owned(),
        name: name.to_owned(),
        model: "m".to_owned(),
        publisher: "p".to_owned(),
        created_unix_s: 0,
        key,
    };
    let blocks = tokens.len() / KV_BLOCK_POSITIONS;
    Context::new(ContextRecord { about, tokens: tokens.into(), blocks, file_bytes: 10 })
}

/// Blocks of tokens, each of one number.
fn blocks(numbers: &[u32]) -> Vec<u32> {
    numbers.iter().flat_map(|&number| [number; KV_BLOCK_POSITIONS]).collect()
}

/// The id of the longest for a prompt.
fn longest(shelf: &Shelf, key: ContextKey, tokens: &[u32]) -> Option<String> {
    shelf.longest(&key, tokens).map(|context| context.id().to_owned())
}

#[test]
fn the_one_that_covers_most_is_found() {
    let mut shelf = Shelf::default();
    let of = [("a", [1, 2, 3].as_slice()), ("b", &[1, 2]), ("c", &[1, 9, 9, 9]), ("d", &[7]), ("e", &[1, 2, 3])];
    for (id, numbers) in of {
        shelf.put(context(id, id, key(2), blocks(numbers)));
    }
    shelf.put(context("f", "f", key(3), blocks(&[1, 2, 3, 4, 5])));
    let found = |numbers: &[u32]| longest(&shelf, key(2), &[blocks(numbers), vec![0]].concat());
    assert!(["a", "e"].contains(&found(&[1, 2, 3, 4, 5]).unwrap().as_str()));
    assert!(["a", "b", "e"].contains(&found(&[1, 2, 8]).unwrap().as_str()), "as far as they agree");
    assert_eq!(found(&[1, 9, 9, 1]).as_deref(), Some("c"));
    assert_eq!(found(&[7, 7]).as_deref(), Some("d"));
    assert_eq!((found(&[8]), found(&[2])), (None, None));
    assert_eq!(longest(&shelf, key(4), &blocks(&[1, 2])), None, "of other files");
    let exactly = blocks(&[7]);
    assert_eq!(longest(&shelf, key(2), &exactly), None, "the last token is always computed");
}

#[test]
fn one_of_the_same_name_takes_the_others_place() {
    let mut shelf = Shelf::default();
    assert!(shelf.put(context("a", "x", key(2), blocks(&[1]))).is_none());
    let replaced = shelf.put(context("b", "x", key(2), blocks(&[2]))).unwrap();
    assert_eq!((replaced.id(), shelf.len(), shelf.bytes()), ("a", 1, 10));
    assert_eq!(shelf.named("m", "x").unwrap().id(), "b");
    assert!(shelf.named("n", "x").is_none());
    assert_eq!(longest(&shelf, key(2), &[blocks(&[1]), vec![0]].concat()), None);
    assert_eq!((shelf.called("b").len(), shelf.called("x").len(), shelf.called("a").len()), (1, 1, 0));
    assert!(shelf.take("b").is_some() && shelf.take("b").is_none());
    assert_eq!((shelf.len(), shelf.bytes(), shelf.list().len()), (0, 0, 0));
}

#[test]
fn among_a_thousand_that_begin_alike_few_are_looked_at() {
    let mut shelf = Shelf::default();
    for number in 0..1000_u32 {
        let tokens = [blocks(&[5; 30]), blocks(&[1000 + number])].concat();
        shelf.put(context(&format!("{number}"), &format!("{number}"), key(2), tokens));
    }
    let prompt = [blocks(&[5; 30]), blocks(&[1700]), vec![0]].concat();
    assert_eq!(longest(&shelf, key(2), &prompt).as_deref(), Some("700"));
}
