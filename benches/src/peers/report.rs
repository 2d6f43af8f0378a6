//! What a comparison says: medians, ratios, and how far both spread; as a Markdown table or as JSON.
//!
//! A ratio is the first engine's rate over another's: of the medians, with the least and the most of any round.

use std::fmt::Write as _;

use serde::Serialize;

use super::{Machine, ModelRounds, Outcome, Plan, Test};
use crate::median;
use crate::roofline::Summary;

/// A whole comparison.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Where.
    pub machine: Machine,
    /// When, as UTC's date.
    pub date: String,
    /// The instructions that dayfly used.
    pub isa: Option<String>,
    /// Threads of each engine.
    pub threads: usize,
    /// Rounds on each model.
    pub rounds: usize,
    /// Tokens of a prompt.
    pub prompt_tokens: usize,
    /// Tokens of an answer.
    pub generated_tokens: usize,
    engines: Vec<EngineVersion>,
    models: Vec<ModelReport>,
}

#[derive(Clone, Debug, Serialize)]
struct EngineVersion {
    name: String,
    version: Option<String>,
}

#[derive(Clone, Debug, Serialize)]
struct ModelReport {
    model: String,
    model_bytes: u64,
    limits: Summary,
    failures: Vec<Failure>,
    tests: Vec<TestReport>,
}

#[derive(Clone, Debug, Serialize)]
struct Failure {
    engine: String,
    reason: String,
}

#[derive(Clone, Debug, Serialize)]
struct TestReport {
    test: &'static str,
    depth: usize,
    /// In the order of the engines.
    results: Vec<TestResult>,
}

#[derive(Clone, Debug, Serialize)]
struct TestResult {
    /// None where the engine failed.
    tokens_per_second: Option<Spread>,
    /// None for the first engine, and where either failed.
    ratio: Option<Spread>,
}

/// A figure and how far it spreads.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
struct Spread {
    median: f64,
    min: f64,
    max: f64,
}

impl Spread {
    fn of(values: &[f64]) -> Option<Self> {
        let mut values = values.to_vec();
        let median = median(&mut values);
        Some(Self { median, min: *values.first()?, max: *values.last()? })
    }

    /// The ratio of two medians, and the least and the most of the rounds.
    fn of_ratio(ours: &[f64], theirs: &[f64]) -> Option<Self> {
        let ratios: Vec<f64> = ours.iter().zip(theirs).map(|(ours, theirs)| ours / theirs).collect();
        let median = Self::of(ours)?.median / Self::of(theirs)?.median;
        Some(Self { median, ..Self::of(&ratios)? })
    }
}

impl Report {
    /// Of `models`, run by engines called `names` (ours first), with the limits that were measured beside each.
    #[must_use]
    pub fn new(
        machine: Machine,
        names: &[&str],
        (plan, rounds): (&Plan, usize),
        models: &[(ModelRounds, Summary)],
    ) -> Self {
        let version = |engine: usize| models.iter().find_map(|(model, _)| model.versions[engine].clone());
        Self {
            machine,
            date: chrono::Utc::now().format("%Y-%m-%d").to_string(),
            isa: models.iter().find_map(|(model, _)| model.isa.clone()),
            threads: plan.threads.get(),
            rounds,
            prompt_tokens: plan.prompt,
            generated_tokens: plan.generate,
            engines: (names.iter().enumerate())
                .map(|(engine, name)| EngineVersion { name: (*name).to_owned(), version: version(engine) })
                .collect(),
            models: models.iter().map(|(model, limits)| ModelReport::new(names, plan, model, *limits)).collect(),
        }
    }

    /// A paragraph on how the figures came about, a table, and what failed.
    #[must_use]
    pub fn markdown(&self) -> String {
        let mut text = self.circumstances();
        text.push_str("\n\n| tokens/s |");
        for (index, engine) in self.engines.iter().enumerate() {
            // Infallible: a String is written.
            let _ = write!(text, " {} |{}", engine.name, if index > 0 { " ratio |" } else { "" });
        }
        text.push_str("\n|---|");
        text.push_str(&"---|".repeat(2 * self.engines.len() - 1));
        for model in &self.models {
            for test in &model.tests {
                let _ = write!(text, "\n| {}: {} |", model.model, self.test_name(test));
                test.results.iter().enumerate().for_each(|(index, result)| text.push_str(&result.cells(index)));
            }
        }
        text.push('\n');
        for model in &self.models {
            for Failure { engine, reason } in &model.failures {
                let _ = write!(text, "\n{engine} failed on {}: {reason}", model.model);
            }
        }
        text
    }

    fn test_name(&self, test: &TestReport) -> String {
        match (test.test, test.depth) {
            ("prefill", _) => format!("prefill of {}", self.prompt_tokens),
            (test, 0) => test.to_owned(),
            (test, depth) => format!("{test}, {depth} tokens deep"),
        }
    }

    fn circumstances(&self) -> String {
        let Machine { processor, cores, memory_bytes } = &self.machine;
        let isa = self.isa.as_deref().unwrap_or("instructions unknown");
        let gib = *memory_bytes as f64 / f64::from(1 << 30);
        let version = |engine: &EngineVersion| match &engine.version {
            Some(version) => format!("{} {version}", engine.name),
            None => engine.name.clone(),
        };
        let engines: Vec<String> = self.engines.iter().map(version).collect();
        let mut text = format!(
            "{processor}, {cores} cores, {gib:.0} GiB; {isa}, {} threads; {}. {}. Medians of {} rounds in which the \
             engines took turns, with the least and the most; a ratio is that of the medians, its spread that of the \
             rounds. Limits:",
            self.threads,
            self.date,
            engines.join(", "),
            self.rounds
        );
        for (index, model) in self.models.iter().enumerate() {
            let Summary {
                read_bytes_per_second: read,
                int8_operations_per_second: int8,
                f32_operations_per_second: f32,
            } = model.limits;
            let _ = write!(
                text,
                "{} {} ({:.0} MB) {} GB/s of plain reading, {} GOP/s of int8, {} GFLOP/s of f32",
                if index > 0 { ";" } else { "" },
                model.model,
                model.model_bytes as f64 / 1e6,
                figure(read / 1e9),
                figure(int8 / 1e9),
                figure(f32 / 1e9)
            );
        }
        text.push('.');
        text
    }
}

impl ModelReport {
    fn new(names: &[&str], plan: &Plan, model: &ModelRounds, limits: Summary) -> Self {
        let failure = |(name, outcome): (&&str, &Outcome)| match outcome {
            Outcome::Rates(_) => None,
            Outcome::Failed(reason) => Some(Failure { engine: (*name).to_owned(), reason: reason.clone() }),
        };
        Self {
            model: model.model.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
            model_bytes: model.bytes,
            limits,
            failures: names.iter().zip(&model.outcomes).filter_map(failure).collect(),
            tests: plan.tests().into_iter().map(|test| TestReport::new(test, &model.outcomes)).collect(),
        }
    }
}

impl TestReport {
    fn new(test: Test, outcomes: &[Outcome]) -> Self {
        let rates = |outcome: &Outcome| match outcome {
            Outcome::Rates(rates) => rates.get(&test).cloned().unwrap_or_default(),
            Outcome::Failed(_) => Vec::new(),
        };
        let ours = outcomes.first().map(rates).unwrap_or_default();
        let result = |(index, outcome): (usize, &Outcome)| {
            let theirs = rates(outcome);
            let ratio = if index == 0 { None } else { Spread::of_ratio(&ours, &theirs) };
            TestResult { tokens_per_second: Spread::of(&theirs), ratio }
        };
        let (name, depth) = match test {
            Test::Decode { depth } => ("decode", depth),
            Test::Prefill => ("prefill", 0),
        };
        Self { test: name, depth, results: outcomes.iter().enumerate().map(result).collect() }
    }
}

impl TestResult {
    /// The table's cells of the engine at `index`.
    fn cells(&self, index: usize) -> String {
        let spread =
            |Spread { median, min, max }: Spread| format!(" {} ({}–{}) |", figure(median), figure(min), figure(max));
        let mut cells = self.tokens_per_second.map_or(" failed |".to_owned(), spread);
        if index > 0 {
            cells += &self.ratio.map_or(" |".to_owned(), spread);
        }
        cells
    }
}

/// Three digits.
fn figure(value: f64) -> String {
    match value {
        100.0.. => format!("{value:.0}"),
        10.0.. => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::num::NonZeroUsize;

    use super::*;

    fn report() -> Report {
        let rates = |decode: [f64; 3], prefill: [f64; 3]| {
            let rates = [(Test::Decode { depth: 512 }, decode.to_vec()), (Test::Prefill, prefill.to_vec())];
            Outcome::Rates(BTreeMap::from(rates))
        };
        let model = ModelRounds {
            model: "/models/small.Q4_1.gguf".into(),
            bytes: 98_000_000,
            outcomes: vec![
                rates([100.0, 110.0, 90.0], [300.0, 300.0, 330.0]),
                rates([50.0, 50.0, 60.0], [100.0, 120.0, 110.0]),
                Outcome::Failed("no such architecture".into()),
            ],
            versions: vec![Some("0.1".into()), Some("11434".into()), None],
            isa: Some("avx2".into()),
        };
        let limits = Summary {
            read_bytes_per_second: 22e9,
            int8_operations_per_second: 301e9,
            f32_operations_per_second: 150.4e9,
        };
        let plan = Plan { prompt: 512, generate: 64, depths: vec![512], threads: NonZeroUsize::MIN };
        let machine = Machine { processor: "A processor".into(), cores: 2, memory_bytes: 8 << 30 };
        Report::new(machine, &["dayfly", "llama.cpp", "OpenVINO GenAI"], (&plan, 3), &[(model, limits)])
    }

    #[test]
    fn a_ratio_is_of_medians_and_spreads_as_the_rounds_do() {
        let spread = Spread::of_ratio(&[100.0, 110.0, 90.0], &[50.0, 50.0, 60.0]).unwrap();
        assert_eq!(spread, Spread { median: 2.0, min: 1.5, max: 2.2 });
        assert_eq!(Spread::of_ratio(&[], &[1.0]), None);
        assert_eq!(Spread::of(&[3.0, 1.0, 2.0]), Some(Spread { median: 2.0, min: 1.0, max: 3.0 }));
    }

    #[test]
    fn the_table_has_a_line_for_each_test() {
        let text = report().markdown();
        for line in [
            "| tokens/s | dayfly | llama.cpp | ratio | OpenVINO GenAI | ratio |",
            "|---|---|---|---|---|---|",
            "| small.Q4_1: decode, 512 tokens deep | 100 (90.0–110) | 50.0 (50.0–60.0) | 2.00 (1.50–2.20) | failed | |",
            "| small.Q4_1: prefill of 512 | 300 (300–330) | 110 (100–120) | 2.73 (2.50–3.00) | failed | |",
            "OpenVINO GenAI failed on small.Q4_1: no such architecture",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\nin\n{text}");
        }
        let circumstances = text.lines().next().unwrap();
        for part in ["A processor, 2 cores, 8 GiB; avx2, 1 threads", "llama.cpp 11434, OpenVINO GenAI.", "22.0 GB/s"] {
            assert!(circumstances.contains(part), "{part} in {circumstances}");
        }
    }

    #[test]
    fn json_has_the_same_figures() {
        let json = serde_json::to_value(report()).unwrap();
        let test = &json["models"][0]["tests"][0];
        assert_eq!((&test["test"], &test["depth"]), (&"decode".into(), &512.into()));
        assert_eq!(test["results"][1]["ratio"]["median"], 2.0);
        assert!(test["results"][0]["ratio"].is_null() && test["results"][2]["tokens_per_second"].is_null());
        assert_eq!(json["models"][0]["failures"][0]["reason"], "no such architecture");
    }
}
