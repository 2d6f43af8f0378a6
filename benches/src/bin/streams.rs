//! Many streams at a time: tokens a second and the time to the first one, dayfly beside llama.cpp's server and OpenVINO GenAI.
//!
//! The servers run the whole time and are asked in turns, with prompts of the same sequence. Each is asked once before, which
//! is not counted. OpenVINO GenAI is no server: it is started for each of its turns, which is not counted either, and there is
//! no HTTP in its figures.

use std::path::PathBuf;

use anyhow::Context as _;
use benches::closed_loop::{Throughput, closed_loop};
use benches::peers::OpenVino;
use benches::server::Server;
use benches::streams::{Prompts, Requests, Shape};
use benches::{median, percentile};
use clap::Parser;
use comfy_table::{Table, presets};
use serde_json::json;

/// Throughput and time to first token of many streams at a time, beside a llama-server.
#[derive(Parser)]
struct Arguments {
    /// The dayfly binary.
    #[arg(long)]
    dayfly: String,
    /// A llama-server binary; without it only dayfly is measured.
    #[arg(long)]
    llama_server: Option<String>,
    /// The folder of its libraries.
    #[arg(long)]
    llama_dir: Option<PathBuf>,
    /// What it is told beside the model, the address, the slots, the context and the threads.
    #[arg(long, default_value = "-fa off --no-webui", allow_hyphen_values = true)]
    llama_args: String,
    /// A Python that has the package openvino-genai; without it that is left out.
    #[arg(long)]
    openvino: Option<PathBuf>,
    /// The GGUF file of the model.
    #[arg(long)]
    model: PathBuf,
    /// Streams at a time.
    #[arg(long, default_value_t = 8)]
    streams: usize,
    /// Streams of a round.
    #[arg(long, default_value_t = 16)]
    requests: usize,
    /// Words of a prompt; about as many tokens.
    #[arg(long, default_value_t = 64)]
    prompt_words: usize,
    /// Tokens of an answer.
    #[arg(long, default_value_t = 64)]
    tokens: usize,
    /// The part of each prompt that is the same for all, from 0 to 1.
    #[arg(long, default_value_t = 0.0)]
    shared: f64,
    /// Threads of each server.
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Rounds; each server has its turn in each.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
}

/// Tokens of a slot beside the words and the answer: a word may be two tokens, and a text has a beginning.
const SLOT_TOKENS: usize = 64;

struct Peer {
    name: &'static str,
    asked: Asked,
    rounds: Vec<Throughput>,
}

enum Asked {
    /// Runs until it is dropped.
    Server {
        requests: Requests,
        _server: Server,
    },
    OpenVino {
        openvino: OpenVino,
        prompts: Prompts,
    },
}

impl Peer {
    fn turn(&self, arguments: &Arguments) -> anyhow::Result<Throughput> {
        let (clients, total) = (arguments.streams, arguments.requests);
        let throughput = match &self.asked {
            Asked::Server { requests, .. } => closed_loop(requests, clients, total),
            Asked::OpenVino { openvino, prompts } => {
                openvino.streams((&arguments.model, arguments.threads), (clients, total), prompts)
            }
        };
        throughput.context(self.name)
    }
}

impl Arguments {
    /// Ours first.
    fn peers(&self) -> anyhow::Result<Vec<Peer>> {
        let model = self.model.file_stem().context("a path of a file")?.to_string_lossy();
        let shape = Shape { prompt_words: self.prompt_words, shared: self.shared, tokens: self.tokens };
        let peer = |name, server: Server| {
            let requests = Requests::new(server.client(), &model, shape);
            Peer { name, asked: Asked::Server { requests, _server: server }, rounds: Vec::new() }
        };
        let config = format!("threads = {}\n", self.threads);
        let mut peers = vec![peer("dayfly", Server::dayfly_over(&self.dayfly, &[&self.model], &config)?)];
        if let Some(program) = &self.llama_server {
            let context = self.streams * (self.prompt_words + self.tokens + SLOT_TOKENS);
            let arguments = format!(
                "--host 127.0.0.1 --port {{port}} -np {} -c {context} -t {} {}",
                self.streams, self.threads, self.llama_args
            );
            let mut arguments: Vec<String> = arguments.split_whitespace().map(str::to_owned).collect();
            arguments.extend(["-m".to_owned(), self.model.display().to_string()]);
            peers.push(peer("llama-server", Server::llama(program, self.llama_dir.as_deref(), &arguments)?));
        }
        if let Some(python) = &self.openvino {
            let asked = Asked::OpenVino { openvino: OpenVino::new(python.clone()), prompts: Prompts::new(shape) };
            peers.push(Peer { name: "OpenVINO GenAI", asked, rounds: Vec::new() });
        }
        Ok(peers)
    }
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let mut peers = arguments.peers()?;
    for peer in &peers {
        if let Asked::Server { requests, .. } = &peer.asked {
            closed_loop(requests, 1, 1).context(peer.name)?;
        }
    }
    for round in 0..arguments.rounds {
        for peer in &mut peers {
            let mut throughput = peer.turn(&arguments)?;
            println!("{}", json!({ "round": round, "server": peer.name, "result": throughput.json() }));
            peer.rounds.push(throughput);
        }
    }
    report(&arguments, &mut peers);
    Ok(())
}

fn report(arguments: &Arguments, peers: &mut [Peer]) {
    let mut table = Table::new();
    table.load_preset(presets::ASCII_MARKDOWN);
    table.set_header(["server", "tokens/s", "ratio", "TTFT p50 ms", "TTFT p95 ms", "ratio of p50s", "completed"]);
    let mut line = json!({
        "model": arguments.model.file_stem().map(|stem| stem.to_string_lossy()),
        "streams": arguments.streams,
        "prompt_words": arguments.prompt_words,
        "tokens": arguments.tokens,
        "shared": arguments.shared,
        "rounds": arguments.rounds,
    });
    let mut ours = None;
    for peer in peers {
        let mut each =
            |value: &dyn Fn(&mut Throughput) -> f64| median(&mut peer.rounds.iter_mut().map(value).collect::<Vec<_>>());
        let rate = each(&|round| round.tokens_per_second());
        let p50_ms = each(&|round| percentile(&mut round.first_ms, 50.0));
        let p95_ms = each(&|round| percentile(&mut round.first_ms, 95.0));
        let completed: usize = peer.rounds.iter().map(|round| round.completed).sum();
        let (our_rate, our_p50_ms) = *ours.get_or_insert((rate, p50_ms));
        let (rates, firsts) = (our_rate / rate, our_p50_ms / p50_ms);
        line[peer.name] = json!({ "output_tokens_per_second": rate, "ttft_ms": { "p50": p50_ms, "p95": p95_ms },
                                  "completed": completed, "rate_of_dayfly_over_it": rates, "ttft_of_dayfly_over_it": firsts });
        let cells = [format!("{rate:.1}"), format!("{rates:.2}"), format!("{p50_ms:.0}"), format!("{p95_ms:.0}")];
        table.add_row(
            [vec![peer.name.to_owned()], cells.into(), vec![format!("{firsts:.2}"), completed.to_string()]].concat(),
        );
    }
    println!("{line}\n\n{table}");
}
