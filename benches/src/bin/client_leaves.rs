//! How soon a client that leaves has left nothing behind: neither memory nor a lease.
//!
//! A request is begun and its connection closed: while its answer is written, while its prompt is read, and while it waits
//! behind another. Then `GET /models` is asked until it tells what it told before.

use std::io::{BufRead as _, BufReader, ErrorKind, Read as _};
use std::net::TcpStream;
use std::ops::ControlFlow;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use benches::client::Client;
use benches::open_loop::wait_until;
use benches::percentile;
use benches::streams::{Requests, Shape};
use benches::subject::Subject;
use clap::Parser;
use comfy_table::{Table, presets};
use serde_json::json;

/// Time until a client that leaves has left nothing behind.
#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    subject: Subject,
    /// Times that a client leaves in each state.
    #[arg(long, default_value_t = 50)]
    tries: usize,
    /// Words of the long prompt.
    #[arg(long, default_value_t = 1500)]
    prompt_words: usize,
    /// Between two looks, in milliseconds.
    #[arg(long, default_value_t = 1)]
    look_every_ms: u64,
}

/// How long a server may hold what it should not before this gives up.
const LEFT_MAX: Duration = Duration::from_secs(30);
/// Tokens of an answer that is never read to its end.
const TOKENS: usize = 256;

/// What a server tells of memory and leases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Held {
    /// Of weights and of sequences, not of pages that are kept for whoever begins alike.
    bytes: u64,
    leases: u64,
}

impl Held {
    fn of(client: &Client) -> anyhow::Result<Self> {
        let models = client.get("/models")?.body;
        let bytes = |path: &str| models.pointer(path).and_then(serde_json::Value::as_u64).context("no bytes");
        let used = bytes("/memory/used_bytes")?;
        let unused = bytes("/memory/prefix_cache/unused_bytes")?;
        let data = models["data"].as_array().context("no models")?;
        let leases = data.iter().filter_map(|model| model["leases"].as_u64()).sum();
        Ok(Self { bytes: used.checked_sub(unused).context("more is unused than used")?, leases })
    }
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let model = arguments.subject.model()?;
    let mut table = Table::new();
    table.load_preset(presets::ASCII_MARKDOWN).set_header(["leaves", "tries", "p50 ms", "p99 ms", "max ms"]);
    let states: [(&str, Leave); 3] =
        [("while decoding", leave_decoding), ("during prefill", leave_prefill), ("while queued", leave_queued)];
    for (state, leave) in states {
        // One sequence at a time: whoever comes second waits.
        let config = "[scheduler]\nsequences_per_model_max = 1\n";
        let server = arguments.subject.start(config)?;
        let of =
            |prompt_words, tokens| Requests::new(server.client(), &model, Shape { prompt_words, shared: 0.0, tokens });
        let (short, long) = (of(8, TOKENS), of(arguments.prompt_words, TOKENS));
        of(8, 1).whole()?;
        let look = Look { client: server.client(), every: Duration::from_millis(arguments.look_every_ms) };
        let mut ms = Vec::new();
        for _ in 0..arguments.tries {
            ms.push(leave(look, &short, &long)?.as_secs_f64() * 1e3);
        }
        let spread = [percentile(&mut ms, 50.0), percentile(&mut ms, 99.0), percentile(&mut ms, 100.0)];
        println!(
            "{}",
            json!({ "leaves": state, "tries": ms.len(), "ms": { "p50": spread[0], "p99": spread[1], "max": spread[2] } })
        );
        let cells = spread.map(|ms| format!("{ms:.1}"));
        table.add_row([vec![state.to_owned(), ms.len().to_string()], cells.into()].concat());
    }
    println!("\n{table}");
    Ok(())
}

/// Begins, leaves, and tells how long something was left of it. Takes short and long requests.
type Leave = fn(Look, &Requests, &Requests) -> anyhow::Result<Duration>;

#[derive(Clone, Copy)]
struct Look<'a> {
    client: &'a Client,
    every: Duration,
}

impl Look<'_> {
    fn begin(self, requests: &Requests) -> anyhow::Result<TcpStream> {
        let mut body = requests.body();
        body["stream"] = json!(true);
        self.client.begin("/v1/completions", &body)
    }

    /// How long until `is_so` of what is held.
    fn until(self, is_so: impl Fn(Held) -> bool) -> anyhow::Result<Duration> {
        let began = Instant::now();
        loop {
            let held = Held::of(self.client)?;
            if is_so(held) {
                return Ok(began.elapsed());
            }
            if began.elapsed() > LEFT_MAX {
                bail!("after {LEFT_MAX:?} there is still {held:?}");
            }
            wait_until(Instant::now() + self.every);
        }
    }

    /// What is held while nobody asks.
    fn at_rest(self) -> anyhow::Result<Held> {
        self.until(|held| held.leases == 0)?;
        Held::of(self.client)
    }
}

fn leave_decoding(look: Look, short: &Requests, _: &Requests) -> anyhow::Result<Duration> {
    let before = look.at_rest()?;
    let connection = look.begin(short)?;
    first_event(&connection)?;
    ensure!(Held::of(look.client)?.bytes > before.bytes, "a running request holds no memory");
    drop(connection);
    look.until(|held| held == before)
}

fn leave_prefill(look: Look, _: &Requests, long: &Requests) -> anyhow::Result<Duration> {
    let before = look.at_rest()?;
    let mut connection = look.begin(long)?;
    look.until(|held| held.bytes > before.bytes)?;
    ensure!(is_silent(&mut connection)?, "the prompt is too short: its answer has begun");
    drop(connection);
    look.until(|held| held == before)
}

/// What a queued request holds cannot be told from what the one before it holds, so that its lease is looked at alone.
fn leave_queued(look: Look, short: &Requests, _: &Requests) -> anyhow::Result<Duration> {
    look.at_rest()?;
    let (stop, stopped) = mpsc::channel::<()>();
    let (run, runs) = mpsc::channel();
    thread::scope(|scope| {
        let blocker = scope.spawn(move || {
            short.stream(|_| {
                let _ = run.send(());
                match stopped.try_recv() {
                    Err(mpsc::TryRecvError::Empty) => ControlFlow::Continue(()),
                    _ => ControlFlow::Break(()),
                }
            })
        });
        runs.recv().context("the request before ended")?;
        let mut connection = look.begin(short)?;
        look.until(|held| held.leases == 2)?;
        ensure!(is_silent(&mut connection)?, "it was not queued");
        drop(connection);
        let left = look.until(|held| held.leases < 2)?;
        ensure!(Held::of(look.client)?.leases == 1, "the request before ended as well");
        drop(stop);
        blocker.join().expect("it returns its errors")?;
        Ok(left)
    })
}

/// Waits for the answer's first piece.
fn first_event(connection: &TcpStream) -> anyhow::Result<()> {
    for line in BufReader::new(connection).lines() {
        if line?.starts_with("data: {") {
            return Ok(());
        }
    }
    bail!("the answer has no event")
}

/// Whether no piece of the answer has come.
fn is_silent(connection: &mut TcpStream) -> anyhow::Result<bool> {
    let mut come = Vec::new();
    connection.set_nonblocking(true)?;
    match connection.read_to_end(&mut come) {
        Err(error) if error.kind() == ErrorKind::WouldBlock => {}
        read => bail!("the answer ended: {read:?}"),
    }
    Ok(!String::from_utf8_lossy(&come).contains("data: {"))
}
