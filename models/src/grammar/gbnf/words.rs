//! Which parts are read as words: the largest that are never mistaken.
//!
//! A word is read for as long as any word that may stand in its place can go on. So a part is no word where it goes on, behind
//! a whole text of what may stand there too (itself included), with what may follow that: it is made of its parts then, each
//! looked at in turn. Where no words are left but single characters, nothing can be mistaken.

use std::collections::HashMap;

use super::automaton::{Automaton, Meeting, Steps};
use super::class::Leads;
use super::positions::{Positions, Word};
use super::rules::{Part, PartId, Rules};
use crate::grammar::source::GrammarError;

/// Which parts are words.
#[derive(Debug)]
pub(super) struct Words {
    /// What each part accepts that is one.
    automata: Vec<Option<Automaton>>,
}

impl Words {
    pub(super) fn is_word(&self, part: PartId) -> bool {
        self.automata[part].is_some()
    }

    pub(super) fn automaton(&self, part: PartId) -> Option<&Automaton> {
        self.automata[part].as_ref()
    }
}

/// The words of a grammar.
///
/// # Errors
/// [`GrammarError::TooLarge`] where finding them takes too long.
pub(super) fn words(rules: &Rules) -> Result<Words, GrammarError> {
    let regular = rules.that(|part, known| is_regular(rules, part, known));
    let mut steps = Steps::new();
    let mut words = Words { automata: vec![None; rules.parts.len()] };
    rules.bodies.iter().try_for_each(|&body| words.add(rules, &regular, body, &mut steps))?;
    let mut meetings: HashMap<(Word, Word), Meeting> = HashMap::new();
    loop {
        let mistaken = mistaken(rules, &words, &mut meetings, &mut steps)?;
        if mistaken.is_empty() {
            return Ok(words);
        }
        for part in mistaken {
            words.automata[part] = None;
            for inner in rules.inner(part) {
                words.add(rules, &regular, inner, &mut steps)?;
            }
        }
    }
}

impl Words {
    /// Makes `part` a word, or as much of it as can be one.
    fn add(&mut self, rules: &Rules, regular: &[bool], part: PartId, steps: &mut Steps) -> Result<(), GrammarError> {
        if is_regular(rules, part, regular)
            && let Some(automaton) = Automaton::of(rules, part, steps)?
        {
            // What accepts nothing but an empty text is left to the rules.
            let is_empty = automaton.leads(steps)? == Leads::default();
            self.automata[part] = (!is_empty).then_some(automaton);
            return Ok(());
        }
        rules.inner(part).try_for_each(|inner| self.add(rules, regular, inner, steps))
    }
}

/// What a meeting takes beside its steps: it is looked for, and kept.
const MEETING_STEPS: usize = 16;

/// The words that go on with what follows another one.
fn mistaken(
    rules: &Rules,
    words: &Words,
    meetings: &mut HashMap<(Word, Word), Meeting>,
    steps: &mut Steps,
) -> Result<Vec<PartId>, GrammarError> {
    let positions = Positions::of(rules, words, steps)?;
    let mut meet = |one: usize, two: usize, steps: &mut Steps| {
        let (one, two) = (positions.words[one], positions.words[two]);
        if let Some(known) = meetings.get(&(one, two)) {
            return Ok(*known);
        }
        steps.spend(MEETING_STEPS)?;
        let meeting = one.automaton(words).meet(&two.automaton(words), steps)?;
        meetings.insert((one, two), meeting);
        Ok(meeting)
    };
    let beside = positions.beside(&mut meet, steps)?;
    let leads = positions.words.iter().map(|word| word.automaton(words).leads(steps));
    let leads: Vec<Leads> = leads.collect::<Result<_, _>>()?;
    let mut found = Vec::new();
    for (one, beside) in beside.iter().enumerate() {
        steps.spend(positions.after[one].size() + beside.size())?;
        let mut after = Leads::default();
        positions.after[one].iter().for_each(|next| after.add(leads[next]));
        for two in beside.iter() {
            steps.spend(1)?;
            if let Word::Part(part) = positions.words[two]
                && meet(one, two, steps)?.beyond.meets(after)
            {
                found.push(part);
            }
        }
    }
    found.sort_unstable();
    found.dedup();
    Ok(found)
}

/// Whether a part has no recursion.
fn is_regular(rules: &Rules, part: PartId, known: &[bool]) -> bool {
    match &rules.parts[part] {
        Part::Rule(rule) => known[*rule],
        _ => rules.inner(part).all(|inner| is_regular(rules, inner, known)),
    }
}
