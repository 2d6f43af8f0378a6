//! `/models/load`: which model is brought in.

use scheduler::KeepAlive;

use super::{keep_alive, parse_object};
use crate::http::error::ApiError;

/// A load that someone asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LoadRequest {
    /// As the client calls it.
    pub(crate) model: String,
    /// How long it stays when nobody uses it.
    pub(crate) keep_alive: Option<KeepAlive>,
    /// Whether its progress is told.
    pub(crate) is_streamed: bool,
}

impl LoadRequest {
    /// Reads a body.
    ///
    /// # Errors
    /// Those of a request's body.
    pub(crate) fn parse(body: &[u8]) -> Result<Self, ApiError> {
        let mut fields = parse_object(body)?;
        let request = Self {
            model: fields.model()?,
            keep_alive: keep_alive::take(&mut fields)?,
            is_streamed: fields.flag("stream")?.unwrap_or(false),
        };
        fields.finish()?;
        Ok(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::wire::refusal::each_refused;

    #[test]
    fn what_is_asked_is_read() {
        let request = LoadRequest::parse(br#"{"model":"m","keep_alive":-1,"stream":true}"#).unwrap();
        let expected = LoadRequest { model: "m".into(), keep_alive: Some(KeepAlive::Forever), is_streamed: true };
        assert_eq!(request, expected);
        let request = LoadRequest::parse(br#"{"model":"m"}"#).unwrap();
        assert_eq!(request, LoadRequest { keep_alive: None, is_streamed: false, ..expected });
    }

    #[test]
    fn row_19_what_is_no_load_is_refused() {
        let table = [
            (r#""model":1"#, "invalid_type", "model"),
            (r#""model":"m","stream":1"#, "invalid_type", "stream"),
            (r#""model":"m","n_ctx":4096"#, "unsupported_parameter", "n_ctx"),
        ];
        each_refused(LoadRequest::parse, "", &table);
    }
}
