//! The Hugging Face Hub: what a repository holds, and where its files are.
//!
//! A pull asks once which commit a revision is, and then for that commit alone, so that a folder's files belong
//! together. The Hub tells the SHA-256 of files in large-file storage, weights among them; of the others it tells the
//! length.
//!
//! Invariants: the token goes to the Hub's own address, along no redirect away from it, and is never shown. Names in an
//! answer are compared with names that are looked for; none becomes a path by itself.
//!
//! Why not the `hf-hub` crate: version 1 needs tokio and reqwest, and keeps a cache of its own; a pull here is one file
//! or folder, verified and resumed as every other.
//!
//! Source: <https://huggingface.co/docs/hub/api>.

use std::fmt;
use std::io::{self, Read};
use std::str::FromStr;
use std::time::Instant;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use ureq::http::header;

use super::digest::Digest;
use super::http::Request;
use super::source::{SourceError, Url};
use super::{PullError, Repository};
use crate::limits::{HUB_ANSWER_BYTES_MAX, HUB_ANSWER_TIMEOUT};

/// Where the Hub is, and who asks.
#[derive(Clone, Debug)]
pub struct Hub {
    /// Its address, without a path.
    pub endpoint: Url,
    /// What opens repositories that are not public.
    pub token: Option<Token>,
}

impl Default for Hub {
    fn default() -> Self {
        Self { endpoint: Url::parse("https://huggingface.co").expect("an address"), token: None }
    }
}

/// An access token of the Hub. Never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    pub(super) fn header(&self) -> String {
        format!("Bearer {}", self.0)
    }
}

impl FromStr for Token {
    type Err = SourceError;

    fn from_str(text: &str) -> Result<Self, SourceError> {
        let text = text.trim();
        match !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic()) {
            true => Ok(Self(text.to_owned())),
            false => Err(SourceError::BadToken),
        }
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

/// A file of a repository, as its commit's tree has it.
#[derive(Clone, Debug)]
pub(super) struct Listed {
    /// Its path in the repository.
    pub(super) path: String,
    pub(super) size_bytes: u64,
    pub(super) sha256: Option<Digest>,
}

/// One commit of a repository.
#[derive(Debug)]
pub(super) struct Commit<'a> {
    hub: &'a Hub,
    repository: &'a Repository,
    sha: String,
}

#[derive(Deserialize)]
struct RevisionAnswer {
    sha: String,
}

#[derive(Deserialize)]
struct TreeEntry {
    #[serde(rename = "type")]
    kind: String,
    path: String,
    #[serde(default)]
    size: u64,
    lfs: Option<LargeFile>,
}

#[derive(Deserialize)]
struct LargeFile {
    oid: String,
    size: u64,
}

impl<'a> Commit<'a> {
    /// The commit that `repository`'s revision is now.
    pub(super) fn of(hub: &'a Hub, repository: &'a Repository) -> Result<Self, PullError> {
        let revision = repository.revision.as_deref().unwrap_or("main");
        let url = address(hub, &format!("api/models/{}/revision/{}", repository.name, encoded(revision)))?;
        let RevisionAnswer { sha } = ask(hub, &url)?;
        match sha.len() == 40 && sha.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            true => Ok(Self { hub, repository, sha }),
            false => Err(PullError::Answer { url, problem: "without a commit" }),
        }
    }

    /// The files in `folder` of the repository (the whole path, empty for the top), not those below.
    pub(super) fn files(&self, folder: &str) -> Result<Vec<Listed>, PullError> {
        let place = if folder.is_empty() { String::new() } else { format!("/{}", encoded(folder)) };
        let url = address(self.hub, &format!("api/models/{}/tree/{}{place}", self.repository.name, self.sha))?;
        let entries: Vec<TreeEntry> = ask(self.hub, &url)?;
        let listed = |entry: TreeEntry| -> Option<Listed> {
            let (size_bytes, sha256) = match entry.lfs {
                Some(large) => (large.size, Some(large.oid.parse().ok()?)),
                None => (entry.size, None),
            };
            Some(Listed { path: entry.path, size_bytes, sha256 })
        };
        let files = entries.into_iter().filter(|entry| entry.kind == "file").map(listed);
        files.collect::<Option<_>>().ok_or(PullError::Answer { url, problem: "with what is no digest" })
    }

    /// Where the file at `path` of the repository is.
    pub(super) fn url(&self, path: &str) -> Result<Url, PullError> {
        address(self.hub, &format!("{}/resolve/{}/{}", self.repository.name, self.sha, encoded(path)))
    }
}

fn address(hub: &Hub, path: &str) -> Result<Url, PullError> {
    Ok(Url::parse(&format!("{}/{path}", hub.endpoint.uri.to_string().trim_end_matches('/')))?)
}

/// Asks for JSON, of which a bounded part is read.
fn ask<T: DeserializeOwned>(hub: &Hub, url: &Url) -> Result<T, PullError> {
    let nonsense = |problem| PullError::Answer { url: url.clone(), problem };
    let deadline = Instant::now() + HUB_ANSWER_TIMEOUT;
    let mut answer = Request { url, token: hub.token.as_ref(), range: None }.send()?;
    if !answer.status().is_success() {
        return Err(PullError::Status { url: url.clone(), status: answer.status().as_u16() });
    }
    // More than a thousand files in one folder come in pages.
    let links = answer.headers().get_all(header::LINK);
    if links.iter().any(|link| link.as_bytes().windows(4).any(|word| word == b"next")) {
        return Err(nonsense("with more files than are looked at"));
    }
    let mut json = Vec::new();
    let body = Until { reader: answer.body_mut().as_reader(), deadline };
    let read = body.take(HUB_ANSWER_BYTES_MAX + 1).read_to_end(&mut json);
    read.map_err(|error| PullError::Connection { url: url.clone(), source: error.into() })?;
    if json.len() as u64 > HUB_ANSWER_BYTES_MAX {
        return Err(nonsense("with more than is read"));
    }
    serde_json::from_slice(&json).map_err(|_| nonsense("with something else than the Hub's JSON"))
}

/// What is read no longer once its deadline has passed; a single read waits as long as the connection lets it.
struct Until<R> {
    reader: R,
    deadline: Instant,
}

impl<R: Read> Read for Until<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if Instant::now() >= self.deadline {
            return Err(io::ErrorKind::TimedOut.into());
        }
        self.reader.read(buffer)
    }
}

/// A path with everything percent-encoded that an address could take for something else.
fn encoded(path: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte);
    let shown = |byte: u8| if is_plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    path.bytes().map(shown).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_trickles_for_ever_is_given_up() {
        /// One byte at a time, and time goes on by itself.
        struct Trickle;
        impl Read for Trickle {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                buffer[0] = b' ';
                Ok(1)
            }
        }
        let deadline = Instant::now() + std::time::Duration::from_millis(20);
        let mut read = Vec::new();
        let error = Until { reader: Trickle, deadline }.read_to_end(&mut read).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        let mut in_time = Until { reader: &b"all of it"[..], deadline: Instant::now() + HUB_ANSWER_TIMEOUT };
        read.clear();
        in_time.read_to_end(&mut read).unwrap();
        assert_eq!(read, b"all of it");
    }
}
