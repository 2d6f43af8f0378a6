//! The kernels by their public face: every instruction set against its scalar twin and against plain f64.

mod attention;
mod dequantize;
mod elementwise;
mod products;
mod seeded;
mod threads;
