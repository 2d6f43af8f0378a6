//! The texts of a folder: what each is called, how large it may be, and reading it whole.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use mapping::{FileIdentity, identity_of, open_regular};

use super::FolderError;
use crate::artifact::OpenError;
use crate::limits::{
    CHAT_TEMPLATE_BYTES_MAX, CONFIG_BYTES_MAX, INDEX_BYTES_MAX, TOKENIZER_BYTES_MAX, TOKENIZER_CONFIG_BYTES_MAX,
};

/// A file of a folder that holds no weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Text {
    /// What the model is.
    Config,
    /// The tokenizer, as the `tokenizers` crate reads it.
    Tokenizer,
    /// Which shard each tensor is in.
    Index,
    /// Special tokens and, in older folders, the chat template.
    TokenizerConfig,
    /// The chat template.
    ChatTemplate,
    /// Which tokens end an answer.
    GenerationConfig,
    /// What follows a sentence encoder.
    Modules,
    /// How a sentence encoder makes one vector of many.
    Pooling,
}

impl Text {
    /// All of them.
    pub(crate) const ALL: [Self; 8] = [
        Self::Config,
        Self::Tokenizer,
        Self::Index,
        Self::TokenizerConfig,
        Self::ChatTemplate,
        Self::GenerationConfig,
        Self::Modules,
        Self::Pooling,
    ];

    /// Its path in the folder.
    pub(crate) fn path(self) -> &'static str {
        match self {
            Self::Config => "config.json",
            Self::Tokenizer => "tokenizer.json",
            Self::Index => "model.safetensors.index.json",
            Self::TokenizerConfig => "tokenizer_config.json",
            Self::ChatTemplate => "chat_template.jinja",
            Self::GenerationConfig => "generation_config.json",
            Self::Modules => "modules.json",
            Self::Pooling => "1_Pooling/config.json",
        }
    }

    /// Whether there is no model without it; `shards` is the number of files with weights.
    pub(crate) fn is_required(self, shards: usize) -> bool {
        match self {
            Self::Config | Self::Tokenizer => true,
            Self::Index => shards > 1,
            _ => false,
        }
    }

    pub(crate) fn bytes_max(self) -> u64 {
        match self {
            Self::Config | Self::GenerationConfig | Self::Modules | Self::Pooling => CONFIG_BYTES_MAX,
            Self::Tokenizer => TOKENIZER_BYTES_MAX,
            Self::Index => INDEX_BYTES_MAX,
            Self::TokenizerConfig => TOKENIZER_CONFIG_BYTES_MAX,
            Self::ChatTemplate => CHAT_TEMPLATE_BYTES_MAX,
        }
    }
}

/// The texts of one version of a folder.
#[derive(Clone, Copy, Debug)]
pub(super) struct Texts<'a> {
    pub(super) paths: &'a [(Text, PathBuf)],
    pub(super) identities: &'a [FileIdentity],
}

impl Texts<'_> {
    /// Reads a text that must be there.
    pub(super) fn required(&self, text: Text) -> Result<Vec<u8>, OpenError> {
        self.optional(text)?.ok_or_else(|| OpenError::MissingPart { path: text.path().into() })
    }

    /// Reads a text, if the folder has it.
    pub(super) fn optional(&self, text: Text) -> Result<Option<Vec<u8>>, OpenError> {
        let mut pairs = self.paths.iter().zip(self.identities);
        let Some(((_, path), identity)) = pairs.find(|((other, _), _)| *other == text) else { return Ok(None) };
        read(path, *identity, text.bytes_max()).map(Some)
    }

    /// What an error in a text means.
    pub(super) fn invalid(&self, text: Text, source: FolderError) -> OpenError {
        let path = self.paths.iter().find(|(other, _)| *other == text).map(|(_, path)| path.clone());
        OpenError::InvalidFolder { path: path.unwrap_or_else(|| text.path().into()), source }
    }
}

/// The file at `path`, which must be the version `expected` before and after it is read.
fn read(path: &Path, expected: FileIdentity, bytes_max: u64) -> Result<Vec<u8>, OpenError> {
    let io = |source: io::Error| OpenError::Io { path: path.into(), source };
    let bytes = expected.size_bytes;
    if bytes > bytes_max {
        let source = FolderError::TooLarge { bytes, limit: bytes_max };
        return Err(OpenError::InvalidFolder { path: path.into(), source });
    }
    let (file, _) = open_regular(path).map_err(|error| OpenError::of(path, error))?;
    let mut content = Vec::new();
    (&file).take(bytes_max).read_to_end(&mut content).map_err(io)?;
    let now = FileIdentity::of(&file.metadata().map_err(io)?);
    if now != expected || content.len() as u64 != bytes {
        return Err(OpenError::Changed { path: path.into() });
    }
    Ok(content)
}

/// Which versions of the texts lie there.
pub(crate) fn identities(texts: &[(Text, PathBuf)]) -> Result<Vec<FileIdentity>, OpenError> {
    texts.iter().map(|(_, path)| identity_of(path).map_err(|error| OpenError::of_part(path, error))).collect()
}
