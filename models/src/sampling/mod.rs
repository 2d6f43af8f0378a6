//! From logits to the next token.
//!
//! Order: `logit_bias`, penalties, what a grammar allows, temperature, `min_p`, `top_k`, `top_p`, draw. Temperature 0 takes the
//! likeliest token after bias and penalties. Log-probabilities that a client sees are of the distribution before all of these.
//!
//! Invariant: the same seed, logits and settings give the same tokens, on every machine.

mod logprobs;
mod penalties;

use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

use crate::grammar::Allowed;
pub use logprobs::{Logprob, TokenLogprobs};
use penalties::Penalties;
pub use penalties::Reach;

/// How a request wants its tokens drawn.
#[derive(Clone, Debug)]
pub struct Sampling {
    /// Divides the logits; 0 is greedy.
    pub temperature: f32,
    /// Keeps the k likeliest; 0 keeps all.
    pub top_k: usize,
    /// Keeps the likeliest whose probabilities reach this sum.
    pub top_p: f32,
    /// Drops what is less likely than this part of the likeliest.
    pub min_p: f32,
    /// Divides the logits above zero (multiplies those below) of tokens in prompt or answer; 1 is off.
    /// Source: arXiv:1909.05858.
    pub repetition_penalty: f32,
    /// Subtracted once from the logit of each token in the answer.
    pub presence_penalty: f32,
    /// Subtracted from a token's logit for each time it is in the answer.
    pub frequency_penalty: f32,
    /// Which tokens these three look at.
    pub reach: Reach,
    /// Added to the logits of these tokens.
    pub logit_bias: Vec<(u32, f32)>,
    /// Start of the random numbers.
    pub seed: u64,
}

impl Default for Sampling {
    fn default() -> Self {
        Self {
            temperature: 1.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            repetition_penalty: 1.0,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            reach: Reach::Whole,
            logit_bias: Vec::new(),
            seed: 0,
        }
    }
}

/// Logits that are no numbers: the weights or the arithmetic are broken.
#[derive(Debug, thiserror::Error)]
#[error("the model's logits are not finite")]
pub struct NonFiniteLogits;

/// Draws the tokens of one answer.
#[derive(Debug)]
pub struct Sampler {
    sampling: Sampling,
    random: ChaCha12Rng,
    penalties: Penalties,
    candidates: Vec<(f32, u32)>,
}

impl Sampler {
    /// A sampler for choice number `choice` of a request whose prompt is `prompt`.
    #[must_use]
    pub fn new(sampling: Sampling, choice: u64, prompt: &[u32]) -> Self {
        let penalties = Penalties::new(&sampling, prompt);
        let mut random = ChaCha12Rng::seed_from_u64(sampling.seed);
        random.set_stream(choice);
        Self { sampling, random, penalties, candidates: Vec::new() }
    }

    /// Draws the next token, one of those that are `allowed` where not all are. `logits` (\[vocabulary\]) are changed on the
    /// way.
    ///
    /// # Errors
    /// [`NonFiniteLogits`] when a logit is no number, or that of the likeliest token is not finite.
    pub fn sample(&mut self, logits: &mut [f32], allowed: Option<&Allowed>) -> Result<u32, NonFiniteLogits> {
        self.adjust(logits);
        if logits.iter().any(|logit| logit.is_nan()) {
            return Err(NonFiniteLogits);
        }
        if let Some(allowed) = allowed {
            allowed.restrict(logits);
        }
        let best = kernels::argmax(logits);
        if !logits.get(best).is_some_and(|logit| logit.is_finite()) {
            return Err(NonFiniteLogits);
        }
        let best = id_of(best);
        let id = if self.sampling.temperature == 0.0 { best } else { self.draw(logits, logits[best as usize]) };
        self.penalties.remember(id);
        Ok(id)
    }

    fn adjust(&self, logits: &mut [f32]) {
        for &(id, bias) in &self.sampling.logit_bias {
            logits[id as usize] += bias;
        }
        self.penalties.adjust(logits);
    }

    /// One token by chance. `best` is the highest logit.
    fn draw(&mut self, logits: &[f32], best: f32) -> u32 {
        let temperature = self.sampling.temperature;
        // exp(-104) is 0 in 32 bits: such tokens can never be drawn.
        let floor = if self.sampling.min_p > 0.0 { self.sampling.min_p.ln() } else { -104.0 };
        self.candidates.clear();
        for (index, &logit) in logits.iter().enumerate() {
            let exponent = (logit - best) / temperature;
            if exponent >= floor {
                self.candidates.push((exponent.exp(), id_of(index)));
            }
        }
        self.keep_top_k();
        self.keep_top_p();
        let total: f64 = self.candidates.iter().map(|(weight, _)| f64::from(*weight)).sum();
        let mut target = unit(&mut self.random) * total;
        for &(weight, id) in &self.candidates {
            target -= f64::from(weight);
            if target < 0.0 {
                return id;
            }
        }
        // Rounding can leave a rest after the last candidate.
        self.candidates.last().map_or(0, |(_, id)| *id)
    }

    fn keep_top_k(&mut self) {
        let k = self.sampling.top_k;
        if k > 0 && k < self.candidates.len() {
            self.candidates.select_nth_unstable_by(k - 1, likelier);
            self.candidates.truncate(k);
        }
    }

    /// Sorts only as many candidates as the sum needs.
    fn keep_top_p(&mut self) {
        if self.sampling.top_p >= 1.0 {
            // One order whatever the selection above did, so that a seed means one text.
            if self.sampling.top_k > 0 {
                self.candidates.sort_unstable_by(likelier);
            }
            return;
        }
        let total: f64 = self.candidates.iter().map(|(weight, _)| f64::from(*weight)).sum();
        let needed = total * f64::from(self.sampling.top_p);
        let mut sorted = 128;
        loop {
            let end = sorted.min(self.candidates.len());
            if end < self.candidates.len() {
                self.candidates.select_nth_unstable_by(end - 1, likelier);
            }
            self.candidates[..end].sort_unstable_by(likelier);
            let mut sum = 0.0;
            for index in 0..end {
                sum += f64::from(self.candidates[index].0);
                if sum >= needed {
                    self.candidates.truncate(index + 1);
                    return;
                }
            }
            if end == self.candidates.len() {
                return;
            }
            sorted *= 4;
        }
    }
}

/// Likelier first; equal ones by id.
fn likelier(a: &(f32, u32), b: &(f32, u32)) -> std::cmp::Ordering {
    b.0.total_cmp(&a.0).then(a.1.cmp(&b.1))
}

/// A number in \[0, 1) of 53 random bits.
fn unit(random: &mut ChaCha12Rng) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "53 bits are exact")]
    let bits = (random.next_u64() >> 11) as f64;
    bits / (1_u64 << 53) as f64
}

fn id_of(index: usize) -> u32 {
    u32::try_from(index).expect("a vocabulary is far below 2^32")
}

#[cfg(test)]
mod tests {
    use super::{Sampler, Sampling};

    fn logits() -> Vec<f32> {
        vec![0.0, 3.0, 1.0, 2.0, -1.0]
    }

    fn draws(sampling: &Sampling, count: usize) -> Vec<u32> {
        let mut sampler = Sampler::new(sampling.clone(), 0, &[]);
        (0..count).map(|_| sampler.sample(&mut logits(), None).expect("finite")).collect()
    }

    #[test]
    fn temperature_zero_takes_the_likeliest() {
        assert_eq!(draws(&Sampling { temperature: 0.0, ..Sampling::default() }, 3), [1, 1, 1]);
    }

    #[test]
    fn a_seed_means_one_sequence_and_another_seed_another() {
        let seeded = |seed| draws(&Sampling { seed, ..Sampling::default() }, 64);
        assert_eq!(seeded(7), seeded(7));
        assert_ne!(seeded(7), seeded(8));
    }

    #[test]
    fn choices_of_one_request_differ() {
        let mut first = Sampler::new(Sampling::default(), 0, &[]);
        let mut second = Sampler::new(Sampling::default(), 1, &[]);
        let draw = |sampler: &mut Sampler| -> Vec<u32> {
            (0..64).map(|_| sampler.sample(&mut logits(), None).expect("finite")).collect()
        };
        assert_ne!(draw(&mut first), draw(&mut second));
    }

    #[test]
    fn frequencies_follow_the_distribution() {
        let drawn = draws(&Sampling::default(), 20_000);
        let weights: Vec<f64> = logits().iter().map(|logit| f64::from(*logit).exp()).collect();
        let total: f64 = weights.iter().sum();
        for (id, weight) in (0_u32..).zip(&weights) {
            let share = drawn.iter().filter(|&&token| token == id).count() as f64 / 20_000.0;
            assert!((share - weight / total).abs() < 0.015, "token {id}: {share} for {}", weight / total);
        }
    }

    #[test]
    fn top_k_top_p_and_min_p_drop_the_tail() {
        let only = |sampling: Sampling| {
            let mut drawn = draws(&sampling, 2_000);
            drawn.sort_unstable();
            drawn.dedup();
            drawn
        };
        assert_eq!(only(Sampling { top_k: 2, ..Sampling::default() }), [1, 3]);
        assert_eq!(only(Sampling { top_p: 0.6, ..Sampling::default() }), [1]);
        assert_eq!(only(Sampling { top_p: 0.7, ..Sampling::default() }), [1, 3]);
        assert_eq!(only(Sampling { min_p: 0.3, ..Sampling::default() }), [1, 3]);
        assert_eq!(only(Sampling::default()), [0, 1, 2, 3, 4]);
    }

    #[test]
    fn penalties_and_bias_move_the_choice() {
        let greedy = Sampling { temperature: 0.0, ..Sampling::default() };
        assert_eq!(draws(&Sampling { presence_penalty: 1.5, ..greedy.clone() }, 2), [1, 3]);
        assert_eq!(draws(&Sampling { frequency_penalty: 0.6, ..greedy.clone() }, 3), [1, 1, 3]);
        assert_eq!(draws(&Sampling { logit_bias: vec![(4, 100.0)], ..greedy.clone() }, 1), [4]);
        let mut sampler = Sampler::new(Sampling { repetition_penalty: 2.0, ..greedy }, 0, &[1]);
        assert_eq!(sampler.sample(&mut logits(), None).expect("finite"), 3, "the prompt counts for repetition");
    }

    #[test]
    fn broken_logits_are_refused() {
        let mut sampler = Sampler::new(Sampling::default(), 0, &[]);
        assert!(sampler.sample(&mut [0.0, f32::NAN], None).is_err());
        assert!(sampler.sample(&mut [f32::NEG_INFINITY, f32::NEG_INFINITY], None).is_err());
        assert!(sampler.sample(&mut [f32::INFINITY, 0.0], None).is_err());
    }
}
