//! One set of kernels used from several threads at once.

use kernels::{Activations, Gate, Isa, Product, WeightType};

use crate::seeded::{Seeded, matrix, with};

#[test]
fn callers_from_several_threads_get_their_own_results() {
    let kernels = with(3, Isa::detect());
    let bytes = Seeded(31).weights(WeightType::Q4_0, 200, 256);
    let weights = matrix(WeightType::Q4_0, 200, 256, &bytes);
    std::thread::scope(|scope| {
        for caller in 0..4 {
            let kernels = &kernels;
            scope.spawn(move || {
                let x = Seeded(32 + caller).floats(256);
                let mut activations = Activations::new();
                let mut first = Vec::new();
                for _ in 0..200 {
                    let mut out = vec![f32::NAN; 200];
                    kernels.activate(&mut activations, &x, 256);
                    kernels.products(&activations, &mut [Product::new(weights, &mut out)]);
                    assert!(first.is_empty() || first == out);
                    first = out;
                }
            });
        }
    });
}

#[test]
#[cfg(target_os = "linux")]
fn the_time_of_all_threads_is_counted() {
    let kernels = with(3, Isa::Scalar);
    let before = kernels.cpu_time();
    let (gate, up) = (vec![1.0; 3_000_000], vec![1.0; 3_000_000]);
    let mut activations = Activations::new();
    let start = std::time::Instant::now();
    kernels.activate_gated(&mut activations, (&gate, &up), 30_000, Gate::Silu);
    let (used, passed) = (kernels.cpu_time() - before, start.elapsed());
    assert!(used > std::time::Duration::from_millis(1), "{used:?}");
    assert!(used < passed * 4, "{used:?} in {passed:?}");
}
