//! Paths as clients make them of a base URL, told apart no more than they mean different things.
//!
//! A base URL that ends with a slash, joined by another, has two of them in a row; one that is joined by a slash alone has
//! one at the end. Neither says anything, so that what is routed, guarded, counted and logged is the path without. So are two
//! of the names that llama.cpp's server has for what begins with `/v1` elsewhere.
//!
//! Deliberately absent: decoding. An encoded slash is part of a name.

use axum::http::Uri;
use axum::http::uri::PathAndQuery;

/// What llama.cpp's server has under a second name, and the first.
const ALSO: [(&str, &str); 2] = [("/chat/completions", "/v1/chat/completions"), ("/responses", "/v1/responses")];

/// Puts in place of a path the one that is routed.
pub(super) fn tidy(uri: &mut Uri) {
    let path = uri.path();
    let mut tidied =
        if path.contains("//") || path.len() > 1 && path.ends_with('/') { joined(path) } else { path.into() };
    if let Some((_, first)) = ALSO.iter().find(|(also, _)| *also == tidied) {
        (*first).clone_into(&mut tidied);
    }
    if tidied == path {
        return;
    }
    if let Some(query) = uri.query() {
        tidied = format!("{tidied}?{query}");
    }
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = PathAndQuery::try_from(tidied).ok();
    // It is made of what was one.
    *uri = Uri::from_parts(parts).unwrap_or_else(|_| uri.clone());
}

/// The parts of a path, each behind one slash.
fn joined(path: &str) -> String {
    let parts = path.split('/').filter(|part| !part.is_empty());
    let joined: String = parts.flat_map(|part| ["/", part]).collect();
    if joined.is_empty() { "/".to_owned() } else { joined }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slashes_that_say_nothing_go() {
        for (given, expected) in [
            ("/", "/"),
            ("//", "/"),
            ("/v1/models", "/v1/models"),
            ("/v1/models/", "/v1/models"),
            ("//v1/models", "/v1/models"),
            ("/v1//models//a/", "/v1/models/a"),
            ("/v1/models/?after=a/&limit=1//", "/v1/models?after=a/&limit=1//"),
            ("/v1/models/a%2Fb", "/v1/models/a%2Fb"),
            ("/v1//models/a%2F%2Fb", "/v1/models/a%2F%2Fb"),
            ("/chat/completions", "/v1/chat/completions"),
            ("//chat//completions/?a=b", "/v1/chat/completions?a=b"),
            ("/responses", "/v1/responses"),
            ("/responses/a", "/responses/a"),
            ("http://host//v1/models", "http://host/v1/models"),
            ("*", "*"),
        ] {
            let mut uri: Uri = given.parse().expect(given);
            tidy(&mut uri);
            assert_eq!(uri.to_string(), expected, "{given}");
        }
    }
}
