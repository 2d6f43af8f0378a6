//! Every size and duration that bounds the crate's work, in one place.

use std::time::Duration;

/// Weights that share one scale in the int8 form of activations; every quantized width is a multiple of it.
pub(crate) const QUANT_BLOCK: usize = 32;

/// Rows that one product kernel of AVX2 holds in registers at a time.
pub(crate) const ROW_GROUP: usize = 8;

/// Rows that any product kernel holds in registers at a time: what chunks of rows are whole numbers of.
pub(crate) const ROW_GROUP_MAX: usize = 16;

/// Rows that any product kernel computes at a time.
pub(crate) const ROW_PAIR_MAX: usize = 2 * ROW_GROUP_MAX;

/// Columns from which on AVX-512 multiplies two groups of rows at a time, so that each value of a column is read once for
/// both: for fewer, unpacking both at once, for which there are not enough registers, costs more than it saves.
pub(crate) const PAIRED_COLUMNS_MIN: usize = 16;

/// Bytes of a group of rows up to which the next group is asked into the nearest cache; larger ones into the second.
pub(crate) const NEAR_GROUP_BYTES_MAX: usize = 24 * 1024;

/// Columns from which on AVX2 unpacks panels of rows, for the types that it does so: for fewer, moving a panel through
/// memory costs more than it saves.
pub(crate) const PANEL_COLUMNS_MIN: usize = 33;

/// Groups of rows that AVX2 unpacks at a time where there are several columns.
pub(crate) const PANEL_GROUPS: usize = 2;

/// Blocks of 32 weights of each row that it unpacks at a time; a whole number of every type's blocks.
pub(crate) const PANEL_BLOCKS: usize = 24;

/// Columns whose activations lie together and whose accumulators stay in L1: one pass over a group of rows.
pub(crate) const COLUMN_TILE_MAX: usize = 64;

/// Rows that one claim of a product takes at most; a multiple of [`ROW_GROUP_MAX`].
pub(crate) const CHUNK_ROWS_MAX: usize = 64;

/// Rows that one claim of a product takes at least; a multiple of [`ROW_GROUP_MAX`].
pub(crate) const CHUNK_ROWS_MIN: usize = 16;

/// Claims per thread that a product aims for, so that a thread robbed of its core delays the others little.
pub(crate) const CHUNKS_PER_THREAD: usize = 8;

/// Elements below which an elementwise operation stays on the calling thread: waking another costs more.
pub(crate) const INLINE_ELEMENTS_MAX: usize = 4 * 1024;

/// Positions whose attention is summed in one run; longer histories are merged run by run, in order.
///
/// A constant, and not a function of the threads: the result may not depend on how many there are.
pub(crate) const SEGMENT_POSITIONS: usize = 128;

/// Query rows (tokens × heads of one group) that one attention task takes at most, where a token has no more.
pub(crate) const QUERY_ROWS_MAX: usize = 48;

/// Query rows from which on keys and values are widened to floats once for all of them.
pub(crate) const WIDENED_ROWS_MIN: usize = 9;

/// Floats of the widest vectors: what rows of keys and values are padded to.
pub(crate) const LANES_MAX: usize = 16;

/// Blocks of caches that one call of the pool writes to; more take further calls.
pub(crate) const WRITTEN_BLOCKS_MAX: usize = 64;

/// How long a thread without work looks for more before it sleeps.
pub(crate) const SPIN: Duration = Duration::from_micros(50);

/// Threads of one pool.
pub(crate) const THREADS_MAX: usize = 1024;

/// Positions whose sines and cosines are kept together in a [`crate::RopeTable`].
pub(crate) const ROPE_PAGE_POSITIONS: usize = 256;

/// Pages that a [`crate::RopeTable`] keeps; positions beyond are computed when asked for.
pub(crate) const ROPE_PAGES_MAX: usize = 1024;

/// Matrices that one call of the pool multiplies; more take further calls.
pub(crate) const DISPATCH_PRODUCTS_MAX: usize = 8;
