//! Texts, classes of characters, and counts.

use super::{Parser, Part, PartId};
use crate::grammar::gbnf::class::Class;
use crate::grammar::source::GrammarError;
use crate::limits::GBNF_TIMES_MAX;

impl Parser<'_> {
    pub(super) fn text(&mut self) -> Result<PartId, GrammarError> {
        let at = self.at;
        self.at += 1;
        let mut text = String::new();
        while !self.take_if('"') {
            text.push(self.character(at, "text")?);
        }
        let mut characters = text.chars();
        match (characters.next(), characters.next()) {
            (None, _) => self.push(Part::All(Vec::new())),
            (Some(one), None) => self.push(Part::One(Class::one(one))),
            _ => self.push(Part::Text(text)),
        }
    }

    pub(super) fn class(&mut self) -> Result<PartId, GrammarError> {
        let at = self.at;
        self.at += 1;
        let is_negated = self.take_if('^');
        let mut ranges: Vec<(u32, u32)> = Vec::new();
        while !self.take_if(']') {
            let begin = self.at;
            let low = self.character(at, "class")?;
            let rest = &self.text[self.at..];
            let high = if rest.starts_with('-') && !rest.starts_with("-]") {
                self.at += 1;
                self.character(at, "class")?
            } else {
                low
            };
            if high < low {
                return Err(self.wrong_at(begin, "this range ends before it begins"));
            }
            ranges.push((low.into(), high.into()));
        }
        if ranges.is_empty() {
            return Err(self.wrong_at(at, "this class is empty"));
        }
        let class = if is_negated { Class::but(ranges) } else { Class::of(ranges) };
        let class = class.ok_or_else(|| self.wrong_at(at, "this class has no characters"))?;
        self.push(Part::One(class))
    }

    /// A character of a text or class that began at `begin`.
    fn character(&mut self, begin: usize, what: &str) -> Result<char, GrammarError> {
        let at = self.at;
        let never_closed = |parser: &Self| parser.wrong_at(begin, format!("this {what} is never closed"));
        let Some(next) = self.take() else { return Err(never_closed(self)) };
        if next != '\\' {
            return Ok(next);
        }
        let Some(escaped) = self.take() else { return Err(never_closed(self)) };
        let digits = match escaped {
            'x' => 2,
            'u' => 4,
            'U' => 8,
            't' => return Ok('\t'),
            'r' => return Ok('\r'),
            'n' => return Ok('\n'),
            '\\' | '"' | '[' | ']' | '-' => return Ok(escaped),
            other => return Err(self.wrong_at(at, format!("`\\{other}` is no escape"))),
        };
        let number =
            self.text.get(self.at..self.at + digits).filter(|hex| hex.bytes().all(|byte| byte.is_ascii_hexdigit()));
        let number = number.and_then(|hex| u32::from_str_radix(hex, 16).ok());
        let Some(number) = number else {
            return Err(self.wrong_at(at, format!("`\\{escaped}` takes {digits} hexadecimal digits")));
        };
        self.at += digits;
        char::from_u32(number).ok_or_else(|| self.wrong_at(at, "this is the number of no character"))
    }

    /// How many times what stands before is to come.
    pub(super) fn times(&mut self) -> Result<(u32, Option<u32>), GrammarError> {
        match self.take() {
            Some('*') => return Ok((0, None)),
            Some('+') => return Ok((1, None)),
            Some('?') => return Ok((0, Some(1))),
            _ => self.skip_between(),
        }
        let at = self.at;
        let least = self.number()?;
        self.skip_between();
        let most = if self.take_if(',') {
            self.skip_between();
            let most = self.number()?;
            self.skip_between();
            if least.is_none() && most.is_none() {
                return Err(self.wrong_at(at, "a number should stand here"));
            }
            most
        } else if least.is_some() {
            least
        } else {
            return Err(self.wrong_at(at, "a number should stand here"));
        };
        if !self.take_if('}') {
            return Err(self.wrong("`}` should stand here"));
        }
        let least = least.unwrap_or(0);
        if most.is_some_and(|most| most < least) {
            return Err(self.wrong_at(at, "the second number is less than the first"));
        }
        Ok((least, most))
    }

    fn number(&mut self) -> Result<Option<u32>, GrammarError> {
        let at = self.at;
        let digits = self.take_while(|character| character.is_ascii_digit());
        if digits.is_empty() {
            return Ok(None);
        }
        match digits.parse::<u32>() {
            Ok(number) if number <= GBNF_TIMES_MAX => Ok(Some(number)),
            _ => Err(self.wrong_at(at, format!("nothing can be repeated more than {GBNF_TIMES_MAX} times"))),
        }
    }
}
