//! Whether a model that was let go is gone: load and drop models many times, and look at what the process holds.
//!
//! Each cycle is a cold start with a kept descriptor: map, validate, bring in, drop. Descriptors are made before the
//! first look, because keeping them is what the pool does. Ends with an error when the memory did not come back.

use anyhow::ensure;
use benches::models::{Chosen, open};
use benches::process::Held;
use clap::Parser;
use loader::BringIn;
use serde_json::json;

/// Most that may be held at the end, as a ratio to the start.
const RATIO_MAX: f64 = 1.02;

/// Load and drop models in cycles, and look at memory, descriptors and threads.
#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    chosen: Chosen,
    /// Loads and drops of each model.
    #[arg(long, default_value_t = 100)]
    cycles: usize,
    /// Lines that are printed on the way.
    #[arg(long, default_value_t = 10)]
    looks: usize,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let entries = arguments.chosen.entries()?;
    let mut kept = vec![None; entries.len()];
    let mut cycle = || -> anyhow::Result<()> {
        for ((_, entry), kept) in entries.iter().zip(&mut kept) {
            let model = open(entry, kept)?;
            model.bring_in(BringIn::Populate, &mut |_| {});
        }
        Ok(())
    };
    cycle()?;
    let start = Held::now()?;
    print("start", start, start);
    let every = arguments.cycles.div_ceil(arguments.looks.max(1)).max(1);
    for done in 1..=arguments.cycles {
        cycle()?;
        if done % every == 0 && done < arguments.cycles {
            print(&done.to_string(), Held::now()?, start);
        }
    }
    let end = Held::now()?;
    print("end", end, start);
    ensure!(ratio(end, start) <= RATIO_MAX, "memory did not come back");
    ensure!(end.descriptors == start.descriptors, "descriptors did not come back");
    ensure!(end.threads == start.threads, "threads did not end");
    Ok(())
}

fn ratio(now: Held, start: Held) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a ratio is shown")]
    let ratio = now.pss_bytes as f64 / start.pss_bytes as f64;
    ratio
}

fn print(cycle: &str, now: Held, start: Held) {
    let Held { pss_bytes, anonymous_bytes, descriptors, threads } = now;
    println!(
        "{}",
        json!({
            "cycle": cycle, "pss_bytes": pss_bytes, "ratio": ratio(now, start),
            "anonymous_bytes": anonymous_bytes, "descriptors": descriptors, "threads": threads,
        })
    );
}
