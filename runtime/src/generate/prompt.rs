//! What was asked, as token ids that fit the model.

use std::sync::Arc;

use models::Descriptor;
use models::contexts::ContextSource;
use models::generation::{Echo, GenerationRequest};
use models::plan::Pooling;
use models::template::{Extras, Message, TemplateError};
use models::tokenizer::{Special, Start};

use super::{Preparation, bound};
use crate::config::Overlong;
use crate::contexts::{Context, param_of};
use crate::grammars::Compiled;
use crate::http::error::ApiError;
use crate::http::wire::{ChatOptions, Common, PromptInput, Urgency, conversation_bytes};
use crate::limits::{ANSWER_TOKENS_ASSUMED, ANSWER_TOKENS_MAX, TOKEN_BYTES_ASSUMED};
use crate::loading::LoadError;
use crate::tenancy::Asker;

/// A request as the wire gave it, before its model is known to exist.
pub(crate) struct Asked {
    pub(crate) id: String,
    pub(crate) asker: Asker,
    /// What the body and the header together say.
    pub(crate) urgency: Urgency,
    pub(crate) common: Common,
    pub(crate) prompt: Prompt,
    pub(crate) echo: Echo,
}

/// What to go on from.
#[derive(Debug)]
pub(crate) enum Prompt {
    /// A conversation, and what it has beside its messages.
    Messages(Vec<Message>, Box<ChatOptions>),
    /// Texts or ids, each a prompt of its own.
    Raw(Vec<PromptInput>, Special),
}

impl Asked {
    /// About how many tokens it takes, prompts and answers: exact for answers that it bounds, unless they may be cut.
    pub(super) fn tokens_estimated(&self) -> u64 {
        let (of_prompts, prompts) = match &self.prompt {
            Prompt::Messages(messages, options) => {
                let bytes = conversation_bytes(messages, options);
                (bytes.div_ceil(TOKEN_BYTES_ASSUMED) as u64, 1)
            }
            Prompt::Raw(inputs, _) => (inputs.iter().map(PromptInput::tokens_estimated).sum(), inputs.len()),
        };
        let answers = prompts.saturating_mul(self.common.choices);
        let most = self.common.tokens_max.unwrap_or(ANSWER_TOKENS_ASSUMED);
        let most = match self.common.overlong {
            Overlong::Refuse => most,
            // It may be more than there is room for, and says little of an answer's length.
            Overlong::Cut => most.min(ANSWER_TOKENS_ASSUMED),
        };
        let of_answers = most.saturating_mul(answers);
        of_prompts.saturating_add(of_answers as u64)
    }

    /// Tokenizes, and checks what only the model can tell. Takes as long as the text is.
    pub(super) fn encode(
        self,
        compiled: Option<Compiled>,
        preparation: &Preparation<'_>,
    ) -> Result<GenerationRequest, ApiError> {
        let descriptor = preparation.descriptor;
        let context = self.common.context_max.unwrap_or(usize::MAX).min(preparation.positions_max);
        check_is_decoder(descriptor)?;
        if compiled.as_ref().is_some_and(|compiled| compiled.identity != *descriptor.identity()) {
            return Err(ApiError::load_failed(LoadError::Replaced));
        }
        self.common.check_vocabulary(descriptor.tokenizer.len())?;
        let param = match &self.prompt {
            Prompt::Messages(..) => "messages",
            Prompt::Raw(..) => "prompt",
        };
        let (tokens_max, overlong) = (self.common.tokens_max, self.common.overlong);
        let limits = Limits { context, tokens_max, overlong, param };
        let named = self.common.context.as_deref();
        let named = named.map(|name| preparation.contexts.of_model(name, &preparation.name)).transpose()?;
        let prompts = match self.prompt {
            Prompt::Messages(messages, options) => {
                let messages = behind_messages(named.as_deref(), messages, preparation)?;
                vec![limits.checked(encode_chat((&messages, &options), descriptor, &limits)?)?]
            }
            Prompt::Raw(inputs, special) => {
                let before = named.map(|context| tokens_of(&context, preparation)).transpose()?;
                let start = if before.is_some() { Start::Bare } else { Start::AsModel };
                let before = before.unwrap_or_default();
                let encode = |input| {
                    let own = encode_raw(input, (special, start), descriptor, &limits)?;
                    limits.checked([&before[..], &own].concat())
                };
                inputs.into_iter().map(encode).collect::<Result<_, ApiError>>()?
            }
        };
        limits.check_answers(&prompts, self.common.choices, self.echo)?;
        // Of the prompt that leaves most: each answer ends with the context behind its own.
        let room = context - prompts.iter().map(Vec::len).min().unwrap_or(0);
        Ok(GenerationRequest {
            prompts,
            choices: self.common.choices,
            tokens_max: bound(self.common.tokens_max.map(|most| most.min(room)), self.echo),
            sampling: self.common.sampling,
            grammar: compiled.map(|compiled| compiled.grammar),
            stop: self.common.stop,
            end: self.common.end,
            ending: self.common.ending,
            control_tokens: self.common.control_tokens,
            echo: self.echo,
            logprobs: self.common.logprobs,
            context,
        })
    }
}

/// Refuses encoders, by the path that is theirs.
pub(crate) fn check_is_decoder(descriptor: &Descriptor) -> Result<(), ApiError> {
    let Some(encoder) = descriptor.encoder() else { return Ok(()) };
    Err(ApiError::wrong_model(match encoder.pooling {
        Pooling::Rank(_) => "this model ranks documents and does not go on with texts: use /v1/rerank",
        _ => "this model embeds texts and does not go on with them: use /v1/embeddings",
    }))
}

/// The tokens of a published context. One that is stale was made of other tokens, perhaps, but of the same text.
fn tokens_of(context: &Context, preparation: &Preparation<'_>) -> Result<Arc<[u32]>, ApiError> {
    if context.record.about.key == preparation.context_key() {
        return Ok(Arc::clone(&context.record.tokens));
    }
    encode_context(&preparation.contexts.source(context)?, preparation).map(Into::into)
}

/// A conversation behind the one that a context is.
fn behind_messages(
    context: Option<&Context>,
    messages: Vec<Message>,
    preparation: &Preparation<'_>,
) -> Result<Vec<Message>, ApiError> {
    let Some(context) = context else { return Ok(messages) };
    match preparation.contexts.source(context)? {
        ContextSource::Messages(before) => Ok([before, messages].concat()),
        ContextSource::Text(_) => {
            Err(ApiError::invalid_value("context", "is a text, which completions go on from, and no conversation"))
        }
    }
}

/// Tokens of a context that leave room for one more. Of messages, those that the template begins with whatever a user says
/// next: what two different next messages make it begin with alike.
pub(crate) fn encode_context(source: &ContextSource, preparation: &Preparation<'_>) -> Result<Vec<u32>, ApiError> {
    let descriptor = preparation.descriptor;
    check_is_decoder(descriptor)?;
    let (context, param) = (preparation.positions_max, param_of(source));
    let limits = Limits { context, tokens_max: None, overlong: Overlong::Refuse, param };
    match source {
        ContextSource::Text(text) => {
            let input = PromptInput::Text(text.clone());
            let tokens = encode_raw(input, (Special::Parsed, Start::AsModel), descriptor, &limits)?;
            limits.checked(tokens)
        }
        ContextSource::Messages(messages) => {
            let followed_by = |said: &str| {
                let next = Message { role: "user".to_owned(), content: said.to_owned(), ..Message::default() };
                let messages = [&messages[..], &[next]].concat();
                let tokens = encode_chat((&messages, &ChatOptions::default()), descriptor, &limits)?;
                limits.checked(tokens)
            };
            let (mut tokens, other) = (followed_by("a")?, followed_by("1")?);
            let alike = tokens.iter().zip(&other).take_while(|(one, other)| one == other).count();
            tokens.truncate(alike);
            Ok(tokens)
        }
    }
}

struct Limits {
    context: usize,
    tokens_max: Option<usize>,
    overlong: Overlong,
    /// The field that texts came in.
    param: &'static str,
}

impl Limits {
    /// Tokens of an answer that there has to be room for.
    fn needed(&self) -> usize {
        let asked = self.tokens_max.unwrap_or(1);
        match self.overlong {
            Overlong::Refuse => asked,
            Overlong::Cut => asked.min(1),
        }
    }

    /// A prompt that has a token and leaves room for what is asked.
    fn checked(&self, prompt: Vec<u32>) -> Result<Vec<u32>, ApiError> {
        if prompt.is_empty() {
            return Err(ApiError::invalid_value(self.param, "it has no tokens".to_owned()));
        }
        if prompt.len().saturating_add(self.needed()) > self.context {
            return Err(self.exceeded(prompt.len()));
        }
        Ok(prompt)
    }

    /// Refuses more answers than can be kept for a client.
    fn check_answers(&self, prompts: &[Vec<u32>], choices: usize, echo: Echo) -> Result<(), ApiError> {
        let answer = |prompt: &Vec<u32>| {
            let room = self.context - prompt.len();
            let generated = self.tokens_max.map_or(room, |most| most.min(room));
            if echo == Echo::Prompt { generated + prompt.len() } else { generated }
        };
        let tokens = prompts.iter().map(answer).sum::<usize>().saturating_mul(choices);
        if tokens > ANSWER_TOKENS_MAX {
            let why = format_args!("all answers together may have {ANSWER_TOKENS_MAX} tokens, {tokens} were asked for");
            return Err(ApiError::invalid_value("n", why));
        }
        Ok(())
    }

    fn exceeded(&self, tokens: usize) -> ApiError {
        let (asked, context) = (self.needed(), self.context);
        let why = match context.checked_sub(tokens) {
            // Anthropic's clients know it by these words, which are as good as others. It is counted no further than needed.
            None | Some(0) => {
                format!(
                    "prompt is too long: at least {} tokens > {context} maximum of the context, what is needed of an answer included",
                    tokens + asked.min(1)
                )
            }
            Some(room) => {
                format!("the prompt has {tokens} tokens and {asked} were asked for: the context has room for {room}")
            }
        };
        ApiError::context_length_exceeded(self.param, why)
    }

    /// Refuses a text that cannot fit before it is tokenized: a token has only so many bytes.
    fn checked_bytes(&self, bytes: usize, descriptor: &Descriptor) -> Result<(), ApiError> {
        let tokens = bytes / descriptor.tokenizer.token_bytes_max().max(1);
        if tokens > self.context {
            return Err(self.exceeded(tokens));
        }
        Ok(())
    }
}

fn encode_chat(
    (messages, options): (&[Message], &ChatOptions),
    descriptor: &Descriptor,
    limits: &Limits,
) -> Result<Vec<u32>, ApiError> {
    let template = descriptor.template.as_ref().ok_or_else(no_template)?;
    limits.checked_bytes(conversation_bytes(messages, options), descriptor)?;
    let extras = options.extras_for(template)?;
    let encoded = template.encode_with(messages, &extras, &descriptor.tokenizer, limits.context);
    encoded.map_err(|error| conversation_error(error, (options, &extras)))
}

/// What a template says of a conversation that it was given `extras` for, made of `options`: it does well without them, or
/// has never done.
pub(crate) fn conversation_error(error: TemplateError, (options, extras): (&ChatOptions, &Extras)) -> ApiError {
    let param = match (&error, options.thinking.first()) {
        (TemplateError::Failed(_), _) if !options.extras.values.is_empty() => "chat_template_kwargs",
        (TemplateError::Failed(_), Some(wish)) if !extras.values.is_empty() => wish.param,
        (TemplateError::Failed(_), _) if !extras.tools.is_empty() => "tools",
        _ => return template_error(error),
    };
    ApiError::invalid_value(param, "the model's chat template fails with it")
}

/// What a conversation with a model means that cannot have any.
pub(crate) fn no_template() -> ApiError {
    let why = "this model has no chat template: it is a base model; use /v1/completions, or choose a template for it \
               under [chat_templates] in the configuration";
    ApiError::invalid_value("model", why)
}

/// What a template says of a conversation that does not become a prompt.
pub(crate) fn template_error(error: TemplateError) -> ApiError {
    match error {
        TemplateError::Refused { message } => ApiError::invalid_value("messages", message),
        TemplateError::NoMark | TemplateError::Unshown => ApiError::invalid_value("messages", error.to_string()),
        // Where it failed is told, and not what it failed at, which may be quoted from the messages.
        TemplateError::Budget(failed) => {
            let place = failed.and_then(|failed| failed.line()).unwrap_or(0);
            ApiError::template_budget(format!("in line {place} of the template"))
        }
        TemplateError::Failed(failed) => {
            let (kind, place) = (failed.kind(), failed.line().unwrap_or(0));
            ApiError::internal(format!("the model's chat template failed in line {place}: {kind}"))
        }
        TemplateError::Tokenize(error) => ApiError::internal(error.to_string()),
    }
}

fn encode_raw(
    input: PromptInput,
    (special, start): (Special, Start),
    descriptor: &Descriptor,
    limits: &Limits,
) -> Result<Vec<u32>, ApiError> {
    match input {
        PromptInput::Text(text) => {
            limits.checked_bytes(text.len(), descriptor)?;
            let tokenizer = &descriptor.tokenizer;
            tokenizer.encode_up_to(&text, special, start, limits.context).map_err(ApiError::internal)
        }
        PromptInput::Ids(ids) => match ids.iter().find(|&&id| id as usize >= descriptor.tokenizer.len()) {
            Some(id) => Err(ApiError::invalid_value("prompt", format!("{id} is not a token of this model"))),
            None => Ok(ids),
        },
    }
}
