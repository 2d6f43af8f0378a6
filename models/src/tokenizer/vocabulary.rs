//! Tokens, their roles and their bytes, in two allocations whatever the vocabulary's size.

use loader::gguf::{Header, StringArray};
use loader::tables::Table;

use super::bytes::byte_of;
use super::index::{Inserted, Texts, TokenIndex};
use crate::ModelError;
use crate::limits::VOCABULARY_MAX;

pub(super) const TOKENS: &str = "tokenizer.ggml.tokens";
const TYPES: &str = "tokenizer.ggml.token_type";

/// Names of the tokens that end an answer. A file names only one, and templates of chat models use the others; files
/// even exist that call them ordinary tokens. Source: llama.cpp's lists (`llama-vocab.cpp`).
const END_NAMES: [&str; 33] = [
    "<|eot_id|>",
    "<|eom_id|>",
    "<|im_end|>",
    "<|end|>",
    "<|return|>",
    "<|call|>",
    "<|flush|>",
    "<|calls|>",
    "<end_of_turn>",
    "<|endoftext|>",
    "<|end_of_text|>",
    "<end_of_utterance>",
    "<｜end▁of▁sentence｜>",
    "</s>",
    "<eos>",
    "<EOT>",
    "_<EOT>",
    "[EOT]",
    "[EOS]",
    "<turn|>",
    "<|tool_response>",
    "[e~[",
    // What follows a hole that was filled in.
    "<|fim_pad|>",
    "<fim-pad>",
    "<fim_pad>",
    "<PAD>",
    "[PAD]",
    "<|fim_repo|>",
    "<|repo_name|>",
    "<fim-repo>",
    "<REPO>",
    "<reponame>",
    "<|file_sep|>",
];
/// Tokens of the harmony format that are shown, whatever the file says. Source: as above.
const SHOWN_NAMES: [&str; 4] = ["<|channel|>", "<|message|>", "<|start|>", "<|constrain|>"];
/// Tokens around what a model thinks, which are shown though a file calls them control tokens.
const THOUGHT_NAMES: [&str; 2] = ["<think>", "</think>"];

/// Tokens whose places in an index are waited for together.
const TOKENS_AT_ONCE: usize = 64;

/// How a vocabulary writes bytes that are no text of their own.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Spelling {
    /// Each byte is a character of GPT-2's alphabet.
    Alphabet,
    /// A space is `▁`, and tokens of their own stand for bytes.
    Spaces,
    /// A token is a word with a space before it, or goes on after `##`.
    Words,
    /// As it is.
    Verbatim,
}

/// What a token is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Role {
    /// A piece of text.
    Text,
    /// One byte of a character that no token spells.
    Byte,
    /// A text that is found before all else, in any text.
    UserDefined,
    /// No text: it steers the model.
    Control,
}

impl Role {
    /// The number that stands for it in what is kept between runs.
    fn number(self) -> u32 {
        match self {
            Self::Text => 0,
            Self::Byte => 1,
            Self::UserDefined => 2,
            Self::Control => 3,
        }
    }

    fn numbered(number: u32) -> Option<Self> {
        [Self::Text, Self::Byte, Self::UserDefined, Self::Control].into_iter().find(|role| role.number() == number)
    }
}

/// The entries of a vocabulary.
#[derive(Debug)]
pub(super) struct Vocabulary {
    bytes: Vec<u8>,
    ends: Vec<u32>,
    /// All that are not plain text, in order of ids.
    special: Vec<(u32, Role)>,
    ending: Vec<u32>,
    token_bytes_max: usize,
}

impl Texts for Vocabulary {
    #[inline]
    fn bytes(&self, id: u32) -> &[u8] {
        self.bytes(id)
    }
}

impl Vocabulary {
    pub(super) fn from_header(header: &Header, spelling: Spelling) -> Result<Self, ModelError> {
        let tokens = strings(header, TOKENS)?;
        let types = header.i32s(TYPES)?.ok_or_else(|| ModelError::MissingKey { key: TYPES.to_owned() })?;
        if types.len() != tokens.len() {
            return Err(inconsistent(format!("{} tokens with {} types", tokens.len(), types.len())));
        }
        let mut vocabulary = Self::with_room_for(tokens.len())?;
        for (token, ty) in tokens.iter().zip(types) {
            let role = match (spelling, role(token, ty)) {
                // The alphabet has all bytes.
                (Spelling::Alphabet, Role::Byte) => Role::Text,
                (_, role) => role,
            };
            vocabulary.push(token, role, spelling)?;
        }
        vocabulary.settle_ends();
        Ok(vocabulary)
    }

    /// One of tokens in order of ids.
    pub(super) fn from_tokens(
        tokens: impl ExactSizeIterator<Item = (String, Role)>,
        spelling: Spelling,
    ) -> Result<Self, ModelError> {
        let mut vocabulary = Self::with_room_for(tokens.len())?;
        for (token, role) in tokens {
            let byte = role == Role::Text && spelling == Spelling::Spaces && byte_named(token.as_bytes()).is_some();
            vocabulary.push(token.as_bytes(), if byte { Role::Byte } else { role }, spelling)?;
        }
        Ok(vocabulary)
    }

    /// What is kept between runs: texts, their ends, special tokens with their roles, tokens that end an answer.
    pub(super) fn push_tables<'a>(&'a self, tables: &mut Vec<Table<'a>>) {
        let special: Vec<u32> = self.special.iter().flat_map(|(id, role)| [*id, role.number()]).collect();
        tables.extend([
            Table::of_bytes(&self.bytes),
            Table::of_words(&self.ends),
            Table::Words(special.into()),
            Table::of_words(&self.ending),
        ]);
    }

    /// From what [`Vocabulary::push_tables`] pushed, if it is a vocabulary.
    pub(super) fn from_tables(tables: &mut impl Iterator<Item = Table<'static>>) -> Option<Self> {
        let (bytes, ends) = (tables.next()?.into_bytes()?, tables.next()?.into_words()?);
        let (special, ending) = (tables.next()?.into_words()?, tables.next()?.into_words()?);
        let tokens = ends.len();
        let are_ends = ends.is_sorted() && ends.last().is_some_and(|end| *end as usize == bytes.len());
        if !are_ends || tokens > VOCABULARY_MAX || ending.iter().any(|id| *id as usize >= tokens) {
            return None;
        }
        let lengths = ends.windows(2).map(|pair| pair[1] - pair[0]);
        let token_bytes_max = lengths.chain(ends.first().copied()).max()? as usize;
        let (pairs, rest) = special.as_chunks::<2>();
        let special = pairs.iter().map(|&[id, role]| Some((id, Role::numbered(role)?))).collect::<Option<Vec<_>>>()?;
        let are_in_order = special.is_sorted_by(|(one, _), (other, _)| one < other);
        let vocabulary = Self { bytes, ends, special, ending, token_bytes_max };
        let sound = |&(id, role): &(u32, Role)| {
            let bytes = vocabulary.bytes(id);
            (id as usize) < tokens
                && match role {
                    Role::Control | Role::UserDefined => std::str::from_utf8(bytes).is_ok(),
                    Role::Byte => bytes.len() == 1,
                    Role::Text => false,
                }
        };
        let are_sound = rest.is_empty() && are_in_order && vocabulary.special.iter().all(sound);
        are_sound.then_some(vocabulary)
    }

    fn with_room_for(tokens: usize) -> Result<Self, ModelError> {
        if tokens == 0 || tokens > VOCABULARY_MAX {
            return Err(inconsistent(format!("{tokens} tokens are not in 1..={VOCABULARY_MAX}")));
        }
        Ok(Self {
            // More than most vocabularies have: what is not written takes no memory.
            bytes: Vec::with_capacity(tokens * 12),
            ends: Vec::with_capacity(tokens),
            special: Vec::new(),
            ending: Vec::new(),
            token_bytes_max: 0,
        })
    }

    fn push(&mut self, token: &[u8], role: Role, spelling: Spelling) -> Result<(), ModelError> {
        let id = self.next_id();
        self.push_bytes(role, |bytes| {
            match (role, spelling) {
                (Role::Control | Role::UserDefined, _) => bytes.extend_from_slice(text(token, id)?.as_bytes()),
                (Role::Byte, _) => bytes.push(byte_named(token).expect("this is what gives a token its role")),
                (Role::Text, Spelling::Spaces) => push_spaced(token, bytes),
                (Role::Text, Spelling::Alphabet) => push_from_alphabet(text(token, id)?, bytes),
                (Role::Text, Spelling::Verbatim) => bytes.extend_from_slice(token),
                (Role::Text, Spelling::Words) => match token.strip_prefix(b"##") {
                    Some(rest) => bytes.extend_from_slice(rest),
                    None => bytes.extend(b" ".iter().chain(token)),
                },
            }
            Ok(())
        })
    }

    fn push_bytes(
        &mut self,
        role: Role,
        write: impl FnOnce(&mut Vec<u8>) -> Result<(), ModelError>,
    ) -> Result<(), ModelError> {
        let (id, begin) = (self.next_id(), self.bytes.len());
        write(&mut self.bytes)?;
        if role != Role::Text {
            self.special.push((id, role));
        }
        if role == Role::Control && is_named(&END_NAMES, &self.bytes[begin..]) {
            self.ending.push(id);
        }
        self.token_bytes_max = self.token_bytes_max.max(self.bytes.len() - begin);
        let end = u32::try_from(self.bytes.len()).map_err(|_| inconsistent("over 4 GiB of tokens".to_owned()))?;
        self.ends.push(end);
        Ok(())
    }

    fn next_id(&self) -> u32 {
        u32::try_from(self.ends.len()).expect("a vocabulary's size is bounded")
    }

    /// Where a call ends an answer, `<|end|>` only ends a part of one. Source: llama.cpp.
    fn settle_ends(&mut self) {
        let named = |name: &str| self.ending.iter().copied().find(|&id| self.bytes(id) == name.as_bytes());
        let calls = named("<|call|>").or_else(|| named("<|calls|>")).is_some();
        let returns = named("<|return|>").or_else(|| named("<|flush|>")).is_some();
        let Some(part) = named("<|end|>").filter(|_| calls && returns) else { return };
        self.ending.retain(|&id| id != part);
        self.special.iter_mut().filter(|(id, _)| *id == part).for_each(|(_, role)| *role = Role::UserDefined);
    }

    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    #[inline]
    pub(super) fn bytes(&self, id: u32) -> &[u8] {
        let id = id as usize;
        let Some(&end) = self.ends.get(id) else { return &[] };
        let begin = if id == 0 { 0 } else { self.ends[id - 1] };
        &self.bytes[begin as usize..end as usize]
    }

    /// The first token whose text is `text`, looked for one by one.
    pub(super) fn find(&self, text: &[u8]) -> Option<u32> {
        (0..self.next_id()).find(|&id| self.bytes(id) == text)
    }

    /// All tokens with their roles, in order of ids.
    pub(super) fn roles(&self) -> impl Iterator<Item = (u32, Role)> {
        let mut special = self.special.iter().copied().peekable();
        (0..self.next_id()).map(move |id| special.next_if(|(other, _)| *other == id).unwrap_or((id, Role::Text)))
    }

    pub(super) fn role(&self, id: u32) -> Role {
        match self.special.binary_search_by_key(&id, |(id, _)| *id) {
            Ok(found) => self.special[found].1,
            Err(_) => Role::Text,
        }
    }

    /// Tokens of the given roles that have a text.
    pub(super) fn of_roles(&self, roles: &[Role]) -> Vec<u32> {
        let wanted = |(id, role): &(u32, Role)| roles.contains(role) && !self.bytes(*id).is_empty();
        self.special.iter().filter(|special| wanted(special)).map(|(id, _)| *id).collect()
    }

    /// Tokens that end an answer, by their names.
    pub(super) fn ending(&self) -> &[u32] {
        &self.ending
    }

    pub(super) fn token_bytes_max(&self) -> usize {
        self.token_bytes_max
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.bytes.len() + self.ends.capacity() * size_of::<u32>() + self.special.capacity() * size_of::<(u32, Role)>()
    }

    /// An index of the given tokens. A text that several have keeps the first of them, and `same` hears of the others.
    pub(super) fn index(
        &self,
        ids: &[u32],
        mut same: impl FnMut(u32, u32) -> Result<(), ModelError>,
    ) -> Result<TokenIndex, ModelError> {
        let mut index = TokenIndex::for_tokens(ids.len());
        for ids in ids.chunks(TOKENS_AT_ONCE) {
            index.approach(self, ids);
            for &id in ids {
                match index.insert(self, id) {
                    Inserted::New => {}
                    Inserted::Same(first) => same(first, id)?,
                    Inserted::Crowded => return Err(inconsistent("too many tokens share a hash".to_owned())),
                }
            }
        }
        Ok(index)
    }
}

fn is_named(names: &[&str], token: &[u8]) -> bool {
    names.iter().any(|name| name.len() == token.len() && name.as_bytes() == token)
}

/// A token's role by its declared type (as the GGUF specification numbers them), unless its name tells better.
fn role(token: &[u8], ty: i32) -> Role {
    let looks_special = matches!(token, [b'<' | b'[' | b'_', .., b'>' | b']' | b'[']);
    if looks_special && token.len() <= 32 {
        if is_named(&END_NAMES, token) {
            return Role::Control;
        }
        if is_named(&SHOWN_NAMES, token) {
            return Role::UserDefined;
        }
    }
    match ty {
        2 | 3 if is_named(&THOUGHT_NAMES, token) => Role::UserDefined,
        2 | 3 => Role::Control,
        4 => Role::UserDefined,
        6 if byte_named(token).is_some() => Role::Byte,
        _ => Role::Text,
    }
}

/// The byte that `<0xNN>` names.
fn byte_named(token: &[u8]) -> Option<u8> {
    let digits: &[u8; 2] = token.strip_prefix(b"<0x")?.strip_suffix(b">")?.try_into().ok()?;
    let digit = |digit: u8| char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    Some(digit(digits[0])? << 4 | digit(digits[1])?)
}

/// `▁`, which stands for a space.
pub(super) const SPACE: &[u8] = "▁".as_bytes();

fn push_spaced(token: &[u8], bytes: &mut Vec<u8>) {
    let mut rest = token;
    loop {
        while let Some(after) = rest.strip_prefix(SPACE) {
            bytes.push(b' ');
            rest = after;
        }
        // The search is for one byte, which few other characters have; it is not looked at again where it stands.
        let next = rest.get(1..).filter(|rest| rest.contains(&SPACE[0]));
        let next = next.and_then(|rest| rest.iter().position(|&byte| byte == SPACE[0]));
        let Some(next) = next else { break };
        bytes.extend_from_slice(&rest[..=next]);
        rest = &rest[next + 1..];
    }
    bytes.extend_from_slice(rest);
}

pub(super) fn push_from_alphabet(token: &str, bytes: &mut Vec<u8>) {
    for character in token.chars() {
        match byte_of(character) {
            Some(byte) => bytes.push(byte),
            None => bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
}

pub(super) fn strings<'a>(header: &'a Header, key: &str) -> Result<StringArray<'a>, ModelError> {
    header.strings(key)?.ok_or_else(|| ModelError::MissingKey { key: key.to_owned() })
}

pub(super) fn text(bytes: &[u8], index: u32) -> Result<&str, ModelError> {
    std::str::from_utf8(bytes).map_err(|_| inconsistent(format!("entry {index} is not UTF-8")))
}

pub(super) fn inconsistent(reason: String) -> ModelError {
    ModelError::InconsistentTokenizer { reason }
}
