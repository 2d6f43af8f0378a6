//! Who may speak: foreign hosts and origins are turned away, keys become tenants.
//!
//! Every route but the probes, the dashboard's page, the description of the routes, the way out of a sign-in and whether there
//! is one is somebody's ([`Keyring`](crate::tenancy::Keyring) says whose) and needs a scope: what is asked for with GET is
//! read, what changes something for everyone is administered, the rest is inference. Whoever has no valid key is refused
//! alike, whatever is wrong with it.
//!
//! The Host header is checked against DNS rebinding, the Origin header against pages of other sites; what browsers are told
//! of those that may ask is said by [`cors`]. Who shows no key may show the cookie of a sign-in instead; what that changes has
//! to come from a page of this very origin.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::error::ApiError;
use super::record::RequestRecord;
use super::{cors, dashboard, openapi, sign_in};
use crate::app::App;
use crate::config::Config;
use crate::tenancy::{Access, Level, Scope, Shown, TooFast};

/// What needs the scope [`Scope::Admin`], beside reading and inference.
const ADMINISTERED: [&str; 7] =
    ["/models/load", "/models/unload", "/models/pin", "/models/unpin", "/models/budget", "/api/pull", "/api/delete"];
/// What only reads, by whatever method.
const READ: [&str; 1] = ["/api/show"];
const OPEN_TO_PROBES: [&str; 4] = ["/livez", "/readyz", "/health", "/v1/health"];

/// Who may come to a route, as far as the route decides that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RouteAccess {
    /// Whoever reaches the socket, whatever it calls the host.
    Probe,
    /// Whoever does not come from elsewhere.
    Open,
    /// Whoever has this scope.
    Scoped(Scope),
}

/// Who may come to the route at `path`, which may be a pattern of paths.
pub(super) fn access_to(method: &Method, path: &str) -> RouteAccess {
    if OPEN_TO_PROBES.contains(&path) {
        RouteAccess::Probe
    } else if is_open(method, path) {
        RouteAccess::Open
    } else {
        RouteAccess::Scoped(scope_of(method, path))
    }
}

/// The middleware before every route.
pub(super) async fn guard(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let is_probe = OPEN_TO_PROBES.contains(&request.uri().path());
    let origin = match check_origin(&app.config(), request.uri(), request.headers()) {
        Ok(origin) => origin,
        Err(_) if is_probe => Origin::Unsaid,
        Err(error) => return error.into_response(),
    };
    let response = if cors::is_preflight(request.method(), request.headers()) {
        match origin {
            Origin::Configured(_) => cors::allowed(request.headers()),
            Origin::Unsaid | Origin::Own => ApiError::forbidden("no page of another origin asks").into_response(),
        }
    } else if is_probe || is_open(request.method(), request.uri().path()) {
        next.run(request).await
    } else {
        for_somebody(&app, &origin, (request, next)).await
    };
    match origin {
        Origin::Configured(origin) => cors::told_to(origin, response),
        Origin::Unsaid | Origin::Own => response,
    }
}

/// The answer of a route that is somebody's.
async fn for_somebody(app: &App, origin: &Origin, (mut request, next): (Request, Next)) -> Response {
    let admitted = admit(app, (request.method(), request.uri().path()), request.headers(), origin).await;
    let access = match admitted {
        Ok(access) => access,
        Err(error) => return error.into_response(),
    };
    let response = match take_request(app, &access) {
        Ok(()) => {
            if let Some(record) = request.extensions().get::<Arc<RequestRecord>>() {
                record.is_let_in(&access);
            }
            request.extensions_mut().insert(Arc::clone(&access));
            next.run(request).await
        }
        Err(error) => error.into_response(),
    };
    with_levels(response, &app.admissions.levels(&access))
}

/// The key that a request shows: none if it shows none at all.
pub(super) fn key(headers: &HeaderMap) -> Option<&[u8]> {
    let authorization = headers.get(header::AUTHORIZATION);
    let bearer = authorization.map(HeaderValue::as_bytes).and_then(|value| {
        let (scheme, key) = value.split_at_checked(7)?;
        scheme.eq_ignore_ascii_case(b"bearer ").then(|| key.trim_ascii())
    });
    let shown = bearer.or_else(|| headers.get("x-api-key").map(HeaderValue::as_bytes));
    // Credentials of another kind are as good as a wrong key.
    shown.or(authorization.map(|_| &[][..]))
}

/// Where a request says that it is from.
enum Origin {
    /// No page, or one that asks for what changes nothing.
    Unsaid,
    /// A page of this server.
    Own,
    /// A page that the operator named.
    Configured(HeaderValue),
}

/// Whether anybody may ask for it: there is nobody's figure in it.
fn is_open(method: &Method, path: &str) -> bool {
    // By whatever method: those that are not there are refused alike to everyone.
    if dashboard::is_of_page(path) || path == openapi::PATH {
        return true;
    }
    match *method {
        // Who is signed in is told to that one's own browser alone.
        Method::GET | Method::HEAD => path == sign_in::PATH,
        // Whoever has nothing but a cookie that is over can still let go of it.
        Method::DELETE => path == sign_in::PATH,
        _ => false,
    }
}

/// Who asks, if that one may ask for this.
async fn admit(
    app: &App,
    (method, path): (&Method, &str),
    headers: &HeaderMap,
    origin: &Origin,
) -> Result<Arc<Access>, ApiError> {
    let shown = match (key(headers), sign_in::token(headers)) {
        (Some(key), _) => Shown::Key(key),
        (None, None) => Shown::Nothing,
        (None, Some(_)) if !method.is_safe() && !matches!(origin, Origin::Own) => {
            return Err(ApiError::forbidden("who is signed in changes something from a page of this server alone"));
        }
        (None, Some(token)) => sign_in::shown(app, token),
    };
    let identified = app.keyring.identify(shown).await;
    let Some(access) = identified.map_err(ApiError::keys_unavailable)? else {
        app.metering.metrics().refused(None, "invalid_api_key");
        return Err(ApiError::invalid_api_key());
    };
    let needed = scope_of(method, path);
    if !access.has(needed) {
        app.metering.metrics().refused(Some(&access.tenant), "insufficient_scope");
        return Err(ApiError::insufficient_scope(needed.name()));
    }
    Ok(access)
}

/// One request less for a while.
fn take_request(app: &App, access: &Access) -> Result<(), ApiError> {
    app.admissions.take_request(access).map_err(|TooFast { of, wait }| {
        app.metering.metrics().refused(Some(&access.tenant), "rate_limit_exceeded");
        ApiError::rate_limited(of.name(), wait)
    })
}

fn scope_of(method: &Method, path: &str) -> Scope {
    match *method {
        _ if ADMINISTERED.contains(&path) => Scope::Admin,
        _ if READ.contains(&path) => Scope::Read,
        Method::GET | Method::HEAD => Scope::Read,
        _ if path == sign_in::PATH => Scope::Read,
        _ => Scope::Inference,
    }
}

/// Where it is from, if that may ask here.
fn check_origin(config: &Config, uri: &Uri, headers: &HeaderMap) -> Result<Origin, ApiError> {
    let header_host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let authority = uri.authority().map(axum::http::uri::Authority::as_str).or(header_host);
    let Some(authority) = authority.filter(|_| headers.get_all(header::HOST).iter().count() <= 1) else {
        return Err(ApiError::bad_host());
    };
    if !is_own_host(config, authority) {
        return Err(ApiError::forbidden("this host name is not served here"));
    }
    let Some(origin) = headers.get(header::ORIGIN) else { return Ok(Origin::Unsaid) };
    let text = origin.to_str().unwrap_or_default();
    // What a page of this server may do is not less where the operator names it, or everybody.
    let own = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
    match own {
        Some(own) if own.eq_ignore_ascii_case(authority) => Ok(Origin::Own),
        _ if config.origins.iter().any(|allowed| allowed.allows(text)) => Ok(Origin::Configured(origin.clone())),
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

/// What is left of the asker's rates, as OpenAI tells it.
fn with_levels(mut response: Response, levels: &[Level]) -> Response {
    for Level { of, limit, remaining, reset } in levels {
        let figures =
            [("limit", limit.to_string()), ("remaining", remaining.to_string()), ("reset", span_text(*reset))];
        for (figure, value) in figures {
            let name = HeaderName::try_from(format!("x-ratelimit-{figure}-{}", of.name()));
            if let (Ok(name), Ok(value)) = (name, HeaderValue::try_from(value)) {
                response.headers_mut().insert(name, value);
            }
        }
    }
    response
}

/// A span as OpenAI's headers have it: `120ms`, `7s`, `6m0s`. Never too short.
fn span_text(span: Duration) -> String {
    if span < Duration::from_secs(1) {
        return format!("{}ms", span.as_nanos().div_ceil(1_000_000));
    }
    let seconds = span.as_secs() + u64::from(span.subsec_nanos() > 0);
    if seconds < 60 { format!("{seconds}s") } else { format!("{}m{}s", seconds / 60, seconds % 60) }
}

#[cfg(test)]
mod tests {
    use axum::http::Method;

    use super::{host_of, is_open, scope_of, span_text};
    use crate::tenancy::Scope;

    #[test]
    fn a_host_is_what_stands_before_the_port() {
        for (authority, host) in
            [("localhost:8787", "localhost"), ("localhost", "localhost"), ("[::1]:80", "[::1]"), ("[::1]", "[::1]")]
        {
            assert_eq!(host_of(authority), host);
        }
    }

    #[test]
    fn spans_are_never_too_short() {
        for (nanos, text) in [
            (0, "0ms"),
            (1, "1ms"),
            (120_000_000, "120ms"),
            (1_000_000_000, "1s"),
            (1_000_000_001, "2s"),
            (59_000_000_001, "1m0s"),
            (360_000_000_000, "6m0s"),
        ] {
            assert_eq!(span_text(std::time::Duration::from_nanos(nanos)), text);
        }
    }

    #[test]
    fn the_page_and_the_way_out_are_open() {
        for path in ["/", "/assets/index.js", "/openapi.json", "/v1/sign-in"] {
            assert!(is_open(&Method::GET, path) && is_open(&Method::HEAD, path), "{path}");
            // A method that is not there is refused alike to everyone.
            assert_eq!(is_open(&Method::TRACE, path), path != "/v1/sign-in", "{path}");
        }
        assert!(is_open(&Method::DELETE, "/v1/sign-in") && !is_open(&Method::POST, "/v1/sign-in"));
        assert!(!is_open(&Method::GET, "/v1/live") && !is_open(&Method::DELETE, "/v1/contexts/x"));
    }

    #[test]
    fn every_route_needs_a_scope() {
        for (method, path, scope) in [
            (Method::GET, "/v1/models", Scope::Read),
            (Method::GET, "/v1/contexts", Scope::Read),
            (Method::HEAD, "/metrics", Scope::Read),
            (Method::POST, "/v1/chat/completions", Scope::Inference),
            (Method::DELETE, "/v1/contexts/x", Scope::Inference),
            (Method::POST, "/models/load", Scope::Admin),
            (Method::GET, "/models/budget", Scope::Admin),
            (Method::POST, "/models/anything", Scope::Inference),
            (Method::DELETE, "/api/delete", Scope::Admin),
            (Method::POST, "/api/pull", Scope::Admin),
            (Method::POST, "/api/show", Scope::Read),
            (Method::GET, "/api/tags", Scope::Read),
            (Method::POST, "/api/generate", Scope::Inference),
            (Method::POST, "/v1/sign-in", Scope::Read),
        ] {
            assert_eq!(scope_of(&method, path), scope, "{method} {path}");
        }
    }
}
