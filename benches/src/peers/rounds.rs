//! The rounds over one model: who runs when, and what becomes of one that fails.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::{Engine, Plan, Round, Test};

/// What an engine reached on a model.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// Tokens per second of every round, in order.
    Rates(BTreeMap<Test, Vec<f64>>),
    /// Why there are none.
    Failed(String),
}

/// What came of one model: outcomes in the order of the engines.
#[derive(Clone, Debug)]
pub struct ModelRounds {
    /// The file.
    pub model: PathBuf,
    /// Its size.
    pub bytes: u64,
    /// One for each engine.
    pub outcomes: Vec<Outcome>,
    /// Each engine's version, where it told one.
    pub versions: Vec<Option<String>>,
    /// The instructions that an engine said it uses.
    pub isa: Option<String>,
}

impl ModelRounds {
    fn add(&mut self, engine: usize, plan: &Plan, round: anyhow::Result<Round>) {
        match round.and_then(|round| complete(round, plan)) {
            Err(error) => self.outcomes[engine] = Outcome::Failed(format!("{error:#}")),
            Ok(round) => {
                self.versions[engine] = Some(round.version);
                self.isa = round.isa.or_else(|| self.isa.take());
                if let Outcome::Rates(rates) = &mut self.outcomes[engine] {
                    round.rates.into_iter().for_each(|(test, rate)| rates.entry(test).or_default().push(rate));
                }
            }
        }
    }
}

/// A round in which no test is missing, and every rate is one.
fn complete(round: Round, plan: &Plan) -> anyhow::Result<Round> {
    for test in plan.tests() {
        let rate = round.rates.get(&test).copied();
        anyhow::ensure!(rate.is_some_and(|rate| rate.is_finite() && rate > 0.0), "no rate for {test:?}: {rate:?}");
    }
    Ok(round)
}

/// Runs `engines` in turns over `model`; `between` is called after each round, and told its number.
///
/// # Errors
/// When there is no such file. An engine that fails is none: it is left out of what follows.
pub fn run_rounds(
    engines: &[Box<dyn Engine>],
    model: &Path,
    (plan, rounds): (&Plan, usize),
    between: &mut dyn FnMut(usize, u64),
) -> anyhow::Result<ModelRounds> {
    let mut result = ModelRounds {
        model: model.to_owned(),
        bytes: model.metadata()?.len(),
        outcomes: engines.iter().map(|_| Outcome::Rates(BTreeMap::new())).collect(),
        versions: vec![None; engines.len()],
        isa: None,
    };
    for round in 0..rounds {
        for (index, engine) in engines.iter().enumerate() {
            if matches!(result.outcomes[index], Outcome::Rates(_)) {
                result.add(index, plan, engine.round(model, plan));
            }
        }
        between(round, result.bytes);
    }
    Ok(result)
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};
    use std::num::NonZeroUsize;
    use std::rc::Rc;

    use super::*;

    /// Fails from a round on, and writes down when it was called.
    struct Fake {
        name: &'static str,
        calls: Cell<usize>,
        fails_from: usize,
        log: Rc<RefCell<Vec<&'static str>>>,
    }

    impl Engine for Fake {
        fn name(&self) -> &str {
            self.name
        }

        fn round(&self, _: &Path, _: &Plan) -> anyhow::Result<Round> {
            self.log.borrow_mut().push(self.name);
            let call = self.calls.replace(self.calls.get() + 1);
            anyhow::ensure!(call < self.fails_from, "out of order");
            let rates = BTreeMap::from([(Test::Decode { depth: 0 }, 10.0 + call as f64)]);
            Ok(Round { version: "1".into(), isa: Some("avx2".into()), rates })
        }
    }

    fn plan(prompt: usize) -> Plan {
        Plan { prompt, generate: 1, depths: vec![0], threads: NonZeroUsize::MIN }
    }

    #[test]
    fn engines_take_turns_and_a_failed_one_is_left_out() {
        let log = Rc::default();
        let fake = |name, fails_from| -> Box<dyn Engine> {
            Box::new(Fake { name, calls: Cell::new(0), fails_from, log: Rc::clone(&log) })
        };
        let engines = [fake("a", 9), fake("b", 1)];
        let model = Path::new(env!("CARGO_MANIFEST_PATH"));
        let mut seen = Vec::new();
        let result =
            run_rounds(&engines, model, (&plan(0), 3), &mut |round, bytes| seen.push((round, bytes > 0))).unwrap();
        assert_eq!(*log.borrow(), ["a", "b", "a", "b", "a"]);
        assert_eq!(seen, [(0, true), (1, true), (2, true)]);
        let rates = BTreeMap::from([(Test::Decode { depth: 0 }, vec![10.0, 11.0, 12.0])]);
        assert_eq!(result.outcomes, [Outcome::Rates(rates), Outcome::Failed("out of order".into())]);
        assert_eq!((result.versions[1].as_deref(), result.isa.as_deref()), (Some("1"), Some("avx2")));
    }

    #[test]
    fn a_round_without_a_test_is_a_failure() {
        let engines: [Box<dyn Engine>; 1] =
            [Box::new(Fake { name: "a", calls: Cell::new(0), fails_from: 9, log: Rc::default() })];
        let model = Path::new(env!("CARGO_MANIFEST_PATH"));
        let result = run_rounds(&engines, model, (&plan(512), 1), &mut |_, _| {}).unwrap();
        assert!(matches!(&result.outcomes[0], Outcome::Failed(reason) if reason.contains("Prefill")));
        assert!(run_rounds(&engines, Path::new("/nowhere"), (&plan(0), 1), &mut |_, _| {}).is_err());
    }
}
