//! The requests of the demonstration, and what happens between them.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::cli::ask::{Answer, Prompt, Wishes, ask, message};
use crate::cli::failure::Failure;
use crate::cli::output::{self, Format, seconds_text};
use crate::cli::{ps, run};
use crate::client::Client;

/// Tokens of an answer.
const ANSWER_TOKENS_MAX: u32 = 48;
/// How long the model stays after the last request before a pause.
const SHORT_STAY: &str = "1s";
/// How long it may take to be gone.
const GONE_MAX: Duration = Duration::from_secs(60);
/// How often the server is asked whether it is.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// One who asks.
pub(super) struct Tenant {
    pub(super) name: &'static str,
    pub(super) key: String,
    pub(super) client: Client,
}

/// How the story is told.
pub(super) struct Teller {
    pub(super) format: Format,
    pub(super) model: String,
    pub(super) quiet: Duration,
}

/// What happened.
pub(super) struct Story {
    pub(super) told: Vec<Told>,
    model: String,
    weights_bytes: u64,
    quiet: Quiet,
}

/// One request.
pub(super) struct Told {
    pub(super) tenant: &'static str,
    pub(super) answer: Answer,
    phase: &'static str,
    prompt: &'static str,
}

/// The time when nobody asked.
struct Quiet {
    seconds: f64,
    held_bytes_max: u64,
}

/// One request to make.
struct Scene {
    phase: &'static str,
    tenant: usize,
    prompt: &'static str,
    keep_alive: Option<&'static str>,
}

const BEFORE_THE_PAUSE: [Scene; 4] = [
    Scene { phase: "cold", tenant: 0, prompt: "Which planet is known as the red planet?", keep_alive: None },
    Scene { phase: "warm", tenant: 0, prompt: "Write one sentence about the sea.", keep_alive: None },
    Scene { phase: "warm", tenant: 1, prompt: "Name three colours of the rainbow.", keep_alive: None },
    Scene { phase: "warm", tenant: 2, prompt: "What do bees make?", keep_alive: Some(SHORT_STAY) },
];
const AFTER_THE_PAUSE: [Scene; 1] = [Scene {
    phase: "after eviction",
    tenant: 1,
    prompt: "What is the opposite of hot?",
    keep_alive: Some(SHORT_STAY),
}];

impl Teller {
    /// Makes all requests, with a pause in which the model is unloaded and nobody asks.
    pub(super) async fn tell(&self, tenants: &[Tenant]) -> Result<Story, Failure> {
        let mut told = Vec::new();
        for scene in &BEFORE_THE_PAUSE {
            told.push(self.play(scene, &tenants[scene.tenant]).await?);
        }
        let client = &tenants[0].client;
        self.until_unloaded(client).await?;
        let quiet = self.stay_quiet(client).await?;
        for scene in &AFTER_THE_PAUSE {
            told.push(self.play(scene, &tenants[scene.tenant]).await?);
        }
        // So that what was kept after the last answer is accounted for, too.
        self.until_unloaded(client).await?;
        let weights_bytes = told[0].answer.receipt()?.memory.weights_bytes;
        Ok(Story { told, model: self.model.clone(), weights_bytes, quiet })
    }

    async fn play(&self, scene: &Scene, tenant: &Tenant) -> Result<Told, Failure> {
        let Scene { phase, prompt, keep_alive, .. } = *scene;
        self.say(format_args!("\n[{phase}] {}: {prompt}", tenant.name))?;
        let wishes = Wishes {
            max_tokens: Some(ANSWER_TOKENS_MAX),
            temperature: Some(0.0),
            keep_alive: keep_alive.map(str::to_owned),
            ..Wishes::default()
        };
        let messages = [message("user", prompt)];
        let question = (self.model.as_str(), Prompt::Messages(&messages));
        let answer = ask(&tenant.client, &wishes, question, run::shown_in(self.format)).await?;
        self.say("")?;
        Ok(Told { tenant: tenant.name, answer, phase, prompt })
    }

    /// Waits until the model's memory is given back.
    async fn until_unloaded(&self, client: &Client) -> Result<(), Failure> {
        let began = Instant::now();
        loop {
            let states = client.get("/models").await?;
            let model = states["data"].as_array().into_iter().flatten().find(|model| model["id"] == *self.model);
            if model.is_none_or(|model| ps::status(model) == "unloaded") {
                let time = seconds_text(began.elapsed().as_secs_f64());
                return self.say(format_args!("\n(unloaded {time} after the answer, as the request wished)"));
            }
            if began.elapsed() > GONE_MAX {
                return Err(Failure::Failed(anyhow::anyhow!("the model was not unloaded in time")));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Asks nothing for a while, and looks at what is held meanwhile.
    async fn stay_quiet(&self, client: &Client) -> Result<Quiet, Failure> {
        let began = Instant::now();
        let mut held_bytes_max = 0;
        while began.elapsed() < self.quiet {
            let states = client.get("/models").await?;
            held_bytes_max = held_bytes_max.max(states["memory"]["used_bytes"].as_u64().unwrap_or(0));
            tokio::time::sleep(LOOK_EVERY.min(self.quiet.saturating_sub(began.elapsed()))).await;
        }
        let seconds = began.elapsed().as_secs_f64();
        if !self.quiet.is_zero() {
            let time = seconds_text(seconds);
            self.say(format_args!("(nobody asks for {time}: {held_bytes_max} bytes held for models)"))?;
        }
        Ok(Quiet { seconds, held_bytes_max })
    }

    fn say(&self, line: impl std::fmt::Display) -> Result<(), Failure> {
        match self.format {
            Format::Text => output::print(line),
            Format::Json => Ok(()),
        }
    }
}

impl Story {
    pub(super) fn to_json(&self) -> Value {
        let requests: Vec<Value> = self
            .told
            .iter()
            .map(|told| {
                let mut request = told.answer.to_json(&self.model);
                request["phase"] = json!(told.phase);
                request["tenant"] = json!(told.tenant);
                request["prompt"] = json!(told.prompt);
                request
            })
            .collect();
        json!({
            "model": self.model,
            "weights_bytes": self.weights_bytes,
            "requests": requests,
            "quiet": { "seconds": self.quiet.seconds, "held_bytes_max": self.quiet.held_bytes_max },
        })
    }
}
