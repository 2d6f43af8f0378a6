//! Strings from a seed, the same as `models/tests/goldens/tokenizer_goldens.py` makes: words, code, scripts, emoji,
//! whitespace, control characters and the texts of special tokens, in any order.

use loader::fixture::Random;
use serde_json::Value;

/// How many strings the goldens hold, and of how many each hash is.
pub(super) const STRINGS: u64 = 10_240;
pub(super) const STRINGS_A_HASH: usize = 128;

pub(super) struct Strings {
    lists: Value,
}

impl Strings {
    pub(super) fn new() -> Self {
        let lists = serde_json::from_str(include_str!("../../../tests/goldens/tokenizer-strings.json"));
        Self { lists: lists.unwrap() }
    }

    /// All of them.
    pub(super) fn all(&self) -> impl Iterator<Item = String> {
        (0..STRINGS).map(|seed| self.of(seed))
    }

    pub(super) fn of(&self, seed: u64) -> String {
        let mut random = Random::new(seed);
        let mut text = String::new();
        for _ in 0..1 + random.below(12) {
            self.push_part(&mut text, &mut random);
            if random.below(3) == 0 {
                text.push(' ');
            }
        }
        text
    }

    fn push_part(&self, text: &mut String, random: &mut Random) {
        match random.below(12) {
            0 | 1 => text.push_str(self.pick("words", random)),
            2 => text.push_str(self.pick("code", random)),
            3 => {
                let block = &self.lists["blocks"][random.below(self.len("blocks"))];
                let (first, last) = (block[0].as_u64().unwrap(), block[1].as_u64().unwrap());
                for _ in 0..=random.below(20) {
                    let code = first + random.below(usize::try_from(last - first + 1).unwrap()) as u64;
                    text.push(char::from_u32(u32::try_from(code).unwrap()).unwrap());
                }
            }
            4 => self.push_some("whitespace", 10, text, random),
            5 => {
                let space = self.pick("whitespace", random).to_owned();
                text.push_str(&space.repeat(1 + random.below(40)));
            }
            6 => (0..=random.below(12))
                .for_each(|_| text.push(char::from(b'0' + u8::try_from(random.below(10)).unwrap()))),
            7 => self.push_some("punctuation", 6, text, random),
            8 => self.push_some("emoji", 4, text, random),
            9 => text.push(char::from_u32(u32::try_from(random.below(0xa0)).unwrap()).unwrap()),
            10 => self.push_some("special", 2, text, random),
            _ => {
                let letter = char::from(b'A' + u8::try_from(random.below(58)).unwrap());
                text.extend(std::iter::repeat_n(letter, 1 + random.below(60)));
            }
        }
    }

    fn push_some(&self, list: &str, most: usize, text: &mut String, random: &mut Random) {
        for _ in 0..=random.below(most) {
            text.push_str(self.pick(list, random));
        }
    }

    fn pick(&self, list: &str, random: &mut Random) -> &str {
        self.lists[list][random.below(self.len(list))].as_str().unwrap()
    }

    fn len(&self, list: &str) -> usize {
        self.lists[list].as_array().unwrap().len()
    }
}

/// FNV-1a over numbers of 32 bits. Source: Fowler, Noll and Vo (RFC 9923).
pub(super) fn hash(numbers: impl IntoIterator<Item = u32>) -> u64 {
    let bytes = numbers.into_iter().flat_map(u32::to_le_bytes);
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}

/// A hash for every [`STRINGS_A_HASH`] strings of what `numbers` gives for each.
pub(super) fn hashes(numbers: impl Fn(&str) -> Vec<u32>) -> Vec<String> {
    let strings = Strings::new();
    let all: Vec<Vec<u32>> = strings.all().map(|text| numbers(&text)).collect();
    let counted = |numbers: &Vec<u32>| {
        std::iter::once(u32::try_from(numbers.len()).unwrap()).chain(numbers.clone()).collect::<Vec<_>>()
    };
    all.chunks(STRINGS_A_HASH).map(|chunk| format!("{:016x}", hash(chunk.iter().flat_map(counted)))).collect()
}
