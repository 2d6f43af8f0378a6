//! Names and where they lead: one buffer of text, one open-addressed table.
//!
//! Hashing is std's keyed SipHash, so that a file cannot choose names that collide. No allocation per name.

use std::hash::{BuildHasher, RandomState};

/// Names numbered in the order in which they were added, found in constant time.
#[derive(Debug)]
pub(super) struct Names {
    text: String,
    /// End of each name in `text`; it starts where the one before ends.
    ends: Vec<u32>,
    /// Numbers of names, [`FREE`] elsewhere; a power of two, at most half full.
    table: Vec<u32>,
    hasher: RandomState,
}

const FREE: u32 = u32::MAX;

impl Default for Names {
    fn default() -> Self {
        Self::with_capacity(0)
    }
}

impl Names {
    /// Room for `count` names, which is also the most that may be added.
    pub(super) fn with_capacity(count: usize) -> Self {
        Self {
            text: String::with_capacity(count * 24),
            ends: Vec::with_capacity(count),
            table: vec![FREE; (count * 2).next_power_of_two()],
            hasher: RandomState::new(),
        }
    }

    /// Adds `name` and returns its number, or `None` if it is there already.
    pub(super) fn add(&mut self, name: &str) -> Option<usize> {
        let slot = self.slot_of(name).err()?;
        let number = self.ends.len();
        assert!(number * 2 < self.table.len(), "more names than announced");
        self.text.push_str(name);
        self.ends.push(u32::try_from(self.text.len()).expect("headers are smaller than 4 GiB"));
        self.table[slot] = u32::try_from(number).expect("headers have fewer than 2^32 names");
        Some(number)
    }

    pub(super) fn find(&self, name: &str) -> Option<usize> {
        self.slot_of(name).ok().map(|slot| self.table[slot] as usize)
    }

    pub(super) fn get(&self, number: usize) -> &str {
        let start = number.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.text[start as usize..self.ends[number] as usize]
    }

    /// The slot that holds `name`, or else the free one where it would go.
    fn slot_of(&self, name: &str) -> Result<usize, usize> {
        let mask = self.table.len() - 1;
        #[allow(clippy::cast_possible_truncation, reason = "any bits of a hash will do")]
        let mut slot = self.hasher.hash_one(name) as usize & mask;
        loop {
            match self.table[slot] {
                FREE => return Err(slot),
                number if self.get(number as usize) == name => return Ok(slot),
                _ => slot = (slot + 1) & mask,
            }
        }
    }
}
