//! `dayfly bench perplexity`

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;
use models::perplexity::perplexity;
use models::tokenizer::{Special, Start};
use serde::Serialize;

use super::{Bed, Compute};
use crate::cli::complete;
use crate::cli::failure::Failure;
use crate::cli::flags::Context;
use crate::cli::output::{self, Format, figure, seconds_text};

/// Bytes of a text.
const TEXT_BYTES_MAX: u64 = 256 << 20;
/// Tokens of a chunk at least, so that it has a second half.
const CONTEXT_MIN: i64 = 4;

/// Perplexity of a text, by llama-perplexity's method
///
/// The text is tokenized once and cut into chunks that do not overlap; in each, the tokens of the second half are scored
/// (the last 255 of 512). With --json: {"perplexity", "standard_error", "chunks", "tokens", "context", "model", "isa",
/// "threads", "seconds"}.
#[derive(Args, Debug)]
pub(in crate::cli) struct Perplexity {
    /// A name or alias, or a file that ends in .gguf
    #[arg(value_name = "MODEL|FILE", add = complete::models())]
    model: String,
    /// A file of text in UTF-8
    text: PathBuf,
    /// Tokens of a chunk
    #[arg(long, value_name = "TOKENS", default_value_t = 512, value_parser = clap::value_parser!(u32).range(CONTEXT_MIN..))]
    ctx: u32,
    /// Chunks at most
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    chunks: Option<u32>,
    #[command(flatten)]
    compute: Compute,
}

#[derive(Debug, Serialize)]
struct Report {
    perplexity: f64,
    standard_error: f64,
    chunks: usize,
    tokens: usize,
    context: usize,
    model: String,
    isa: &'static str,
    threads: usize,
    seconds: f64,
}

impl Perplexity {
    pub(super) fn run(&self, context: &Context) -> Result<(), Failure> {
        let text = read(&self.text)?;
        let bed = Bed::open(context, &self.compute, &self.model)?;
        let report = self.measure(bed, &text)?;
        match context.format() {
            Format::Json => output::print_json(&report),
            Format::Text => output::print(report.text()),
        }
    }

    fn measure(&self, mut bed: Bed, text: &str) -> Result<Report, Failure> {
        let size = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
        let (context, chunks_max) = (size(self.ctx), self.chunks.map_or(usize::MAX, size));
        bed.check_context(context)?;
        let started = Instant::now();
        let tokens = bed.model.descriptor().tokenizer.encode(text, Special::Plain, Start::AsModel);
        let tokens = tokens.map_err(|error| Failure::Failed(error.into()))?;
        let Some(found) = perplexity(&mut bed.executor, &bed.model, &tokens, context, chunks_max) else {
            let count = tokens.len();
            return Err(Failure::Usage(anyhow::anyhow!("the text has {count} tokens, which is no chunk of {context}")));
        };
        bed.check()?;
        if !found.perplexity.is_finite() {
            return Err(Failure::Failed(anyhow::anyhow!("the model computes no finite probabilities")));
        }
        Ok(Report {
            perplexity: found.perplexity,
            standard_error: found.standard_error,
            chunks: found.chunks,
            tokens: found.tokens,
            context,
            model: bed.name,
            isa: bed.executor.isa().name(),
            threads: bed.executor.threads(),
            seconds: started.elapsed().as_secs_f64(),
        })
    }
}

impl Report {
    fn text(&self) -> String {
        let Self { perplexity, standard_error, chunks, tokens, context, .. } = self;
        let time = seconds_text(self.seconds);
        let error = figure(*standard_error);
        format!("perplexity {perplexity:.4} ± {error} ({tokens} tokens scored in {chunks} chunks of {context}; {time})")
    }
}

fn read(path: &Path) -> Result<String, Failure> {
    let failed = |error: std::io::Error| {
        Failure::Usage(anyhow::Error::new(error).context(format!("{} cannot be read", path.display())))
    };
    let mut text = String::new();
    let file = File::open(path).map_err(failed)?;
    file.take(TEXT_BYTES_MAX + 1).read_to_string(&mut text).map_err(failed)?;
    if text.len() as u64 > TEXT_BYTES_MAX {
        return Err(Failure::Usage(anyhow::anyhow!("a text has at most {TEXT_BYTES_MAX} bytes")));
    }
    Ok(text)
}
