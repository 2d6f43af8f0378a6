//! A grammar as it was read: a tree of parts for each rule, in one list.

use super::class::Class;
use crate::grammar::source::GrammarError;

/// A part's place in [`Rules::parts`].
pub(super) type PartId = usize;

/// A part of a rule. Each stands in one place.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Part {
    /// A text of two characters at least.
    Text(String),
    /// One of some characters.
    One(Class),
    /// What another rule says.
    Rule(usize),
    /// One after another, or nothing.
    All(Vec<PartId>),
    /// One of them.
    Either(Vec<PartId>),
    /// So many times, or without an end.
    Times(PartId, u32, Option<u32>),
}

/// A grammar.
#[derive(Clone, Debug)]
pub(super) struct Rules {
    pub(super) parts: Vec<Part>,
    /// What each rule says.
    pub(super) bodies: Vec<PartId>,
    /// The rule that an answer is of.
    pub(super) root: usize,
}

impl Rules {
    /// The parts directly within one, but for those of other rules.
    pub(super) fn inner(&self, part: PartId) -> impl Iterator<Item = PartId> {
        let inner: &[PartId] = match &self.parts[part] {
            Part::Text(_) | Part::One(_) | Part::Rule(_) => &[],
            Part::All(parts) | Part::Either(parts) => parts,
            Part::Times(part, ..) => std::slice::from_ref(part),
        };
        inner.iter().copied()
    }

    /// The rules of whose parts `holds` says so, given those of which that is known.
    pub(super) fn that(&self, holds: impl Fn(PartId, &[bool]) -> bool) -> Vec<bool> {
        let mut known = vec![false; self.bodies.len()];
        loop {
            let before = known.clone();
            for (rule, &body) in self.bodies.iter().enumerate() {
                known[rule] = known[rule] || holds(body, &known);
            }
            if known == before {
                return known;
            }
        }
    }

    /// The same without the ways that lead to no end: an answer that took one could only be cut.
    ///
    /// # Errors
    /// [`GrammarError::Endless`] where there are no others.
    pub(super) fn with_an_end(mut self) -> Result<Self, GrammarError> {
        let ending = self.that(|part, known| self.ends(part, known));
        if !ending[self.root] {
            return Err(GrammarError::Endless);
        }
        let ends: Vec<bool> = (0..self.parts.len()).map(|part| self.ends(part, &ending)).collect();
        for part in &mut self.parts {
            match part {
                Part::Either(ways) => ways.retain(|&way| ends[way]),
                Part::Times(inner, 0, _) if !ends[*inner] => *part = Part::All(Vec::new()),
                _ => {}
            }
        }
        // What no answer can be of says nothing: nobody refers to it any more.
        for (body, _) in self.bodies.iter_mut().zip(ending).filter(|(_, ends)| !ends) {
            self.parts.push(Part::All(Vec::new()));
            *body = self.parts.len() - 1;
        }
        Ok(self)
    }

    /// Whether some text is one of a part.
    fn ends(&self, part: PartId, known: &[bool]) -> bool {
        match &self.parts[part] {
            Part::Rule(rule) => known[*rule],
            Part::Either(ways) => ways.iter().any(|&way| self.ends(way, known)),
            Part::Times(_, 0, _) => true,
            _ => self.inner(part).all(|inner| self.ends(inner, known)),
        }
    }
}
