//! Values as people write them: `700MiB`, `5m`, `avx2`, `confined`.

use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use kernels::{Isa, IsaError, KvPrecision};
use loader::catalog::LinkPolicy;
use loader::{BringIn, LetGo};
use scheduler::routing::Policy;
use scheduler::{KeepAlive, Oversize, Priority};
use serde::Deserialize;

use super::PullPolicy;
use super::devices::DeviceWord;
use super::http::{Overlong, UnknownFields};
use super::scheduler::{PrefixScope, Speculation};
use super::tenants::AnonymousPolicy;
use crate::logging::LogFormat;

/// A number of bytes: `1500000`, `700MiB`, `1.5GB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct ByteSize(pub(crate) u64);

/// How long a model stays: `5m`, `1h30m`, `30s`, `500ms`, seconds without a unit; 0 is not at all, negative for ever; `auto`
/// for as long as it is worth its memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Stay(pub(crate) KeepAlive);

/// How long something may take, or is kept: `90d`, `5m`, `1h30m`, `30s`, `500ms`, seconds without a unit; 0 is no time at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Span(pub(crate) Duration);

/// Instructions by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct IsaName(pub(crate) Isa);

/// What is written as a text and read by its own type.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String", bound = "T: FromStr<Err: fmt::Display>")]
pub(crate) struct Parsed<T>(pub(crate) T);

impl<T: FromStr> TryFrom<String> for Parsed<T> {
    type Error = T::Err;

    fn try_from(text: String) -> Result<Self, T::Err> {
        text.parse().map(Self)
    }
}

impl<T: FromStr> FromStr for Parsed<T> {
    type Err = T::Err;

    fn from_str(text: &str) -> Result<Self, T::Err> {
        text.parse().map(Self)
    }
}

/// One of a few words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String", bound = "T: Named")]
pub(crate) struct Choice<T>(pub(crate) T);

/// What has a word for each of its values.
pub(crate) trait Named: Copy + 'static {
    /// The words and what they mean.
    const WORDS: &'static [(&'static str, Self)];
}

impl Named for LinkPolicy {
    const WORDS: &'static [(&'static str, Self)] = &[("confined", Self::Confined), ("followed", Self::Followed)];
}

impl Named for Oversize {
    const WORDS: &'static [(&'static str, Self)] = &[("refuse", Self::Refuse), ("page", Self::Page)];
}

impl Named for PrefixScope {
    const WORDS: &'static [(&'static str, Self)] = &[("tenant", Self::Tenant), ("everyone", Self::Everyone)];
}

impl Named for AnonymousPolicy {
    const WORDS: &'static [(&'static str, Self)] =
        &[("auto", Self::Auto), ("served", Self::Served), ("refused", Self::Refused)];
}

impl Named for Speculation {
    const WORDS: &'static [(&'static str, Self)] = &[("auto", Self::Auto), ("off", Self::Off)];
}

impl Named for DeviceWord {
    const WORDS: &'static [(&'static str, Self)] =
        &[("cpu", Self::Cpu), ("candle-cpu", Self::CandleCpu), ("cuda", Self::Cuda), ("metal", Self::Metal)];
}

impl Named for Policy {
    const WORDS: &'static [(&'static str, Self)] =
        &[("latency", Self::Latency), ("energy", Self::Energy), ("cost", Self::Cost)];
}

impl Named for Priority {
    const WORDS: &'static [(&'static str, Self)] =
        &[("low", Self::Low), ("normal", Self::Normal), ("high", Self::High)];
}

impl Named for KvPrecision {
    const WORDS: &'static [(&'static str, Self)] = &[("f16", Self::F16), ("q8_0", Self::Q8_0)];
}

impl Named for BringIn {
    const WORDS: &'static [(&'static str, Self)] =
        &[("populate", Self::Populate), ("will-need", Self::WillNeed), ("lazy", Self::Lazy)];
}

impl Named for LetGo {
    const WORDS: &'static [(&'static str, Self)] =
        &[("keep", Self::Keep), ("cold", Self::Cold), ("dont-need", Self::DontNeed)];
}

impl Named for UnknownFields {
    const WORDS: &'static [(&'static str, Self)] = &[("refuse", Self::Refuse), ("accept", Self::Accept)];
}

impl Named for Overlong {
    const WORDS: &'static [(&'static str, Self)] = &[("refuse", Self::Refuse), ("cut", Self::Cut)];
}

impl Named for LogFormat {
    const WORDS: &'static [(&'static str, Self)] = &[("text", Self::Text), ("json", Self::Json)];
}

impl Named for PullPolicy {
    const WORDS: &'static [(&'static str, Self)] = &[("on-first-use", Self::OnFirstUse), ("never", Self::Never)];
}

/// The word for a value.
pub(crate) fn word_of<T: Named + PartialEq>(value: T) -> &'static str {
    T::WORDS.iter().find(|(_, meant)| *meant == value).map_or("unknown", |(word, _)| word)
}

/// Why a text is no such value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum QuantityError {
    /// No size.
    #[error("{0:?} is no size in bytes; write it like 700MiB, 2GiB or 1.5GB")]
    Size(String),
    /// No duration.
    #[error(
        "{0:?} is no duration; write it like 5m, 1h30m, 30s or 500ms; 0 is not at all, -1 for ever, auto by what it costs"
    )]
    Duration(String),
    /// No span of time.
    #[error("{0:?} is no duration; write it like 5m, 1h30m, 30s or 500ms")]
    Span(String),
    /// No such instructions.
    #[error("{0}")]
    Isa(String),
    /// None of the words.
    #[error("{found:?} is none of {words}")]
    Word { found: String, words: String },
}

impl FromStr for ByteSize {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        let bad = || QuantityError::Size(text.into());
        let trimmed = text.trim();
        let unit_at = trimmed.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(trimmed.len());
        let (number, unit) = trimmed.split_at(unit_at);
        let unit_bytes: u64 = match unit.trim_start().to_ascii_lowercase().as_str() {
            "" | "b" => 1,
            "k" | "kib" => 1 << 10,
            "kb" => 1000,
            "m" | "mib" => 1 << 20,
            "mb" => 1_000_000,
            "g" | "gib" => 1 << 30,
            "gb" => 1_000_000_000,
            "t" | "tib" => 1 << 40,
            "tb" => 1_000_000_000_000,
            _ => return Err(bad()),
        };
        decimal(number, unit_bytes).and_then(|bytes| u64::try_from(bytes).ok()).map(Self).ok_or_else(bad)
    }
}

/// `number` (digits, at most one point) times `unit`, rounded down, exactly.
pub(crate) fn decimal(number: &str, unit: u64) -> Option<u128> {
    const FRACTION_DIGITS_MAX: usize = 9;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !digits(fraction) || fraction.len() > FRACTION_DIGITS_MAX {
        return None;
    }
    let scale = 10_u128.pow(u32::try_from(fraction.len()).ok()?);
    let fraction: u128 = if fraction.is_empty() { 0 } else { fraction.parse().ok()? };
    let number = u128::from(whole.parse::<u64>().ok()?) * scale + fraction;
    number.checked_mul(unit.into()).map(|product| product / scale)
}

impl FromStr for Stay {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        let text = text.trim();
        let bad = || QuantityError::Duration(text.into());
        if text == "auto" {
            return Ok(Self(KeepAlive::Auto));
        }
        if let Some(magnitude) = text.strip_prefix('-') {
            duration(magnitude).filter(|duration| !duration.is_zero()).ok_or_else(bad)?;
            return Ok(Self(KeepAlive::Forever));
        }
        match duration(text).ok_or_else(bad)? {
            Duration::ZERO => Ok(Self(KeepAlive::DropAfterUse)),
            duration => Ok(Self(KeepAlive::For(duration))),
        }
    }
}

impl FromStr for Span {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        const DAY: u64 = 24 * 3600 * 1_000_000_000;
        let text = text.trim();
        let span = match text.strip_suffix('d') {
            Some(days) => decimal(days, DAY).and_then(|nanos| u64::try_from(nanos).ok()).map(Duration::from_nanos),
            None => duration(text),
        };
        span.map(Self).ok_or_else(|| QuantityError::Span(text.into()))
    }
}

/// Go's way of writing durations, and plain seconds.
fn duration(text: &str) -> Option<Duration> {
    const SECOND: u64 = 1_000_000_000;
    let mut nanos: u128 = 0;
    let mut rest = text;
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        nanos = decimal(text, SECOND)?;
        rest = "";
    } else if text.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let unit_at = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, tail) = rest.split_at(unit_at);
        let unit_end = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit_end);
        let unit = match unit {
            "ns" => 1,
            "us" | "µs" => SECOND / 1_000_000,
            "ms" => SECOND / 1000,
            "s" => SECOND,
            "m" => 60 * SECOND,
            "h" => 3600 * SECOND,
            _ => return None,
        };
        nanos = nanos.checked_add(decimal(number, unit)?)?;
        rest = tail;
    }
    u64::try_from(nanos).ok().map(Duration::from_nanos)
}

impl FromStr for IsaName {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        Isa::from_name(text).map(Self).map_err(|error: IsaError| QuantityError::Isa(error.to_string()))
    }
}

impl<T: Named> FromStr for Choice<T> {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        let found = T::WORDS.iter().find(|(word, _)| *word == text);
        found.map(|(_, value)| Self(*value)).ok_or_else(|| {
            let words = T::WORDS.iter().map(|(word, _)| *word).collect::<Vec<_>>().join(", ");
            QuantityError::Word { found: text.into(), words }
        })
    }
}

macro_rules! parsed_from_string {
    ($($type:ty $(where $parameter:ident)?),*) => {$(
        impl$(<$parameter: Named>)? TryFrom<String> for $type {
            type Error = QuantityError;

            fn try_from(text: String) -> Result<Self, QuantityError> {
                text.parse()
            }
        }
    )*};
}
parsed_from_string!(ByteSize, Stay, Span, IsaName, Choice<T> where T);

/// A number of bytes for people: three digits and a binary unit.
pub(crate) fn bytes_text(bytes: u64) -> impl fmt::Display {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    #[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
    let mut amount = bytes as f64;
    let mut unit = 0;
    while amount >= 1024.0 && unit + 1 < UNITS.len() {
        amount /= 1024.0;
        unit += 1;
    }
    let decimals = if unit == 0 || amount >= 100.0 { 0 } else { 1 };
    format!("{amount:.decimals$} {}", UNITS[unit])
}

/// A path: every text is one.
pub(super) fn path(text: &str) -> Result<std::path::PathBuf, Infallible> {
    Ok(text.into())
}
