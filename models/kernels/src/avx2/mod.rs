//! Kernels for x86-64 with AVX2, FMA and F16C.
//!
//! Every function here needs those three and says so with `target_feature`, or (in `vector.rs`) is inlined into one
//! that does; [`crate::Kernels::new`] refuses to be made where they are missing, and dispatch happens once per chunk of
//! a product, never inside.

#![allow(clippy::needless_range_loop, reason = "tiles of registers are indexed by row and column")]

mod ahead;
mod blocks;
pub(crate) mod dots;
pub(crate) mod elementwise;
mod fives;
mod floats;
pub(crate) mod halves;
mod lanes;
mod low_bits;
mod panel;
mod pending;
mod places;
pub(crate) mod products;
pub(crate) mod quantize;
mod superblocks;
mod tiles;
pub(crate) mod vector;
mod weights;
