//! A part without recursion as an automaton: a state for each place of a character.
//!
//! Counts are taken as "any number of times", so that it may accept more than its part does: whoever asks whether two parts
//! can be mistaken for each other is told so once too often, and never too seldom.
//!
//! Source: V. M. Glushkov, "The abstract theory of automata", 1961.

use std::collections::HashSet;

use super::class::{Class, Leads};
use super::rules::{Part, PartId, Rules};
use crate::grammar::source::GrammarError;
use crate::limits::{GBNF_STATES_MAX, GBNF_STEPS_MAX};

/// What a part accepts.
#[derive(Clone, Debug)]
pub(super) struct Automaton {
    /// What each state is reached by.
    classes: Vec<Class>,
    next: Vec<Vec<usize>>,
    firsts: Vec<usize>,
    is_last: Vec<bool>,
    /// Whether it accepts nothing at all.
    pub(super) is_nullable: bool,
}

/// How texts of one automaton stand to those of another.
#[derive(Clone, Copy, Debug)]
pub(super) struct Meeting {
    /// What the other goes on with behind a whole text of this one.
    pub(super) beyond: Leads,
    /// Whether there is a text of both.
    pub(super) is_shared: bool,
}

/// Work that is left to do.
#[derive(Debug)]
pub(super) struct Steps(usize);

impl Steps {
    pub(super) fn new() -> Self {
        Self(GBNF_STEPS_MAX)
    }

    pub(super) fn spend(&mut self, steps: usize) -> Result<(), GrammarError> {
        let left = self.0.checked_sub(steps);
        self.0 = left.ok_or(GrammarError::TooLarge { max: GBNF_STEPS_MAX, unit: "steps to be understood" })?;
        Ok(())
    }
}

/// States that a part begins and ends with.
struct Ends {
    firsts: Vec<usize>,
    lasts: Vec<usize>,
    is_nullable: bool,
}

impl Automaton {
    /// Of a part without recursion; none where it has too many states.
    pub(super) fn of(rules: &Rules, part: PartId, steps: &mut Steps) -> Result<Option<Self>, GrammarError> {
        let mut building = Building { rules, classes: Vec::new(), next: Vec::new() };
        let Some(ends) = building.part(part, steps)? else { return Ok(None) };
        let Building { classes, next, .. } = building;
        let mut is_last = vec![false; classes.len()];
        ends.lasts.iter().for_each(|&state| is_last[state] = true);
        Ok(Some(Self { classes, next, firsts: ends.firsts, is_last, is_nullable: ends.is_nullable }))
    }

    /// Of one character.
    pub(super) fn of_one(character: char) -> Self {
        Self {
            classes: vec![Class::one(character)],
            next: vec![Vec::new()],
            firsts: vec![0],
            is_last: vec![true],
            is_nullable: false,
        }
    }

    /// What its texts begin with.
    pub(super) fn leads(&self, steps: &mut Steps) -> Result<Leads, GrammarError> {
        let mut leads = Leads::default();
        for &state in &self.firsts {
            steps.spend(self.classes[state].ranges().len())?;
            leads.add(self.classes[state].leads());
        }
        Ok(leads)
    }

    /// How its texts stand to those of `other`.
    pub(super) fn meet(&self, other: &Self, steps: &mut Steps) -> Result<Meeting, GrammarError> {
        let mut meeting = Meeting { beyond: Leads::default(), is_shared: false };
        let mut seen: HashSet<(usize, usize)> = HashSet::new();
        let mut ways = vec![(&self.firsts, &other.firsts)];
        while let Some((ours, theirs)) = ways.pop() {
            for (&one, &two) in ours.iter().flat_map(|one| theirs.iter().map(move |two| (one, two))) {
                steps.spend(self.classes[one].ranges().len() + other.classes[two].ranges().len())?;
                if !self.classes[one].meets(&other.classes[two]) || !seen.insert((one, two)) {
                    continue;
                }
                if self.is_last[one] {
                    meeting.is_shared |= other.is_last[two];
                    other.next[two].iter().for_each(|&next| meeting.beyond.add(other.classes[next].leads()));
                }
                ways.push((&self.next[one], &other.next[two]));
            }
        }
        Ok(meeting)
    }
}

struct Building<'a> {
    rules: &'a Rules,
    classes: Vec<Class>,
    next: Vec<Vec<usize>>,
}

impl Building<'_> {
    fn part(&mut self, part: PartId, steps: &mut Steps) -> Result<Option<Ends>, GrammarError> {
        steps.spend(1)?;
        let rules = self.rules;
        let nothing = Ends { firsts: Vec::new(), lasts: Vec::new(), is_nullable: true };
        match &rules.parts[part] {
            Part::One(class) => {
                steps.spend(class.ranges().len())?;
                Ok(self.state(class.clone()))
            }
            Part::Text(text) => {
                let mut all = nothing;
                for character in text.chars() {
                    let Some(one) = self.state(Class::one(character)) else { return Ok(None) };
                    all = self.behind(all, one, steps)?;
                }
                Ok(Some(all))
            }
            Part::Rule(rule) => self.part(rules.bodies[*rule], steps),
            Part::All(parts) => {
                let mut all = nothing;
                for &part in parts {
                    let Some(one) = self.part(part, steps)? else { return Ok(None) };
                    all = self.behind(all, one, steps)?;
                }
                Ok(Some(all))
            }
            Part::Either(parts) => {
                let mut all = Ends { is_nullable: false, ..nothing };
                for &part in parts {
                    let Some(one) = self.part(part, steps)? else { return Ok(None) };
                    all.firsts.extend(one.firsts);
                    all.lasts.extend(one.lasts);
                    all.is_nullable |= one.is_nullable;
                }
                Ok(Some(all))
            }
            Part::Times(part, least, most) => {
                let Some(mut one) = self.part(*part, steps)? else { return Ok(None) };
                if *most != Some(1) {
                    self.join(&one.lasts, &one.firsts, steps)?;
                }
                one.is_nullable |= *least == 0;
                Ok(Some(one))
            }
        }
    }

    fn state(&mut self, class: Class) -> Option<Ends> {
        let state = self.classes.len();
        if state == GBNF_STATES_MAX {
            return None;
        }
        self.classes.push(class);
        self.next.push(Vec::new());
        Some(Ends { firsts: vec![state], lasts: vec![state], is_nullable: false })
    }

    fn behind(&mut self, mut all: Ends, one: Ends, steps: &mut Steps) -> Result<Ends, GrammarError> {
        self.join(&all.lasts, &one.firsts, steps)?;
        if all.is_nullable {
            all.firsts.extend(one.firsts);
        }
        if !one.is_nullable {
            all.lasts.clear();
        }
        all.lasts.extend(one.lasts);
        all.is_nullable &= one.is_nullable;
        Ok(all)
    }

    fn join(&mut self, lasts: &[usize], firsts: &[usize], steps: &mut Steps) -> Result<(), GrammarError> {
        steps.spend(lasts.len() * firsts.len())?;
        for &last in lasts {
            self.next[last].extend(firsts);
        }
        Ok(())
    }
}
