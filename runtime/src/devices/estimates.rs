//! How long a request would compute on a device, by what was measured there.
//!
//! In this order: the fit of what steps of the model cost; the means of the model's own requests; the means of other
//! models' requests, by the bytes of their weights. Where nothing was measured the device may be explored.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use scheduler::routing::{Exploration, Share};
use scheduler::{Cost, RequestTiming, StepWork};

use crate::engine::ModelCosts;
use crate::limits::{EXPLORED_REQUESTS, MODEL_COSTS_MAX};

/// Of what is measured, how much a new value counts.
const NEW_COUNTS: f64 = 0.25;
/// Tokens of an answer before one was measured.
const COMPLETION_TOKENS_ASSUMED: f64 = 128.0;

/// What a request is expected to compute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Size {
    /// Tokens of all prompts, or texts.
    pub(super) prompt_tokens: u32,
    /// Tokens of all answers.
    pub(super) completion_tokens: u32,
}

/// What it takes on one device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Estimate {
    pub(super) prefill: Share,
    /// Of each token of the answers.
    pub(super) token: Share,
}

impl Estimate {
    /// All of it, alone.
    pub(super) fn alone(&self, size: Size) -> Duration {
        self.prefill.alone.saturating_add(self.token.alone.saturating_mul(size.completion_tokens))
    }
}

/// Seconds, on average.
#[derive(Clone, Copy, Debug, Default)]
struct Rates {
    prompt_token: Option<f64>,
    completion_token: Option<f64>,
    bytes: u64,
}

/// What was measured on one device.
#[derive(Default)]
pub(super) struct Estimates(Mutex<State>);

#[derive(Default)]
struct State {
    models: HashMap<String, Rates>,
    /// Bytes of loads, and the seconds they took, each new one counting a quarter.
    load: Option<(f64, f64)>,
    explored: HashMap<String, u32>,
}

/// How long answers are, over all devices.
#[derive(Default)]
pub(super) struct Lengths(Mutex<Option<f64>>);

fn mean(old: Option<f64>, new: f64) -> f64 {
    old.map_or(new, |old| old + (new - old) * NEW_COUNTS)
}

fn duration(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
}

impl Lengths {
    /// An answer had so many tokens.
    pub(super) fn learn(&self, tokens: u64) {
        let mut mean_tokens = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        #[expect(clippy::cast_precision_loss, reason = "an answer has far fewer than 2⁵³ tokens")]
        let tokens = tokens as f64;
        *mean_tokens = Some(mean(*mean_tokens, tokens));
    }

    /// What an answer of at most `tokens_max` is expected to have.
    pub(super) fn expected(&self, tokens_max: usize) -> u32 {
        let mean_tokens = self.0.lock().unwrap_or_else(PoisonError::into_inner).unwrap_or(COMPLETION_TOKENS_ASSUMED);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a float saturates as it becomes one"
        )]
        let expected = mean_tokens.ceil() as u32;
        expected.min(u32::try_from(tokens_max).unwrap_or(u32::MAX))
    }
}

impl Estimates {
    /// A request was computed.
    pub(super) fn learn(&self, model: &str, weights_bytes: u64, timing: &RequestTiming) {
        #[expect(clippy::cast_precision_loss, reason = "a request has far fewer than 2⁵³ tokens")]
        let token = |cost: &Cost| (cost.tokens > 0).then(|| cost.wall.as_secs_f64() / cost.tokens as f64);
        let mut state = self.state();
        state.bound();
        let rates = state.models.entry(model.to_owned()).or_default();
        rates.bytes = weights_bytes;
        for (known, measured) in
            [(&mut rates.prompt_token, token(&timing.prefill)), (&mut rates.completion_token, token(&timing.decode))]
        {
            *known = measured.map_or(*known, |measured| Some(mean(*known, measured)));
        }
    }

    /// A load took `wall`.
    pub(super) fn learn_load(&self, bytes: u64, wall: Duration) {
        #[expect(clippy::cast_precision_loss, reason = "bytes of a file are far fewer than 2⁵³")]
        let (bytes, seconds) = (bytes as f64, wall.as_secs_f64());
        let mut state = self.state();
        let (old_bytes, old_seconds) = state.load.unzip();
        state.load = Some((mean(old_bytes, bytes), mean(old_seconds, seconds)));
    }

    /// How long a load of `bytes` takes, by the rate of others; `None` before the first.
    pub(super) fn load(&self, bytes: u64) -> Option<Duration> {
        let (known_bytes, seconds) = self.state().load.filter(|(bytes, _)| *bytes > 0.0)?;
        #[expect(clippy::cast_precision_loss, reason = "bytes of a file are far fewer than 2⁵³")]
        let seconds = seconds * bytes as f64 / known_bytes;
        Some(duration(seconds))
    }

    /// What a request takes, if anything like it was measured.
    pub(super) fn work(&self, (model, bytes): (&str, u64), costs: &ModelCosts, size: Size) -> Option<Estimate> {
        by_fit(costs, size).or_else(|| self.by_means(model, bytes, size))
    }

    fn by_means(&self, model: &str, bytes: u64, size: Size) -> Option<Estimate> {
        let state = self.state();
        let own = state.models.get(model).copied().unwrap_or_default();
        // Of others by the weights that a token goes through.
        let of_others = |seconds: &dyn Fn(&Rates) -> Option<f64>| {
            let known = state.models.values().filter(|rates| rates.bytes > 0);
            #[expect(clippy::cast_precision_loss, reason = "bytes of a file are far fewer than 2⁵³")]
            let scaled = known.filter_map(|rates| Some(seconds(rates)? * bytes as f64 / rates.bytes as f64));
            let (sum, count) = scaled.fold((0.0, 0.0), |(sum, count), one| (sum + one, count + 1.0));
            (count > 0.0).then(|| sum / count)
        };
        let share = |seconds: f64| Share { alone: duration(seconds), beside: duration(seconds) };
        let prompt = own.prompt_token.or_else(|| of_others(&|rates| rates.prompt_token))?;
        let token = match size.completion_tokens {
            0 => 0.0,
            _ => own.completion_token.or_else(|| of_others(&|rates| rates.completion_token))?,
        };
        Some(Estimate { prefill: share(prompt * f64::from(size.prompt_tokens)), token: share(token) })
    }

    /// Whether one more request may find out how fast `model` is here.
    pub(super) fn exploration(&self, model: &str) -> Exploration {
        match self.state().explored.get(model) {
            Some(&explored) if explored >= EXPLORED_REQUESTS => Exploration::Done,
            _ => Exploration::Open,
        }
    }

    /// One request finds out.
    pub(super) fn explores(&self, model: &str) {
        let mut state = self.state();
        state.bound();
        *state.explored.entry(model.to_owned()).or_default() += 1;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Forgets everything before it knows too many models.
    fn bound(&mut self) {
        let models_max = usize::try_from(MODEL_COSTS_MAX).unwrap_or(usize::MAX);
        if self.models.len().max(self.explored.len()) >= models_max {
            (self.models, self.explored) = (HashMap::new(), HashMap::new());
        }
    }
}

/// By the fit of the model's own steps.
fn by_fit(costs: &ModelCosts, size: Size) -> Option<Estimate> {
    let Size { prompt_tokens, completion_tokens } = size;
    let prompt = u64::from(prompt_tokens);
    let prefill = StepWork { prefill_tokens: prompt_tokens, decode_tokens: 0, kv_positions: prompt * (prompt + 1) / 2 };
    let positions = prompt + u64::from(completion_tokens) / 2;
    let decode = StepWork { prefill_tokens: 0, decode_tokens: 1, kv_positions: positions };
    let share = |work: StepWork, beside: StepWork| -> Option<Share> {
        let alone = costs.predict(work)?;
        let mut both = work;
        both += beside;
        let added = costs.predict(both)?.saturating_sub(costs.predict(beside)?);
        Some(Share { alone, beside: added.min(alone) })
    };
    let token = match completion_tokens {
        0 => Share::default(),
        _ => share(decode, decode)?,
    };
    Some(Estimate { prefill: share(prefill, decode)?, token })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: Size = Size { prompt_tokens: 100, completion_tokens: 10 };

    fn timing(prefill_millis: u64, prompt: u64, decode_millis: u64, completion: u64) -> RequestTiming {
        let cost = |millis: u64, tokens| Cost { wall: Duration::from_millis(millis), tokens, ..Cost::default() };
        RequestTiming {
            prefill: cost(prefill_millis, prompt),
            decode: cost(decode_millis, completion),
            ..RequestTiming::default()
        }
    }

    fn alone(estimates: &Estimates, model: &str, bytes: u64, size: Size) -> Option<u128> {
        let estimate = estimates.work((model, bytes), &ModelCosts::default(), size)?;
        Some(estimate.alone(size).as_millis())
    }

    #[test]
    fn what_was_not_measured_is_that_of_others_by_their_size() {
        let estimates = Estimates::default();
        assert_eq!(alone(&estimates, "m", 1000, SIZE), None);
        estimates.learn("m", 1000, &timing(50, 50, 40, 10));
        assert_eq!(alone(&estimates, "m", 1000, SIZE), Some(100 + 40));
        assert_eq!(alone(&estimates, "larger", 3000, SIZE), Some(300 + 120));
        // A model's own figures count for more than its size.
        estimates.learn("larger", 3000, &timing(100, 100, 10, 10));
        assert_eq!(alone(&estimates, "larger", 3000, SIZE), Some(100 + 10));
        estimates.learn("larger", 3000, &timing(500, 100, 10, 10));
        assert_eq!(alone(&estimates, "larger", 3000, SIZE), Some(200 + 10), "a new figure counts a quarter");
    }

    #[test]
    fn texts_that_are_encoded_need_no_figure_of_answers() {
        let estimates = Estimates::default();
        estimates.learn("encoder", 10, &timing(20, 10, 0, 0));
        let size = Size { completion_tokens: 0, ..SIZE };
        assert_eq!(alone(&estimates, "encoder", 10, size), Some(200));
        assert_eq!(alone(&estimates, "encoder", 10, SIZE), None);
    }

    #[test]
    fn a_model_is_explored_once() {
        let estimates = Estimates::default();
        for _ in 0..EXPLORED_REQUESTS {
            assert_eq!(estimates.exploration("m"), Exploration::Open);
            estimates.explores("m");
        }
        assert_eq!((estimates.exploration("m"), estimates.exploration("n")), (Exploration::Done, Exploration::Open));
    }

    #[test]
    fn loads_take_what_others_took_by_their_size() {
        let estimates = Estimates::default();
        assert_eq!(estimates.load(10), None);
        estimates.learn_load(1000, Duration::from_millis(10));
        assert_eq!(estimates.load(3000), Some(Duration::from_millis(30)));
    }

    #[test]
    fn an_answer_has_as_many_tokens_as_others_or_as_it_may() {
        let lengths = Lengths::default();
        assert_eq!((lengths.expected(1000), lengths.expected(5)), (128, 5));
        lengths.learn(40);
        assert_eq!(lengths.expected(usize::MAX), 40);
        lengths.learn(80);
        assert_eq!(lengths.expected(usize::MAX), 50);
    }
}
