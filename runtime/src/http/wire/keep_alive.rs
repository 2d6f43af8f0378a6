//! `keep_alive`: how long the model stays after its last request.
//!
//! As Ollama has it: a number of seconds, or a duration as Go writes it (`"1h30m"`, `"500ms"`); zero lets the model go
//! with the answer, anything below zero keeps it. `"auto"` is ours: for as long as the model is worth its memory.

use std::time::Duration;

use scheduler::KeepAlive;

use super::Fields;
use super::json::Node;
use crate::http::error::ApiError;
use crate::limits::KEEP_ALIVE_MAX;

const NAME: &str = "keep_alive";
const WORDS: &str = "a number of seconds or a duration such as \"5m\", or \"auto\"";

/// Takes `keep_alive` out of a request.
pub(crate) fn take(fields: &mut Fields) -> Result<Option<KeepAlive>, ApiError> {
    let Some(node) = fields.take(NAME) else { return Ok(None) };
    let seconds = match node {
        #[expect(clippy::cast_precision_loss, reason = "what it rounds is far past the limit")]
        Node::Integer(seconds) => seconds as f64,
        Node::Float(seconds) => seconds,
        Node::Text(text) if text == "auto" => return Ok(Some(KeepAlive::Auto)),
        Node::Text(text) => go_seconds(&text)
            .ok_or_else(|| ApiError::invalid_value(fields.path(NAME), format_args!("must be {WORDS}")))?,
        _ => return Err(ApiError::invalid_type(fields.path(NAME), WORDS)),
    };
    if seconds < 0.0 {
        return Ok(Some(KeepAlive::Forever));
    }
    let time = Duration::try_from_secs_f64(seconds).ok().filter(|time| *time <= KEEP_ALIVE_MAX).ok_or_else(|| {
        let max_s = KEEP_ALIVE_MAX.as_secs();
        ApiError::invalid_value(fields.path(NAME), format_args!("must be at most {max_s} s; below zero is for ever"))
    })?;
    Ok(Some(if time.is_zero() { KeepAlive::DropAfterUse } else { KeepAlive::For(time) }))
}

/// Seconds of a duration as Go's `time.ParseDuration` reads it: a sign, then numbers with units, or `0` alone.
fn go_seconds(text: &str) -> Option<f64> {
    let (sign, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (-1.0, rest),
        None => (1.0, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(0.0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|character: char| !character.is_ascii_digit() && character != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let unit = rest.find(|character: char| character.is_ascii_digit() || character == '.').unwrap_or(rest.len());
        seconds += number
            * match &rest[..unit] {
                "h" => 3600.0,
                "m" => 60.0,
                "s" => 1.0,
                "ms" => 1e-3,
                "us" | "µs" | "μs" => 1e-6,
                "ns" => 1e-9,
                _ => return None,
            };
        rest = &rest[unit..];
    }
    Some(sign * seconds)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use scheduler::KeepAlive;

    use super::take;
    use crate::http::error::ApiError;
    use crate::http::wire::parse_object;
    use crate::http::wire::refusal::each_refused;

    fn parse(body: &[u8]) -> Result<Option<KeepAlive>, ApiError> {
        take(&mut parse_object(body)?)
    }

    #[test]
    fn seconds_and_go_durations_are_read() {
        let kept = |millis| KeepAlive::For(Duration::from_millis(millis));
        let table = [
            ("300", kept(300_000)),
            ("0.5", kept(500)),
            (r#""5m""#, kept(300_000)),
            (r#""1h30m""#, kept(5_400_000)),
            (r#""30s""#, kept(30_000)),
            (r#""500ms""#, kept(500)),
            (r#""+1.5s""#, kept(1_500)),
            (r#"".5s""#, kept(500)),
            (r#""1000000ns""#, kept(1)),
            (r#""1000us""#, kept(1)),
            (r#""1000µs""#, kept(1)),
            ("0", KeepAlive::DropAfterUse),
            ("-0.0", KeepAlive::DropAfterUse),
            (r#""0""#, KeepAlive::DropAfterUse),
            (r#""0s""#, KeepAlive::DropAfterUse),
            (r#""-0""#, KeepAlive::DropAfterUse),
            ("1e-30", KeepAlive::DropAfterUse),
            (r#""auto""#, KeepAlive::Auto),
            ("-1", KeepAlive::Forever),
            ("-1e300", KeepAlive::Forever),
            (r#""-1m""#, KeepAlive::Forever),
        ];
        for (value, expected) in table {
            let read = parse(format!("{{\"keep_alive\":{value}}}").as_bytes());
            assert_eq!(read.expect(value), Some(expected), "{value}");
        }
        assert_eq!(parse(b"{}").expect("absent"), None);
        assert_eq!(parse(br#"{"keep_alive":null}"#).expect("null"), None);
    }

    #[test]
    fn row_19_what_is_no_duration_is_refused() {
        let table = [
            (r#""keep_alive":true"#, "invalid_type", "keep_alive"),
            (r#""keep_alive":[5]"#, "invalid_type", "keep_alive"),
            (r#""keep_alive":{}"#, "invalid_type", "keep_alive"),
            (r#""keep_alive":"""#, "invalid_value", "keep_alive"),
            (r#""keep_alive":"automatic""#, "invalid_value", "keep_alive"),
            (r#""keep_alive":"-""#, "invalid_value", "keep_alive"),
            (r#""keep_alive":"5""#, "invalid_value", "keep_alive"),
            (r#""keep_alive":"m""#, "invalid_value", "keep_alive"),
            (r#""keep_alive":".s""#, "invalid_value", "keep_alive"),
            (r#""keep_alive":"5 m""#, "invalid_value", "keep_alive"),
            (r#""keep_alive":"5d""#, "invalid_value", "keep_alive"),
            (r#""keep_alive":"1.2.3s""#, "invalid_value", "keep_alive"),
            (r#""keep_alive":"1h-5m""#, "invalid_value", "keep_alive"),
            (r#""keep_alive":"infs""#, "invalid_value", "keep_alive"),
            (r#""keep_alive":31622401"#, "invalid_value", "keep_alive"),
            (r#""keep_alive":1e300"#, "invalid_value", "keep_alive"),
            (r#""keep_alive":"9999999999999999999h""#, "invalid_value", "keep_alive"),
        ];
        each_refused(parse, "", &table);
    }
}
