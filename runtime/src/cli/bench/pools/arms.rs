//! The three ways of serving, each really run: its servers are started, asked, watched and ended.
//!
//! Invariants: every arm gets the same requests; servers listen, and those that hold their models for good have loaded
//! them, before an arm begins; a server has ended before its ledger is read. Deliberately absent: figures. What is
//! returned is what was seen.

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use ledger::{Reader, SavingsQuery, Since};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::child::{ServerChild, Told};
use super::copies::{Source, check_room};
use super::drive::{Driven, Driver, Prompts, answer};
use super::samples::{SAMPLE_EVERY, Sample, Sampler};
use super::workload::{Arrival, Workload};
use crate::cli::failure::Failure;
use crate::cli::ps;
use crate::client::Client;
use crate::config::{Config, StaticKey};

/// How long a load, or an unload, may take.
const LOADED_MAX: Duration = Duration::from_secs(300);
/// Between two looks at whether it is done.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// How long a process may give memory back before it is looked at, and then the looks at it.
const SETTLES_WITHIN: Duration = Duration::from_secs(1);
const LOOKS: usize = 3;

/// A way of serving.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Arm {
    /// One server that lets models go.
    Ephemeral,
    /// One server that holds every model.
    SharedPersistent,
    /// A server for each tenant that holds the models which that tenant uses, from files of its own.
    Dedicated,
}

impl Arm {
    /// All of them, in the order in which they are run: what the others are predicted from comes first.
    pub(super) const ALL: [Self; 3] = [Self::Ephemeral, Self::SharedPersistent, Self::Dedicated];

    /// For people.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Ephemeral => "shared ephemeral",
            Self::SharedPersistent => "shared persistent",
            Self::Dedicated => "dedicated",
        }
    }

    fn folder(self) -> &'static str {
        match self {
            Self::Ephemeral => "ephemeral",
            Self::SharedPersistent => "persistent",
            Self::Dedicated => "dedicated",
        }
    }
}

/// Who asks, and by which key.
#[derive(Clone, Debug)]
pub(super) struct Tenant {
    pub(super) name: String,
    pub(super) key: String,
    pub(super) hash: StaticKey,
}

/// What all arms have in common.
#[derive(Debug)]
pub(super) struct Stage {
    /// The user's choices.
    pub(super) config: Config,
    /// How long the ephemeral arm's models stay.
    pub(super) keep_alive: String,
    pub(super) workload: Arc<Workload>,
    pub(super) prompts: Arc<Prompts>,
    pub(super) models: Vec<Source>,
    pub(super) tenants: Vec<Tenant>,
    /// How long each arm is watched at least.
    pub(super) watched: Duration,
    /// Where everything is put that goes afterwards.
    pub(super) folder: PathBuf,
}

/// What was seen of an arm.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) arm: Arm,
    pub(super) processes: Vec<ProcessRun>,
    pub(super) driven: Driven,
    /// How long it was watched.
    pub(super) observed: Duration,
}

/// What was seen of a server.
#[derive(Debug)]
pub(super) struct ProcessRun {
    /// Whose it is, if it is one tenant's.
    pub(super) tenant: Option<usize>,
    pub(super) samples: Vec<Sample>,
    /// Processor time before the arm began: the start, and loads that went before.
    pub(super) cpu_before: Duration,
    pub(super) ledger: LedgerSums,
}

/// What a server's ledger says.
#[derive(Debug)]
pub(super) struct LedgerSums {
    pub(super) totals: Vec<ledger::TenantTotal>,
    pub(super) accounts: Vec<ledger::AccountTotal>,
    pub(super) inputs: meter::SavingsInputs,
}

/// What a process holds when it holds no weights.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Overhead {
    /// Of one that has just started.
    pub(super) fresh_kib: u64,
    /// What it holds more after each model has been used once and unloaded, such as its tokenizer and what it computed
    /// in; in the models' order.
    pub(super) models_kib: Vec<u64>,
}

/// A server that is about to be measured.
struct Started {
    server: ServerChild,
    tenant: Option<usize>,
}

impl Stage {
    /// Bytes of all copies that are made.
    pub(super) fn copies_bytes(&self) -> u64 {
        let models = |models: Vec<usize>| models.into_iter().map(|model| self.models[model].size_bytes).sum::<u64>();
        let own = (0..self.tenants.len()).map(|tenant| models(self.workload.models_of(tenant)));
        own.chain([self.models.iter().map(|model| model.size_bytes).sum()]).fold(0, u64::saturating_add)
    }

    /// Makes all copies.
    ///
    /// # Errors
    /// When there is no room for them, or they cannot be made.
    pub(super) async fn copy(&self) -> Result<(), Failure> {
        check_room(&self.folder, self.copies_bytes())?;
        for model in &self.models {
            model.copy_into(&self.shared_models()).await?;
        }
        for tenant in 0..self.tenants.len() {
            for model in self.workload.models_of(tenant) {
                self.models[model].copy_into(&self.models_of(tenant)).await?;
            }
        }
        Ok(())
    }

    fn shared_models(&self) -> PathBuf {
        self.folder.join("models")
    }

    fn models_of(&self, tenant: usize) -> PathBuf {
        self.folder.join(format!("models-{tenant}"))
    }

    /// What a process holds without weights, found out by a server that is asked once for each model.
    ///
    /// # Errors
    /// When the server cannot be started or does not answer.
    pub(super) async fn overhead(&self) -> Result<Overhead, Failure> {
        let tenant = &self.tenants[0];
        let keys = [tenant.hash.clone()];
        let told = Told { config: &self.config, keep_alive: "0", pinned: &[], keys: &keys, besides: Value::Null };
        let mut server = ServerChild::start(self.folder.join("overhead"), &self.shared_models(), &told).await?;
        let client = Client::new(server.url(), Some(&tenant.key))?;
        let fresh_kib = settled_kib(&server).await?;
        let (mut models_kib, mut before) = (Vec::new(), fresh_kib);
        for model in 0..self.models.len() {
            if let Some((index, arrival)) = self.largest(model) {
                answer(&client, &self.prompts.body(index, arrival)).await?;
                until(&client, &[&self.models[model].name], "unloaded").await?;
            }
            let after = settled_kib(&server).await?;
            models_kib.push(after.saturating_sub(before));
            before = after.max(before);
        }
        server.stop().await?;
        Ok(Overhead { fresh_kib, models_kib })
    }

    /// The request for `model` with the most tokens.
    fn largest(&self, model: usize) -> Option<(usize, &Arrival)> {
        let own = self.workload.arrivals.iter().enumerate().filter(|(_, arrival)| arrival.model == model);
        own.max_by_key(|(_, arrival)| u64::from(arrival.prompt_tokens) + u64::from(arrival.completion_tokens))
    }

    /// Runs an arm.
    ///
    /// # Errors
    /// When a server cannot be started, ends by itself, or leaves no ledger. Requests that fail are no error but seen.
    pub(super) async fn run(&self, arm: Arm) -> Result<Run, Failure> {
        let started = self.start(arm).await?;
        let mut clients = vec![None; self.tenants.len()];
        for (index, tenant) in self.tenants.iter().enumerate() {
            let own = started.iter().find(|one| one.tenant.is_none_or(|owner| owner == index));
            clients[index] = own.map(|one| Client::new(one.server.url(), Some(&tenant.key))).transpose()?;
        }
        let began = Instant::now();
        let mut sampler = Sampler::new(started.iter().map(|one| one.server.pid()).collect(), began)?;
        sampler.look()?;
        let cpu_before: Vec<Duration> = sampler.latest().map(|sample| sample.cpu).collect();
        let (workload, prompts) = (Arc::clone(&self.workload), Arc::clone(&self.prompts));
        let driver = Driver { workload, prompts, clients, began, until: None };
        let driven = tokio::select! {
            driven = driver.drive() => driven,
            never = sampler.watch() => return Err(ended(never)),
        };
        tokio::select! {
            () = tokio::time::sleep_until(began + self.watched) => {}
            never = sampler.watch() => return Err(ended(never)),
        }
        sampler.look()?;
        let observed = began.elapsed();
        let (mut processes, series) = (Vec::new(), sampler.into_series());
        for ((one, samples), cpu_before) in started.into_iter().zip(series).zip(cpu_before) {
            processes.push(one.end(samples, cpu_before).await?);
        }
        Ok(Run { arm, processes, driven, observed })
    }

    /// Starts an arm's servers, and returns when they hold what they hold for good.
    async fn start(&self, arm: Arm) -> Result<Vec<Started>, Failure> {
        let all: Vec<usize> = (0..self.models.len()).collect();
        if arm != Arm::Dedicated {
            let pinned = if arm == Arm::SharedPersistent { all } else { Vec::new() };
            let folder = self.folder.join(arm.folder());
            return Ok(vec![self.start_one((folder, &self.shared_models()), None, &pinned).await?]);
        }
        let mut started = Vec::new();
        for tenant in 0..self.tenants.len() {
            let own = self.workload.models_of(tenant);
            if !own.is_empty() {
                let folder = self.folder.join(format!("{}-{tenant}", arm.folder()));
                started.push(self.start_one((folder, &self.models_of(tenant)), Some(tenant), &own).await?);
            }
        }
        Ok(started)
    }

    async fn start_one(
        &self,
        (folder, models_dir): (PathBuf, &Path),
        tenant: Option<usize>,
        pinned: &[usize],
    ) -> Result<Started, Failure> {
        let names: Vec<&str> = pinned.iter().map(|&model| self.models[model].name.as_str()).collect();
        let tenants = tenant.map_or(&self.tenants[..], |tenant| &self.tenants[tenant..=tenant]);
        let keys: Vec<StaticKey> = tenants.iter().map(|tenant| tenant.hash.clone()).collect();
        let keep_alive = if pinned.is_empty() { self.keep_alive.as_str() } else { "-1" };
        let told = Told { config: &self.config, keep_alive, pinned: &names, keys: &keys, besides: Value::Null };
        let server = ServerChild::start(folder, models_dir, &told).await?;
        let client = Client::new(server.url(), Some(&tenants[0].key))?;
        until(&client, &names, "loaded").await?;
        Ok(Started { server, tenant })
    }
}

impl Started {
    /// Ends the server, and reads what it wrote.
    async fn end(mut self, samples: Vec<Sample>, cpu_before: Duration) -> Result<ProcessRun, Failure> {
        self.server.stop().await?;
        let path = self.server.ledger();
        let ledger = tokio::task::block_in_place(|| read(&path)).context("a server's ledger cannot be read")?;
        Ok(ProcessRun { tenant: self.tenant, samples, cpu_before, ledger })
    }
}

fn read(path: &Path) -> Result<LedgerSums, ledger::LedgerError> {
    let reader = Reader::open(path)?;
    let inputs = reader.savings_inputs(SavingsQuery { since: Since::Beginning, until: None })?;
    Ok(LedgerSums { totals: reader.tenant_totals()?, accounts: reader.account_totals()?, inputs })
}

fn ended(watched: Result<Infallible, Failure>) -> Failure {
    match watched {
        Err(failure) => failure,
        Ok(never) => match never {},
    }
}

/// Waits until all of these models have this status.
pub(in crate::cli) async fn until(client: &Client, models: &[&str], status: &str) -> Result<(), Failure> {
    let began = Instant::now();
    loop {
        let states = client.get("/models").await?;
        let has_it = |name: &&str| {
            let model = states["data"].as_array().into_iter().flatten().find(|model| model["id"] == json!(name));
            model.map_or("unloaded", ps::status) == status
        };
        if models.iter().all(has_it) {
            return Ok(());
        }
        if began.elapsed() > LOADED_MAX {
            return Err(Failure::Failed(anyhow::anyhow!("{} is not {status} in time", models.join(", "))));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// What a server that does nothing holds, as soon as it has given back what it gives back: the median of a few looks.
pub(in crate::cli) async fn settled_kib(server: &ServerChild) -> Result<u64, Failure> {
    tokio::time::sleep(SETTLES_WITHIN).await;
    let mut sampler = Sampler::new(vec![server.pid()], Instant::now())?;
    let mut looks = Vec::with_capacity(LOOKS);
    for _ in 0..LOOKS {
        sampler.look()?;
        looks.extend(sampler.latest().map(|sample| sample.pss_kib));
        tokio::time::sleep(SAMPLE_EVERY).await;
    }
    looks.sort_unstable();
    Ok(looks[LOOKS / 2])
}
