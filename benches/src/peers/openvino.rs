//! OpenVINO GenAI, through a script for a Python that has it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Context as _;
use serde_json::Value;

use super::{Engine, Plan, Round, child, rates};
use crate::closed_loop::Throughput;
use crate::streams::Prompts;

const SCRIPT: &str = include_str!("openvino.py");
const STREAMS_SCRIPT: &str = include_str!("openvino_streams.py");

/// A Python with the package `openvino-genai`.
#[derive(Debug)]
pub struct OpenVino {
    python: PathBuf,
}

impl OpenVino {
    /// The interpreter at `python`.
    #[must_use]
    pub fn new(python: PathBuf) -> Self {
        Self { python }
    }

    /// `total` streams of the prompts that come next in `prompts`, `clients` of them at a time, after one that is not
    /// counted. There is no HTTP in between.
    ///
    /// # Errors
    /// When it cannot run `model`, or answers in a form of its own.
    pub fn streams(
        &self,
        (model, threads): (&Path, usize),
        (clients, total): (usize, usize),
        prompts: &Prompts,
    ) -> anyhow::Result<Throughput> {
        let texts: Vec<String> = (0..=total).map(|_| prompts.next()).collect();
        let mut command = Command::new(&self.python);
        command.args(["-c", STREAMS_SCRIPT]).arg(model);
        command.args([threads, clients, prompts.tokens()].map(|number| number.to_string()));
        command.arg(serde_json::to_string(&texts)?);
        parse_streams(&child::output(&mut command)?)
    }
}

fn parse_streams(text: &str) -> anyhow::Result<Throughput> {
    let report: Value = serde_json::from_str(text.lines().last().context("the script printed nothing")?)?;
    let count = |field: &str| report[field].as_u64().with_context(|| format!("no {field}"));
    let first_ms = report["first_ms"].as_array().context("no first_ms")?;
    Ok(Throughput {
        wall: Duration::try_from_secs_f64(report["seconds"].as_f64().context("no seconds")?)?,
        completed: count("completed")?.try_into()?,
        prompt_tokens: count("prompt_tokens")?,
        output_tokens: count("output_tokens")?,
        first_ms: first_ms.iter().map(|ms| ms.as_f64().context("no time")).collect::<anyhow::Result<_>>()?,
    })
}

impl Engine for OpenVino {
    fn name(&self) -> &str {
        "OpenVINO GenAI"
    }

    fn round(&self, model: &Path, plan: &Plan) -> anyhow::Result<Round> {
        let mut command = Command::new(&self.python);
        command.args(["-c", SCRIPT]).arg(model);
        command.args([plan.threads.get(), plan.prompt, plan.generate].map(|number| number.to_string()));
        command.args(plan.depths.iter().map(usize::to_string));
        parse(&child::output(&mut command)?)
    }
}

/// The last line is the script's; what comes before, the library's.
fn parse(text: &str) -> anyhow::Result<Round> {
    let report: Value = serde_json::from_str(text.lines().last().context("the script printed nothing")?)?;
    // What follows the number tells the build.
    let version = report["version"].as_str().context("no version")?.split('-').next().unwrap_or_default();
    Ok(Round { version: version.to_owned(), isa: None, rates: rates(&report)? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peers::Test;

    #[test]
    fn the_last_line_is_read() {
        let text = "a warning\n{\"version\": \"2026.4.1-12-ab\", \"prefill\": {\"tokens_per_second\": 1058.0}, \
                    \"decode\": {\"0\": {\"tokens_per_second\": 61.0}}}\n";
        let round = parse(text).unwrap();
        assert_eq!((round.version.as_str(), round.rates[&Test::Prefill]), ("2026.4.1", 1058.0));
        assert_eq!(round.rates[&Test::Decode { depth: 0 }], 61.0);
        assert!(parse("").is_err() && parse("no JSON").is_err());
    }

    #[test]
    fn streams_are_read_as_well() {
        let text = "a warning\n{\"seconds\": 2.0, \"completed\": 2, \"prompt_tokens\": 8, \"output_tokens\": 6, \
                    \"first_ms\": [1.5, 2.5]}\n";
        let mut throughput = parse_streams(text).unwrap();
        assert_eq!(throughput.tokens_per_second(), 3.0);
        assert_eq!(throughput.json()["ttft_ms"]["p95"], 2.5);
        assert!(parse_streams("").is_err() && parse_streams("{\"seconds\": -1.0}").is_err());
    }
}
