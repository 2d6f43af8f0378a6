//! Who may speak: foreign hosts and origins are turned away, keys become tenants.
//!
//! Without keys the server listens on the loopback only (the configuration sees to that); everyone there is the tenant
//! `anonymous`, whatever key is sent. With keys, every route but the probes asks for one; a wrong one is told from a
//! missing one neither by the answer nor by its time.
//!
//! The Host header is checked against DNS rebinding, the Origin header against pages of other sites; there are no CORS
//! headers unless an origin is configured.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use sha2::{Digest as _, Sha256};
use subtle::{Choice, ConditionallySelectable as _, ConstantTimeEq as _};

use super::error::ApiError;
use crate::app::App;
use crate::config::Config;

/// Who is charged for a request.
#[derive(Clone, Debug)]
pub(super) struct Tenant(pub(super) Arc<str>);

const ANONYMOUS: &str = "anonymous";
const OPEN_TO_PROBES: [&str; 2] = ["/livez", "/readyz"];

/// The middleware before every route.
pub(super) async fn guard(State(app): State<Arc<App>>, mut request: Request, next: Next) -> Response {
    if OPEN_TO_PROBES.contains(&request.uri().path()) {
        return next.run(request).await;
    }
    let origin = match check_origin(&app.config, request.uri(), request.headers()) {
        Ok(origin) => origin,
        Err(error) => return error.into_response(),
    };
    if request.method() == Method::OPTIONS && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD) {
        return match origin {
            Some(origin) => with_cors(StatusCode::NO_CONTENT.into_response(), origin),
            None => ApiError::forbidden("cross-origin requests are not allowed").into_response(),
        };
    }
    let response = match tenant(&app.config, request.headers()) {
        Some(tenant) => {
            request.extensions_mut().insert(tenant);
            next.run(request).await
        }
        None => ApiError::invalid_api_key().into_response(),
    };
    match origin {
        Some(origin) => with_cors(response, origin),
        None => response,
    }
}

/// Whose key it is. All keys are compared, so that the time tells nothing.
fn tenant(config: &Config, headers: &HeaderMap) -> Option<Tenant> {
    if config.keys.is_empty() {
        return Some(Tenant(ANONYMOUS.into()));
    }
    let hash: [u8; 32] = Sha256::digest(key(headers)).into();
    let (mut found, mut place) = (Choice::from(0), 0_u64);
    for (index, key) in (0_u64..).zip(&config.keys) {
        let is_equal = key.sha256.ct_eq(&hash);
        place.conditional_assign(&index, is_equal);
        found |= is_equal;
    }
    let place = usize::try_from(place).ok().filter(|_| bool::from(found))?;
    config.keys.get(place).map(|key| Tenant(key.tenant.as_str().into()))
}

fn key(headers: &HeaderMap) -> &[u8] {
    let bearer = headers.get(header::AUTHORIZATION).map(HeaderValue::as_bytes).and_then(|value| {
        let (scheme, key) = value.split_at_checked(7)?;
        scheme.eq_ignore_ascii_case(b"bearer ").then(|| key.trim_ascii())
    });
    bearer.or_else(|| headers.get("x-api-key").map(HeaderValue::as_bytes)).unwrap_or_default()
}

/// The origin to allow in the answer, if one was sent that is configured.
fn check_origin(config: &Config, uri: &Uri, headers: &HeaderMap) -> Result<Option<HeaderValue>, ApiError> {
    let header_host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let authority = uri.authority().map(axum::http::uri::Authority::as_str).or(header_host);
    let Some(authority) = authority.filter(|_| headers.get_all(header::HOST).iter().count() <= 1) else {
        return Err(ApiError::bad_host());
    };
    if !is_own_host(config, authority) {
        return Err(ApiError::forbidden("this host name is not served here"));
    }
    let Some(origin) = headers.get(header::ORIGIN) else { return Ok(None) };
    let text = origin.to_str().unwrap_or_default();
    if config.origins.iter().any(|allowed| allowed == text) {
        return Ok(Some(origin.clone()));
    }
    let own = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
    match own {
        Some(own) if own.eq_ignore_ascii_case(authority) => Ok(None),
        _ => Err(ApiError::forbidden("requests from this origin are not allowed")),
    }
}

fn is_own_host(config: &Config, authority: &str) -> bool {
    let host = host_of(authority);
    if config.hosts.iter().any(|allowed| allowed.eq_ignore_ascii_case(host)) {
        return true;
    }
    // A page that rebinds a name of its own to this address cannot send an address as the host.
    match host.trim_matches(['[', ']']).parse::<IpAddr>() {
        Ok(address) if config.listen.ip().is_loopback() => address.is_loopback(),
        Ok(_) => true,
        Err(_) => host.eq_ignore_ascii_case("localhost"),
    }
}

fn host_of(authority: &str) -> &str {
    if authority.starts_with('[') {
        return authority.find(']').map_or(authority, |end| &authority[..=end]);
    }
    authority.rsplit_once(':').map_or(authority, |(host, _)| host)
}

fn with_cors(mut response: Response, origin: HeaderValue) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(header::VARY, HeaderValue::from_static("Origin"));
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, POST, DELETE"));
    let allowed = HeaderValue::from_static("authorization, content-type, x-api-key");
    headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, allowed);
    response
}

#[cfg(test)]
mod tests {
    use super::host_of;

    #[test]
    fn a_host_is_what_stands_before_the_port() {
        for (authority, host) in
            [("localhost:8787", "localhost"), ("localhost", "localhost"), ("[::1]:80", "[::1]"), ("[::1]", "[::1]")]
        {
            assert_eq!(host_of(authority), host);
        }
    }
}
