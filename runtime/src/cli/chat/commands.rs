//! What a message asks for: an answer, or something of the conversation itself.

use std::str::FromStr;

use crate::cli::ask::{MAX_TOKENS_DEFAULT, TEMPERATURE_DEFAULT, TOP_P_DEFAULT, Wishes};
use crate::nearest::hint;

/// Every command, and what it does.
pub(super) const COMMANDS: &[(&str, &str)] = &[
    ("/help", "tell this"),
    ("/clear", "forget what was said"),
    ("/system [TEXT|none]", "tell the model first how to behave, or show what it is told"),
    (
        "/set [NAME VALUE]",
        "change temperature, top_p, top_k, seed, max_tokens or keep_alive, or show them; none unsets",
    ),
    ("/model NAME", "go on with another model; what was said stays"),
    ("/save FILE", "keep the conversation in a file, which only you may read"),
    ("/load FILE", "go on with a conversation that was saved, instead of this one"),
    ("/show", "show the model, where it is, and what is set"),
    ("/receipt", "show the last answer's receipt, and what all took until now"),
    ("/bye", "end"),
];

/// What a message asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Said<'a> {
    Nothing,
    Bye,
    Help,
    Clear,
    System(Option<&'a str>),
    Set(Setting<'a>),
    Model(&'a str),
    Save(&'a str),
    Load(&'a str),
    Show,
    Receipt,
    /// Without what it is about: how it is used.
    Incomplete(&'static str),
    /// With what may have been meant.
    Unknown(String),
    Question(&'a str),
}

/// What of the settings.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Setting<'a> {
    All,
    /// A name and a value.
    One(&'a str, &'a str),
}

/// Reads a message. Only a line of its own is a command.
pub(super) fn said(message: &str) -> Said<'_> {
    let text = message.trim();
    if text.is_empty() {
        return Said::Nothing;
    }
    if !text.starts_with('/') || text.contains('\n') {
        return Said::Question(text);
    }
    let (command, rest) = text.split_once(char::is_whitespace).map_or((text, ""), |(word, rest)| (word, rest.trim()));
    match (command, rest) {
        ("/bye" | "/exit" | "/quit", "") => Said::Bye,
        ("/help" | "/?", "") => Said::Help,
        ("/clear", "") => Said::Clear,
        ("/system", "") => Said::System(None),
        ("/system", text) => Said::System(Some(text)),
        ("/set", "") => Said::Set(Setting::All),
        ("/set", setting) => match setting.split_once(char::is_whitespace) {
            Some((name, value)) => Said::Set(Setting::One(name, value.trim())),
            None => Said::Set(Setting::One(setting, "")),
        },
        ("/model", "") => Said::Incomplete("/model NAME"),
        ("/model", name) => Said::Model(name),
        ("/save", "") => Said::Incomplete("/save FILE"),
        ("/save", file) => Said::Save(file),
        ("/load", "") => Said::Incomplete("/load FILE"),
        ("/load", file) => Said::Load(file),
        ("/show", "") => Said::Show,
        ("/receipt", "") => Said::Receipt,
        _ => {
            let names: Vec<&str> = COMMANDS.iter().filter_map(|(usage, _)| usage.split(' ').next()).collect();
            Said::Unknown(hint(command, &names))
        }
    }
}

/// Changes a setting; `none` unsets it.
///
/// # Errors
/// Why it cannot be so.
pub(super) fn set(wishes: &mut Wishes, name: &str, value: &str) -> Result<(), String> {
    match name {
        "temperature" => wishes.temperature = parsed(name, value)?,
        "top_p" => wishes.top_p = parsed(name, value)?,
        "top_k" => wishes.top_k = parsed(name, value)?,
        "seed" => wishes.seed = parsed(name, value)?,
        "max_tokens" => wishes.max_tokens = parsed(name, value)?,
        "keep_alive" => wishes.keep_alive = parsed(name, value)?,
        _ => {
            let names = ["temperature", "top_p", "top_k", "seed", "max_tokens", "keep_alive"];
            return Err(format!("there is no setting {name:?}{}", hint(name, &names)));
        }
    }
    Ok(())
}

/// All settings, for people.
pub(super) fn settings(wishes: &Wishes) -> String {
    fn text<T: ToString>(value: Option<&T>, otherwise: &str) -> String {
        value.map_or_else(|| otherwise.to_owned(), ToString::to_string)
    }
    let Wishes { max_tokens, temperature, top_p, top_k, seed, keep_alive, system: _ } = wishes;
    let unless_set = |default: &dyn std::fmt::Display| format!("{default}, as nothing is set");
    let settings = [
        ("temperature", text(temperature.as_ref(), &unless_set(&TEMPERATURE_DEFAULT))),
        ("top_p", text(top_p.as_ref(), &unless_set(&TOP_P_DEFAULT))),
        ("top_k", text(top_k.as_ref(), "not set")),
        ("seed", text(seed.as_ref(), "not set")),
        ("max_tokens", text(max_tokens.as_ref(), &unless_set(&MAX_TOKENS_DEFAULT))),
        ("keep_alive", text(keep_alive.as_ref(), "not set")),
    ];
    settings.map(|(name, value)| format!("{name}: {value}")).join("\n")
}

fn parsed<T: FromStr>(name: &str, value: &str) -> Result<Option<T>, String> {
    match value {
        "" => Err(format!("say what {name} shall be, such as /set {name} 1, or none")),
        "none" => Ok(None),
        value => value.parse().map(Some).map_err(|_| format!("{name} cannot be {value:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_questions_or_commands() {
        assert_eq!(said("  \t"), Said::Nothing);
        assert_eq!(
            (said(" /bye "), said("/quit"), said("/clear"), said("/?")),
            (Said::Bye, Said::Bye, Said::Clear, Said::Help)
        );
        assert_eq!(said(" what is / ? "), Said::Question("what is / ?"));
        assert_eq!(said("/usr is a folder\nis it?"), Said::Question("/usr is a folder\nis it?"));
        assert_eq!((said("/system"), said("/system  be short ")), (Said::System(None), Said::System(Some("be short"))));
        assert_eq!(said("/set"), Said::Set(Setting::All));
        assert_eq!(said("/set top_k  5"), Said::Set(Setting::One("top_k", "5")));
        assert_eq!((said("/model m"), said("/save a b.json")), (Said::Model("m"), Said::Save("a b.json")));
        assert_eq!((said("/load x"), said("/load")), (Said::Load("x"), Said::Incomplete("/load FILE")));
        assert_eq!(said("/hlep"), Said::Unknown(" (did you mean /help?)".into()));
        assert!(matches!(said("/bye now"), Said::Unknown(_)));
    }

    #[test]
    fn every_command_that_is_told_is_one() {
        for (usage, _) in COMMANDS {
            let name = usage.split(' ').next().unwrap();
            assert!(!matches!(said(name), Said::Unknown(_) | Said::Question(_) | Said::Nothing), "{name}");
        }
    }

    #[test]
    fn settings_change_the_next_answers() {
        let mut wishes = Wishes::default();
        for (name, value) in [
            ("temperature", "0"),
            ("top_p", "0.5"),
            ("top_k", "3"),
            ("seed", "-7"),
            ("max_tokens", "9"),
            ("keep_alive", "5m"),
        ] {
            set(&mut wishes, name, value).unwrap();
            assert!(settings(&wishes).contains(&format!("{name}: {value}")), "{name}");
        }
        set(&mut wishes, "seed", "none").unwrap();
        assert!(wishes.seed.is_none() && wishes.temperature == Some(0.0));
        for (name, value, word) in
            [("top_k", "-1", "cannot be"), ("top_k", "", "say what"), ("tempreature", "1", "temperature?")]
        {
            let why = set(&mut wishes, name, value).unwrap_err();
            assert!(why.contains(word), "{why}");
        }
        assert_eq!(wishes.top_k, Some(3), "what is refused changes nothing");
    }
}
