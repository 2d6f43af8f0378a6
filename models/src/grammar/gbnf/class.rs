//! Sets of characters, and of the first bytes of characters.

/// The last of all characters, and those between which there are none.
const LAST: u32 = 0x10_FFFF;
const SURROGATES: (u32, u32) = (0xD800, 0xDFFF);

/// Characters, as ranges that are in order and do not touch each other. Never empty.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Class(Vec<(u32, u32)>);

/// Bytes that characters begin with in UTF-8.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Leads([u64; 4]);

impl Class {
    /// Those of `ranges`, both ends included; none where there are none.
    pub(super) fn of(mut ranges: Vec<(u32, u32)>) -> Option<Self> {
        ranges.sort_unstable();
        let mut joined: Vec<(u32, u32)> = Vec::with_capacity(ranges.len());
        for (low, high) in ranges {
            match joined.last_mut() {
                Some((_, last)) if low <= last.saturating_add(1) => *last = high.max(*last),
                _ => joined.push((low, high)),
            }
        }
        (!joined.is_empty()).then_some(Self(joined))
    }

    /// Those that are not in `ranges`.
    pub(super) fn but(mut ranges: Vec<(u32, u32)>) -> Option<Self> {
        ranges.push(SURROGATES);
        let Self(taken) = Self::of(ranges)?;
        let (mut left, mut next) = (Vec::new(), 0);
        for (low, high) in taken {
            if next < low {
                left.push((next, low - 1));
            }
            next = high + 1;
        }
        if next <= LAST {
            left.push((next, LAST));
        }
        Self::of(left)
    }

    /// One character.
    pub(super) fn one(character: char) -> Self {
        Self(vec![(character.into(), character.into())])
    }

    pub(super) fn ranges(&self) -> &[(u32, u32)] {
        &self.0
    }

    /// Whether some character is in both.
    pub(super) fn meets(&self, other: &Self) -> bool {
        let (mut ours, mut theirs) = (self.0.iter().peekable(), other.0.iter().peekable());
        while let (Some((low, high)), Some((other_low, other_high))) = (ours.peek(), theirs.peek()) {
            if high < other_low {
                ours.next();
            } else if other_high < low {
                theirs.next();
            } else {
                return true;
            }
        }
        false
    }

    /// What they begin with.
    pub(super) fn leads(&self) -> Leads {
        let mut leads = Leads::default();
        for &(low, high) in &self.0 {
            (lead(low)..=lead(high)).for_each(|byte| leads.0[usize::from(byte) / 64] |= 1 << (byte % 64));
        }
        leads
    }
}

impl Leads {
    pub(super) fn add(&mut self, other: Self) {
        self.0.iter_mut().zip(other.0).for_each(|(word, other)| *word |= other);
    }

    pub(super) fn meets(self, other: Self) -> bool {
        self.0.iter().zip(other.0).any(|(word, other)| word & other != 0)
    }
}

/// The first byte of a character in UTF-8, which grows with its number.
fn lead(character: u32) -> u8 {
    let byte = match character {
        0..0x80 => character,
        0x80..0x800 => 0xC0 | (character >> 6),
        0x800..0x1_0000 => 0xE0 | (character >> 12),
        _ => 0xF0 | (character >> 18),
    };
    u8::try_from(byte).expect("the last character begins with 0xF4")
}

#[cfg(test)]
mod tests {
    use super::{Class, LAST, lead};

    #[test]
    fn sets_are_joined_turned_round_and_met() {
        let class = |ranges: &[(u32, u32)]| Class::of(ranges.to_vec()).unwrap();
        assert_eq!(class(&[(5, 6), (1, 2), (3, 3), (6, 9)]).ranges(), [(1, 3), (5, 9)]);
        assert_eq!(Class::of(Vec::new()), None);
        assert_eq!(Class::but(vec![(0, LAST)]), None);
        assert_eq!(Class::but(vec![(1, 2)]).unwrap().ranges(), [(0, 0), (3, 0xD7FF), (0xE000, LAST)]);
        assert!(class(&[(1, 2), (8, 9)]).meets(&class(&[(3, 8)])));
        assert!(!class(&[(1, 2), (8, 9)]).meets(&class(&[(3, 7), (10, 11)])));
        for character in ['a', '\u{7f}', '\u{80}', 'é', '\u{7ff}', '\u{800}', '\u{ffff}', '🦀', '\u{10ffff}'] {
            assert_eq!(lead(character.into()), character.to_string().as_bytes()[0]);
        }
        assert!(Class::one('é').leads().meets(Class::one('ê').leads()), "they begin alike");
        assert!(!Class::one('é').leads().meets(Class::one('€').leads()));
    }
}
