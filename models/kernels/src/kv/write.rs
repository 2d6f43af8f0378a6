//! Keys and values of a call's rows on their way into the caches: one call of the pool for all sequences.

use std::ops::Range;

use super::packed::{write_key, write_value};
use super::{KvPrecision, KvShape, SequenceRows};
use crate::aligned::Shared;
use crate::entry::Kernels;
use crate::isa::Isa;
use crate::limits::{INLINE_ELEMENTS_MAX, LANES_MAX, WRITTEN_BLOCKS_MAX};
use crate::scalar;

/// Some rows that go to one block.
struct Part<'a> {
    /// All heads of the layer in that block.
    heads: Shared<'a, u16>,
    /// Places in the block.
    places: Range<usize>,
    /// The row that goes to the first of them.
    first_row: usize,
}

impl Kernels {
    /// Stores the keys and values of some tokens of some sequences for one layer, as [`KvShape::precision`] has them.
    /// What the caches count as written stays.
    ///
    /// Shapes: `k` and `v` \[tokens of all sequences, kv_heads × head_dim\].
    ///
    /// # Panics
    /// When `k` and `v` are not as long as the sequences have tokens, the caches differ in shape, there is no such layer, a
    /// cache has no room for the last position, or a position lies in a block that is shared.
    pub fn kv_write<S: SequenceRows>(&self, layer: usize, sequences: &mut [S], k: &[f32], v: &[f32]) {
        let Some(shape) = sequences.first().map(|first| first.cache().shape()) else { return };
        let width = shape.kv_heads * shape.head_dim;
        let tokens: usize = sequences.iter().map(SequenceRows::tokens).sum();
        assert_eq!((k.len(), v.len()), (tokens * width, tokens * width), "keys and values for each token");
        assert!(layer < shape.layers, "layer {layer} of {}", shape.layers);
        let mut parts = [const { None }; WRITTEN_BLOCKS_MAX];
        let (mut count, mut row) = (0, 0);
        for sequence in sequences {
            let (mut position, end) = (sequence.first_position(), sequence.first_position() + sequence.tokens());
            let cache = sequence.cache_mut();
            assert_eq!(cache.shape, shape, "caches of one model");
            assert!(end <= cache.capacity(), "positions beyond room for {}", cache.capacity());
            let blocks = cache.blocks_from(position / shape.block_positions);
            for block in blocks {
                if position == end {
                    break;
                }
                let place = position % shape.block_positions;
                let places = place..shape.block_positions.min(place + end - position);
                if count == WRITTEN_BLOCKS_MAX {
                    self.write_parts(shape, &parts, (k, v));
                    (parts, count) = ([const { None }; WRITTEN_BLOCKS_MAX], 0);
                }
                let (first_row, rows) = (row, places.len());
                parts[count] = Some(Part { heads: Shared::new(block.heads_mut(layer)), places, first_row });
                count += 1;
                (position, row) = (position + rows, row + rows);
            }
        }
        self.write_parts(shape, &parts, (k, v));
    }

    fn write_parts(&self, shape: KvShape, parts: &[Option<Part<'_>>; WRITTEN_BLOCKS_MAX], (k, v): (&[f32], &[f32])) {
        let (isa, width) = (self.isa(), shape.kv_heads * shape.head_dim);
        let all = || parts.iter().flatten();
        let (count, rows): (usize, usize) = (all().count(), all().map(|part| part.places.len()).sum());
        let write = |task: usize| {
            let (part, kv_head) = (parts[task / shape.kv_heads].as_ref().expect("one of those"), task % shape.kv_heads);
            let range = kv_head * shape.head_len()..(kv_head + 1) * shape.head_len();
            // SAFETY: each head of a block is written by the one thread that claimed it, and no block is there twice: a
            // block that is written has one holder.
            let (keys, values) = unsafe { part.heads.part(range) }.split_at_mut(shape.keys_len());
            for (row, place) in (part.first_row..).zip(part.places.clone()) {
                let source = row * width + kv_head * shape.head_dim;
                let (k, v) = (&k[source..source + shape.head_dim], &v[source..source + shape.head_dim]);
                if shape.precision == KvPrecision::Q8_0 {
                    write_key(&shape, k, keys, place);
                    write_value(&shape, v, values, place);
                    continue;
                }
                narrow(isa, v, &mut values[place * shape.value_stride()..][..shape.head_dim]);
                for (k, keys) in k.chunks(LANES_MAX).zip(keys.chunks_mut(LANES_MAX * shape.key_stride())) {
                    let mut halves = [0; LANES_MAX];
                    narrow(isa, k, &mut halves[..k.len()]);
                    let keys = keys[place..].iter_mut().step_by(shape.key_stride());
                    keys.zip(&halves[..k.len()]).for_each(|(key, half)| *key = *half);
                }
            }
        };
        let tasks = count * shape.kv_heads;
        if 2 * rows * width <= INLINE_ELEMENTS_MAX {
            self.run(1, &|_, _| (0..tasks).for_each(write));
        } else {
            self.run(tasks, &|_, task| write(task));
        }
    }
}

/// Stores floats as the nearest halves, as many.
fn narrow(isa: Isa, from: &[f32], to: &mut [u16]) {
    match isa {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: `Kernels::new` made sure of the instruction set.
        Isa::Avx2 | Isa::AvxVnni | Isa::Avx512 => unsafe { crate::avx2::halves::narrow(from, to) },
        _ => from.iter().zip(to).for_each(|(from, to)| *to = scalar::halves::float_to_half(*from)),
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use super::super::{CacheRows, KvCache};
    use super::*;

    #[test]
    fn what_is_written_stands_where_it_belongs() {
        let shape = KvShape { layers: 2, kv_heads: 3, head_dim: 5, block_positions: 7, precision: KvPrecision::F16 };
        let mut cache = KvCache::new(shape);
        for _ in 0..3 {
            cache.push_block();
        }
        assert_eq!((cache.capacity(), cache.blocks(), cache.bytes() >= 3 * shape.block_bytes()), (21, 3, true));
        let k: Vec<f32> = (0..10 * 15).map(|i| i as f32).collect();
        let v: Vec<f32> = k.iter().map(|x| -x).collect();
        let kernels = Kernels::new(NonZeroUsize::MIN, Isa::Scalar);
        kernels.kv_write(1, &mut [CacheRows { cache: &mut cache, first_position: 5, tokens: 10 }], &k, &v);
        for token in 0..10 {
            let (block, place) = ((5 + token) / 7, (5 + token) % 7);
            for head in 0..3 {
                for d in 0..5 {
                    let x = scalar::halves::float_to_half(k[token * 15 + head * 5 + d]);
                    assert_eq!(cache.keys(block, 1, head)[d * 16 + place], x);
                    assert_eq!(cache.values(block, 1, head)[place * 16 + d], x ^ 0x8000);
                }
            }
        }
        assert!(cache.keys(0, 0, 0).iter().chain(cache.values(2, 0, 2)).all(|&x| x == 0));
    }

    #[test]
    fn each_sequence_gets_its_own_rows_however_many_there_are() {
        let shape = KvShape { layers: 1, kv_heads: 2, head_dim: 8, block_positions: 4, precision: KvPrecision::F16 };
        let kernels = Kernels::new(NonZeroUsize::new(2).expect("two"), Isa::Scalar);
        let extents: Vec<(usize, usize)> = (0..WRITTEN_BLOCKS_MAX + 3).map(|index| (index % 5, index % 7)).collect();
        let mut caches: Vec<KvCache> = extents.iter().map(|_| KvCache::new(shape)).collect();
        caches.iter_mut().for_each(|cache| (0..3).for_each(|_| cache.push_block()));
        let tokens: usize = extents.iter().map(|(_, tokens)| tokens).sum();
        let k: Vec<f32> = (0..tokens * 16).map(|i| (1 + i % 2000) as f32).collect();
        let v: Vec<f32> = k.iter().map(|x| -x).collect();
        let rows = |(cache, &(first_position, tokens))| CacheRows { cache, first_position, tokens };
        kernels.kv_write(0, &mut caches.iter_mut().zip(&extents).map(rows).collect::<Vec<_>>(), &k, &v);
        let mut row = 0;
        for (cache, (first, tokens)) in caches.iter().zip(extents) {
            for position in 0..12 {
                for (head, d) in (0..2).flat_map(|head| (0..8).map(move |d| (head, d))) {
                    let is_written = (first..first + tokens).contains(&position);
                    let x = if is_written { k[(row + position - first) * 16 + head * 8 + d] } else { 0.0 };
                    let (block, place, half) = (position / 4, position % 4, scalar::halves::float_to_half(x));
                    assert_eq!(cache.keys(block, 0, head)[d * 16 + place], half);
                    assert_eq!(
                        cache.values(block, 0, head)[place * 16 + d],
                        if is_written { half ^ 0x8000 } else { 0 }
                    );
                }
            }
            row += tokens;
        }
    }
}
