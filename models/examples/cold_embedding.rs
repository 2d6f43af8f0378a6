//! How long an encoder takes from its file to a vector and away again: `cold_embedding FILE|FOLDER [THREADS]`.
//!
//! Each turn opens the model, reads its header and tokenizer, embeds one sentence and drops everything; only the file
//! itself may stay in the page cache. Threads are started once, as a server has them.

#![expect(clippy::print_stdout, reason = "a tool that tells figures")]

use std::error::Error;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kernels::Isa;
use loader::{Artifact, BringIn};
use models::encoding::{Encoding, Passage};
use models::tokenizer::{Special, Start};
use models::{Descriptor, Executor, Model};

const TURNS: usize = 21;
const SENTENCE: &str = "The model is mapped when a request needs it, and let go when it is idle.";

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().ok_or("say FILE or FOLDER")?;
    let threads: NonZeroUsize = arguments.next().as_deref().unwrap_or("2").parse()?;
    let mut executor = Executor::new(threads, Isa::detect());
    let turns = (0..TURNS).map(|_| turn(Path::new(&path), &mut executor)).collect::<Result<Vec<_>, _>>()?;
    for (part, name) in ["open", "describe", "map and embed", "drop", "all"].iter().enumerate() {
        let mut times: Vec<Duration> = turns.iter().map(|turn| turn[part]).collect();
        times.sort_unstable();
        println!("{name}: {:.1} ms, at most {:.1}", milliseconds(times[TURNS / 2]), milliseconds(times[TURNS - 1]));
    }
    Ok(())
}

/// Times of each part, and of all.
fn turn(path: &Path, executor: &mut Executor) -> Result<[Duration; 5], Box<dyn Error>> {
    let begin = Instant::now();
    let artifact = Artifact::open(path)?;
    let opened = begin.elapsed();
    let descriptor = Arc::new(Descriptor::of(&artifact, None)?);
    let described = begin.elapsed();
    let model = Model::new(artifact, descriptor);
    model.bring_in(BringIn::Populate, &mut |_| {});
    let finish = model.descriptor().encoder().ok_or("it is no encoder")?.finish;
    let tokens = model.descriptor().tokenizer.encode(SENTENCE, Special::Plain, Start::AsModel)?;
    let mut encoding = Encoding::new(vec![Passage::of_tokens(tokens)], finish);
    let rows = executor.encode(&model, &encoding.batch());
    encoding.absorb(rows)?;
    let embedded = begin.elapsed();
    drop((model, encoding));
    let all = begin.elapsed();
    Ok([opened, described - opened, embedded - described, all - embedded, all])
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
