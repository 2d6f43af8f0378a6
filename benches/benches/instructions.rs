//! How many instructions the kernels take: figures that do not depend on how busy a machine is, for CI to watch.
//!
//! Needs valgrind, and `cargo install gungraun-runner --version V` of the version that Cargo.lock has of gungraun; then
//! `cargo bench -p benches --bench instructions`. A run is compared with the one before it; `--save-baseline=NAME` and
//! `--baseline=NAME` after `--` compare with a named one.
//!
//! On one thread, so that no waiting is counted, and with AVX2 alone: valgrind does not know AVX-512. The inputs are
//! small: a count is proportional to them. An instruction count is no time: it shows that code changed, and by how much,
//! not that it became slower.

#![allow(missing_docs, reason = "what gungraun's macros make public")]

use std::hint::black_box;
use std::num::NonZeroUsize;

use benches::weights;
use gungraun::prelude::*;
use kernels::{
    Activations, AttentionCall, CacheRows, Isa, Kernels, KvCache, KvPrecision, KvShape, Matrix, Product, RmsNorm,
    Sight, WeightType,
};

const ROWS: usize = 64;
const WIDTH: usize = 512;
const KV: KvShape = KvShape { layers: 1, kv_heads: 1, head_dim: 64, block_positions: 64, precision: KvPrecision::F16 };
const HEADS: usize = 3;

/// AVX2, or what there is on other processors.
fn one_thread() -> Kernels {
    Kernels::new(NonZeroUsize::MIN, if Isa::Avx2.is_available() { Isa::Avx2 } else { Isa::Scalar })
}

fn values(len: usize) -> Vec<f32> {
    (0..len).map(|i| (i as f32 * 0.37).sin()).collect()
}

/// A matrix of 64 × 512 and its input.
struct Operands {
    kernels: Kernels,
    ty: WeightType,
    bytes: Vec<u8>,
    activations: Activations,
    out: Vec<f32>,
}

fn operands(ty: WeightType, columns: usize) -> Operands {
    let kernels = one_thread();
    let mut activations = Activations::new();
    kernels.activate(&mut activations, &values(columns * WIDTH), WIDTH);
    let bytes = weights::blocks(ty, ROWS * ty.row_bytes(WIDTH).expect("whole blocks"));
    Operands { kernels, ty, bytes, activations, out: vec![0.0; ROWS * columns] }
}

#[library_benchmark(setup = operands)]
#[bench::f16_1(WeightType::F16, 1)]
#[bench::q4_0_1(WeightType::Q4_0, 1)]
#[bench::q4_1_1(WeightType::Q4_1, 1)]
#[bench::q5_0_1(WeightType::Q5_0, 1)]
#[bench::q8_0_1(WeightType::Q8_0, 1)]
#[bench::q4_k_1(WeightType::Q4K, 1)]
#[bench::q6_k_1(WeightType::Q6K, 1)]
#[bench::iq4_xs_1(WeightType::IQ4XS, 1)]
#[bench::q4_1_4(WeightType::Q4_1, 4)]
#[bench::q4_k_4(WeightType::Q4K, 4)]
#[bench::q4_1_64(WeightType::Q4_1, 64)]
#[bench::q4_k_64(WeightType::Q4K, 64)]
fn products(operands: Operands) -> Operands {
    let Operands { kernels, ty, bytes, activations, mut out } = operands;
    let weights = Matrix::new(ty, ROWS, WIDTH, &bytes).expect("whole rows");
    kernels.products(black_box(&activations), &mut [Product::new(weights, &mut out)]);
    Operands { kernels, ty, bytes, activations, out }
}

/// A cache and the queries of the tokens that came last, three heads to one of the cache.
struct History {
    kernels: Kernels,
    kv: KvCache,
    q: Vec<f32>,
    out: Vec<f32>,
}

fn history(blocks: usize, tokens: usize) -> History {
    let mut kv = KvCache::new(KV);
    (0..blocks).for_each(|_| kv.push_block());
    let q = values(tokens * HEADS * KV.head_dim);
    let mut history = History { kernels: one_thread(), kv, out: vec![0.0; q.len()], q };
    // The first call allocates.
    attend(&mut history);
    history
}

fn attend(History { kernels, kv, q, out }: &mut History) {
    let tokens = q.len() / (HEADS * KV.head_dim);
    let first_position = kv.capacity() - tokens;
    kernels.attention(AttentionCall {
        q,
        sight: Sight::Causal { window: None },
        sequences: &[CacheRows { cache: kv, first_position, tokens }],
        layer: 0,
        heads: HEADS,
        scale: 0.125,
        out,
    });
}

#[library_benchmark(setup = history)]
#[bench::token_512(8, 1)]
#[bench::chunk_64_512(8, 64)]
fn attention(mut history: History) -> History {
    attend(black_box(&mut history));
    history
}

fn rows(columns: usize) -> (Kernels, Vec<f32>, Activations) {
    let (kernels, x, mut activations) = (one_thread(), values(columns * WIDTH), Activations::new());
    kernels.activate(&mut activations, &x, WIDTH);
    (kernels, x, activations)
}

#[library_benchmark(setup = rows)]
#[bench::rows_1(1)]
#[bench::rows_16(16)]
fn norm((kernels, x, mut activations): (Kernels, Vec<f32>, Activations)) -> (Kernels, Vec<f32>, Activations) {
    kernels.activate_normed(&mut activations, black_box(&x), RmsNorm { gain: &[1.0; WIDTH], epsilon: 1e-5 });
    (kernels, x, activations)
}

library_benchmark_group!(name = kernels_group, benchmarks = [products, attention, norm]);

main!(library_benchmark_groups = kernels_group);
