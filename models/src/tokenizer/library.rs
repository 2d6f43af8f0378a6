//! Tokenizers that the `tokenizers` crate runs: those of `tokenizer.json`, and WordPiece from a GGUF file (`bert`).
//!
//! What the crate would do to a text's special tokens, its length and its padding is switched off: special tokens are
//! found here, as for every kind.
//!
//! Invariants: a text of words (WordPiece) is handed over window by window, because the crate keeps many bytes for each
//! byte that it works on; a border between windows is whitespace, which no token crosses.

use loader::gguf::Header;
use tokenizers::models::bpe::Vocab;
use tokenizers::models::wordpiece::WordPiece;
use tokenizers::normalizers::BertNormalizer;
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;
use tokenizers::{DecoderWrapper, Model as _, ModelWrapper, PreTokenizerWrapper};

use super::Output;
use super::TokenizeError;
use super::json::{self, Checks};
use super::vocabulary::{Role, Spelling, TOKENS, Vocabulary, inconsistent, strings, text};
use super::words::Words;
use crate::ModelError;
use crate::limits::{ENCODE_WINDOW_BYTES, VOCABULARY_MAX};

/// Characters of a word that WordPiece takes apart, in time of their third power; a longer one is unknown. Source:
/// google-research/bert.
pub(super) const WORD_CHARS_MAX: usize = 100;

/// A tokenizer of the crate.
#[derive(Debug)]
pub(super) struct Library {
    tokenizer: tokenizers::Tokenizer,
    /// How long a text may be that is handed over at once, if it can be cut.
    window_bytes: usize,
}

/// A tokenizer with what the rest of this crate wants to know about it.
pub(super) struct Described {
    pub(super) library: Library,
    pub(super) vocabulary: Vocabulary,
    /// Tokens that are put around a text.
    pub(super) first: Option<u32>,
    pub(super) last: Option<u32>,
    /// Whether the first token of a text has a space before its text that is not part of it.
    pub(super) spaced: bool,
}

impl Library {
    /// Reads `tokenizer.json`, without control tokens that an embedding of `rows` rows does not have.
    pub(super) fn from_json(json: &[u8], rows: usize) -> Result<Described, ModelError> {
        match Words::read(json).filter(|words| words.tokens.len() <= rows) {
            Some(words) => Self::of_words(words),
            None => Self::by_the_crate(json, rows),
        }
    }

    fn of_words(words: Words) -> Result<Described, ModelError> {
        let tokens = words.tokens.into_iter().map(|(token, is_control)| {
            let role = if is_control { Role::Control } else { Role::Text };
            (token, role)
        });
        let vocabulary = Vocabulary::from_tokens(tokens, Spelling::Words)?;
        let (first, last) = words.around;
        let library = Self::new(words.tokenizer);
        Ok(Described { library, vocabulary, first: Some(first), last: Some(last), spaced: true })
    }

    /// As [`Library::from_json`], by the crate's own reader, whatever kind it is of.
    pub(super) fn by_the_crate(json: &[u8], rows: usize) -> Result<Described, ModelError> {
        let checks = json::check(json)?;
        let mut tokenizer = tokenizers::Tokenizer::from_bytes(json).map_err(ModelError::TokenizerJson)?;
        tokenizer.with_truncation(None).map_err(ModelError::TokenizerJson)?;
        tokenizer.with_padding(None);
        tokenizer.set_encode_special_tokens(true);
        if let ModelWrapper::WordPiece(model) = tokenizer.get_model()
            && model.max_input_chars_per_word > WORD_CHARS_MAX
        {
            let what = format!("that takes words of more than {WORD_CHARS_MAX} characters apart");
            return Err(ModelError::UnsupportedTokenizer { what });
        }
        if !knows_unknown(tokenizer.get_model(), checks) {
            let what = "that has no token for what it does not know".to_owned();
            return Err(ModelError::UnsupportedTokenizer { what });
        }
        let spelling = spelling(tokenizer.get_decoder());
        let vocabulary = vocabulary(&tokenizer, spelling, rows)?;
        let (first, last) = around(&tokenizer)?;
        if let Some(id) = first.into_iter().chain(last).find(|&id| id as usize >= vocabulary.len()) {
            return Err(inconsistent(format!("token {id}, which is put around texts, has no row")));
        }
        let spaced = matches!(spelling, Spelling::Words | Spelling::Spaces);
        Ok(Described { library: Self::new(tokenizer), vocabulary, first, last, spaced })
    }

    /// WordPiece over a GGUF file's vocabulary.
    pub(super) fn from_header(header: &Header, vocabulary: &Vocabulary, unknown: u32) -> Result<Self, ModelError> {
        let tokens = strings(header, TOKENS)?;
        let mut words = Vec::with_capacity(tokens.len());
        for (token, (id, role)) in tokens.iter().zip(vocabulary.roles()) {
            let token = text(token, id)?;
            words.push(match token.strip_prefix('▁') {
                _ if role != Role::Text => token.to_owned(),
                Some(word) => word.to_owned(),
                None => format!("##{token}"),
            });
        }
        let unknown = words.get(unknown as usize).cloned();
        let unknown = unknown.ok_or_else(|| inconsistent("there is no unknown token".to_owned()))?;
        let model = WordPiece::builder()
            .vocab(words.into_iter().zip(0..).collect::<Vocab>())
            .unk_token(unknown)
            .continuing_subword_prefix("##".to_owned())
            .max_input_chars_per_word(WORD_CHARS_MAX)
            .build()
            .map_err(|error| inconsistent(error.to_string()))?;
        let lowercase = header.bool("tokenizer.ggml.normalizer.lowercase")?.unwrap_or(true);
        let strip_accents = header.bool("tokenizer.ggml.normalizer.strip_accents")?;
        let mut tokenizer = tokenizers::Tokenizer::new(model);
        tokenizer
            .with_normalizer(Some(BertNormalizer::new(true, true, strip_accents, lowercase)))
            .map_err(|error| inconsistent(error.to_string()))?;
        tokenizer.with_pre_tokenizer(Some(BertPreTokenizer));
        Ok(Self::new(tokenizer))
    }

    fn new(tokenizer: tokenizers::Tokenizer) -> Self {
        let words = matches!(tokenizer.get_pre_tokenizer(), Some(PreTokenizerWrapper::BertPreTokenizer(_)));
        Self { tokenizer, window_bytes: if words { ENCODE_WINDOW_BYTES } else { usize::MAX } }
    }

    /// Appends the tokens of `text`.
    pub(super) fn encode(&self, text: &str, out: &mut Output) -> Result<(), TokenizeError> {
        let mut rest = text;
        while !rest.is_empty() && !out.is_full() {
            let (window, after) = rest.split_at(self.window(rest));
            let encoded = self.tokenizer.encode_fast(window, false).map_err(TokenizeError::Library)?;
            out.ids.extend_from_slice(encoded.get_ids());
            rest = after;
        }
        Ok(())
    }

    /// Length of the first window of `text`: up to whitespace.
    fn window(&self, text: &str) -> usize {
        let from = text.ceil_char_boundary(self.window_bytes.min(text.len()));
        text[from..].find(char::is_whitespace).map_or(text.len(), |space| from + space)
    }

    /// The crate keeps each token twice, in maps both ways.
    pub(super) fn memory_bytes(&self, vocabulary: &Vocabulary) -> usize {
        2 * vocabulary.memory_bytes() + vocabulary.len() * 96
    }
}

/// Whether every text has tokens: the crate's word and Unigram models fail at what they do not know where they have no token
/// for it; those of byte pairs leave it out.
fn knows_unknown(model: &ModelWrapper, checks: Checks) -> bool {
    match model {
        ModelWrapper::WordPiece(model) => model.token_to_id(&model.unk_token).is_some(),
        ModelWrapper::WordLevel(model) => model.token_to_id(&model.unk_token).is_some(),
        ModelWrapper::Unigram(_) => checks.names_unknown_id,
        ModelWrapper::BPE(_) => true,
    }
}

/// How a decoder's tokens spell bytes.
fn spelling(decoder: Option<&DecoderWrapper>) -> Spelling {
    match decoder {
        Some(DecoderWrapper::ByteLevel(_)) => Spelling::Alphabet,
        Some(DecoderWrapper::WordPiece(_)) => Spelling::Words,
        Some(DecoderWrapper::Metaspace(_) | DecoderWrapper::Sequence(_) | DecoderWrapper::ByteFallback(_)) => {
            Spelling::Spaces
        }
        _ => Spelling::Verbatim,
    }
}

/// All tokens. Those past the `rows` are left out if all of them are control tokens, which are found by this vocabulary
/// alone: Gemma 3's tokenizer has one for images that its text models have no row for.
fn vocabulary(tokenizer: &tokenizers::Tokenizer, spelling: Spelling, rows: usize) -> Result<Vocabulary, ModelError> {
    let added = tokenizer.get_added_tokens_decoder();
    let (mut last, mut last_in_rows, mut only_control_beyond) = (0, 0, true);
    for id in tokenizer.get_vocab(true).into_values() {
        last = last.max(id);
        if (id as usize) < rows {
            last_in_rows = last_in_rows.max(id);
        } else {
            only_control_beyond &= added.get(&id).is_some_and(|added| added.special);
        }
    }
    if only_control_beyond && last as usize >= rows {
        // A model that spells it would make it of texts.
        only_control_beyond = tokenizer.get_vocab(false).into_values().all(|id| (id as usize) < rows);
    }
    let last = if only_control_beyond { last_in_rows } else { last };
    if last as usize >= VOCABULARY_MAX {
        return Err(inconsistent(format!("token {last} is not in 0..{VOCABULARY_MAX}")));
    }
    let tokens = (0..last + 1).map(|id| {
        let role = match added.get(&id) {
            Some(added) if added.special => Role::Control,
            Some(_) => Role::UserDefined,
            None => Role::Text,
        };
        (tokenizer.id_to_token(id).unwrap_or_default(), role)
    });
    Vocabulary::from_tokens(tokens, spelling)
}

/// The tokens that are put before and after a text.
fn around(tokenizer: &tokenizers::Tokenizer) -> Result<(Option<u32>, Option<u32>), ModelError> {
    let encoded = tokenizer.encode_fast("a", true).map_err(ModelError::TokenizerJson)?;
    let (ids, special) = (encoded.get_ids(), encoded.get_special_tokens_mask());
    let before = special.iter().take_while(|&&special| special == 1).count();
    let after = special.iter().skip(before).rev().take_while(|&&special| special == 1).count();
    if before > 1 || after > 1 {
        return Err(ModelError::UnsupportedTokenizer { what: "that puts several tokens around a text".to_owned() });
    }
    Ok((ids.first().copied().filter(|_| before == 1), ids.last().copied().filter(|_| after == 1)))
}
