//! Log-probabilities for clients that score or inspect.

/// A token and the natural logarithm of its probability.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Logprob {
    /// The token.
    pub id: u32,
    /// Natural logarithm of its probability.
    pub logprob: f32,
}

/// A token's log-probability among its likeliest alternatives.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenLogprobs {
    /// The token itself.
    pub token: Logprob,
    /// The likeliest tokens, likeliest first.
    pub top: Vec<Logprob>,
}

impl TokenLogprobs {
    /// The log-probability of `id` under `logits` (\[vocabulary\]) and the `top` likeliest.
    #[must_use]
    pub fn of(logits: &[f32], id: u32, top: usize) -> Self {
        let best = logits.get(kernels::argmax(logits)).copied().unwrap_or(0.0);
        let sum: f64 = logits.iter().map(|logit| f64::from(logit - best).exp()).sum();
        #[expect(clippy::cast_possible_truncation, reason = "a log-probability needs no more than 32 bits")]
        let norm = (f64::from(best) + sum.ln()) as f32;
        let logprob = |id: u32| Logprob { id, logprob: logits[id as usize] - norm };
        Self { token: logprob(id), top: likeliest(logits, top).into_iter().map(logprob).collect() }
    }
}

/// Ids of the `count` highest logits, highest first; equal ones by id.
fn likeliest(logits: &[f32], count: usize) -> Vec<u32> {
    let count = count.min(logits.len());
    let mut kept: Vec<u32> = Vec::with_capacity(count + 1);
    for (id, &logit) in (0_u32..).zip(logits) {
        if kept.len() == count && kept.last().is_none_or(|&last| logit <= logits[last as usize]) {
            continue;
        }
        let place = kept.partition_point(|&other| logits[other as usize] >= logit);
        kept.insert(place, id);
        kept.truncate(count);
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::TokenLogprobs;

    #[test]
    fn probabilities_sum_to_one_and_the_top_is_sorted() {
        let logits = [0.5, 2.0, -1.0, 2.0, 1.0];
        let all = TokenLogprobs::of(&logits, 4, 5);
        let sum: f32 = all.top.iter().map(|token| token.logprob.exp()).sum();
        assert!((sum - 1.0).abs() < 1e-6);
        assert_eq!(all.top.iter().map(|token| token.id).collect::<Vec<_>>(), [1, 3, 4, 0, 2]);
        assert_eq!(all.token, all.top[2]);
        assert!(TokenLogprobs::of(&logits, 0, 0).top.is_empty());
    }
}
