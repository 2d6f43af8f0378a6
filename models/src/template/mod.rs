//! Chat messages to a prompt, by the template that the model's file carries.
//!
//! A template is a program from a file that anyone may have made: it runs with bounded fuel and without access to
//! anything but the messages, and the tools and values that come with them.
//!
//! What a user writes never becomes a control token. Before rendering, each special token's text inside a message is
//! broken by a mark (a noncharacter of Unicode that no message holds); the tokenizer then finds the special tokens that
//! are still whole, which only the template can have written, and takes the marks out. Special are control tokens, and
//! those user-defined ones that the template's own source spells.
//! A mark also stands where a message begins or ends with a part of a special token, which its neighbour could complete.
//! A template thus sees every message as it is, unless the message spells a special token or a part of one at its end.
//!
//! An answer may go on with the last message: the prompt then ends where that message's text does, which is found by a mark
//! of its own, and spaces at its end stay.
//!
//! Templates see what the `transformers` library shows them: its settings of the engine, its functions, tools as it
//! describes them (`none` where there are none), no documents (`none`), and a clock in UTC. Where a template knows no tools,
//! they are said in the system message (`instruction.rs`).
//!
//! A model whose file brings no template has none, unless an operator chooses one: its own, or one of `builtin.rs`.
//!
//! Deliberately absent: documents.

mod builtin;
mod functions;
mod instruction;
mod message;
#[cfg(test)]
mod tests;
pub(crate) mod thoughts;
#[cfg(test)]
mod tools_tests;

use aho_corasick::{AhoCorasick, MatchKind};
use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, ErrorKind, Value, context};
use serde_json::Value as Json;

pub use self::builtin::{builtin, builtin_names};
pub use self::message::{Extras, Message, Tool, ToolCall, Turn};
pub use self::thoughts::Thoughts;
use crate::ModelError;
use crate::limits::{TEMPLATE_FUEL, TEMPLATE_OUTPUT_BYTES_MAX, TEMPLATE_SOURCE_BYTES_MAX};
use crate::tokenizer::{TokenizeError, Tokenizer};

const NAME: &str = "chat";

/// A compiled chat template.
#[derive(Debug)]
pub struct ChatTemplate {
    environment: Environment<'static>,
    source: String,
    bos: String,
    eos: String,
    special: Option<AhoCorasick>,
    /// What `special` looks for.
    texts: Vec<String>,
}

/// Why messages did not become a prompt.
#[derive(Debug, thiserror::Error)]
pub enum TemplateError {
    /// The template itself refused the messages, in its own words.
    #[error("the model's chat template refuses these messages: {message}")]
    Refused {
        /// What the template raised.
        message: String,
    },
    /// The template did not end within its fuel, or wrote too much.
    #[error("the model's chat template took more than its budget")]
    Budget(#[source] Option<minijinja::Error>),
    /// The template failed.
    #[error("the model's chat template failed")]
    Failed(#[source] minijinja::Error),
    /// The prompt cannot be tokenized.
    #[error(transparent)]
    Tokenize(#[from] TokenizeError),
    /// The prompt cannot end in the last message: the template does not show its text to the end.
    #[error(
        "the model's chat template does not show the last message's text to its end, so that no answer can go on with it"
    )]
    Unshown,
    /// The messages hold every mark that could have been used.
    #[error("the messages use all noncharacters of Unicode")]
    NoMark,
}

impl ChatTemplate {
    /// Compiles a template's source for a tokenizer.
    ///
    /// # Errors
    /// [`ModelError`] when it is too long or does not compile.
    pub fn compile(source: &str, tokenizer: &Tokenizer) -> Result<Self, ModelError> {
        if source.len() > TEMPLATE_SOURCE_BYTES_MAX {
            return Err(ModelError::TemplateTooLong { bytes: source.len(), max: TEMPLATE_SOURCE_BYTES_MAX });
        }
        let mut environment = Environment::new();
        environment.set_fuel(Some(TEMPLATE_FUEL));
        let blocks = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        environment.set_syntax(blocks.expect("the default delimiters are not changed"));
        functions::add_to(&mut environment);
        environment.add_template_owned(NAME, without_training_marks(source)).map_err(ModelError::Template)?;
        let text = |id: Option<u32>| id.map(|id| tokenizer.text(id)).unwrap_or_default();
        // What the template writes itself is as good as a control token, whatever the file calls it.
        let structural = |text: &&str| source.contains(text) && !text.trim().is_empty();
        let texts = tokenizer.control_texts().chain(tokenizer.user_defined_texts().filter(structural));
        let texts: Vec<&str> = texts.filter(|text| text.chars().nth(1).is_some()).collect();
        let special = AhoCorasick::builder().match_kind(MatchKind::LeftmostLongest).build(&texts).ok();
        Ok(Self {
            environment,
            source: source.to_owned(),
            bos: text(tokenizer.bos()),
            eos: text(tokenizer.eos()),
            special: special.filter(|_| !texts.is_empty()),
            texts: texts.into_iter().map(str::to_owned).collect(),
        })
    }

    /// The template as the file has it.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Whether the template itself tells a model what it may call.
    #[must_use]
    pub fn knows_tools(&self) -> bool {
        self.source.contains("tools")
    }

    /// Whether it is for models that think, so that what they think can be told from what they say.
    #[must_use]
    pub fn knows_thinking(&self) -> bool {
        self.source.contains(thoughts::OPEN)
    }

    /// Token ids of a conversation, ready for the assistant's answer. Gives up soon after there are more than
    /// `tokens_max`: more than as many then come back, and not all.
    ///
    /// # Errors
    /// [`TemplateError`] when the template refuses the messages, fails, or takes more than its budget.
    pub fn encode(
        &self,
        messages: &[Message],
        tokenizer: &Tokenizer,
        tokens_max: usize,
    ) -> Result<Vec<u32>, TemplateError> {
        self.encode_with(messages, &Extras::default(), tokenizer, tokens_max)
    }

    /// The same, with tools and values for the template.
    ///
    /// # Errors
    /// [`TemplateError`] when the template refuses the messages, fails, or takes more than its budget.
    pub fn encode_with(
        &self,
        messages: &[Message],
        extras: &Extras,
        tokenizer: &Tokenizer,
        tokens_max: usize,
    ) -> Result<Vec<u32>, TemplateError> {
        let mark = mark(messages, extras).ok_or(TemplateError::NoMark)?;
        let prompt = self.prompt(messages, extras, mark)?;
        let mut ids = tokenizer.encode_marked(&prompt, mark, tokens_max)?;
        if let Some(bos) = tokenizer.added_bos()
            && ids.first() != Some(&bos)
        {
            ids.insert(0, bos);
        }
        Ok(ids)
    }

    /// The prompt as text, in which nothing tells what a message spells from what the template writes.
    ///
    /// # Errors
    /// As [`ChatTemplate::encode_with`], but for tokenizing.
    pub fn text(&self, messages: &[Message], extras: &Extras) -> Result<String, TemplateError> {
        let mark = mark(messages, extras).ok_or(TemplateError::NoMark)?;
        let marked = self.prompt(messages, extras, mark)?;
        Ok(marked.replace(mark, ""))
    }

    /// The marked text; what the template does not know of tools and calls is spelled out for it.
    fn prompt(&self, messages: &[Message], extras: &Extras, mark: char) -> Result<String, TemplateError> {
        let has_calls = |message: &Message| message.role == "tool" || !message.tool_calls.is_empty();
        if self.knows_tools() || (extras.tools.is_empty() && !messages.iter().any(has_calls)) {
            return self.render(messages, extras, mark);
        }
        let values = extras.without_tools();
        self.render(&instruction::spelled_out(messages, &extras.tools), &values, mark)
    }

    /// The marked text of these messages; of one whose last message goes on, as far as that one.
    fn render(&self, messages: &[Message], extras: &Extras, mark: char) -> Result<String, TemplateError> {
        if extras.turn != Turn::Continued {
            return self.render_all(messages, extras, mark);
        }
        let Some((last, before)) = messages.split_last() else { return Err(TemplateError::Unshown) };
        let end = marks(messages, extras).find(|&end| end != mark).ok_or(TemplateError::NoMark)?;
        let last = Message { content: format!("{}{end}", last.content), ..last.clone() };
        let mut text = self.render_all(&[before, &[last]].concat(), extras, mark)?;
        text.truncate(text.rfind(end).ok_or(TemplateError::Unshown)?);
        Ok(text)
    }

    fn render_all(&self, messages: &[Message], extras: &Extras, mark: char) -> Result<String, TemplateError> {
        let spelled = |text: &str| self.broken(text, mark);
        let messages: Vec<Value> = messages.iter().map(|message| as_value(&message.to_json(&spelled))).collect();
        let tool = |tool: &Tool| as_value(&message::spelled_json(&tool.to_json(), &spelled));
        let tools: Option<Vec<Value>> = (!extras.tools.is_empty()).then(|| extras.tools.iter().map(tool).collect());
        let own = |(name, value): (&String, &Json)| (name.clone(), as_value(&message::spelled_json(value, &spelled)));
        let own = extras.values.iter().map(own);
        let template = self.environment.get_template(NAME).map_err(TemplateError::Failed)?;
        let values = context! {
            messages,
            add_generation_prompt => extras.turn == Turn::Opened,
            tools,
            documents => (),
            bos_token => self.bos.as_str(),
            eos_token => self.eos.as_str(),
            ..Value::from_pairs(own)
        };
        let text = template.render(values).map_err(refusal)?;
        if text.len() > TEMPLATE_OUTPUT_BYTES_MAX {
            return Err(TemplateError::Budget(None));
        }
        Ok(text)
    }

    /// `text` with the mark after the first character of each special token that it spells, overlapping ones too.
    fn broken(&self, text: &str, mark: char) -> String {
        let Some(special) = &self.special else { return text.to_owned() };
        let mut broken = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(found) = special.find(rest) {
            let after = found.start() + rest[found.start()..].chars().next().map_or(1, char::len_utf8);
            broken.push_str(&rest[..after]);
            broken.push(mark);
            rest = &rest[after..];
        }
        broken.push_str(rest);
        // What a message begins or ends with may be completed by its neighbour.
        if self.texts.iter().any(|text| cuts(text).any(|cut| broken.ends_with(&text[..cut]))) {
            broken.push(mark);
        }
        if self.texts.iter().any(|text| cuts(text).any(|cut| broken.starts_with(&text[cut..]))) {
            broken.insert(0, mark);
        }
        broken
    }
}

fn as_value(json: &Json) -> Value {
    match json {
        Json::Null => Value::from(()),
        Json::Bool(truth) => Value::from(*truth),
        Json::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(number), _) => Value::from(number),
            (None, Some(number)) => Value::from(number),
            (None, None) => Value::from(number.as_f64()),
        },
        Json::String(text) => Value::from(text.as_str()),
        Json::Array(items) => items.iter().map(as_value).collect(),
        Json::Object(fields) => Value::from_pairs(fields.iter().map(|(key, field)| (key.as_str(), as_value(field)))),
    }
}

/// Where a text can be cut in two that are not empty.
fn cuts(text: &str) -> impl Iterator<Item = usize> {
    text.char_indices().map(|(index, _)| index).skip(1)
}

/// A template without the tags that mark what a model was trained to say: they change no text.
fn without_training_marks(source: &str) -> String {
    let mut plain = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(begin) = rest.find("{%") {
        let end = rest[begin..].find("%}").map_or(rest.len(), |end| begin + end + 2);
        let tag = &rest[begin..end];
        plain.push_str(&rest[..begin]);
        match tag.trim_start_matches("{%").trim_end_matches("%}").trim_matches(['-', '+']).trim() {
            "generation" => plain.push_str(&tag.replace("generation", "if true")),
            "endgeneration" => plain.push_str(&tag.replace("endgeneration", "endif")),
            _ => plain.push_str(tag),
        }
        rest = &rest[end..];
    }
    plain + rest
}

fn refusal(error: minijinja::Error) -> TemplateError {
    let raised = std::error::Error::source(&error).is_some_and(|source| source.is::<functions::Raised>());
    match error.kind() {
        ErrorKind::OutOfFuel => TemplateError::Budget(Some(error)),
        // The engine bounds sizes and depths without a kind of their own.
        ErrorKind::InvalidOperation if !raised && is_bound(error.detail().unwrap_or_default()) => {
            TemplateError::Budget(Some(error))
        }
        _ if raised => TemplateError::Refused { message: error.detail().unwrap_or("no reason given").to_owned() },
        _ => TemplateError::Failed(error),
    }
}

fn is_bound(detail: &str) -> bool {
    ["too large", "too many elements", "recursion limit"].iter().any(|bound| detail.contains(bound))
}

/// A noncharacter that neither a message holds nor what comes with it.
fn mark(messages: &[Message], extras: &Extras) -> Option<char> {
    marks(messages, extras).next()
}

/// All such noncharacters.
fn marks<'a>(messages: &'a [Message], extras: &Extras) -> impl Iterator<Item = char> + use<'a> {
    // In JSON such characters stand as they are, unless someone wrote them as an escape.
    let tools = extras.tools.iter().map(|tool| tool.to_json().to_string());
    let values = extras.values.iter().flat_map(|(name, value)| [name.clone(), value.to_string()]);
    let beside: Vec<String> = tools.chain(values).collect();
    let arguments = |message: &Message, mark: char| {
        let escape = format!("\\u{:04x}", u32::from(mark));
        message.tool_calls.iter().any(|call| call.arguments.to_ascii_lowercase().contains(&escape))
    };
    let holds = move |message: &Message, mark: char| {
        message.texts().any(|text| text.contains(mark)) || arguments(message, mark)
    };
    let held = move |mark: char| {
        messages.iter().any(|message| holds(message, mark)) || beside.iter().any(|text| text.contains(mark))
    };
    ('\u{fdd0}'..='\u{fdef}').filter(move |&mark| !held(mark))
}
