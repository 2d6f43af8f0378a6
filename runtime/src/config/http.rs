//! `[http]`: how requests are read.

use serde::Deserialize;

use super::quantity::Choice;

/// `[http]`.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct HttpTable {
    /// What becomes of fields that mean nothing here.
    unknown_fields: Option<Choice<UnknownFields>>,
}

/// What becomes of a body's fields that mean nothing here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum UnknownFields {
    /// Their request is refused, with the first one's name.
    #[default]
    Refuse,
    /// They pass, and the answer names them. Those that are known to change answers elsewhere are refused all the same.
    Accept,
}

impl HttpTable {
    /// What the table chooses.
    pub(super) fn unknown_fields(self) -> UnknownFields {
        self.unknown_fields.map_or(UnknownFields::default(), |Choice(chosen)| chosen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_fields_are_refused_unless_told() {
        let chosen = |text: &str| toml::from_str(text).map(HttpTable::unknown_fields);
        assert_eq!(chosen("").unwrap(), UnknownFields::Refuse);
        assert_eq!(chosen("unknown_fields = 'accept'").unwrap(), UnknownFields::Accept);
        assert!(chosen("unknown_fields = 'ignore'").is_err() && chosen("unknown = 'accept'").is_err());
    }
}
