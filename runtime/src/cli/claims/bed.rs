//! Where claims are tested: servers of this binary, over a copy of the model that nobody else maps.
//!
//! Invariants: everything is in one temporary folder, which goes with the command; a server has ended before its ledger
//! is read. Deliberately absent: claims.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use ledger::Reader;
use loader::catalog::Entry;
use meter::Receipt;
use models::Descriptor;
use models::tokenizer::{Special, Start, Tokenizer};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::Instant;

use crate::cli::bench::pools::arms::until;
use crate::cli::bench::pools::child::{ServerChild, Told};
use crate::cli::bench::pools::copies::{Source, check_room};
use crate::cli::bench::pools::drive::{Answered, Prompts, answer};
use crate::cli::bench::pools::samples::{Sample, Sampler};
use crate::cli::bench::pools::workload::Arrival;
use crate::cli::failure::Failure;
use crate::cli::{pull, reach};
use crate::client::Client;
use crate::config::{Config, StaticKey};

/// What all prompts are drawn from.
const SEED: u64 = 7;
/// Who asks, where it does not matter.
const TENANT: &str = "claims";

/// Where the copy is, in the folder.
const MODELS: &str = "models";
/// What texts are made of.
const TEXT_WORDS: [&str; 7] = [" manual", " time", " house", " water", " people", " light", " road"];

/// How long claims may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Size {
    /// About five minutes on two processors.
    Full,
    /// About one.
    Quick,
}

impl Size {
    /// One of two.
    pub(super) fn pick<T>(self, full: T, quick: T) -> T {
        match self {
            Self::Full => full,
            Self::Quick => quick,
        }
    }
}

/// The model, and where its servers are.
pub(super) struct Bed {
    pub(super) config: Config,
    pub(super) size: Size,
    pub(super) source: Source,
    /// Positions that a request may have.
    pub(super) positions: u32,
    prompts: Prompts,
    tokenizer: Tokenizer,
    /// The copy.
    entry: Entry,
    folder: TempDir,
}

/// A text, and how many tokens it has.
pub(super) struct Text {
    pub(super) text: String,
    pub(super) tokens: u32,
}

/// How a server is told to be, where it is not as all.
pub(super) struct Manner<'a> {
    pub(super) keep_alive: &'a str,
    pub(super) pinned: &'a [&'a str],
    /// Who may ask beside [`TENANT`].
    pub(super) tenants: &'a [StaticKey],
    pub(super) besides: Value,
}

impl Manner<'_> {
    /// Models stay for so long.
    pub(super) fn staying(keep_alive: &str) -> Manner<'_> {
        Manner { keep_alive, pinned: &[], tenants: &[], besides: Value::Null }
    }
}

/// A running server.
pub(super) struct Running {
    pub(super) client: Client,
    server: ServerChild,
    sampler: Sampler,
}

impl Bed {
    /// Fetches a known model, and copies it.
    ///
    /// # Errors
    /// When there is no such model, or no room.
    pub(super) async fn make(mut config: Config, model: &str, size: Size) -> Result<Self, Failure> {
        let entry = tokio::task::block_in_place(|| pull::find_or_pull(&config, model))?;
        let artifact = entry.open().map_err(|error| Failure::Failed(error.into()))?;
        let descriptor = Descriptor::of(&artifact, None).map_err(|error| Failure::Failed(error.into()))?;
        if descriptor.decoder().is_none() {
            return Err(Failure::Usage(anyhow::anyhow!("`{model}` makes vectors of texts: it decodes nothing")));
        }
        let trained = descriptor.context_length();
        let positions = config.context_max.map_or(trained, |max| max.min(trained));
        let mut prompts = Prompts::new(SEED);
        prompts.add(&entry.name, &descriptor.tokenizer)?;
        let source = Source::of(&entry)?;
        let folder = tempfile::Builder::new().prefix("dayfly-claims-").tempdir();
        let folder = folder.context("no temporary folder can be made")?;
        let positions = u32::try_from(positions).unwrap_or(u32::MAX);
        check_room(folder.path(), source.size_bytes)?;
        config.models_dirs = vec![folder.path().join(MODELS)];
        source.copy_into(&config.models_dirs[0]).await?;
        let entry = tokio::task::block_in_place(|| pull::find_or_pull(&config, &source.name))?;
        let tokenizer = descriptor.tokenizer;
        Ok(Self { config, size, source, positions, prompts, tokenizer, entry, folder })
    }

    pub(super) fn model(&self) -> &str {
        &self.source.name
    }

    /// Where the copy is.
    pub(super) fn models_dir(&self) -> PathBuf {
        self.path(MODELS)
    }

    /// How much of the copy is in the page cache; none where the system does not tell.
    pub(super) fn cached_share(&self) -> Option<f64> {
        Some(float(self.entry.cached_bytes()?) / float(self.source.size_bytes.max(1)))
    }

    /// Something in the folder.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Starts a server over the copy.
    ///
    /// # Errors
    /// When it does not listen.
    pub(super) async fn start(&self, name: &str, manner: Manner<'_>) -> Result<Running, Failure> {
        self.start_over(&self.models_dir(), name, manner).await
    }

    /// Starts a server over `models_dir`, and returns when its pinned models are loaded.
    ///
    /// # Errors
    /// When it does not listen, or they are not.
    pub(super) async fn start_over(
        &self,
        models_dir: &Path,
        name: &str,
        manner: Manner<'_>,
    ) -> Result<Running, Failure> {
        let Manner { keep_alive, pinned, tenants, besides } = manner;
        let (key, hash) = reach::fresh_key(TENANT);
        let keys: Vec<StaticKey> = [hash].into_iter().chain(tenants.iter().cloned()).collect();
        let told = Told { config: &self.config, keep_alive, pinned, keys: &keys, besides };
        let server = ServerChild::start(self.path(name), models_dir, &told).await?;
        let client = Client::new(server.url(), Some(&key))?;
        until(&client, pinned, "loaded").await?;
        let sampler = Sampler::new(vec![server.pid()], Instant::now())?;
        Ok(Running { client, server, sampler })
    }

    /// Request `index` of the model, with so many tokens; no two indices are alike.
    pub(super) fn body(&self, index: usize, (prompt_tokens, completion_tokens): (u32, u32)) -> Value {
        let arrival = Arrival { at: Duration::ZERO, tenant: 0, model: 0, prompt_tokens, completion_tokens };
        self.prompts.body(index, &arrival)
    }

    /// A text of words that has so many tokens, or a few more.
    ///
    /// # Errors
    /// When the model has no tokens for words.
    pub(super) fn text(&self, tokens: u32) -> Result<Text, Failure> {
        let mut text = String::new();
        loop {
            text.push_str(TEXT_WORDS[text.len() % TEXT_WORDS.len()]);
            let ids = self.tokenizer.encode(&text, Special::Plain, Start::Bare);
            let count = u32::try_from(ids.context("words cannot be tokenized")?.len()).unwrap_or(u32::MAX);
            if count >= tokens {
                return Ok(Text { text, tokens: count });
            }
        }
    }
}

impl Running {
    /// Asks, and reads the answer to its end.
    ///
    /// # Errors
    /// When it is refused, or breaks off.
    pub(super) async fn ask(&self, body: &Value) -> Result<Answered, Failure> {
        Ok(answer(&self.client, body).await?)
    }

    /// Publishes a context, and says how many tokens it has.
    ///
    /// # Errors
    /// When it is refused.
    pub(super) async fn publish(&self, model: &str, text: &str) -> Result<Published, Failure> {
        let body = json!({ "model": model, "name": CONTEXT, "text": text });
        let answer = self.client.post("/v1/contexts", &body).await?;
        let receipt = serde_json::from_value(answer["dayfly"].clone()).context("a context has no receipt")?;
        Ok(Published { receipt })
    }

    /// Waits until the model is unloaded.
    ///
    /// # Errors
    /// When it is not, in time.
    pub(super) async fn unloaded(&self, model: &str) -> Result<(), Failure> {
        until(&self.client, &[model], "unloaded").await
    }

    /// What the process holds and has taken now.
    ///
    /// # Errors
    /// When it has ended.
    pub(super) fn look(&mut self) -> Result<Sample, Failure> {
        tokio::task::block_in_place(|| self.sampler.look())?;
        self.sampler.latest().next().context("a server is not seen").map_err(Failure::Failed)
    }

    /// What the process holds, as soon as it has given back what it gives back.
    ///
    /// # Errors
    /// When it has ended.
    pub(super) async fn settled_kib(&self) -> Result<u64, Failure> {
        crate::cli::bench::pools::arms::settled_kib(&self.server).await
    }

    /// Ends the server, and opens what it wrote.
    ///
    /// # Errors
    /// When it does not end well.
    pub(super) async fn stop(mut self) -> Result<Reader, Failure> {
        self.server.stop().await?;
        let reader = tokio::task::block_in_place(|| Reader::open(&self.server.ledger()));
        reader.context("a server's ledger cannot be read").map_err(Failure::Failed)
    }
}

/// What the context is called.
pub(super) const CONTEXT: &str = "manual";

/// A published context.
pub(super) struct Published {
    /// Of computing it.
    pub(super) receipt: Receipt,
}

/// The middle one; of two the lower. 0 of none.
pub(super) fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len().saturating_sub(1) / 2).copied().unwrap_or(0.0)
}

#[expect(clippy::cast_precision_loss, reason = "counts and bytes of one machine are far below 2^52")]
pub(super) fn float(count: u64) -> f64 {
    count as f64
}
