//! What is asked of `generate`, `chat` and the embeddings.

use models::limits::PASSAGES_MAX;
use models::limits::TOP_LOGPROBS_MAX;
use models::template::Message;
use models::tokenizer::Special;

use super::options;
use crate::generate::Prompt;
use crate::http::error::ApiError;
use crate::http::wire::embedding::{EmbeddingRequest, VectorFormat};
use crate::http::wire::{Common, Delivery, Fields, Node, PromptInput, Urgency, inputs, keep_alive, parse_object, said};
use crate::limits::MESSAGES_MAX;

/// A request to go on with something, or without a prompt one to load or unload the model.
#[derive(Debug)]
pub(super) struct Asking {
    pub(super) common: Common,
    pub(super) prompt: Option<Prompt>,
}

impl Asking {
    /// Reads a body of `/api/generate`.
    ///
    /// # Errors
    /// [`ApiError`] with the path of the field that is wrong, unknown or unsupported.
    pub(super) fn generate(body: &[u8]) -> Result<Self, ApiError> {
        let mut fields = parse_object(body)?;
        let common = common(&mut fields)?;
        let prompt = fields.text("prompt")?.unwrap_or_default();
        let system = fields.text("system")?.unwrap_or_default();
        let is_raw = fields.flag("raw")?.unwrap_or(false);
        for name in ["suffix", "template"] {
            fields.only(name, is_empty)?;
        }
        // Of a conversation before, as tokens: deprecated there, and never given here.
        fields.only("context", is_empty)?;
        fields.only("images", is_empty)?;
        fields.finish()?;
        if is_raw && !system.is_empty() {
            return Err(ApiError::invalid_value("system", "is for the model's template, which `raw` goes without"));
        }
        let prompt = match prompt {
            prompt if prompt.is_empty() => None,
            prompt if is_raw => Some(Prompt::Raw(vec![PromptInput::Text(prompt)], Special::Parsed)),
            prompt => {
                let system = Some(system).filter(|system| !system.is_empty()).map(|system| said("system", system));
                Some(Prompt::plain(system.into_iter().chain([said("user", prompt)]).collect()))
            }
        };
        Ok(Self { common, prompt })
    }

    /// Reads a body of `/api/chat`.
    ///
    /// # Errors
    /// [`ApiError`] with the path of the field that is wrong, unknown or unsupported.
    pub(super) fn chat(body: &[u8]) -> Result<Self, ApiError> {
        let mut fields = parse_object(body)?;
        let common = common(&mut fields)?;
        let messages = messages(&mut fields)?;
        fields.finish()?;
        Ok(Self { common, prompt: (!messages.is_empty()).then_some(Prompt::plain(messages)) })
    }
}

/// Takes what `generate` and `chat` share.
fn common(fields: &mut Fields) -> Result<Common, ApiError> {
    let model = model(fields)?;
    let common = Common {
        delivery: Delivery::plain(fields.flag("stream")?.unwrap_or(true)),
        keep_alive: keep_alive::take(fields)?,
        logprobs: logprobs(fields)?,
        ..options::take(fields, model)?
    };
    // Either way what is longer than the context is refused, and nothing makes room for an answer.
    for name in ["truncate", "shift"] {
        fields.flag(name)?;
    }
    take_unsupported(fields)?;
    Ok(common)
}

/// What Ollama does and this server does not do here, in the forms that ask for nothing.
fn take_unsupported(fields: &mut Fields) -> Result<(), ApiError> {
    fields.only("tools", is_empty)?;
    fields.only("format", is_empty)?;
    fields.only("think", |node| *node == Node::Bool(false))
}

/// `model`, or `name` as it was once called; a tag that says nothing is left away.
pub(super) fn model(fields: &mut Fields) -> Result<String, ApiError> {
    if let Some(name) = fields.text("name")? {
        if fields.text("model")?.is_some_and(|model| model != name) {
            return Err(ApiError::invalid_value(fields.path("name"), "contradicts `model`"));
        }
        return Ok(untagged(name));
    }
    fields.model().map(untagged)
}

fn untagged(name: String) -> String {
    match name.strip_suffix(":latest") {
        Some(untagged) if !untagged.is_empty() => untagged.to_owned(),
        _ => name,
    }
}

fn logprobs(fields: &mut Fields) -> Result<Option<usize>, ApiError> {
    let is_shown = fields.flag("logprobs")?.unwrap_or(false);
    let top: usize = fields.integer("top_logprobs", 0..=TOP_LOGPROBS_MAX as i128)?.unwrap_or(0);
    if top > 0 && !is_shown {
        return Err(ApiError::invalid_value(fields.path("top_logprobs"), "is for `logprobs: true` alone"));
    }
    Ok(is_shown.then_some(top))
}

fn messages(fields: &mut Fields) -> Result<Vec<Message>, ApiError> {
    let path = fields.path("messages");
    let items = match fields.take("messages") {
        None => return Ok(Vec::new()),
        Some(Node::List(items)) => items,
        Some(_) => return Err(ApiError::invalid_type(path, "an array of messages")),
    };
    if items.len() > MESSAGES_MAX {
        return Err(ApiError::invalid_value(path, format_args!("has more than {MESSAGES_MAX} messages")));
    }
    items.into_iter().enumerate().map(|(index, item)| message(item, &format!("{path}[{index}]"))).collect()
}

fn message(item: Node, path: &str) -> Result<Message, ApiError> {
    let mut fields = Fields::of(item, path)?;
    let role = fields.required_text("role")?;
    if !matches!(role.as_str(), "system" | "user" | "assistant" | "tool") {
        let why = "must be `system`, `user`, `assistant` or `tool`";
        return Err(ApiError::invalid_value(fields.path("role"), why));
    }
    let content = fields.text("content")?.unwrap_or_default();
    if role == "tool" {
        // Which tool it answers for is nothing that a template gets to see.
        fields.text("tool_name")?;
    }
    if fields.take("images").is_some_and(|images| !is_empty(&images)) {
        return Err(ApiError::unsupported_content(fields.path("images")));
    }
    fields.only("tool_calls", is_empty)?;
    fields.only("thinking", is_empty)?;
    fields.finish()?;
    Ok(said(&role, content))
}

/// Whether a value is nothing but there.
fn is_empty(node: &Node) -> bool {
    match node {
        Node::Text(text) => text.is_empty(),
        Node::List(items) => items.is_empty(),
        _ => false,
    }
}

/// Reads a body of `/api/embed`.
pub(super) fn embed(body: &[u8]) -> Result<EmbeddingRequest, ApiError> {
    let mut fields = parse_object(body)?;
    let inputs = inputs::take(&mut fields, "input", PASSAGES_MAX)?;
    // Either way a text that is longer than the context is refused.
    fields.flag("truncate")?;
    let dimensions = fields.integer("dimensions", 1..=i128::from(u32::MAX))?;
    embedding(fields, inputs, dimensions)
}

/// Reads a body of `/api/embeddings`.
pub(super) fn embeddings(body: &[u8]) -> Result<EmbeddingRequest, ApiError> {
    let mut fields = parse_object(body)?;
    let prompt = fields.required_text("prompt")?;
    embedding(fields, vec![PromptInput::Text(prompt)], None)
}

fn embedding(
    mut fields: Fields,
    inputs: Vec<PromptInput>,
    dimensions: Option<usize>,
) -> Result<EmbeddingRequest, ApiError> {
    let model = model(&mut fields)?;
    let keep_alive = keep_alive::take(&mut fields)?;
    // Checked, and of no consequence: nothing is drawn, and what is longer than the context is refused.
    let Common { model, .. } = options::take(&mut fields, model)?;
    fields.finish()?;
    for (index, input) in inputs.iter().enumerate() {
        match input {
            PromptInput::Text(text) if !text.is_empty() => {}
            _ => return Err(ApiError::invalid_value(inputs::path("input", index, inputs.len()), "must be a text")),
        }
    }
    let (format, urgency) = (VectorFormat::Floats, Urgency::default());
    Ok(EmbeddingRequest { model, inputs, format, dimensions, keep_alive, urgency })
}

#[cfg(test)]
mod tests {
    use scheduler::KeepAlive;

    use super::*;
    use crate::http::wire::refusal::{each_refused, refused};

    const MODEL: &str = r#""model":"m""#;

    #[test]
    fn what_would_change_the_answer_is_refused_by_name() {
        let table = [
            (r#""prompt":"a","suffix":"b""#, "unsupported_parameter", "suffix"),
            (r#""prompt":"a","template":"{{ .Prompt }}""#, "unsupported_parameter", "template"),
            (r#""prompt":"a","context":[1,2]"#, "unsupported_parameter", "context"),
            (r#""prompt":"a","images":["AA=="]"#, "unsupported_parameter", "images"),
            (r#""prompt":"a","format":"json""#, "unsupported_parameter", "format"),
            (r#""prompt":"a","think":true"#, "unsupported_parameter", "think"),
            (r#""prompt":"a","raw":true,"system":"b""#, "invalid_value", "system"),
            (r#""prompt":"a","options":{"mirostat":1}"#, "unsupported_parameter", "options.mirostat"),
            (
                r#""prompt":"a","options":{"repeat_penalty":1.1,"repeat_last_n":64}"#,
                "unsupported_parameter",
                "options.repeat_last_n",
            ),
            (r#""prompt":"a","options":{"vocab_only":true}"#, "unsupported_parameter", "options.vocab_only"),
            (r#""prompt":"a","options":{"temprature":1}"#, "unsupported_parameter", "options.temprature"),
            (r#""prompt":"a","options":{"temperature":3}"#, "invalid_value", "options.temperature"),
            (r#""prompt":"a","options":{"num_ctx":0}"#, "invalid_value", "options.num_ctx"),
            (r#""prompt":"a","options":{"num_predict":-3}"#, "invalid_value", "options.num_predict"),
            (r#""prompt":"a","options":[]"#, "invalid_type", "options"),
            (r#""prompt":["a"]"#, "invalid_type", "prompt"),
            (r#""prompt":"a","name":"other""#, "invalid_value", "name"),
            (r#""prompt":"a","steps":3"#, "unsupported_parameter", "steps"),
        ];
        each_refused(Asking::generate, MODEL, &table);
        let table = [
            (r#""messages":[{"role":"robot","content":"a"}]"#, "invalid_value", "messages[0].role"),
            (r#""messages":[{"role":"user","content":["a"]}]"#, "invalid_type", "messages[0].content"),
            (r#""messages":[{"role":"user","images":["A"]}]"#, "unsupported_content", "messages[0].images"),
            (
                r#""messages":[{"role":"assistant","tool_calls":[{}]}]"#,
                "unsupported_parameter",
                "messages[0].tool_calls",
            ),
            (r#""messages":[],"tools":[{}]"#, "unsupported_parameter", "tools"),
            (r#""messages":[],"format":{"type":"object"}"#, "unsupported_parameter", "format"),
            (r#""messages":{}"#, "invalid_type", "messages"),
        ];
        each_refused(Asking::chat, MODEL, &table);
        let table = [
            (r#""input":"""#, "invalid_value", "input"),
            (r#""input":["a",""]"#, "invalid_value", "input[1]"),
            (r#""input":[1,2]"#, "invalid_value", "input"),
            (r#""input":"a","truncate":1"#, "invalid_type", "truncate"),
        ];
        each_refused(embed, MODEL, &table);
        assert_eq!(refused(Asking::chat(b"{}")), ("missing_required_parameter", Some("model".to_owned())));
        assert_eq!(refused(embeddings(br#"{"model":"m"}"#)), ("missing_required_parameter", Some("prompt".to_owned())));
    }

    #[test]
    fn what_is_said_is_taken_and_the_rest_is_ollama_s() {
        let asking = Asking::generate(
            br#"{"model":"m:latest","prompt":"a","system":"b","stream":false,"keep_alive":"10m","images":[],"format":"",
                "options":{"num_predict":7,"temperature":0,"seed":3,"stop":["x"],"num_ctx":99,"num_gpu":1,"use_mmap":true}}"#,
        );
        let Asking { common, prompt } = asking.expect("all of it is supported");
        assert_eq!((common.model.as_str(), common.tokens_max, common.context_max), ("m", Some(7), Some(99)));
        assert_eq!((common.sampling.seed, common.sampling.top_k, common.sampling.top_p), (3, 40, 0.9));
        assert_eq!((common.stop, common.delivery), (vec!["x".to_owned()], Delivery::Whole));
        let Some(Prompt::Messages(messages, _)) = prompt else { panic!("it goes through the template") };
        assert_eq!(messages, [said("system", "b".to_owned()), said("user", "a".to_owned())]);

        let Asking { common, prompt } = Asking::chat(br#"{"model":"m","keep_alive":0}"#).expect("an unload");
        assert!(prompt.is_none() && common.keep_alive == Some(KeepAlive::DropAfterUse));
        assert!(matches!(common.delivery, Delivery::Streamed { .. }), "unless it says otherwise");
        assert_eq!((common.sampling.temperature, common.sampling.repetition_penalty), (0.8, 1.0));

        let raw = Asking::generate(br#"{"model":"m","prompt":"a","raw":true,"options":{"seed":-1,"num_predict":-1}}"#);
        let Asking { common, prompt } = raw.expect("raw");
        assert!(matches!(prompt, Some(Prompt::Raw(inputs, Special::Parsed)) if inputs.len() == 1));
        assert_eq!((common.tokens_max, common.repeats), (None, crate::http::wire::Repeats::No));
    }
}
