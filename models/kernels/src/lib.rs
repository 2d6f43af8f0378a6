//! The arithmetic of models: products with quantized weights, attention, norms, and the threads they run on.
//!
//! Purpose: weights stay where they are mapped, in GGUF's own blocks, and are unpacked into registers as they are
//! used; nothing is repacked. One [`Kernels`] owns the threads and the instruction set chosen at its start.
//!
//! Invariants:
//! - every public function is safe: lengths are checked, and a wrong one from a caller's mistake panics;
//! - every operation has a readable scalar twin ([`Isa::Scalar`]) which is its oracle and the portable fallback;
//! - a result does not depend on the number of threads, bit for bit;
//! - a column's product and a token's attention are the same, bit for bit, alone or in a batch, on one
//!   instruction set (different instruction sets round differently);
//! - after warm-up, no operation allocates;
//! - a NaN or an infinity in the input is never hidden: it reaches the output.
//!
//! Deliberately absent: any knowledge of models, files or tokens; any dependency; NEON (aarch64 takes the scalar
//! path).
//!
//! Way of a product: [`Kernels::activate`] (or a norm or gate on its way) quantizes the input once → [`Kernels::products`]
//! splits the rows of all matrices into chunks → the pool's threads claim chunks → `avx512`, `avx2` or `scalar` computes
//! one chunk for all columns. Way of attention: [`Kernels::attention`] splits heads, tokens and history into tasks →
//! `attention/segment.rs` computes one, over `vector.rs` in the width that the processor has.

#![cfg_attr(not(target_arch = "x86_64"), allow(dead_code, unused_imports, reason = "what only the SIMD kernels read"))]

mod activations;
mod aligned;
mod attention;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod clock;
mod denormals;
mod elementwise;
mod entry;
mod isa;
mod kv;
mod limits;
mod logits;
mod pool;
mod products;
pub mod roofline;
mod rope;
mod scalar;
mod vector;
mod weights;

pub use activations::Activations;
pub use attention::{AttentionCall, Sight};
pub use elementwise::{Gate, LayerNorm, RmsNorm};
pub use entry::Kernels;
pub use isa::{Isa, IsaError};
pub use kv::{CacheRows, KvBlock, KvBlockError, KvBytes, KvCache, KvPrecision, KvShape, SequenceRows};
pub use logits::argmax;
pub use products::Product;
pub use rope::{RopeStyle, RopeTable};
pub use weights::{Matrix, ShapeError, WeightType};
