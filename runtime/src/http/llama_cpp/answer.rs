//! The answers of `/completion`: objects, or events that end with one for each answer.

use meter::Receipt;
use meter::receipt::AnsweredFrom;
use models::generation::{FinishReason, Output, ScoredToken};
use models::sampling::Reach;
use models::tokenizer::Tokenizer;
use serde_json::{Value, json};

use super::request::{CompletionRequest, ShownProbabilities, ShownTokens};
use crate::http::error::ApiError;
use crate::http::error::envelope::Envelope;
use crate::http::scores::{Ids, scores};
use crate::http::stream::{Dialect, push_event};
use crate::http::wire::answer::Choice;
use crate::http::wire::{Common, PromptInput};

/// The answers to one request.
pub(super) struct LlamaCppAnswer {
    /// As asked: what `generation_settings` tells again.
    common: Common,
    prompts: Vec<PromptInput>,
    tokens: ShownTokens,
    probabilities: ShownProbabilities,
    response_fields: Vec<String>,
    prompt_tokens: u64,
    /// Of each answer, as far as it was streamed.
    streamed: Vec<Streamed>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Streamed {
    tokens: usize,
    has_new_line: bool,
    finish: Option<FinishReason>,
}

impl LlamaCppAnswer {
    pub(super) fn new(request: &CompletionRequest) -> Self {
        let answers = request.prompts.len().saturating_mul(request.common.choices);
        Self {
            common: request.common.clone(),
            prompts: request.prompts.clone(),
            tokens: request.tokens,
            probabilities: request.probabilities,
            response_fields: request.response_fields.clone(),
            prompt_tokens: 0,
            streamed: vec![Streamed::default(); answers],
        }
    }

    /// What an answer ends with: all but its text, which is there or was streamed. Counts and times are of all answers; what is
    /// the same for all stands in the first, and a prompt in the first of its own, since there may be very many.
    fn last(
        &self,
        (index, finish): (usize, Option<FinishReason>),
        receipt: &Receipt,
        tokenizer: Option<&Tokenizer>,
    ) -> Value {
        let (kind, word) = match finish {
            Some(FinishReason::Length) => ("limit", ""),
            Some(FinishReason::StopString(which)) => ("word", self.common.stop.get(which).map_or("", String::as_str)),
            Some(FinishReason::Stop) | None => ("eos", ""),
        };
        let mut told = json!({
            "index": index,
            "content": "",
            "tokens": [],
            "id_slot": -1,
            "stop": true,
            "model": self.common.model,
            "tokens_predicted": receipt.tokens.completion,
            "tokens_evaluated": receipt.tokens.prompt,
            "tokens_cached": receipt.tokens.cached,
            "truncated": false,
            "stop_type": kind,
            "stopping_word": word,
        });
        if index == 0 {
            told["generation_settings"] = self.settings();
            told["timings"] = timings(receipt);
            told["dayfly"] = json!(receipt);
        }
        if index.is_multiple_of(self.common.choices) {
            told["prompt"] = self.prompt_text(index, tokenizer);
        }
        told
    }

    fn settings(&self) -> Value {
        let Common { sampling, stop, tokens_max, .. } = &self.common;
        json!({
            "n_predict": tokens_max.map_or(json!(-1), |tokens| json!(tokens)),
            "seed": sampling.seed,
            "temperature": sampling.temperature,
            "top_k": sampling.top_k,
            "top_p": sampling.top_p,
            "min_p": sampling.min_p,
            "repeat_last_n": match sampling.reach {
                Reach::Last(tokens) if tokens < usize::MAX => json!(tokens),
                Reach::Last(_) | Reach::Whole => json!(-1),
            },
            "repeat_penalty": sampling.repetition_penalty,
            "presence_penalty": sampling.presence_penalty,
            "frequency_penalty": sampling.frequency_penalty,
            "stop": stop,
        })
    }

    /// The prompt as it was given; ids as their text, where that can be told.
    fn prompt_text(&self, index: usize, tokenizer: Option<&Tokenizer>) -> Value {
        match (self.prompts.get(index / self.common.choices), tokenizer) {
            (Some(PromptInput::Text(text)), _) => json!(text),
            (Some(PromptInput::Ids(ids)), Some(tokenizer)) => json!(tokenizer.decode(ids)),
            _ => Value::Null,
        }
    }

    /// What was asked for of an answer's end, each by the path that it was asked for by.
    fn only_asked(&self, told: Value) -> Value {
        if self.response_fields.is_empty() {
            return told;
        }
        let found = |path: &String| Some((path.clone(), told.pointer(&format!("/{path}"))?.clone()));
        Value::Object(self.response_fields.iter().filter_map(found).collect())
    }

    fn show(&self, told: &mut Value, tokens: &[ScoredToken], tokenizer: &Tokenizer) {
        if self.tokens == ShownTokens::Yes {
            told["tokens"] = tokens.iter().map(|token| token.id).collect();
        }
        if self.probabilities == ShownProbabilities::Yes {
            told["completion_probabilities"] = json!(scores(tokens, tokenizer, Ids::Told));
        }
    }
}

impl Dialect for LlamaCppAnswer {
    fn answers(&self) -> usize {
        self.streamed.len()
    }

    fn begin(&mut self, prompt_tokens: u64) -> String {
        self.prompt_tokens = prompt_tokens;
        String::new()
    }

    fn piece(&mut self, output: &Output, tokenizer: &Tokenizer) -> String {
        let Output { choice, span, finish } = output;
        let streamed = &mut self.streamed[*choice];
        streamed.tokens += span.tokens.len();
        streamed.has_new_line |= span.text.contains('\n');
        streamed.finish = finish.or(streamed.finish);
        if span.is_empty() {
            return String::new();
        }
        let mut told = json!({
            "index": choice,
            "content": span.text,
            "tokens": [],
            "stop": false,
            "id_slot": -1,
            "tokens_predicted": streamed.tokens,
            "tokens_evaluated": self.prompt_tokens,
        });
        self.show(&mut told, &span.tokens, tokenizer);
        let mut text = String::new();
        push_event(&mut text, &told.to_string());
        text
    }

    fn end(&mut self, receipt: &Receipt) -> String {
        let mut text = String::new();
        for (index, streamed) in self.streamed.iter().enumerate() {
            let mut told = self.last((index, streamed.finish), receipt, None);
            told["has_new_line"] = json!(streamed.has_new_line);
            push_event(&mut text, &self.only_asked(told).to_string());
        }
        text
    }

    fn failed(&mut self, error: &ApiError) -> String {
        let mut text = String::new();
        push_event(&mut text, &error.told(Envelope::LlamaCpp).to_string());
        text
    }

    fn whole(&mut self, choices: &[Choice], receipt: &Receipt, tokenizer: &Tokenizer) -> String {
        let whole = |(index, Choice { span, finish }): (usize, &Choice)| {
            let mut told = self.last((index, *finish), receipt, Some(tokenizer));
            told["content"] = json!(span.text);
            told["has_new_line"] = json!(span.text.contains('\n'));
            self.show(&mut told, &span.tokens, tokenizer);
            self.only_asked(told)
        };
        let mut told: Vec<Value> = choices.iter().enumerate().map(whole).collect();
        match told.len() {
            1 => told.remove(0).to_string(),
            _ => Value::Array(told).to_string(),
        }
    }
}

/// Of all answers together: what of the prompts was computed, and what was drawn.
fn timings(receipt: &Receipt) -> Value {
    let prompts = match receipt.method.answered_from {
        AnsweredFrom::Model => receipt.tokens.prompt - receipt.tokens.cached,
        AnsweredFrom::ResponseCache => 0,
    };
    let mut timings = json!({ "cache_n": receipt.tokens.cached });
    for (name, tokens, nanos) in [
        ("prompt", prompts, receipt.times.prefill_ns),
        ("predicted", receipt.tokens.completion, receipt.times.decode_ns),
    ] {
        let millis = std::time::Duration::from(nanos).as_secs_f64() * 1e3;
        #[expect(clippy::cast_precision_loss, reason = "counts of tokens stay far below 2^52")]
        let count = tokens as f64;
        timings[format!("{name}_n")] = json!(tokens);
        timings[format!("{name}_ms")] = json!(millis);
        // Of nothing there is no mean, and JSON has no infinity.
        timings[format!("{name}_per_token_ms")] = json!((tokens > 0).then(|| millis / count));
        timings[format!("{name}_per_second")] = json!((millis > 0.0).then(|| count * 1e3 / millis));
    }
    timings
}
