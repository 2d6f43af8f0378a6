//! Rotary position embedding: the angles, kept per position, and their application.
//!
//! Source: arXiv:2104.09864; the two ways of pairing as in ggml's `rope` (normal and NeoX).

use std::sync::OnceLock;

use crate::aligned::Shared;
use crate::entry::Kernels;
use crate::isa::Isa;
use crate::limits::{ROPE_PAGE_POSITIONS, ROPE_PAGES_MAX};
use crate::scalar;

/// Which dimensions of a head are rotated together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RopeStyle {
    /// Neighbours: (0, 1), (2, 3), … (GGUF's llama).
    Interleaved,
    /// A dimension of the first half with one of the second: (0, d/2), (1, d/2 + 1), … (NeoX).
    Halves,
}

/// The angles of a model's rotary embedding; their cosines and sines are computed once per position and kept.
pub struct RopeTable {
    head_dim: usize,
    rope_dim: usize,
    style: RopeStyle,
    frequencies: Box<[f64]>,
    /// Per position: a cosine for each pair, then a sine for each.
    pages: Box<[OnceLock<Box<[f32]>>]>,
}

impl RopeTable {
    /// Angles position × base^(−2i / `rope_dim`) / `freq_factors[i]` for pair i. The first `rope_dim` of the
    /// `head_dim` dimensions are rotated, the others left as they are.
    ///
    /// # Panics
    /// When `rope_dim` is odd or exceeds `head_dim`, or there is not one factor for each pair.
    #[must_use]
    pub fn new(head_dim: usize, rope_dim: usize, base: f32, style: RopeStyle, freq_factors: Option<&[f32]>) -> Self {
        assert!(rope_dim.is_multiple_of(2) && rope_dim <= head_dim, "{rope_dim} rotated dimensions of {head_dim}");
        let pairs = rope_dim / 2;
        if let Some(factors) = freq_factors {
            assert_eq!(factors.len(), pairs, "one frequency factor for each pair");
        }
        let frequency = |pair: usize| {
            let factor = freq_factors.map_or(1.0, |factors| f64::from(factors[pair]));
            f64::from(base).powf(-2.0 * pair as f64 / rope_dim as f64) / factor
        };
        let pages = (0..ROPE_PAGES_MAX).map(|_| OnceLock::new()).collect();
        Self { head_dim, rope_dim, style, frequencies: (0..pairs).map(frequency).collect(), pages }
    }

    /// Computes the angles of the first `positions` now, so that no later call allocates for them.
    pub fn reserve(&self, positions: usize) {
        for page in 0..positions.div_ceil(ROPE_PAGE_POSITIONS).min(ROPE_PAGES_MAX) {
            self.page(page);
        }
    }

    /// Memory that the kept angles take.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.pages.iter().filter_map(OnceLock::get).map(|page| size_of_val(&**page)).sum()
    }

    fn page(&self, page: usize) -> Option<&[f32]> {
        let page_angles = || {
            let mut angles = vec![0.0; ROPE_PAGE_POSITIONS * self.rope_dim];
            for (offset, angles) in angles.chunks_exact_mut(self.rope_dim.max(1)).enumerate() {
                self.compute(page * ROPE_PAGE_POSITIONS + offset, angles);
            }
            angles.into_boxed_slice()
        };
        self.pages.get(page).map(|slot| &**slot.get_or_init(page_angles))
    }

    /// The cosines, then the sines, of one position.
    fn compute(&self, position: usize, angles: &mut [f32]) {
        let (cosines, sines) = angles.split_at_mut(self.rope_dim / 2);
        for ((cosine, sine), frequency) in cosines.iter_mut().zip(sines).zip(&self.frequencies) {
            let (s, c) = (position as f64 * frequency).sin_cos();
            (*cosine, *sine) = (c as f32, s as f32);
        }
    }

    /// Calls `body` with the cosines and the sines of `position`.
    fn with_angles(&self, position: usize, body: impl FnOnce(&[f32], &[f32])) {
        let pairs = self.rope_dim / 2;
        let start = position % ROPE_PAGE_POSITIONS * self.rope_dim;
        if let Some(page) = self.page(position / ROPE_PAGE_POSITIONS) {
            let (cosines, sines) = page[start..start + self.rope_dim].split_at(pairs);
            body(cosines, sines);
        } else {
            let mut angles = vec![0.0; self.rope_dim];
            self.compute(position, &mut angles);
            let (cosines, sines) = angles.split_at(pairs);
            body(cosines, sines);
        }
    }
}

impl Kernels {
    /// Rotates every head of every token by its position, in place.
    ///
    /// Shapes: each of `x` \[tokens, heads × head_dim\], with heads of its own number; `positions` \[tokens\].
    ///
    /// # Panics
    /// When one of `x` is not a whole number of heads for each token.
    pub fn rope<const N: usize>(&self, x: [&mut [f32]; N], table: &RopeTable, positions: &[usize]) {
        let (isa, tokens) = (self.isa(), positions.len());
        let parts = x.map(|x| {
            let width = x.len().checked_div(tokens).unwrap_or(0);
            assert!(x.len() == tokens * width && width.is_multiple_of(table.head_dim), "heads for each token");
            (Shared::new(x), width)
        });
        let width_of_all: usize = parts.iter().map(|(_, width)| width).sum();
        self.for_rows(tokens, width_of_all, &|token| {
            table.with_angles(positions[token], |cosines, sines| {
                for (x, width) in &parts {
                    // SAFETY: each token is rotated by the one thread that claimed it.
                    let heads = unsafe { x.part(token * width..(token + 1) * width) };
                    for head in heads.chunks_exact_mut(table.head_dim) {
                        rotate(isa, &mut head[..table.rope_dim], (cosines, sines), table.style);
                    }
                }
            });
        });
    }
}

/// Rotates the pairs of one head.
fn rotate(isa: Isa, rotated: &mut [f32], (cosines, sines): (&[f32], &[f32]), style: RopeStyle) {
    match isa {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: `Kernels::new` made sure of the instruction set.
        Isa::Avx2 | Isa::AvxVnni | Isa::Avx512 => unsafe {
            crate::avx2::elementwise::rotate(rotated, cosines, sines, style);
        },
        _ => scalar::elementwise::rotate(rotated, cosines, sines, style),
    }
}
