//! Norms, gates, sums and rotations against plain f64.

use kernels::{Activations, Gate, Kernels, LayerNorm, RmsNorm, RopeStyle, RopeTable};

use crate::seeded::{Seeded, every_isa};

fn close(found: &[f32], exact: impl Iterator<Item = f64>, tolerance: f64) {
    let mut compared = 0;
    for (found, exact) in found.iter().zip(exact) {
        let error = (f64::from(*found) - exact).abs();
        assert!(error <= tolerance * (1.0 + exact.abs()), "{found} for {exact}");
        compared += 1;
    }
    assert_eq!(compared, found.len());
}

fn gated(kernels: &Kernels, gate: &[f32], up: &[f32], gating: Gate) -> Vec<f32> {
    let mut activations = Activations::new();
    kernels.activate_gated(&mut activations, (gate, up), gate.len(), gating);
    activations.values().to_vec()
}

#[test]
fn norms() {
    let mut seeded = Seeded(11);
    for width in [1, 5, 8, 9, 16, 31, 576] {
        for rows in [0, 1, 3, 70] {
            let (x, gain) = (seeded.floats(rows * width), seeded.floats(width));
            for kernels in every_isa(2) {
                let mut activations = Activations::new();
                kernels.activate_normed(&mut activations, &x, RmsNorm { gain: &gain, epsilon: 1e-5 });
                let out = activations.values();
                let exact = x.chunks(width).flat_map(|x| {
                    let mean = x.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>() / width as f64;
                    let scale = 1.0 / (mean + f64::from(1e-5f32)).sqrt();
                    x.iter()
                        .zip(&gain)
                        .map(move |(&x, &gain)| f64::from(x) * scale * f64::from(gain))
                        .collect::<Vec<_>>()
                });
                close(out, exact, 2e-6);
                let mut in_place = x.clone();
                kernels.normalize(&mut in_place, RmsNorm { gain: &gain, epsilon: 1e-5 });
                assert_eq!(in_place, out, "{rows} rows of {width}");
            }
        }
    }
}

#[test]
fn gates() {
    let mut seeded = Seeded(12);
    for len in [0, 1, 7, 8, 9, 100, 50_001] {
        let gate: Vec<f32> = seeded.floats(len).iter().map(|x| x * 30.0).collect();
        let up = seeded.floats(len);
        for kernels in every_isa(2) {
            let out = gated(&kernels, &gate, &up, Gate::Silu);
            let silu = |x: f64| x / (1.0 + (-x).exp());
            close(&out, gate.iter().zip(&up).map(|(&g, &u)| silu(f64::from(g)) * f64::from(u)), 1e-6);
        }
    }
    for kernels in every_isa(1) {
        let out = gated(&kernels, &[-200.0, 200.0, f32::NAN, -0.0], &[1.0; 4], Gate::Silu);
        assert!(out[0].abs() < 1e-30 && out[1] == 200.0 && out[2].is_nan() && out[3] == 0.0, "{out:?}");
    }
}

#[test]
fn gelu_gates() {
    let mut seeded = Seeded(15);
    let gelu = |x: f64| 0.5 * x * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x.powi(3))).tanh());
    for len in [0, 1, 7, 8, 9, 100, 50_001] {
        for range in [1.0, 12.0] {
            let gate: Vec<f32> = seeded.floats(len).iter().map(|x| x * range).collect();
            let up = seeded.floats(len);
            for kernels in every_isa(2) {
                let out = gated(&kernels, &gate, &up, Gate::GeluTanh);
                close(&out, gate.iter().zip(&up).map(|(&g, &u)| gelu(f64::from(g)) * f64::from(u)), 1e-6);
            }
        }
    }
    for kernels in every_isa(1) {
        let inputs = [-200.0, 200.0, f32::NAN, -0.0, f32::INFINITY, 1e30];
        let out = gated(&kernels, &inputs, &[1.0; 6], Gate::GeluTanh);
        assert!(out[0].abs() < 1e-30 && out[1] == 200.0 && out[2].is_nan() && out[3] == 0.0, "{out:?}");
        assert!(out[4] == f32::INFINITY && out[5] == 1e30, "{out:?}");
    }
}

#[test]
fn layer_norms() {
    let mut seeded = Seeded(17);
    for width in [1, 5, 8, 9, 16, 31, 384] {
        for rows in [0, 1, 3, 70] {
            // Far from zero beside how far apart they are: the mean goes before the squares are taken.
            let x: Vec<f32> = seeded.floats(rows * width).iter().map(|x| x + 3.0).collect();
            let (gain, bias) = (seeded.floats(width), seeded.floats(width));
            for kernels in every_isa(2) {
                let mut out = x.clone();
                kernels.layer_normalize(&mut out, LayerNorm { gain: &gain, bias: &bias, epsilon: 1e-5 });
                let exact = x.chunks(width).flat_map(|x| {
                    let mean = x.iter().map(|&x| f64::from(x)).sum::<f64>() / width as f64;
                    let variance = x.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>() / width as f64;
                    let scale = 1.0 / (variance + f64::from(1e-5f32)).sqrt();
                    let one = |(x, (gain, bias)): (&f32, (&f32, &f32))| {
                        (f64::from(*x) - mean) * scale * f64::from(*gain) + f64::from(*bias)
                    };
                    x.iter().zip(gain.iter().zip(&bias)).map(one).collect::<Vec<_>>()
                });
                close(&out, exact, 1e-5);
            }
        }
    }
    for kernels in every_isa(1) {
        let mut spoiled = [1.0, f32::NAN, 3.0];
        kernels.layer_normalize(&mut spoiled, LayerNorm { gain: &[1.0; 3], bias: &[0.0; 3], epsilon: 1e-12 });
        assert!(spoiled.iter().all(|x| x.is_nan()), "{spoiled:?}");
    }
}

/// x Φ(x), Φ by the series of the error function: Σ (−1)ⁿ z²ⁿ⁺¹ / (n! (2n + 1)) · 2/√π with z = x / √2.
fn gelu_exactly(x: f64) -> f64 {
    let z = x / std::f64::consts::SQRT_2;
    let (mut term, mut sum) = (z, z);
    for n in 1..200 {
        term *= -z * z / f64::from(n);
        sum += term / f64::from(2 * n + 1);
    }
    0.5 * x * (1.0 + sum * std::f64::consts::FRAC_2_SQRT_PI)
}

#[test]
fn gelu() {
    let mut seeded = Seeded(18);
    let apply = |kernels: &Kernels, x: &[f32]| {
        let mut activations = Activations::new();
        kernels.activate_gelu(&mut activations, x, x.len());
        activations.values().to_vec()
    };
    for len in [0, 1, 7, 8, 9, 100, 50_001] {
        for range in [1.0, 5.0] {
            let x: Vec<f32> = seeded.floats(len).iter().map(|x| x * range).collect();
            for kernels in every_isa(2) {
                close(&apply(&kernels, &x), x.iter().map(|&x| gelu_exactly(f64::from(x))), 3e-7);
            }
        }
    }
    for kernels in every_isa(1) {
        let out = apply(&kernels, &[-200.0, 200.0, f32::NAN, -0.0, f32::INFINITY, f32::NEG_INFINITY, 1e30, 0.0]);
        assert!(out[0].abs() < 1e-30 && out[1] == 200.0 && out[2].is_nan() && out[3] == 0.0, "{out:?}");
        assert!(out[4] == f32::INFINITY && out[5].abs() < 1e-30 && out[6] == 1e30 && out[7] == 0.0, "{out:?}");
    }
}

#[test]
fn biases() {
    let mut seeded = Seeded(16);
    for (rows, width) in [(0, 5), (1, 1), (3, 31), (70, 576)] {
        let (x, bias) = (seeded.floats(rows * width), seeded.floats(width));
        for kernels in every_isa(3) {
            let mut sum = x.clone();
            kernels.add_to_rows(&mut sum, &bias);
            assert!(sum.iter().zip(x.iter().zip(bias.iter().cycle())).all(|(sum, (x, bias))| *sum == x + bias));
        }
    }
}

#[test]
fn sums() {
    let mut seeded = Seeded(13);
    for len in [0, 1, 9, 40_003] {
        let (x, y) = (seeded.floats(len), seeded.floats(len));
        for kernels in every_isa(3) {
            let mut sum = x.clone();
            kernels.add(&mut sum, &y);
            assert!(sum.iter().zip(x.iter().zip(&y)).all(|(sum, (x, y))| *sum == x + y));
        }
    }
}

#[test]
fn rotations() {
    let mut seeded = Seeded(14);
    for style in [RopeStyle::Interleaved, RopeStyle::Halves] {
        for (head_dim, rope_dim) in [(2, 2), (10, 6), (64, 64), (64, 32), (80, 80), (128, 128)] {
            let factors: Vec<f32> = (0..rope_dim / 2).map(|i| 1.0 + i as f32).collect();
            for factors in [None, Some(&factors[..])] {
                let table = RopeTable::new(head_dim, rope_dim, 10_000.0, style, factors);
                for (tokens, heads, first) in [(0, 3, 0), (1, 1, 0), (5, 3, 254), (300, 2, 1000), (1, 2, 300_000)] {
                    let x = seeded.floats(tokens * heads * head_dim);
                    let exact = rotated(&x, (style, head_dim, rope_dim), heads, first, factors);
                    for kernels in every_isa(2) {
                        let mut found = x.clone();
                        let positions: Vec<usize> = (first..first + tokens).collect();
                        let mut other = found[..tokens * head_dim].to_vec();
                        kernels.rope([&mut found, &mut other], &table, &positions);
                        close(&found, exact.iter().copied(), 1e-6);
                        if heads == 1 {
                            assert_eq!(found, other);
                        }
                    }
                }
            }
        }
    }
}

fn rotated(
    x: &[f32],
    (style, head_dim, rope_dim): (RopeStyle, usize, usize),
    heads: usize,
    first: usize,
    factors: Option<&[f32]>,
) -> Vec<f64> {
    let mut out: Vec<f64> = x.iter().map(|&x| f64::from(x)).collect();
    for (index, head) in out.chunks_mut(head_dim).enumerate() {
        let position = (first + index / heads) as f64;
        for pair in 0..rope_dim / 2 {
            let (i, j) = match style {
                RopeStyle::Interleaved => (2 * pair, 2 * pair + 1),
                RopeStyle::Halves => (pair, pair + rope_dim / 2),
            };
            let factor = factors.map_or(1.0, |factors| f64::from(factors[pair]));
            let angle = position * 10_000f64.powf(-2.0 * pair as f64 / rope_dim as f64) / factor;
            let (x, y) = (head[i], head[j]);
            head[i] = x * angle.cos() - y * angle.sin();
            head[j] = x * angle.sin() + y * angle.cos();
        }
    }
    out
}

#[test]
fn angles_are_kept_within_what_was_reserved() {
    let table = RopeTable::new(64, 64, 10_000.0, RopeStyle::Halves, None);
    table.reserve(300);
    let held = table.bytes();
    assert_eq!(held, 512 * 64 * 4);
    for kernels in every_isa(1) {
        kernels.rope([&mut [1.0; 64]], &table, &[511]);
    }
    assert_eq!(table.bytes(), held);
}
