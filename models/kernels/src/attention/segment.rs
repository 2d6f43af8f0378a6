//! Attention of some query rows over one segment of the history, in any width of vectors.
//!
//! Scores and weighted values are both small products of rows (broadcast, number by number) with a matrix whose rows
//! are read in order: queries with transposed keys, then probabilities with values. Each output lane is one chain of
//! additions, so a row's result does not depend on the rows beside it. Between the two, each row's scores of the
//! whole segment become exponentials at once.
//!
//! Few rows read the halves of the cache as they go; many have a block widened to floats for all of them, and bytes always
//! are. A position
//! that a row does not see counts zero times: a value there that is no number spoils the rows of its task all the same.

use super::{PARTIAL_VALUES, Queries, Rows, partial_stride};
use crate::kv::{KvPrecision, KvShape, widen_keys, widen_values};
use crate::limits::WIDENED_ROWS_MIN;
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

/// A matrix of halves, with as many of a row as `stride`, and what is read after it.
#[derive(Clone, Copy)]
struct Halves<'a> {
    halves: &'a [u16],
    stride: usize,
    next: &'a [u16],
}

/// What a loop asks for while it reads something else: blocks lie far apart, and the hardware's prefetcher would begin
/// anew in each.
#[derive(Clone, Copy)]
struct Upcoming {
    at: *const u16,
    /// Halves to go on by at every step.
    step: usize,
}

impl Upcoming {
    /// Halves of a cache line.
    const LINE: usize = 64 / size_of::<u16>();

    /// All of `halves` in `steps`, two lines at each; the rest, if they are more, is not asked for.
    fn of(halves: &[u16], steps: usize) -> Self {
        Self { at: halves.as_ptr(), step: halves.len().div_ceil(steps.max(1)).min(2 * Self::LINE) }
    }

    /// Asks for the next two lines.
    ///
    /// # Safety
    /// As [`Vector`]'s methods.
    #[inline(always)]
    unsafe fn advance<V: Vector>(&mut self) {
        // SAFETY: by contract; the address may be any.
        unsafe {
            V::prefetch(self.at);
            V::prefetch(self.at.wrapping_add(Self::LINE));
        }
        self.at = self.at.wrapping_add(self.step);
    }
}

/// Where sums are added: `width` of them, a multiple of the lanes, in rows `stride` apart.
struct Sums<'a> {
    out: &'a mut [f32],
    stride: usize,
    width: usize,
}

/// What a matrix is made of.
trait Element: Copy {
    /// As [`Vector::load`].
    unsafe fn load<V: Vector>(from: *const Self) -> V;
}

impl Element for f32 {
    #[inline(always)]
    unsafe fn load<V: Vector>(from: *const Self) -> V {
        // SAFETY: by contract.
        unsafe { V::load(from) }
    }
}

impl Element for u16 {
    #[inline(always)]
    unsafe fn load<V: Vector>(from: *const Self) -> V {
        // SAFETY: by contract.
        unsafe { V::load_halves(from) }
    }
}

/// `sums[m][n]` += Σₖ `row(m)[k]` · `matrix[k][n]` for `count` rows of one length.
///
/// # Safety
/// As [`Vector`]'s methods.
#[inline(always)]
unsafe fn products<'a, V: Vector>(
    count: usize,
    row: &impl Fn(usize) -> &'a [f32],
    matrix: Halves<'_>,
    (widened, mut sums): (&mut [f32], Sums<'_>),
) {
    let depth = if count == 0 { 0 } else { row(0).len() };
    let halves = &matrix.halves[..depth * matrix.stride];
    // SAFETY: by contract; strides are whole vectors.
    unsafe {
        if count < WIDENED_ROWS_MIN {
            let mut ahead = Some(Upcoming::of(matrix.next, depth));
            return all_rows::<V, u16>(count, row, (halves, matrix.stride, &mut ahead), &mut sums);
        }
        let widened = &mut widened[..halves.len()];
        for (wide, halves) in widened.chunks_exact_mut(V::LANES).zip(halves.chunks_exact(V::LANES)) {
            V::load_halves(halves.as_ptr()).store(wide.as_mut_ptr());
        }
        all_rows::<V, f32>(count, row, (widened, matrix.stride, &mut None), &mut sums);
    }
}

/// Products of `count` rows with the keys of a block, in whichever precision: [`products`].
///
/// # Safety
/// As [`Vector`]'s methods.
#[inline(always)]
unsafe fn key_products<'a, V: Vector>(
    shape: &KvShape,
    (count, row): (usize, &impl Fn(usize) -> &'a [f32]),
    keys: Halves<'_>,
    (widened, mut sums): (&mut [f32], Sums<'_>),
) {
    // SAFETY: by contract.
    unsafe {
        match shape.precision {
            KvPrecision::F16 => products::<V>(count, row, keys, (widened, sums)),
            KvPrecision::Q8_0 => {
                widen_keys::<V>(shape, keys.halves, sums.width, widened);
                all_rows::<V, f32>(count, row, (widened, keys.stride, &mut None), &mut sums);
            }
        }
    }
}

/// Products of `count` rows with the first `positions` values of a block, in whichever precision: [`products`].
///
/// # Safety
/// As [`Vector`]'s methods.
#[inline(always)]
unsafe fn value_products<'a, V: Vector>(
    (shape, positions): (&KvShape, usize),
    (count, row): (usize, &impl Fn(usize) -> &'a [f32]),
    values: Halves<'_>,
    (widened, mut sums): (&mut [f32], Sums<'_>),
) {
    // SAFETY: by contract.
    unsafe {
        match shape.precision {
            KvPrecision::F16 => products::<V>(count, row, values, (widened, sums)),
            KvPrecision::Q8_0 => {
                widen_values::<V>(shape, values.halves, positions, widened);
                all_rows::<V, f32>(count, row, (widened, values.stride, &mut None), &mut sums);
            }
        }
    }
}

/// # Safety
/// As [`Vector`]'s methods.
#[inline(always)]
unsafe fn all_rows<'a, V: Vector, E: Element>(
    count: usize,
    row: &impl Fn(usize) -> &'a [f32],
    (matrix, stride, ahead): (&[E], usize, &mut Option<Upcoming>),
    sums: &mut Sums<'_>,
) {
    let mut done = 0;
    while done < count {
        let (left, from) = (count - done, done);
        let matrix = (matrix, stride, &mut *ahead);
        let mut sums = Sums { out: &mut sums.out[from * sums.stride..], ..*sums };
        // SAFETY: by contract. Three rows × four vectors of sums make the best use of sixteen registers; rests of
        // four, seven and eight begin with four.
        done += unsafe {
            match left {
                1 => some_rows::<V, E, 1>([row(from)], matrix, &mut sums),
                2 => some_rows::<V, E, 2>([row(from), row(from + 1)], matrix, &mut sums),
                4 | 7 | 8 => {
                    let rows = [row(from), row(from + 1), row(from + 2), row(from + 3)];
                    some_rows::<V, E, 4>(rows, matrix, &mut sums)
                }
                _ => some_rows::<V, E, 3>([row(from), row(from + 1), row(from + 2)], matrix, &mut sums),
            }
        };
    }
}

/// Multiplies `M` rows with the matrix, and returns `M`.
///
/// # Safety
/// As [`Vector`]'s methods.
#[inline(always)]
unsafe fn some_rows<V: Vector, E: Element, const M: usize>(
    rows: [&[f32]; M],
    (matrix, stride, ahead): (&[E], usize, &mut Option<Upcoming>),
    sums: &mut Sums<'_>,
) -> usize {
    let (depth, width) = (rows[0].len(), sums.width);
    assert!(rows.iter().all(|row| row.len() == depth), "rows of one length");
    assert!(depth == 0 || (depth - 1) * stride + width <= matrix.len(), "a row of the matrix for each");
    assert!((M - 1) * sums.stride + width <= sums.out.len() && width.is_multiple_of(V::LANES), "room for the sums");
    let (base, out_stride) = (sums.out.as_mut_ptr(), sums.stride);
    let out: [*mut f32; M] = std::array::from_fn(|m| base.wrapping_add(m * out_stride));
    let rows = rows.map(<[f32]>::as_ptr);
    let mut n = 0;
    // SAFETY: all within the slices, as asserted; by contract.
    unsafe {
        macro_rules! tiles {
            ($vectors:literal) => {
                while n + $vectors * V::LANES <= width {
                    let (matrix, out) = ((matrix.as_ptr().add(n), stride), out.map(|out| out.add(n)));
                    // Only the first tile asks for what comes next.
                    match ahead.take() {
                        Some(mut ahead) => {
                            tile::<V, E, M, $vectors>(rows, depth, matrix, (out, || ahead.advance::<V>()));
                        }
                        None => tile::<V, E, M, $vectors>(rows, depth, matrix, (out, || ())),
                    }
                    n += $vectors * V::LANES;
                }
            };
        }
        if M == 1 {
            tiles!(8);
        }
        if M < 4 {
            tiles!(4);
        }
        tiles!(2);
        tiles!(1);
    }
    M
}

/// `M` rows × `N` vectors of columns.
///
/// # Safety
/// As [`Vector`]'s methods; `rows` have `depth` floats, the matrix as many rows of `N` vectors, and each `out` has `N`.
#[inline(always)]
#[allow(clippy::needless_range_loop, reason = "a tile of registers is indexed by row and column")]
unsafe fn tile<V: Vector, E: Element, const M: usize, const N: usize>(
    rows: [*const f32; M],
    depth: usize,
    (matrix, stride): (*const E, usize),
    (out, mut at_each_step): ([*mut f32; M], impl FnMut()),
) {
    // SAFETY: by contract.
    unsafe {
        let mut sums = [[V::splat(0.0); N]; M];
        for m in 0..M {
            for n in 0..N {
                sums[m][n] = V::load(out[m].add(n * V::LANES));
            }
        }
        for k in 0..depth {
            at_each_step();
            let factors: [V; M] = std::array::from_fn(|m| V::splat(*rows[m].add(k)));
            for n in 0..N {
                // One register for all columns: twelve sums and three factors leave no other.
                let column = E::load::<V>(matrix.add(k * stride + n * V::LANES));
                for m in 0..M {
                    sums[m][n] = factors[m].mul_add(column, sums[m][n]);
                }
            }
        }
        for m in 0..M {
            for n in 0..N {
                sums[m][n].store(out[m].add(n * V::LANES));
            }
        }
    }
}
