//! llama.cpp's `llama-bench`, one repetition at a time.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;

use super::{Call, Engine, Plan, Round, Test, child};

/// A `llama-bench` binary, and what it is told beside the tests.
#[derive(Debug)]
pub struct LlamaBench {
    program: PathBuf,
    arguments: Vec<String>,
    version: Option<String>,
}

/// One of the entries that `llama-bench -o json` prints; it prints more than this.
#[derive(Debug, Deserialize)]
struct Entry {
    build_number: u64,
    build_commit: String,
    n_prompt: usize,
    n_gen: usize,
    #[serde(default)]
    n_depth: usize,
    avg_ts: f64,
}

impl LlamaBench {
    /// The binary at `program`; `arguments` are separated by spaces; `version` is for one that does not know its own.
    #[must_use]
    pub fn new(program: PathBuf, arguments: &str, version: Option<String>) -> Self {
        Self { program, arguments: arguments.split_whitespace().map(str::to_owned).collect(), version }
    }

    fn command(&self, model: &Path, plan: &Plan, call: Call) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("-m").arg(model).args(["-o", "json", "-r", "1"]);
        command.args(["-t", &plan.threads.to_string(), "-p", &call.prompt.to_string()]);
        command.args(["-n", &call.generate.to_string(), "-d", &call.depth.to_string()]);
        command.args(&self.arguments);
        command
    }
}

impl Engine for LlamaBench {
    fn name(&self) -> &str {
        "llama.cpp"
    }

    fn round(&self, model: &Path, plan: &Plan) -> anyhow::Result<Round> {
        let mut round = Round::default();
        for call in plan.calls() {
            let (version, rates) = parse(&child::output(&mut self.command(model, plan, call))?)?;
            round.version = self.version.clone().unwrap_or(version);
            round.rates.extend(rates);
        }
        Ok(round)
    }
}

/// The version and the rates in what llama-bench printed.
fn parse(text: &str) -> anyhow::Result<(String, BTreeMap<Test, f64>)> {
    let entries: Vec<Entry> = serde_json::from_str(text)?;
    let first = entries.first().ok_or_else(|| anyhow::anyhow!("llama-bench timed nothing"))?;
    let version = match first.build_number {
        0 => first.build_commit.clone(),
        number => format!("{number} ({})", first.build_commit),
    };
    let test = |entry: &Entry| match (entry.n_prompt, entry.n_gen, entry.n_depth) {
        (0, 1.., depth) => Some(Test::Decode { depth }),
        (1.., 0, 0) => Some(Test::Prefill),
        _ => None,
    };
    Ok((version, entries.iter().filter_map(|entry| Some((test(entry)?, entry.avg_ts))).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_become_rates_by_test() {
        let text = r#"[
          { "build_commit": "1a2b3c4d", "build_number": 11434, "cpu_info": "A processor", "backends": "CPU",
            "model_filename": "m.gguf", "n_threads": 2, "flash_attn": false, "n_prompt": 512, "n_gen": 0, "n_depth": 0,
            "avg_ns": 4338983050, "stddev_ns": 0, "avg_ts": 118.0, "stddev_ts": 0.0,
            "samples_ns": [ 4338983050 ], "samples_ts": [ 118.0 ] },
          { "build_commit": "1a2b3c4d", "build_number": 11434, "n_prompt": 0, "n_gen": 64, "n_depth": 0,
            "avg_ts": 72.25, "samples_ts": [ 72.25 ] },
          { "build_commit": "1a2b3c4d", "build_number": 11434, "n_prompt": 0, "n_gen": 64, "n_depth": 512,
            "avg_ts": 55.5, "samples_ts": [ 55.5 ] },
          { "build_commit": "1a2b3c4d", "build_number": 11434, "n_prompt": 512, "n_gen": 0, "n_depth": 512,
            "avg_ts": 90.0, "samples_ts": [ 90.0 ] }
        ]"#;
        let (version, rates) = parse(text).unwrap();
        assert_eq!(version, "11434 (1a2b3c4d)");
        let expected =
            [(Test::Decode { depth: 0 }, 72.25), (Test::Decode { depth: 512 }, 55.5), (Test::Prefill, 118.0)];
        assert_eq!(rates, BTreeMap::from(expected));
    }

    #[test]
    fn an_older_one_without_depths_is_read_too() {
        let text = r#"[{ "build_commit": "unknown", "build_number": 0, "n_prompt": 0, "n_gen": 64, "avg_ts": 7.5 }]"#;
        let (version, rates) = parse(text).unwrap();
        assert_eq!((version.as_str(), rates[&Test::Decode { depth: 0 }]), ("unknown", 7.5));
    }

    #[test]
    fn what_is_no_report_is_an_error() {
        assert!(parse("[]").is_err());
        assert!(parse("error: unable to load model").is_err());
        assert!(parse(r#"[{ "n_prompt": 1 }]"#).is_err());
    }
}
