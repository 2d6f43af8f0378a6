//! Weight matrices as GGUF stores them, borrowed from wherever they are mapped.
//!
//! Invariant: a [`Matrix`] that exists is consistent: its bytes are exactly `rows` rows of whole blocks. Nothing is
//! promised about their alignment.

use std::fmt;

use crate::scalar::dequantize;

/// How the weights of a matrix are stored (GGUF's tensor types; block layouts as ggml's `ggml-common.h` has them).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WeightType {
    /// 32-bit floats.
    F32,
    /// 16-bit floats (IEEE half).
    F16,
    /// 16-bit floats (the upper half of 32-bit ones).
    BF16,
    /// 4-bit, one half scale per 32, offset −8.
    Q4_0,
    /// 4-bit, half scale and minimum per 32.
    Q4_1,
    /// 5-bit, one half scale per 32, offset −16.
    Q5_0,
    /// 5-bit, half scale and minimum per 32.
    Q5_1,
    /// 8-bit signed, one half scale per 32.
    Q8_0,
    /// 2-bit in blocks of 256: 4-bit scales and minima per 16.
    Q2K,
    /// 3-bit in blocks of 256: signed 6-bit scales per 16, offset −4.
    Q3K,
    /// 4-bit in blocks of 256: 6-bit scales and minima per 32.
    Q4K,
    /// 5-bit in blocks of 256: 6-bit scales and minima per 32.
    Q5K,
    /// 6-bit in blocks of 256: 8-bit scales per 16, offset −32.
    Q6K,
    /// 4-bit places in a table of sixteen values, one half scale per 32.
    IQ4NL,
    /// 4-bit places in the same table, in blocks of 256: signed 6-bit scales per 32.
    IQ4XS,
}

impl WeightType {
    /// Every type, for those who must treat them all.
    pub const ALL: [Self; 15] = [
        Self::F32,
        Self::F16,
        Self::BF16,
        Self::Q4_0,
        Self::Q4_1,
        Self::Q5_0,
        Self::Q5_1,
        Self::Q8_0,
        Self::Q2K,
        Self::Q3K,
        Self::Q4K,
        Self::Q5K,
        Self::Q6K,
        Self::IQ4NL,
        Self::IQ4XS,
    ];

    /// Weights in one block.
    #[must_use]
    pub const fn block_len(self) -> usize {
        match self {
            Self::F32 | Self::F16 | Self::BF16 => 1,
            Self::Q4_0 | Self::Q4_1 | Self::Q5_0 | Self::Q5_1 | Self::Q8_0 | Self::IQ4NL => 32,
            Self::Q2K | Self::Q3K | Self::Q4K | Self::Q5K | Self::Q6K | Self::IQ4XS => 256,
        }
    }

    /// Bytes of one block.
    #[must_use]
    pub const fn block_bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::BF16 => 2,
            Self::Q4_0 | Self::IQ4NL => 18,
            Self::Q4_1 => 20,
            Self::Q5_0 => 22,
            Self::Q5_1 => 24,
            Self::Q8_0 => 34,
            Self::Q2K => 84,
            Self::Q3K => 110,
            Self::Q4K => 144,
            Self::Q5K => 176,
            Self::Q6K => 210,
            Self::IQ4XS => 136,
        }
    }

    /// Bytes of a row of `width` weights; none where it is not a whole number of blocks, or overflows.
    #[must_use]
    pub const fn row_bytes(self, width: usize) -> Option<usize> {
        if !width.is_multiple_of(self.block_len()) {
            return None;
        }
        (width / self.block_len()).checked_mul(self.block_bytes())
    }

    /// Whether products read the int8 form of activations (else their f32 values).
    pub(crate) const fn is_quantized(self) -> bool {
        self.block_len() > 1
    }
}

/// Why bytes are no such matrix: the file that they come from is wrong, or its reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShapeError {
    /// The width is not a whole number of the type's blocks.
    Width {
        /// The type asked for.
        ty: WeightType,
        /// Weights per row.
        width: usize,
    },
    /// The matrix would be larger than memory can be.
    Overflow {
        /// Rows asked for.
        rows: usize,
        /// Weights per row.
        width: usize,
    },
    /// There are more or fewer bytes than the shape takes.
    Length {
        /// Bytes that the shape takes.
        expected_bytes: usize,
        /// Bytes given.
        actual_bytes: usize,
    },
}

impl fmt::Display for ShapeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Width { ty, width } => {
                write!(f, "a row of {width} weights is no whole number of {ty:?} blocks of {}", ty.block_len())
            }
            Self::Overflow { rows, width } => write!(f, "a matrix of {rows} × {width} exceeds the address space"),
            Self::Length { expected_bytes, actual_bytes } => {
                write!(f, "the shape takes {expected_bytes} bytes, not {actual_bytes}")
            }
        }
    }
}

impl std::error::Error for ShapeError {}

/// A weight matrix \[rows, width\], row-major, in GGUF blocks that it borrows.
#[derive(Clone, Copy)]
pub struct Matrix<'a> {
    ty: WeightType,
    rows: usize,
    width: usize,
    row_bytes: usize,
    bytes: &'a [u8],
}

impl<'a> Matrix<'a> {
    /// Views `bytes` as `rows` rows of `width` weights of type `ty`.
    ///
    /// # Errors
    /// [`ShapeError`] when the bytes are not exactly such a matrix.
    pub fn new(ty: WeightType, rows: usize, width: usize, bytes: &'a [u8]) -> Result<Self, ShapeError> {
        let row_bytes = ty.row_bytes(width).ok_or(if width.is_multiple_of(ty.block_len()) {
            ShapeError::Overflow { rows, width }
        } else {
            ShapeError::Width { ty, width }
        })?;
        let expected_bytes = row_bytes.checked_mul(rows).ok_or(ShapeError::Overflow { rows, width })?;
        if bytes.len() != expected_bytes {
            return Err(ShapeError::Length { expected_bytes, actual_bytes: bytes.len() });
        }
        Ok(Self { ty, rows, width, row_bytes, bytes })
    }

    /// How its weights are stored.
    #[must_use]
    pub const fn ty(&self) -> WeightType {
        self.ty
    }

    /// Outputs of a product with it.
    #[must_use]
    pub const fn rows(&self) -> usize {
        self.rows
    }

    /// Inputs of a product with it.
    #[must_use]
    pub const fn width(&self) -> usize {
        self.width
    }

    /// Bytes of one row.
    #[must_use]
    pub const fn row_bytes(&self) -> usize {
        self.row_bytes
    }

    /// All of its blocks.
    #[must_use]
    pub const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The blocks of one row.
    ///
    /// # Panics
    /// When there is no such row.
    #[must_use]
    pub fn row(&self, row: usize) -> &'a [u8] {
        assert!(row < self.rows, "row {row} of a matrix of {} rows", self.rows);
        &self.bytes[row * self.row_bytes..(row + 1) * self.row_bytes]
    }

    /// Writes the weights of one row as floats (an embedding's lookup). Shapes: `out` \[width\].
    ///
    /// # Panics
    /// When there is no such row, or `out` is not as wide as the matrix.
    pub fn dequantize_row(&self, row: usize, out: &mut [f32]) {
        assert_eq!(out.len(), self.width, "a row of {} weights into {} floats", self.width, out.len());
        dequantize::row(self.ty, self.row(row), out);
    }
}

impl fmt::Debug for Matrix<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Matrix({:?}, {} × {})", self.ty, self.rows, self.width)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_exact_shapes_are_matrices() {
        let bytes = [0u8; 36];
        assert!(Matrix::new(WeightType::Q4_0, 2, 32, &bytes).is_ok());
        assert_eq!(
            Matrix::new(WeightType::Q4_0, 2, 33, &bytes).unwrap_err(),
            ShapeError::Width { ty: WeightType::Q4_0, width: 33 }
        );
        assert_eq!(
            Matrix::new(WeightType::Q4_0, 3, 32, &bytes).unwrap_err(),
            ShapeError::Length { expected_bytes: 54, actual_bytes: 36 }
        );
        assert_eq!(
            Matrix::new(WeightType::F32, usize::MAX, 4, &bytes).unwrap_err(),
            ShapeError::Overflow { rows: usize::MAX, width: 4 }
        );
        assert_eq!(
            Matrix::new(WeightType::F32, 1, usize::MAX, &bytes).unwrap_err(),
            ShapeError::Overflow { rows: 1, width: usize::MAX }
        );
    }

    #[test]
    fn an_empty_matrix_is_one() {
        for ty in WeightType::ALL {
            assert!(Matrix::new(ty, 0, 256, &[]).is_ok());
            assert!(Matrix::new(ty, 3, 0, &[]).is_ok());
        }
    }
}
