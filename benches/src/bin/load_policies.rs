//! What each way of bringing a model in and letting it go costs, and leaves behind.
//!
//! Of each model, with its descriptor kept: the time of the load and of the first reading of every page after it (what a
//! first step would wait for), from a warm page cache and from a cold one; then the time of the drop, the memory that is
//! still held after it and how much of the files is still cached. Cold means that the kernel was asked to forget the
//! files, and did.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use benches::median;
use benches::models::{Chosen, open};
use benches::process::Held;
use clap::Parser;
use loader::catalog::Entry;
use loader::{BringIn, LetGo};
use models::{BroughtIn, Descriptor};
use serde_json::{Value, json};

const BRING_IN: [BringIn; 3] = [BringIn::Populate, BringIn::WillNeed, BringIn::Lazy];
const LET_GO: [LetGo; 3] = [LetGo::Keep, LetGo::Cold, LetGo::DontNeed];

/// Ways of bringing models in and letting them go, measured.
#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    chosen: Chosen,
    /// Rounds from a warm page cache.
    #[arg(long, default_value_t = 9)]
    rounds: usize,
    /// Rounds from a cold one.
    #[arg(long, default_value_t = 3)]
    cold_rounds: usize,
}

/// What one load met.
struct Load {
    load: Duration,
    reading: Duration,
    brought: BroughtIn,
    drop: Duration,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    for (name, entry) in arguments.chosen.entries()? {
        let mut kept = None;
        drop(open(&entry, &mut kept)?);
        for how in BRING_IN {
            for (page_cache, rounds) in [("warm", arguments.rounds), ("cold", arguments.cold_rounds)] {
                let mut line = bringing_in(&entry, &mut kept, how, (page_cache, rounds))?;
                line["model"] = json!(name);
                println!("{line}");
            }
        }
        for let_go in LET_GO {
            let mut line = letting_go(&entry, &mut kept, let_go, arguments.rounds)?;
            line["model"] = json!(name);
            println!("{line}");
        }
    }
    Ok(())
}

fn bringing_in(
    entry: &Entry,
    kept: &mut Option<Arc<Descriptor>>,
    how: BringIn,
    (page_cache, rounds): (&str, usize),
) -> anyhow::Result<Value> {
    let loads = (0..rounds).map(|_| {
        let mut model = open(entry, kept)?;
        model.bring_in(BringIn::Populate, &mut |_| {});
        // As far as nobody else maps the files.
        model.set_let_go(if page_cache == "cold" { LetGo::DontNeed } else { LetGo::Keep });
        drop(model);
        load(entry, kept, (how, LetGo::Keep))
    });
    let loads = loads.collect::<anyhow::Result<Vec<Load>>>()?;
    let last = loads.last().map(|load| load.brought);
    Ok(json!({
        "bring_in": format!("{how:?}"), "page_cache": page_cache,
        "load_ms": milliseconds(&loads, |load| load.load),
        "first_reading_ms": milliseconds(&loads, |load| load.reading),
        "brought": last.map(|brought| format!("{brought:?}")),
        "label": last.map(|brought| format!("{:?}", brought.page_cache())),
    }))
}

fn letting_go(
    entry: &Entry,
    kept: &mut Option<Arc<Descriptor>>,
    let_go: LetGo,
    rounds: usize,
) -> anyhow::Result<Value> {
    let before = Held::now()?;
    let loads = (0..rounds).map(|_| load(entry, kept, (BringIn::Populate, let_go)));
    let loads = loads.collect::<anyhow::Result<Vec<Load>>>()?;
    let after = Held::now()?;
    let files = open(entry, kept)?;
    let cached = files.artifact().files().iter().map(|file| file.cached_bytes(0..usize::MAX));
    Ok(json!({
        "let_go": format!("{let_go:?}"),
        "drop_ms": milliseconds(&loads, |load| load.drop),
        "load_ms": milliseconds(&loads, |load| load.load),
        "pss_bytes_before": before.pss_bytes, "pss_bytes_after": after.pss_bytes,
        "weights_bytes": entry.size_bytes, "cached_bytes_after": cached.sum::<Option<u64>>(),
    }))
}

/// One load, one reading of all, one drop.
fn load(entry: &Entry, kept: &mut Option<Arc<Descriptor>>, (how, let_go): (BringIn, LetGo)) -> anyhow::Result<Load> {
    let begin = Instant::now();
    let mut model = open(entry, kept)?;
    model.set_let_go(let_go);
    let brought = model.bring_in(how, &mut |_| {});
    let loaded = begin.elapsed();
    let tensors = model.artifact().tensors();
    let sum = |bytes: &[u8]| bytes.iter().step_by(4096).map(|byte| u64::from(*byte)).sum::<u64>();
    black_box(tensors.map(|tensor| sum(tensor.bytes)).sum::<u64>());
    let read = begin.elapsed();
    drop(model);
    Ok(Load { load: loaded, reading: read - loaded, brought, drop: begin.elapsed() - read })
}

/// Median, least and most.
fn milliseconds(loads: &[Load], time: impl Fn(&Load) -> Duration) -> [f64; 3] {
    let mut times: Vec<f64> = loads.iter().map(|load| time(load).as_secs_f64() * 1e3).collect();
    let middle = median(&mut times);
    let round = |value: f64| (value * 100.0).round() / 100.0;
    [middle, times.first().copied().unwrap_or(0.0), times.last().copied().unwrap_or(0.0)].map(round)
}
