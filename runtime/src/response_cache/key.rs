//! What an answer is found by.
//!
//! SHA-256 over all that decides the answer, written so that no two requests are written alike: numbers in eight bytes,
//! texts after their lengths, alternatives after their number. Every field of a request is named here, so that one that
//! is new does not compile before somebody has decided whether it is of the key.

use loader::ArtifactIdentity;
use models::generation::{Echo, End, Ending, Shown};
use models::grammar::CallNumber;
use models::sampling::{Reach, Sampling};
use models::template::{Extras, Message, ToolCall, Turn};
use models::tokenizer::Special;
use sha2::{Digest as _, Sha256};

use crate::config::Overlong;
use crate::generate::{Asked, Prompt};
use crate::http::wire::{ChatOptions, Common, Constraint, PromptInput, ThinkingLevel, ToolChoice};

/// The digest of a request, of the model that it names and of who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key([u8; 32]);

/// The model that a request's name stands for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Served<'a> {
    /// Its true name.
    pub(crate) model: &'a str,
    /// Its files' version.
    pub(crate) identity: &'a ArtifactIdentity,
    /// The chat template that the operator chose for it.
    pub(crate) template: Option<&'a str>,
    /// The id of the published context that stands before the prompt: a name may come to mean another one.
    pub(crate) context: Option<&'a str>,
}

impl Key {
    /// Of `asked` to `served`. Takes as long as the prompt is.
    pub(crate) fn of(asked: &Asked, served: Served<'_>) -> Self {
        let mut writing = Writing(Sha256::new());
        let Asked { id: _, asker, urgency: _, common, prompt, echo } = asked;
        let tenant = &asker.access.tenant;
        let Served { model, identity, template, context } = served;
        writing.text(tenant);
        writing.text(model);
        identity.words().into_iter().for_each(|word| writing.number(word));
        writing.choice(template, Writing::text);
        writing.choice(context, Writing::text);
        writing.common(common);
        writing.number(match echo {
            Echo::Nothing => 0,
            Echo::Prompt => 1,
        });
        writing.prompt(prompt);
        Self(writing.0.finalize().into())
    }
}

struct Writing(Sha256);

impl Writing {
    fn number(&mut self, number: u64) {
        self.0.update(number.to_le_bytes());
    }

    fn count(&mut self, count: usize) {
        self.number(count as u64);
    }

    fn float(&mut self, float: f32) {
        self.number(float.to_bits().into());
    }

    fn text(&mut self, text: &str) {
        self.count(text.len());
        self.0.update(text);
    }

    fn choice<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Self, T)) {
        self.number(value.is_some().into());
        if let Some(value) = value {
            write(self, value);
        }
    }

    fn list<T>(&mut self, items: &[T], write: impl Fn(&mut Self, &T)) {
        self.count(items.len());
        items.iter().for_each(|item| write(self, item));
    }

    fn common(&mut self, common: &Common) {
        let Common {
            // Its true name counts.
            model: _,
            // Its id counts.
            context: _,
            choices,
            tokens_max,
            context_max,
            overlong,
            sampling,
            constraint,
            stop,
            end,
            ending: Ending { tokens, tokens_min, shown },
            control_tokens,
            logprobs,
            // How and when the answer comes.
            token_names: _,
            delivery: _,
            keep_alive: _,
            urgency: _,
            // Whether it is looked for at all.
            repeats: _,
            cache: _,
        } = common;
        self.count(*choices);
        self.choice(*tokens_max, Self::count);
        self.choice(*context_max, Self::count);
        self.number(match overlong {
            Overlong::Refuse => 0,
            Overlong::Cut => 1,
        });
        self.sampling(sampling);
        self.choice(constraint.as_ref(), |writing, Constraint { source, param: _ }| {
            let (kind, text) = source.canonical();
            writing.text(kind);
            writing.text(&text);
        });
        self.list(stop, |writing, stop| writing.text(stop));
        self.number(match end {
            End::Honoured => 0,
            End::Ignored => 1,
        });
        self.list(tokens, |writing, id| writing.number((*id).into()));
        self.count(*tokens_min);
        for shown in [shown, control_tokens] {
            self.number(match shown {
                Shown::No => 0,
                Shown::Yes => 1,
            });
        }
        self.choice(*logprobs, Self::count);
    }

    fn sampling(&mut self, sampling: &Sampling) {
        let Sampling {
            temperature,
            top_k,
            top_p,
            min_p,
            repetition_penalty,
            presence_penalty,
            frequency_penalty,
            reach,
            logit_bias,
            seed,
        } = sampling;
        self.float(*temperature);
        self.count(*top_k);
        for float in [top_p, min_p, repetition_penalty, presence_penalty, frequency_penalty] {
            self.float(*float);
        }
        let last = match reach {
            Reach::Whole => None,
            Reach::Last(tokens) => Some(*tokens),
        };
        self.choice(last, Self::count);
        self.list(logit_bias, |writing, (id, bias)| {
            writing.number((*id).into());
            writing.float(*bias);
        });
        // Nothing is drawn at temperature 0, and each request that names no seed has one of its own.
        self.choice((*temperature != 0.0).then_some(*seed), Self::number);
    }

    fn prompt(&mut self, prompt: &Prompt) {
        match prompt {
            Prompt::Messages(messages, options) => {
                self.number(0);
                self.list(messages, Self::message);
                self.options(options);
            }
            Prompt::Raw(inputs, special) => {
                self.number(1);
                self.number(match special {
                    Special::Parsed => 0,
                    Special::Plain => 1,
                });
                self.list(inputs, Self::input);
            }
        }
    }

    fn message(&mut self, message: &Message) {
        let Message { role, content, name, tool_calls, tool_call_id, reasoning_content } = message;
        self.text(role);
        self.text(content);
        self.choice(name.as_deref(), Self::text);
        self.list(tool_calls, |writing, ToolCall { id, name, arguments }| {
            [id, name, arguments].into_iter().for_each(|text| writing.text(text));
        });
        self.choice(tool_call_id.as_deref(), Self::text);
        self.choice(reasoning_content.as_deref(), Self::text);
    }

    fn options(&mut self, options: &ChatOptions) {
        let ChatOptions { extras: Extras { tools, values, turn }, choice, number, strict, thinking } = options;
        self.list(tools, |writing, tool| writing.text(&tool.to_json().to_string()));
        self.list(&values.iter().collect::<Vec<_>>(), |writing, (name, value)| {
            writing.text(name);
            writing.text(&value.to_string());
        });
        self.number(match turn {
            Turn::Opened => 0,
            Turn::Unopened => 1,
            Turn::Continued => 2,
        });
        self.choice(matches!(choice, ToolChoice::Required).then_some(()), |_, ()| {});
        let named = if let ToolChoice::Named(name) = choice { Some(name.as_str()) } else { None };
        self.choice(named, Self::text);
        self.number(match number {
            CallNumber::One => 1,
            CallNumber::Several => 2,
        });
        self.list(strict, |writing, name| writing.text(name));
        self.list(thinking, |writing, wish| match &wish.level {
            ThinkingLevel::Off => writing.number(0),
            ThinkingLevel::On => writing.number(1),
            ThinkingLevel::High => writing.number(3),
            ThinkingLevel::Effort(effort) => {
                writing.number(2);
                writing.text(effort);
            }
        });
    }

    fn input(&mut self, input: &PromptInput) {
        match input {
            PromptInput::Text(text) => {
                self.number(0);
                self.text(text);
            }
            PromptInput::Ids(ids) => {
                self.number(1);
                self.list(ids, |writing, id| writing.number((*id).into()));
            }
        }
    }
}
