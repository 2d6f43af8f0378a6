//! Times opening an artifact: `cargo run --release -p loader --example header -- FILE`.

use std::path::PathBuf;
use std::time::Instant;

use loader::{Artifact, gguf};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = PathBuf::from(std::env::args_os().nth(1).ok_or("usage: header FILE")?);
    let started = Instant::now();
    let artifact = Artifact::open(&path)?;
    println!("open, cold tables: {:?}", started.elapsed());
    let mut times: Vec<_> = (0..100)
        .map(|_| {
            let started = Instant::now();
            let header = gguf::parse(artifact.files()[0].bytes());
            let elapsed = started.elapsed();
            drop(header);
            elapsed
        })
        .collect();
    times.sort_unstable();
    println!("parse: median {:?}, worst {:?}", times[50], times[99]);
    let header = artifact.header();
    println!("keys {}, tensors {}, kept {} bytes", header.keys().len(), header.tensor_count(), header.memory_bytes());
    Ok(())
}
