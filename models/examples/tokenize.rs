//! How long a tokenizer takes to make and to use: `tokenize MODEL.gguf TEXT`.
//!
//! Times are the best of several turns: of making it from a header that is in memory, of the text, and of what is worst
//! for it, a megabyte of one letter.

use std::error::Error;
use std::time::{Duration, Instant};

use loader::Artifact;
use models::tokenizer::{Special, Start, Tokenizer};

const TURNS: u32 = 7;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(model), Some(text)) = (arguments.next(), arguments.next()) else {
        return Err("say MODEL.gguf TEXT".into());
    };
    let artifact = Artifact::open(model.as_ref())?;
    let text = std::fs::read_to_string(text)?;
    let tokenizer = Tokenizer::from_header(artifact.header())?;
    let made = best(|| Tokenizer::from_header(artifact.header()).map(|tokenizer| tokenizer.len()));
    println!("{} tokens, {} KiB", tokenizer.len(), tokenizer.memory_bytes() >> 10);
    println!("made in {:.1} ms", milliseconds(made));
    let letters = "A".repeat(1 << 20);
    let spaces = " ".repeat(1 << 20);
    for (name, text) in [("text", text.as_str()), ("letters", &letters), ("spaces", &spaces)] {
        let tokens = tokenizer.encode(text, Special::Plain, Start::Bare)?.len();
        let took = best(|| tokenizer.encode(text, Special::Plain, Start::Bare).map(|ids| ids.len()));
        let speed = text.len() as f64 / took.as_secs_f64() / 1e6;
        println!("{name}: {} bytes, {tokens} tokens, {:.1} ms, {speed:.1} MB/s", text.len(), milliseconds(took));
    }
    Ok(())
}

fn best<T>(mut work: impl FnMut() -> T) -> Duration {
    let turn = |_| {
        let begin = Instant::now();
        std::hint::black_box(work());
        begin.elapsed()
    };
    (0..TURNS).map(turn).min().unwrap_or_default()
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
