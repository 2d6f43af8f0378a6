//! Attention against plain f64, against itself token by token, and on any number of threads.

use std::num::NonZeroUsize;

use std::sync::Arc;

use kernels::{AttentionCall, CacheRows, Isa, Kernels, KvBlock, KvBytes, KvCache, KvPrecision, KvShape, Sight};

use crate::seeded::{Seeded, every_isa, with};

struct Case {
    shape: KvShape,
    heads: usize,
    tokens: usize,
    first: usize,
    window: Option<NonZeroUsize>,
    seeing: Seeing,
    q: Vec<f32>,
    k: Vec<f32>,
    v: Vec<f32>,
}

/// Which of the two ways of seeing.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Seeing {
    Before,
    All,
}

impl Case {
    fn new(seeded: &mut Seeded, (shape, group): (KvShape, usize), first: usize, tokens: usize) -> Self {
        let heads = shape.kv_heads * group;
        let history = (first + tokens) * shape.kv_heads * shape.head_dim;
        let q = seeded.floats(tokens * heads * shape.head_dim).iter().map(|x| x * 3.0).collect();
        // Numbers that halves hold exactly.
        let mut halves = |loudness: f32| -> Vec<f32> {
            seeded.floats(history).iter().map(|x| (x * 256.0 * loudness).round() / 256.0).collect()
        };
        let (k, v) = (halves(3.0), halves(1.0));
        Self { shape, heads, tokens, first, window: None, seeing: Seeing::Before, q, k, v }
    }

    fn within(self, window: usize) -> Self {
        Self { window: NonZeroUsize::new(window), ..self }
    }

    fn seeing_all(self) -> Self {
        Self { seeing: Seeing::All, ..self }
    }

    fn sight(&self) -> Sight {
        match self.seeing {
            Seeing::Before => Sight::Causal { window: self.window },
            Seeing::All => Sight::Whole,
        }
    }

    fn cache(&self, kernels: &Kernels, layer: usize) -> KvCache {
        let mut cache = KvCache::new(self.shape);
        while cache.capacity() < self.first + self.tokens {
            cache.push_block();
        }
        write(kernels, &mut cache, (layer, 0), &self.k, &self.v);
        cache.set_len(self.first + self.tokens);
        cache
    }

    /// The outputs of some of the tokens.
    fn outputs(&self, kernels: &Kernels, cache: &mut KvCache, tokens: std::ops::Range<usize>) -> Vec<f32> {
        let width = self.heads * self.shape.head_dim;
        let q = &self.q[tokens.start * width..tokens.end * width];
        let mut out = vec![f32::NAN; q.len()];
        kernels.attention(AttentionCall {
            q,
            sequences: &[CacheRows { cache, first_position: self.first + tokens.start, tokens: tokens.len() }],
            layer: self.shape.layers - 1,
            heads: self.heads,
            sight: self.sight(),
            scale: (self.shape.head_dim as f32).sqrt().recip(),
            out: &mut out,
        });
        out
    }

    fn exact(&self) -> Vec<f64> {
        let dim = self.shape.head_dim;
        let head = |x: &[f32], index: usize| -> Vec<f64> {
            x[index * dim..(index + 1) * dim].iter().map(|&x| f64::from(x)).collect()
        };
        let mut out = Vec::new();
        for index in 0..self.tokens * self.heads {
            let q = head(&self.q, index);
            let kv_head = index % self.heads / (self.heads / self.shape.kv_heads);
            let place = |position: usize| position * self.shape.kv_heads + kv_head;
            let end = self.first + index / self.heads + 1;
            let seen = match self.seeing {
                Seeing::Before => self.window.map_or(0, |window| end.saturating_sub(window.get()))..end,
                Seeing::All => 0..self.first + self.tokens,
            };
            let weights: Vec<f64> = seen
                .clone()
                .map(|position| q.iter().zip(head(&self.k, place(position))).map(|(q, k)| q * k).sum::<f64>())
                .map(|score| (score / (dim as f64).sqrt()).exp())
                .collect();
            let sum: f64 = weights.iter().sum();
            let mut mean = vec![0.0; dim];
            for (position, weight) in seen.zip(&weights) {
                let value = head(&self.v, place(position));
                mean.iter_mut().zip(value).for_each(|(mean, value)| *mean += weight / sum * value);
            }
            out.extend(mean);
        }
        out
    }
}

/// Writes the keys and values of a sequence's tokens from `first_position` on.
fn write(kernels: &Kernels, cache: &mut KvCache, (layer, first_position): (usize, usize), k: &[f32], v: &[f32]) {
    let tokens = k.len() / (cache.shape().kv_heads * cache.shape().head_dim);
    kernels.kv_write(layer, &mut [CacheRows { cache, first_position, tokens }], k, v);
}

fn shapes() -> Vec<(KvShape, usize)> {
    let precision = KvPrecision::F16;
    let shape =
        |kv_heads, head_dim, block_positions| KvShape { layers: 2, kv_heads, head_dim, block_positions, precision };
    vec![
        (shape(1, 5, 3), 1),
        (shape(3, 64, 32), 3),
        (shape(2, 20, 7), 4),
        (shape(1, 128, 64), 8),
        (shape(1, 8, 300), 30),
        (shape(5, 16, 16), 1),
    ]
}

/// The same with keys and values as bytes too.
fn shapes_of_both_precisions() -> impl Iterator<Item = (KvShape, usize)> {
    let both =
        |(shape, group)| [KvPrecision::F16, KvPrecision::Q8_0].map(|precision| (KvShape { precision, ..shape }, group));
    shapes().into_iter().flat_map(both)
}

/// From a token's own position alone to more than there are.
const WINDOWS: [usize; 7] = [1, 2, 7, 33, 256, 300, 5000];

const EXTENTS: [(usize, usize); 9] = [(0, 0), (0, 1), (0, 9), (1, 1), (31, 2), (255, 1), (256, 2), (600, 1), (500, 40)];

#[test]
fn it_is_close_to_the_exact_one() {
    let mut seeded = Seeded(21);
    for shape in shapes() {
        for (first, tokens) in EXTENTS {
            let case = Case::new(&mut seeded, shape, first, tokens);
            let exact = case.exact();
            for kernels in every_isa(2) {
                let mut cache = case.cache(&kernels, 1);
                let out = case.outputs(&kernels, &mut cache, 0..tokens);
                assert_eq!(out.len(), exact.len());
                for (found, exact) in out.iter().zip(&exact) {
                    let context = format!("{:?} {shape:?} {first} {tokens}", kernels.isa());
                    assert!((f64::from(*found) - exact).abs() < 2e-5, "{context}: {found} for {exact}");
                }
            }
        }
    }
}

#[test]
fn a_whole_sequence_is_seen_by_each_of_its_tokens() {
    let mut seeded = Seeded(27);
    for shape in shapes() {
        for (first, tokens) in EXTENTS {
            let case = Case::new(&mut seeded, shape, first, tokens).seeing_all();
            let exact = case.exact();
            for kernels in every_isa(2) {
                let mut cache = case.cache(&kernels, 1);
                let out = case.outputs(&kernels, &mut cache, 0..tokens);
                for (found, exact) in out.iter().zip(&exact) {
                    let context = format!("{:?} {shape:?} {first} {tokens}", kernels.isa());
                    assert!((f64::from(*found) - exact).abs() < 2e-5, "{context}: {found} for {exact}");
                }
                let alone: Vec<f32> =
                    (0..tokens).flat_map(|token| case.outputs(&kernels, &mut cache, token..token + 1)).collect();
                assert_eq!(out, alone, "{:?} {shape:?} {first} {tokens}", kernels.isa());
            }
        }
    }
}

#[test]
fn keys_and_values_are_kept_as_the_nearest_halves() {
    let shape = KvShape { layers: 1, kv_heads: 1, head_dim: 20, block_positions: 8, precision: KvPrecision::F16 };
    let attend = |kernels: &Kernels, k: &[f32], v: &[f32]| {
        let mut cache = KvCache::new(shape);
        cache.push_block();
        write(kernels, &mut cache, (0, 0), k, v);
        let (q, mut out, first_position) = (vec![0.5; 20], vec![0.0; 20], k.len() / 20 - 1);
        kernels.attention(AttentionCall {
            q: &q,
            sequences: &[CacheRows { cache: &mut cache, first_position, tokens: 1 }],
            layer: 0,
            heads: 1,
            sight: Sight::Causal { window: None },
            scale: 0.1,
            out: &mut out,
        });
        out
    };
    // 1 + 2⁻¹¹ lies between two halves, and the even one is 1.
    let (floats, halves) = ([1.0 + 1.0 / 2048.0, -3.000_5, 1e-7, 65_504.0], [1.0, -3.0, 1.192_092_9e-7, 65_504.0]);
    let of = |numbers: [f32; 4], len: usize| (0..len).map(|i| numbers[i % 4]).collect::<Vec<f32>>();
    for kernels in every_isa(1) {
        // One position: its value is the answer.
        assert_eq!(attend(&kernels, &[1.0; 20], &of(floats, 20)), of(halves, 20), "{}", kernels.isa());
        // Two: how much each counts is a matter of the keys, of which those of 1.000,5 and of 1 are alike.
        let keys = |first: f32| [vec![first; 20], vec![1.25; 20]].concat();
        let values =
            of([1.0, 2.0, 3.0, 4.0], 40).iter().enumerate().map(|(i, v)| v * (i / 20) as f32).collect::<Vec<_>>();
        assert_eq!(
            attend(&kernels, &keys(floats[0]), &values),
            attend(&kernels, &keys(halves[0]), &values),
            "{}",
            kernels.isa()
        );
    }
}

#[test]
fn a_window_hides_what_came_before_it() {
    let mut seeded = Seeded(25);
    for (shape, window) in shapes().into_iter().flat_map(|shape| WINDOWS.map(|window| (shape, window))) {
        for (first, tokens) in [(0, 3), (31, 2), (255, 3), (299, 2), (600, 1), (530, 40)] {
            let case = Case::new(&mut seeded, shape, first, tokens).within(window);
            let exact = case.exact();
            for kernels in every_isa(2) {
                let out = case.outputs(&kernels, &mut case.cache(&kernels, 1), 0..tokens);
                for (found, exact) in out.iter().zip(&exact) {
                    let context = format!("{:?} {shape:?} {first} {tokens} {window}", kernels.isa());
                    assert!((f64::from(*found) - exact).abs() < 2e-5, "{context}: {found} for {exact}");
                }
            }
        }
    }
}

#[test]
fn blocks_before_the_window_are_not_read() {
    let shape = KvShape { layers: 2, kv_heads: 2, head_dim: 16, block_positions: 16, precision: KvPrecision::F16 };
    for (first, window) in [(600, 1), (600, 30), (511, 256), (512, 256), (300, 64)] {
        let case = Case::new(&mut Seeded(26), (shape, 2), first, 1).within(window);
        for kernels in every_isa(2) {
            let mut cache = case.cache(&kernels, 1);
            let before = case.outputs(&kernels, &mut cache, 0..1);
            for position in 0..(first + 1 - window) / 16 * 16 {
                write(&kernels, &mut cache, (1, position), &[f32::NAN; 32], &[f32::NAN; 32]);
            }
            assert_eq!(case.outputs(&kernels, &mut cache, 0..1), before, "{first} {window}");
        }
    }
}

#[test]
fn a_token_alone_is_the_same_as_in_a_batch_and_on_any_threads() {
    let mut seeded = Seeded(22);
    for (shape, window) in shapes_of_both_precisions().flat_map(|shape| [0, 20, 300].map(|window| (shape, window))) {
        let case = Case::new(&mut seeded, shape, 490, 50).within(window);
        for isa in Isa::ALL.into_iter().filter(|isa| isa.is_available()) {
            let one = with(1, isa);
            let mut cache = case.cache(&one, 1);
            let batch = case.outputs(&one, &mut cache, 0..50);
            let alone: Vec<f32> = (0..50).flat_map(|token| case.outputs(&one, &mut cache, token..token + 1)).collect();
            assert_eq!(batch, alone, "{isa} {shape:?}");
            for threads in [2, 5] {
                let many = with(threads, isa);
                assert_eq!(case.outputs(&many, &mut case.cache(&many, 1), 0..50), batch, "{isa} {shape:?} {threads}");
                assert_eq!(case.outputs(&many, &mut cache, 49..50), batch[batch.len() / 50 * 49..]);
            }
        }
    }
}

/// Sequences at many depths, some with one token and some with many, in one call: as each alone.
#[test]
fn sequences_of_one_call_are_the_same_alone() {
    let mut seeded = Seeded(28);
    let extents = [(0, 1), (700, 1), (5, 20), (130, 1), (255, 40), (31, 0), (64, 1), (1300, 2), (127, 1)];
    for (shape, group) in shapes_of_both_precisions() {
        for count in [1, 2, extents.len()] {
            let extents = &extents[extents.len() - count..];
            let mut cases: Vec<Case> =
                extents.iter().map(|&(first, tokens)| Case::new(&mut seeded, (shape, group), first, tokens)).collect();
            cases.iter_mut().for_each(|case| case.window = NonZeroUsize::new(300 * (count % 2)));
            for kernels in every_isa(3) {
                let mut caches: Vec<KvCache> = cases.iter().map(|case| case.cache(&kernels, 1)).collect();
                let each = cases.iter().zip(&mut caches);
                let alone: Vec<f32> =
                    each.flat_map(|(case, cache)| case.outputs(&kernels, cache, 0..case.tokens)).collect();
                let q = cases.iter().flat_map(|case| case.q.clone()).collect::<Vec<f32>>();
                let mut out = vec![f32::NAN; q.len()];
                let rows = |(case, cache)| {
                    let &Case { first, tokens, .. }: &Case = case;
                    CacheRows { cache, first_position: first, tokens }
                };
                kernels.attention(AttentionCall {
                    q: &q,
                    sequences: &cases.iter().zip(&mut caches).map(rows).collect::<Vec<_>>(),
                    layer: 1,
                    heads: cases[0].heads,
                    sight: cases[0].sight(),
                    scale: (shape.head_dim as f32).sqrt().recip(),
                    out: &mut out,
                });
                assert_eq!(out, alone, "{} {shape:?} {count}", kernels.isa());
            }
        }
    }
}

#[test]
fn what_stands_beyond_is_not_seen() {
    let mut seeded = Seeded(23);
    let shape = KvShape { layers: 2, kv_heads: 2, head_dim: 16, block_positions: 16, precision: KvPrecision::F16 };
    let case = Case::new(&mut seeded, (shape, 2), 20, 1);
    for kernels in every_isa(1) {
        let mut cache = case.cache(&kernels, 1);
        let before = case.outputs(&kernels, &mut cache, 0..1);
        let poison = [f32::NAN; 32];
        for position in 21..32 {
            write(&kernels, &mut cache, (1, position), &poison, &poison);
        }
        write(&kernels, &mut cache, (0, 3), &poison, &poison);
        assert_eq!(case.outputs(&kernels, &mut cache, 0..1), before);
    }
}

/// A byte is off by half a scale at most: 1/254 of the loudest of its 32 numbers.
#[test]
fn bytes_are_close_to_the_exact_one() {
    let mut seeded = Seeded(29);
    for (shape, group) in shapes() {
        let shape = KvShape { precision: KvPrecision::Q8_0, ..shape };
        for (first, tokens) in EXTENTS {
            let case = Case::new(&mut seeded, (shape, group), first, tokens);
            let exact = case.exact();
            let mut scalar = Vec::new();
            for kernels in every_isa(2) {
                let out = case.outputs(&kernels, &mut case.cache(&kernels, 1), 0..tokens);
                for (found, exact) in out.iter().zip(&exact) {
                    let context = format!("{:?} {shape:?} {first} {tokens}", kernels.isa());
                    assert!((f64::from(*found) - exact).abs() < 0.1, "{context}: {found} for {exact}");
                }
                if kernels.isa() == Isa::Scalar {
                    scalar = out;
                    continue;
                }
                assert_eq!(out.len(), scalar.len(), "the portable kernels come first");
                for (found, scalar) in out.iter().zip(&scalar) {
                    assert!((found - scalar).abs() < 2e-5, "{:?} {shape:?}: {found} for {scalar}", kernels.isa());
                }
            }
        }
    }
}

#[test]
fn bytes_take_about_half_the_memory() {
    let halves = KvShape { layers: 2, kv_heads: 3, head_dim: 64, block_positions: 32, precision: KvPrecision::F16 };
    let bytes = KvShape { precision: KvPrecision::Q8_0, ..halves };
    assert_eq!(halves.block_bytes() * 17 / 32, bytes.block_bytes());
}

#[test]
fn a_nan_in_a_key_is_not_hidden() {
    for precision in [KvPrecision::F16, KvPrecision::Q8_0] {
        let shape = KvShape { layers: 2, kv_heads: 1, head_dim: 8, block_positions: 16, precision };
        a_nan_is_not_hidden(shape);
    }
}

fn a_nan_is_not_hidden(shape: KvShape) {
    let case = Case::new(&mut Seeded(24), (shape, 1), 20, 1);
    for kernels in every_isa(1) {
        let mut cache = case.cache(&kernels, 1);
        write(&kernels, &mut cache, (1, 7), &[f32::NAN; 8], &[0.0; 8]);
        assert!(case.outputs(&kernels, &mut cache, 0..1).iter().all(|x| x.is_nan()));
    }
}

/// A block's bytes, kept by someone else.
struct Kept(Vec<Line>);

#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([u8; 64]);

impl Kept {
    fn of(block: &KvBlock) -> Arc<dyn KvBytes> {
        let bytes: Vec<u8> = block.halves().iter().flat_map(|half| half.to_ne_bytes()).collect();
        let (lines, rest) = bytes.as_chunks::<64>();
        assert!(rest.is_empty(), "whole lines");
        Arc::new(Self(lines.iter().map(|line| Line(*line)).collect()))
    }
}

impl KvBytes for Kept {
    fn bytes(&self) -> &[u8] {
        // SAFETY: lines of bytes are bytes.
        unsafe { self.0.align_to::<u8>() }.1
    }
}

#[test]
fn what_lies_in_bytes_of_others_is_attended_to_bit_for_bit() {
    let mut seeded = Seeded(0x0c);
    for precision in [KvPrecision::F16, KvPrecision::Q8_0] {
        let shape = KvShape { layers: 2, kv_heads: 2, head_dim: 64, block_positions: 32, precision };
        let case = Case::new(&mut seeded, (shape, 3), 64, 5);
        for kernels in every_isa(2) {
            let mut own = case.cache(&kernels, 1);
            let mut kept = KvCache::new(shape);
            for block in 0..2 {
                kept.adopt(KvBlock::kept(shape, Kept::of(&own.block(block))).unwrap());
            }
            kept.push_block();
            let width = shape.kv_heads * shape.head_dim;
            write(&kernels, &mut kept, (1, 64), &case.k[64 * width..], &case.v[64 * width..]);
            kept.set_len(69);
            let outputs = case.outputs(&kernels, &mut kept, 0..5);
            assert_eq!(outputs, case.outputs(&kernels, &mut own, 0..5), "{:?} {precision:?}", kernels.isa());
        }
    }
}
