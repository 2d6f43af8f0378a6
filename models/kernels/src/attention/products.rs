//! Small products of rows with blocks of the cache, in whichever precision these are kept.
//!
//! Few rows read the halves of the cache as they go; many have a block widened to floats for all of them, and bytes always
//! are. Each output lane is one chain of additions, for any number of rows.

use crate::kv::{KvPrecision, KvShape, widen_keys, widen_values};
use crate::limits::WIDENED_ROWS_MIN;
use crate::vector::Vector;

/// A matrix of halves, with as many of a row as `stride`, and what is read after it.
#[derive(Clone, Copy)]
pub(super) struct Halves<'a> {
    pub(super) halves: &'a [u16],
    pub(super) stride: usize,
    pub(super) next: &'a [u16],
}

/// Where sums are added: `width` of them, a multiple of the lanes, in rows `stride` apart.
pub(super) struct Sums<'a> {
    pub(super) out: &'a mut [f32],
    pub(super) stride: usize,
    pub(super) width: usize,
}

/// Products of `count` rows with the keys of a block, in whichever precision: [`products`].
///
/// # Safety
/// As [`Vector`]'s methods.
#[inline(always)]
pub(super) unsafe fn key_products<'a, V: Vector>(
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
pub(super) unsafe fn value_products<'a, V: Vector>(
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
