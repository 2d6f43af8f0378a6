//! `[http]`: how requests are read.

use serde::Deserialize;

use super::quantity::Choice;

/// `[http]`.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct HttpTable {
    /// What becomes of fields that mean nothing here.
    unknown_fields: Option<Choice<UnknownFields>>,
    /// What becomes of requests whose answers may be longer than there is room for.
    overlong_answers: Option<Choice<Overlong>>,
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

/// What becomes of a request whose answer may be longer than what the context has left behind its prompt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Overlong {
    /// It is refused: who asks for so many tokens may rely on them.
    #[default]
    Refuse,
    /// Its answer ends where the context does, at the latest.
    Cut,
}

impl HttpTable {
    /// What the table chooses.
    pub(super) fn unknown_fields(self) -> UnknownFields {
        self.unknown_fields.map_or(UnknownFields::default(), |Choice(chosen)| chosen)
    }

    /// What the table chooses.
    pub(super) fn overlong_answers(self) -> Overlong {
        self.overlong_answers.map_or(Overlong::default(), |Choice(chosen)| chosen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_understood_or_too_long_is_refused_unless_told() {
        let chosen = |text: &str| toml::from_str(text).map(HttpTable::unknown_fields);
        assert_eq!(chosen("").unwrap(), UnknownFields::Refuse);
        assert_eq!(chosen("unknown_fields = 'accept'").unwrap(), UnknownFields::Accept);
        let chosen_answers = |text: &str| toml::from_str(text).map(HttpTable::overlong_answers);
        assert_eq!(chosen_answers("").unwrap(), Overlong::Refuse);
        assert_eq!(chosen_answers("overlong_answers = 'cut'").unwrap(), Overlong::Cut);
        assert!(chosen("unknown_fields = 'ignore'").is_err() && chosen("unknown = 'accept'").is_err());
    }
}
