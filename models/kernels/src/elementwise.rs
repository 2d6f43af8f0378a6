//! Norms, gates and sums: what happens between products.

use crate::activations::whole_rows;
use crate::aligned::Shared;
use crate::entry::Kernels;
use crate::isa::Isa;
use crate::limits::INLINE_ELEMENTS_MAX;
use crate::scalar;

/// What a gate's input goes through before it scales what it gates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate {
    /// silu(x) = x / (1 + e⁻ˣ). Source: arXiv:2002.05202.
    Silu,
    /// gelu(x) ≈ ½ x (1 + tanh(√(2/π) (x + 0.044715 x³))). Source: arXiv:1606.08415.
    GeluTanh,
}

/// Scales a row to unit root mean square, then by a gain.
#[derive(Clone, Copy, Debug)]
pub struct RmsNorm<'a> {
    /// A factor for each place of a row: \[width\].
    pub gain: &'a [f32],
    /// Added to the mean square.
    pub epsilon: f32,
}

/// Shifts a row to a mean of zero and scales it to a variance of one, then scales by a gain and shifts by a bias.
#[derive(Clone, Copy, Debug)]
pub struct LayerNorm<'a> {
    /// A factor for each place of a row: \[width\].
    pub gain: &'a [f32],
    /// A term for each place of a row: \[width\].
    pub bias: &'a [f32],
    /// Added to the variance.
    pub epsilon: f32,
}

/// gelu(x) = x Φ(x), with the normal distribution's Φ and not its approximation. Source: arXiv:1606.08415.
pub(crate) fn gelu(isa: Isa, x: &[f32], out: &mut [f32]) {
    match isa {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: `Kernels::new` made sure of the instruction set.
        Isa::Avx2 | Isa::AvxVnni | Isa::Avx512 => unsafe { crate::avx2::elementwise::gelu(x, out) },
        _ => scalar::elementwise::gelu(x, out),
    }
}

impl RmsNorm<'_> {
    /// The norm of one row.
    pub(crate) fn row(&self, isa: Isa, x: &[f32], out: &mut [f32]) {
        match isa {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: `Kernels::new` made sure of the instruction set.
            Isa::Avx2 | Isa::AvxVnni => unsafe { crate::avx2::elementwise::rms_norm(x, self.gain, self.epsilon, out) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: as above.
            Isa::Avx512 => unsafe { crate::avx512::elementwise::rms_norm(x, self.gain, self.epsilon, out) },
            _ => scalar::elementwise::rms_norm(x, self.gain, self.epsilon, out),
        }
    }
}

impl Gate {
    /// `out` = gate(`gate`) × `up`, all of one length.
    pub(crate) fn row(self, isa: Isa, (gate, up): (&[f32], &[f32]), out: &mut [f32]) {
        match (isa, self) {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: `Kernels::new` made sure of the instruction set.
            (Isa::Avx2 | Isa::AvxVnni, Self::Silu) => unsafe { crate::avx2::elementwise::silu_mul(gate, up, out) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: as above.
            (Isa::Avx2 | Isa::AvxVnni, Self::GeluTanh) => unsafe { crate::avx2::elementwise::gelu_mul(gate, up, out) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: as above.
            (Isa::Avx512, Self::Silu) => unsafe { crate::avx512::elementwise::silu_mul(gate, up, out) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: as above.
            (Isa::Avx512, Self::GeluTanh) => unsafe { crate::avx512::elementwise::gelu_mul(gate, up, out) },
            (_, Self::Silu) => scalar::elementwise::silu_mul(gate, up, out),
            (_, Self::GeluTanh) => scalar::elementwise::gelu_mul(gate, up, out),
        }
    }
}

impl Kernels {
    /// Scales each row of `x` to unit root mean square, then by `gain`: hidden states, or heads of them.
    ///
    /// Shapes: `x` \[rows, width\], `gain` \[width\], f32.
    ///
    /// # Panics
    /// When `x` is not a whole number of rows.
    ///
    /// Source: arXiv:1910.07467.
    pub fn normalize(&self, x: &mut [f32], norm: RmsNorm<'_>) {
        let RmsNorm { gain, epsilon } = norm;
        let isa = self.isa();
        self.for_each_row(x, gain.len(), |x| {
            match isa {
                #[cfg(target_arch = "x86_64")]
                // SAFETY: `Kernels::new` made sure of the instruction set.
                Isa::Avx2 | Isa::AvxVnni => unsafe { crate::avx2::elementwise::rms_norm_in_place(x, gain, epsilon) },
                #[cfg(target_arch = "x86_64")]
                // SAFETY: as above.
                Isa::Avx512 => unsafe { crate::avx512::elementwise::rms_norm_in_place(x, gain, epsilon) },
                _ => scalar::elementwise::rms_norm_in_place(x, gain, epsilon),
            }
        });
    }

    /// Shifts each row of `x` to a mean of zero, scales it to a variance of one, then by `gain`, and adds `bias`.
    ///
    /// Shapes: `x` \[rows, width\], `gain` and `bias` \[width\], f32.
    ///
    /// # Panics
    /// When `x` is not a whole number of rows, or `gain` and `bias` differ in length.
    ///
    /// Source: arXiv:1607.06450.
    pub fn layer_normalize(&self, x: &mut [f32], norm: LayerNorm<'_>) {
        assert_eq!(norm.gain.len(), norm.bias.len(), "a gain and its bias");
        let isa = self.isa();
        self.for_each_row(x, norm.gain.len(), |x| {
            match isa {
                #[cfg(target_arch = "x86_64")]
                // SAFETY: `Kernels::new` made sure of the instruction set.
                Isa::Avx2 | Isa::AvxVnni | Isa::Avx512 => unsafe {
                    crate::avx2::elementwise::layer_norm_in_place(x, &norm)
                },
                _ => scalar::elementwise::layer_norm_in_place(x, &norm),
            }
        });
    }

    /// Adds `bias` \[width\] to each row of `x` \[rows, width\].
    ///
    /// # Panics
    /// When `x` is not a whole number of rows.
    pub fn add_to_rows(&self, x: &mut [f32], bias: &[f32]) {
        self.for_each_row(x, bias.len(), |x| x.iter_mut().zip(bias).for_each(|(x, bias)| *x += bias));
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

    /// Runs `body` for each row of `x`.
    fn for_each_row(&self, x: &mut [f32], width: usize, body: impl Fn(&mut [f32]) + Sync) {
        let rows = whole_rows(x, width);
        let x = Shared::new(x);
        self.for_rows(rows, width, &|row| {
            // SAFETY: each row is written by the one thread that claimed it.
            body(unsafe { x.part(row * width..(row + 1) * width) });
        });
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
