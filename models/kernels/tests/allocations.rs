//! After the first call of each shape, no operation allocates, on whatever thread.

use std::alloc::System;
use std::num::NonZeroUsize;

use kernels::{
    Activations, AttentionCall, CacheRows, Gate, Isa, Kernels, KvCache, KvPrecision, KvShape, Matrix, Product, RmsNorm,
    RopeStyle, RopeTable, Sight, WeightType, argmax,
};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static COUNTING: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const WIDTH: usize = 256;
const HEADS: usize = 8;

/// What a layer of a model computes, with the buffers that it keeps.
struct Layer {
    activations: Activations,
    table: RopeTable,
    kv: [KvCache; 2],
    positions: Vec<usize>,
    x: Vec<f32>,
    out: [Vec<f32>; 2],
}

impl Layer {
    fn step(&mut self, kernels: &Kernels, weights: [Matrix<'_>; 2], position: usize) {
        let [first, second] = &mut self.out;
        kernels.activate_normed(&mut self.activations, &self.x, RmsNorm { gain: &[1.0; WIDTH], epsilon: 1e-5 });
        let [a, b] = weights;
        kernels.products(&self.activations, &mut [Product::new(a, first), Product::new(b, second)]);
        kernels.add_to_rows(first, &[0.1; WIDTH]);
        kernels.normalize(first, RmsNorm { gain: &[1.0; WIDTH / HEADS], epsilon: 1e-5 });
        let tokens = self.x.len() / WIDTH;
        self.positions.clear();
        self.positions.extend(position..position + tokens);
        kernels.rope([first], &self.table, &self.positions);
        let mut sequences =
            self.kv.each_mut().map(|cache| CacheRows { cache, first_position: position, tokens: tokens / 2 });
        sequences[1].tokens = tokens.div_ceil(2);
        kernels.kv_write(0, &mut sequences, second, second);
        kernels.attention(AttentionCall {
            q: first,
            sequences: &sequences,
            layer: 0,
            heads: HEADS,
            sight: Sight::Causal { window: None },
            scale: 0.1,
            out: second,
        });
        kernels.activate_gated(&mut self.activations, (first, second), WIDTH, Gate::Silu);
        kernels.activate_gated(&mut self.activations, (first, second), WIDTH, Gate::GeluTanh);
        kernels.products(&self.activations, &mut [Product::added(a, &mut self.x)]);
        kernels.add(&mut self.x, second);
        assert!(argmax(&self.x) < self.x.len());
    }
}

#[test]
fn warm_steps_do_not_allocate() {
    let bytes = vec![0x11; WIDTH * WeightType::Q4K.block_bytes()];
    let weights = Matrix::new(WeightType::Q4K, WIDTH, WIDTH, &bytes).expect("a matrix");
    for isa in Isa::ALL.into_iter().filter(|isa| isa.is_available()) {
        let kernels = Kernels::new(NonZeroUsize::new(3).expect("three"), isa);
        for (tokens, precision) in [(1, KvPrecision::F16), (40, KvPrecision::F16), (40, KvPrecision::Q8_0)] {
            let shape = KvShape { layers: 1, kv_heads: HEADS, head_dim: WIDTH / HEADS, block_positions: 32, precision };
            let mut kv = [KvCache::new(shape), KvCache::new(shape)];
            kv.iter_mut().for_each(|kv| (0..40).for_each(|_| kv.push_block()));
            let table = RopeTable::new(WIDTH / HEADS, WIDTH / HEADS, 1e4, RopeStyle::Interleaved, None);
            table.reserve(kv[0].capacity());
            let buffer = || vec![0.5; tokens * WIDTH];
            let mut layer = Layer {
                activations: Activations::new(),
                table,
                kv,
                positions: Vec::new(),
                x: buffer(),
                out: [buffer(), buffer()],
            };
            layer.step(&kernels, [weights; 2], 1000);
            let region = Region::new(COUNTING);
            (0..20).for_each(|step| layer.step(&kernels, [weights; 2], 980 + step));
            let change = region.change();
            assert_eq!((change.allocations, change.reallocations), (0, 0), "{isa}, {tokens} tokens");
        }
    }
}
