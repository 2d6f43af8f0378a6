//! Engines that run the same models in turns, and what comes of comparing them.
//!
//! Every round asks each engine for one timing of each test, so that all of them see the same machine; ratios are
//! taken within rounds. An engine that fails on a model is left out of that model's further rounds, and the report
//! says why. Tests are llama-bench's: random tokens, no sampling.
//!
//! Deliberately absent: any knowledge of what engines compute; equal texts are a test of nothing across engines.

mod child;
mod dayfly;
mod llama;
mod machine;
mod openvino;
mod report;
mod rounds;

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::Path;

use anyhow::Context as _;
use serde_json::Value;

pub use dayfly::Dayfly;
pub use llama::LlamaBench;
pub use machine::Machine;
pub use openvino::OpenVino;
pub use report::Report;
pub use rounds::{ModelRounds, Outcome, run_rounds};

/// What is timed, in tokens per second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Test {
    /// Tokens of an answer, one by one, after `depth` others.
    Decode {
        /// Tokens in the cache before.
        depth: usize,
    },
    /// A prompt, from an empty cache.
    Prefill,
}

/// The tests of every round.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Tokens of a prompt; 0 times none.
    pub prompt: usize,
    /// Tokens of an answer.
    pub generate: usize,
    /// Where answers begin.
    pub depths: Vec<usize>,
    /// Threads that compute.
    pub threads: NonZeroUsize,
}

/// One call of a benchmark program: what is timed at one depth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Call {
    depth: usize,
    prompt: usize,
    generate: usize,
}

impl Plan {
    /// All tests, in the order of a report.
    #[must_use]
    pub fn tests(&self) -> Vec<Test> {
        let decode = self.depths.iter().map(|&depth| Test::Decode { depth });
        decode.chain((self.prompt > 0).then_some(Test::Prefill)).collect()
    }

    /// One call for each depth; the prompt goes with depth 0, alone if no answer begins there.
    fn calls(&self) -> Vec<Call> {
        let at = |depth| Call { depth, prompt: if depth == 0 { self.prompt } else { 0 }, generate: self.generate };
        let mut calls: Vec<Call> = self.depths.iter().map(|&depth| at(depth)).collect();
        if self.prompt > 0 && !self.depths.contains(&0) {
            calls.push(Call { generate: 0, ..at(0) });
        }
        calls
    }
}

/// What an engine reached in one round.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Round {
    /// Of the engine, as it says it.
    pub version: String,
    /// The instructions that it says it uses.
    pub isa: Option<String>,
    /// Tokens per second of each test.
    pub rates: BTreeMap<Test, f64>,
}

/// Something that runs models.
pub trait Engine {
    /// What a report calls it.
    fn name(&self) -> &str;

    /// Times every test of `plan` once.
    ///
    /// # Errors
    /// When it cannot run `model`, answers in a form of its own, or takes longer than a child may.
    fn round(&self, model: &Path, plan: &Plan) -> anyhow::Result<Round>;
}

/// The rates in a report of `dayfly bench run --json` (or of a script that writes the same form).
fn rates(report: &Value) -> anyhow::Result<BTreeMap<Test, f64>> {
    let rate = |value: &Value| value["tokens_per_second"].as_f64().context("no tokens_per_second");
    let mut rates = BTreeMap::new();
    for (depth, value) in report["decode"].as_object().context("no decode")? {
        rates.insert(Test::Decode { depth: depth.parse()? }, rate(value)?);
    }
    if !report["prefill"].is_null() {
        rates.insert(Test::Prefill, rate(&report["prefill"])?);
    }
    Ok(rates)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn plan(depths: &[usize]) -> Plan {
        Plan { prompt: 512, generate: 64, depths: depths.to_vec(), threads: NonZeroUsize::MIN }
    }

    #[test]
    fn the_prompt_goes_with_depth_0() {
        let call = |depth, prompt, generate| Call { depth, prompt, generate };
        assert_eq!(plan(&[0, 512]).calls(), [call(0, 512, 64), call(512, 0, 64)]);
        assert_eq!(plan(&[512]).calls(), [call(512, 0, 64), call(0, 512, 0)]);
        assert_eq!(Plan { prompt: 0, ..plan(&[512]) }.calls(), [call(512, 0, 64)]);
    }

    #[test]
    fn rates_are_read_by_test() {
        let rate = |value: f64| json!({ "tokens_per_second": value, "min": 1.0, "max": 9.0, "repetitions": 1 });
        let report = json!({ "prefill": rate(300.5), "decode": { "0": rate(100.0), "512": rate(80.0) } });
        let expected =
            [(Test::Decode { depth: 0 }, 100.0), (Test::Decode { depth: 512 }, 80.0), (Test::Prefill, 300.5)];
        assert_eq!(rates(&report).unwrap(), BTreeMap::from(expected));
        let no_prompt = json!({ "prefill": null, "decode": { "0": rate(1.0) } });
        assert_eq!(rates(&no_prompt).unwrap().len(), 1);
        assert!(rates(&json!({ "error": "x" })).is_err());
        assert!(rates(&json!({ "decode": { "0": {} } })).is_err());
    }
}
