//! The readable twin of every kernel: the oracle in tests, and what runs where no other can.

pub(crate) mod attention;
pub(crate) mod dequantize;
pub(crate) mod elementwise;
pub(crate) mod halves;
pub(crate) mod products;
pub(crate) mod quantize;
