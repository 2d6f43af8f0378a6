//! What is asked of `generate`, `chat` and the embeddings.

use models::grammar::GrammarSource;
use models::limits::PASSAGES_MAX;
use models::limits::TOP_LOGPROBS_MAX;
use models::tokenizer::Special;

use super::{conversation, options};
use crate::generate::Prompt;
use crate::http::error::ApiError;
use crate::http::wire::embedding::{EmbeddingRequest, VectorFormat};
use crate::http::wire::{
    ChatOptions, Common, Constraint, Delivery, Fields, Node, PromptInput, ThinkingLevel, ThinkingWish, Urgency,
    constraint, inputs, keep_alive, parse_object, said,
};

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
        let think = think(&mut fields)?;
        // `context` is of a conversation before, as tokens: deprecated there, and never given here.
        for name in ["suffix", "template", "context", "images"] {
            fields.only_empty(name)?;
        }
        fields.finish()?;
        if is_raw {
            let asks_to_think = think.is_some_and(|think| think.asks_to_think());
            if let Some((name, _)) = [("system", !system.is_empty()), ("think", asks_to_think)].iter().find(|one| one.1)
            {
                return Err(ApiError::invalid_value(*name, "is for the model's template, which `raw` goes without"));
            }
            let prompt = Some(prompt).filter(|prompt| !prompt.is_empty());
            let prompt = prompt.map(|prompt| Prompt::Raw(vec![PromptInput::Text(prompt)], Special::Parsed));
            return Ok(Self { common, prompt });
        }
        let system = Some(system).filter(|system| !system.is_empty()).map(|system| said("system", system));
        let options = ChatOptions { thinking: think.into_iter().collect(), ..ChatOptions::default() };
        let prompt = Some(prompt).filter(|prompt| !prompt.is_empty()).map(|prompt| {
            let messages = system.into_iter().chain([said("user", prompt)]).collect();
            Prompt::Messages(messages, Box::new(options))
        });
        Ok(Self { common, prompt })
    }

    /// Reads a body of `/api/chat`.
    ///
    /// # Errors
    /// [`ApiError`] with the path of the field that is wrong, unknown or unsupported.
    pub(super) fn chat(body: &[u8]) -> Result<Self, ApiError> {
        let mut fields = parse_object(body)?;
        let common = common(&mut fields)?;
        let messages = conversation::messages(&mut fields)?;
        let mut options = conversation::options(&mut fields)?;
        options.thinking.extend(think(&mut fields)?);
        fields.finish()?;
        if let Some(last) = messages.last().filter(|last| last.role == "assistant" && last.tool_calls.is_empty()) {
            options.go_on_with(Some(last), "messages")?;
        }
        Ok(Self { common, prompt: (!messages.is_empty()).then(|| Prompt::Messages(messages, Box::new(options))) })
    }
}

/// Takes what `generate` and `chat` share.
fn common(fields: &mut Fields) -> Result<Common, ApiError> {
    let model = model(fields)?;
    let common = Common {
        delivery: Delivery::plain(fields.flag("stream")?.unwrap_or(true)),
        keep_alive: keep_alive::take(fields)?,
        logprobs: logprobs(fields)?,
        constraint: format(fields)?,
        ..options::take(fields, model)?
    };
    // Either way what is longer than the context is refused, and nothing makes room for an answer.
    for name in ["truncate", "shift"] {
        fields.flag(name)?;
    }
    Ok(common)
}

/// `format`: `"json"`, or a JSON schema.
fn format(fields: &mut Fields) -> Result<Option<Constraint>, ApiError> {
    let param = fields.path("format");
    match fields.take_if("format", |node| matches!(node, Node::Text(_))) {
        None => constraint::schema_or_any(fields, "format"),
        Some(Node::Text(word)) if word.is_empty() => Ok(None),
        Some(Node::Text(word)) if word == "json" => {
            Ok(Some(Constraint { source: GrammarSource::json_object(), param }))
        }
        Some(_) => Err(ApiError::invalid_value(param, "must be `json` or a JSON schema")),
    }
}

/// `think`: whether the model is to think, or how much.
fn think(fields: &mut Fields) -> Result<Option<ThinkingWish>, ApiError> {
    const NAME: &str = "think";
    let level = match fields.take(NAME) {
        None => return Ok(None),
        Some(Node::Bool(true)) => ThinkingLevel::On,
        Some(Node::Bool(false)) => ThinkingLevel::Off,
        Some(Node::Text(effort)) => return ThinkingWish::effort(effort, NAME).map(Some),
        Some(_) => return Err(ApiError::invalid_type(NAME, "true, false, or a level such as `low`")),
    };
    Ok(Some(ThinkingWish { level, param: NAME }))
}

/// `model`, or `name` as it was once called.
pub(super) fn model(fields: &mut Fields) -> Result<String, ApiError> {
    if let Some(name) = fields.text("name")? {
        if fields.text("model")?.is_some_and(|model| model != name) {
            return Err(ApiError::invalid_value(fields.path("name"), "contradicts `model`"));
        }
        return Ok(name);
    }
    fields.model()
}

fn logprobs(fields: &mut Fields) -> Result<Option<usize>, ApiError> {
    let is_shown = fields.flag("logprobs")?.unwrap_or(false);
    let top: usize = fields.integer("top_logprobs", 0..=TOP_LOGPROBS_MAX as i128)?.unwrap_or(0);
    if top > 0 && !is_shown {
        return Err(ApiError::invalid_value(fields.path("top_logprobs"), "is for `logprobs: true` alone"));
    }
    Ok(is_shown.then_some(top))
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
    if prompt.is_empty() {
        return Err(ApiError::invalid_value(fields.path("prompt"), "is empty"));
    }
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
            (r#""prompt":"a","format":"xml""#, "invalid_value", "format"),
            (r#""prompt":"a","format":true"#, "invalid_type", "format"),
            (r#""prompt":"a","think":"endless""#, "invalid_value", "think"),
            (r#""prompt":"a","think":1"#, "invalid_type", "think"),
            (r#""prompt":"a","think":true,"raw":true"#, "invalid_value", "think"),
            (r#""prompt":"a","tools":[]"#, "unsupported_parameter", "tools"),
            (r#""prompt":"a","raw":true,"system":"b""#, "invalid_value", "system"),
            (r#""prompt":"a","options":{"mirostat":1}"#, "unsupported_parameter", "options.mirostat"),
            (r#""prompt":"a","options":{"repeat_last_n":-2}"#, "invalid_value", "options.repeat_last_n"),
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
            (r#""input":"""#, "invalid_value", "input"),
            (r#""input":["a",""]"#, "invalid_value", "input[1]"),
            (r#""input":[1,2]"#, "invalid_value", "input"),
            (r#""input":"a","truncate":1"#, "invalid_type", "truncate"),
        ];
        each_refused(embed, MODEL, &table);
        assert_eq!(refused(Asking::chat(b"{}")), ("missing_required_parameter", Some("model".to_owned())));
        assert_eq!(refused(embeddings(br#"{"model":"m","prompt":""}"#)), ("invalid_value", Some("prompt".to_owned())));
        assert_eq!(refused(embeddings(br#"{"model":"m"}"#)), ("missing_required_parameter", Some("prompt".to_owned())));
    }

    #[test]
    fn what_is_said_is_taken_and_the_rest_is_ollama_s() {
        let asking = Asking::generate(
            br#"{"model":"m:latest","prompt":"a","system":"b","stream":false,"keep_alive":"10m","images":[],"format":"",
                "options":{"num_predict":7,"temperature":0,"seed":3,"stop":["x"],"num_ctx":99,"num_gpu":1,"use_mmap":true}}"#,
        );
        let Asking { common, prompt } = asking.expect("all of it is supported");
        assert_eq!((common.model.as_str(), common.tokens_max, common.context_max), ("m:latest", Some(7), Some(99)));
        assert_eq!((common.sampling.seed, common.sampling.top_k, common.sampling.top_p), (3, 40, 0.9));
        assert_eq!((common.stop, common.delivery, common.constraint), (vec!["x".to_owned()], Delivery::Whole, None));
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

    #[test]
    fn formats_and_thinking_are_read() {
        let asking = |fields: &str| {
            let body = format!(r#"{{{MODEL},"prompt":"a",{fields}}}"#);
            Asking::generate(body.as_bytes()).expect("it is supported")
        };
        let schema = |fields: &str| match asking(fields).common.constraint.map(|constraint| constraint.source) {
            Some(GrammarSource::JsonSchema(schema)) => schema.to_string(),
            other => panic!("{other:?}"),
        };
        assert_eq!(schema(r#""format":"json""#), r#"{"type":"object"}"#);
        assert_eq!(schema(r#""format":{"type":"integer"}"#), r#"{"type":"integer"}"#);
        assert!(schema(r#""format":{}"#).contains("null"), "any JSON");
        let thinking = |fields: &str| match asking(fields).prompt {
            Some(Prompt::Messages(_, options)) => options.thinking,
            other => panic!("{other:?}"),
        };
        let wish = |level| vec![ThinkingWish { level, param: "think" }];
        assert_eq!(thinking(r#""think":true"#), wish(ThinkingLevel::On));
        assert_eq!(thinking(r#""think":"high""#), wish(ThinkingLevel::Effort("high".to_owned())));
        assert_eq!(thinking(r#""think":null"#), []);
        let raw = asking(r#""think":false,"raw":true"#).prompt;
        assert!(matches!(raw, Some(Prompt::Raw(..))), "nothing thinks there");
    }
}
