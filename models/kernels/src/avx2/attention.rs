//! Attention of some query rows over one segment of the history, block by block.
//!
//! Scores and weighted values are both small products of rows (broadcast, number by number) with a matrix whose rows
//! are read in order: queries with transposed keys, then probabilities with values. Each output lane is one chain of
//! additions, so a row's result does not depend on the rows beside it.

use std::arch::x86_64::*;
use std::ops::Range;

use super::exp::exp;
use super::lanes::sum_of_lanes;
use crate::attention::{PARTIAL_VALUES, Queries, Rows, partial_stride};

/// Rows multiplied together: three of them and four vectors of sums fill the registers.
const ROWS: usize = 3;

/// Computes the partial result of `rows` over `segment` into `partial`, with `scores` as scratch.
///
/// # Safety
/// The processor has AVX2, FMA and F16C.
#[target_feature(enable = "avx2,fma,f16c")]
pub(crate) unsafe fn segment(
    queries: &Queries<'_>,
    rows: &Rows,
    segment: usize,
    (scores, partial): (&mut [f32], &mut [f32]),
) {
    let shape = queries.kv.shape();
    let (count, stride, key_stride) = (queries.count(rows), partial_stride(queries), shape.key_stride());
    let partial = &mut partial[..count * stride];
    partial.fill(0.0);
    partial.iter_mut().step_by(stride).for_each(|max| *max = f32::NEG_INFINITY);
    let seen = queries.seen_by_any(rows);
    let (first, end) = (segment * queries.segment_blocks(), (segment + 1) * queries.segment_blocks());
    let first = first.max(seen.start / shape.block_positions);
    for block in first..end.min(seen.end.div_ceil(shape.block_positions)) {
        let begin = block * shape.block_positions;
        let positions = shape.block_positions.min(seen.end - begin);
        let keys = queries.kv.keys(block, queries.layer, rows.kv_head);
        let values = queries.kv.values(block, queries.layer, rows.kv_head);
        scores[..count * key_stride].fill(0.0);
        for row in (0..count).step_by(ROWS) {
            let q = |i: usize| &queries.q[queries.start(rows, row + i)..][..shape.head_dim];
            let scores = &mut scores[row * key_stride..];
            let width = positions.next_multiple_of(8);
            for_rows(count - row, &q, (keys, key_stride), Sums { out: scores, stride: key_stride, width });
        }
        for row in 0..count {
            let seen = queries.seen_by_row(rows, row);
            let seen = seen.start.saturating_sub(begin)..seen.end.saturating_sub(begin).min(positions);
            let scores = &mut scores[row * key_stride..][..positions.next_multiple_of(8)];
            weigh(scores, seen, queries.scale, &mut partial[row * stride..][..stride]);
        }
        for row in (0..count).step_by(ROWS) {
            let p = |i: usize| &scores[(row + i) * key_stride..][..positions];
            let out = &mut partial[row * stride + PARTIAL_VALUES..];
            let width = shape.value_stride();
            for_rows(count - row, &p, (values, width), Sums { out, stride, width });
        }
    }
}

/// Turns scores into exponentials, and brings the row's partial result to the new greatest score.
#[target_feature(enable = "avx2,fma,f16c")]
fn weigh(scores: &mut [f32], seen: Range<usize>, scale: f32, partial: &mut [f32]) {
    if seen.is_empty() {
        return scores.fill(0.0);
    }
    let scale = _mm256_set1_ps(scale);
    let mut greatest = _mm256_set1_ps(partial[0]);
    for scores in scores.chunks_exact_mut(8) {
        // SAFETY: eight floats.
        unsafe {
            let scaled = _mm256_mul_ps(_mm256_loadu_ps(scores.as_ptr()), scale);
            _mm256_storeu_ps(scores.as_mut_ptr(), scaled);
        }
    }
    scores[..seen.start].fill(f32::NEG_INFINITY);
    scores[seen.end..].fill(f32::NEG_INFINITY);
    for scores in scores.chunks_exact(8) {
        // SAFETY: eight floats.
        greatest = _mm256_max_ps(unsafe { _mm256_loadu_ps(scores.as_ptr()) }, greatest);
    }
    let mut lanes = [0.0; 8];
    // SAFETY: eight floats.
    unsafe { _mm256_storeu_ps(lanes.as_mut_ptr(), greatest) };
    let max = lanes.into_iter().fold(f32::NEG_INFINITY, f32::max);
    let correction = exp(_mm256_set1_ps(partial[0] - max));
    let mut sum = _mm256_setzero_ps();
    for scores in scores.chunks_exact_mut(8) {
        // SAFETY: eight floats.
        unsafe {
            let e = exp(_mm256_sub_ps(_mm256_loadu_ps(scores.as_ptr()), _mm256_set1_ps(max)));
            sum = _mm256_add_ps(sum, e);
            _mm256_storeu_ps(scores.as_mut_ptr(), e);
        }
    }
    if max > partial[0] {
        for values in partial[PARTIAL_VALUES..].chunks_exact_mut(8) {
            // SAFETY: eight floats.
            unsafe {
                _mm256_storeu_ps(values.as_mut_ptr(), _mm256_mul_ps(_mm256_loadu_ps(values.as_ptr()), correction));
            }
        }
        partial[1] *= _mm256_cvtss_f32(correction);
        partial[0] = max;
    }
    partial[1] += sum_of_lanes(sum);
}

/// Where sums are added: `width` of them, a multiple of eight, in rows `stride` apart.
struct Sums<'a> {
    out: &'a mut [f32],
    stride: usize,
    width: usize,
}

/// Multiplies up to [`ROWS`] of the `left` rows with the matrix.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
fn for_rows<'a>(left: usize, row: &dyn Fn(usize) -> &'a [f32], matrix: (&[f32], usize), sums: Sums<'_>) {
    match left {
        1 => multiply::<1>([row(0)], matrix, sums),
        2 => multiply::<2>([row(0), row(1)], matrix, sums),
        _ => multiply::<3>([row(0), row(1), row(2)], matrix, sums),
    }
}

/// `sums[m][n]` += Σₖ `rows[m][k]` · `matrix[k][n]`.
#[target_feature(enable = "avx2,fma,f16c")]
fn multiply<const M: usize>(rows: [&[f32]; M], (matrix, matrix_stride): (&[f32], usize), sums: Sums<'_>) {
    let depth = rows[0].len();
    assert!(rows.iter().all(|row| row.len() == depth), "rows of one length");
    assert!(depth == 0 || (depth - 1) * matrix_stride + sums.width <= matrix.len(), "a row of the matrix for each");
    assert!((M - 1) * sums.stride + sums.width <= sums.out.len() && sums.width.is_multiple_of(8), "room for the sums");
    let out: [*mut f32; M] = std::array::from_fn(|m| sums.out[m * sums.stride..].as_mut_ptr());
    let rows = rows.map(<[f32]>::as_ptr);
    let mut n = 0;
    // SAFETY: all within the slices, as asserted.
    unsafe {
        while n + 32 <= sums.width {
            columns::<M, 4>(rows, depth, (matrix.as_ptr().add(n), matrix_stride), out.map(|out| out.add(n)));
            n += 32;
        }
        while n < sums.width {
            columns::<M, 1>(rows, depth, (matrix.as_ptr().add(n), matrix_stride), out.map(|out| out.add(n)));
            n += 8;
        }
    }
}

/// `M` rows × 8 `N` columns.
///
/// # Safety
/// `rows` have `depth` floats, the matrix as many rows of 8 `N`, and each `out` has 8 `N`.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
unsafe fn columns<const M: usize, const N: usize>(
    rows: [*const f32; M],
    depth: usize,
    (matrix, stride): (*const f32, usize),
    out: [*mut f32; M],
) {
    let mut accs = [[_mm256_setzero_ps(); N]; M];
    // SAFETY: by contract.
    unsafe {
        for m in 0..M {
            for n in 0..N {
                accs[m][n] = _mm256_loadu_ps(out[m].add(8 * n));
            }
        }
        for k in 0..depth {
            let factors: [__m256; M] = std::array::from_fn(|m| _mm256_set1_ps(*rows[m].add(k)));
            for n in 0..N {
                let column = _mm256_loadu_ps(matrix.add(k * stride + 8 * n));
                for m in 0..M {
                    accs[m][n] = _mm256_fmadd_ps(factors[m], column, accs[m][n]);
                }
            }
        }
        for m in 0..M {
            for n in 0..N {
                _mm256_storeu_ps(out[m].add(8 * n), accs[m][n]);
            }
        }
    }
}
