//! Prints what the kernels reach here, beside what the machine can do, measured in the same run.
//!
//! `cargo run --release -p kernels --example throughput -- [threads] [rounds] [wall|processor] [KiB] [type]`
//!
//! By `processor` time the neighbours on a shared machine count less: it is the time that all threads were running,
//! divided by their number.
//!
//! Decode: one column against 128 MiB of weights of each type (or as many as are asked for), in GB of blocks per second, beside a plain read of as
//! many bytes. Prefill: 512 columns against 2048 × 2048 weights, in 10⁹ multiplications and additions per second,
//! beside a loop of the int8 instructions on registers. Rounds alternate between all of them; the best is printed.

use std::hint::black_box;
use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use kernels::{Activations, AttentionCall, Isa, Kernels, KvCache, KvShape, Matrix, Product, WeightType};

/// Small weights are multiplied repeatedly until as many bytes were read.
const DECODE_BYTES_MIN: usize = 32 << 20;
const WIDTH: usize = 2048;
const PREFILL_ROWS: usize = 2048;
const BATCHES: [usize; 4] = [2, 4, 16, 512];

/// The best of all rounds, in 10⁹ units per second.
#[derive(Clone, Copy, Default)]
struct Best(f64);

/// What is called time.
#[derive(Clone, Copy)]
enum Clock {
    Wall(Instant),
    Processor(u32),
}

impl Clock {
    fn now(self) -> Duration {
        match self {
            Self::Wall(start) => start.elapsed(),
            Self::Processor(threads) => machine::processor_time() / threads,
        }
    }
}

impl Best {
    fn time(&mut self, clock: Clock, units: f64, work: impl FnOnce()) {
        let start = clock.now();
        work();
        self.0 = self.0.max(units / (clock.now() - start).as_secs_f64() / 1e9);
    }
}

struct Case {
    ty: WeightType,
    bytes: Vec<u8>,
    decode: Best,
    batches: [Best; BATCHES.len()],
}

fn main() {
    let number = |place, default| std::env::args().nth(place).map_or(default, |arg| arg.parse().expect("a number"));
    let threads = NonZeroUsize::new(number(1, 2)).expect("some threads");
    let rounds = number(2, 7);
    let clock = match std::env::args().nth(3).as_deref() {
        Some("processor") => Clock::Processor(u32::try_from(threads.get()).expect("few threads")),
        _ => Clock::Wall(Instant::now()),
    };
    let bytes = number(4, 128 << 10) << 10;
    let only = std::env::args().nth(5);
    let kernels = Kernels::new(threads, Isa::detect());
    println!("{} on {} threads, best of {rounds} rounds", kernels.isa(), kernels.threads());
    let mut cases: Vec<Case> = WeightType::ALL
        .into_iter()
        .filter(|ty| only.as_ref().is_none_or(|only| *only == format!("{ty:?}")))
        .map(|ty| Case {
            ty,
            bytes: blocks(ty, bytes),
            decode: Best::default(),
            batches: [Best::default(); BATCHES.len()],
        })
        .collect();
    let (mut read, mut peak, mut attend) = (Best::default(), Best::default(), [Best::default(); 2]);
    for _ in 0..rounds {
        read.time(clock, bytes as f64, || machine::read(&cases[0].bytes, threads.get()));
        peak.time(clock, machine::PEAK_OPERATIONS * threads.get() as f64, || machine::multiply(threads.get()));
        cases.iter_mut().for_each(|case| measure(&kernels, clock, case));
        attention(&kernels, clock, &mut attend);
    }
    println!("plain read {:.1} GB/s; int8 peak {:.1} GOP/s", read.0, peak.0);
    println!("type   decode GB/s    %  | GOP/s for columns {BATCHES:?}, % of peak for the last");
    for Case { ty, decode, batches, .. } in &cases {
        print!("{:6} {:10.1} {:5.0}  |", format!("{ty:?}"), decode.0, 100.0 * decode.0 / read.0);
        batches.iter().for_each(|batch| print!(" {:7.1}", batch.0));
        println!("  {:4.0}", 100.0 * batches[BATCHES.len() - 1].0 / peak.0);
    }
    println!("attention: {:.1} GB/s for one token at 2048, {:.1} GFLOP/s for 512", attend[0].0, attend[1].0);
}

/// Blocks of middling scales, as many as fit `bytes`.
fn blocks(ty: WeightType, bytes: usize) -> Vec<u8> {
    let block = |seed: usize| {
        let mut block: Vec<u8> = (0..ty.block_bytes()).map(|i| ((seed + i) * 167 + 13) as u8).collect();
        let halves: &[usize] = match ty {
            WeightType::F32 => &[2],
            WeightType::Q4_1 | WeightType::Q5_1 | WeightType::Q4K | WeightType::Q5K => &[0, 2],
            WeightType::Q2K => &[80, 82],
            WeightType::Q3K => &[108],
            WeightType::Q6K => &[208],
            _ => &[0],
        };
        halves.iter().for_each(|&at| block[at..at + 2].copy_from_slice(&[0x66, 0x2a]));
        block
    };
    (0..bytes / ty.block_bytes()).flat_map(block).collect()
}

fn measure(kernels: &Kernels, clock: Clock, case: &mut Case) {
    let row_bytes = case.ty.row_bytes(WIDTH).expect("whole blocks");
    let mut activations = Activations::new();
    let mut run = |rows: usize, columns: usize, units: f64, best: &mut Best| {
        let weights = Matrix::new(case.ty, rows, WIDTH, &case.bytes[..rows * row_bytes]).expect("a matrix");
        let x: Vec<f32> = (0..columns * WIDTH).map(|i| (i as f32 * 0.37).sin()).collect();
        let mut out = vec![0.0; rows * columns];
        kernels.activate(&mut activations, &x, WIDTH);
        let repeats = if columns == 1 { DECODE_BYTES_MIN.div_ceil(rows * row_bytes) } else { 1 };
        best.time(clock, units * repeats as f64, || {
            (0..repeats).for_each(|_| kernels.products(&activations, &mut [Product::new(weights, &mut out)]));
        });
        black_box(out);
    };
    let rows = case.bytes.len() / row_bytes;
    run(rows, 1, (rows * row_bytes) as f64, &mut case.decode);
    for (columns, best) in BATCHES.into_iter().zip(&mut case.batches) {
        // Small batches walk through memory as decoding does.
        let rows = if columns <= 16 { rows / columns } else { PREFILL_ROWS.min(rows) };
        run(rows, columns, 2.0 * (rows * WIDTH * columns) as f64, best);
    }
}

fn attention(kernels: &Kernels, clock: Clock, best: &mut [Best; 2]) {
    let shape = KvShape { layers: 8, kv_heads: 8, head_dim: 64, block_positions: 64 };
    let (heads, positions) = (32, 2048);
    let mut kv = KvCache::new(shape);
    (0..positions / shape.block_positions).for_each(|_| kv.push_block());
    let bytes = (positions * shape.kv_heads * shape.head_dim * 8 * shape.layers) as f64;
    let call = |kv: &KvCache, layer, tokens: usize, first_position| {
        let q = vec![0.1; tokens * heads * shape.head_dim];
        let mut out = vec![0.0; q.len()];
        kernels.attention(AttentionCall {
            q: &q,
            kv,
            layer,
            heads,
            first_position,
            window: None,
            scale: 0.125,
            out: &mut out,
        });
        black_box(out);
    };
    best[0].time(clock, bytes, || (0..shape.layers).for_each(|layer| call(&kv, layer, 1, positions - 1)));
    let operations = (4 * heads * shape.head_dim * 512 * 513 / 2) as f64;
    best[1].time(clock, operations, || call(&kv, 0, 512, 0));
}

#[cfg(target_arch = "x86_64")]
mod machine {
    //! What the machine can do at best.

    use std::arch::x86_64::*;
    use std::hint::black_box;

    const STEPS: usize = 2_000_000;
    const CHAINS: usize = 10;
    /// Operations of [`multiply`] on each thread.
    pub(crate) const PEAK_OPERATIONS: f64 = (STEPS * CHAINS * 64) as f64;

    /// Time that the threads of this process were running; zero where the system does not tell.
    #[cfg(target_os = "linux")]
    pub(crate) fn processor_time() -> std::time::Duration {
        // SAFETY: POSIX's signature on 64-bit Linux; std links the C library.
        unsafe extern "C" {
            fn clock_gettime(clock: i32, time: *mut [i64; 2]) -> i32;
        }
        let mut time = [0; 2];
        // SAFETY: room for a `timespec`; the clock is CLOCK_PROCESS_CPUTIME_ID.
        unsafe { clock_gettime(2, &raw mut time) };
        std::time::Duration::new(time[0].unsigned_abs(), u32::try_from(time[1]).unwrap_or(0))
    }

    /// Time that the threads of this process were running; zero where the system does not tell.
    #[cfg(not(target_os = "linux"))]
    pub(crate) fn processor_time() -> std::time::Duration {
        std::time::Duration::ZERO
    }

    /// Reads all bytes once.
    pub(crate) fn read(bytes: &[u8], threads: usize) {
        on_all(bytes.chunks(bytes.len().div_ceil(threads)), |bytes| {
            // SAFETY: the example is for processors with AVX2.
            black_box(unsafe { sum(bytes) });
        });
    }

    /// Multiplies registers by maddubs and madd, and adds.
    pub(crate) fn multiply(threads: usize) {
        on_all(0..threads, |_| {
            // SAFETY: the example is for processors with AVX2.
            black_box(unsafe { chains() });
        });
    }

    fn on_all<T: Send>(parts: impl Iterator<Item = T>, work: impl Fn(T) + Sync) {
        std::thread::scope(|scope| parts.for_each(|part| drop(scope.spawn(|| work(part)))));
    }

    #[target_feature(enable = "avx2")]
    unsafe fn sum(bytes: &[u8]) -> i64 {
        // Four streams at once: one alone does not keep enough lines under way.
        let mut sums = [_mm256_setzero_si256(); 4];
        let stream = bytes.len() / 4;
        for at in (0..stream / 64 * 64).step_by(32) {
            for (i, sum) in sums.iter_mut().enumerate() {
                // SAFETY: 32 bytes within the i-th quarter.
                *sum =
                    _mm256_xor_si256(*sum, unsafe { _mm256_loadu_si256(bytes.as_ptr().add(i * stream + at).cast()) });
            }
        }
        let all = _mm256_xor_si256(_mm256_xor_si256(sums[0], sums[1]), _mm256_xor_si256(sums[2], sums[3]));
        _mm256_extract_epi64::<0>(all) ^ _mm256_extract_epi64::<3>(all)
    }

    #[target_feature(enable = "avx2")]
    unsafe fn chains() -> i64 {
        let (ones, weights) = (_mm256_set1_epi16(1), black_box(_mm256_set1_epi8(3)));
        let mut sums = [_mm256_setzero_si256(); CHAINS];
        for _ in 0..STEPS {
            for sum in &mut sums {
                *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(_mm256_maddubs_epi16(weights, *sum), ones));
            }
        }
        sums.iter().map(|&sum| _mm256_extract_epi64::<1>(sum)).sum()
    }
}

#[cfg(not(target_arch = "x86_64"))]
mod machine {
    //! Unknown here: nothing to compare with.

    pub(crate) const PEAK_OPERATIONS: f64 = 0.0;
    pub(crate) fn read(_: &[u8], _: usize) {}
    pub(crate) fn multiply(_: usize) {}
    pub(crate) fn processor_time() -> std::time::Duration {
        std::time::Duration::ZERO
    }
}
