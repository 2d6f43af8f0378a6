//! From a file's header, or from JSON, to a tokenizer: kinds, defaults, and what is refused.

use std::collections::BTreeSet;

use loader::gguf::Header;

use super::bpe::Bpe;
use super::library::{Described, Library};
use super::special::Matcher;
use super::split::PreTokenizer;
use super::spm::Spm;
use super::vocabulary::{Role, Spelling, Vocabulary};
use super::{Kind, Tokenizer};
use crate::ModelError;

impl Tokenizer {
    /// The tokenizer of a file.
    ///
    /// # Errors
    /// [`ModelError`] when its kind is not supported or its parts contradict each other.
    pub fn from_header(header: &Header) -> Result<Self, ModelError> {
        const MODEL: &str = "tokenizer.ggml.model";
        let model = header.string(MODEL)?.ok_or_else(|| ModelError::MissingKey { key: MODEL.to_owned() })?;
        match model {
            "gpt2" => Self::of_bytes(header),
            "llama" => Self::of_spaces(header),
            "bert" => Self::of_words(header),
            other => Err(unsupported(MODEL, other)),
        }
    }

    fn of_bytes(header: &Header) -> Result<Self, ModelError> {
        let pre_tokenizer = pre_tokenizer(header)?;
        let vocabulary = Vocabulary::from_header(header, Spelling::Alphabet)?;
        let kind = Kind::Bytes(Bpe::new(header, &vocabulary, pre_tokenizer)?);
        Self::with(header, Entries::of(vocabulary)?, kind, Defaults::of_bytes(pre_tokenizer))
    }

    fn of_spaces(header: &Header) -> Result<Self, ModelError> {
        let vocabulary = Vocabulary::from_header(header, Spelling::Spaces)?;
        // A large vocabulary is what a cold start waits for.
        let (spm, matchers) = std::thread::scope(|scope| {
            let matchers = scope.spawn(|| Matchers::of(&vocabulary));
            (Spm::new(header, &vocabulary), matchers.join().expect("making matchers does not panic"))
        });
        let (spm, matchers) = (spm?, matchers?);
        let defaults = Defaults::of_spaces(&spm);
        Self::with(header, Entries { vocabulary, matchers }, Kind::Spaces(spm), defaults)
    }

    fn of_words(header: &Header) -> Result<Self, ModelError> {
        const UNKNOWN: &str = "tokenizer.ggml.unknown_token_id";
        let vocabulary = Vocabulary::from_header(header, Spelling::Spaces)?;
        let unknown = known_id(header, &vocabulary, UNKNOWN)?.unwrap_or(100);
        let library = Library::from_header(header, &vocabulary, unknown)?;
        let first = known_id(header, &vocabulary, "tokenizer.ggml.cls_token_id")?.unwrap_or(101);
        // The key is misspelled in the format.
        let last = known_id(header, &vocabulary, "tokenizer.ggml.seperator_token_id")?.unwrap_or(102);
        let defaults = Defaults { bos: Some(first), eos: Some(last), adds_bos: true, adds_eos: true, spaced: true };
        Self::with(header, Entries::of(vocabulary)?, Kind::Library(Box::new(library)), defaults)
    }

    /// The tokenizer of a `tokenizer.json`, as folders of safetensors have it. It names no token that ends an answer but
    /// those that [`Tokenizer::is_end`] knows by name.
    ///
    /// # Errors
    /// [`ModelError`] when the file is not valid, or does what no kind here does.
    pub fn from_json(json: &[u8]) -> Result<Self, ModelError> {
        Self::from_json_for(json, usize::MAX)
    }

    fn from_json_for(json: &[u8], rows: usize) -> Result<Self, ModelError> {
        let Described { library, vocabulary, first, last, spaced } = Library::from_json(json, rows)?;
        Ok(Self {
            // The library finds user-defined tokens itself.
            user_defined: None,
            special: Matcher::new(&vocabulary, vocabulary.of_roles(&[Role::Control]))?,
            kind: Kind::Library(Box::new(library)),
            bos: first,
            eos: last,
            adds_bos: first.is_some(),
            adds_eos: last.is_some(),
            ends: vocabulary.ending().iter().copied().collect(),
            spaced,
            vocabulary,
        })
    }

    /// The tokenizer of a folder of safetensors: its `tokenizer.json`, and what the folder's other files say about the
    /// tokens that begin and end a text, which `header` has. Control tokens past an embedding of `rows` rows are left out.
    ///
    /// # Errors
    /// [`ModelError`] as [`Tokenizer::from_json`]; also when those name what is no token.
    pub fn from_folder(json: &[u8], header: &Header, rows: usize) -> Result<Self, ModelError> {
        const ENDS: &str = "tokenizer.end_token_ids";
        let mut tokenizer = Self::from_json_for(json, rows)?;
        let named = |key: &str| -> Result<Option<u32>, ModelError> {
            let Some(text) = header.string(key)? else { return Ok(None) };
            let found = tokenizer.vocabulary.find(text.as_bytes());
            let missing = || ModelError::ImpossibleValue { key: key.to_owned(), reason: "it is no token".to_owned() };
            found.map(Some).ok_or_else(missing)
        };
        let (bos, eos) = (named("tokenizer.bos_token")?, named("tokenizer.eos_token")?);
        tokenizer.bos = tokenizer.bos.or(bos);
        tokenizer.eos = tokenizer.eos.or(eos);
        tokenizer.ends.extend(eos);
        for id in header.i32s(ENDS)?.unwrap_or_default() {
            match u32::try_from(id) {
                Ok(id) if (id as usize) < tokenizer.vocabulary.len() => drop(tokenizer.ends.insert(id)),
                _ => {
                    return Err(ModelError::ImpossibleValue {
                        key: ENDS.to_owned(),
                        reason: format!("{id} is no token"),
                    });
                }
            }
        }
        Ok(tokenizer)
    }

    pub(super) fn with(header: &Header, entries: Entries, kind: Kind, defaults: Defaults) -> Result<Self, ModelError> {
        let Entries { vocabulary, matchers } = entries;
        let id = |key: &str| known_id(header, &vocabulary, key);
        let known = |id: &u32| (*id as usize) < vocabulary.len();
        let bos = id("tokenizer.ggml.bos_token_id")?.or(defaults.bos.filter(known));
        let eos = id("tokenizer.ggml.eos_token_id")?.or(defaults.eos.filter(known));
        let mut ends: BTreeSet<u32> = eos.into_iter().chain(vocabulary.ending().iter().copied()).collect();
        ends.extend(id("tokenizer.ggml.eot_token_id")?);
        ends.extend(id("tokenizer.ggml.eom_token_id")?);
        Ok(Self {
            user_defined: matchers.user_defined,
            special: matchers.special,
            adds_bos: header.bool("tokenizer.ggml.add_bos_token")?.unwrap_or(defaults.adds_bos),
            adds_eos: header.bool("tokenizer.ggml.add_eos_token")?.unwrap_or(defaults.adds_eos),
            spaced: defaults.spaced,
            kind,
            bos,
            eos,
            ends,
            vocabulary,
        })
    }
}

/// A vocabulary and what finds its tokens in texts.
pub(super) struct Entries {
    vocabulary: Vocabulary,
    matchers: Matchers,
}

impl Entries {
    pub(super) fn of(vocabulary: Vocabulary) -> Result<Self, ModelError> {
        Ok(Self { matchers: Matchers::of(&vocabulary)?, vocabulary })
    }
}

struct Matchers {
    user_defined: Option<Matcher>,
    special: Option<Matcher>,
}

impl Matchers {
    fn of(vocabulary: &Vocabulary) -> Result<Self, ModelError> {
        Ok(Self {
            user_defined: Matcher::new(vocabulary, vocabulary.of_roles(&[Role::UserDefined]))?,
            special: Matcher::new(vocabulary, vocabulary.of_roles(&[Role::UserDefined, Role::Control]))?,
        })
    }
}

/// What holds where a file does not say.
#[derive(Default)]
pub(super) struct Defaults {
    bos: Option<u32>,
    eos: Option<u32>,
    adds_bos: bool,
    adds_eos: bool,
    spaced: bool,
}

impl Defaults {
    pub(super) fn of_bytes(pre_tokenizer: &PreTokenizer) -> Self {
        Self { adds_bos: pre_tokenizer.adds_bos(), ..Self::default() }
    }

    pub(super) fn of_spaces(spm: &Spm) -> Self {
        Self { bos: Some(1), eos: Some(2), adds_bos: true, spaced: spm.adds_space, ..Self::default() }
    }
}

/// How a header wants texts cut before they become tokens of bytes.
pub(super) fn pre_tokenizer(header: &Header) -> Result<&'static PreTokenizer, ModelError> {
    const PRE: &str = "tokenizer.ggml.pre";
    const SPACE: &str = "tokenizer.ggml.add_space_prefix";
    let name = header.string(PRE)?.ok_or_else(|| ModelError::MissingKey { key: PRE.to_owned() })?;
    if header.bool(SPACE)?.unwrap_or(false) {
        return Err(ModelError::UnsupportedKey { key: SPACE.to_owned() });
    }
    PreTokenizer::named(name).ok_or_else(|| unsupported(PRE, name))
}

/// The token that a key names.
fn known_id(header: &Header, vocabulary: &Vocabulary, key: &str) -> Result<Option<u32>, ModelError> {
    match header.u32(key)? {
        Some(id) if id as usize >= vocabulary.len() => {
            Err(ModelError::ImpossibleValue { key: key.to_owned(), reason: format!("{id} is no token") })
        }
        found => Ok(found),
    }
}

fn unsupported(key: &str, value: &str) -> ModelError {
    ModelError::UnsupportedTokenizer { what: format!("{key} `{}`", value.chars().take(64).collect::<String>()) }
}
