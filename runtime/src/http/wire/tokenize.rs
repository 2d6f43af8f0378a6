//! `POST /tokenize` and `POST /detokenize`: the requests, as llama.cpp has them (`content`) and as vLLM has them (`prompt` or
//! `messages`), with the model named.

use models::template::Message;
use models::tokenizer::{Special, Start};

use super::chat::{messages_if_any, take_turn};
use super::json::Node;
use super::{ChatOptions, Fields, parse_object, shown_bytes_max};
use crate::http::error::ApiError;
use crate::limits::DETOKENIZE_TOKENS_MAX;

/// What to encode.
#[derive(Clone, Debug)]
pub(crate) struct TokenizeRequest {
    /// The model whose tokens are wanted.
    pub(crate) model: String,
    /// What it is to encode.
    pub(crate) subject: Subject,
    /// How its tokens are told.
    pub(crate) telling: Telling,
}

/// What to encode.
#[derive(Clone, Debug)]
pub(crate) enum Subject {
    /// A text, with or without the model's own first token, and how special tokens in it are read.
    Text(String, Start, Special),
    /// A conversation, as the model would see it.
    Messages(Vec<Message>, Box<ChatOptions>),
}

/// How tokens are told.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Telling {
    /// Their ids.
    Ids,
    /// Each with its text (`with_pieces`).
    Pieces,
    /// As vLLM tells them: how many there are, their ids, and how many there may be.
    Counted,
    /// The same, and their texts (`return_token_strs`).
    CountedTexts,
}

/// Tokens to decode.
#[derive(Clone, Debug)]
pub(crate) struct DetokenizeRequest {
    /// The model whose tokens they are.
    pub(crate) model: String,
    /// Their ids.
    pub(crate) tokens: Vec<u32>,
}

impl TokenizeRequest {
    /// Reads a body.
    ///
    /// # Errors
    /// [`ApiError`] with the path of the field that is wrong, unknown or unsupported.
    pub(crate) fn parse(body: &[u8]) -> Result<Self, ApiError> {
        let mut fields = parse_object(body)?;
        let model = fields.model()?;
        let (subject, telling) = if fields.has("prompt") || fields.has("messages") {
            counted(&mut fields)?
        } else {
            let content = fields.required_text("content")?;
            let start = start(&mut fields, "add_special", Start::Bare)?;
            let telling = if fields.flag("with_pieces")?.unwrap_or(false) { Telling::Pieces } else { Telling::Ids };
            (Subject::Text(content, start, special(&mut fields)?), telling)
        };
        fields.finish()?;
        Ok(Self { model, subject, telling })
    }
}

impl Subject {
    /// The field that it came in, where it is told as it is with `telling`, and its bytes.
    pub(crate) fn size(&self, telling: Telling) -> (&'static str, usize) {
        match (self, telling) {
            (Self::Messages(messages, options), _) => ("messages", shown_bytes_max(messages, options)),
            (Self::Text(text, ..), Telling::Ids | Telling::Pieces) => ("content", text.len()),
            (Self::Text(text, ..), Telling::Counted | Telling::CountedTexts) => ("prompt", text.len()),
        }
    }
}

/// `prompt` or `messages`. The model's own first token comes first unless told; a template writes it itself.
fn counted(fields: &mut Fields) -> Result<(Subject, Telling), ApiError> {
    let is_texts = fields.flag("return_token_strs")?.unwrap_or(false);
    let telling = if is_texts { Telling::CountedTexts } else { Telling::Counted };
    let Some(messages) = messages_if_any(fields)? else {
        let prompt = fields.required_text("prompt")?;
        let start = start(fields, "add_special_tokens", Start::AsModel)?;
        return Ok((Subject::Text(prompt, start, Special::Parsed), telling));
    };
    fields.only_off("add_special_tokens")?;
    let mut options = ChatOptions::take(fields)?;
    take_turn(fields, &mut options, &messages)?;
    Ok((Subject::Messages(messages, Box::new(options)), telling))
}

fn start(fields: &mut Fields, name: &str, unsaid: Start) -> Result<Start, ApiError> {
    Ok(match fields.flag(name)? {
        None => unsaid,
        Some(true) => Start::AsModel,
        Some(false) => Start::Bare,
    })
}

impl DetokenizeRequest {
    /// Reads a body.
    ///
    /// # Errors
    /// [`ApiError`] with the path of the field that is wrong, unknown or unsupported.
    pub(crate) fn parse(body: &[u8]) -> Result<Self, ApiError> {
        let mut fields = parse_object(body)?;
        let model = fields.model()?;
        let tokens = match fields.take("tokens").map(Node::with_ids) {
            None => return Err(ApiError::missing_field("tokens")),
            Some(Node::Ids(ids)) => ids,
            Some(Node::List(items)) if items.is_empty() => Vec::new(),
            Some(_) => return Err(ApiError::invalid_type("tokens", "an array of token ids")),
        };
        if tokens.len() > DETOKENIZE_TOKENS_MAX {
            let why = format!("has more than {DETOKENIZE_TOKENS_MAX} token ids");
            return Err(ApiError::invalid_value("tokens", why));
        }
        fields.finish()?;
        Ok(Self { model, tokens })
    }
}

/// `parse_special`, which is on unless switched off.
pub(super) fn special(fields: &mut Fields) -> Result<Special, ApiError> {
    Ok(if fields.flag("parse_special")?.unwrap_or(true) { Special::Parsed } else { Special::Plain })
}

#[cfg(test)]
mod tests {
    use models::template::Turn;
    use models::tokenizer::{Special, Start};

    use super::{DetokenizeRequest, Subject, Telling, TokenizeRequest};
    use crate::http::wire::refusal::{each_refused, refused};
    use crate::limits::DETOKENIZE_TOKENS_MAX;

    #[test]
    fn row_19_texts_that_are_none_are_refused() {
        let table = [
            (r#""content":5"#, "invalid_type", "content"),
            (r#""content":["a",1]"#, "invalid_type", "content"),
            (r#""content":"a","add_special":1"#, "invalid_type", "add_special"),
            (r#""content":"a","parse_special":"no""#, "invalid_type", "parse_special"),
            (r#""content":"a","with_pieces":1"#, "invalid_type", "with_pieces"),
            (r#""content":"a","add_special_tokens":true"#, "unsupported_parameter", "add_special_tokens"),
            (r#""prompt":"a","content":"a""#, "unsupported_parameter", "content"),
            (r#""prompt":["a"]"#, "invalid_type", "prompt"),
            (r#""prompt":"a","add_special":true"#, "unsupported_parameter", "add_special"),
            (r#""prompt":"a","messages":[{"role":"user","content":"a"}]"#, "unsupported_parameter", "prompt"),
            (
                r#""add_special_tokens":true,"messages":[{"role":"user","content":"a"}]"#,
                "unsupported_parameter",
                "add_special_tokens",
            ),
            (r#""content":"a","tokens":[1]"#, "unsupported_parameter", "tokens"),
        ];
        each_refused(TokenizeRequest::parse, r#""model":"m""#, &table);
        let missing = |field: &str| ("missing_required_parameter", Some(field.to_owned()));
        assert_eq!(refused(TokenizeRequest::parse(br#"{"content":"a"}"#)), missing("model"));
        assert_eq!(refused(TokenizeRequest::parse(br#"{"model":"m"}"#)), missing("content"));
        assert_eq!(refused(DetokenizeRequest::parse(br#"{"model":"m"}"#)), missing("tokens"));
    }

    #[test]
    fn row_19_tokens_that_are_none_are_refused() {
        let table = [
            (r#""tokens":"a""#, "invalid_type", "tokens"),
            (r#""tokens":[-1]"#, "invalid_type", "tokens"),
            (r#""tokens":[1,4294967296]"#, "invalid_type", "tokens"),
            (r#""tokens":[1.5]"#, "invalid_type", "tokens"),
            (r#""tokens":[[1]]"#, "invalid_type", "tokens"),
            (r#""tokens":[1],"content":"a""#, "unsupported_parameter", "content"),
        ];
        each_refused(DetokenizeRequest::parse, r#""model":"m""#, &table);
        let many = format!("{{\"model\":\"m\",\"tokens\":[{}1]}}", "1,".repeat(DETOKENIZE_TOKENS_MAX));
        assert_eq!(refused(DetokenizeRequest::parse(many.as_bytes())), ("invalid_value", Some("tokens".to_owned())));
    }

    #[test]
    fn texts_and_tokens_are_read() {
        let texts = |fields: &str| {
            let body = format!("{{\"model\":\"m\",{fields}}}");
            let request = TokenizeRequest::parse(body.as_bytes()).expect(fields);
            match request.subject {
                Subject::Text(text, start, special) => (text, start, special, request.telling),
                Subject::Messages(..) => panic!("it is a text"),
            }
        };
        let (empty, said) = (String::new(), "a".to_owned());
        assert_eq!(texts(r#""content":"""#), (empty, Start::Bare, Special::Parsed, Telling::Ids));
        assert_eq!(
            texts(r#""content":"a","add_special":true,"parse_special":false,"with_pieces":true"#),
            (said.clone(), Start::AsModel, Special::Plain, Telling::Pieces)
        );
        assert_eq!(texts(r#""prompt":"a""#), (said.clone(), Start::AsModel, Special::Parsed, Telling::Counted));
        assert_eq!(
            texts(r#""prompt":"a","add_special_tokens":false,"return_token_strs":true"#),
            (said, Start::Bare, Special::Parsed, Telling::CountedTexts)
        );
        let chat = br#"{"model":"m","messages":[{"role":"assistant","content":"a"}],"continue_final_message":true}"#;
        let chat = TokenizeRequest::parse(chat).expect("a conversation").subject;
        assert_eq!(chat.size(Telling::Counted), ("messages", 1));
        assert!(matches!(chat, Subject::Messages(_, options) if options.extras.turn == Turn::Continued));
        let tokens = |list: &str| DetokenizeRequest::parse(format!("{{\"model\":\"m\",\"tokens\":{list}}}").as_bytes());
        assert_eq!(tokens("[1,2]").expect("ids").tokens, [1, 2]);
        assert!(tokens("[]").expect("none").tokens.is_empty());
    }
}
