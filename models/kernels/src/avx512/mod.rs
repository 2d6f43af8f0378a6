//! Products for x86-64 with AVX-512 and its VNNI, sixteen rows at a time, what comes between them in every layer, and the
//! vectors that attention is computed in.
//!
//! Every function here needs AVX-512 F, BW, VL and VNNI and says so with `target_feature` (or, in `vector.rs`, is
//! inlined into one that does); [`crate::Kernels::new`] refuses to be made where they are missing, and dispatch happens
//! once per chunk of a product, never inside. Such a processor has AVX2 too, whose kernels do all that is not here.
//!
//! Deliberately absent: what only some of these processors have (VBMI, BF16, FP16, AMX), and gathers, which several of
//! them made slow by microcode.

#![allow(clippy::needless_range_loop, reason = "tiles of registers are indexed by row and column")]

mod ahead;
mod blocks;
pub(crate) mod elementwise;
mod fives;
mod floats;
mod lanes;
mod low_bits;
mod places;
pub(crate) mod products;
pub(crate) mod quantize;
mod superblocks;
pub(crate) mod vector;
mod weights;
