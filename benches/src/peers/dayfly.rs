//! `dayfly bench run`, one repetition at a time.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::{Call, Engine, Plan, Round, child, rates};

/// The binary under measurement.
#[derive(Debug)]
pub struct Dayfly {
    program: PathBuf,
    isa: Option<String>,
    version: String,
}

impl Dayfly {
    /// The binary at `program`, told to use `isa` if any is given.
    ///
    /// # Errors
    /// When it does not tell its version.
    pub fn new(program: PathBuf, isa: Option<String>) -> anyhow::Result<Self> {
        let version = child::output(Command::new(&program).arg("--version"))?.trim().to_owned();
        let version = version.strip_prefix("dayfly ").map(str::to_owned).unwrap_or(version);
        Ok(Self { program, isa, version })
    }

    fn command(&self, model: &Path, plan: &Plan, call: Call) -> Command {
        let mut command = Command::new(&self.program);
        command.args(["bench", "run"]).arg(model).args(["--json", "--repetitions", "1"]);
        command.args(["--prompt", &call.prompt.to_string(), "--gen", &call.generate.to_string()]);
        command.args(["--depth", &call.depth.to_string(), "--threads", &plan.threads.to_string()]);
        if let Some(isa) = &self.isa {
            command.env("DAYFLY_ISA", isa);
        }
        command
    }
}

impl Engine for Dayfly {
    fn name(&self) -> &str {
        "dayfly"
    }

    fn round(&self, model: &Path, plan: &Plan) -> anyhow::Result<Round> {
        let mut round = Round { version: self.version.clone(), ..Round::default() };
        for call in plan.calls() {
            let report: Value = serde_json::from_str(&child::output(&mut self.command(model, plan, call))?)?;
            round.isa = report["isa"].as_str().map(str::to_owned);
            round.rates.extend(rates(&report)?);
        }
        Ok(round)
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use super::*;

    #[test]
    fn the_instructions_are_set_only_if_given() {
        let plan = Plan { prompt: 512, generate: 64, depths: vec![0], threads: NonZeroUsize::MIN };
        let variables = |isa: Option<&str>| {
            let dayfly = Dayfly { program: "dayfly".into(), isa: isa.map(str::to_owned), version: String::new() };
            let command = dayfly.command(Path::new("m.gguf"), &plan, plan.calls()[0]);
            let arguments: Vec<_> = command.get_args().map(|one| one.to_string_lossy().into_owned()).collect();
            assert!(arguments.join(" ").contains("m.gguf --json --repetitions 1 --prompt 512 --gen 64 --depth 0"));
            command.get_envs().count()
        };
        assert_eq!((variables(None), variables(Some("avx2"))), (0, 1));
    }
}
