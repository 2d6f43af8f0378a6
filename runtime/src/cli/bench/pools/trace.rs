//! Requests from a trace, as Azure publishes those of its language models: `TIMESTAMP,ContextTokens,GeneratedTokens`.
//!
//! Timestamps have up to nine digits of a second, and may end in an offset. A trace says neither who asked nor for which
//! model: both are drawn. Invariants: lines, and what is kept of them, are bounded; what cannot be read is refused with
//! its line's number and never skipped. Deliberately absent: other columns, and times that go backwards.
//!
//! Source of the form: github.com/Azure/AzurePublicDataset, `AzureLLMInferenceTrace_{conv,code}.csv` of 2023 and 2024.

use std::io::{self, BufRead};
use std::time::Duration;

use chrono::{DateTime, NaiveDateTime};

use super::workload::{Arrival, Crowd, Pacing, Workload};
use crate::limits::{BENCH_REQUEST_TOKENS_MAX, BENCH_REQUESTS_MAX, WORKLOAD_LINE_BYTES_MAX, WORKLOAD_LINES_MAX};

const HEADER: &str = "TIMESTAMP,ContextTokens,GeneratedTokens";

/// How a trace is read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reading {
    /// How many times faster than it happened.
    pub(super) speedup: f64,
    /// What token counts are multiplied by, and rounded to at least 1.
    pub(super) token_scale: f64,
    /// How much of it, after the speedup.
    pub(super) duration: Duration,
    /// Who asks for what.
    pub(super) crowd: Crowd,
}

/// Why a trace cannot be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum TraceError {
    /// The file cannot be read.
    #[error("line {line}: the trace cannot be read")]
    Unreadable { line: usize, source: io::Error },
    /// A line is not what it should be.
    #[error("line {line}: {reason}")]
    Line { line: usize, reason: &'static str },
    /// Nothing is in it.
    #[error("there is no request in the trace")]
    Empty,
}

/// The requests of the first `reading.duration` of the trace.
///
/// # Errors
/// [`TraceError`].
pub(super) fn read(mut source: impl BufRead, reading: &Reading) -> Result<Workload, TraceError> {
    let mut drawing = reading.crowd.drawing();
    let (mut arrivals, mut began, mut before): (Vec<Arrival>, Option<i64>, i64) = (Vec::new(), None, i64::MIN);
    let mut text = Vec::new();
    for line in 1.. {
        let refused = |reason| TraceError::Line { line, reason };
        let Some(row) = next_line(&mut source, &mut text, line)? else { break };
        if line == 1 && row == HEADER {
            continue;
        }
        if line == 1 {
            return Err(refused("the first line is not TIMESTAMP,ContextTokens,GeneratedTokens"));
        }
        let (micros, tokens) = columns(row).map_err(refused)?;
        if micros < before {
            return Err(refused("its time is before that of the line before"));
        }
        before = micros;
        let after = micros.abs_diff(*began.get_or_insert(micros));
        let at = Duration::from_micros(after).div_f64(reading.speedup);
        if at >= reading.duration {
            break;
        }
        if arrivals.len() == BENCH_REQUESTS_MAX {
            return Err(refused("there are too many requests; choose a shorter duration or a smaller speedup"));
        }
        arrivals.push(drawing.arrival(at, (scaled(tokens.0, reading), scaled(tokens.1, reading))));
    }
    if arrivals.is_empty() {
        return Err(TraceError::Empty);
    }
    Ok(Workload { pacing: Pacing::OpenLoop, arrivals })
}

/// The next line without its end; none at the end of the file.
fn next_line<'a>(source: &mut impl BufRead, text: &'a mut Vec<u8>, line: usize) -> Result<Option<&'a str>, TraceError> {
    let refused = |reason| TraceError::Line { line, reason };
    if line > WORKLOAD_LINES_MAX {
        return Err(refused("the trace has too many lines"));
    }
    text.clear();
    let limit = u64::try_from(WORKLOAD_LINE_BYTES_MAX).expect("a small constant") + 1;
    let read = io::Read::take(io::Read::by_ref(source), limit).read_until(b'\n', text);
    if read.map_err(|source| TraceError::Unreadable { line, source })? == 0 {
        return Ok(None);
    }
    if text.len() > WORKLOAD_LINE_BYTES_MAX {
        return Err(refused("it is too long"));
    }
    let row = std::str::from_utf8(text).map_err(|_| refused("it is no text"))?;
    Ok(Some(row.trim_start_matches('\u{feff}').trim_ascii_end()))
}

/// Microseconds after 1970, and tokens.
fn columns(row: &str) -> Result<(i64, (u32, u32)), &'static str> {
    let mut columns = row.split(',');
    let (Some(time), Some(context), Some(generated), None) =
        (columns.next(), columns.next(), columns.next(), columns.next())
    else {
        return Err("it has not three columns");
    };
    let micros = timestamp(time.trim_ascii()).ok_or("its timestamp is none")?;
    Ok((micros, (tokens(context)?, tokens(generated)?)))
}

fn timestamp(text: &str) -> Option<i64> {
    let text = text.replacen('T', " ", 1);
    let local = NaiveDateTime::parse_from_str(&text, "%Y-%m-%d %H:%M:%S%.f").map(|time| time.and_utc());
    let time = local.or_else(|_| DateTime::parse_from_str(&text, "%Y-%m-%d %H:%M:%S%.f%#z").map(|time| time.to_utc()));
    time.ok().map(|time| time.timestamp_micros())
}

fn tokens(text: &str) -> Result<u32, &'static str> {
    let count = text.trim_ascii().parse().map_err(|_| "a number of tokens is none")?;
    match count {
        1..=BENCH_REQUEST_TOKENS_MAX => Ok(count),
        0 => Err("a number of tokens is 0"),
        _ => Err("a number of tokens is too large"),
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the scale is at most 1")]
fn scaled(tokens: u32, reading: &Reading) -> u32 {
    ((f64::from(tokens) * reading.token_scale).round() as u32).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading() -> Reading {
        let crowd = Crowd { tenants: 3, models: 2, zipf: 1.0, seed: 1 };
        Reading { speedup: 1.0, token_scale: 1.0, duration: Duration::from_secs(60), crowd }
    }

    fn of(rows: &str, reading: &Reading) -> Result<Workload, TraceError> {
        read(format!("{HEADER}\n{rows}").as_bytes(), reading)
    }

    #[test]
    fn both_years_forms_are_read() {
        let of_2023 = "2023-11-16 18:15:46.6805900,374,44\r\n2023-11-16 18:15:50.9951690,396,109\r\n";
        let of_2024 = "2024-05-10 00:00:00.009930+00:00,2162,5\n2024-05-10 00:00:04.324509+00:00,2399,6";
        for (rows, tokens) in [(of_2023, (374, 44)), (of_2024, (2162, 5))] {
            let workload = of(rows, &reading()).unwrap();
            assert_eq!(workload.pacing, Pacing::OpenLoop);
            assert_eq!(workload.arrivals.len(), 2);
            let first = workload.arrivals[0];
            assert_eq!((first.at, (first.prompt_tokens, first.completion_tokens)), (Duration::ZERO, tokens));
            assert_eq!(workload.arrivals[1].at, Duration::from_micros(4_314_579));
        }
        let offset = of("2024-05-10 00:00:00+00:00,1,1\n2024-05-10 02:00:01+02:00,1,1", &reading()).unwrap();
        assert_eq!(offset.arrivals[1].at, Duration::from_secs(1));
    }

    #[test]
    fn it_is_replayed_faster_and_cut_by_its_duration() {
        let rows = "2023-11-16 18:00:00,100,10\n2023-11-16 18:01:00,3,1\n2023-11-16 18:30:00,9,9\nnonsense";
        let faster = Reading { speedup: 60.0, token_scale: 0.1, duration: Duration::from_secs(20), ..reading() };
        let workload = of(rows, &faster).unwrap();
        let found: Vec<_> = workload.arrivals.iter().map(|one| (one.at.as_secs(), one.prompt_tokens)).collect();
        assert_eq!(found, [(0, 10), (1, 1)], "what lies behind the end is not read");
        assert_eq!(workload, of(rows, &faster).unwrap(), "tenants and models are drawn alike");
    }

    #[test]
    fn what_cannot_be_read_is_refused_by_its_line() {
        let good = "2023-11-16 18:00:00,1,1\n";
        let long = "x".repeat(WORKLOAD_LINE_BYTES_MAX + 1);
        for (row, reason) in [
            ("", "three columns"),
            ("2023-11-16 18:00:00,1", "three columns"),
            ("2023-11-16 18:00:00,1,1,1", "three columns"),
            ("16/11/2023,1,1", "timestamp"),
            ("2023-13-16 18:00:00,1,1", "timestamp"),
            ("2023-11-16 18:00:00,-1,1", "tokens is none"),
            ("2023-11-16 18:00:00,0,1", "tokens is 0"),
            ("2023-11-16 18:00:00,1,4294967295", "too large"),
            ("2023-11-16 17:59:59,1,1", "before"),
            (long.as_str(), "too long"),
        ] {
            let error = of(&format!("{good}{row}\n{good}"), &reading()).unwrap_err().to_string();
            assert!(error.starts_with("line 3: ") && error.contains(reason), "{row:.40?}: {error}");
        }
        let error = read(&b"a,b,c\n"[..], &reading()).unwrap_err().to_string();
        assert!(error.starts_with("line 1: "), "{error}");
        let error = read(&b"TIMESTAMP,ContextTokens,GeneratedTokens\n\xff,1,1\n"[..], &reading()).unwrap_err();
        assert!(error.to_string().contains("no text"), "{error}");
        for empty in ["", "TIMESTAMP,ContextTokens,GeneratedTokens"] {
            assert!(matches!(read(empty.as_bytes(), &reading()), Err(TraceError::Empty)), "{empty}");
        }
    }
}
