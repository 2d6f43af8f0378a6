//! Small grammars, written in GBNF and matched by going through all ways.

use std::collections::BTreeSet;

use loader::fixture::Random;

/// Characters of answers: those that begin alike in UTF-8 among them.
const CHARACTERS: [char; 5] = ['a', 'b', ' ', 'é', 'ê'];

/// A part of a rule.
#[derive(Clone, Debug)]
pub(super) enum Sample {
    Text(String),
    One { of: Vec<char>, is_negated: bool },
    Any,
    Rule(usize),
    All(Vec<Sample>),
    Either(Vec<Sample>),
    Times(Box<Sample>, usize, Option<usize>),
}

impl Sample {
    /// Some part with so many levels below it.
    pub(super) fn random(random: &mut Random, depth: usize) -> Self {
        let kinds = if depth == 0 { 5 } else { 10 };
        let several = |random: &mut Random| (0..1 + random.below(3)).map(|_| Self::random(random, depth - 1)).collect();
        match random.below(kinds) {
            0 | 1 => Self::Text((0..random.below(4)).map(|_| CHARACTERS[random.below(5)]).collect()),
            2 => {
                let of = (0..1 + random.below(3)).map(|_| CHARACTERS[random.below(5)]).collect();
                Self::One { of, is_negated: random.below(3) == 0 }
            }
            3 if random.below(4) == 0 => Self::Any,
            3 | 4 => Self::Rule(random.below(3)),
            5 | 6 => Self::All(several(random)),
            7 => Self::Either(several(random)),
            _ => {
                let least = random.below(3);
                let most = [None, Some(1), Some(least + random.below(2))][random.below(3)];
                Self::Times(Box::new(Self::random(random, depth - 1)), least, most.filter(|&most| most >= least))
            }
        }
    }

    fn written(&self) -> String {
        let joined = |parts: &[Self], between: &str| {
            let texts: Vec<String> = parts.iter().map(Self::written).collect();
            format!("({})", texts.join(between))
        };
        match self {
            Self::Text(text) => format!("\"{text}\""),
            Self::One { of, is_negated } => {
                format!("[{}{}]", if *is_negated { "^" } else { "" }, of.iter().collect::<String>())
            }
            Self::Any => ".".to_owned(),
            Self::Rule(rule) => name(*rule),
            Self::All(parts) => joined(parts, " "),
            Self::Either(parts) => joined(parts, " | "),
            Self::Times(part, least, most) => {
                let count = match (least, most) {
                    (0, None) => "*".to_owned(),
                    (1, None) => "+".to_owned(),
                    (0, Some(1)) => "?".to_owned(),
                    (least, None) => format!("{{{least},}}"),
                    (0, Some(most)) => format!("{{,{most}}}"),
                    (least, Some(most)) if least == most => format!("{{{least}}}"),
                    (least, Some(most)) => format!("{{{least},{most}}}"),
                };
                format!("({}){count}", part.written())
            }
        }
    }

    /// Where texts of it end that begin at `from`, as far as it is known where those of rules do.
    fn ends(&self, text: &[char], from: usize, known: &[Vec<BTreeSet<usize>>]) -> BTreeSet<usize> {
        let one = |holds: bool| if holds { BTreeSet::from([from + 1]) } else { BTreeSet::new() };
        let next = |ends: &BTreeSet<usize>, part: &Self| -> BTreeSet<usize> {
            ends.iter().flat_map(|&end| part.ends(text, end, known)).collect()
        };
        match self {
            Self::Text(expected) => {
                let expected: Vec<char> = expected.chars().collect();
                let holds = text[from..].starts_with(&expected);
                if holds { BTreeSet::from([from + expected.len()]) } else { BTreeSet::new() }
            }
            Self::One { of, is_negated } => one(text.get(from).is_some_and(|one| of.contains(one) != *is_negated)),
            Self::Any => one(from < text.len()),
            Self::Rule(rule) => known[*rule][from].clone(),
            Self::All(parts) => parts.iter().fold(BTreeSet::from([from]), |ends, part| next(&ends, part)),
            Self::Either(parts) => parts.iter().flat_map(|part| part.ends(text, from, known)).collect(),
            Self::Times(part, least, most) => {
                let mut ends = (0..*least).fold(BTreeSet::from([from]), |ends, _| next(&ends, part));
                let mut all = ends.clone();
                // Behind as many as there are characters, only empty texts could follow.
                for _ in *least..most.unwrap_or(least + text.len() + 1) {
                    ends = next(&ends, part);
                    all.extend(&ends);
                }
                all
            }
        }
    }

    /// Some text of it, or what is like one, which goes no deeper than `depth`.
    fn some(&self, rules: &[Self], random: &mut Random, depth: usize) -> String {
        let any = |random: &mut Random| CHARACTERS[random.below(5)];
        match self {
            Self::Text(text) => text.clone(),
            Self::One { of, is_negated: false } => of[random.below(of.len())].to_string(),
            Self::One { .. } | Self::Any => any(random).to_string(),
            Self::Rule(_) if depth == 0 => String::new(),
            Self::Rule(rule) => rules[*rule].some(rules, random, depth - 1),
            Self::All(parts) => parts.iter().map(|part| part.some(rules, random, depth)).collect(),
            Self::Either(parts) => parts[random.below(parts.len())].some(rules, random, depth),
            Self::Times(part, least, most) => {
                let times = least + random.below(most.unwrap_or(least + 2) - least + 1);
                (0..times).map(|_| part.some(rules, random, depth)).collect()
            }
        }
    }
}

fn name(rule: usize) -> String {
    ["root".to_owned(), "a-rule".to_owned(), "rule_2".to_owned()][rule].clone()
}

/// The grammar of three rules, the first of which is `root`.
pub(super) fn written(rules: &[Sample]) -> String {
    rules.iter().enumerate().map(|(rule, sample)| format!("{} ::= {}\n", name(rule), sample.written())).collect()
}

/// Whether an answer is one of the first rule.
pub(super) fn accepts(rules: &[Sample], answer: &str) -> bool {
    let text: Vec<char> = answer.chars().collect();
    let mut known = vec![vec![BTreeSet::new(); text.len() + 1]; rules.len()];
    loop {
        let ends = |rule: &Sample, known: &_| (0..=text.len()).map(|from| rule.ends(&text, from, known)).collect();
        let next: Vec<Vec<BTreeSet<usize>>> = rules.iter().map(|rule| ends(rule, &known)).collect();
        if next == known {
            return known[0][0].contains(&text.len());
        }
        known = next;
    }
}

/// An answer, or what is almost one.
pub(super) fn answer(rules: &[Sample], random: &mut Random) -> String {
    let text = rules[0].some(rules, random, 4);
    let mut characters: Vec<char> = text.chars().take(12).collect();
    if random.below(2) == 0 {
        let place = random.below(characters.len() + 1);
        characters.insert(place, CHARACTERS[random.below(5)]);
    }
    characters.into_iter().collect()
}
