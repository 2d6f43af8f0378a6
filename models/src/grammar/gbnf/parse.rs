//! GBNF to rules: a tree of parts for each, in one list. What has no parts, and counts, are in `terminals`.

mod terminals;

use std::collections::HashMap;

use super::class::Class;
use super::rules::{Part, PartId, Rules};
use crate::grammar::source::GrammarError;
use crate::limits::{GBNF_PARTS_MAX, GRAMMAR_NESTING_MAX, REGEX_SIZE_MAX};

/// The rule that an answer is of.
const ROOT: &str = "root";

/// Whether names are made of it.
pub(super) fn is_of_name(character: char) -> bool {
    character.is_ascii_alphanumeric() || character == '-' || character == '_'
}

/// Reads a grammar.
///
/// # Errors
/// [`GrammarError::Gbnf`], and [`GrammarError::TooLarge`] of too many parts.
pub(super) fn parse(text: &str) -> Result<Rules, GrammarError> {
    let mut parser = Parser {
        text,
        at: 0,
        depth: 0,
        parts: Vec::new(),
        sizes: Vec::new(),
        names: HashMap::new(),
        rules: Vec::new(),
    };
    parser.skip(Lines::Any);
    while parser.peek().is_some() {
        parser.rule()?;
    }
    let Some(&root) = parser.names.get(ROOT) else { return Err(parser.wrong_at(0, "there is no rule `root`")) };
    let body = |named: &Named| {
        let reason = || format!("there is no rule `{}`", named.name);
        named.body.ok_or_else(|| parser.wrong_at(named.at, reason()))
    };
    let bodies = parser.rules.iter().map(body).collect::<Result<Vec<_>, _>>()?;
    Ok(Rules { parts: parser.parts, bodies, root })
}

struct Parser<'a> {
    text: &'a str,
    /// Bytes that are read.
    at: usize,
    /// Brackets that are open.
    depth: usize,
    parts: Vec<Part>,
    /// Of each part, how many there are once its counts are written out.
    sizes: Vec<u64>,
    names: HashMap<&'a str, usize>,
    rules: Vec<Named<'a>>,
}

struct Named<'a> {
    name: &'a str,
    /// Where it was named first.
    at: usize,
    body: Option<PartId>,
}

/// Which spaces are skipped.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Lines {
    /// Those of this line.
    This,
    Any,
}

impl<'a> Parser<'a> {
    fn peek(&self) -> Option<char> {
        self.text[self.at..].chars().next()
    }

    fn take(&mut self) -> Option<char> {
        let next = self.peek()?;
        self.at += next.len_utf8();
        Some(next)
    }

    fn take_if(&mut self, expected: char) -> bool {
        let is_next = self.peek() == Some(expected);
        self.at += if is_next { expected.len_utf8() } else { 0 };
        is_next
    }

    fn take_while(&mut self, holds: impl Fn(char) -> bool) -> &'a str {
        let rest = &self.text[self.at..];
        let end = rest.find(|character| !holds(character)).unwrap_or(rest.len());
        self.at += end;
        &rest[..end]
    }

    /// Skips spaces and comments.
    fn skip(&mut self, lines: Lines) {
        loop {
            match self.peek() {
                Some(' ' | '\t') => self.at += 1,
                Some('\r' | '\n') if lines == Lines::Any => self.at += 1,
                Some('#') => {
                    self.take_while(|character| character != '\r' && character != '\n');
                }
                _ => return,
            }
        }
    }

    /// Between parts; in brackets they may stand on several lines.
    fn skip_between(&mut self) {
        self.skip(if self.depth > 0 { Lines::Any } else { Lines::This });
    }

    fn wrong_at(&self, at: usize, reason: impl Into<String>) -> GrammarError {
        let before = &self.text[..at];
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        GrammarError::Gbnf { line, column, reason: reason.into() }
    }

    fn wrong(&self, reason: impl Into<String>) -> GrammarError {
        self.wrong_at(self.at, reason)
    }

    fn push(&mut self, part: Part) -> Result<PartId, GrammarError> {
        if self.parts.len() >= GBNF_PARTS_MAX {
            return Err(GrammarError::TooLarge { max: GBNF_PARTS_MAX, unit: "parts" });
        }
        let sum = |parts: &[PartId]| parts.iter().fold(1, |sum: u64, &part| sum.saturating_add(self.sizes[part]));
        let size = match &part {
            Part::Text(text) => text.len() as u64,
            Part::One(_) | Part::Rule(_) => 1,
            Part::All(parts) | Part::Either(parts) => sum(parts),
            Part::Times(part, least, most) => self.sizes[*part].saturating_mul(most.unwrap_or(*least).max(1).into()),
        };
        if size > REGEX_SIZE_MAX as u64 {
            return Err(GrammarError::TooLarge {
                max: REGEX_SIZE_MAX,
                unit: "parts in a rule once its counts are written out",
            });
        }
        self.parts.push(part);
        self.sizes.push(size);
        Ok(self.parts.len() - 1)
    }

    /// The number of the rule of a name.
    fn named(&mut self, name: &'a str, at: usize) -> usize {
        let rules = &mut self.rules;
        *self.names.entry(name).or_insert_with(|| {
            rules.push(Named { name, at, body: None });
            rules.len() - 1
        })
    }

    fn rule(&mut self) -> Result<(), GrammarError> {
        let at = self.at;
        let name = self.take_while(is_of_name);
        if name.is_empty() {
            return Err(self.wrong("a rule's name should stand here"));
        }
        self.skip(Lines::This);
        if !self.text[self.at..].starts_with("::=") {
            return Err(self.wrong(format!("`::=` should stand here, behind `{name}`")));
        }
        self.at += "::=".len();
        self.skip(Lines::Any);
        let rule = self.named(name, at);
        if self.rules[rule].body.is_some() {
            return Err(self.wrong_at(at, format!("the rule `{name}` is there already")));
        }
        let body = self.either()?;
        self.rules[rule].body = Some(body);
        match self.peek() {
            None | Some('\r' | '\n') => {}
            Some(')') => return Err(self.wrong("`)` closes nothing")),
            Some(other) => return Err(self.wrong(format!("`{other}` cannot stand here"))),
        }
        self.skip(Lines::Any);
        Ok(())
    }

    fn either(&mut self) -> Result<PartId, GrammarError> {
        let mut ways = vec![self.all()?];
        while self.take_if('|') {
            self.skip(Lines::Any);
            ways.push(self.all()?);
        }
        if let [way] = ways[..] { Ok(way) } else { self.push(Part::Either(ways)) }
    }

    fn all(&mut self) -> Result<PartId, GrammarError> {
        let mut parts: Vec<PartId> = Vec::new();
        loop {
            let at = self.at;
            let part = match self.peek() {
                Some('"') => self.text()?,
                Some('[') => self.class()?,
                Some('(') => self.group()?,
                Some('.') => {
                    self.at += 1;
                    self.push(Part::One(Class::but(Vec::new()).expect("there are characters")))?
                }
                Some('<' | '!') => return Err(self.wrong("tokens by name or number are not supported")),
                Some('*' | '+' | '?' | '{') => {
                    let (least, most) = self.times()?;
                    let Some(last) = parts.pop() else {
                        return Err(self.wrong_at(at, "there is nothing here to repeat"));
                    };
                    if most == Some(0) {
                        self.push(Part::All(Vec::new()))?
                    } else {
                        self.push(Part::Times(last, least, most))?
                    }
                }
                Some(character) if is_of_name(character) => {
                    let name = self.take_while(is_of_name);
                    let rule = self.named(name, at);
                    self.push(Part::Rule(rule))?
                }
                _ => break,
            };
            parts.push(part);
            self.skip_between();
        }
        if let [part] = parts[..] { Ok(part) } else { self.push(Part::All(parts)) }
    }

    fn group(&mut self) -> Result<PartId, GrammarError> {
        let at = self.at;
        self.at += 1;
        self.depth += 1;
        if self.depth > GRAMMAR_NESTING_MAX {
            return Err(GrammarError::TooLarge { max: GRAMMAR_NESTING_MAX, unit: "levels of brackets" });
        }
        self.skip(Lines::Any);
        let inner = self.either()?;
        match self.peek() {
            Some(')') => self.at += 1,
            None => return Err(self.wrong_at(at, "this bracket is never closed")),
            Some(other) => return Err(self.wrong(format!("`{other}` cannot stand here"))),
        }
        self.depth -= 1;
        Ok(inner)
    }
}
