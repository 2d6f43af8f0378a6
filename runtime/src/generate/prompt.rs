//! What was asked, as token ids that fit the model.

use std::sync::Arc;

use models::Descriptor;
use models::generation::{Echo, GenerationRequest};
use models::plan::Pooling;
use models::template::{Message, TemplateError};
use models::tokenizer::{Special, Start};

use super::bound;
use crate::http::error::ApiError;
use crate::http::wire::{Common, PromptInput, Urgency};
use crate::limits::ANSWER_TOKENS_MAX;

/// A request as the wire gave it, before its model is known to exist.
pub(crate) struct Asked {
    pub(crate) id: String,
    pub(crate) tenant: Arc<str>,
    /// What the body and the header together say.
    pub(crate) urgency: Urgency,
    pub(crate) common: Common,
    pub(crate) prompt: Prompt,
    pub(crate) echo: Echo,
}

/// What to go on from.
pub(crate) enum Prompt {
    /// A conversation.
    Messages(Vec<Message>),
    /// Texts or ids, each a prompt of its own.
    Raw(Vec<PromptInput>, Special),
}

impl Asked {
    /// Tokenizes, and checks what only the model can tell. Takes as long as the text is.
    pub(super) fn encode(self, descriptor: &Descriptor, context: usize) -> Result<GenerationRequest, ApiError> {
        if let Some(encoder) = descriptor.encoder() {
            return Err(ApiError::wrong_model(match encoder.pooling {
                Pooling::Rank(_) => "this model ranks documents and does not go on with texts: use /v1/rerank",
                _ => "this model embeds texts and does not go on with them: use /v1/embeddings",
            }));
        }
        self.common.check_vocabulary(descriptor.tokenizer.len())?;
        let limits = Limits { context, tokens_max: self.common.tokens_max };
        let prompts = match self.prompt {
            Prompt::Messages(messages) => {
                vec![limits.checked(encode_chat(&messages, descriptor, &limits)?, "messages")?]
            }
            Prompt::Raw(inputs, special) => inputs
                .into_iter()
                .map(|input| limits.checked(encode_raw(input, special, descriptor, &limits)?, "prompt"))
                .collect::<Result<_, _>>()?,
        };
        limits.check_answers(&prompts, self.common.choices, self.echo)?;
        Ok(GenerationRequest {
            prompts,
            choices: self.common.choices,
            tokens_max: bound(self.common.tokens_max),
            sampling: self.common.sampling,
            stop: self.common.stop,
            end: self.common.end,
            echo: self.echo,
            logprobs: self.common.logprobs,
            context,
        })
    }
}

struct Limits {
    context: usize,
    tokens_max: Option<usize>,
}

impl Limits {
    /// A prompt that has a token and leaves room for what is asked.
    fn checked(&self, prompt: Vec<u32>, param: &'static str) -> Result<Vec<u32>, ApiError> {
        if prompt.is_empty() {
            return Err(ApiError::invalid_value(param, "it has no tokens".to_owned()));
        }
        let asked = self.tokens_max.unwrap_or(1);
        if prompt.len().saturating_add(asked) > self.context {
            return Err(self.exceeded(param, prompt.len()));
        }
        Ok(prompt)
    }

    /// Refuses more answers than can be kept for a client.
    fn check_answers(&self, prompts: &[Vec<u32>], choices: usize, echo: Echo) -> Result<(), ApiError> {
        let answer = |prompt: &Vec<u32>| {
            let generated = self.tokens_max.unwrap_or(self.context - prompt.len());
            if echo == Echo::Prompt { generated + prompt.len() } else { generated }
        };
        let tokens = prompts.iter().map(answer).sum::<usize>().saturating_mul(choices);
        if tokens > ANSWER_TOKENS_MAX {
            let why = format_args!("all answers together may have {ANSWER_TOKENS_MAX} tokens, {tokens} were asked for");
            return Err(ApiError::invalid_value("n", why));
        }
        Ok(())
    }

    fn exceeded(&self, param: &'static str, tokens: usize) -> ApiError {
        let (asked, context) = (self.tokens_max.unwrap_or(1), self.context);
        let why = format_args!(
            "the prompt has {tokens} tokens or more and {asked} were asked for; the context has {context}"
        );
        ApiError::context_length_exceeded(param, why)
    }

    /// Refuses a text that cannot fit before it is tokenized: a token has only so many bytes.
    fn checked_bytes(&self, bytes: usize, descriptor: &Descriptor, param: &'static str) -> Result<(), ApiError> {
        let tokens = bytes / descriptor.tokenizer.token_bytes_max().max(1);
        if tokens > self.context {
            return Err(self.exceeded(param, tokens));
        }
        Ok(())
    }
}

fn encode_chat(messages: &[Message], descriptor: &Descriptor, limits: &Limits) -> Result<Vec<u32>, ApiError> {
    let Some(template) = &descriptor.template else {
        let why =
            "this model has no chat template: it is a base model; use /v1/completions, or choose a template for it \
                   under [chat_templates] in the configuration"
                .to_owned();
        return Err(ApiError::invalid_value("model", why));
    };
    let bytes = messages.iter().map(|message| message.content.len()).sum();
    limits.checked_bytes(bytes, descriptor, "messages")?;
    template.encode(messages, &descriptor.tokenizer, limits.context).map_err(|error| match error {
        TemplateError::Refused { message } => ApiError::invalid_value("messages", message),
        TemplateError::NoMark => ApiError::invalid_value("messages", error.to_string()),
        TemplateError::Budget(_) => ApiError::template_budget(error),
        TemplateError::Failed(_) | TemplateError::Tokenize(_) => ApiError::internal(error),
    })
}

fn encode_raw(
    input: PromptInput,
    special: Special,
    descriptor: &Descriptor,
    limits: &Limits,
) -> Result<Vec<u32>, ApiError> {
    match input {
        PromptInput::Text(text) => {
            limits.checked_bytes(text.len(), descriptor, "prompt")?;
            let tokenizer = &descriptor.tokenizer;
            tokenizer.encode_up_to(&text, special, Start::AsModel, limits.context).map_err(ApiError::internal)
        }
        PromptInput::Ids(ids) => match ids.iter().find(|&&id| id as usize >= descriptor.tokenizer.len()) {
            Some(id) => Err(ApiError::invalid_value("prompt", format!("{id} is not a token of this model"))),
            None => Ok(ids),
        },
    }
}
