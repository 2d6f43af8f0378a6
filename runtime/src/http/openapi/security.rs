//! How a client shows who it is.

use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{ComponentsBuilder, SecurityRequirement};

use crate::http::sign_in;

const BEARER: &str = "bearer";
const HEADER: &str = "apiKey";
const COOKIE: &str = "signIn";

/// Any of the three; or nothing, where the operator lets in who shows no key.
pub(super) fn requirements() -> Vec<SecurityRequirement> {
    let of = |name: &str| SecurityRequirement::new::<_, [&str; 0], &str>(name, []);
    vec![of(BEARER), of(HEADER), of(COOKIE), SecurityRequirement::default()]
}

/// A key in a header, and nothing in its place.
pub(super) fn keys() -> Vec<SecurityRequirement> {
    [BEARER, HEADER].map(|name| SecurityRequirement::new::<_, [&str; 0], &str>(name, [])).into()
}

/// What they are.
pub(super) fn add_to(components: ComponentsBuilder) -> ComponentsBuilder {
    let bearer =
        HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some("A key, as OpenAI's clients send it."));
    let header = ApiKeyValue::with_description("x-api-key", "A key, as Anthropic's clients send it.");
    let cookie = ApiKeyValue::with_description(
        sign_in::COOKIE,
        "A browser's sign-in, which stands for its key; what changes something has to come from a page of this server.",
    );
    components
        .security_scheme(BEARER, SecurityScheme::Http(bearer.build()))
        .security_scheme(HEADER, SecurityScheme::ApiKey(ApiKey::Header(header)))
        .security_scheme(COOKIE, SecurityScheme::ApiKey(ApiKey::Cookie(cookie)))
}
