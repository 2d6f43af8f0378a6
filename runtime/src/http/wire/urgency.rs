//! `timeout` and `service_tier`: how long an answer may take, and who goes first.
//!
//! `timeout` is a number of seconds from the request's arrival to the end of its answer; the header `x-request-timeout`
//! says the same of any request, and the shorter of the two counts. `service_tier` is OpenAI's: `flex` can wait,
//! `priority` goes first where the operator lets its tenant.

use std::time::Duration;

use axum::http::HeaderMap;
use scheduler::Priority;

use super::Fields;
use super::json::Node;
use crate::http::error::ApiError;
use crate::limits::REQUEST_MAX;

const TIMEOUT: &str = "timeout";
const TIMEOUT_HEADER: &str = "x-request-timeout";
const SERVICE_TIER: &str = "service_tier";

/// How urgent a request is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Urgency {
    /// From the request's arrival to the end of its answer.
    pub(crate) timeout: Option<Duration>,
    /// Where the request says it.
    pub(crate) tier: Option<Tier>,
}

/// What `service_tier` asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tier {
    /// It can wait.
    Flex,
    /// As most; `auto` is this, too.
    Default,
    /// It goes first.
    Priority,
}

impl Urgency {
    /// Takes both fields out of a request.
    pub(crate) fn take(fields: &mut Fields) -> Result<Self, ApiError> {
        let timeout = match fields.take(TIMEOUT) {
            None => None,
            #[expect(clippy::cast_precision_loss, reason = "what it rounds is far past the limit")]
            Some(Node::Integer(seconds)) => Some(timeout(seconds as f64, &fields.path(TIMEOUT))?),
            Some(Node::Float(seconds)) => Some(timeout(seconds, &fields.path(TIMEOUT))?),
            Some(_) => return Err(ApiError::invalid_type(fields.path(TIMEOUT), "a number of seconds")),
        };
        let tier = match fields.text(SERVICE_TIER)?.as_deref() {
            None => None,
            Some("flex") => Some(Tier::Flex),
            Some("auto" | "default") => Some(Tier::Default),
            Some("priority") => Some(Tier::Priority),
            Some(_) => {
                let why = "must be \"auto\", \"default\", \"flex\" or \"priority\"";
                return Err(ApiError::invalid_value(fields.path(SERVICE_TIER), why));
            }
        };
        Ok(Self { timeout, tier })
    }

    /// The shorter of its own time and `other`.
    pub(crate) fn within(self, other: Option<Duration>) -> Self {
        let timeout = self.timeout.into_iter().chain(other).min();
        Self { timeout, ..self }
    }

    /// Who goes first, for a tenant that may go as high as `priority_max`.
    ///
    /// # Errors
    /// `invalid_value` where the request asks for more.
    pub(crate) fn priority(self, priority_max: Priority) -> Result<Priority, ApiError> {
        let asked = match self.tier {
            None => Priority::Normal.min(priority_max),
            Some(Tier::Flex) => Priority::Low,
            Some(Tier::Default) => Priority::Normal.min(priority_max),
            Some(Tier::Priority) => Priority::High,
        };
        if asked > priority_max {
            return Err(ApiError::tier_not_open(SERVICE_TIER));
        }
        Ok(asked)
    }
}

impl Tier {
    /// As an answer says it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Flex => "flex",
            Self::Default => "default",
            Self::Priority => "priority",
        }
    }
}

/// What the header says, if it is there.
///
/// # Errors
/// `invalid_value` when it is no number of seconds.
pub(crate) fn header_timeout(headers: &HeaderMap) -> Result<Option<Duration>, ApiError> {
    let Some(value) = headers.get(TIMEOUT_HEADER) else { return Ok(None) };
    let seconds = value.to_str().ok().and_then(|text| text.trim().parse::<f64>().ok()).unwrap_or(f64::NAN);
    timeout(seconds, TIMEOUT_HEADER).map(Some)
}

fn timeout(seconds: f64, param: &str) -> Result<Duration, ApiError> {
    let time = Duration::try_from_secs_f64(seconds).ok().filter(|time| !time.is_zero() && *time <= REQUEST_MAX);
    time.ok_or_else(|| {
        let max_s = REQUEST_MAX.as_secs();
        ApiError::invalid_value(param, format_args!("must be a number of seconds above 0 and at most {max_s}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::wire::parse_object;
    use crate::http::wire::refusal::{each_refused, refused};

    fn parse(body: &[u8]) -> Result<Urgency, ApiError> {
        let mut fields = parse_object(body)?;
        let urgency = Urgency::take(&mut fields)?;
        fields.take("model");
        fields.finish()?;
        Ok(urgency)
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let table = [
            (r#""timeout":0"#, "invalid_value", "timeout"),
            (r#""timeout":-1.5"#, "invalid_value", "timeout"),
            (r#""timeout":3601"#, "invalid_value", "timeout"),
            (r#""timeout":1e300"#, "invalid_value", "timeout"),
            (r#""timeout":"5s""#, "invalid_type", "timeout"),
            (r#""service_tier":"scale""#, "invalid_value", "service_tier"),
            (r#""service_tier":1"#, "invalid_type", "service_tier"),
        ];
        each_refused(parse, r#""model":"m""#, &table);
    }

    #[test]
    fn the_shorter_time_counts() {
        let urgency = parse(br#"{"model":"m","timeout":1.5}"#).expect("valid");
        assert_eq!(urgency.within(None).timeout, Some(Duration::from_millis(1500)));
        assert_eq!(urgency.within(Some(Duration::from_secs(1))).timeout, Some(Duration::from_secs(1)));
        assert_eq!(Urgency::default().within(Some(Duration::from_secs(1))).timeout, Some(Duration::from_secs(1)));
        let mut headers = HeaderMap::new();
        assert_eq!(header_timeout(&headers).expect("absent"), None);
        headers.insert(TIMEOUT_HEADER, "2.5".parse().expect("a value"));
        assert_eq!(header_timeout(&headers).expect("valid"), Some(Duration::from_millis(2500)));
        for wrong in ["", "soon", "0", "-1", "nan", "inf", "1e9"] {
            headers.insert(TIMEOUT_HEADER, wrong.parse().expect("a value"));
            assert_eq!(
                refused(header_timeout(&headers)),
                ("invalid_value", Some(TIMEOUT_HEADER.to_owned())),
                "{wrong}"
            );
        }
    }

    #[test]
    fn nobody_goes_higher_than_the_operator_lets_them() {
        let tier = |tier| Urgency { tier, ..Urgency::default() };
        assert_eq!(tier(None).priority(Priority::High).expect("usual"), Priority::Normal);
        assert_eq!(tier(None).priority(Priority::Low).expect("as high as it may"), Priority::Low);
        assert_eq!(tier(Some(Tier::Flex)).priority(Priority::High).expect("lower"), Priority::Low);
        assert_eq!(tier(Some(Tier::Priority)).priority(Priority::High).expect("allowed"), Priority::High);
        assert!(tier(Some(Tier::Priority)).priority(Priority::Normal).is_err());
    }
}
