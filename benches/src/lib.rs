//! Measurements that compare: every figure is a ratio to a peer or to a limit, taken in the same run.
//!
//! - `cargo run --release -p benches --bin peers` runs `dayfly bench run` and the peers that it is given in turns, and
//!   prints the ratios as a table.
//! - `cargo run --release -p benches --bin cold_start` times the first token of a model that is not loaded, and of one
//!   that is, beside llama.cpp's router over the same files.
//! - `cargo run --release -p benches --bin load_policies` times each way of bringing a model in and letting it go, and
//!   `--bin load_cycles` loads and drops models many times and looks at what the process still holds.
//! - `cargo bench -p benches --bench kernels` stands beside the kernels: what they reach of the read bandwidth and of the
//!   peaks of multiplication, measured in the same run.
//! - `cargo bench -p benches --bench instructions` counts instructions, which do not depend on how busy a machine is.
//!
//! Deliberately absent: assertions about time. A test that depends on how busy a machine is tells nothing.

pub mod models;
pub mod peers;
pub mod process;
pub mod roofline;
pub mod server;
pub mod weights;

/// The middle of `values`, or what lies between the two in the middle; sorts them. 0 of none.
#[must_use]
pub fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    let at = |index: usize| values.get(index).copied().unwrap_or(0.0);
    f64::midpoint(at(values.len().saturating_sub(1) / 2), at(values.len() / 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(median(&mut []), 0.0);
        assert_eq!(median(&mut [3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&mut [4.0, 1.0, 2.0, 3.0]), 2.5);
    }
}
