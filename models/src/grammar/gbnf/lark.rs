//! Rules and words in Lark's notation: rules are small letters, words capital ones, each with its number.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::class::Class;
use super::rules::{Part, PartId, Rules};
use super::words::Words;

/// How deep parts stand within each other on a line: its reader takes 30 brackets. What lies deeper has a line of its own.
const DEPTH_MAX: usize = 20;

/// The text of a grammar.
pub(super) fn write(rules: &Rules, words: &Words) -> String {
    let mut writing = Writing { rules, words, lark: String::new(), wanted: BTreeSet::new(), written: BTreeSet::new() };
    writing.line("start", &Name::Rule(rules.root).to_string());
    writing.wanted.insert(Name::Rule(rules.root));
    while let Some(name) = writing.wanted.pop_first() {
        if writing.written.insert(name) {
            let (part, level) = match name {
                Name::Rule(rule) => (rules.bodies[rule], Level::Rules),
                Name::WordOfRule(rule) => (rules.bodies[rule], Level::Words),
                Name::Part(part) => (part, Level::Rules),
                Name::Word(part) => (part, Level::Words),
            };
            let text = writing.part(part, level, 0);
            writing.line(&name.to_string(), &text);
        }
    }
    writing.lark
}

/// What stands before a colon.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Name {
    Rule(usize),
    /// A rule as a part of words.
    WordOfRule(usize),
    /// A part that lies too deep for the line of its rule.
    Part(PartId),
    Word(PartId),
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Rule(rule) => write!(f, "r{rule}"),
            Self::WordOfRule(rule) => write!(f, "R{rule}"),
            Self::Part(part) => write!(f, "p{part}"),
            Self::Word(part) => write!(f, "W{part}"),
        }
    }
}

/// What a part is written for.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Level {
    Rules,
    Words,
}

struct Writing<'a> {
    rules: &'a Rules,
    words: &'a Words,
    lark: String,
    wanted: BTreeSet<Name>,
    written: BTreeSet<Name>,
}

impl Writing<'_> {
    fn line(&mut self, name: &str, text: &str) {
        writeln!(self.lark, "{name}: {text}").expect("a string takes all that is written");
    }

    fn named(&mut self, name: Name) -> String {
        self.wanted.insert(name);
        name.to_string()
    }

    fn part(&mut self, part: PartId, level: Level, depth: usize) -> String {
        if level == Level::Rules && self.words.is_word(part) {
            return self.named(Name::Word(part));
        }
        let rules = self.rules;
        if depth == DEPTH_MAX && rules.inner(part).next().is_some() {
            return self.named(match level {
                Level::Rules => Name::Part(part),
                Level::Words => Name::Word(part),
            });
        }
        match &rules.parts[part] {
            Part::Text(text) if level == Level::Words => format!("/{}/", text.chars().map(spelled).collect::<String>()),
            Part::Text(text) => {
                let characters: Vec<String> = text.chars().map(|one| format!("/{}/", spelled(one))).collect();
                format!("({})", characters.join(" "))
            }
            Part::One(class) => class_text(class),
            Part::Rule(rule) => self.named(match level {
                Level::Rules => Name::Rule(*rule),
                Level::Words => Name::WordOfRule(*rule),
            }),
            Part::All(parts) if parts.is_empty() => "\"\"".to_owned(),
            Part::All(parts) => self.joined(parts, " ", level, depth),
            Part::Either(parts) => self.joined(parts, " | ", level, depth),
            Part::Times(part, least, most) => {
                let inner = self.part(*part, level, depth + 1);
                match (least, most) {
                    (0, None) => format!("({inner})*"),
                    (1, None) => format!("({inner})+"),
                    (0, Some(1)) => format!("({inner})?"),
                    (least, None) => format!("({inner}){{{least},}}"),
                    (least, Some(most)) => format!("({inner}){{{least},{most}}}"),
                }
            }
        }
    }

    fn joined(&mut self, parts: &[PartId], between: &str, level: Level, depth: usize) -> String {
        let texts: Vec<String> = parts.iter().map(|&part| self.part(part, level, depth + 1)).collect();
        format!("({})", texts.join(between))
    }
}

fn class_text(class: &Class) -> String {
    let spelled = |number: u32| char::from_u32(number).map_or_else(|| format!("\\u{{{number:X}}}"), spelled);
    let range = |&(low, high): &(u32, u32)| {
        if low == high { spelled(low) } else { format!("{}-{}", spelled(low), spelled(high)) }
    };
    format!("/[{}]/", class.ranges().iter().map(range).collect::<String>())
}

/// A character of a regular expression, where nothing but letters and digits stands for itself.
fn spelled(character: char) -> String {
    if character.is_ascii_alphanumeric() { character.into() } else { format!("\\u{{{:X}}}", u32::from(character)) }
}
