//! Seeded numbers and matrices.

use std::num::NonZeroUsize;

use kernels::{Isa, Kernels, Matrix, WeightType};

/// SplitMix64 (Steele, Lea, Flood 2014).
pub(crate) struct Seeded(pub(crate) u64);

impl Seeded {
    pub(crate) fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// Between −1 and 1.
    pub(crate) fn float(&mut self) -> f32 {
        (self.bits() >> 40) as f32 / (1u32 << 23) as f32 - 1.0
    }

    pub(crate) fn floats(&mut self, len: usize) -> Vec<f32> {
        (0..len).map(|_| self.float()).collect()
    }

    pub(crate) fn below(&mut self, end: usize) -> usize {
        (self.bits() % end as u64) as usize
    }

    /// The bits of a half: mostly of middling size, sometimes zero, negative zero, subnormal or large.
    fn half(&mut self) -> u16 {
        let sign = (self.bits() as u16) & 0x8000;
        sign | match self.below(16) {
            0 => 0,
            1 => self.below(0x400) as u16,
            2 => 0x5800 | self.below(0x400) as u16,
            _ => 0x2000 + self.below(0x1000) as u16,
        }
    }

    /// The blocks of a matrix: random quants, with extreme bytes in some blocks, and sane halves.
    pub(crate) fn weights(&mut self, ty: WeightType, rows: usize, width: usize) -> Vec<u8> {
        let mut bytes: Vec<u8> = Vec::new();
        for _ in 0..rows * width / ty.block_len() {
            let extreme = self.below(8);
            let mut block: Vec<u8> = (0..ty.block_bytes())
                .map(|_| match extreme {
                    0 => 0x00,
                    1 => 0xff,
                    2 => 0x80,
                    3 => 0x7f,
                    _ => self.bits() as u8,
                })
                .collect();
            match ty {
                WeightType::F32 => block.copy_from_slice(&self.float().to_le_bytes()),
                WeightType::BF16 => block.copy_from_slice(&self.float().to_le_bytes()[2..]),
                _ => {}
            }
            for &offset in halves(ty) {
                block[offset..offset + 2].copy_from_slice(&self.half().to_le_bytes());
            }
            bytes.extend(block);
        }
        bytes
    }
}

/// Where the halves of a block are.
pub(crate) fn halves(ty: WeightType) -> &'static [usize] {
    match ty {
        WeightType::F32 | WeightType::BF16 => &[],
        WeightType::F16
        | WeightType::Q4_0
        | WeightType::Q5_0
        | WeightType::Q8_0
        | WeightType::IQ4NL
        | WeightType::IQ4XS => &[0],
        WeightType::Q4_1 | WeightType::Q5_1 | WeightType::Q4K | WeightType::Q5K => &[0, 2],
        WeightType::Q2K => &[80, 82],
        WeightType::Q3K => &[108],
        WeightType::Q6K => &[208],
    }
}

/// Kernels of every instruction set that this processor has.
pub(crate) fn every_isa(threads: usize) -> impl Iterator<Item = Kernels> {
    Isa::ALL.into_iter().filter(|isa| isa.is_available()).map(move |isa| with(threads, isa))
}

pub(crate) fn with(threads: usize, isa: Isa) -> Kernels {
    Kernels::new(NonZeroUsize::new(threads).expect("threads"), isa)
}

pub(crate) fn matrix(ty: WeightType, rows: usize, width: usize, bytes: &[u8]) -> Matrix<'_> {
    Matrix::new(ty, rows, width, bytes).expect("a whole matrix")
}
