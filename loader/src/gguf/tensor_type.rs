//! The ggml element types and the size of their blocks.
//!
//! Every type that ggml reads today is listed, so that any current file validates and can be shown; which of them can
//! be computed with is the architecture's business. Source of ids and sizes: `ggml.h`, `ggml-common.h` and gguf-py's
//! `GGML_QUANT_SIZES` (gguf 0.19).

use std::fmt;

macro_rules! tensor_types {
    ($($variant:ident = $id:literal, $name:literal, $block_len:literal, $block_bytes:literal;)*) => {
        /// How a tensor's elements are stored: in blocks of `block_len` elements that take `block_bytes` bytes.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[allow(non_camel_case_types, reason = "ggml's names, whose underscores tell them apart")]
        pub enum TensorType {
            $(#[doc = concat!("ggml id ", $id, ": ", $block_len, " elements in ", $block_bytes, " bytes.")] $variant,)*
        }

        impl TensorType {
            /// Every type, by ascending id.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// The type with ggml's number `id`; `None` for unknown and withdrawn ones.
            #[must_use]
            pub fn from_id(id: u32) -> Option<Self> {
                match id { $($id => Some(Self::$variant),)* _ => None }
            }

            /// ggml's number.
            #[must_use]
            pub fn id(self) -> u32 {
                match self { $(Self::$variant => $id,)* }
            }

            /// ggml's name, such as `Q4_K`.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// Elements in a block.
            #[must_use]
            pub fn block_len(self) -> u64 {
                match self { $(Self::$variant => $block_len,)* }
            }

            /// Bytes of a block.
            #[must_use]
            pub fn block_bytes(self) -> u64 {
                match self { $(Self::$variant => $block_bytes,)* }
            }
        }
    };
}

tensor_types! {
    F32 = 0, "F32", 1, 4;
    F16 = 1, "F16", 1, 2;
    Q4_0 = 2, "Q4_0", 32, 18;
    Q4_1 = 3, "Q4_1", 32, 20;
    Q5_0 = 6, "Q5_0", 32, 22;
    Q5_1 = 7, "Q5_1", 32, 24;
    Q8_0 = 8, "Q8_0", 32, 34;
    Q8_1 = 9, "Q8_1", 32, 36;
    Q2K = 10, "Q2_K", 256, 84;
    Q3K = 11, "Q3_K", 256, 110;
    Q4K = 12, "Q4_K", 256, 144;
    Q5K = 13, "Q5_K", 256, 176;
    Q6K = 14, "Q6_K", 256, 210;
    Q8K = 15, "Q8_K", 256, 292;
    IQ2XXS = 16, "IQ2_XXS", 256, 66;
    IQ2XS = 17, "IQ2_XS", 256, 74;
    IQ3XXS = 18, "IQ3_XXS", 256, 98;
    IQ1S = 19, "IQ1_S", 256, 50;
    IQ4NL = 20, "IQ4_NL", 32, 18;
    IQ3S = 21, "IQ3_S", 256, 110;
    IQ2S = 22, "IQ2_S", 256, 82;
    IQ4XS = 23, "IQ4_XS", 256, 136;
    I8 = 24, "I8", 1, 1;
    I16 = 25, "I16", 1, 2;
    I32 = 26, "I32", 1, 4;
    I64 = 27, "I64", 1, 8;
    F64 = 28, "F64", 1, 8;
    IQ1M = 29, "IQ1_M", 256, 56;
    BF16 = 30, "BF16", 1, 2;
    TQ1_0 = 34, "TQ1_0", 256, 54;
    TQ2_0 = 35, "TQ2_0", 256, 66;
    MXFP4 = 39, "MXFP4", 32, 17;
    NVFP4 = 40, "NVFP4", 64, 36;
    Q1_0 = 41, "Q1_0", 128, 18;
}

impl TensorType {
    /// Bytes of a tensor with `dims` in GGUF's order (`dims[0]` is the row's width). `None` if rows are not whole
    /// blocks or the size does not fit in 63 bits.
    #[must_use]
    pub fn tensor_bytes(self, dims: &[u64]) -> Option<u64> {
        let (&width, outer) = dims.split_first()?;
        if !width.is_multiple_of(self.block_len()) {
            return None;
        }
        let row_bytes = (width / self.block_len()).checked_mul(self.block_bytes())?;
        let bytes = outer.iter().try_fold(row_bytes, |bytes, &dim| bytes.checked_mul(dim))?;
        i64::try_from(bytes).is_ok().then_some(bytes)
    }
}

impl fmt::Display for TensorType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
