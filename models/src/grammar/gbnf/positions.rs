//! Where words stand: which may come first, which behind which, and which beside each other.
//!
//! Rules are taken as if whatever may follow one of their uses could follow each, so that it is told of neighbours which are
//! none, and never not told of one.

use std::borrow::Cow;

use super::automaton::{Automaton, Meeting, Steps};
use super::rules::{Part, PartId, Rules};
use super::words::Words;
use crate::grammar::source::GrammarError;

/// What stands in a position.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) enum Word {
    /// A whole part.
    Part(PartId),
    /// A character of a text.
    Character(char),
}

/// Positions of words, by number.
#[derive(Debug)]
pub(super) struct Positions {
    /// What stands in each.
    pub(super) words: Vec<Word>,
    /// Those that may follow each.
    pub(super) after: Vec<Bits>,
    /// Those that an answer may begin with.
    pub(super) first: Bits,
}

/// A set of positions.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Bits(Vec<u64>);

impl Bits {
    /// Adds a position; whether it is new.
    pub(super) fn insert(&mut self, position: usize) -> bool {
        let (word, bit) = (position / 64, 1 << (position % 64));
        if self.0.len() <= word {
            self.0.resize(word + 1, 0);
        }
        let is_new = self.0[word] & bit == 0;
        self.0[word] |= bit;
        is_new
    }

    /// Adds all of `other`; whether one is new.
    fn add(&mut self, other: &Self) -> bool {
        if self.0.len() < other.0.len() {
            self.0.resize(other.0.len(), 0);
        }
        let mut is_new = false;
        for (word, other) in self.0.iter_mut().zip(&other.0) {
            is_new |= other & !*word != 0;
            *word |= other;
        }
        is_new
    }

    /// What it takes to go through them.
    pub(super) fn size(&self) -> usize {
        self.0.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = usize> {
        let bits = |(index, &word): (usize, &u64)| {
            let left = |word: u64| (word != 0).then_some(word);
            std::iter::successors(left(word), move |word| left(word & (word - 1)))
                .map(move |word| index * 64 + word.trailing_zeros() as usize)
        };
        self.0.iter().enumerate().flat_map(bits)
    }
}

impl Positions {
    /// Of what the root is made of.
    pub(super) fn of(rules: &Rules, words: &Words, steps: &mut Steps) -> Result<Self, GrammarError> {
        let mut placing = Placing {
            rules,
            words,
            base: vec![0; rules.parts.len()],
            placed: Vec::new(),
            rule_first: vec![Start::default(); rules.bodies.len()],
            rule_after: vec![Bits::default(); rules.bodies.len()],
            after: Vec::new(),
        };
        placing.number();
        placing.after = vec![Bits::default(); placing.placed.len()];
        let mut is_new = true;
        while is_new {
            is_new = false;
            for rule in 0..rules.bodies.len() {
                let start = placing.start(rules.bodies[rule], steps)?;
                let known = &mut placing.rule_first[rule];
                is_new |= known.first.add(&start.first) | (known.is_nullable != start.is_nullable);
                known.is_nullable = start.is_nullable;
            }
        }
        let mut is_new = true;
        while is_new {
            is_new = false;
            for rule in 0..rules.bodies.len() {
                let after = placing.rule_after[rule].clone();
                is_new |= placing.follow(rules.bodies[rule], &after, steps)?;
            }
        }
        let first = placing.start(rules.bodies[rules.root], steps)?.first;
        Ok(Self { words: placing.placed, after: placing.after, first })
    }

    /// For each position, those that may be read at the same place. `meet` tells how two positions' words stand to each other.
    pub(super) fn beside(
        &self,
        mut meet: impl FnMut(usize, usize, &mut Steps) -> Result<Meeting, GrammarError>,
        steps: &mut Steps,
    ) -> Result<Vec<Bits>, GrammarError> {
        let mut beside = vec![Bits::default(); self.words.len()];
        let mut groups = vec![(self.first.clone(), self.first.clone())];
        while let Some((ours, theirs)) = groups.pop() {
            steps.spend(ours.size())?;
            for one in ours.iter() {
                steps.spend(theirs.size())?;
                for two in theirs.iter() {
                    steps.spend(1 + (two / 64 + 1).saturating_sub(beside[one].size()))?;
                    if beside[one].insert(two) && meet(one, two, steps)?.is_shared {
                        steps.spend(self.after[one].size() + self.after[two].size())?;
                        groups.push((self.after[one].clone(), self.after[two].clone()));
                    }
                }
            }
        }
        Ok(beside)
    }
}

/// What a part begins with.
#[derive(Clone, Debug, Default)]
struct Start {
    first: Bits,
    is_nullable: bool,
}

struct Placing<'a> {
    rules: &'a Rules,
    words: &'a Words,
    /// The position of each part that is a word, or of the first character of a text that is none.
    base: Vec<usize>,
    placed: Vec<Word>,
    rule_first: Vec<Start>,
    rule_after: Vec<Bits>,
    after: Vec<Bits>,
}

impl Placing<'_> {
    fn number(&mut self) {
        for (part, what) in self.rules.parts.iter().enumerate() {
            self.base[part] = self.placed.len();
            match what {
                _ if self.words.is_word(part) => self.placed.push(Word::Part(part)),
                Part::Text(text) => self.placed.extend(text.chars().map(Word::Character)),
                _ => {}
            }
        }
    }

    fn start(&self, part: PartId, steps: &mut Steps) -> Result<Start, GrammarError> {
        steps.spend(1)?;
        let mut start = Start::default();
        if let Some(word) = self.words.automaton(part) {
            start.first.insert(self.base[part]);
            start.is_nullable = word.is_nullable;
            return Ok(start);
        }
        match &self.rules.parts[part] {
            Part::Text(_) | Part::One(_) => {
                start.first.insert(self.base[part]);
            }
            Part::Rule(rule) => {
                steps.spend(self.rule_first[*rule].first.size())?;
                return Ok(self.rule_first[*rule].clone());
            }
            Part::All(parts) => {
                start.is_nullable = true;
                for &part in parts {
                    let next = self.start(part, steps)?;
                    steps.spend(next.first.size())?;
                    start.first.add(&next.first);
                    start.is_nullable = next.is_nullable;
                    if !next.is_nullable {
                        break;
                    }
                }
            }
            Part::Either(parts) => {
                for &part in parts {
                    let next = self.start(part, steps)?;
                    steps.spend(next.first.size())?;
                    start.first.add(&next.first);
                    start.is_nullable |= next.is_nullable;
                }
            }
            Part::Times(part, least, _) => {
                start = self.start(*part, steps)?;
                start.is_nullable |= *least == 0;
            }
        }
        Ok(start)
    }

    /// Notes that `next` may follow a part; whether that is new anywhere.
    fn follow(&mut self, part: PartId, next: &Bits, steps: &mut Steps) -> Result<bool, GrammarError> {
        steps.spend(1 + next.0.len())?;
        if self.words.is_word(part) {
            return Ok(self.after[self.base[part]].add(next));
        }
        let rules = self.rules;
        match &rules.parts[part] {
            Part::One(_) => Ok(self.after[self.base[part]].add(next)),
            Part::Text(text) => {
                let (begin, last) = (self.base[part], self.base[part] + text.chars().count() - 1);
                steps.spend(last - begin)?;
                for position in begin..last {
                    if self.after[position].insert(position + 1) {
                        steps.spend(self.after[position].size())?;
                    }
                }
                Ok(self.after[last].add(next))
            }
            Part::Rule(rule) => Ok(self.rule_after[*rule].add(next)),
            Part::All(parts) => {
                let (mut next, mut is_new) = (next.clone(), false);
                for &part in parts.iter().rev() {
                    is_new |= self.follow(part, &next, steps)?;
                    let start = self.start(part, steps)?;
                    if start.is_nullable {
                        next.add(&start.first);
                    } else {
                        next = start.first;
                    }
                }
                Ok(is_new)
            }
            Part::Either(parts) => {
                let mut is_new = false;
                for &part in parts {
                    is_new |= self.follow(part, next, steps)?;
                }
                Ok(is_new)
            }
            Part::Times(part, _, most) => {
                let mut next = next.clone();
                if *most != Some(1) {
                    next.add(&self.start(*part, steps)?.first);
                }
                self.follow(*part, &next, steps)
            }
        }
    }
}

impl Word {
    /// What it accepts.
    pub(super) fn automaton(self, words: &Words) -> Cow<'_, Automaton> {
        match self {
            Self::Part(part) => Cow::Borrowed(words.automaton(part).expect("a part in a position is a word")),
            Self::Character(character) => Cow::Owned(Automaton::of_one(character)),
        }
    }
}
