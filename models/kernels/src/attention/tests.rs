//! The code over vectors of sixteen, with vectors in plain Rust: what AVX-512 runs, on any processor.

use std::num::NonZeroUsize;

use super::segment::{Work, merge, segment};
use super::{Queries, Rows, Sight, finish, partial_stride};
use crate::aligned::Shared;
use crate::entry::Kernels;
use crate::isa::Isa;
use crate::kv::{CacheRows, KvCache, KvPrecision, KvShape};
use crate::scalar;
use crate::scalar::halves::half_to_float;
use crate::vector::Vector;

#[derive(Clone, Copy)]
struct Plain([f32; 16]);

impl Plain {
    fn zip(self, other: Self, f: impl Fn(f32, f32) -> f32) -> Self {
        Self(std::array::from_fn(|i| f(self.0[i], other.0[i])))
    }
}

// SAFETY of the blocks below: memory is good for sixteen elements, by the trait's contract.
impl Vector for Plain {
    const LANES: usize = 16;

    unsafe fn splat(x: f32) -> Self {
        Self([x; 16])
    }

    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: as above.
        Self(unsafe { from.cast::<[f32; 16]>().read_unaligned() })
    }

    unsafe fn load_halves(from: *const u16) -> Self {
        // SAFETY: as above.
        Self(unsafe { from.cast::<[u16; 16]>().read_unaligned() }.map(half_to_float))
    }

    unsafe fn load_bytes(from: *const i8) -> Self {
        // SAFETY: as above.
        Self(unsafe { from.cast::<[i8; 16]>().read_unaligned() }.map(f32::from))
    }

    unsafe fn prefetch(_: *const u16) {}

    unsafe fn store(self, to: *mut f32) {
        // SAFETY: as above.
        unsafe { to.cast::<[f32; 16]>().write_unaligned(self.0) }
    }

    unsafe fn add(self, other: Self) -> Self {
        self.zip(other, |a, b| a + b)
    }

    unsafe fn mul(self, other: Self) -> Self {
        self.zip(other, |a, b| a * b)
    }

    unsafe fn mul_add(self, factor: Self, addend: Self) -> Self {
        Self(std::array::from_fn(|i| self.0[i].mul_add(factor.0[i], addend.0[i])))
    }

    unsafe fn min(self, other: Self) -> Self {
        self.zip(other, |a, b| if a < b { a } else { b })
    }

    unsafe fn max(self, other: Self) -> Self {
        self.zip(other, |a, b| if a > b { a } else { b })
    }

    unsafe fn round(self) -> Self {
        Self(self.0.map(f32::round_ties_even))
    }

    unsafe fn exp2_of_whole(self) -> Self {
        Self(self.0.map(f32::exp2))
    }

    unsafe fn zero_where_less(self, x: Self, bound: Self) -> Self {
        Self(std::array::from_fn(|i| if x.0[i] < bound.0[i] { 0.0 } else { self.0[i] }))
    }

    unsafe fn sum(self) -> f32 {
        self.0.iter().sum()
    }

    unsafe fn greatest(self) -> f32 {
        self.0.into_iter().fold(f32::NEG_INFINITY, |max, x| if x.is_nan() { x } else { max.max(x) })
    }
}

/// All segments of all heads, merged in order.
fn attend<V: Vector>(queries: &Queries<'_>, tokens: usize) -> Vec<f32> {
    let mut out = vec![f32::NAN; queries.q.len()];
    let shared = Shared::new(&mut out);
    for kv_head in 0..queries.kv.shape().kv_heads {
        let rows = Rows { kv_head, tokens: 0..tokens };
        let (count, stride) = (queries.count(&rows), partial_stride(queries));
        let mut scores = vec![f32::NAN; count * queries.score_stride()];
        let mut widened = vec![f32::NAN; queries.widened_len()];
        let [mut merged, mut next] = [vec![f32::NAN; count * stride], vec![f32::NAN; count * stride]];
        let segments = queries.segments(&rows);
        for index in segments.clone() {
            let partial = if index == segments.start { &mut merged } else { &mut next };
            let work = Work { scores: &mut scores, widened: &mut widened, partial };
            // SAFETY: plain vectors need no instructions.
            unsafe { segment::<V>(queries, &rows, index, work) };
            if index > segments.start {
                for (merged, next) in merged.chunks_exact_mut(stride).zip(next.chunks_exact(stride)) {
                    // SAFETY: as above.
                    unsafe { merge::<V>(merged, next) };
                }
            }
        }
        finish(queries, &rows, &merged, &shared);
    }
    out
}

#[test]
fn vectors_of_sixteen_attend_as_the_scalar_twin() {
    let kernels = Kernels::new(NonZeroUsize::MIN, Isa::Scalar);
    let wave = |len: usize, pitch: f32| (0..len).map(|i| (i as f32 * pitch).sin()).collect::<Vec<f32>>();
    let shapes = [(3, 64, 32, 3), (2, 20, 7, 4), (1, 128, 64, 8), (2, 16, 16, 1)];
    let all =
        shapes.into_iter().flat_map(|shape| [KvPrecision::F16, KvPrecision::Q8_0].map(|precision| (shape, precision)));
    for ((kv_heads, head_dim, block_positions, group), precision) in all {
        let shape = KvShape { layers: 1, kv_heads, head_dim, block_positions, precision };
        for (first_position, tokens, window) in [(0, 1, 0), (0, 9, 0), (300, 1, 0), (127, 5, 0), (290, 17, 40)] {
            let (end, heads) = (first_position + tokens, kv_heads * group);
            let mut kv = KvCache::new(shape);
            while kv.capacity() < end {
                kv.push_block();
            }
            let width = kv_heads * head_dim;
            let mut rows = [CacheRows { cache: &mut kv, first_position: 0, tokens: end }];
            kernels.kv_write(0, &mut rows, &wave(end * width, 0.37), &wave(end * width, 0.73));
            kv.set_len(end);
            let q = wave(tokens * heads * head_dim, 0.59);
            let window = NonZeroUsize::new(window);
            for sight in [Sight::Causal { window }, Sight::Whole] {
                let (q, kv, scale, first_row) = (&q, &kv, 0.125, 0);
                let queries = Queries { q, kv, layer: 0, heads, sight, scale, first_row, first_position };
                let found = attend::<Plain>(&queries, tokens);
                for (index, found) in found.chunks_exact(head_dim).enumerate() {
                    let (token, head) = (index / heads, index % heads);
                    let mut scores = vec![0.0; queries.seen(token).len()];
                    let mut twin = vec![0.0; head_dim];
                    scalar::attention::head(&queries, token, head, (&mut scores, &mut twin));
                    for (found, twin) in found.iter().zip(&twin) {
                        assert!((found - twin).abs() < 1e-5, "{shape:?} {sight:?} {token} {head}: {found} {twin}");
                    }
                }
            }
        }
    }
}
