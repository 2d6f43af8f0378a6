//! Whether every account adds up over a long mixed run: 3 models for 20 tenants in memory that does not hold them all,
//! clients that leave, models that are pinned and let go by an administrator, and servers that are killed in the middle
//! of it and started again on the same ledger.
//!
//! Held against each other are the ledger, what every client saw, and what this process sees of the server's memory and
//! processor time from outside ten times a second. Each check says whether it is met; the exit status is 1 when one is not.

mod asks;
mod checks;
mod resources;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use benches::client::Client;
use benches::observer::{LOOK_EVERY, Observer};
use benches::open_loop::wait_until;
use benches::process::processor_time_of;
use benches::server::Server;
use benches::streams::Prompts;
use clap::Parser;
use comfy_table::{Table, presets};
use ledger::Reader;
use serde_json::json;
use sha2::{Digest as _, Sha256};

use self::asks::{Ask, Asker, Models, Outcome, Random, key_of, name_of, prompts};
use self::checks::Check;

/// A long mixed run in which every account must add up.
#[derive(Parser)]
struct Arguments {
    /// The dayfly binary.
    #[arg(long)]
    dayfly: String,
    /// The folder of the models, with the files themselves in it.
    #[arg(long)]
    models_dir: PathBuf,
    /// Names of two models that generate and one that embeds.
    #[arg(long, num_args = 3, default_values = ["SmolLM2-135M-Instruct.Q4_1", "gemma-3-270m-q4_k_m", "all-MiniLM-L6-v2"])]
    models: Vec<String>,
    /// Memory of the pool: not all three fit.
    #[arg(long, default_value = "380MiB")]
    memory_budget: String,
    /// How long.
    #[arg(long, default_value_t = 30)]
    minutes: u64,
    /// How often the server is killed, evenly apart; without this once for each six minutes, and once at least.
    #[arg(long)]
    crashes: Option<usize>,
    /// Tenants, each with a key.
    #[arg(long, default_value_t = 20)]
    tenants: u64,
    /// Requests at a time.
    #[arg(long, default_value_t = 6)]
    clients: u64,
    /// Of everything that is drawn at random.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where the ledger lies; kept. Without it, in a folder that is removed when all checks are met.
    #[arg(long)]
    state: Option<PathBuf>,
}

const ADMIN_KEY: &str = "key-admin";
/// Between two scrapes of the metrics.
const SCRAPE_EVERY: Duration = Duration::from_secs(5);
/// Between two questions for what is kept of models beside their files.
const ASK_EVERY: Duration = Duration::from_millis(250);
/// Between two things that an administrator does.
const CHANGE_EVERY: Duration = Duration::from_secs(7);
/// Before the next attempt where there is no server.
const ATTEMPT_EVERY: Duration = Duration::from_millis(20);

/// One life of the server.
pub(crate) struct Run {
    pub(crate) began: Instant,
    pub(crate) died: Instant,
    pub(crate) is_crashed: bool,
    /// Processor time of its whole life, by the system.
    pub(crate) cpu: Duration,
    /// Its last scrape, right before its end.
    pub(crate) last: Scrape,
}

/// Figures of `GET /metrics`, summed over their labels.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Scrape {
    pub(crate) imbalance: f64,
    pub(crate) loads: f64,
    pub(crate) evictions: f64,
    pub(crate) devices_cpu: f64,
    /// Of processor time that is on no receipt.
    pub(crate) accounts_cpu: f64,
    pub(crate) process_cpu: f64,
    /// Processor time by the system at the same moment.
    pub(crate) outside_cpu: Duration,
}

/// Everything that happened.
pub(crate) struct Happened {
    pub(crate) asks: Vec<Ask>,
    pub(crate) runs: Vec<Run>,
    pub(crate) imbalances: Vec<f64>,
    pub(crate) generators: [String; 2],
}

/// What all threads share.
struct Stage {
    /// How to reach the server, and its process, while there is one.
    server: Mutex<Option<(Client, u32)>>,
    is_over: AtomicBool,
    observer: Observer,
    imbalances: Mutex<Vec<f64>>,
}

impl Stage {
    fn server(&self) -> Option<(Client, u32)> {
        lock(&self.server).clone()
    }

    /// Does `what` each `every`, until it is over.
    fn each(&self, every: Duration, mut what: impl FnMut()) {
        let mut due = Instant::now();
        while !self.is_over.load(Ordering::Relaxed) {
            what();
            due = (due + every).max(Instant::now());
            wait_until(due);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    let state = arguments
        .state
        .clone()
        .unwrap_or_else(|| std::env::temp_dir().join(format!("dayfly-conservation-{}", std::process::id())));
    let [first, second, encoder] = &arguments.models[..] else { anyhow::bail!("three models are needed") };
    let models = Models { generators: [first.clone(), second.clone()], encoder: encoder.clone() };
    let stage = Stage {
        server: Mutex::default(),
        is_over: AtomicBool::new(false),
        observer: Observer::new(&arguments.models_dir)?,
        imbalances: Mutex::default(),
    };
    let (asks, runs) = play(&arguments, (&models, &prompts()), &stage, &state)?;
    let imbalances = std::mem::take(&mut *lock(&stage.imbalances));
    let happened = Happened { asks, runs, imbalances, generators: models.generators };
    let reader = Reader::open(&state.join("ledger.sqlite"))?;
    let mut found = checks::all(&happened, &reader)?;
    found.extend(resources::all(&happened, &stage.observer.samples(), &reader)?);
    let all_met = report(&arguments, &happened, &found);
    if all_met && arguments.state.is_none() {
        std::fs::remove_dir_all(&state)?;
    } else {
        eprintln!("the ledger is in {}", state.display());
    }
    Ok(if all_met { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The run itself: what clients saw, and the lives of the servers.
fn play(
    arguments: &Arguments,
    (models, prompts): (&Models, &[Prompts; 3]),
    stage: &Stage,
    state: &Path,
) -> anyhow::Result<(Vec<Ask>, Vec<Run>)> {
    let length = Duration::from_secs(arguments.minutes * 60);
    let crashes = arguments.crashes.unwrap_or_else(|| usize::try_from(arguments.minutes / 6).unwrap_or(1).max(1));
    let (until, clients_end) = (Instant::now() + length, AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| stage.each(LOOK_EVERY, || stage.observer.look()));
        scope.spawn(|| stage.each(ASK_EVERY, || ask_what_is_kept(stage)));
        scope.spawn(|| stage.each(SCRAPE_EVERY, || _ = scrape(stage)));
        let mut random = Random::new(arguments.seed);
        scope.spawn(move || stage.each(CHANGE_EVERY, || change(stage, models, &mut random)));
        let clients: Vec<_> = (0..arguments.clients)
            .map(|number| {
                let asker = Asker::new((number, arguments.seed), arguments.tenants, models, prompts);
                let clients_end = &clients_end;
                scope.spawn(move || ask_until(asker, stage, clients_end))
            })
            .collect();
        let mut runs = Vec::new();
        let lived = (0..=crashes).try_for_each(|run| {
            let server = Server::dayfly_in(&arguments.dayfly, &arguments.models_dir, &config(arguments), state)?;
            let began = Instant::now();
            stage.observer.watch(Some(server.id()), run);
            *lock(&stage.server) = Some((server.client().with_key(ADMIN_KEY), server.id()));
            let is_crashed = run < crashes;
            let left = until.saturating_duration_since(began);
            wait_until(began + left / u32::try_from(crashes - run + 1)?);
            if !is_crashed {
                clients_end.store(true, Ordering::Relaxed);
                while !clients.iter().all(std::thread::ScopedJoinHandle::is_finished) {
                    wait_until(Instant::now() + ATTEMPT_EVERY);
                }
            }
            let last = scrape(stage).context("the server does not tell its figures")?;
            let cpu = if is_crashed { server.crash()? } else { server.stop()? };
            let died = Instant::now();
            stage.observer.watch(None, run);
            *lock(&stage.server) = None;
            runs.push(Run { began, died, is_crashed, cpu, last });
            anyhow::Ok(())
        });
        clients_end.store(true, Ordering::Relaxed);
        stage.is_over.store(true, Ordering::Relaxed);
        let asks = clients.into_iter().flat_map(|client| client.join().expect("it returns what it saw")).collect();
        lived.map(|()| (asks, runs))
    })
}

fn config(arguments: &Arguments) -> String {
    let mut config = format!(
        "memory_budget = \"{}\"\nkeep_alive = \"3s\"\nscheduler.prefix_cache = \"12MiB\"\n[chat_templates]\n\"{}\" = \"gemma\"\n",
        arguments.memory_budget, arguments.models[1]
    );
    let digest = |key: &str| -> String { Sha256::digest(key).iter().map(|byte| format!("{byte:02x}")).collect() };
    for tenant in 0..arguments.tenants {
        let (name, digest) = (name_of(tenant), digest(&key_of(tenant)));
        config.push_str(&format!("[[keys]]\ntenant = \"{name}\"\nsha256 = \"{digest}\"\n"));
    }
    let scopes = "scopes = [\"admin\", \"read\"]";
    config + &format!("[[keys]]\ntenant = \"operator\"\nsha256 = \"{}\"\n{scopes}\n", digest(ADMIN_KEY))
}

fn ask_until(mut asker: Asker<'_>, stage: &Stage, ends: &AtomicBool) -> Vec<Ask> {
    let mut asks = Vec::new();
    while !ends.load(Ordering::Relaxed) {
        match stage.server() {
            Some((client, _)) => {
                let ask = asker.ask(&client);
                if matches!(ask.outcome, Outcome::Broken { .. }) {
                    wait_until(Instant::now() + ATTEMPT_EVERY);
                }
                asks.push(ask);
            }
            None => wait_until(Instant::now() + ATTEMPT_EVERY),
        }
    }
    asks
}

/// Pages of keys and values that nobody uses are charged to the accounts, and no file's.
fn ask_what_is_kept(stage: &Stage) {
    let Some((client, _)) = stage.server() else { return };
    let kept = client.get("/models").ok();
    if let Some(bytes) = kept.and_then(|answer| answer.body.pointer("/memory/prefix_cache/unused_bytes")?.as_u64()) {
        stage.observer.keeps(bytes);
    }
}

/// Takes the server's figures; the imbalance is noted for good.
fn scrape(stage: &Stage) -> Option<Scrape> {
    let (client, id) = stage.server()?;
    let text = client.text("/metrics").ok()?;
    let outside_cpu = processor_time_of(id).ok()?;
    let sum = |name: &str| -> f64 {
        let of_series = |line: &str| {
            let rest = line.strip_prefix(name).filter(|rest| rest.starts_with([' ', '{']))?;
            rest.rsplit(' ').next()?.parse::<f64>().ok()
        };
        text.lines().filter_map(of_series).sum()
    };
    let scrape = Scrape {
        imbalance: sum("dayfly_ledger_imbalance_total"),
        loads: sum("dayfly_model_loads_total"),
        evictions: sum("dayfly_model_evictions_total"),
        devices_cpu: sum("dayfly_device_cpu_seconds_total"),
        accounts_cpu: sum("dayfly_account_cpu_seconds_total"),
        process_cpu: sum("dayfly_process_cpu_seconds_total"),
        outside_cpu,
    };
    lock(&stage.imbalances).push(scrape.imbalance);
    Some(scrape)
}

/// What an administrator does now and then; that a model is in use or not there refuses some of it.
fn change(stage: &Stage, models: &Models, random: &mut Random) {
    let Some((client, _)) = stage.server() else { return };
    let [first, second] = &models.generators;
    let model = [first, second, &models.encoder][usize::try_from(random.below(3)).unwrap_or(0)];
    let changes: &[&str] = match random.below(3) {
        0 => &["unload"],
        1 => &["load"],
        _ => &["pin", "unpin"],
    };
    for change in changes {
        let _ = client.post(&format!("/models/{change}"), &json!({ "model": model }));
        wait_until(Instant::now() + Duration::from_millis(500 + random.below(1000)));
    }
}

/// Prints the table and the JSON; whether all checks are met.
fn report(arguments: &Arguments, happened: &Happened, found: &[Check]) -> bool {
    let mut kinds: BTreeMap<&str, [usize; 4]> = BTreeMap::new();
    for ask in &happened.asks {
        kinds.entry(ask.kind).or_default()[ask.outcome.column()] += 1;
    }
    let mut table = Table::new();
    table.load_preset(presets::ASCII_MARKDOWN).set_header(["check", "met", "figures"]);
    for check in found {
        let met = if check.is_met { "yes" } else { "NO" };
        table.add_row([check.name.clone(), met.to_owned(), check.figures.to_string()]);
    }
    let all_met = found.iter().all(|check| check.is_met);
    let sum = |figure: fn(&Scrape) -> f64| happened.runs.iter().map(|run| figure(&run.last)).sum::<f64>();
    let checks: BTreeMap<&str, _> =
        found.iter().map(|check| (&*check.name, json!({ "met": check.is_met, "figures": check.figures }))).collect();
    let line = json!({
        "minutes": arguments.minutes,
        "tenants": arguments.tenants,
        "asked": happened.asks.len(),
        "completed_left_refused_broken": kinds,
        "crashes": happened.runs.iter().filter(|run| run.is_crashed).count(),
        "loads": sum(|scrape| scrape.loads),
        "evictions": sum(|scrape| scrape.evictions),
        "checks": checks,
        "all_met": all_met,
    });
    println!("{line}\n\n{table}");
    all_met
}
