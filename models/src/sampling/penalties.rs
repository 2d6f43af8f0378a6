//! What was said before, and is to be said less.
//!
//! Two definitions are about. OpenAI's and vLLM's interfaces penalize presence and frequency by what is in the answer, and
//! repetition by what is in prompt or answer, however long ago. llama.cpp and Ollama penalize all three by the last so many
//! tokens of prompt and answer together.
//!
//! Source: arXiv:1909.05858 for repetition, where logits below zero are multiplied instead, so that they fall too.

use std::collections::{HashMap, VecDeque};

use super::Sampling;

/// Which tokens penalties look at.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Reach {
    /// Repetition at those of prompt and answer, the others at those of the answer.
    #[default]
    Whole,
    /// All of them at so many last tokens of prompt and answer together.
    Last(usize),
}

/// The penalties of one answer.
#[derive(Debug)]
pub(super) struct Penalties {
    repetition: f32,
    presence: f32,
    frequency: f32,
    reach: Reach,
    /// Tokens that repetition looks at where it looks at all, in order.
    seen: Vec<u32>,
    /// How often each token is among those that the others look at.
    counts: HashMap<u32, u32>,
    /// The last tokens, where penalties look at these alone.
    recent: VecDeque<u32>,
}

impl Penalties {
    /// Those of an answer to `prompt`.
    pub(super) fn new(sampling: &Sampling, prompt: &[u32]) -> Self {
        let mut penalties = Self {
            repetition: sampling.repetition_penalty,
            presence: sampling.presence_penalty,
            frequency: sampling.frequency_penalty,
            reach: sampling.reach,
            seen: Vec::new(),
            counts: HashMap::new(),
            recent: VecDeque::new(),
        };
        match penalties.reach {
            Reach::Whole if penalties.repetition != 1.0 => {
                penalties.seen.extend_from_slice(prompt);
                penalties.seen.sort_unstable();
                penalties.seen.dedup();
            }
            Reach::Whole => {}
            Reach::Last(tokens) => {
                let last = &prompt[prompt.len().saturating_sub(tokens)..];
                last.iter().for_each(|&id| penalties.remember(id));
            }
        }
        penalties
    }

    /// Takes note of a token.
    pub(super) fn remember(&mut self, id: u32) {
        if self.repetition == 1.0 && self.presence == 0.0 && self.frequency == 0.0 {
            return;
        }
        *self.counts.entry(id).or_default() += 1;
        match self.reach {
            Reach::Whole => {
                if self.repetition != 1.0
                    && let Err(place) = self.seen.binary_search(&id)
                {
                    self.seen.insert(place, id);
                }
            }
            Reach::Last(tokens) => {
                self.recent.push_back(id);
                if self.recent.len() > tokens {
                    self.forget();
                }
            }
        }
    }

    /// Drops the oldest of the last tokens.
    fn forget(&mut self) {
        let Some(id) = self.recent.pop_front() else { return };
        if let Some(count) = self.counts.get_mut(&id) {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&id);
            }
        }
    }

    /// Lowers what was said: `logits` are \[vocabulary\].
    pub(super) fn adjust(&self, logits: &mut [f32]) {
        let repeated = |logits: &mut [f32], id: u32| {
            let logit = &mut logits[id as usize];
            *logit = if *logit > 0.0 { *logit / self.repetition } else { *logit * self.repetition };
        };
        match self.reach {
            Reach::Whole => self.seen.iter().for_each(|&id| repeated(logits, id)),
            Reach::Last(_) if self.repetition != 1.0 => self.counts.keys().for_each(|&id| repeated(logits, id)),
            Reach::Last(_) => {}
        }
        if self.presence != 0.0 || self.frequency != 0.0 {
            for (&id, &count) in &self.counts {
                #[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^24")]
                let count = count as f32;
                logits[id as usize] -= self.presence + self.frequency * count;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use loader::fixture::Random;

    use super::*;

    /// The same, counted anew each time: `answer` is what was drawn so far.
    fn recounted(sampling: &Sampling, prompt: &[u32], answer: &[u32], logits: &mut [f32]) {
        let all = [prompt, answer].concat();
        let (repeated, counted) = match sampling.reach {
            Reach::Whole => (&all[..], answer),
            Reach::Last(tokens) => {
                let last = &all[all.len().saturating_sub(tokens)..];
                (last, last)
            }
        };
        for (id, logit) in (0_u32..).zip(logits) {
            if repeated.contains(&id) {
                *logit = if *logit > 0.0 {
                    *logit / sampling.repetition_penalty
                } else {
                    *logit * sampling.repetition_penalty
                };
            }
            let count = counted.iter().filter(|&&token| token == id).count() as f32;
            if count > 0.0 {
                *logit -= sampling.presence_penalty + sampling.frequency_penalty * count;
            }
        }
    }

    #[test]
    fn what_is_noted_on_the_way_is_what_is_counted_anew() {
        const VOCABULARY: usize = 12;
        let mut random = Random::new(9);
        for _ in 0..200 {
            let sampling = Sampling {
                repetition_penalty: [1.0, 1.3, 0.8][random.below(3)],
                presence_penalty: [0.0, 0.5, -1.0][random.below(3)],
                frequency_penalty: [0.0, 0.25][random.below(2)],
                reach: [Reach::Whole, Reach::Last(random.below(9)), Reach::Last(usize::MAX)][random.below(3)],
                ..Sampling::default()
            };
            let token = |random: &mut Random| u32::try_from(random.below(VOCABULARY)).unwrap();
            let prompt: Vec<u32> = (0..random.below(12)).map(|_| token(&mut random)).collect();
            let (mut penalties, mut answer) = (Penalties::new(&sampling, &prompt), Vec::new());
            for _ in 0..15 {
                let logits: Vec<f32> = (0..VOCABULARY).map(|_| 4.0 * random.signed_unit()).collect();
                let (mut adjusted, mut expected) = (logits.clone(), logits);
                penalties.adjust(&mut adjusted);
                recounted(&sampling, &prompt, &answer, &mut expected);
                assert_eq!(adjusted, expected, "{sampling:?}: {prompt:?}, {answer:?}");
                let id = token(&mut random);
                penalties.remember(id);
                answer.push(id);
            }
        }
    }

    #[test]
    fn nothing_further_back_than_the_reach_is_penalized() {
        let sampling = Sampling {
            repetition_penalty: 2.0,
            presence_penalty: 1.0,
            frequency_penalty: 0.5,
            reach: Reach::Last(3),
            ..Sampling::default()
        };
        let mut penalties = Penalties::new(&sampling, &[0, 1, 2, 2]);
        let adjusted = |penalties: &Penalties| {
            let mut logits = [4.0, 4.0, -4.0, 4.0];
            penalties.adjust(&mut logits);
            logits
        };
        assert_eq!(adjusted(&penalties), [4.0, 0.5, -10.0, 4.0], "token 0 is too far back, token 2 stands twice");
        penalties.remember(3);
        assert_eq!(adjusted(&penalties), [4.0, 4.0, -10.0, 0.5], "so is token 1 then");
        penalties.remember(3);
        assert_eq!(adjusted(&penalties), [4.0, 4.0, -9.5, 0.0]);
    }
}
