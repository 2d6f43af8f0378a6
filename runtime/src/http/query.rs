//! The parameters behind a path's `?`.
//!
//! As with bodies, each is honoured or refused by name: whoever reads takes what it knows, and [`Query::finish`] refuses the
//! rest. Lists are repeated parameters, with or without `[]` behind the name.

use std::str::FromStr;
use std::time::Duration;

use axum::extract::RawQuery;

use super::error::ApiError;
use crate::config::Span;
use crate::limits::QUERY_PARAMETERS_MAX;

/// What has not been taken yet.
#[derive(Debug, Default)]
pub(super) struct Query {
    parameters: Vec<(String, String)>,
}

impl Query {
    pub(super) fn parse(RawQuery(text): RawQuery) -> Result<Self, ApiError> {
        let text = text.unwrap_or_default();
        let parameters: Vec<(String, String)> =
            form_urlencoded::parse(text.as_bytes()).into_owned().take(QUERY_PARAMETERS_MAX + 1).collect();
        if parameters.len() > QUERY_PARAMETERS_MAX {
            return Err(ApiError::invalid_value("?", format!("a query has at most {QUERY_PARAMETERS_MAX} parameters")));
        }
        Ok(Self { parameters })
    }

    /// All values of a list.
    pub(super) fn all(&mut self, name: &str) -> Vec<String> {
        let is_it = |given: &str| given.strip_suffix("[]").unwrap_or(given) == name;
        self.parameters.extract_if(.., |(given, _)| is_it(given)).map(|(_, value)| value).collect()
    }

    /// The one value of a parameter, if it is given.
    pub(super) fn one(&mut self, name: &str) -> Result<Option<String>, ApiError> {
        let mut values = self.all(name);
        match values.len() {
            0 | 1 => Ok(values.pop()),
            _ => Err(ApiError::invalid_value(name, "it is given more than once")),
        }
    }

    /// The same, read as what it is. `expected` completes "must be …".
    pub(super) fn parsed<T: FromStr>(&mut self, name: &str, expected: &str) -> Result<Option<T>, ApiError> {
        let read = |value: String| value.parse().map_err(|_| ApiError::invalid_type(name, expected));
        self.one(name)?.map(read).transpose()
    }

    /// One of a few words.
    pub(super) fn word<T: Copy>(&mut self, name: &str, words: &[(&str, T)]) -> Result<Option<T>, ApiError> {
        let Some(value) = self.one(name)? else { return Ok(None) };
        match words.iter().find(|(word, _)| *word == value) {
            Some((_, meant)) => Ok(Some(*meant)),
            None => {
                let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
                Err(ApiError::invalid_value(name, format!("it is none of {}", known.join(", "))))
            }
        }
    }

    /// A point in time before `now_unix_ms`: a second since 1970, or how long ago, such as `24h`.
    pub(super) fn since(&mut self, now_unix_ms: i64) -> Result<Option<i64>, ApiError> {
        let Some(value) = self.one("since")? else { return Ok(None) };
        match since(&value, now_unix_ms) {
            Some(unix_ms) => Ok(Some(unix_ms)),
            None => Err(ApiError::invalid_type("since", "a second since 1970, or how long ago, such as 24h or 30d")),
        }
    }

    /// Refuses what nobody took.
    pub(super) fn finish(self) -> Result<(), ApiError> {
        match self.parameters.into_iter().next() {
            Some((name, _)) => Err(ApiError::unsupported_field(name)),
            None => Ok(()),
        }
    }
}

/// In milliseconds since 1970.
pub(crate) fn since(text: &str, now_unix_ms: i64) -> Option<i64> {
    if let Ok(second) = text.parse::<i64>() {
        return second.checked_mul(1000);
    }
    let Span(span): Span = text.parse().ok()?;
    now_unix_ms.checked_sub(millis(span)?)
}

fn millis(span: Duration) -> Option<i64> {
    i64::try_from(span.as_millis()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(text: &str) -> Query {
        Query::parse(RawQuery(Some(text.into()))).unwrap()
    }

    #[test]
    fn lists_are_repeated_and_what_nobody_took_is_refused() {
        let mut parameters = query("a=1&b[]=x%20y&b=z&c=5m");
        assert_eq!(parameters.parsed::<u8>("a", "a number").unwrap(), Some(1));
        assert_eq!(parameters.all("b"), ["x y", "z"]);
        let refused = parameters.finish().unwrap_err().envelope();
        assert_eq!(
            (&refused["error"]["param"], &refused["error"]["code"]),
            (&"c".into(), &"unsupported_parameter".into())
        );
        let wrong =
            |text: &str| query(text).parsed::<u8>("a", "a number").unwrap_err().envelope()["error"]["code"].clone();
        assert_eq!([wrong("a=1&a=2"), wrong("a=x")], ["invalid_value", "invalid_type"]);
        assert!(query("a=x").word("a", &[("y", 1)]).unwrap_err().to_string().contains("none of y"));
        assert!(Query::parse(RawQuery(Some("a=1&".repeat(QUERY_PARAMETERS_MAX + 1)))).is_err());
    }

    #[test]
    fn since_is_a_second_or_a_span() {
        assert_eq!(since("1700000000", 0), Some(1_700_000_000_000));
        assert_eq!(since("24h", 86_400_001), Some(1));
        assert_eq!((since("soon", 0), since("9223372036854775807", 0)), (None, None));
        assert_eq!(query("since=1").since(0).unwrap(), Some(1000));
        assert_eq!(query("").since(0).unwrap(), None);
    }
}
