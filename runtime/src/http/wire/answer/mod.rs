//! Answers as bodies and events, in OpenAI's shapes.
//!
//! An [`AnswerWriter`] is made once for a request; each of its methods gives one JSON text on one line, which is a
//! response's body or the data of one event.
//!
//! Invariants: every chunk of a stream carries the same head; where a stream ends with its usage, every chunk before
//! says `"usage": null`, or the usage so far: of tokens that were told, without those that end an answer or were cut off it.
//! The receipt, `dayfly`, stands where the usage is settled.
//!
//! Deliberately absent: the framing of events, and `[DONE]`.

mod chat;
mod collector;
mod completion;
mod reader;

use std::time::{SystemTime, UNIX_EPOCH};

use models::generation::{FinishReason, Output};
use models::reading::AnswerReader;
use models::tokenizer::Tokenizer;
use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

use super::urgency::Tier;
use super::{Common, Delivery, IncludeUsage, TokenNames};
pub(crate) use collector::{Choice, Collector};
pub(crate) use reader::{ChoiceReader, Part, Parts, ShownCall};

/// What made an answer: with another, a seed may give another text.
const FINGERPRINT: &str = concat!("dayfly-", env!("CARGO_PKG_VERSION"));

/// What every part of an answer repeats.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct AnswerHead {
    /// `chatcmpl-…` or `cmpl-…`; the receipt is found by it.
    pub(crate) id: String,
    /// When the request came, in seconds since 1970.
    #[serde(rename = "created")]
    pub(crate) created_unix_s: u64,
    /// The model as the request names it.
    pub(crate) model: String,
    /// The service tier, where the request asks for one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) service_tier: Option<&'static str>,
}

/// Which of the two shapes an answer has.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Form {
    /// `/v1/chat/completions`.
    Chat,
    /// `/v1/completions`.
    Completion,
}

/// Token counts of an answer.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Usage {
    /// Tokens of all prompts, those found in a cache included.
    pub(crate) prompt: u64,
    /// Those of them that were found in a cache.
    pub(crate) cached: u64,
    /// Tokens generated.
    pub(crate) completion: u64,
    /// Tokens computed ahead because they might be what follows.
    pub(crate) drafted: u64,
    /// Those of them that were generated then.
    pub(crate) accepted_draft: u64,
}

/// Writes one request's answer.
#[derive(Clone, Debug)]
pub(crate) struct AnswerWriter {
    head: AnswerHead,
    form: Form,
    scores: Scores,
    include_usage: IncludeUsage,
    /// What was used so far, where every chunk tells that.
    usage: Usage,
    /// Reads a chat's answers, where they may be more than text.
    reader: Option<AnswerReader>,
}

/// Whether log-probabilities are shown.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Scores {
    Shown(TokenNames),
    Hidden,
}

impl AnswerHead {
    /// The head of an answer to a request that comes now.
    pub(crate) fn new(form: Form, request: &Common) -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            id: format!("{}-{}", form.id_prefix(), Uuid::now_v7().simple()),
            created_unix_s: since.as_secs(),
            model: request.model.clone(),
            service_tier: request.urgency.tier.map(Tier::name),
        }
    }
}

impl Form {
    fn id_prefix(self) -> &'static str {
        match self {
            Self::Chat => "chatcmpl",
            Self::Completion => "cmpl",
        }
    }

    fn whole_object(self) -> &'static str {
        match self {
            Self::Chat => "chat.completion",
            Self::Completion => "text_completion",
        }
    }

    fn chunk_object(self) -> &'static str {
        match self {
            Self::Chat => "chat.completion.chunk",
            Self::Completion => "text_completion",
        }
    }
}

impl Serialize for Usage {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Fields {
            prompt_tokens: u64,
            completion_tokens: u64,
            total_tokens: u64,
            prompt_tokens_details: Details,
            /// Where there were any.
            #[serde(skip_serializing_if = "Option::is_none")]
            completion_tokens_details: Option<Predictions>,
        }
        #[derive(Serialize)]
        struct Details {
            cached_tokens: u64,
        }
        #[derive(Serialize)]
        struct Predictions {
            accepted_prediction_tokens: u64,
            rejected_prediction_tokens: u64,
        }
        let predictions = Predictions {
            accepted_prediction_tokens: self.accepted_draft,
            rejected_prediction_tokens: self.drafted.saturating_sub(self.accepted_draft),
        };
        let fields = Fields {
            prompt_tokens: self.prompt,
            completion_tokens: self.completion,
            total_tokens: self.prompt.saturating_add(self.completion),
            prompt_tokens_details: Details { cached_tokens: self.cached },
            completion_tokens_details: (self.drafted > 0).then_some(predictions),
        };
        fields.serialize(serializer)
    }
}

impl AnswerWriter {
    /// The writer of the answer to `request`.
    pub(crate) fn new(head: AnswerHead, form: Form, request: &Common) -> Self {
        let include_usage = match request.delivery {
            Delivery::Whole => IncludeUsage::No,
            Delivery::Streamed { include_usage, .. } => include_usage,
        };
        let scores = if request.logprobs.is_some() { Scores::Shown(request.token_names) } else { Scores::Hidden };
        Self { head, form, scores, include_usage, usage: Usage::default(), reader: None }
    }

    /// Has a chat's answers read for thoughts and calls.
    pub(crate) fn read_by(&mut self, reader: AnswerReader) {
        self.reader = Some(reader);
    }

    /// Takes note of what was used so far: of so many tokens of prompts.
    pub(crate) fn count_prompt(&mut self, tokens: u64) {
        self.usage.prompt = tokens;
    }

    /// Takes note of a piece's tokens, where they come with it.
    pub(crate) fn count_piece(&mut self, output: &Output) {
        self.usage.completion += output.span.tokens.len() as u64;
    }

    /// What reads the pieces of one answer; none where they are text alone.
    pub(crate) fn reader(&self) -> Option<ChoiceReader> {
        self.reader.clone().map(|reader| ChoiceReader::new(reader, "call"))
    }

    /// What a stream begins with for each answer: the assistant's role. Completions begin with their text.
    pub(crate) fn first_chunk(&self, choice: usize) -> Option<String> {
        match self.form {
            Form::Chat => Some(self.chunk_of(chat::opening(choice))),
            Form::Completion => None,
        }
    }

    /// A piece of an answer.
    pub(crate) fn chunk(&self, output: &Output, tokenizer: &Tokenizer) -> String {
        match self.form {
            Form::Chat => self.chunk_of(chat::piece(output, self.scores, tokenizer)),
            Form::Completion => self.chunk_of(completion::piece(output, self.scores, tokenizer)),
        }
    }

    /// A piece of an answer that is read: any number of chunks.
    pub(crate) fn read_chunks(&self, output: &Output, reader: &mut ChoiceReader, tokenizer: &Tokenizer) -> Vec<String> {
        let shown = reader.read(output);
        chat::parts(output, shown, self.scores, tokenizer).into_iter().map(|choice| self.chunk_of(choice)).collect()
    }

    /// What a stream ends with where the request asked for its usage: usage and receipt, and no choice.
    pub(crate) fn usage_chunk(&self, usage: Usage, receipt: &Value) -> String {
        self.part(self.form.chunk_object(), [(); 0], Settled { usage, dayfly: receipt })
    }

    /// An answer in one piece, with its usage and receipt.
    pub(crate) fn whole(&self, choices: &[Choice], settled: (Usage, &Value), tokenizer: &Tokenizer) -> String {
        let (object, settled) = (self.form.whole_object(), Settled { usage: settled.0, dayfly: settled.1 });
        match self.form {
            Form::Chat => {
                let read = |choice| self.reader().map_or_else(|| Parts::of_text(choice), |reader| reader.whole(choice));
                let parts: Vec<Parts> = choices.iter().map(read).collect();
                self.part(object, chat::whole(choices, &parts, self.scores, tokenizer), settled)
            }
            Form::Completion => self.part(object, completion::whole(choices, self.scores, tokenizer), settled),
        }
    }

    fn chunk_of(&self, choice: impl Serialize) -> String {
        let usage = match self.include_usage {
            IncludeUsage::Continuous => Some(Some(self.usage)),
            IncludeUsage::Yes => Some(None),
            IncludeUsage::No => None,
        };
        self.part(self.form.chunk_object(), [choice], ToCome { usage })
    }

    fn part(&self, object: &'static str, choices: impl Serialize, end: impl Serialize) -> String {
        let part = Written { head: &self.head, object, system_fingerprint: FINGERPRINT, choices, end };
        serde_json::to_string(&part).expect("strings, numbers and maps with names are always JSON")
    }
}

#[derive(Serialize)]
struct Written<'a, C, E> {
    #[serde(flatten)]
    head: &'a AnswerHead,
    object: &'static str,
    system_fingerprint: &'static str,
    choices: C,
    #[serde(flatten)]
    end: E,
}

/// `"usage": null`, the usage so far, or nothing.
#[derive(Serialize)]
struct ToCome {
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Option<Usage>>,
}

#[derive(Serialize)]
struct Settled<'a> {
    usage: Usage,
    dayfly: &'a Value,
}

fn finish_name(finish: FinishReason) -> &'static str {
    match finish {
        FinishReason::Stop | FinishReason::StopString(_) => "stop",
        FinishReason::Length => "length",
    }
}

/// What a token is called: by its text, as `of_text` has it, or by its id.
fn token_name(id: u32, names: TokenNames, of_text: impl FnOnce() -> String) -> String {
    match names {
        TokenNames::Texts => of_text(),
        TokenNames::Ids => format!("token_id:{id}"),
    }
}

/// A log-probability as JSON can say it: what has no chance at all gets the number that OpenAI gives it.
fn sayable(logprob: f32) -> f32 {
    logprob.max(-9999.0)
}

#[cfg(test)]
mod tests;
