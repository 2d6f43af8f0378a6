//! Measurements that compare: every figure is a ratio to a peer or to a limit, taken in the same run.
//!
//! - `cargo run --release -p benches --bin peers` runs `dayfly bench run` and the peers that it is given in turns, and
//!   prints the ratios as a table.
//! - `cargo run --release -p benches --bin cold_start` times the first token of a model that is not loaded, and of one
//!   that is, beside llama.cpp's router over the same files.
//! - `… --bin beside_loads` looks at the time between a stream's tokens while another model loads.
//! - `… --bin shared_pool` lets many tenants ask for models that do not fit together, and checks every answer.
//! - `… --bin streams` asks for many streams at a time, beside llama.cpp's server; `… --bin two_models` looks at what two
//!   models keep of their throughput when both are asked at once.
//! - `… --bin fair_share` looks at what a tenant feels of one that asks a hundred times as often, `… --bin overload` at what
//!   is left of a server that is asked for twenty times what it can do, `… --bin client_leaves` at what is left of a client
//!   that does not wait for its answer.
//! - `… --bin held_answers` looks at what keeping to a schema costs a token, `… --bin speculation` at what drafts gain.
//! - `… --bin conservation` holds the ledger against what clients saw and what another process sees of the server's memory
//!   and processor time, over a long mixed run with crashes.
//! - `… --bin metering_share` looks at what metering takes of the processors, beside the steps that it meters.
//! - `… --bin server_cycles` looks for what is left in a server after thousands of loads.
//! - `cargo run --release -p benches --bin load_policies` times each way of bringing a model in and letting it go, and
//!   `--bin load_cycles` loads and drops models many times and looks at what the process still holds.
//! - `cargo run --release -p benches --bin batched_steps` times steps that many sequences share, beside a step of one.
//! - `cargo bench -p benches --bench kernels` stands beside the kernels: what they reach of the read bandwidth and of the
//!   peaks of multiplication, measured in the same run.
//! - `cargo bench -p benches --bench instructions` counts instructions, which do not depend on how busy a machine is.
//!
//! Deliberately absent: assertions about time. A test that depends on how busy a machine is tells nothing.

pub mod client;
pub mod closed_loop;
pub mod models;
pub mod observer;
pub mod open_loop;
pub mod peers;
pub mod process;
pub mod roofline;
pub mod server;
pub mod streams;
pub mod subject;
pub mod weights;

use serde_json::{Value, json};

/// The middle of `values`, or what lies between the two in the middle; sorts them. 0 of none.
#[must_use]
pub fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    let at = |index: usize| values.get(index).copied().unwrap_or(0.0);
    f64::midpoint(at(values.len().saturating_sub(1) / 2), at(values.len() / 2))
}

/// The median of `values`, and the least and the most of them; sorts them.
#[must_use]
pub fn spread(values: &mut [f64]) -> Value {
    json!({ "median": median(values), "least": values.first(), "most": values.last() })
}

/// The value that `percent` of `values` do not exceed, by the nearest rank; sorts them. 0 of none.
#[must_use]
pub fn percentile(values: &mut [f64], percent: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let rank = (percent / 100.0 * values.len() as f64).ceil() as usize;
    values.get(rank.clamp(1, values.len().max(1)) - 1).copied().unwrap_or(0.0)
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

    #[test]
    fn a_spread_is_from_the_least_to_the_most() {
        assert_eq!(spread(&mut [3.0, 1.0, 2.5]), json!({ "median": 2.5, "least": 1.0, "most": 3.0 }));
    }

    #[test]
    fn a_percentile_is_one_of_the_values() {
        assert_eq!(percentile(&mut [], 99.0), 0.0);
        let mut values: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        assert_eq!((percentile(&mut values, 50.0), percentile(&mut values, 99.0)), (50.0, 99.0));
        assert_eq!((percentile(&mut values, 0.0), percentile(&mut values, 100.0)), (1.0, 100.0));
    }
}
