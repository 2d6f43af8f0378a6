//! Logits to the next tokens of an answer: what its grammar allows is drawn from, and what was drawn decides whether it ends.

use super::step::{DrawError, FinishReason};
use super::{End, Generation, Shown};
use crate::grammar::Matching;
use crate::sampling::TokenLogprobs;

impl Generation {
    /// Draws from the logits of a token and of `drafted` drafts behind it, as far as these are right.
    pub(super) fn take_tokens(
        &mut self,
        drafted: usize,
        logits: &mut [f32],
    ) -> Result<Option<FinishReason>, DrawError> {
        let guessed = self.drafts.as_ref().map_or(0, |drafts| drafts.tokens().len());
        assert!(drafted <= guessed, "only what was guessed is computed ahead");
        self.counts.drafted += drafted as u64;
        let vocabulary = logits.len() / (1 + drafted);
        for index in 0..=drafted {
            let finish = self.take_token(&mut logits[index * vocabulary..(index + 1) * vocabulary])?;
            let token = *self.progress.tokens().last().expect("it was drawn just now");
            let is_right = self.drafts.as_mut().is_some_and(|drafts| drafts.is_right(index, token));
            let is_accepted = is_right && index < drafted;
            self.counts.accepted += u64::from(is_accepted);
            if finish.is_some() || !is_accepted {
                return Ok(finish);
            }
            // Its keys and values are there already.
            self.progress.compute(1);
        }
        unreachable!("behind the last draft nothing is guessed")
    }

    /// Draws from the logits of one token, and adds what was drawn to the answer; why it ended, if it did.
    pub(super) fn take_token(&mut self, logits: &mut [f32]) -> Result<Option<FinishReason>, DrawError> {
        // Alternatives are of the distribution before sampling changes it; the token is known after.
        let before = self.request.logprobs.map(|_| logits.to_vec());
        self.keep_from_ending(logits);
        let allowed = self.matching.as_mut().map(Matching::allowed).transpose()?;
        let id = self.sampler.sample(logits, allowed.as_ref())?;
        let logprobs = self.request.logprobs.zip(before).map(|(top, before)| TokenLogprobs::of(&before, id, top));
        self.progress.push(id);
        self.counts.completion += 1;
        let (tokenizer, ending) = (&self.descriptor.tokenizer, &self.request.ending);
        let is_silent = tokenizer.is_control(id) && self.request.control_tokens == Shown::No;
        let bytes = if is_silent { &[] } else { tokenizer.bytes(id) };
        if self.ends(id) {
            if ending.shown == Shown::Yes {
                self.answer.add(id, bytes, logprobs);
            }
            return Ok(Some(FinishReason::Stop));
        }
        if self.progress.generated() <= ending.tokens_min {
            self.answer.add(id, bytes, logprobs);
        } else if let Some(which) = self.answer.push(id, bytes, logprobs) {
            return Ok(Some(FinishReason::StopString(which)));
        }
        if let Some(matching) = &mut self.matching {
            matching.take(id)?;
            if matching.is_complete() {
                return Ok(Some(FinishReason::Stop));
            }
        }
        Ok((self.progress.generated() >= self.bound()).then_some(FinishReason::Length))
    }

    /// Whether a token ends an answer.
    fn ends(&self, id: u32) -> bool {
        let ends_texts = self.request.end == End::Honoured && self.descriptor.tokenizer.is_end(id);
        ends_texts || self.request.ending.tokens.binary_search(&id).is_ok()
    }

    /// Has no token drawn that would end the answer before it may.
    fn keep_from_ending(&self, logits: &mut [f32]) {
        let ending = &self.request.ending;
        if self.progress.generated() >= ending.tokens_min {
            return;
        }
        let of_texts = self.descriptor.tokenizer.ends().filter(|_| self.request.end == End::Honoured);
        for id in of_texts.chain(ending.tokens.iter().copied()) {
            if let Some(logit) = logits.get_mut(id as usize) {
                *logit = f32::NEG_INFINITY;
            }
        }
    }
}
