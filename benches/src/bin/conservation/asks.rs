//! What clients ask for, and what they see of it: a mix that a seed determines, of whole answers and streams, of one choice
//! and two, of prompts that begin alike and of exact repeats; and clients that leave.
//!
//! Every request is called something (`Idempotency-Key`), so that the row of one that never saw its id can be found.

use std::io::Write as _;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use benches::client::{Answer, Client};
use benches::open_loop::wait_until;
use benches::streams::{Prompts, Shape};
use serde_json::{Value, json};

/// What a client saw of a request.
pub(crate) struct Ask {
    pub(crate) kind: &'static str,
    pub(crate) tenant: String,
    /// What the client called it.
    pub(crate) key: String,
    pub(crate) began: Instant,
    pub(crate) ended: Instant,
    pub(crate) outcome: Outcome,
}

pub(crate) enum Outcome {
    /// The whole answer was read, its receipt included.
    Completed(Answered),
    /// The client did not wait; with the id if it saw one.
    Left { id: Option<String> },
    /// By this status and code.
    Refused(u16, String),
    /// The connection ended, or was never there.
    Broken { id: Option<String> },
}

/// An answer's figures.
pub(crate) struct Answered {
    pub(crate) id: String,
    pub(crate) usage: Usage,
    pub(crate) receipt: Value,
}

/// Tokens by `usage`, and the amount by the receipt beside it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    pub(crate) prompt: u64,
    pub(crate) cached: u64,
    pub(crate) completion: u64,
    pub(crate) pico_units: u64,
}

impl Answered {
    /// Of a body or of a stream's last event; `None` where they are not there, or the id is another one.
    fn of(body: &Value) -> Option<Self> {
        let (usage, receipt) = (&body["usage"], &body["dayfly"]);
        let id = receipt["id"].as_str()?.to_owned();
        if body["id"].as_str().is_some_and(|other| other != id) {
            return None;
        }
        let usage = Usage {
            prompt: usage["prompt_tokens"].as_u64()?,
            cached: usage.pointer("/prompt_tokens_details/cached_tokens").and_then(Value::as_u64).unwrap_or(0),
            completion: usage["completion_tokens"].as_u64().unwrap_or(0),
            pico_units: receipt["cost"]["pico_units"].as_u64()?,
        };
        Some(Self { id, usage, receipt: receipt.clone() })
    }
}

/// Numbers by a seed (xorshift).
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// Below `bound`, which is not 0.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % bound
    }
}

/// Models by what they can.
pub(crate) struct Models {
    pub(crate) generators: [String; 2],
    pub(crate) encoder: String,
}

/// One of those who ask, one request after another.
pub(crate) struct Asker<'a> {
    pub(crate) number: u64,
    pub(crate) tenants: u64,
    pub(crate) models: &'a Models,
    pub(crate) prompts: &'a [Prompts; 3],
    pub(crate) random: Random,
    asked: u64,
    /// As whom it asks and which model, for some requests on end.
    tenant: u64,
    generator: usize,
    last_completed: Option<(u64, String)>,
}

/// Prompts without anything in common, such that begin alike, and long ones.
pub(crate) fn prompts() -> [Prompts; 3] {
    [(24, 0.0), (120, 0.7), (700, 0.0)]
        .map(|(prompt_words, shared)| Prompts::new(Shape { prompt_words, shared, tokens: 0 }))
}

/// The key of a tenant.
pub(crate) fn key_of(tenant: u64) -> String {
    format!("key-{tenant}")
}

/// Its name.
pub(crate) fn name_of(tenant: u64) -> String {
    format!("tenant-{tenant:02}")
}

/// What is done with a request.
enum Way {
    Whole,
    Stream,
    /// Read so many events, and leave.
    LeaveBehind(usize),
    /// Leave after that time, whatever has come.
    LeaveAfter(Duration),
}

struct Turn {
    kind: &'static str,
    path: &'static str,
    body: Value,
    way: Way,
}

impl<'a> Asker<'a> {
    pub(crate) fn new((number, seed): (u64, u64), tenants: u64, models: &'a Models, prompts: &'a [Prompts; 3]) -> Self {
        let random = Random::new(seed.wrapping_mul(1009).wrapping_add(number));
        Self { number, tenants, models, prompts, random, asked: 0, tenant: 0, generator: 0, last_completed: None }
    }

    /// Asks once, as some tenant.
    pub(crate) fn ask(&mut self, client: &Client) -> Ask {
        if self.asked == 0 || self.random.below(3) == 0 {
            // Half of all is asked by a few: what begins alike is found within a tenant alone.
            let few = if self.random.below(2) == 0 { 3 } else { self.tenants };
            self.tenant = self.random.below(few.min(self.tenants));
            self.generator = usize::from(self.random.below(10) >= 6);
        }
        let mut tenant = self.tenant;
        self.asked += 1;
        let mut key = format!("ask-{}-{}", self.number, self.asked);
        let mut turn = self.turn();
        if let Some((whose, first)) = self.last_completed.clone().filter(|_| self.random.below(100) < 3) {
            // The answer that was had is asked for again: it is not to be charged again.
            (tenant, key, turn.kind, turn.way) = (whose, first, "repeat of a key", Way::Whole);
            if let Some(body) = turn.body.as_object_mut() {
                body.remove("stream");
                body.remove("stream_options");
            }
        }
        let client = client.with_key(&key_of(tenant)).calling_it(&key);
        let began = Instant::now();
        let outcome = match turn.way {
            Way::Whole => whole(client.post(turn.path, &turn.body)),
            Way::Stream => stream(&client, &turn, None),
            Way::LeaveBehind(events) => stream(&client, &turn, Some(events)),
            Way::LeaveAfter(time) => leave(&client, &turn, time),
        };
        if matches!(outcome, Outcome::Completed(_)) {
            self.last_completed = Some((tenant, key.clone()));
        }
        Ask { kind: turn.kind, tenant: name_of(tenant), key, began, ended: Instant::now(), outcome }
    }

    fn turn(&mut self) -> Turn {
        let [fresh, alike, long] = self.prompts;
        let dice = self.random.below(100);
        if dice < 18 {
            let input = [fresh.next(), alike.next()];
            let body = json!({ "model": self.models.encoder, "input": input });
            return Turn { kind: "embeddings", path: "/v1/embeddings", body, way: Way::Whole };
        }
        let prompt = if self.random.below(2) == 0 { alike.next() } else { fresh.next() };
        let tokens = 8 + self.random.below(32);
        match dice {
            18..34 => self.completion("completion", prompt, tokens, Way::Whole),
            34..44 => self.chat("chat", &prompt, tokens, Way::Whole),
            44..58 => self.completion("completion, streamed", prompt, tokens, Way::Stream),
            58..68 => self.chat("chat, streamed", &prompt, tokens, Way::Stream),
            68..73 => self.two_choices(&prompt, tokens),
            73..81 => self.of_the_response_cache(),
            81..88 => {
                let events = 2 + usize::try_from(self.random.below(12)).unwrap_or(0);
                self.completion("leaves in decode", prompt, 64, Way::LeaveBehind(events))
            }
            88..94 => {
                let after = Duration::from_millis(80 + self.random.below(2000));
                self.completion("leaves in prefill", long.next(), 16, Way::LeaveAfter(after))
            }
            _ => {
                let after = Duration::from_millis(self.random.below(25));
                self.completion("leaves at once", prompt, 16, Way::LeaveAfter(after))
            }
        }
    }

    fn completion(&mut self, kind: &'static str, prompt: String, tokens: u64, way: Way) -> Turn {
        let mut body = json!({ "prompt": prompt });
        self.settings(&mut body, tokens, &way);
        Turn { kind, path: "/v1/completions", body, way }
    }

    fn chat(&mut self, kind: &'static str, prompt: &str, tokens: u64, way: Way) -> Turn {
        let mut body = json!({ "messages": [{ "role": "user", "content": prompt }] });
        self.settings(&mut body, tokens, &way);
        Turn { kind, path: "/v1/chat/completions", body, way }
    }

    fn two_choices(&mut self, prompt: &str, tokens: u64) -> Turn {
        let mut turn = self.chat("two choices", prompt, tokens, Way::Whole);
        (turn.body["n"], turn.body["temperature"], turn.body["seed"]) = (json!(2), json!(0.8), json!(tokens));
        turn
    }

    /// Some prompts come again and again.
    fn of_the_response_cache(&mut self) -> Turn {
        let prompt = format!("The number {} in words is", self.random.below(3));
        let mut turn = self.completion("response cache", prompt, 12, Way::Whole);
        (turn.body["cache"], turn.body["max_tokens"]) = (json!(true), json!(12));
        turn
    }

    /// Those of a body that do not depend on what is asked.
    fn settings(&mut self, body: &mut Value, tokens: u64, way: &Way) {
        body["model"] = json!(self.models.generators[self.generator]);
        body["max_tokens"] = json!(tokens);
        body["temperature"] = json!(0);
        body["ignore_eos"] = json!(true);
        if self.random.below(40) == 0 {
            body["keep_alive"] = json!(0);
        }
        if !matches!(way, Way::Whole) {
            body["stream"] = json!(true);
            body["stream_options"] = json!({ "include_usage": true });
        }
    }
}

fn whole(answer: anyhow::Result<Answer>) -> Outcome {
    match answer {
        Ok(Answer { status: 200, body, .. }) => {
            Answered::of(&body).map_or(Outcome::Broken { id: None }, Outcome::Completed)
        }
        Ok(Answer { status, body, .. }) => Outcome::Refused(status, code_of(&body)),
        Err(_) => Outcome::Broken { id: None },
    }
}

/// Reads a stream to its end, or leaves behind so many events.
fn stream(client: &Client, turn: &Turn, leaves_behind: Option<usize>) -> Outcome {
    let (mut id, mut answered, mut events, mut is_done) = (None, None, 0, false);
    let read = client.events(turn.path, Some(&turn.body), |_, data| {
        if data == "[DONE]" {
            is_done = true;
            return ControlFlow::Break(());
        }
        let event: Value = serde_json::from_str(data).unwrap_or_default();
        if id.is_none() {
            id = event["id"].as_str().map(str::to_owned);
        }
        answered = Answered::of(&event).or(answered.take());
        events += 1;
        if Some(events) == leaves_behind { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    match (read, answered) {
        (Err(error), _) => refusal(&error.to_string()).unwrap_or(Outcome::Broken { id }),
        (Ok(()), Some(answered)) if is_done => Outcome::Completed(answered),
        (Ok(()), _) if leaves_behind == Some(events) => Outcome::Left { id },
        (Ok(()), _) => Outcome::Broken { id },
    }
}

/// Of a stream that was refused: what its client says of the status and the body.
fn refusal(error: &str) -> Option<Outcome> {
    let status = error.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
    let body: Value = serde_json::from_str(error.get(error.find('{')?..)?).unwrap_or_default();
    Some(Outcome::Refused(status, code_of(&body)))
}

fn code_of(body: &Value) -> String {
    body.pointer("/error/code").and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn leave(client: &Client, turn: &Turn, after: Duration) -> Outcome {
    let begun = client.begin(turn.path, &turn.body);
    wait_until(Instant::now() + after);
    match begun.map(|mut connection| connection.flush()) {
        Ok(Ok(())) => Outcome::Left { id: None },
        _ => Outcome::Broken { id: None },
    }
}
