//! For tests: what a refusal says, and bodies to be refused.

use std::fmt::Debug;

use axum::http::StatusCode;

use crate::http::error::ApiError;

/// Code and `param` of a refusal with status 400.
#[track_caller]
pub(crate) fn refused<T: Debug>(read: Result<T, ApiError>) -> (&'static str, Option<String>) {
    let error = read.expect_err("must be refused");
    assert_eq!(error.status(), StatusCode::BAD_REQUEST);
    (error.code(), error.envelope()["error"]["param"].as_str().map(str::to_owned))
}

/// Checks a table of `(fields, code, param)` against a parser. `rest` is what makes the fields a whole body.
#[track_caller]
pub(crate) fn each_refused<T: Debug>(
    parse: fn(&[u8]) -> Result<T, ApiError>,
    rest: &str,
    table: &[(&str, &str, &str)],
) {
    for (fields, code, param) in table {
        let body = if rest.is_empty() { format!("{{{fields}}}") } else { format!("{{{fields},{rest}}}") };
        assert_eq!(refused(parse(body.as_bytes())), (*code, Some((*param).to_owned())), "{body}");
    }
}
