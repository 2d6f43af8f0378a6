//! The kernels beside what the machine can do at best, measured between the same samples.
//!
//! `cargo bench -p benches --bench kernels` measures everything (some minutes); `-- decode/Q4_K` what matches, and
//! `-- --quick decode` with fewer samples. `taskset -c 0 cargo bench …` gives it one thread. After criterion's report
//! comes a table of the best samples, in percent of their limit:
//! - `decode`: one column against weights that exceed the caches (`decode_cached`: that the last one holds), in blocks
//!   read, beside a plain read of as many bytes (rounded up to a power of two);
//! - `products`: 4, 16 and 256 columns, beside the peak of int8 (of f32 where weights are floats); small batches walk
//!   through memory as decoding does, 256 columns meet 2048 rows;
//! - `attention`: one token at a depth, over all layers, in bytes of the cache; a chunk of 256 tokens that ends there, in
//!   one layer, in operations;
//! - `norm`: the norm and the quantization that follows it, in bytes of its input;
//! - `roofline`: the limits themselves, as benchmarks of their own.
//!
//! Deliberately absent: assertions, and comparisons with earlier runs: on a shared machine ratios are what counts.

use std::hint::black_box;
use std::num::NonZeroUsize;
use std::time::Duration;

use benches::roofline::{Best, Limits};
use benches::weights;
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, SamplingMode, Throughput};
use kernels::{
    Activations, AttentionCall, CacheRows, Isa, Kernels, KvCache, KvPrecision, KvShape, Matrix, Product, RmsNorm,
    Sight, WeightType,
};

/// More than the caches of most machines hold.
const MEMORY_BYTES: usize = 128 << 20;
/// What the last cache holds, and not the one before.
const CACHED_BYTES: usize = 8 << 20;
/// What the cache next to a core holds beside its first.
const NEAR_BYTES_PER_THREAD: usize = 256 << 10;
/// Weights in a row.
const WIDTH: usize = 2048;
/// Rows that a long prompt meets.
const PREFILL_ROWS: usize = 2048;
/// Columns at once: a few sequences, many, a chunk of a prompt.
const BATCHES: [usize; 3] = [4, 16, 256];
const KV: KvShape = KvShape { layers: 8, kv_heads: 8, head_dim: 64, block_positions: 64, precision: KvPrecision::F16 };
const HEADS: usize = 32;
const DEPTHS: [usize; 2] = [512, 2048];
const CHUNK_TOKENS: usize = 256;

/// What one iteration does, and so what limits it.
#[derive(Clone, Copy)]
enum Work {
    Bytes(usize),
    Int8(usize),
    F32(usize),
}

/// A line of the table.
struct Line {
    name: String,
    work: Work,
    best: Best,
}

/// The threads, and what they have reached so far.
struct Bench {
    kernels: Kernels,
    buffer: Vec<u8>,
    limits: Limits,
    lines: Vec<Line>,
}

impl Work {
    fn units(self) -> usize {
        match self {
            Self::Bytes(units) | Self::Int8(units) | Self::F32(units) => units,
        }
    }

    /// What products of `ty` do.
    fn of_products(ty: WeightType, rows: usize, columns: usize) -> Self {
        let operations = 2 * rows * WIDTH * columns;
        if weights::is_float(ty) { Self::F32(operations) } else { Self::Int8(operations) }
    }

    fn limit(self, limits: &Limits) -> Best {
        match self {
            Self::Bytes(bytes) => limits.read(read_bytes(bytes)),
            Self::Int8(_) => limits.int8(),
            Self::F32(_) => limits.f32(),
        }
    }
}

impl Bench {
    fn new() -> Self {
        let threads = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        let kernels = Kernels::new(threads, Isa::detect());
        Self { kernels, buffer: vec![1; MEMORY_BYTES], limits: Limits::default(), lines: Vec::new() }
    }

    /// Has criterion measure `run`, if it was asked for, on what `set_up` makes; the limit in turns with its samples.
    fn measure<T>(
        &mut self,
        group: &mut BenchmarkGroup<'_, WallTime>,
        (name, work): (&str, Work),
        set_up: impl Fn(&Kernels) -> T,
        run: impl Fn(&Kernels, &mut T),
    ) {
        let Self { kernels, buffer, limits, lines } = self;
        let (mut bed, mut best) = (None, Best::default());
        group.throughput(match work {
            Work::Bytes(bytes) => Throughput::Bytes(bytes as u64),
            Work::Int8(operations) | Work::F32(operations) => Throughput::Elements(operations as u64),
        });
        let label = name.split_once('/').map_or(name, |(_, label)| label);
        group.bench_function(label, |bencher| {
            let bed = bed.get_or_insert_with(|| set_up(kernels));
            match work {
                Work::Bytes(bytes) => limits.try_read(kernels, &buffer[..read_bytes(bytes)]),
                Work::Int8(_) => limits.try_int8(kernels),
                Work::F32(_) => limits.try_f32(kernels),
            }
            bencher.iter_custom(|iterations| {
                best.time(kernels, || {
                    (0..iterations).for_each(|_| run(kernels, bed));
                    work.units() as f64 * iterations as f64
                })
            });
        });
        if bed.is_some() {
            lines.push(Line { name: name.to_owned(), work, best });
        }
    }

    fn rooflines(&mut self, criterion: &mut Criterion) {
        let mut group = group(criterion, "roofline");
        let near = NEAR_BYTES_PER_THREAD * self.kernels.threads();
        for (name, bytes) in [
            ("roofline/read_memory", MEMORY_BYTES),
            ("roofline/read_cached", CACHED_BYTES),
            ("roofline/read_near", near),
        ] {
            self.measure(
                &mut group,
                (name, Work::Bytes(bytes)),
                |_| vec![1; bytes],
                |kernels, bytes| {
                    black_box(kernels::roofline::read(kernels, bytes, 1));
                },
            );
        }
        let wanted = 100_000_000;
        self.measure(
            &mut group,
            ("roofline/int8", Work::Int8(wanted)),
            |_| (),
            |kernels, ()| {
                black_box(kernels::roofline::multiply_int8(kernels, wanted as u64));
            },
        );
        self.measure(
            &mut group,
            ("roofline/f32", Work::F32(wanted)),
            |_| (),
            |kernels, ()| {
                black_box(kernels::roofline::multiply_f32(kernels, wanted as u64));
            },
        );
    }

    fn decode(&mut self, criterion: &mut Criterion) {
        for (group_name, bytes) in [("decode", MEMORY_BYTES), ("decode_cached", CACHED_BYTES)] {
            let mut group = group(criterion, group_name);
            for ty in WeightType::ALL {
                let rows = bytes / row_bytes(ty);
                let name = format!("{group_name}/{}", weights::name(ty));
                let work = Work::Bytes(rows * row_bytes(ty));
                self.measure(
                    &mut group,
                    (&name, work),
                    |kernels| Operands::new(kernels, ty, (rows, 1)),
                    Operands::multiply,
                );
            }
        }
    }

    fn products(&mut self, criterion: &mut Criterion) {
        let mut group = group(criterion, "products");
        for ty in WeightType::ALL {
            for columns in BATCHES {
                let rows = if columns <= 16 { MEMORY_BYTES / row_bytes(ty) / columns } else { PREFILL_ROWS };
                let name = format!("products/{}/{columns}", weights::name(ty));
                let work = Work::of_products(ty, rows, columns);
                let set_up = |kernels: &Kernels| Operands::new(kernels, ty, (rows, columns));
                self.measure(&mut group, (&name, work), set_up, Operands::multiply);
            }
        }
    }

    fn attention(&mut self, criterion: &mut Criterion) {
        let mut group = group(criterion, "attention");
        for depth in DEPTHS {
            let bytes = depth * KV.block_bytes() / KV.block_positions;
            let name = format!("attention/token/{depth}");
            self.measure(
                &mut group,
                (&name, Work::Bytes(bytes)),
                |_| History::new(depth, 1, KV.layers),
                History::attend,
            );
        }
        for depth in DEPTHS {
            let seen: usize = (depth - CHUNK_TOKENS + 1..=depth).sum();
            let name = format!("attention/chunk/{depth}");
            let work = Work::F32(4 * HEADS * KV.head_dim * seen);
            self.measure(&mut group, (&name, work), |_| History::new(depth, CHUNK_TOKENS, 1), History::attend);
        }
    }

    fn norm(&mut self, criterion: &mut Criterion) {
        let mut group = group(criterion, "norm");
        for columns in [1, CHUNK_TOKENS] {
            let name = format!("norm/{columns}");
            let work = Work::Bytes(columns * WIDTH * size_of::<f32>());
            let set_up = |_: &Kernels| (values(columns * WIDTH), Activations::new());
            let gain = values(WIDTH);
            self.measure(&mut group, (&name, work), set_up, |kernels, (x, activations)| {
                kernels.activate_normed(activations, x, RmsNorm { gain: &gain, epsilon: 1e-5 });
            });
        }
    }

    /// The best samples in percent of the best of their limit.
    fn print(&self) {
        if self.lines.is_empty() {
            return;
        }
        println!(
            "{} on {} threads; best of the samples, and by processor time",
            self.kernels.isa(),
            self.kernels.threads()
        );
        println!("{:26} {:>10} {:>8} {:>5} {:>8} {:>5}", "", "", "wall", "%", "processor", "%");
        for Line { name, work, best } in &self.lines {
            let limit = work.limit(&self.limits);
            let unit = match work {
                Work::Bytes(_) => "GB/s",
                Work::Int8(_) => "GOP/s",
                Work::F32(_) => "GFLOP/s",
            };
            let percent = |value: f64, limit: f64| if limit > 0.0 { 100.0 * value / limit } else { 0.0 };
            println!(
                "{name:26} {unit:>10} {:8.1} {:5.0} {:9.1} {:5.0}",
                best.wall / 1e9,
                percent(best.wall, limit.wall),
                best.processor / 1e9,
                percent(best.processor, limit.processor)
            );
        }
    }
}

/// A matrix, its input and its output.
struct Operands {
    ty: WeightType,
    rows: usize,
    bytes: Vec<u8>,
    activations: Activations,
    out: Vec<f32>,
}

impl Operands {
    fn new(kernels: &Kernels, ty: WeightType, (rows, columns): (usize, usize)) -> Self {
        let mut activations = Activations::new();
        kernels.activate(&mut activations, &values(columns * WIDTH), WIDTH);
        Self { ty, rows, bytes: weights::blocks(ty, rows * row_bytes(ty)), activations, out: vec![0.0; rows * columns] }
    }

    fn multiply(kernels: &Kernels, operands: &mut Self) {
        let Self { ty, rows, bytes, activations, out } = operands;
        let weights = Matrix::new(*ty, *rows, WIDTH, bytes).expect("whole rows of whole blocks");
        kernels.products(activations, &mut [Product::new(weights, out)]);
        black_box(out);
    }
}

/// A cache, and the queries of the last tokens in it.
struct History {
    kv: KvCache,
    depth: usize,
    tokens: usize,
    layers: usize,
    q: Vec<f32>,
    out: Vec<f32>,
}

impl History {
    fn new(depth: usize, tokens: usize, layers: usize) -> Self {
        let mut kv = KvCache::new(KV);
        (0..depth / KV.block_positions).for_each(|_| kv.push_block());
        let q = values(tokens * HEADS * KV.head_dim);
        Self { kv, depth, tokens, layers, out: vec![0.0; q.len()], q }
    }

    fn attend(kernels: &Kernels, history: &mut Self) {
        let Self { kv, depth, tokens, layers, q, out } = history;
        let sequences = [CacheRows { cache: kv, first_position: *depth - *tokens, tokens: *tokens }];
        for layer in 0..*layers {
            kernels.attention(AttentionCall {
                q,
                sequences: &sequences,
                layer,
                heads: HEADS,
                sight: Sight::Causal { window: None },
                scale: 0.125,
                out,
            });
        }
        black_box(out);
    }
}

fn group<'a>(criterion: &'a mut Criterion, name: &str) -> BenchmarkGroup<'a, WallTime> {
    let mut group = criterion.benchmark_group(name);
    group.sampling_mode(SamplingMode::Flat);
    group
}

/// Size of the buffer whose reading limits what reads `bytes`: a power of two, so that like cases share their limit.
fn read_bytes(bytes: usize) -> usize {
    bytes.next_power_of_two().min(MEMORY_BYTES)
}

fn row_bytes(ty: WeightType) -> usize {
    ty.row_bytes(WIDTH).expect("whole blocks")
}

fn values(len: usize) -> Vec<f32> {
    (0..len).map(|i| (i as f32 * 0.37).sin()).collect()
}

fn main() {
    let mut criterion = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .without_plots()
        .configure_from_args();
    let mut bench = Bench::new();
    bench.rooflines(&mut criterion);
    bench.decode(&mut criterion);
    bench.products(&mut criterion);
    bench.attention(&mut criterion);
    bench.norm(&mut criterion);
    criterion.final_summary();
    bench.print();
}
