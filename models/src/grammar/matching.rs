//! One answer's way through a grammar.

use std::fmt;
use std::sync::Arc;

use llguidance::Matcher;
use llguidance::toktrie::SimpleVob;

use super::Tokens;
use super::source::reason;

/// How far an answer is.
pub struct Matching {
    matcher: Matcher,
    tokens: Arc<Tokens>,
}

/// The tokens that may come next.
#[derive(Debug)]
pub struct Allowed(SimpleVob);

/// A grammar takes more than its bounds at this place of an answer, or leads nowhere.
#[derive(Debug, thiserror::Error)]
#[error("the grammar cannot be followed any further: {reason}")]
pub struct GrammarFault {
    reason: String,
}

impl GrammarFault {
    fn of(error: &impl fmt::Display) -> Self {
        Self { reason: reason(error) }
    }
}

impl Matching {
    pub(super) fn new(matcher: Matcher, tokens: Arc<Tokens>) -> Self {
        Self { matcher, tokens }
    }

    /// What may come next: at least one token, or an end.
    ///
    /// # Errors
    /// [`GrammarFault`].
    pub fn allowed(&mut self) -> Result<Allowed, GrammarFault> {
        let mut allowed = self.matcher.compute_mask_or_eos().map_err(|error| GrammarFault::of(&error))?;
        allowed.sub(&self.tokens.silent);
        let may_end = self.is_complete() || self.matcher.is_accepting().map_err(|error| GrammarFault::of(&error))?;
        if !may_end {
            self.tokens.ends.iter().for_each(|&end| allowed.disallow_token(end));
        }
        if allowed.is_zero() {
            return Err(GrammarFault { reason: "nothing may follow".to_owned() });
        }
        Ok(Allowed(allowed))
    }

    /// Goes on by a token that was allowed and is no end.
    ///
    /// # Errors
    /// [`GrammarFault`].
    pub fn take(&mut self, token: u32) -> Result<(), GrammarFault> {
        self.matcher.consume_token(token).map_err(|error| GrammarFault::of(&error))
    }

    /// Whether it is at its end, and nothing could follow.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.matcher.is_stopped()
    }
}

impl Allowed {
    /// Takes every chance from what is not allowed: `logits` are \[vocabulary\], rows past the tokens included.
    pub fn restrict(&self, logits: &mut [f32]) {
        let words = self.0.as_slice();
        let tokens = self.0.len().min(logits.len());
        logits[tokens..].fill(f32::NEG_INFINITY);
        for (index, chunk) in logits[..tokens].chunks_mut(32).enumerate() {
            match words.get(index).copied().unwrap_or(0) {
                0 => chunk.fill(f32::NEG_INFINITY),
                u32::MAX => {}
                word => {
                    for (bit, logit) in chunk.iter_mut().enumerate() {
                        if word >> bit & 1 == 0 {
                            *logit = f32::NEG_INFINITY;
                        }
                    }
                }
            }
        }
    }

    /// Whether `token` is allowed.
    #[must_use]
    pub fn holds(&self, token: u32) -> bool {
        (token as usize) < self.0.len() && self.0.is_allowed(token)
    }
}

impl fmt::Debug for Matching {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Matching").field("is_complete", &self.is_complete()).finish_non_exhaustive()
    }
}
