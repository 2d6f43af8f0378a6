//! Neighbours join to larger tokens, the most urgent pair first: what SentencePiece's and byte-level BPE have in common.
//!
//! Each symbol knows what it and the next one would become, and a queue holds the order of that with the symbol's
//! number: one 64-bit word, so that even a megabyte that is one piece is merged in a fraction of a second. A word that
//! was overtaken by another join no longer fits its symbol and is skipped. A text of `n` symbols takes time in the order
//! of `n log n`, whatever it says.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Marks the end of a chain.
const NONE: u32 = u32::MAX;

/// A piece of the text that is one token, or one character that is none.
#[derive(Clone, Copy, Debug)]
pub(super) struct Symbol {
    /// Its bytes in the text.
    begin: u32,
    end: u32,
    previous: u32,
    next: u32,
    /// The token, where it is known.
    pub(super) id: Option<u32>,
    /// What it and the next one may become.
    join: Option<Join>,
}

impl Symbol {
    /// Its bytes in `text`.
    pub(super) fn text<'a>(&self, text: &'a [u8]) -> &'a [u8] {
        &text[self.begin as usize..self.end as usize]
    }
}

/// What two neighbours become.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Join {
    /// The smaller, the sooner; of equals the leftmost is first.
    pub(super) order: u32,
    /// The token.
    pub(super) id: u32,
}

/// Which neighbours may join.
pub(super) trait Joins {
    /// What `left` and `right` become, if they may join; `both` is their text.
    fn join(&self, left: Symbol, right: Symbol, both: &[u8]) -> Option<Join>;
}

/// The working memory of a merge, to be used for one text after another.
#[derive(Debug, Default)]
pub(super) struct Merger {
    symbols: Vec<Symbol>,
    /// Orders and symbols of the pairs that were neighbours at first, the first to join last.
    first: Vec<u64>,
    /// Those of pairs that came about since.
    later: BinaryHeap<Reverse<u64>>,
}

impl Merger {
    /// Starts over with the symbols of a text, given by their lengths in bytes (none is 0) and tokens.
    pub(super) fn begin(&mut self, symbols: impl Iterator<Item = (usize, Option<u32>)>) {
        self.symbols.clear();
        self.first.clear();
        self.later.clear();
        let mut begin = 0;
        for (bytes, id) in symbols {
            let number = index(self.symbols.len());
            let end = begin + index(bytes);
            self.symbols.push(Symbol {
                begin,
                end,
                previous: number.wrapping_sub(1),
                next: number + 1,
                id,
                join: None,
            });
            begin = end;
        }
        if let Some(last) = self.symbols.last_mut() {
            last.next = NONE;
        }
    }

    /// Joins all that may, in order.
    pub(super) fn run(&mut self, text: &[u8], joins: &impl Joins) {
        for right in 1..index(self.symbols.len()) {
            let word = self.consider(right - 1, right, text, joins);
            self.first.extend(word);
        }
        self.first.sort_unstable_by(|one, other| other.cmp(one));
        while let Some((order, left)) = self.pop() {
            let first = self.symbols[left as usize];
            let Some(join) = first.join.filter(|join| join.order == order) else { continue };
            let second = self.symbols[first.next as usize];
            self.symbols[first.next as usize].join = None;
            self.symbols[left as usize] =
                Symbol { end: second.end, next: second.next, id: Some(join.id), join: None, ..first };
            if second.next != NONE {
                self.symbols[second.next as usize].previous = left;
                let word = self.consider(left, second.next, text, joins);
                self.push(word);
            }
            if first.previous != NONE {
                let word = self.consider(first.previous, left, text, joins);
                self.push(word);
            }
        }
    }

    /// The order and the left symbol of the pair that is to join next, if it is still one.
    fn pop(&mut self) -> Option<(u32, u32)> {
        let later = self.later.peek().map(|Reverse(word)| *word);
        let word = match (self.first.last().copied(), later) {
            (Some(first), later) if later.is_none_or(|later| first <= later) => self.first.pop(),
            _ => self.later.pop().map(|Reverse(word)| word),
        }?;
        #[expect(clippy::cast_possible_truncation, reason = "the two halves of a word")]
        let halves = ((word >> 32) as u32, word as u32);
        Some(halves)
    }

    /// What is left, in the order of the text.
    pub(super) fn symbols(&self) -> impl Iterator<Item = Symbol> {
        let first = self.symbols.first().copied();
        std::iter::successors(first, |symbol| self.symbols.get(symbol.next as usize).copied())
    }

    fn push(&mut self, word: Option<u64>) {
        if let Some(word) = word {
            self.later.push(Reverse(word));
        }
    }

    /// Notes what two neighbours may become; gives their word for the queue.
    fn consider(&mut self, left: u32, right: u32, text: &[u8], joins: &impl Joins) -> Option<u64> {
        let (first, second) = (self.symbols[left as usize], self.symbols[right as usize]);
        let both = &text[first.begin as usize..second.end as usize];
        let join = joins.join(first, second, both);
        self.symbols[left as usize].join = join;
        join.map(|join| u64::from(join.order) << 32 | u64::from(left))
    }
}

fn index(number: usize) -> u32 {
    u32::try_from(number).expect("texts are shorter than 4 GiB where they are merged")
}
