//! Which model steps next: the one whose steps took least time for its weight.
//!
//! Pure, but for its books. A model that had nothing to step gets no credit for that; of models that are even, the one that
//! stepped last waits.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use super::fair::VirtualTimes;

/// The turns of one executor's models.
#[derive(Debug)]
pub(super) struct Turns {
    times: VirtualTimes<Arc<str>>,
    /// Those that are not 1.
    weights: HashMap<Arc<str>, NonZeroU32>,
    stepped: Option<Arc<str>>,
}

impl Turns {
    pub(super) fn new(weights: HashMap<Arc<str>, NonZeroU32>) -> Self {
        Self { times: VirtualTimes::new(Duration::ZERO), weights, stepped: None }
    }

    /// Whose turn it is among those that can step, `ready`: each named once.
    pub(super) fn next(&mut self, ready: &[Arc<str>]) -> Option<Arc<str>> {
        self.times.meet(ready.iter());
        let next = ready.iter().min_by_key(|model| (self.times.time(model), self.stepped.as_ref() == Some(*model)));
        self.stepped = next.cloned();
        self.stepped.clone()
    }

    /// A step of `model` took `wall`.
    pub(super) fn charge(&mut self, model: &Arc<str>, wall: Duration) {
        let weight = self.weights.get(model).copied().unwrap_or(NonZeroU32::MIN);
        self.times.charge(model, wall, weight);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(turns: &mut Turns, ready: &[(&str, u64)], steps: usize) -> Vec<String> {
        let names: Vec<Arc<str>> = ready.iter().map(|&(name, _)| name.into()).collect();
        let mut ran = Vec::new();
        for _ in 0..steps {
            let model = turns.next(&names).unwrap();
            let (_, millis) = ready.iter().find(|(name, _)| *name == &*model).unwrap();
            turns.charge(&model, Duration::from_millis(*millis));
            ran.push(model.to_string());
        }
        ran
    }

    #[test]
    fn models_alike_take_turns() {
        let ran = run(&mut Turns::new(HashMap::new()), &[("a", 3), ("b", 3), ("c", 3)], 6);
        assert_eq!(ran, ["a", "b", "c", "a", "b", "c"]);
    }

    #[test]
    fn a_model_whose_steps_take_longer_takes_fewer() {
        let ran = run(&mut Turns::new(HashMap::new()), &[("large", 30), ("small", 3)], 110);
        assert_eq!(ran.iter().filter(|model| *model == "large").count(), 10);
    }

    #[test]
    fn weights_are_shares_of_time() {
        let weights = HashMap::from([("b".into(), NonZeroU32::new(3).unwrap())]);
        let ran = run(&mut Turns::new(weights), &[("a", 5), ("b", 5)], 40);
        assert_eq!(ran.iter().filter(|model| *model == "b").count(), 30);
    }

    #[test]
    fn a_model_that_comes_during_a_step_goes_before_the_one_that_steps() {
        let mut turns = Turns::new(HashMap::new());
        assert_eq!(run(&mut turns, &[("a", 3)], 5), ["a"; 5]);
        assert_eq!(run(&mut turns, &[("a", 3), ("b", 3)], 4), ["b", "a", "b", "a"]);
    }

    #[test]
    fn nobody_has_a_turn_where_none_can_step() {
        assert_eq!(Turns::new(HashMap::new()).next(&[]), None);
    }
}
