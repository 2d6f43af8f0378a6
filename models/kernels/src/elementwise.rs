//! Norms, gates and sums: what happens between products.

use crate::activations::whole_rows;
use crate::aligned::Shared;
use crate::entry::Kernels;
use crate::isa::Isa;
use crate::limits::INLINE_ELEMENTS_MAX;
use crate::scalar;

impl Kernels {
    /// Scales each row of `x` to unit root mean square, then by `gain`.
    ///
    /// Shapes: `x` \[rows, hidden\], `gain` \[hidden\] → `out` \[rows, hidden\], f32. `epsilon` is added to the mean square.
    ///
    /// # Panics
    /// When `x` is not a whole number of rows, or `out` has another length.
    ///
    /// Source: arXiv:1910.07467.
    pub fn rms_norm(&self, x: &[f32], gain: &[f32], epsilon: f32, out: &mut [f32]) {
        let width = gain.len();
        let rows = whole_rows(x, width);
        assert_eq!(x.len(), out.len(), "a norm's input and output");
        let isa = self.isa();
        let out = Shared::new(out);
        self.for_rows(rows, width, &|row| {
            let range = row * width..(row + 1) * width;
            // SAFETY: each row is written by the one thread that claimed it.
            let (x, out) = (&x[range.clone()], unsafe { out.part(range) });
            match isa {
                #[cfg(target_arch = "x86_64")]
                // SAFETY: `Kernels::new` made sure of the instruction set.
                Isa::Avx2 => unsafe { crate::avx2::elementwise::rms_norm(x, gain, epsilon, out) },
                _ => scalar::elementwise::rms_norm(x, gain, epsilon, out),
            }
        });
    }

    /// `out` = silu(`gate`) × `up`, where silu(x) = x / (1 + e⁻ˣ). All of one length.
    ///
    /// # Panics
    /// When the lengths differ.
    ///
    /// Source: arXiv:2002.05202.
    pub fn silu_mul(&self, gate: &[f32], up: &[f32], out: &mut [f32]) {
        assert!(gate.len() == up.len() && up.len() == out.len(), "a gate, what it gates, and its output");
        let isa = self.isa();
        self.for_pieces(out, &|start, out| {
            let (gate, up) = (&gate[start..start + out.len()], &up[start..start + out.len()]);
            match isa {
                #[cfg(target_arch = "x86_64")]
                // SAFETY: `Kernels::new` made sure of the instruction set.
                Isa::Avx2 => unsafe { crate::avx2::elementwise::silu_mul(gate, up, out) },
                _ => scalar::elementwise::silu_mul(gate, up, out),
            }
        });
    }

    /// `x` += `y`, of one length.
    ///
    /// # Panics
    /// When the lengths differ.
    pub fn add(&self, x: &mut [f32], y: &[f32]) {
        assert_eq!(x.len(), y.len(), "two terms");
        // The compiler vectorises this one by itself; it waits for memory whatever the instructions.
        self.for_pieces(x, &|start, x| x.iter_mut().zip(&y[start..]).for_each(|(x, y)| *x += y));
    }

    /// Runs `body` for pieces of `out`, given where each begins.
    fn for_pieces(&self, out: &mut [f32], body: &(dyn Fn(usize, &mut [f32]) + Sync)) {
        const PIECE: usize = INLINE_ELEMENTS_MAX / 2;
        let len = out.len();
        let out = Shared::new(out);
        let piece = if len <= INLINE_ELEMENTS_MAX { len.max(1) } else { PIECE };
        self.run(len.div_ceil(piece), &|_, chunk| {
            let range = chunk * piece..len.min((chunk + 1) * piece);
            // SAFETY: each piece is written by the one thread that claimed it.
            body(range.start, unsafe { out.part(range) });
        });
    }
}
