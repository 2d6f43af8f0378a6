//! The dashboard: a page and its assets, embedded in the binary.
//!
//! It is built from `runtime/dashboard` into its `dist`, which is committed. There is no figure in it: all of them come from
//! [`live`](super::live) and the other routes, to whoever may see them, so that anybody may have the page itself.
//!
//! Invariants: it runs its own script and style and asks this server alone; an asset's name has a digest of it, and stays
//! with browsers, the page itself is asked for each time. Whoever takes gzip has it so, packed once: a third of the bytes.

use std::collections::HashMap;
use std::io::Write as _;
use std::sync::LazyLock;

use axum::body::Bytes;
use axum::extract::Path;
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use flate2::Compression;
use flate2::write::GzEncoder;
use rust_embed::RustEmbed;

use super::error::ApiError;

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'";

const PAGE_KEPT: &str = "no-cache";
const ASSET_KEPT: &str = "public, max-age=31536000, immutable";

/// What is built.
#[derive(RustEmbed)]
#[folder = "dashboard/dist"]
struct Dist;

/// All of it by gzip, from the first time that someone takes it so.
static PACKED: LazyLock<HashMap<String, Bytes>> = LazyLock::new(|| {
    Dist::iter().filter_map(|name| Some((name.to_string(), pack(&Dist::get(&name)?.data)?))).collect()
});

/// Whether `path` is the page's, or one of its assets'.
pub(super) fn is_of_page(path: &str) -> bool {
    path == "/" || path.starts_with("/assets/")
}

/// `GET /`.
pub(super) async fn page(headers: HeaderMap) -> Result<Response, ApiError> {
    file("index.html", PAGE_KEPT, &headers)
}

/// `GET /assets/{name}`.
pub(super) async fn asset(Path(name): Path<String>, headers: HeaderMap) -> Result<Response, ApiError> {
    file(&format!("assets/{name}"), ASSET_KEPT, &headers)
}

fn file(name: &str, kept: &'static str, headers: &HeaderMap) -> Result<Response, ApiError> {
    let file = Dist::get(name).ok_or_else(ApiError::not_found)?;
    let digest: String = file.metadata.sha256_hash()[..16].iter().map(|byte| format!("{byte:02x}")).collect();
    let packed = takes_gzip(headers).then(|| PACKED.get(name)).flatten();
    let tag = format!("\"{digest}{}\"", if packed.is_some() { "-gzip" } else { "" });
    let known = headers.get_all(header::IF_NONE_MATCH).into_iter().filter_map(|value| value.to_str().ok());
    let is_known = known.flat_map(|tags| tags.split(',')).any(|known| known.trim().trim_start_matches("W/") == tag);
    let about = [
        (header::ETAG, tag.as_str()),
        (header::CACHE_CONTROL, kept),
        (header::VARY, "accept-encoding"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ];
    if is_known {
        return Ok((StatusCode::NOT_MODIFIED, about).into_response());
    }
    let kind = [(header::CONTENT_TYPE, kind(name))];
    Ok(match packed {
        Some(packed) => (about, kind, [(header::CONTENT_ENCODING, "gzip")], packed.clone()).into_response(),
        None => (about, kind, file.data).into_response(),
    })
}

fn pack(data: &[u8]) -> Option<Bytes> {
    let mut packing = GzEncoder::new(Vec::new(), Compression::best());
    packing.write_all(data).and_then(|()| packing.finish()).ok().map(Bytes::from)
}

/// Whether a browser says that it does: by name, with a weight that is not 0.
fn takes_gzip(headers: &HeaderMap) -> bool {
    let lines = headers.get_all(header::ACCEPT_ENCODING).into_iter().filter_map(|value| value.to_str().ok());
    lines.flat_map(|line| line.split(',')).any(|one| {
        let (coding, weight) = one.split_once(';').unwrap_or((one, ""));
        let is_refused = weight.trim().strip_prefix("q=").is_some_and(|weight| weight.parse() == Ok(0.0));
        coding.trim().eq_ignore_ascii_case("gzip") && !is_refused
    })
}

fn kind(name: &str) -> &'static str {
    match name.rsplit_once('.').map(|(_, ending)| ending) {
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The page's size on the wire, which is to stay that of a picture.
    const PACKED_BYTES_MAX: usize = 64 * 1024;

    #[test]
    fn who_takes_gzip_has_the_page_small() {
        for (said, taken) in [
            ("gzip, deflate, br, zstd", true),
            ("br;q=1, GZIP;q=0.5", true),
            ("gzip;q=0", false),
            ("gzip; q=0.000", false),
            ("br, xgzip", false),
            ("", false),
        ] {
            let headers = HeaderMap::from_iter([(header::ACCEPT_ENCODING, said.parse().unwrap())]);
            assert_eq!(takes_gzip(&headers), taken, "{said}");
        }
        assert_eq!(PACKED.len(), Dist::iter().count());
        let (packed, plain): (usize, usize) = PACKED
            .iter()
            .map(|(name, data)| (data.len(), Dist::get(name).unwrap().data.len()))
            .fold((0, 0), |(packed, plain), (one, all)| (packed + one, plain + all));
        assert!(packed < PACKED_BYTES_MAX && 2 * packed < plain, "{packed} of {plain} bytes");
    }

    #[test]
    fn every_file_of_the_page_has_a_kind_and_the_page_names_every_asset() {
        let index = Dist::get("index.html").unwrap();
        let text = String::from_utf8_lossy(&index.data);
        for name in Dist::iter().filter(|name| *name != "index.html") {
            assert!(is_of_page(&format!("/{name}")) && kind(&name) != "application/octet-stream", "{name}");
            assert!(text.contains(&format!("\"/{name}\"")), "{name} is left over from an earlier build");
        }
        assert!(!text.contains("http://") && !text.contains("https://") && !text.contains("<style"), "{text}");
    }
}
