//! What a key, or a tenant, may: scopes, models, rates, budgets; as a configuration and the store of keys write them.

use std::fmt;
use std::num::NonZeroU64;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::budget::Budget;
use crate::limits::{
    BUDGETS_MAX, MODEL_NAME_CHARS_MAX, MODEL_PATTERNS_MAX, REQUESTS_PER_SECOND_MAX, REQUESTS_PER_SECOND_MIN,
};

/// One thing that a key may be for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// To have models compute.
    Inference,
    /// To see lists, states, receipts and figures: the tenant's own.
    Read,
    /// To change what everyone shares (loads, pins, the memory budget, contexts), and to see every tenant's.
    Admin,
}

impl Scope {
    /// All of them.
    pub(crate) const ALL: [Self; 3] = [Self::Inference, Self::Read, Self::Admin];

    /// Its word.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Inference => "inference",
            Self::Read => "read",
            Self::Admin => "admin",
        }
    }
}

/// Why something that a key may cannot be said so.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PermissionError {
    /// No such scope.
    #[error("{0:?} is no scope; there are inference, read and admin")]
    Scope(String),
    /// A key for nothing.
    #[error("a key has at least one scope")]
    NoScope,
    /// No pattern of names.
    #[error("{0:?} is no name of a model, nor a pattern of names with `*` in it")]
    Model(String),
    /// No rate.
    #[error("requests_per_second is from {REQUESTS_PER_SECOND_MIN} to {REQUESTS_PER_SECOND_MAX}")]
    Rate,
    /// More of something than anybody needs.
    #[error("there are more than {max} {what}")]
    TooMany { what: &'static str, max: usize },
}

/// What a key is for; at least one scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<String>", into = "Vec<String>")]
pub(crate) struct Scopes {
    has: [bool; Scope::ALL.len()],
}

impl Scopes {
    /// All of them.
    pub(crate) const ALL: Self = Self { has: [true; Scope::ALL.len()] };

    /// Whether `scope` is one of them.
    pub(crate) const fn has(self, scope: Scope) -> bool {
        self.has[scope as usize]
    }

    /// Their words.
    pub(crate) fn names(self) -> Vec<String> {
        Scope::ALL.into_iter().filter(|scope| self.has(*scope)).map(|scope| scope.name().to_owned()).collect()
    }
}

impl Default for Scopes {
    /// To compute, and to see what is one's own.
    fn default() -> Self {
        Self { has: Scope::ALL.map(|scope| scope != Scope::Admin) }
    }
}

impl TryFrom<Vec<String>> for Scopes {
    type Error = PermissionError;

    fn try_from(names: Vec<String>) -> Result<Self, PermissionError> {
        let mut has = [false; Scope::ALL.len()];
        for name in names {
            let scope = Scope::ALL.into_iter().find(|scope| scope.name() == name);
            has[scope.ok_or(PermissionError::Scope(name))? as usize] = true;
        }
        if has.contains(&true) { Ok(Self { has }) } else { Err(PermissionError::NoScope) }
    }
}

impl From<Scopes> for Vec<String> {
    fn from(scopes: Scopes) -> Self {
        scopes.names()
    }
}

/// Names of models, with `*` for any characters; without a name all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<String>", into = "Vec<String>")]
pub(crate) struct ModelNames(Vec<String>);

impl ModelNames {
    /// Whether any of a model's names is among them.
    pub(crate) fn have_any<'a>(&self, mut names: impl Iterator<Item = &'a str>) -> bool {
        self.are_all() || names.any(|name| self.0.iter().any(|pattern| matches(pattern, name)))
    }

    /// Whether they are all models.
    pub(crate) fn are_all(&self) -> bool {
        self.0.is_empty()
    }
}

impl TryFrom<Vec<String>> for ModelNames {
    type Error = PermissionError;

    fn try_from(patterns: Vec<String>) -> Result<Self, PermissionError> {
        if patterns.len() > MODEL_PATTERNS_MAX {
            return Err(PermissionError::TooMany { what: "patterns of models", max: MODEL_PATTERNS_MAX });
        }
        let is_bad = |pattern: &&String| pattern.trim().is_empty() || pattern.chars().count() > MODEL_NAME_CHARS_MAX;
        match patterns.iter().find(is_bad) {
            Some(bad) => Err(PermissionError::Model(bad.chars().take(MODEL_NAME_CHARS_MAX).collect())),
            None => Ok(Self(patterns)),
        }
    }
}

impl From<ModelNames> for Vec<String> {
    fn from(ModelNames(patterns): ModelNames) -> Self {
        patterns
    }
}

/// Whether `name` is what `pattern` says, each `*` being any characters.
fn matches(pattern: &str, name: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else { return pattern == name };
    let Some(mut left) = name.strip_prefix(first) else { return false };
    let mut parts = rest.split('*');
    let last = parts.next_back().unwrap_or_default();
    // The earliest place of each leaves most for those behind it.
    for part in parts {
        let Some(at) = left.find(part) else { return false };
        left = &left[at + part.len()..];
    }
    left.ends_with(last)
}

/// Requests in a second.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub(crate) struct RequestRate(f64);

impl RequestRate {
    /// Requests in a second.
    pub(crate) const fn per_second(self) -> f64 {
        self.0
    }
}

impl TryFrom<f64> for RequestRate {
    type Error = PermissionError;

    fn try_from(rate: f64) -> Result<Self, PermissionError> {
        if (REQUESTS_PER_SECOND_MIN..=REQUESTS_PER_SECOND_MAX).contains(&rate) {
            return Ok(Self(rate));
        }
        Err(PermissionError::Rate)
    }
}

impl From<RequestRate> for f64 {
    fn from(RequestRate(rate): RequestRate) -> Self {
        rate
    }
}

impl FromStr for RequestRate {
    type Err = PermissionError;

    fn from_str(text: &str) -> Result<Self, PermissionError> {
        Self::try_from(text.trim().parse::<f64>().map_err(|_| PermissionError::Rate)?)
    }
}

/// How much, and how fast.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Allowance {
    /// Requests of all kinds in a second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) requests_per_second: Option<RequestRate>,
    /// Tokens of prompts and answers in a minute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tokens_per_minute: Option<NonZeroU64>,
    /// What may be spent in an hour, a day, a month.
    #[serde(skip_serializing_if = "Budgets::is_empty")]
    pub(crate) budgets: Budgets,
}

/// Budgets, few enough.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Vec<Budget>")]
pub(crate) struct Budgets(Vec<Budget>);

impl Budgets {
    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Each.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Budget> {
        self.0.iter()
    }
}

impl TryFrom<Vec<Budget>> for Budgets {
    type Error = PermissionError;

    fn try_from(budgets: Vec<Budget>) -> Result<Self, PermissionError> {
        if budgets.len() > BUDGETS_MAX {
            return Err(PermissionError::TooMany { what: "budgets", max: BUDGETS_MAX });
        }
        Ok(Self(budgets))
    }
}

impl Allowance {
    /// Whether nothing is bounded.
    pub(crate) fn is_boundless(&self) -> bool {
        *self == Self::default()
    }
}

/// What a key may. One that is stored with something that is not known here is not used: it may be a bound.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Permissions {
    /// What it is for.
    pub(crate) scopes: Scopes,
    /// The models that there are for it.
    #[serde(skip_serializing_if = "ModelNames::are_all")]
    pub(crate) models: ModelNames,
    /// How much, and how fast.
    #[serde(skip_serializing_if = "Allowance::is_boundless")]
    pub(crate) allowance: Allowance,
}

impl fmt::Display for ModelNames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.are_all() { f.write_str("all") } else { f.write_str(&self.0.join(" ")) }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn names(patterns: &[&str]) -> ModelNames {
        ModelNames::try_from(patterns.iter().map(|&pattern| pattern.to_owned()).collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn a_star_is_any_characters() {
        for (pattern, name, expected) in [
            ("smollm2", "smollm2", true),
            ("smollm2", "smollm22", false),
            ("*", "", true),
            ("*", "anything", true),
            ("smol*", "smollm2", true),
            ("smol*", "asmol", false),
            ("*lm2", "smollm2", true),
            ("*lm2", "lm", false),
            ("a*a", "a", false),
            ("a*a", "aa", true),
            ("a*b*c", "axbybzc", true),
            ("a*b*c", "acb", false),
            ("a**c", "ac", true),
            ("ü*", "über", true),
        ] {
            assert_eq!(names(&[pattern]).have_any([name].into_iter()), expected, "{pattern} {name}");
        }
        assert!(names(&[]).have_any([].into_iter()), "no pattern is no restriction");
        assert!(names(&["b"]).have_any(["a", "b"].into_iter()));
        assert!(!names(&["b"]).have_any(["a", "c"].into_iter()));
    }

    #[test]
    fn permissions_are_stored_as_they_are() {
        let stored = json!({
            "scopes": ["inference", "admin"],
            "models": ["smol*"],
            "allowance": {
                "requests_per_second": 0.5,
                "tokens_per_minute": 1000,
                "budgets": ["5 USD/day", "2.5 GBh/month"],
            },
        });
        let permissions: Permissions = serde_json::from_value(stored.clone()).unwrap();
        assert!(permissions.scopes.has(Scope::Admin) && !permissions.scopes.has(Scope::Read));
        assert_eq!(serde_json::to_value(&permissions).unwrap(), stored);
        let least: Permissions = serde_json::from_value(json!({})).unwrap();
        assert_eq!(least, Permissions::default());
        assert_eq!(serde_json::to_value(&least).unwrap(), json!({ "scopes": ["inference", "read"] }));
    }

    #[test]
    fn what_cannot_be_is_refused() {
        for bad in [
            json!({ "scopes": [] }),
            json!({ "scopes": ["root"] }),
            json!({ "models": [""] }),
            json!({ "models": vec!["x"; MODEL_PATTERNS_MAX + 1] }),
            json!({ "allowance": { "requests_per_second": 0 } }),
            json!({ "allowance": { "requests_per_second": -1.0 } }),
            json!({ "allowance": { "requests_per_second": 1e-300 } }),
            json!({ "allowance": { "tokens_per_minute": 0 } }),
            json!({ "allowance": { "budgets": ["5 USD"] } }),
            json!({ "allowance": { "budgets": vec!["5 USD/day"; BUDGETS_MAX + 1] } }),
            json!({ "allowance": { "requests_per_year": 1 } }),
            json!({ "networks": [] }),
        ] {
            assert!(serde_json::from_value::<Permissions>(bad.clone()).is_err(), "{bad}");
        }
        assert!("nan".parse::<RequestRate>().is_err() && "inf".parse::<RequestRate>().is_err());
    }
}
