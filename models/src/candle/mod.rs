//! candle's ops over a plan: a second way to compute, on any device that candle has.
//!
//! Two things are made of it. [`Executor`] serves: weights are copied to a device once ([`Weights`]), each sequence keeps
//! its keys and values there ([`Cache`]), and a step takes tokens of any number of sequences. [`mod@crate::reference`] is
//! the same ops over weights that are unpacked anew at each use, from an empty cache: the oracle of the kernels.
//!
//! On the processor weights become 32-bit floats and candle's plain products: slow and large, but nothing that candle
//! repacks in secret, and no threads that are not counted. On an accelerator quantized weights stay as the file has them
//! where candle knows their type, floats keep theirs, and what is left becomes halves.
//!
//! Invariants: what a load takes ([`Weights::bytes_on`]) and what a block of positions takes
//! ([`Cache::block_bytes`]) is known before it is taken; rows of an embedding that is no head stay in the
//! mapping, from which they are read as a text asks for them.
//!
//! Deliberately absent: pages that sequences share; choosing a device (`scheduler` does).

mod attention;
mod cache;
mod device;
mod encoder;
mod executor;
mod network;
mod rotation;
mod tensors;
mod weights;

pub use self::cache::{Cache, Kept};
pub use self::device::{CandleError, Device, DeviceKind};
pub(crate) use self::encoder::encode;
pub use self::executor::{Executor, SequenceRun};
pub(crate) use self::network::{Part, hidden_states, logits};
pub(crate) use self::tensors::Unpacked;
pub use self::weights::Weights;
