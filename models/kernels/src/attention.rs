//! Attention over the KV cache, causal or of a whole sequence to itself: the split into tasks and the merging of their parts.
//!
//! A task is one KV head and a group of one sequence's tokens, with all the query heads that share it, so that keys and
//! values are read once per group; the tasks of all sequences are one call of the pool. Long histories are cut into
//! segments of a fixed number of positions, each with a softmax of its own, and merged in order; whether segments run on
//! several threads or one after another changes nothing in the result.

mod products;
mod segment;
#[cfg(test)]
mod tests;

use std::num::NonZeroUsize;
use std::ops::Range;

use self::segment::Work;
use crate::aligned::Shared;
use crate::denormals::Flushed;
use crate::entry::Kernels;
use crate::isa::Isa;
use crate::kv::{KvCache, KvShape, SequenceRows};
use crate::limits::{QUERY_ROWS_MAX, SEGMENT_POSITIONS};
use crate::scalar;

/// Which positions a token sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sight {
    /// Its own and those before it.
    Causal {
        /// How many positions a token sees, the last of them its own; `None` for all.
        window: Option<NonZeroUsize>,
    },
    /// All that the cache counts as written, whichever its own.
    Whole,
}

/// One layer's attention for tokens of some sequences.
pub struct AttentionCall<'a, S> {
    /// Queries \[tokens of all sequences, heads × head_dim\].
    pub q: &'a [f32],
    /// Whose tokens, and their keys and values, those of these tokens included.
    pub sequences: &'a [S],
    /// Which layer's keys and values.
    pub layer: usize,
    /// Query heads, a multiple of the KV heads.
    pub heads: usize,
    /// What each token sees.
    pub sight: Sight,
    /// Factor of the scores, usually 1 / √head_dim.
    pub scale: f32,
    /// Output \[tokens of all sequences, heads × head_dim\].
    pub out: &'a mut [f32],
}

/// What every task of one sequence reads.
#[derive(Clone, Copy)]
pub(crate) struct Queries<'a> {
    pub(crate) q: &'a [f32],
    pub(crate) kv: &'a KvCache,
    pub(crate) layer: usize,
    pub(crate) heads: usize,
    pub(crate) sight: Sight,
    pub(crate) scale: f32,
    /// The row in `q` of the sequence's first token, and that token's position.
    pub(crate) first_row: usize,
    pub(crate) first_position: usize,
}

/// Some tokens' queries to one KV head.
#[derive(Clone)]
pub(crate) struct Rows {
    pub(crate) kv_head: usize,
    pub(crate) tokens: Range<usize>,
}

impl Queries<'_> {
    /// Query heads per KV head.
    pub(crate) fn group(&self) -> usize {
        self.heads / self.kv.shape().kv_heads
    }

    /// How many query rows there are in `rows`.
    pub(crate) fn count(&self, rows: &Rows) -> usize {
        rows.tokens.len() * self.group()
    }

    /// Where query row `row` of `rows` begins in `q`, and in the output.
    pub(crate) fn start(&self, rows: &Rows, row: usize) -> usize {
        let (token, head) = (rows.tokens.start + row / self.group(), rows.kv_head * self.group() + row % self.group());
        self.head_start(token, head)
    }

    /// Where a head of a token begins in `q`, and in the output.
    pub(crate) fn head_start(&self, token: usize, head: usize) -> usize {
        ((self.first_row + token) * self.heads + head) * self.kv.shape().head_dim
    }

    /// Positions that `token` sees.
    pub(crate) fn seen(&self, token: usize) -> Range<usize> {
        match self.sight {
            Sight::Causal { window } => {
                let end = self.first_position + token + 1;
                window.map_or(0, |window| end.saturating_sub(window.get()))..end
            }
            Sight::Whole => 0..self.kv.len(),
        }
    }

    /// Where the last of the positions that any of `tokens` tokens sees ends.
    fn end(&self, tokens: usize) -> usize {
        tokens.checked_sub(1).map_or(0, |last| self.seen(last).end)
    }

    /// Positions that query row `row` of `rows` sees.
    pub(crate) fn seen_by_row(&self, rows: &Rows, row: usize) -> Range<usize> {
        self.seen(rows.tokens.start + row / self.group())
    }

    /// Positions that any token of `rows` sees.
    pub(crate) fn seen_by_any(&self, rows: &Rows) -> Range<usize> {
        self.seen(rows.tokens.start).start..self.end(rows.tokens.end)
    }

    /// Blocks of a segment.
    pub(crate) fn segment_blocks(&self) -> usize {
        (SEGMENT_POSITIONS / self.kv.shape().block_positions).max(1)
    }

    /// Floats of a row of scores of one segment.
    fn score_stride(&self) -> usize {
        self.segment_blocks() * self.kv.shape().key_stride()
    }

    /// Floats of one block's keys or values, whichever are more.
    fn widened_len(&self) -> usize {
        let shape = self.kv.shape();
        (shape.head_dim * shape.key_stride()).max(shape.block_positions * shape.value_stride())
    }

    /// Segments that hold what `rows` see.
    fn segments(&self, rows: &Rows) -> Range<usize> {
        let (seen, positions) = (self.seen_by_any(rows), self.segment_blocks() * self.kv.shape().block_positions);
        seen.start / positions..seen.end.div_ceil(positions)
    }
}

/// Tokens of one sequence that are computed together, for each KV head, and the segments that they see.
pub(crate) struct Group {
    sequence: usize,
    first_row: usize,
    tokens: Range<usize>,
    segments: Range<usize>,
    /// Segments of the groups before this one.
    segments_before: usize,
}

impl<S: SequenceRows> AttentionCall<'_, S> {
    fn queries(&self, sequence: usize, first_row: usize) -> Queries<'_> {
        let &Self { q, sequences, layer, heads, sight, scale, .. } = self;
        let (kv, first_position) = (sequences[sequence].cache(), sequences[sequence].first_position());
        Queries { q, kv, layer, heads, sight, scale, first_row, first_position }
    }

    /// Each sequence's number, its first row and its tokens.
    fn sequences(&self) -> impl Iterator<Item = (usize, usize, usize)> + use<'_, S> {
        let first_row = |row: &mut usize, tokens: usize| {
            *row += tokens;
            Some((*row - tokens, tokens))
        };
        let rows = self.sequences.iter().map(SequenceRows::tokens).scan(0, first_row);
        rows.enumerate().map(|(sequence, (first_row, tokens))| (sequence, first_row, tokens))
    }

    /// Puts the groups of all sequences into `groups`.
    fn groups(&self, group_tokens: usize, groups: &mut Vec<Group>) {
        groups.clear();
        let mut segments_before = 0;
        for (sequence, first_row, tokens) in self.sequences() {
            let queries = self.queries(sequence, first_row);
            // The last tokens have the longest history; they come first, so that the short ones even out the end.
            for start in (0..tokens).step_by(group_tokens).rev() {
                let tokens = start..tokens.min(start + group_tokens);
                let segments = queries.segments(&Rows { kv_head: 0, tokens: tokens.clone() });
                let group = Group { sequence, first_row, tokens, segments, segments_before };
                segments_before += group.segments.len();
                groups.push(group);
            }
        }
    }

    /// Panics where the call is a mistake; returns the shape of the caches.
    fn check(&self) -> Option<KvShape> {
        let shape = self.sequences.first()?.cache().shape();
        assert!(self.heads.is_multiple_of(shape.kv_heads), "{} heads over {} KV heads", self.heads, shape.kv_heads);
        let tokens: usize = self.sequences.iter().map(SequenceRows::tokens).sum();
        assert_eq!(self.q.len(), tokens * self.heads * shape.head_dim, "queries for each token");
        assert_eq!(self.q.len(), self.out.len(), "queries and their outputs");
        assert!(self.layer < shape.layers, "layer {} of {}", self.layer, shape.layers);
        for (sequence, first_row, tokens) in self.sequences() {
            let queries = self.queries(sequence, first_row);
            assert_eq!(queries.kv.shape(), shape, "caches of one model");
            let capacity = queries.kv.capacity();
            assert!(queries.end(tokens) <= capacity, "positions beyond room for {capacity}");
        }
        Some(shape)
    }
}

impl Kernels {
    /// Grouped-query attention: `out` = softmax(`scale` · q · keys) · values, per head and token.
    ///
    /// # Panics
    /// When the heads are no multiple of the KV heads, `q` and `out` are not as long as the sequences have tokens, the
    /// caches differ in shape, there is no such layer, or a cache has no room for the last position that is seen.
    ///
    /// Source: the streaming softmax is arXiv:1805.02867's.
    pub fn attention<S: SequenceRows>(&self, mut call: AttentionCall<'_, S>) {
        let Some(shape) = call.check() else { return };
        let out = std::mem::take(&mut call.out);
        match self.isa() {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 | Isa::AvxVnni | Isa::Avx512 => self.grouped(&call, shape, &Shared::new(out)),
            _ => self.one_by_one(&call, &Shared::new(out)),
        }
    }

    fn one_by_one<S: SequenceRows>(&self, call: &AttentionCall<'_, S>, out: &Shared<'_, f32>) {
        for (sequence, first_row, tokens) in call.sequences() {
            let queries = call.queries(sequence, first_row);
            let head_dim = queries.kv.shape().head_dim;
            self.reserve_scratch(queries.end(tokens));
            self.run(tokens * queries.heads, &|participant, task| {
                let (token, head) = (task / queries.heads, task % queries.heads);
                let start = queries.head_start(token, head);
                // SAFETY: each head of each token is written by the one thread that claimed it.
                let out = unsafe { out.part(start..start + head_dim) };
                let mut scores = self.scratch(participant);
                let scores = &mut scores[..queries.seen(token).len()];
                scalar::attention::head(&queries, token, head, (scores, out));
            });
        }
    }

    #[cfg(target_arch = "x86_64")]
    fn grouped<S: SequenceRows>(&self, call: &AttentionCall<'_, S>, shape: KvShape, out: &Shared<'_, f32>) {
        let group_tokens = (QUERY_ROWS_MAX * shape.kv_heads / call.heads).max(1);
        let (mut groups, isa) = (self.attention_groups(), self.isa());
        call.groups(group_tokens, &mut groups);
        let Some(last) = groups.last() else { return };
        let segments_total = last.segments_before + last.segments.len();
        let segments_max = groups.iter().map(|group| group.segments.len()).max().unwrap_or(0);
        let sizes = WorkSizes::of(&call.queries(0, 0), group_tokens);
        self.reserve_scratch(sizes.scores + sizes.widened + 2 * sizes.partial);
        let task = |group: &Group, kv_head: usize| {
            (call.queries(group.sequence, group.first_row), Rows { kv_head, tokens: group.tokens.clone() })
        };
        // The longest tasks must not outlast the rest: a thread's share, and twice that to even out.
        if segments_max <= 1 || 2 * self.threads() * segments_max <= segments_total * shape.kv_heads {
            return self.run(groups.len() * shape.kv_heads, &|participant, index| {
                let group = &groups[index / shape.kv_heads];
                let (queries, rows) = task(group, index % shape.kv_heads);
                let mut scratch = self.scratch(participant);
                let (scores, rest) = scratch.split_at_mut(sizes.scores);
                let (widened, rest) = rest.split_at_mut(sizes.widened);
                let (merged, next) = rest.split_at_mut(sizes.partial);
                for segment in group.segments.clone() {
                    let partial = if segment == group.segments.start { &mut *merged } else { &mut *next };
                    compute(isa, &queries, &rows, (segment, Work { scores, widened, partial }));
                    if segment > group.segments.start {
                        merge(isa, &queries, &rows, (merged, next));
                    }
                }
                finish(&queries, &rows, merged, out);
            });
        }
        let mut shared = self.shared_scratch();
        let partials_len = segments_total * shape.kv_heads * sizes.partial;
        if shared.len() < partials_len {
            shared.resize(partials_len, 0.0);
        }
        let partials = Shared::new(&mut shared[..partials_len]);
        let part = |segment: usize, kv_head: usize| {
            let start = (segment * shape.kv_heads + kv_head) * sizes.partial;
            // SAFETY: a partial is written by the one thread that claimed it, and merged in a later call.
            unsafe { partials.part(start..start + sizes.partial) }
        };
        self.run(segments_total * shape.kv_heads, &|participant, index| {
            let (segment, kv_head) = (index / shape.kv_heads, index % shape.kv_heads);
            let group = &groups[groups.partition_point(|group| group.segments_before <= segment) - 1];
            let (queries, rows) = task(group, kv_head);
            let mut scratch = self.scratch(participant);
            let (scores, rest) = scratch.split_at_mut(sizes.scores);
            let work = Work { scores, widened: &mut rest[..sizes.widened], partial: part(segment, kv_head) };
            compute(isa, &queries, &rows, (group.segments.start + segment - group.segments_before, work));
        });
        // As in a call, so that the result is the same whether parts are merged in one or here.
        let _flushed = Flushed::new();
        for (group, kv_head) in groups.iter().flat_map(|group| (0..shape.kv_heads).map(move |head| (group, head))) {
            let ((queries, rows), first) = (task(group, kv_head), group.segments_before);
            let merged = part(first, kv_head);
            for segment in 1..group.segments.len() {
                merge(isa, &queries, &rows, (&mut *merged, part(first + segment, kv_head)));
            }
            finish(&queries, &rows, merged, out);
        }
    }
}

/// Floats of the memory of a task.
#[derive(Clone, Copy)]
struct WorkSizes {
    scores: usize,
    widened: usize,
    partial: usize,
}

impl WorkSizes {
    fn of(queries: &Queries<'_>, group_tokens: usize) -> Self {
        let rows = group_tokens * queries.group();
        let (scores, partial) = (rows * queries.score_stride(), rows * partial_stride(queries));
        Self { scores, widened: queries.widened_len(), partial }
    }
}

/// Computes the partial result of `rows` over one segment.
#[cfg(target_arch = "x86_64")]
fn compute(isa: Isa, queries: &Queries<'_>, rows: &Rows, (segment, work): (usize, Work<'_>)) {
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn with_avx2(queries: &Queries<'_>, rows: &Rows, segment: usize, work: Work<'_>) {
        // SAFETY: these are the instructions of the implementation.
        unsafe { segment::segment::<crate::avx2::vector::F32x8>(queries, rows, segment, work) }
    }
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")]
    unsafe fn with_avx512(queries: &Queries<'_>, rows: &Rows, segment: usize, work: Work<'_>) {
        // SAFETY: these are the instructions of the implementation.
        unsafe { segment::segment::<crate::avx512::vector::F32x16>(queries, rows, segment, work) }
    }
    // SAFETY: `Kernels::new` made sure of the instruction set.
    unsafe {
        match isa {
            Isa::Avx512 => with_avx512(queries, rows, segment, work),
            _ => with_avx2(queries, rows, segment, work),
        }
    }
}

/// Adds the partial results `next` to `merged`; their positions follow those of `merged`.
#[cfg(target_arch = "x86_64")]
fn merge(isa: Isa, queries: &Queries<'_>, rows: &Rows, (merged, next): (&mut [f32], &[f32])) {
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn with_avx2(merged: &mut [f32], next: &[f32]) {
        // SAFETY: these are the instructions of the implementation.
        unsafe { segment::merge::<crate::avx2::vector::F32x8>(merged, next) }
    }
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")]
    unsafe fn with_avx512(merged: &mut [f32], next: &[f32]) {
        // SAFETY: these are the instructions of the implementation.
        unsafe { segment::merge::<crate::avx512::vector::F32x16>(merged, next) }
    }
    let stride = partial_stride(queries);
    for row in 0..queries.count(rows) {
        let (merged, next) = (&mut merged[row * stride..][..stride], &next[row * stride..][..stride]);
        // SAFETY: `Kernels::new` made sure of the instruction set.
        unsafe {
            match isa {
                Isa::Avx512 => with_avx512(merged, next),
                _ => with_avx2(merged, next),
            }
        }
    }
}

/// Floats of one row of a partial result: the greatest score, the sum of exponentials, and the weighted values.
pub(crate) fn partial_stride(queries: &Queries<'_>) -> usize {
    PARTIAL_VALUES + queries.kv.shape().value_stride()
}

/// Where the weighted values begin in a row of a partial result.
pub(crate) const PARTIAL_VALUES: usize = 8;

/// Divides by the sum of exponentials, into the output.
fn finish(queries: &Queries<'_>, rows: &Rows, merged: &[f32], out: &Shared<'_, f32>) {
    let (stride, head_dim) = (partial_stride(queries), queries.kv.shape().head_dim);
    for row in 0..queries.count(rows) {
        let start = queries.start(rows, row);
        // SAFETY: each head of each token belongs to one task.
        let out = unsafe { out.part(start..start + head_dim) };
        let merged = &merged[row * stride..][..stride];
        let inverse = 1.0 / merged[1];
        out.iter_mut().zip(&merged[PARTIAL_VALUES..]).for_each(|(out, value)| *out = value * inverse);
    }
}
