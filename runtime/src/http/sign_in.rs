//! `POST /v1/sign-in`: a browser shows its key once, as a header, and has a cookie from then on, for what it cannot send headers
//! with. `DELETE /v1/sign-in` ends that.
//!
//! Invariants: the cookie is for this server's pages alone (`HttpOnly`, `SameSite=Strict`); its key stands in none of it.
//! Deliberately absent: `Secure`, as this server does not know what stands before it.

use std::sync::Arc;
use std::time::Instant;

use axum::Extension;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use scheduler::limits::RETRY_AFTER_MIN;
use serde_json::{Value, json};

use super::error::ApiError;
use super::guard;
use crate::app::App;
use crate::limits::SIGN_IN_LASTS;
use crate::tenancy::{Access, Scope, SignInError};

/// Where.
pub(super) const PATH: &str = "/v1/sign-in";
/// The cookie that stands for a key.
pub(super) const COOKIE: &str = "dayfly_sign_in";

/// `POST /v1/sign-in`, with a key in a header.
pub(super) async fn begin(
    State(app): State<Arc<App>>,
    Extension(access): Extension<Arc<Access>>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let key = guard::key(&headers).ok_or_else(ApiError::invalid_api_key)?;
    let mark = app.keyring.mark(key);
    let token = app.sign_ins.begin(&access.tenant, mark, Instant::now()).map_err(|error| match error {
        SignInError::Full => ApiError::overloaded(RETRY_AFTER_MIN),
        SignInError::Random(_) => ApiError::internal(error),
    })?;
    let cookie = cookie(&token, SIGN_IN_LASTS.as_secs());
    Ok(([(header::SET_COOKIE, cookie), (header::CACHE_CONTROL, "no-store".to_owned())], axum::Json(about(&access)))
        .into_response())
}

/// `DELETE /v1/sign-in`.
pub(super) async fn end(State(app): State<Arc<App>>, headers: HeaderMap) -> Response {
    if let Some(token) = token(&headers) {
        app.sign_ins.end(token);
    }
    (StatusCode::NO_CONTENT, [(header::SET_COOKIE, cookie("", 0))]).into_response()
}

/// Who someone is, for that one.
pub(super) fn about(access: &Access) -> Value {
    let scopes: Vec<&str> = Scope::ALL.into_iter().filter(|scope| access.has(*scope)).map(Scope::name).collect();
    json!({ "tenant": &*access.tenant, "scopes": scopes })
}

/// What a browser shows of its sign-in.
pub(super) fn token(headers: &HeaderMap) -> Option<&str> {
    let cookies = headers.get_all(header::COOKIE).into_iter().filter_map(|value| value.to_str().ok());
    let mut pairs = cookies.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(name, _)| *name == COOKIE).map(|(_, token)| token)
}

fn cookie(token: &str, seconds: u64) -> String {
    format!("{COOKIE}={token}; Path=/; HttpOnly; SameSite=Strict; Max-Age={seconds}")
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn the_token_is_found_among_other_cookies() {
        let found = |lines: &[&str]| {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(header::COOKIE, HeaderValue::from_str(line).unwrap());
            }
            token(&headers).map(str::to_owned)
        };
        assert_eq!(found(&["a=b; dayfly_sign_in=x; c=d"]).as_deref(), Some("x"));
        assert_eq!(found(&["a=b", "dayfly_sign_in="]).as_deref(), Some(""));
        assert_eq!(found(&["a=dayfly_sign_in", "dayfly_sign_in", "xdayfly_sign_in=y"]), None);
        assert_eq!(found(&[]), None);
    }
}
