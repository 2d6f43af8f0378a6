//! `origins`: which web pages may use the server, by the origins that their browsers tell.
//!
//! Written as browsers write them, `https://app.example` or `http://localhost:3000`; `scheme://*` is any host of a scheme (the
//! pages of an extension or an application), `scheme://host:*` any port of a host, `null` a page that has no origin (a file),
//! and `*` any page at all. Deliberately absent: a `*` within a host, behind which somebody else's name may begin.

use std::str::FromStr;

use serde::Deserialize;

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct AllowedOrigin {
    /// In small letters.
    text: String,
}

/// What is no entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "an origin is scheme://host or scheme://host:port with nothing behind, scheme://*, scheme://host:*, null, or *"
)]
pub(crate) struct NoOrigin;

impl AllowedOrigin {
    /// As it is written.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Whether a page of this origin is one.
    pub(crate) fn allows(&self, origin: &str) -> bool {
        match self.text.strip_suffix('*') {
            // What a browser has behind it is a host or a port, and no more.
            Some(beginning) => {
                let behind = origin.get(..beginning.len()).filter(|start| start.eq_ignore_ascii_case(beginning));
                behind.is_some_and(|start| origin.len() > start.len())
            }
            None => self.text.eq_ignore_ascii_case(origin),
        }
    }
}

impl FromStr for AllowedOrigin {
    type Err = NoOrigin;

    fn from_str(text: &str) -> Result<Self, NoOrigin> {
        let text = text.to_ascii_lowercase();
        if matches!(text.as_str(), "*" | "null") {
            return Ok(Self { text });
        }
        let (scheme, authority) = text.split_once("://").ok_or(NoOrigin)?;
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
            _ => (authority, None),
        };
        let is_scheme = !scheme.is_empty() && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
        let is_name =
            |host: &str| !host.is_empty() && host.chars().all(|c| c.is_ascii_alphanumeric() || "-._".contains(c));
        let is_address = |host: &str| {
            let inner = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
            inner.is_some_and(|inner| inner.parse::<std::net::Ipv6Addr>().is_ok())
        };
        let is_host = is_name(host) || is_address(host) || host == "*" && port.is_none();
        let is_port = port.is_none_or(|port| port == "*" || !port.starts_with('+') && port.parse::<u16>().is_ok());
        if !(is_scheme && is_host && is_port) {
            return Err(NoOrigin);
        }
        // Browsers leave away the port that a scheme has anyway.
        let usual = [("http", "80"), ("https", "443")].contains(&(scheme, port.unwrap_or_default()));
        Ok(Self { text: if usual { format!("{scheme}://{host}") } else { text } })
    }
}

impl TryFrom<String> for AllowedOrigin {
    type Error = NoOrigin;

    fn try_from(text: String) -> Result<Self, NoOrigin> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_allows_what_it_says_and_no_more() {
        for (entry, allowed, others) in [
            ("https://app.example", &["https://app.example", "HTTPS://App.Example"][..], &["http://app.example"][..]),
            (
                "https://App.Example:443",
                &["https://app.example"],
                &["https://app.example:443x", "https://app.example.evil"],
            ),
            (
                "http://localhost:*",
                &["http://localhost:3000"],
                &["http://localhost.evil:80", "http://localhost", "http://localhost:"],
            ),
            ("http://[::1]:3000", &["http://[::1]:3000"], &["http://[::1]"]),
            ("http://[::1]", &["http://[::1]"], &["http://[::1]:1"]),
            ("chrome-extension://*", &["chrome-extension://abc"], &["moz-extension://abc", "chrome-extension://"]),
            ("null", &["null"], &["", "file://", "nullx"]),
            ("*", &["https://any.example", "null"], &[""]),
        ] {
            let entry: AllowedOrigin = entry.parse().unwrap();
            assert!(allowed.iter().all(|origin| entry.allows(origin)), "{entry:?}");
            assert!(!others.iter().any(|origin| entry.allows(origin)), "{entry:?}");
        }
    }

    #[test]
    fn what_no_browser_sends_is_refused() {
        for text in [
            "",
            "app.example",
            "https://",
            "https://app.example/",
            "https://app.example/page",
            "https://*.app.example",
            "https://app*",
            "https://*:80",
            "http://localhost:",
            "http://localhost:x",
            "http://localhost:99999",
            "://x",
            "http://a b",
            "http://user@x",
            "http://[::1",
            "http://[x]",
            "**",
        ] {
            assert_eq!(text.parse::<AllowedOrigin>(), Err(NoOrigin), "{text}");
        }
    }
}
