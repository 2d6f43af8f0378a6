//! A recorded trace: the ledger's requests one on a line, as `dayfly export --format json` writes them.

use std::collections::BTreeMap;
use std::io::{self, BufRead};

use ledger::{LedgerError, Reader, SettledRequest};
use meter::receipt::AnsweredFrom;
use meter::replay::{Trace, TraceRequest};
use meter::{Moment, Nanos};
use serde::Deserialize;

use crate::limits::{TRACE_LINE_BYTES_MAX, TRACE_REQUESTS_MAX};

/// Why a file is no trace.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TraceError {
    /// It cannot be read.
    #[error("the trace cannot be read")]
    Unreadable(#[source] io::Error),
    /// A line is no request.
    #[error("line {line} is no request as `dayfly export --format json` writes them")]
    Line { line: usize, source: serde_json::Error },
    /// A line is longer than any request.
    #[error("line {line} has more than {TRACE_LINE_BYTES_MAX} bytes")]
    LineTooLong { line: usize },
    /// There are too many.
    #[error("a trace has at most {TRACE_REQUESTS_MAX} requests")]
    TooMany,
    /// There is nothing to replay.
    #[error("no request of the trace was computed by a model")]
    Empty,
    /// The ledger cannot be read.
    #[error("the ledger cannot be read")]
    Ledger(#[from] LedgerError),
}

/// What a line says that matters here.
#[derive(Debug, Deserialize)]
struct Line {
    run: i64,
    reserved_ms: u64,
    settled_ms: u64,
    tenant: String,
    model: String,
    cold: Option<bool>,
    times: Option<Times>,
    cpu: Option<Cpu>,
    memory: Option<Memory>,
    method: Option<Method>,
}

#[derive(Debug, Deserialize)]
struct Times {
    load_wait_ns: Nanos,
    wall_ns: Nanos,
}

#[derive(Debug, Deserialize)]
struct Cpu {
    load_ns: Nanos,
}

#[derive(Debug, Deserialize)]
struct Memory {
    weights_bytes: u64,
}

#[derive(Debug, Deserialize)]
struct Method {
    #[serde(default)]
    answered_from: AnsweredFrom,
}

/// Requests of several processes, each with a clock of its own, on their way to one.
#[derive(Debug, Default)]
struct Recorder {
    /// By run: what was recorded with its clock, and that clock's first and last moments.
    runs: BTreeMap<i64, (Vec<TraceRequest>, u64, u64)>,
    count: usize,
}

impl Recorder {
    fn add(&mut self, line: Line) -> Result<(), TraceError> {
        let Line { run, reserved_ms, settled_ms, tenant, model, cold, times, cpu, memory, method } = line;
        let (requests, first, last) = self.runs.entry(run).or_insert_with(|| (Vec::new(), reserved_ms, settled_ms));
        *first = reserved_ms.min(*first);
        *last = settled_ms.max(*last);
        // What was settled as crashed held nothing that is known; what was found held nothing.
        let (Some(times), Some(memory)) = (times, memory) else { return Ok(()) };
        if method.is_some_and(|method| method.answered_from == AnsweredFrom::ResponseCache) {
            return Ok(());
        }
        self.count += 1;
        if self.count > TRACE_REQUESTS_MAX {
            return Err(TraceError::TooMany);
        }
        requests.push(TraceRequest {
            tenant,
            model,
            arrived: Moment::new(reserved_ms),
            busy_ms: times.wall_ns.saturating_sub(times.load_wait_ns).get() / 1_000_000,
            cold: cold.unwrap_or(false),
            load_wait: times.load_wait_ns,
            load_cpu: cpu.map_or(Nanos::ZERO, |cpu| cpu.load_ns),
            weights_bytes: memory.weights_bytes,
        });
        Ok(())
    }

    /// One process after the other: the time in between nobody served.
    fn trace(self) -> Result<Trace, TraceError> {
        if self.count == 0 {
            return Err(TraceError::Empty);
        }
        let mut begins = 0_u64;
        let mut all = Vec::with_capacity(self.count);
        for (requests, first, last) in self.runs.into_values() {
            all.extend(requests.into_iter().map(|request| {
                let arrived = Moment::new(begins + (request.arrived.get() - first));
                TraceRequest { arrived, ..request }
            }));
            begins += last.saturating_sub(first);
        }
        Ok(Trace::new(all))
    }
}

/// The trace in a file.
pub(crate) fn read_trace(mut file: impl BufRead) -> Result<Trace, TraceError> {
    let mut recorder = Recorder::default();
    let mut text = Vec::new();
    for line in 1.. {
        text.clear();
        let limit = TRACE_LINE_BYTES_MAX as u64 + 1;
        let read = io::Read::take(&mut file, limit).read_until(b'\n', &mut text).map_err(TraceError::Unreadable)?;
        if read == 0 {
            break;
        }
        if text.len() > TRACE_LINE_BYTES_MAX {
            return Err(TraceError::LineTooLong { line });
        }
        if text.trim_ascii().is_empty() {
            continue;
        }
        recorder.add(serde_json::from_slice(&text).map_err(|source| TraceError::Line { line, source })?)?;
    }
    recorder.trace()
}

/// The trace of everything that is in a ledger.
pub(crate) fn trace_of(reader: &Reader) -> Result<Trace, TraceError> {
    let mut recorder = Recorder::default();
    let snapshot = reader.snapshot()?;
    let mut after = 0;
    loop {
        let page = snapshot.settled_after(after)?;
        let Some(last) = page.last() else { break };
        after = last.number;
        for settled in page {
            recorder.add(Line::of(settled))?;
        }
    }
    recorder.trace()
}

impl Line {
    fn of(settled: SettledRequest) -> Self {
        let SettledRequest { run, reserved_at, settled_at, usage, .. } = settled;
        let receipt = usage.receipt.as_ref();
        Self {
            run,
            reserved_ms: reserved_at.get(),
            settled_ms: settled_at.get(),
            cold: receipt.map(|receipt| receipt.cold),
            times: receipt
                .map(|receipt| Times { load_wait_ns: receipt.times.load_wait_ns, wall_ns: receipt.times.wall_ns }),
            cpu: receipt.map(|receipt| Cpu { load_ns: receipt.cpu.load_ns }),
            memory: receipt.map(|receipt| Memory { weights_bytes: receipt.memory.weights_bytes }),
            method: receipt.map(|receipt| Method { answered_from: receipt.method.answered_from }),
            tenant: usage.tenant,
            model: usage.model,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(run: i64, reserved_ms: u64, settled_ms: u64) -> String {
        let wall_ns = (settled_ms - reserved_ms) * 1_000_000;
        format!(
            r#"{{"run":{run},"reserved_ms":{reserved_ms},"settled_ms":{settled_ms},"tenant":"a","model":"m","cold":false,
                "times":{{"load_wait_ns":0,"wall_ns":{wall_ns}}},"cpu":{{"load_ns":0}},"memory":{{"weights_bytes":5}},
                "method":{{"answered_from":"model"}},"more":1}}"#
        )
        .replace('\n', "")
    }

    #[test]
    fn processes_follow_one_another() {
        let text = [line(2, 7, 9), line(1, 100, 150), String::new(), line(1, 120, 200)].join("\n");
        let trace = read_trace(text.as_bytes()).unwrap();
        let shown: Vec<_> = trace.requests().iter().map(|one| (one.arrived.get(), one.busy_ms)).collect();
        assert_eq!(shown, [(0, 50), (20, 80), (100, 2)]);
        assert_eq!(trace.models()["m"].bytes, 5);
    }

    #[test]
    fn what_is_no_trace_is_told_by_its_line() {
        let good = line(1, 0, 1);
        let found = good.replace("\"model\"}", "\"response_cache\"}");
        let crashed = r#"{"run":1,"reserved_ms":0,"settled_ms":5,"tenant":"a","model":"m","id":"x"}"#;
        assert!(matches!(read_trace(format!("{good}\n{{}}").as_bytes()), Err(TraceError::Line { line: 2, .. })));
        assert!(matches!(read_trace(format!("{found}\n{crashed}").as_bytes()), Err(TraceError::Empty)));
        assert_eq!(read_trace(format!("{found}\n{good}").as_bytes()).unwrap().requests().len(), 1);
        let long = "x".repeat(TRACE_LINE_BYTES_MAX + 1);
        assert!(matches!(read_trace(long.as_bytes()), Err(TraceError::LineTooLong { line: 1 })));
    }
}
