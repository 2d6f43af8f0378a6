//! OpenVINO GenAI, through a script for a Python that has it.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;
use serde_json::Value;

use super::{Engine, Plan, Round, child, rates};

const SCRIPT: &str = include_str!("openvino.py");

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
}
