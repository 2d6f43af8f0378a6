//! Files from addresses: resumed by ranges, redirected within rules, never larger than allowed.
//!
//! A part is resumed only while the server says that it still is the same file: the request carries `If-Range` with the
//! strong `ETag` or else the `Last-Modified` of the answer that began the part. Redirects are followed here and not by
//! the library, so that encryption is never left: an https address leads only to https.

use std::fs::{self, File};
use std::io::{Seek, SeekFrom};

use ureq::Agent;
use ureq::Body;
use ureq::http::{Response, StatusCode, Uri, header};

use super::PullError;
use super::digest::Digest;
use super::flow::{Flow, Progress, Stage, Stopped};
use super::hub::Token;
use super::place::Place;
use super::source::Url;
use crate::limits::{CONNECT_TIMEOUT, REDIRECTS_MAX, RESUMES_MAX, STALL_TIMEOUT};

/// One download into one place.
pub(super) struct Download<'a> {
    pub(super) url: &'a Url,
    pub(super) place: &'a Place,
    pub(super) progress: &'a dyn Progress,
    pub(super) bytes_max: u64,
    /// Sent to the address itself.
    pub(super) token: Option<&'a Token>,
}

/// How one connection ended.
enum Outcome {
    Whole,
    /// It broke, or the part was no good; `advanced` tells whether it brought anything.
    Broken {
        advanced: bool,
        error: PullError,
    },
}

impl Download<'_> {
    /// Downloads until the file is whole, resuming as long as connections bring something.
    pub(super) fn run(&self) -> Result<(), PullError> {
        for _ in 0..RESUMES_MAX {
            match self.connect_and_read()? {
                Outcome::Whole => return Ok(()),
                Outcome::Broken { advanced: true, .. } => {}
                Outcome::Broken { advanced: false, error } => return Err(error),
            }
        }
        match self.connect_and_read()? {
            Outcome::Whole => Ok(()),
            Outcome::Broken { error, .. } => Err(error),
        }
    }

    fn connect_and_read(&self) -> Result<Outcome, PullError> {
        let kept = self.kept_part();
        let mut answer = Request { url: self.url, token: self.token, range: kept.as_ref() }.send()?;
        let start = match (answer.status(), &kept) {
            (StatusCode::PARTIAL_CONTENT, Some(kept)) => {
                if content_range_start(&answer) != Some(kept.bytes) {
                    return Err(self.nonsense("with another range than was asked for"));
                }
                kept.bytes
            }
            (StatusCode::OK, _) => 0,
            // The part is as long as the file or longer: begin anew.
            (StatusCode::RANGE_NOT_SATISFIABLE, Some(_)) => {
                self.place.clear();
                let error = PullError::Status { url: self.url.clone(), status: answer.status().as_u16() };
                return Ok(Outcome::Broken { advanced: true, error });
            }
            (status, _) => return Err(PullError::Status { url: self.url.clone(), status: status.as_u16() }),
        };
        let total_bytes = answer.body().content_length().map(|rest| start.saturating_add(rest));
        if total_bytes.is_some_and(|total| total > self.bytes_max) {
            return Err(PullError::TooLarge { limit: self.bytes_max });
        }
        if start == 0 {
            self.remember(&answer)?;
        }
        self.read(&mut answer, start, total_bytes)
    }

    fn read(&self, answer: &mut Response<Body>, start: u64, total_bytes: Option<u64>) -> Result<Outcome, PullError> {
        let path = &self.place.part;
        let mut part =
            File::options().create(true).write(true).truncate(false).open(path).map_err(PullError::at(path))?;
        part.set_len(start).and_then(|()| part.seek(SeekFrom::End(0))).map_err(PullError::at(path))?;
        let item = self.url.to_string();
        let stage = Stage::Downloading { item: &item };
        let mut flow =
            Flow { progress: self.progress, stage, done_bytes: start, total_bytes, bytes_max: self.bytes_max };
        let poured = flow.pour(&mut answer.body_mut().as_reader(), &mut part);
        let advanced = flow.done_bytes > start;
        let broken = |error: std::io::Error| {
            let error = PullError::Connection { url: self.url.clone(), source: error.into() };
            Ok(Outcome::Broken { advanced, error })
        };
        match poured {
            Ok(()) if total_bytes.is_none_or(|total| total == flow.done_bytes) => Ok(Outcome::Whole),
            Ok(()) => broken(std::io::ErrorKind::UnexpectedEof.into()),
            Err(Stopped::Reading(error)) => broken(error),
            Err(Stopped::Writing(error)) => Err(PullError::at(path)(error)),
            Err(Stopped::Pull(error)) => Err(error),
        }
    }

    /// The part that an earlier connection to the same address left, if the server named its version.
    fn kept_part(&self) -> Option<KeptPart> {
        let info = fs::read_to_string(&self.place.part_info).ok()?;
        let (address, validator) = info.split_once('\n')?;
        let bytes = fs::metadata(&self.place.part).ok()?.len();
        let resumes = address == self.address_digest() && !validator.is_empty() && bytes > 0;
        resumes.then(|| KeptPart { bytes, validator: validator.into() })
    }

    /// Notes which version the part will be of. The address only as a digest: it may hold secrets.
    fn remember(&self, answer: &Response<Body>) -> Result<(), PullError> {
        let text = |name| answer.headers().get(name).and_then(|value| value.to_str().ok());
        let strong = text(header::ETAG).filter(|tag| tag.starts_with('"'));
        let validator = strong.or_else(|| text(header::LAST_MODIFIED)).unwrap_or_default();
        let path = &self.place.part_info;
        fs::write(path, format!("{}\n{validator}", self.address_digest())).map_err(PullError::at(path))
    }

    fn address_digest(&self) -> String {
        Digest::of(self.url.uri.to_string().as_bytes()).to_string()
    }

    fn nonsense(&self, problem: &'static str) -> PullError {
        PullError::Answer { url: self.url.clone(), problem }
    }
}

/// What is kept of a file, and which version it is of.
pub(super) struct KeptPart {
    bytes: u64,
    validator: String,
}

/// A question to an address, and along its redirects.
pub(super) struct Request<'a> {
    pub(super) url: &'a Url,
    /// Sent to the address' own host alone.
    pub(super) token: Option<&'a Token>,
    /// What is not asked for again.
    pub(super) range: Option<&'a KeptPart>,
}

impl Request<'_> {
    /// The answer, whatever its status says.
    pub(super) fn send(&self) -> Result<Response<Body>, PullError> {
        let mut url = self.url.clone();
        for _ in 0..=REDIRECTS_MAX {
            let mut request = agent(&url).get(url.uri.clone()).header(header::ACCEPT_ENCODING, "identity");
            if let Some(kept) = self.range {
                request = request.header(header::RANGE, format!("bytes={}-", kept.bytes));
                request = request.header(header::IF_RANGE, &kept.validator);
            }
            if let Some(token) = self.token.filter(|_| url.uri.authority() == self.url.uri.authority()) {
                request = request.header(header::AUTHORIZATION, token.header());
            }
            let answer =
                request.call().map_err(|error| PullError::Connection { url: url.clone(), source: Box::new(error) })?;
            if !matches!(answer.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
                return Ok(answer);
            }
            url = self.next(&url, &answer)?;
        }
        Err(self.nonsense("with too many redirects"))
    }

    /// Where a redirect leads, if it may.
    fn next(&self, from: &Url, answer: &Response<Body>) -> Result<Url, PullError> {
        let location = answer.headers().get(header::LOCATION).and_then(|value| value.to_str().ok());
        let next = location.and_then(|location| resolved(&from.uri, location)).and_then(|text| Url::parse(&text).ok());
        match next {
            Some(next) if next.is_encrypted() || !from.is_encrypted() => Ok(next),
            _ => Err(self.nonsense("with a redirect that is not followed (only https)")),
        }
    }

    fn nonsense(&self, problem: &'static str) -> PullError {
        PullError::Answer { url: self.url.clone(), problem }
    }
}

fn agent(url: &Url) -> Agent {
    let config = Agent::config_builder()
        .https_only(url.is_encrypted())
        .max_redirects(0)
        .max_redirects_will_error(false)
        .http_status_as_error(false)
        .timeout_resolve(Some(CONNECT_TIMEOUT))
        .timeout_connect(Some(CONNECT_TIMEOUT))
        .timeout_recv_response(Some(STALL_TIMEOUT))
        .timeout_per_read(Some(STALL_TIMEOUT));
    // This machine needs no proxy to reach itself.
    let config = if url.is_loopback() { config.proxy(None) } else { config };
    config.build().new_agent()
}

fn content_range_start(answer: &Response<Body>) -> Option<u64> {
    let value = answer.headers().get(header::CONTENT_RANGE)?.to_str().ok()?;
    value.strip_prefix("bytes ")?.split('-').next()?.parse().ok()
}

/// A redirect's target as an absolute address. Source: RFC 3986, section 5.2, but for dot segments, which servers resolve.
fn resolved(base: &Uri, location: &str) -> Option<String> {
    let (scheme, authority) = (base.scheme_str()?, base.authority()?);
    // The password of one address is not sent to the next.
    let host = authority.as_str().rsplit('@').next()?;
    Some(if location.contains("://") {
        location.into()
    } else if location.starts_with("//") {
        format!("{scheme}:{location}")
    } else if location.starts_with('/') {
        format!("{scheme}://{host}{location}")
    } else {
        let folder = base.path().rsplit_once('/').map_or("", |(folder, _)| folder);
        format!("{scheme}://{host}{folder}/{location}")
    })
}
