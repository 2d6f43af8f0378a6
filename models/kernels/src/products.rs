//! Products of weight matrices with activations: the split into chunks of rows, and the way to the kernels.

use std::ops::Range;

use crate::activations::Activations;
use crate::aligned::Shared;
use crate::entry::Kernels;
use crate::isa::Isa;
use crate::limits::{
    CHUNK_ROWS_MAX, CHUNK_ROWS_MIN, CHUNKS_PER_THREAD, DISPATCH_PRODUCTS_MAX, PAIRED_COLUMNS_MIN, ROW_GROUP,
    ROW_GROUP_MAX, ROW_PAIR_MAX,
};
use crate::scalar;
use crate::weights::Matrix;

/// One matrix of a dispatch \[rows, width\], and where its product goes, \[columns, rows\].
pub struct Product<'m, 'o> {
    weights: Matrix<'m>,
    out: &'o mut [f32],
    store: Store,
}

/// What becomes of what a product's output holds.
#[derive(Clone, Copy)]
pub(crate) enum Store {
    Replace,
    Add,
}

impl<'m, 'o> Product<'m, 'o> {
    /// A product that takes the place of what `out` holds.
    #[must_use]
    pub fn new(weights: Matrix<'m>, out: &'o mut [f32]) -> Self {
        Self { weights, out, store: Store::Replace }
    }

    /// A product that is added to what `out` holds: a residual connection.
    #[must_use]
    pub fn added(weights: Matrix<'m>, out: &'o mut [f32]) -> Self {
        Self { weights, out, store: Store::Add }
    }
}

/// Some rows of one product, for all columns: what a kernel computes at a time.
pub(crate) struct RowsOf<'a> {
    pub(crate) weights: Matrix<'a>,
    pub(crate) activations: &'a Activations,
    pub(crate) out: &'a Shared<'a, f32>,
    pub(crate) store: Store,
    pub(crate) rows: Range<usize>,
}

impl RowsOf<'_> {
    /// Where the products of `column` with `rows`, which are some of ours, go.
    ///
    /// # Safety
    /// Nothing else of these rows of `column` is in use meanwhile.
    #[inline]
    #[allow(clippy::mut_from_ref, reason = "a part of what is shared")]
    pub(crate) unsafe fn out(&self, column: usize, rows: Range<usize>) -> &mut [f32] {
        assert!(self.rows.start <= rows.start && rows.end <= self.rows.end, "rows of ours");
        let start = column * self.weights.rows();
        // SAFETY: rows of ours are computed by this thread alone, for all columns; of its own, by contract.
        unsafe { self.out.part(start + rows.start..start + rows.end) }
    }

    /// Stores the products of `column` with the rows from `first` on: those of `values` that are rows of ours.
    #[inline]
    pub(crate) fn store(&self, column: usize, first: usize, values: &[f32]) {
        let count = values.len().min(self.rows.end - first);
        // SAFETY: it ends with this function, which takes no other.
        let out = unsafe { self.out(column, first..first + count) };
        // Whole vectors by themselves: copies of a length that is known take no call.
        let ((out, out_rest), (values, values_rest)) =
            (out.as_chunks_mut::<ROW_GROUP>(), values[..count].as_chunks::<ROW_GROUP>());
        match self.store {
            Store::Replace => {
                out.iter_mut().zip(values).for_each(|(out, values)| *out = *values);
                out_rest.iter_mut().zip(values_rest).for_each(|(out, value)| *out = *value);
            }
            Store::Add => {
                let add = |(out, value): (&mut f32, &f32)| *out += value;
                out.as_flattened_mut().iter_mut().zip(values.as_flattened()).for_each(add);
                out_rest.iter_mut().zip(values_rest).for_each(add);
            }
        }
    }
}

impl Kernels {
    /// Multiplies every matrix with the same input, in one dispatch: `out[c, r]` = Σₖ `weights[r, k]` · `x[c, k]`, or
    /// `out[c, r]` += that.
    ///
    /// Shapes: `activations` \[columns, width\], `weights` \[rows, width\], `out` \[columns, rows\], f32. Quantized weights
    /// meet the int8 form of the input; the sums within a block of 32 are exact integers.
    ///
    /// # Panics
    /// When a matrix is not as wide as the input, or an `out` has another length than columns × rows.
    pub fn products(&self, activations: &Activations, products: &mut [Product<'_, '_>]) {
        for product in &*products {
            let (weights, columns) = (product.weights, activations.columns());
            assert_eq!(weights.width(), activations.width(), "{weights:?} and the width of its input");
            assert_eq!(product.out.len(), columns * weights.rows(), "the output of {weights:?} for {columns} columns");
        }
        for products in products.chunks_mut(DISPATCH_PRODUCTS_MAX) {
            self.dispatch(activations, products);
        }
    }

    /// Computes at most [`DISPATCH_PRODUCTS_MAX`] products in one call of the pool.
    fn dispatch(&self, activations: &Activations, products: &mut [Product<'_, '_>]) {
        let rows_total: usize = products.iter().map(|product| product.weights.rows()).sum();
        let chunk_rows = chunk_rows(rows_total, self.threads(), activations.columns());
        let mut parts = [const { None }; DISPATCH_PRODUCTS_MAX];
        let mut chunks = 0;
        for (part, product) in parts.iter_mut().zip(products) {
            *part = Some((product.weights, Shared::new(&mut *product.out), product.store, chunks));
            chunks += product.weights.rows().div_ceil(chunk_rows);
        }
        let isa = self.isa();
        self.run(chunks, &|_, chunk| {
            let &(weights, ref out, store, first) = parts
                .iter()
                .flatten()
                .rfind(|(.., first)| *first <= chunk)
                .expect("the first product begins with chunk 0");
            let row = (chunk - first) * chunk_rows;
            let rows = row..weights.rows().min(row + chunk_rows);
            compute(isa, &RowsOf { weights, activations, out, store, rows });
        });
    }
}

/// Computes some rows with the chosen kernels.
fn compute(isa: Isa, part: &RowsOf<'_>) {
    match isa {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: `Kernels::new` made sure of the instruction set.
        Isa::Avx2 => unsafe { crate::avx2::products::compute(part) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above.
        Isa::AvxVnni => unsafe { crate::avx2::products::compute_with_vnni(part) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above.
        Isa::Avx512 => unsafe { crate::avx512::products::compute(part) },
        _ => scalar::products::compute(part),
    }
}

/// Rows per claim: a few claims per thread, within bounds, in whole groups; in pairs of them where several `columns` are
/// multiplied by pairs, unless there are so few rows that one group is a claim.
fn chunk_rows(rows: usize, threads: usize, columns: usize) -> usize {
    let wanted = rows.div_ceil(threads * CHUNKS_PER_THREAD).clamp(CHUNK_ROWS_MIN, CHUNK_ROWS_MAX);
    if columns < PAIRED_COLUMNS_MIN || wanted <= ROW_GROUP_MAX {
        wanted.next_multiple_of(ROW_GROUP_MAX)
    } else {
        (wanted / ROW_PAIR_MAX).max(1) * ROW_PAIR_MAX
    }
}
