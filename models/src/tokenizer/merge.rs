//! Neighbours join to larger tokens, the most urgent pair first: what SentencePiece's and byte-level BPE have in common.
//!
//! A queue holds the pairs that could join. One that was overtaken by another join is known by its size and skipped, so
//! a text of `n` symbols takes time in the order of `n log n`, whatever it says.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

/// Marks the end of a chain.
const NONE: u32 = u32::MAX;

/// A piece of the text that is one token, or one character that is none.
#[derive(Clone, Copy, Debug)]
pub(super) struct Symbol {
    /// Its bytes in the text; empty once it has joined the one before it.
    begin: u32,
    end: u32,
    previous: u32,
    next: u32,
    /// The token, where it is known.
    pub(super) id: Option<u32>,
}

impl Symbol {
    /// Its bytes in `text`.
    pub(super) fn text<'a>(&self, text: &'a [u8]) -> &'a [u8] {
        &text[self.begin as usize..self.end as usize]
    }
}

/// What two neighbours become.
#[derive(Clone, Copy, Debug)]
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

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Candidate {
    order: u32,
    left: u32,
    right: u32,
    bytes: u32,
    id: u32,
}

impl Ord for Candidate {
    /// The greatest is the first to join.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.order, other.left).cmp(&(self.order, self.left))
    }
}

impl PartialOrd for Candidate {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// The working memory of a merge, to be used for one text after another.
#[derive(Debug, Default)]
pub(super) struct Merger {
    symbols: Vec<Symbol>,
    queue: BinaryHeap<Candidate>,
}

impl Merger {
    /// Starts over with the symbols of a text, given by their lengths in bytes (none is 0) and tokens.
    pub(super) fn begin(&mut self, symbols: impl Iterator<Item = (usize, Option<u32>)>) {
        self.symbols.clear();
        self.queue.clear();
        let mut begin = 0;
        for (bytes, id) in symbols {
            let number = index(self.symbols.len());
            let end = begin + index(bytes);
            self.symbols.push(Symbol { begin, end, previous: number.wrapping_sub(1), next: number + 1, id });
            begin = end;
        }
        if let Some(last) = self.symbols.last_mut() {
            last.next = NONE;
        }
    }

    /// Joins all that may, in order.
    pub(super) fn run(&mut self, text: &[u8], joins: &impl Joins) {
        for right in 1..index(self.symbols.len()) {
            self.consider(right - 1, right, text, joins);
        }
        while let Some(Candidate { left, right, bytes, id, .. }) = self.queue.pop() {
            let (first, second) = (self.symbols[left as usize], self.symbols[right as usize]);
            let stale = first.begin == first.end || second.begin == second.end || second.end - first.begin != bytes;
            if stale {
                continue;
            }
            self.symbols[left as usize] = Symbol { end: second.end, next: second.next, id: Some(id), ..first };
            self.symbols[right as usize].end = second.begin;
            if second.next != NONE {
                self.symbols[second.next as usize].previous = left;
                self.consider(left, second.next, text, joins);
            }
            if first.previous != NONE {
                self.consider(first.previous, left, text, joins);
            }
        }
    }

    /// What is left, in the order of the text.
    pub(super) fn symbols(&self) -> impl Iterator<Item = Symbol> {
        let first = self.symbols.first().copied();
        std::iter::successors(first, |symbol| self.symbols.get(symbol.next as usize).copied())
    }

    fn consider(&mut self, left: u32, right: u32, text: &[u8], joins: &impl Joins) {
        let (first, second) = (self.symbols[left as usize], self.symbols[right as usize]);
        let both = &text[first.begin as usize..second.end as usize];
        if let Some(Join { order, id }) = joins.join(first, second, both) {
            self.queue.push(Candidate { order, left, right, bytes: second.end - first.begin, id });
        }
    }
}

fn index(number: usize) -> u32 {
    u32::try_from(number).expect("texts are shorter than 4 GiB where they are merged")
}
