//! `POST /v1/sign-in`: a browser shows its key once, as a header, and has a cookie from then on, for what it cannot send headers
//! with. `DELETE /v1/sign-in` ends that, and `GET /v1/sign-in` tells a page whether it has to ask for a key, refusing nobody.
//!
//! Invariants: the cookie is for this server's pages alone (`HttpOnly`, `SameSite=Strict`), and where they came over TLS for
//! TLS alone (`Secure`); its key stands in none of it.

use std::sync::Arc;
use std::time::{Duration, Instant};

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
use crate::tenancy::{Access, Scope, Shown, SignInError};

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
    let cookie = cookie(&token, SIGN_IN_LASTS, &headers);
    Ok(([(header::SET_COOKIE, cookie), (header::CACHE_CONTROL, "no-store".to_owned())], axum::Json(about(&access)))
        .into_response())
}

/// `GET /v1/sign-in`. A cookie that is over is taken away: without it the browser may be someone still.
pub(super) async fn who(State(app): State<Arc<App>>, headers: HeaderMap) -> Result<Response, ApiError> {
    let mark = token(&headers).and_then(|token| app.sign_ins.key_of(token, Instant::now()));
    let signed_in = match mark {
        Some(mark) => app.keyring.identify(Shown::Mark(mark)).await.map_err(ApiError::keys_unavailable)?,
        None => None,
    };
    let is_over = signed_in.is_none() && token(&headers).is_some();
    let is_signed_in = signed_in.is_some();
    let access = match signed_in {
        Some(access) => Some(access),
        None => app.keyring.identify(Shown::Nothing).await.map_err(ApiError::keys_unavailable)?,
    };
    let mut who = access.map_or_else(|| json!({ "tenant": null, "scopes": [] }), |access| about(&access));
    who["signed_in"] = is_signed_in.into();
    let kept = [(header::CACHE_CONTROL, "no-store")];
    let gone = is_over.then(|| [(header::SET_COOKIE, cookie("", Duration::ZERO, &headers))]);
    Ok((kept, gone, axum::Json(who)).into_response())
}

/// What a browser shows by this token: once it is over, as good as a wrong key.
pub(super) fn shown(app: &App, token: &str) -> Shown<'static> {
    app.sign_ins.key_of(token, Instant::now()).map_or(Shown::Key(&[]), Shown::Mark)
}

/// `DELETE /v1/sign-in`.
pub(super) async fn end(State(app): State<Arc<App>>, headers: HeaderMap) -> Response {
    if let Some(token) = token(&headers) {
        app.sign_ins.end(token);
    }
    (StatusCode::NO_CONTENT, [(header::SET_COOKIE, cookie("", Duration::ZERO, &headers))]).into_response()
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

fn cookie(token: &str, lasts: Duration, headers: &HeaderMap) -> String {
    let secure = if is_over_tls(headers) { "; Secure" } else { "" };
    format!("{COOKIE}={token}; Path=/; HttpOnly; SameSite=Strict; Max-Age={}{secure}", lasts.as_secs())
}

/// Whether the browser speaks TLS to what stands before this server: its page's origin says so, or the proxy does. Whoever
/// claims it falsely has a cookie that its own browser does not send.
fn is_over_tls(headers: &HeaderMap) -> bool {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let proto = text("x-forwarded-proto").split(',').next().unwrap_or_default().trim();
    text("origin").starts_with("https://") || proto.eq_ignore_ascii_case("https")
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn a_cookie_of_a_page_over_tls_is_for_tls_alone() {
        let secure = |name: &'static str, value: &'static str| {
            let headers = HeaderMap::from_iter([(name.parse().unwrap(), HeaderValue::from_static(value))]);
            cookie("x", SIGN_IN_LASTS, &headers).ends_with("; Secure")
        };
        assert!(secure("origin", "https://models.example") && secure("x-forwarded-proto", "HTTPS, http"));
        assert!(!secure("origin", "http://localhost") && !secure("x-forwarded-proto", "http, https"));
    }

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
