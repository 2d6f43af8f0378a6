//! Pulls a model: `cargo run --release -p loader --example pull -- NAME|URI FOLDER`.

use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use loader::pull::{Progress, PullRequest, Stage, pull};

/// A line whenever the stage changes, and once a second.
struct Lines(Mutex<(String, Instant)>);

impl Progress for Lines {
    fn update(&self, stage: Stage<'_>, done_bytes: u64, total_bytes: Option<u64>) {
        let stage = format!("{stage:?}");
        let mut last = self.0.lock().expect("no update panics");
        if last.0 != stage || last.1.elapsed() > Duration::from_secs(1) {
            eprintln!("{stage} {done_bytes} of {total_bytes:?} bytes");
            *last = (stage, Instant::now());
        }
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [source, folder] = &arguments[..] else { return Err("usage: pull NAME|URI FOLDER".into()) };
    let started = Instant::now();
    let request = PullRequest::parse(source, Path::new(folder))?;
    let path = pull(&request, &Lines(Mutex::new((String::new(), started))))?;
    println!("{} in {:?}", path.display(), started.elapsed());
    Ok(())
}
