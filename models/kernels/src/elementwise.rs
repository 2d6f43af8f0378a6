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
                Isa::Avx2 | Isa::Avx512 => unsafe { crate::avx2::elementwise::rms_norm(x, gain, epsilon, out) },
                _ => scalar::elementwise::rms_norm(x, gain, epsilon, out),
            }
        });
    }

    /// As [`Kernels::rms_norm`], with the norm in the place of `x`: of hidden states, or of heads of them.
    ///
    /// # Panics
    /// When `x` is not a whole number of rows.
    pub fn rms_norm_in_place(&self, x: &mut [f32], gain: &[f32], epsilon: f32) {
        let width = gain.len();
        let rows = whole_rows(x, width);
        let isa = self.isa();
        let x = Shared::new(x);
        self.for_rows(rows, width, &|row| {
            // SAFETY: each row is written by the one thread that claimed it.
            let x = unsafe { x.part(row * width..(row + 1) * width) };
            match isa {
                #[cfg(target_arch = "x86_64")]
                // SAFETY: `Kernels::new` made sure of the instruction set.
                Isa::Avx2 => unsafe { crate::avx2::elementwise::rms_norm_in_place(x, gain, epsilon) },
                _ => scalar::elementwise::rms_norm_in_place(x, gain, epsilon),
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
                Isa::Avx2 | Isa::Avx512 => unsafe { crate::avx2::elementwise::silu_mul(gate, up, out) },
                _ => scalar::elementwise::silu_mul(gate, up, out),
            }
        });
    }

    /// `out` = gelu(`gate`) × `up`, where gelu(x) = ½ x (1 + tanh(√(2/π) (x + 0.044715 x³))). All of one length.
    ///
    /// # Panics
    /// When the lengths differ.
    ///
    /// Source: arXiv:1606.08415 (the approximation), arXiv:2002.05202 (the gate).
    pub fn gelu_mul(&self, gate: &[f32], up: &[f32], out: &mut [f32]) {
        assert!(gate.len() == up.len() && up.len() == out.len(), "a gate, what it gates, and its output");
        let isa = self.isa();
        self.for_pieces(out, &|start, out| {
            let (gate, up) = (&gate[start..start + out.len()], &up[start..start + out.len()]);
            match isa {
                #[cfg(target_arch = "x86_64")]
                // SAFETY: `Kernels::new` made sure of the instruction set.
                Isa::Avx2 => unsafe { crate::avx2::elementwise::gelu_mul(gate, up, out) },
                _ => scalar::elementwise::gelu_mul(gate, up, out),
            }
        });
    }

    /// Adds `bias` \[width\] to each row of `x` \[rows, width\].
    ///
    /// # Panics
    /// When `x` is not a whole number of rows.
    pub fn add_to_rows(&self, x: &mut [f32], bias: &[f32]) {
        let width = bias.len();
        let rows = whole_rows(x, width);
        let x = Shared::new(x);
        self.for_rows(rows, width, &|row| {
            // SAFETY: each row is written by the one thread that claimed it.
            let x = unsafe { x.part(row * width..(row + 1) * width) };
            x.iter_mut().zip(bias).for_each(|(x, bias)| *x += bias);
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
