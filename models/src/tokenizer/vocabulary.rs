//! Tokens, their kinds and their bytes, in two allocations whatever the vocabulary's size.

use loader::gguf::{Header, StringArray};
use tokenizers::models::bpe::{BPE, Merges, Vocab};

use super::bytes::byte_of;
use crate::ModelError;
use crate::limits::VOCABULARY_MAX;

const TOKENS: &str = "tokenizer.ggml.tokens";
const TYPES: &str = "tokenizer.ggml.token_type";
const MERGES: &str = "tokenizer.ggml.merges";

/// Values of `tokenizer.ggml.token_type`, as the GGUF specification numbers them.
const UNKNOWN: i32 = 2;
const CONTROL: i32 = 3;
const USER_DEFINED: i32 = 4;

/// Names of the tokens that end a turn; a file names only one end, and templates of chat models use the others.
/// Source: llama.cpp's list of end-of-generation tokens (`llama-vocab.cpp`).
const END_NAMES: [&str; 8] =
    ["<|endoftext|>", "<|im_end|>", "<|eot_id|>", "<|eom_id|>", "<|end|>", "<end_of_turn>", "<|end_of_text|>", "<EOT>"];

/// The entries of a vocabulary.
pub(super) struct Vocabulary {
    bytes: Vec<u8>,
    ends: Vec<u32>,
    special: Vec<(String, u32)>,
    control: Vec<u32>,
    token_bytes_max: usize,
}

impl Vocabulary {
    pub(super) fn from_header(header: &Header) -> Result<Self, ModelError> {
        let tokens = strings(header, TOKENS)?;
        let types = header.i32s(TYPES)?.ok_or_else(|| ModelError::MissingKey { key: TYPES.to_owned() })?;
        if types.len() != tokens.len() {
            return Err(inconsistent(format!("{} tokens with {} types", tokens.len(), types.len())));
        }
        if tokens.is_empty() || tokens.len() > VOCABULARY_MAX {
            return Err(inconsistent(format!("{} tokens are not in 1..={VOCABULARY_MAX}", tokens.len())));
        }
        let mut vocabulary = Self {
            bytes: Vec::with_capacity(tokens.len() * 8),
            ends: Vec::with_capacity(tokens.len()),
            special: Vec::new(),
            control: Vec::new(),
            token_bytes_max: 0,
        };
        for (id, (token, ty)) in (0_u32..).zip(tokens.iter().zip(&types)) {
            vocabulary.push(id, text(token, id)?, *ty)?;
        }
        Ok(vocabulary)
    }

    fn push(&mut self, id: u32, token: &str, ty: i32) -> Result<(), ModelError> {
        let begin = self.bytes.len();
        if matches!(ty, UNKNOWN | CONTROL | USER_DEFINED) {
            self.bytes.extend_from_slice(token.as_bytes());
            self.special.push((token.to_owned(), id));
        } else {
            for character in token.chars() {
                match byte_of(character) {
                    Some(byte) => self.bytes.push(byte),
                    None => self.bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
                }
            }
        }
        if ty == CONTROL || ty == UNKNOWN {
            self.control.push(id);
        }
        self.token_bytes_max = self.token_bytes_max.max(self.bytes.len() - begin);
        let end = u32::try_from(self.bytes.len()).map_err(|_| inconsistent("over 4 GiB of tokens".to_owned()))?;
        self.ends.push(end);
        Ok(())
    }

    /// The merging machine over this vocabulary.
    pub(super) fn bpe(&self, header: &Header) -> Result<BPE, ModelError> {
        let tokens = strings(header, TOKENS)?;
        let mut ids = Vocab::with_capacity(tokens.len());
        for (id, token) in (0_u32..).zip(tokens.iter()) {
            ids.insert(text(token, id)?.to_owned(), id);
        }
        let lines = strings(header, MERGES)?;
        let mut merges: Merges = Vec::with_capacity(lines.len());
        for (rank, line) in (0_u32..).zip(lines.iter()) {
            let line = text(line, rank)?;
            let pair = line.split_once(' ').ok_or_else(|| inconsistent(format!("merge {rank} is no pair")))?;
            merges.push((pair.0.to_owned(), pair.1.to_owned()));
        }
        BPE::builder()
            .vocab_and_merges(ids, merges)
            .build()
            .map_err(|error| inconsistent(format!("the merges do not fit the tokens: {error}")))
    }

    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(super) fn bytes(&self, id: u32) -> &[u8] {
        let id = id as usize;
        let Some(&end) = self.ends.get(id) else { return &[] };
        let begin = if id == 0 { 0 } else { self.ends[id - 1] };
        &self.bytes[begin as usize..end as usize]
    }

    pub(super) fn is_control(&self, id: u32) -> bool {
        self.control.binary_search(&id).is_ok()
    }

    /// Texts of the control, unknown and user-defined tokens, with their ids.
    pub(super) fn special(&self) -> impl Iterator<Item = (&str, u32)> {
        self.special.iter().map(|(text, id)| (text.as_str(), *id))
    }

    pub(super) fn ends_by_name(&self) -> impl Iterator<Item = u32> {
        self.special().filter(|(text, _)| END_NAMES.contains(text)).map(|(_, id)| id)
    }

    pub(super) fn token_bytes_max(&self) -> usize {
        self.token_bytes_max
    }

    /// The merging machine holds each token about twice, and about as many merges.
    pub(super) fn memory_bytes(&self) -> usize {
        3 * self.bytes.len() + self.len() * 160
    }
}

fn strings<'a>(header: &'a Header, key: &str) -> Result<StringArray<'a>, ModelError> {
    header.strings(key)?.ok_or_else(|| ModelError::MissingKey { key: key.to_owned() })
}

fn text(bytes: &[u8], index: u32) -> Result<&str, ModelError> {
    std::str::from_utf8(bytes).map_err(|_| inconsistent(format!("entry {index} is not UTF-8")))
}

fn inconsistent(reason: String) -> ModelError {
    ModelError::InconsistentTokenizer { reason }
}
