//! `dayfly export`

use std::io::{self, Write};
use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use ledger::{Reader, SettledRequest};

use super::failure::Failure;
use super::flags::Context;
use super::ledger::opened;
use super::output;
use super::usage::since_ms;
use crate::config::{Config, Layer};
use crate::reports::{FOCUS_COLUMNS, Focus};

/// Write the ledger to stdout for other programs
///
/// `focus`: FOCUS 1.2 columns as CSV, a row for each tenant, key, model, meter and hour, what nobody carries included. `csv`: a row
/// for each settled request. `json`: the same with its whole receipt, one on a line; `dayfly replay` reads that.
#[derive(Args, Debug)]
pub(super) struct Export {
    /// What to write
    #[arg(long, value_name = "FORMAT")]
    format: Shape,
    /// From the hour of this second since 1970, or of so long ago, such as 24h or 30d; from the beginning without it
    #[arg(long, value_name = "WHEN")]
    since: Option<String>,
    /// The ledger's file, instead of the configured one
    #[arg(long, value_name = "FILE")]
    ledger: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Shape {
    Focus,
    Csv,
    Json,
}

/// The columns of a request.
const COLUMNS: [&str; 23] = [
    "id",
    "tenant",
    "model",
    "outcome",
    "reserved_unix_ms",
    "settled_unix_ms",
    "cold",
    "answered_from",
    "prompt_tokens",
    "cached_tokens",
    "completion_tokens",
    "queue_ns",
    "load_wait_ns",
    "wall_ns",
    "cpu_ns",
    "weights_kib_ms",
    "load_kib_ms",
    "kv_kib_ms",
    "energy_nj",
    "energy_quality",
    "micrograms_co2e",
    "pico_units",
    "key_id",
];

impl Export {
    pub(super) fn run(&self, context: &Context) -> Result<(), Failure> {
        if context.server().is_some() {
            let why = "export reads the ledger's file: run it where that is, without --server";
            return Err(Failure::Usage(anyhow::anyhow!(why)));
        }
        let since_ms = self.since.as_deref().map(since_ms).transpose()?.unwrap_or(i64::MIN);
        let config = context.config(Layer { ledger: self.ledger.clone(), ..Layer::default() })?;
        let unread = || format!("{} cannot be read", config.ledger.display());
        let reader = opened(&config.ledger)?;
        let mut out = io::BufWriter::new(io::stdout().lock());
        match self.format {
            Shape::Focus => {
                let focus = Focus::read(&reader, since_ms.div_euclid(1000), &config.rates).with_context(unread)?;
                write_focus(&focus, &config, &mut out)?;
            }
            Shape::Csv => write_requests(&reader, since_ms, CsvRows(csv::Writer::from_writer(&mut out)))?,
            Shape::Json => write_requests(&reader, since_ms, JsonLines(&mut out))?,
        }
        out.flush().map_err(Failure::of_stdout)
    }
}

fn write_focus(focus: &Focus, config: &Config, out: impl Write) -> Result<(), Failure> {
    let mut rows = csv::Writer::from_writer(out);
    rows.write_record(FOCUS_COLUMNS).map_err(of_csv)?;
    for row in focus.rows(&config.rates) {
        rows.write_record(&row).map_err(of_csv)?;
    }
    rows.flush().map_err(Failure::of_stdout)?;
    if focus.unpriced > 0 {
        output::note(format_args!("{} requests have no price and no row", focus.unpriced));
    }
    if focus.accounts_unpriced > 0 {
        output::note(format_args!("{} sums of accounts have no price for a part of them", focus.accounts_unpriced));
    }
    Ok(())
}

/// A way to write requests.
trait Rows {
    fn begin(&mut self) -> Result<(), Failure>;
    fn write(&mut self, settled: &SettledRequest) -> Result<(), Failure>;
    fn end(self) -> Result<(), Failure>;
}

struct CsvRows<W: Write>(csv::Writer<W>);
struct JsonLines<W: Write>(W);

impl<W: Write> Rows for CsvRows<W> {
    fn begin(&mut self) -> Result<(), Failure> {
        self.0.write_record(COLUMNS).map_err(of_csv)
    }

    fn write(&mut self, settled: &SettledRequest) -> Result<(), Failure> {
        self.0.write_record(cells(settled)).map_err(of_csv)
    }

    fn end(mut self) -> Result<(), Failure> {
        self.0.flush().map_err(Failure::of_stdout)
    }
}

impl<W: Write> Rows for JsonLines<W> {
    fn begin(&mut self) -> Result<(), Failure> {
        Ok(())
    }

    fn write(&mut self, settled: &SettledRequest) -> Result<(), Failure> {
        let line = serde_json::to_string(settled).context("a row is no JSON")?;
        writeln!(self.0, "{line}").map_err(Failure::of_stdout)
    }

    fn end(self) -> Result<(), Failure> {
        Ok(())
    }
}

fn write_requests(reader: &Reader, since_ms: i64, mut rows: impl Rows) -> Result<(), Failure> {
    rows.begin()?;
    let snapshot = reader.snapshot().context("the ledger cannot be read")?;
    let mut after = 0;
    loop {
        let page = snapshot.settled_after(after).context("the ledger cannot be read")?;
        let Some(last) = page.last() else { break };
        after = last.number;
        for settled in page.iter().filter(|settled| settled.settled_unix_ms >= since_ms) {
            rows.write(settled)?;
        }
    }
    rows.end()
}

/// What is not known is empty.
fn cells(settled: &SettledRequest) -> [String; COLUMNS.len()] {
    let usage = &settled.usage;
    let mut cells: [String; COLUMNS.len()] = Default::default();
    let outcome = usage.outcome.map_or("", meter::Outcome::name);
    let about = [
        usage.id.clone(),
        usage.tenant.clone(),
        usage.model.clone(),
        outcome.to_owned(),
        usage.reserved_unix_ms.to_string(),
        settled.settled_unix_ms.to_string(),
    ];
    let count = about.len();
    cells[..count].clone_from_slice(&about);
    let [.., key_id] = &mut cells;
    *key_id = usage.key_id.clone().unwrap_or_default();
    let Some(receipt) = &usage.receipt else { return cells };
    let known = [
        receipt.cold.to_string(),
        receipt.method.answered_from.name().to_owned(),
        receipt.tokens.prompt.to_string(),
        receipt.tokens.cached.to_string(),
        receipt.tokens.completion.to_string(),
        receipt.times.queue_ns.get().to_string(),
        receipt.times.load_wait_ns.get().to_string(),
        receipt.times.wall_ns.get().to_string(),
        receipt.cpu.total_ns.get().to_string(),
        receipt.memory.weights_kib_ms.get().to_string(),
        receipt.memory.load_kib_ms.get().to_string(),
        receipt.memory.kv_kib_ms.get().to_string(),
        receipt.energy.total_nj.get().to_string(),
        receipt.energy.quality.name().to_owned(),
        receipt.carbon.micrograms_co2e.get().to_string(),
        receipt.cost.pico_units.map(|amount| amount.get().to_string()).unwrap_or_default(),
    ];
    cells[count..][..known.len()].clone_from_slice(&known);
    cells
}

fn of_csv(error: csv::Error) -> Failure {
    match error.into_kind() {
        csv::ErrorKind::Io(error) => Failure::of_stdout(error),
        other => Failure::Failed(anyhow::anyhow!("a row cannot be written: {other:?}")),
    }
}
