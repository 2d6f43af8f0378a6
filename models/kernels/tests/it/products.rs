//! Products against plain f64, against the scalar twin, and against themselves in other batches.

use kernels::{Activations, Isa, Kernels, Matrix, Product, WeightType};

use crate::seeded::{Seeded, every_isa, halves, matrix, with};

fn product(kernels: &Kernels, weights: Matrix<'_>, x: &[f32]) -> Vec<f32> {
    let mut activations = Activations::new();
    kernels.activate(&mut activations, x, weights.width());
    let mut out = vec![f32::NAN; activations.columns() * weights.rows()];
    kernels.products(&activations, &mut [Product::new(weights, &mut out)]);
    out
}

/// The product in f64, and how far from it a kernel may be.
///
/// Quantizing the input moves each value by at most half of its block's scale, max |x| / 127. What remains is f32's
/// rounding: a few units in the last place of the terms' magnitudes, where the terms of a type with an offset reach
/// twice the row's greatest weight.
fn exact(weights: Matrix<'_>, x: &[f32]) -> Vec<(f64, f64, f64)> {
    let (rows, width) = (weights.rows(), weights.width());
    let mut floats = vec![0.0; width];
    let mut out = vec![(0.0, 0.0, 0.0); x.len().checked_div(width).unwrap_or(0) * rows];
    for row in 0..rows {
        weights.dequantize_row(row, &mut floats);
        let greatest = floats.iter().fold(0f32, |max, w| max.max(w.abs()));
        for (column, x) in x.chunks_exact(width.max(1)).enumerate() {
            let (mut sum, mut quantization, mut rounding) = (0.0, 0.0, 0.0);
            for (w, x) in floats.chunks(32).zip(x.chunks(32)) {
                let step = f64::from(x.iter().fold(0f32, |max, x| max.max(x.abs()))) / 127.0;
                for (&w, &x) in w.iter().zip(x) {
                    sum += f64::from(w) * f64::from(x);
                    rounding += 3e-6 * f64::from(2.0 * greatest + w.abs()) * (f64::from(x.abs()) + step);
                    quantization += 0.501 * step * f64::from(w.abs());
                }
            }
            let quantization = if weights.ty().block_len() == 1 { 0.0 } else { quantization };
            out[column * rows + row] = (sum, quantization, rounding);
        }
    }
    out
}

fn widths(ty: WeightType) -> &'static [usize] {
    match ty.block_len() {
        1 => &[1, 7, 8, 9, 31, 33, 100],
        32 => &[32, 96, 288],
        _ => &[256, 768],
    }
}

#[test]
fn every_type_is_close_to_the_exact_product_and_closer_to_its_twin() {
    let mut seeded = Seeded(1);
    let scalar = with(1, Isa::Scalar);
    for ty in WeightType::ALL {
        for &width in widths(ty) {
            for rows in [1, 2, 7, 8, 9, 16, 67] {
                let bytes = seeded.weights(ty, rows, width);
                let weights = matrix(ty, rows, width, &bytes);
                for columns in [1, 2, 3, 4, 5, 6, 7, 8, 9, 33, 70] {
                    let x = inputs(&mut seeded, columns, width);
                    let exact = exact(weights, &x);
                    let twin = product(&scalar, weights, &x);
                    for kernels in every_isa(2) {
                        let out = product(&kernels, weights, &x);
                        for (i, &(sum, quantization, rounding)) in exact.iter().enumerate() {
                            let context = format!("{:?} {weights:?} × {columns}, output {i}", kernels.isa());
                            let (found, twin) = (f64::from(out[i]), f64::from(twin[i]));
                            assert!((found - sum).abs() <= quantization + rounding, "{context}: {found} for {sum}");
                            assert!((found - twin).abs() <= rounding, "{context}: {found}, but the twin's {twin}");
                        }
                    }
                }
            }
        }
    }
}

/// Inputs with blocks of zeros, of negative zeros, of one large value, and of wildly different sizes.
fn inputs(seeded: &mut Seeded, columns: usize, width: usize) -> Vec<f32> {
    let mut x = seeded.floats(columns * width);
    for block in x.chunks_mut(32) {
        match seeded.below(8) {
            0 => block.fill(0.0),
            1 => block.fill(-0.0),
            2 => block[0] = 1000.0,
            3 => block.iter_mut().for_each(|x| *x = 1f32.copysign(*x)),
            4 => block.iter_mut().for_each(|x| *x *= 1e-6),
            _ => {}
        }
    }
    x
}

/// The greatest quants of both sides: where 16-bit sums would overflow, if anywhere.
#[test]
fn extreme_quants_do_not_saturate() {
    for ty in WeightType::ALL.into_iter().filter(|ty| ty.block_len() > 1) {
        for fill in [0x00, 0xff, 0x7f, 0x80, 0x0f, 0xf0] {
            // Few columns, and so many that AVX2 takes panels.
            for (x, columns) in [(1.0, 2), (-1.0, 2), (1.0, 6), (-1.0, 6)] {
                let mut block = vec![fill; ty.block_bytes()];
                halves(ty).iter().for_each(|&at| block[at..at + 2].copy_from_slice(&[0x00, 0x3c]));
                let bytes = block.repeat(8);
                let weights = matrix(ty, 8, ty.block_len(), &bytes);
                let x = vec![x; ty.block_len() * columns];
                for kernels in every_isa(1) {
                    let out = product(&kernels, weights, &x);
                    for (out, (sum, ..)) in out.iter().zip(exact(weights, &x)) {
                        // Every value is ±127 of its scale, so there is no error but that of the last sums.
                        let error = (f64::from(*out) - sum).abs();
                        assert!(error <= 1e-5 * sum.abs() + 1e-3, "{:?} {ty:?} {fill:#x}: {out} {sum}", kernels.isa());
                    }
                }
            }
        }
    }
}

#[test]
fn a_column_alone_is_the_same_as_in_any_batch() {
    let mut seeded = Seeded(2);
    // Not a whole number of groups, nor of what is unpacked at a time; and so many rows that a claim has pairs of groups,
    // the last of which overlap.
    for (rows, width, batches) in [(35, 1024, &[2, 3, 4, 5, 9, 33, 64, 65, 70][..]), (308, 256, &[15, 16, 70])] {
        for ty in WeightType::ALL {
            let bytes = seeded.weights(ty, rows, width);
            let weights = matrix(ty, rows, width, &bytes);
            let x = inputs(&mut seeded, 70, width);
            for kernels in every_isa(2) {
                let alone: Vec<f32> = x.chunks(width).flat_map(|x| product(&kernels, weights, x)).collect();
                for &columns in batches {
                    let batch = product(&kernels, weights, &x[..columns * width]);
                    assert!(same(&batch, &alone[..columns * rows]), "{:?} {weights:?} × {columns}", kernels.isa());
                }
            }
        }
    }
}

fn same(a: &[f32], b: &[f32]) -> bool {
    a.iter().map(|x| x.to_bits()).eq(b.iter().map(|x| x.to_bits()))
}

#[test]
fn a_product_can_be_added_to_what_is_there() {
    let mut seeded = Seeded(5);
    let (rows, width, columns) = (67, 256, 6);
    let bytes = seeded.weights(WeightType::Q4K, rows, width);
    let weights = matrix(WeightType::Q4K, rows, width, &bytes);
    let (x, before) = (seeded.floats(columns * width), seeded.floats(columns * rows));
    for kernels in every_isa(2) {
        let mut activations = Activations::new();
        kernels.activate(&mut activations, &x, width);
        let mut sum = before.clone();
        kernels.products(&activations, &mut [Product::added(weights, &mut sum)]);
        let alone = product(&kernels, weights, &x);
        let expected: Vec<f32> = before.iter().zip(&alone).map(|(before, product)| before + product).collect();
        assert!(same(&sum, &expected), "{:?}", kernels.isa());
    }
}

#[test]
fn the_number_of_threads_changes_nothing() {
    let mut seeded = Seeded(3);
    for ty in WeightType::ALL {
        let bytes = seeded.weights(ty, 300, 256);
        let weights = matrix(ty, 300, 256, &bytes);
        let x = seeded.floats(5 * 256);
        for isa in Isa::ALL.into_iter().filter(|isa| isa.is_available()) {
            let one = product(&with(1, isa), weights, &x);
            for threads in [2, 3, 7] {
                assert!(same(&product(&with(threads, isa), weights, &x), &one), "{isa} {ty:?} {threads}");
            }
        }
    }
}

#[test]
fn several_matrices_share_one_dispatch() {
    let mut seeded = Seeded(4);
    let shapes: Vec<(WeightType, usize)> =
        (0..11).map(|i| (WeightType::ALL[i % WeightType::ALL.len()], [0, 1, 40, 129][i % 4])).collect();
    let blocks: Vec<Vec<u8>> = shapes.iter().map(|&(ty, rows)| seeded.weights(ty, rows, 256)).collect();
    let x = seeded.floats(3 * 256);
    for kernels in every_isa(3) {
        let mut activations = Activations::new();
        kernels.activate(&mut activations, &x, 256);
        let mut outs: Vec<Vec<f32>> = shapes.iter().map(|&(_, rows)| vec![f32::NAN; 3 * rows]).collect();
        let mut products: Vec<Product<'_, '_>> = shapes
            .iter()
            .zip(&blocks)
            .zip(&mut outs)
            .map(|((&(ty, rows), bytes), out)| Product::new(matrix(ty, rows, 256, bytes), out))
            .collect();
        kernels.products(&activations, &mut products);
        for ((&(ty, rows), bytes), out) in shapes.iter().zip(&blocks).zip(&outs) {
            assert!(same(out, &product(&kernels, matrix(ty, rows, 256, bytes), &x)), "{ty:?} {rows}");
        }
    }
}

#[test]
fn empties_are_products_too() {
    for kernels in every_isa(2) {
        for ty in WeightType::ALL {
            assert!(product(&kernels, matrix(ty, 0, 256, &[]), &[1.0; 256]).is_empty());
            let bytes = Seeded(5).weights(ty, 3, 256);
            assert!(product(&kernels, matrix(ty, 3, 256, &bytes), &[]).is_empty());
        }
        kernels.products(&Activations::new(), &mut []);
    }
}

#[test]
fn what_is_not_finite_stays_so() {
    let mut seeded = Seeded(6);
    for ty in WeightType::ALL {
        let bytes = vec![0x11; 9 * 256 / ty.block_len() * ty.block_bytes()];
        let weights = matrix(ty, 9, 256, &bytes);
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for (place, columns) in [(0, 2), (100, 6), (255, 6)] {
                let mut x = seeded.floats(columns * 256);
                x[256 + place] = bad;
                for kernels in every_isa(1) {
                    let out = product(&kernels, weights, &x);
                    for (column, out) in out.chunks_exact(9).enumerate() {
                        let as_expected = out.iter().all(|x| x.is_finite() == (column != 1));
                        assert!(as_expected, "{:?} {ty:?} {bad}, column {column}: {out:?}", kernels.isa());
                    }
                }
            }
        }
    }
}

#[test]
fn buffers_are_used_again_for_other_shapes() {
    let mut seeded = Seeded(7);
    let kernels = with(2, Isa::detect());
    let mut activations = Activations::new();
    let mut held = 0;
    for (columns, width) in [(70, 256), (1, 512), (9, 64), (3, 33), (70, 256)] {
        let bytes = seeded.weights(WeightType::F32, 9, width);
        let weights = matrix(WeightType::F32, 9, width, &bytes);
        let x = seeded.floats(columns * width);
        kernels.activate(&mut activations, &x, width);
        let mut out = vec![0.0; columns * 9];
        kernels.products(&activations, &mut [Product::new(weights, &mut out)]);
        assert!(same(&out, &product(&kernels, weights, &x)));
        assert!(held == 0 || activations.capacity_bytes() == held, "no growth within the greatest shape");
        held = activations.capacity_bytes();
    }
}

#[test]
#[should_panic(expected = "the width of its input")]
fn another_width_is_a_mistake() {
    let bytes = Seeded(8).weights(WeightType::Q8_0, 2, 64);
    let kernels = with(1, Isa::Scalar);
    let mut activations = Activations::new();
    kernels.activate(&mut activations, &[0.0; 32], 32);
    let weights = matrix(WeightType::Q8_0, 2, 64, &bytes);
    kernels.products(&activations, &mut [Product::new(weights, &mut [0.0; 2])]);
}
