//! Attention over the KV cache, causal or of a whole sequence to itself: the split into tasks and the merging of their parts.
//!
//! A task is one KV head and a group of tokens, with all the query heads that share it, so that keys and values are
//! read once per group. Long histories are cut into segments of a fixed number of positions, each with a softmax of
//! its own, and merged in order; whether segments run on several threads or one after another changes nothing in the
//! result.

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
use crate::kv::KvCache;
use crate::limits::{QUERY_ROWS_MAX, SEGMENT_POSITIONS};
use crate::scalar;

/// Which positions a token sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sight {
    /// Its own and those before it.
    Causal {
        /// Position of the first token; token t stands at `first_position` + t.
        first_position: usize,
        /// How many positions a token sees, the last of them its own; `None` for all.
        window: Option<NonZeroUsize>,
    },
    /// All positions of the sequence, whichever its own.
    Whole {
        /// How many there are.
        positions: usize,
    },
}

/// One layer's attention for the tokens of one sequence.
pub struct AttentionCall<'a> {
    /// Queries \[tokens, heads × head_dim\].
    pub q: &'a [f32],
    /// Keys and values, those of these tokens included.
    pub kv: &'a KvCache,
    /// Whose keys and values.
    pub layer: usize,
    /// Query heads, a multiple of the KV heads.
    pub heads: usize,
    /// What each token sees.
    pub sight: Sight,
    /// Factor of the scores, usually 1 / √head_dim.
    pub scale: f32,
    /// Output \[tokens, heads × head_dim\].
    pub out: &'a mut [f32],
}

/// What every task of a call reads.
#[derive(Clone, Copy)]
pub(crate) struct Queries<'a> {
    pub(crate) q: &'a [f32],
    pub(crate) kv: &'a KvCache,
    pub(crate) layer: usize,
    pub(crate) heads: usize,
    pub(crate) sight: Sight,
    pub(crate) scale: f32,
}

/// Some tokens' queries to one KV head.
#[derive(Clone)]
pub(crate) struct Rows {
    pub(crate) kv_head: usize,
    pub(crate) tokens: Range<usize>,
}

impl Sight {
    /// Positions that `token` sees.
    pub(crate) fn seen(self, token: usize) -> Range<usize> {
        match self {
            Self::Causal { first_position, window } => {
                let end = first_position + token + 1;
                window.map_or(0, |window| end.saturating_sub(window.get()))..end
            }
            Self::Whole { positions } => 0..positions,
        }
    }

    /// Where the last of the positions that any of `tokens` tokens sees ends.
    fn end(self, tokens: usize) -> usize {
        tokens.checked_sub(1).map_or(0, |last| self.seen(last).end)
    }
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
        (token * self.heads + head) * self.kv.shape().head_dim
    }

    /// Positions that `token` sees.
    pub(crate) fn seen(&self, token: usize) -> Range<usize> {
        self.sight.seen(token)
    }

    /// Positions that query row `row` of `rows` sees.
    pub(crate) fn seen_by_row(&self, rows: &Rows, row: usize) -> Range<usize> {
        self.seen(rows.tokens.start + row / self.group())
    }

    /// Positions that any token of `rows` sees.
    pub(crate) fn seen_by_any(&self, rows: &Rows) -> Range<usize> {
        self.seen(rows.tokens.start).start..self.sight.end(rows.tokens.end)
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

impl Kernels {
    /// Grouped-query attention: `out` = softmax(`scale` · q · keys) · values, per head and token.
    ///
    /// # Panics
    /// When the heads are no multiple of the KV heads, `q` is not whole tokens or as long as `out`, there is no such
    /// layer, or the cache has no room for the last position that is seen.
    ///
    /// Source: the streaming softmax is arXiv:1805.02867's.
    pub fn attention(&self, call: AttentionCall<'_>) {
        let AttentionCall { q, kv, layer, heads, sight, scale, out } = call;
        let shape = kv.shape();
        assert!(heads > 0 && heads.is_multiple_of(shape.kv_heads), "{heads} heads over {} KV heads", shape.kv_heads);
        let tokens = crate::activations::whole_rows(q, heads * shape.head_dim);
        assert_eq!(q.len(), out.len(), "queries and their outputs");
        assert!(layer < shape.layers, "layer {layer} of {}", shape.layers);
        assert!(sight.end(tokens) <= kv.capacity(), "positions beyond room for {}", kv.capacity());
        let queries = Queries { q, kv, layer, heads, sight, scale };
        match self.isa() {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 | Isa::AvxVnni | Isa::Avx512 => self.grouped(queries, tokens, &Shared::new(out)),
            _ => self.one_by_one(queries, tokens, &Shared::new(out)),
        }
    }

    fn one_by_one(&self, queries: Queries<'_>, tokens: usize, out: &Shared<'_, f32>) {
        let head_dim = queries.kv.shape().head_dim;
        self.reserve_scratch(queries.sight.end(tokens));
        self.run(tokens * queries.heads, &|participant, task| {
            let start = task * head_dim;
            // SAFETY: each head of each token is written by the one thread that claimed it.
            let out = unsafe { out.part(start..start + head_dim) };
            let mut scores = self.scratch(participant);
            let scores = &mut scores[..queries.seen(task / queries.heads).len()];
            scalar::attention::head(&queries, task / queries.heads, task % queries.heads, (scores, out));
        });
    }

    #[cfg(target_arch = "x86_64")]
    fn grouped(&self, queries: Queries<'_>, tokens: usize, out: &Shared<'_, f32>) {
        let group_tokens = (QUERY_ROWS_MAX / queries.group()).max(1);
        let (kv_heads, groups) = (queries.kv.shape().kv_heads, tokens.div_ceil(group_tokens));
        // The last tokens have the longest history; they come first, so that the short ones even out the end.
        let rows = |task: usize| {
            let start = (groups - 1 - task / kv_heads) * group_tokens;
            Rows { kv_head: task % kv_heads, tokens: start..tokens.min(start + group_tokens) }
        };
        let tasks = groups * kv_heads;
        let segments_max = (0..groups).map(|group| queries.segments(&rows(group * kv_heads)).len()).max().unwrap_or(0);
        let rows_max = group_tokens * queries.group();
        let part_len = rows_max * partial_stride(&queries);
        let (scores_len, widened_len) = (rows_max * queries.score_stride(), queries.widened_len());
        self.reserve_scratch(scores_len + widened_len + 2 * part_len);
        let isa = self.isa();
        if tasks >= 2 * self.threads() || segments_max <= 1 {
            return self.run(tasks, &|participant, task| {
                let rows = rows(task);
                let mut scratch = self.scratch(participant);
                let (scores, rest) = scratch.split_at_mut(scores_len);
                let (widened, rest) = rest.split_at_mut(widened_len);
                let (merged, next) = rest.split_at_mut(part_len);
                let segments = queries.segments(&rows);
                for segment in segments.clone() {
                    let partial = if segment == segments.start { &mut *merged } else { &mut *next };
                    let work = Work { scores, widened, partial };
                    compute(isa, &queries, &rows, (segment, work));
                    if segment > segments.start {
                        merge(isa, &queries, &rows, (merged, next));
                    }
                }
                finish(&queries, &rows, merged, out);
            });
        }
        let mut shared = self.shared_scratch();
        let partials_len = tasks * segments_max * part_len;
        if shared.len() < partials_len {
            shared.resize(partials_len, 0.0);
        }
        let partials = Shared::new(&mut shared[..partials_len]);
        let part = |task: usize, index: usize| {
            let start = (task * segments_max + index) * part_len;
            // SAFETY: a partial is written by the one thread that claimed it, and merged in a later call.
            unsafe { partials.part(start..start + part_len) }
        };
        self.run(tasks * segments_max, &|participant, index| {
            let (task, index) = (index / segments_max, index % segments_max);
            let rows = rows(task);
            if let Some(segment) = queries.segments(&rows).nth(index) {
                let mut scratch = self.scratch(participant);
                let (scores, rest) = scratch.split_at_mut(scores_len);
                let work = Work { scores, widened: &mut rest[..widened_len], partial: part(task, index) };
                compute(isa, &queries, &rows, (segment, work));
            }
        });
        // As in a call, so that the result is the same whether parts are merged in one or here.
        let _flushed = Flushed::new();
        for task in 0..tasks {
            let (rows, merged) = (rows(task), part(task, 0));
            let segments = queries.segments(&rows).len();
            (1..segments).for_each(|index| merge(isa, &queries, &rows, (&mut *merged, part(task, index))));
            finish(&queries, &rows, merged, out);
        }
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
