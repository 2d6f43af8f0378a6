//! Attention of some query rows over one segment of the history, in any width of vectors.
//!
//! Scores and weighted values are both small products of rows (broadcast, number by number) with a matrix whose rows
//! are read in order: queries with transposed keys, then probabilities with values. Each output lane is one chain of
//! additions, so a row's result does not depend on the rows beside it. Between the two, each row's scores of the
//! whole segment become exponentials at once.
//!
//! A position that a row does not see counts zero times: a value there that is no number spoils the rows of its task all the
//! same.

use super::products::{Halves, Sums, key_products, value_products};
use super::{PARTIAL_VALUES, Queries, Rows, partial_stride};
use crate::vector::{Vector, exp};

/// Memory of one task.
pub(crate) struct Work<'a> {
    /// Scores: as many rows as the task has, each [`Queries::score_stride`] long.
    pub(crate) scores: &'a mut [f32],
    /// Keys or values of one block as floats: [`Queries::widened_len`].
    pub(crate) widened: &'a mut [f32],
    /// The partial result: [`partial_stride`] for each row.
    pub(crate) partial: &'a mut [f32],
}

/// The part of a block that a task looks at.
struct Piece {
    block: usize,
    /// First position of the block.
    begin: usize,
    /// Positions from `begin` on that are written and seen.
    positions: usize,
    /// Where the block's scores begin in a row of scores.
    place: usize,
}

/// Computes the partial result of `rows` over `segment`.
///
/// # Safety
/// As [`Vector`]'s methods.
#[inline(always)]
pub(crate) unsafe fn segment<V: Vector>(queries: &Queries<'_>, rows: &Rows, segment: usize, work: Work<'_>) {
    let shape = queries.kv.shape();
    let (count, stride, score_stride) = (queries.count(rows), partial_stride(queries), queries.score_stride());
    let Work { scores, widened, partial } = work;
    let (scores, partial) = (&mut scores[..count * score_stride], &mut partial[..count * stride]);
    let seen = queries.seen_by_any(rows);
    let first = (segment * queries.segment_blocks()).max(seen.start / shape.block_positions);
    let end = ((segment + 1) * queries.segment_blocks()).min(seen.end.div_ceil(shape.block_positions));
    let pieces = (first..end).map(|block| {
        let begin = block * shape.block_positions;
        let positions = shape.block_positions.min(seen.end - begin);
        Piece { block, begin, positions, place: (block - first) * shape.key_stride() }
    });
    scores.fill(0.0);
    partial.fill(0.0);
    for piece in pieces.clone() {
        let keys = queries.kv.keys(piece.block, queries.layer, rows.kv_head);
        let next = if piece.block + 1 < end {
            queries.kv.keys(piece.block + 1, queries.layer, rows.kv_head)
        } else {
            queries.kv.values(first, queries.layer, rows.kv_head)
        };
        let q = |row: usize| &queries.q[queries.start(rows, row)..][..shape.head_dim];
        let width = piece.positions.next_multiple_of(V::LANES);
        let out = Sums { out: &mut scores[piece.place..], stride: score_stride, width };
        let keys = Halves { halves: keys, stride: shape.key_stride(), next };
        // SAFETY: by contract.
        unsafe { key_products::<V>(&shape, (count, &q), keys, (&mut *widened, out)) };
    }
    for row in 0..count {
        let (scores, partial) = (&mut scores[row * score_stride..][..score_stride], &mut partial[row * stride..][..2]);
        let scores = &mut scores[..(end - first) * shape.key_stride()];
        let seen = queries.seen_by_row(rows, row);
        let mut sees = 0;
        for piece in pieces.clone() {
            let of_piece = |position: usize| position.saturating_sub(piece.begin).min(piece.positions);
            let (start, end) = (of_piece(seen.start), of_piece(seen.end));
            let scores = &mut scores[piece.place..][..shape.key_stride()];
            scores[..start].fill(f32::NEG_INFINITY);
            scores[end..].fill(f32::NEG_INFINITY);
            sees += end - start;
        }
        if sees == 0 {
            scores.fill(0.0);
            (partial[0], partial[1]) = (f32::NEG_INFINITY, 0.0);
            continue;
        }
        // SAFETY: by contract.
        unsafe { weigh::<V>(scores, queries.scale, partial) };
    }
    for piece in pieces {
        let values = queries.kv.values(piece.block, queries.layer, rows.kv_head);
        let next = if piece.block + 1 < end {
            queries.kv.values(piece.block + 1, queries.layer, rows.kv_head)
        } else {
            // A task that is not the last to look at this head goes on with it.
            queries.kv.keys(end.min(queries.kv.blocks() - 1), queries.layer, rows.kv_head)
        };
        let p = |row: usize| &scores[row * score_stride + piece.place..][..piece.positions];
        let width = shape.value_stride();
        let out = Sums { out: &mut partial[PARTIAL_VALUES..], stride, width };
        let values = Halves { halves: values, stride: width, next };
        // SAFETY: by contract.
        unsafe { value_products::<V>((&shape, piece.positions), (count, &p), values, (&mut *widened, out)) };
    }
}

/// Turns a row of scores into exponentials; the greatest score and their sum begin its partial result.
///
/// # Safety
/// As [`Vector`]'s methods.
#[inline(always)]
unsafe fn weigh<V: Vector>(scores: &mut [f32], scale: f32, partial: &mut [f32]) {
    debug_assert!(scores.len().is_multiple_of(V::LANES));
    // SAFETY: by contract; the chunks are whole vectors.
    unsafe {
        let scale = V::splat(scale);
        let mut greatest = V::splat(f32::NEG_INFINITY);
        for scores in scores.chunks_exact(V::LANES) {
            greatest = V::load(scores.as_ptr()).mul(scale).max(greatest);
        }
        let max = greatest.greatest();
        let (negative_max, mut sum) = (V::splat(-max), V::splat(0.0));
        for scores in scores.chunks_exact_mut(V::LANES) {
            // Rounded as above, so that the greatest becomes exactly zero.
            let e = exp(V::load(scores.as_ptr()).mul(scale).add(negative_max));
            sum = sum.add(e);
            e.store(scores.as_mut_ptr());
        }
        (partial[0], partial[1]) = (max, sum.sum());
    }
}

/// Adds the partial result `next` of one row to `merged`; its positions follow those of `merged`.
///
/// # Safety
/// As [`Vector`]'s methods.
#[inline(always)]
pub(crate) unsafe fn merge<V: Vector>(merged: &mut [f32], next: &[f32]) {
    if next[0] == f32::NEG_INFINITY && next[1] == 0.0 {
        return; // this row sees nothing of the segment
    }
    let max = merged[0].max(next[0]);
    // SAFETY: by contract; values come in whole vectors.
    unsafe {
        let (old, new) = (exp(V::splat(merged[0] - max)), exp(V::splat(next[0] - max)));
        merged[0] = max;
        merged[1] = merged[1] * old.greatest() + next[1] * new.greatest();
        let (merged, next) = (&mut merged[PARTIAL_VALUES..], &next[PARTIAL_VALUES..]);
        for (merged, next) in merged.chunks_exact_mut(V::LANES).zip(next.chunks_exact(V::LANES)) {
            let sum = V::load(merged.as_ptr()).mul_add(old, V::load(next.as_ptr()).mul(new));
            sum.store(merged.as_mut_ptr());
        }
    }
}
