//! One question to a server, and its streamed answer with the receipt.

use std::io;
use std::time::{Duration, Instant};

use clap::Args;
use meter::Receipt;
use serde::Deserialize as _;
use serde_json::{Map, Value, json};

use crate::client::{Client, ClientError};

/// For people at a terminal, who did not ask for a whole context of anything that a model might say: the interface's own
/// defaults are the unmodified distribution, to the end of the context.
pub(super) const MAX_TOKENS_DEFAULT: u32 = 1024;
pub(super) const TEMPERATURE_DEFAULT: f64 = 0.7;
pub(super) const TOP_P_DEFAULT: f64 = 0.95;

/// How an answer shall be.
#[derive(Args, Clone, Debug, Default)]
pub(super) struct Wishes {
    /// Tokens of the answer at most; 1024 if not given
    #[arg(long, value_name = "N")]
    pub(super) max_tokens: Option<u32>,
    /// How freely to draw; 0 always takes the likeliest token; 0.7 if not given
    #[arg(long, value_name = "T", allow_negative_numbers = true)]
    pub(super) temperature: Option<f64>,
    /// Draw from the likeliest tokens that have this probability together; 0.95 if not given
    #[arg(long, value_name = "P", allow_negative_numbers = true)]
    pub(super) top_p: Option<f64>,
    /// Draw from so many of the likeliest tokens
    #[arg(long, value_name = "K")]
    pub(super) top_k: Option<u32>,
    /// The same seed gives the same answer
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub(super) seed: Option<i64>,
    /// How long the model stays afterwards: 5m, 30s; 0 unloads it at once, -1 keeps it
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    pub(super) keep_alive: Option<String>,
    /// Tell the model first how to behave
    #[arg(long, value_name = "TEXT")]
    pub(super) system: Option<String>,
}

/// Messages of a conversation, or a text to go on with.
#[derive(Clone, Debug)]
pub(super) enum Prompt<'a> {
    /// A conversation.
    Messages(&'a [Value]),
    /// A text.
    Text(&'a str),
}

/// What came back.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) id: String,
    pub(super) text: String,
    pub(super) finish_reason: Option<String>,
    /// As the server sent it.
    pub(super) usage: Value,
    /// As the server sent it.
    pub(super) receipt: Value,
    /// From the question to the first token, seen from here; none if there was none.
    pub(super) first_token: Option<Duration>,
    /// From the question to the end.
    pub(super) wall: Duration,
}

/// `{"role": …, "content": …}`
pub(super) fn message(role: &str, content: &str) -> Value {
    json!({ "role": role, "content": content })
}

impl Wishes {
    /// The body of a request that streams, usage included.
    fn body(&self, model: &str, prompt: &Prompt<'_>) -> Value {
        let mut body = Map::new();
        let mut set = |name: &str, value: Option<Value>| {
            if let Some(value) = value {
                body.insert(name.to_owned(), value);
            }
        };
        set("model", Some(model.into()));
        match prompt {
            Prompt::Messages(messages) => {
                let system = self.system.as_deref().map(|system| message("system", system));
                set("messages", Some(system.into_iter().chain(messages.iter().cloned()).collect()));
            }
            Prompt::Text(text) => set("prompt", Some((*text).into())),
        }
        set("stream", Some(true.into()));
        set("stream_options", Some(json!({ "include_usage": true })));
        set("max_tokens", Some(self.max_tokens.unwrap_or(MAX_TOKENS_DEFAULT).into()));
        set("temperature", Some(self.temperature.unwrap_or(TEMPERATURE_DEFAULT).into()));
        set("top_p", Some(self.top_p.unwrap_or(TOP_P_DEFAULT).into()));
        set("top_k", self.top_k.map(Into::into));
        set("seed", self.seed.map(Into::into));
        // Seconds without a unit are a number on the wire.
        set(
            "keep_alive",
            self.keep_alive.as_ref().map(|time| time.parse::<f64>().map_or(time.as_str().into(), Into::into)),
        );
        Value::Object(body)
    }
}

/// Asks, and hands every piece of the answer to `each` as it comes.
///
/// # Errors
/// [`ClientError`]; [`ClientError::Passing`] is what `each` said.
pub(super) async fn ask(
    client: &Client,
    wishes: &Wishes,
    (model, prompt): (&str, Prompt<'_>),
    each: impl FnMut(&str) -> io::Result<()>,
) -> Result<Answer, ClientError> {
    let path = match prompt {
        Prompt::Messages(_) => "/v1/chat/completions",
        Prompt::Text(_) => "/v1/completions",
    };
    ask_for(client, (path, &wishes.body(model, &prompt)), each).await
}

/// As [`ask`], with a body that streams and asks for the usage.
///
/// # Errors
/// As [`ask`].
pub(super) async fn ask_for(
    client: &Client,
    (path, body): (&str, &Value),
    mut each: impl FnMut(&str) -> io::Result<()>,
) -> Result<Answer, ClientError> {
    let started = Instant::now();
    let mut answer = Answer {
        id: String::new(),
        text: String::new(),
        finish_reason: None,
        usage: Value::Null,
        receipt: Value::Null,
        first_token: None,
        wall: Duration::ZERO,
    };
    client
        .stream(path, body, |chunk| {
            let Some(piece) = answer.take(chunk) else { return Ok(()) };
            answer.first_token.get_or_insert_with(|| started.elapsed());
            each(piece)
        })
        .await?;
    answer.wall = started.elapsed();
    if answer.receipt.is_null() {
        return Err(ClientError::Answer("it has no receipt"));
    }
    Ok(answer)
}

impl Answer {
    /// Takes over what a chunk says; the piece of text in it.
    fn take<'a>(&mut self, chunk: &'a Value) -> Option<&'a str> {
        if let (true, Some(id)) = (self.id.is_empty(), chunk["id"].as_str()) {
            id.clone_into(&mut self.id);
        }
        for (member, mine) in [("usage", &mut self.usage), ("dayfly", &mut self.receipt)] {
            if let Some(value) = chunk.get(member).filter(|value| !value.is_null()) {
                *mine = value.clone();
            }
        }
        let choice = chunk.pointer("/choices/0")?;
        if let Some(reason) = choice["finish_reason"].as_str() {
            self.finish_reason = Some(reason.to_owned());
        }
        let piece =
            choice.pointer("/delta/content").or(choice.get("text"))?.as_str().filter(|piece| !piece.is_empty())?;
        self.text.push_str(piece);
        Some(piece)
    }

    /// The receipt, understood.
    ///
    /// # Errors
    /// [`ClientError::Answer`] if it is another version's.
    pub(super) fn receipt(&self) -> Result<Receipt, ClientError> {
        Receipt::deserialize(&self.receipt).map_err(|_| ClientError::Answer("its receipt is of another version"))
    }

    /// Everything, for `--json`.
    pub(super) fn to_json(&self, model: &str) -> Value {
        json!({
            "id": self.id,
            "model": model,
            "answer": self.text,
            "finish_reason": self.finish_reason,
            "first_token_seconds": self.first_token.map(|time| time.as_secs_f64()),
            "wall_seconds": self.wall.as_secs_f64(),
            "usage": self.usage,
            "dayfly": self.receipt,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn empty() -> Answer {
        Answer {
            id: String::new(),
            text: String::new(),
            finish_reason: None,
            usage: Value::Null,
            receipt: Value::Null,
            first_token: None,
            wall: Duration::ZERO,
        }
    }

    #[test]
    fn chunks_of_both_kinds_add_up() {
        let mut answer = empty();
        let chunks = [
            json!({ "id": "a", "choices": [{ "delta": { "role": "assistant", "content": "" } }], "usage": null }),
            json!({ "id": "a", "choices": [{ "delta": { "content": "one " } }], "usage": null }),
            json!({ "id": "a", "choices": [{ "text": "two", "finish_reason": null }] }),
            json!({ "id": "a", "choices": [{ "delta": {}, "finish_reason": "stop" }] }),
            json!({ "id": "a", "choices": [], "usage": { "total_tokens": 3 }, "dayfly": { "cold": true } }),
        ];
        let pieces: Vec<_> = chunks.iter().filter_map(|chunk| answer.take(chunk)).collect();
        assert_eq!(pieces, ["one ", "two"]);
        assert_eq!((answer.id.as_str(), answer.text.as_str()), ("a", "one two"));
        assert_eq!(answer.finish_reason.as_deref(), Some("stop"));
        assert_eq!((&answer.usage["total_tokens"], &answer.receipt["cold"]), (&json!(3), &json!(true)));
    }

    #[test]
    fn what_was_wished_is_sent_over_the_defaults_of_a_terminal() {
        let wishes = Wishes { seed: Some(-7), keep_alive: Some("-1".into()), ..Wishes::default() };
        let body = wishes.body("m", &Prompt::Text("t"));
        let expected = json!({
            "model": "m", "prompt": "t", "stream": true, "stream_options": { "include_usage": true },
            "seed": -7, "keep_alive": -1.0, "max_tokens": 1024, "temperature": 0.7, "top_p": 0.95,
        });
        assert_eq!(body, expected);
        let wishes = Wishes { max_tokens: Some(2), temperature: Some(0.0), top_p: Some(1.0), ..Wishes::default() };
        let body = wishes.body("m", &Prompt::Text("t"));
        assert_eq!((&body["max_tokens"], &body["temperature"], &body["top_p"]), (&json!(2), &json!(0.0), &json!(1.0)));
        let wishes = Wishes { system: Some("s".into()), keep_alive: Some("5m".into()), ..Wishes::default() };
        let body = wishes.body("m", &Prompt::Messages(&[message("user", "u")]));
        assert_eq!(body["messages"], json!([message("system", "s"), message("user", "u")]));
        assert_eq!(body["keep_alive"], "5m");
    }
}
