//! The input of products: as floats, and as int8 with one scale per 32 values.
//!
//! One form serves all quantized types. Columns lie in tiles; within a tile the values of one block of 32 lie together
//! for all its columns, so that a kernel that holds one block of weights reads them in order:
//! `quants` \[tile\]\[block\]\[column\]\[32\], `scales` and `sums` \[tile\]\[block\]\[column\].

use std::ops::Range;

use crate::aligned::{AlignedBuffer, Shared};
use crate::elementwise::{Gate, RmsNorm, gelu};
use crate::entry::Kernels;
use crate::isa::Isa;
use crate::limits::{COLUMN_TILE_MAX, INLINE_ELEMENTS_MAX, QUANT_BLOCK};
use crate::scalar;

/// Inputs of products, \[columns, width\]; a buffer to be filled again and again, which grows and never shrinks.
pub struct Activations {
    columns: usize,
    width: usize,
    values: AlignedBuffer<f32>,
    quants: AlignedBuffer<i8>,
    scales: AlignedBuffer<f32>,
    sums: AlignedBuffer<f32>,
    half_sums: AlignedBuffer<[i16; 2]>,
}

/// Where [`Kernels::fill`] writes one column's blocks.
pub(crate) struct QuantizedColumn<'a> {
    tile: Tile,
    column: usize,
    quants: &'a Shared<'a, i8>,
    scales: &'a Shared<'a, f32>,
    sums: &'a Shared<'a, f32>,
    half_sums: &'a Shared<'a, [i16; 2]>,
}

/// Some neighbouring columns whose blocks lie together.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tile {
    /// The first of its columns.
    pub(crate) first: usize,
    /// How many.
    pub(crate) columns: usize,
    /// Blocks of 32 in a column.
    pub(crate) blocks: usize,
}

impl Tile {
    /// Where the block of its `column` stands among all blocks.
    pub(crate) const fn index(&self, block: usize, column: usize) -> usize {
        self.first * self.blocks + block * self.columns + column
    }
}

impl QuantizedColumn<'_> {
    /// Stores one block: its values are `quants` × `scale`.
    #[inline]
    pub(crate) fn store(&self, block: usize, quants: &[i8; QUANT_BLOCK], scale: f32, half_sums: [i16; 2]) {
        let index = self.tile.index(block, self.column);
        let sum = f32::from(half_sums[0] + half_sums[1]) * scale;
        // SAFETY: blocks of different columns do not overlap, and each column is written by one thread.
        unsafe {
            self.quants.part(index * QUANT_BLOCK..(index + 1) * QUANT_BLOCK).copy_from_slice(quants);
            self.scales.write(index, scale);
            self.sums.write(index, sum);
            self.half_sums.write(index, half_sums);
        }
    }
}

impl Default for Activations {
    fn default() -> Self {
        Self::new()
    }
}

impl Activations {
    /// None yet.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            columns: 0,
            width: 0,
            values: AlignedBuffer::new(),
            quants: AlignedBuffer::new(),
            scales: AlignedBuffer::new(),
            sums: AlignedBuffer::new(),
            half_sums: AlignedBuffer::new(),
        }
    }

    /// Inputs held.
    #[must_use]
    pub const fn columns(&self) -> usize {
        self.columns
    }

    /// Values per input.
    #[must_use]
    pub const fn width(&self) -> usize {
        self.width
    }

    /// Memory held, used or not.
    #[must_use]
    pub fn capacity_bytes(&self) -> usize {
        self.values.capacity_bytes()
            + self.quants.capacity_bytes()
            + self.scales.capacity_bytes()
            + self.sums.capacity_bytes()
            + self.half_sums.capacity_bytes()
    }

    /// The inputs as floats, \[columns, width\].
    #[must_use]
    pub fn values(&self) -> &[f32] {
        self.values.as_slice()
    }

    pub(crate) fn quants(&self) -> &[i8] {
        self.quants.as_slice()
    }

    pub(crate) fn scales(&self) -> &[f32] {
        self.scales.as_slice()
    }

    /// Scale times the sum of the quants, per block.
    pub(crate) fn sums(&self) -> &[f32] {
        self.sums.as_slice()
    }

    /// Sums of each block's first and second 16 quants.
    pub(crate) fn half_sums(&self) -> &[[i16; 2]] {
        self.half_sums.as_slice()
    }

    /// The tile of `columns` that begins at `first`, a multiple of [`COLUMN_TILE_MAX`].
    fn tile(columns: usize, width: usize, first: usize) -> Tile {
        Tile { first, columns: COLUMN_TILE_MAX.min(columns - first), blocks: width / QUANT_BLOCK }
    }

    /// All tiles in order.
    pub(crate) fn tiles(&self) -> impl Iterator<Item = Tile> + use<> {
        let (columns, width) = (self.columns, self.width);
        (0..columns).step_by(COLUMN_TILE_MAX).map(move |first| Self::tile(columns, width, first))
    }

    fn set_shape(&mut self, columns: usize, width: usize) {
        (self.columns, self.width) = (columns, width);
        self.values.set_len(columns * width);
        let blocks = if width.is_multiple_of(QUANT_BLOCK) { columns * (width / QUANT_BLOCK) } else { 0 };
        self.quants.set_len(blocks * QUANT_BLOCK);
        self.scales.set_len(blocks);
        self.sums.set_len(blocks);
        self.half_sums.set_len(blocks);
    }
}

impl Kernels {
    /// Takes `x` \[columns, width\] as the input of products to come, and quantizes it where the width is a multiple
    /// of 32 (else only weights that are floats can follow). Once per distinct input: all products that read it share it.
    ///
    /// # Panics
    /// When `x` is not a whole number of columns.
    pub fn activate(&self, activations: &mut Activations, x: &[f32], width: usize) {
        let columns = whole_rows(x, width);
        self.fill(activations, (columns, width), &|column, values| {
            values.copy_from_slice(&x[column * width..(column + 1) * width]);
        });
    }

    /// As [`Kernels::activate`], with the norm of each row of `x` \[columns, width\].
    ///
    /// # Panics
    /// When `x` is not a whole number of columns.
    pub fn activate_normed(&self, activations: &mut Activations, x: &[f32], norm: RmsNorm<'_>) {
        let (width, isa) = (norm.gain.len(), self.isa());
        let columns = whole_rows(x, width);
        self.fill(activations, (columns, width), &|column, values| {
            norm.row(isa, &x[column * width..(column + 1) * width], values);
        });
    }

    /// As [`Kernels::activate`], with what `gating` lets through: gate(`gate`) × `up`, both \[columns, width\].
    ///
    /// # Panics
    /// When `gate` is not a whole number of columns, or `up` has another length.
    pub fn activate_gated(
        &self,
        activations: &mut Activations,
        (gate, up): (&[f32], &[f32]),
        width: usize,
        gating: Gate,
    ) {
        assert_eq!(gate.len(), up.len(), "a gate and what it gates");
        let (columns, isa) = (whole_rows(gate, width), self.isa());
        self.fill(activations, (columns, width), &|column, values| {
            let range = column * width..(column + 1) * width;
            gating.row(isa, (&gate[range.clone()], &up[range]), values);
        });
    }

    /// As [`Kernels::activate`], with gelu(`x`) = x Φ(x), Φ being the normal distribution. Source: arXiv:1606.08415.
    ///
    /// # Panics
    /// When `x` is not a whole number of columns.
    pub fn activate_gelu(&self, activations: &mut Activations, x: &[f32], width: usize) {
        let (columns, isa) = (whole_rows(x, width), self.isa());
        self.fill(activations, (columns, width), &|column, values| {
            gelu(isa, &x[column * width..(column + 1) * width], values);
        });
    }

    /// Fills columns by `body`, which gets a column's number and its place, and quantizes each while it is in cache.
    fn fill(
        &self,
        activations: &mut Activations,
        (columns, width): (usize, usize),
        body: &(dyn Fn(usize, &mut [f32]) + Sync),
    ) {
        activations.set_shape(columns, width);
        let quantized = width > 0 && width.is_multiple_of(QUANT_BLOCK);
        let isa = self.isa();
        let values = Shared::new(activations.values.as_mut_slice());
        let quants = Shared::new(activations.quants.as_mut_slice());
        let scales = Shared::new(activations.scales.as_mut_slice());
        let sums = Shared::new(activations.sums.as_mut_slice());
        let half_sums = Shared::new(activations.half_sums.as_mut_slice());
        let one = |column: usize| {
            // SAFETY: each column is written by the one thread that claimed it.
            let values = unsafe { values.part(column * width..(column + 1) * width) };
            body(column, values);
            if quantized {
                let tile = Activations::tile(columns, width, column / COLUMN_TILE_MAX * COLUMN_TILE_MAX);
                let (quants, scales, sums, half_sums) = (&quants, &scales, &sums, &half_sums);
                let out = QuantizedColumn { tile, column: column - tile.first, quants, scales, sums, half_sums };
                match isa {
                    #[cfg(target_arch = "x86_64")]
                    // SAFETY: `Kernels::new` made sure of the instruction set.
                    Isa::Avx2 | Isa::AvxVnni => unsafe { crate::avx2::quantize::column(values, &out) },
                    #[cfg(target_arch = "x86_64")]
                    // SAFETY: as above.
                    Isa::Avx512 => unsafe { crate::avx512::quantize::column(values, &out) },
                    _ => scalar::quantize::column(values, &out),
                }
            }
        };
        self.for_rows(columns, width, &one);
    }

    /// Runs `body` for each of `rows` of `width` elements, on as many threads as are worth waking.
    pub(crate) fn for_rows(&self, rows: usize, width: usize, body: &(dyn Fn(usize) + Sync)) {
        let per_chunk = (INLINE_ELEMENTS_MAX / 2).div_ceil(width.max(1)).max(1);
        let chunks = if rows * width <= INLINE_ELEMENTS_MAX { 1 } else { rows.div_ceil(per_chunk) };
        self.run(chunks, &|_, chunk| {
            let rows: Range<usize> =
                if chunks == 1 { 0..rows } else { chunk * per_chunk..rows.min((chunk + 1) * per_chunk) };
            rows.for_each(body);
        });
    }
}

/// How many rows of `width` there are in `x`.
pub(crate) fn whole_rows(x: &[f32], width: usize) -> usize {
    assert!(
        if width == 0 { x.is_empty() } else { x.len().is_multiple_of(width) },
        "{} values are no whole number of rows of {width}",
        x.len()
    );
    x.len().checked_div(width).unwrap_or(0)
}
