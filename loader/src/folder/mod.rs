//! Folders of safetensors, as `transformers` saves them, read as if llama.cpp's converter had written a GGUF file.
//!
//! `config.json` becomes GGUF's keys (`config`, `decoder`, `bert`, `rope`), tensors get GGUF's names (`names`), and what
//! stands beside the tokenizer becomes keys as well (`tokens`): one kind of [`Header`] for all readers. What differs
//! stays: rows of queries and keys are not permuted, Gemma's gains lack their one, and small vectors may be of any float
//! type; [`Format::Safetensors`](crate::gguf::Format) tells the architecture's reader so.
//!
//! Invariants: every file is bounded before it is read; nothing of the weights is copied; a key of `config.json` that is
//! neither translated nor known to mean nothing refuses the folder by that key's name.
//!
//! Deliberately absent: weights in pickles, quantized safetensors, code that a folder brings along, the tokenizer itself
//! (`tokenizer.json` is read by `models`).
//!
//! Sources: <https://github.com/huggingface/safetensors#format>; transformers' configuration classes;
//! `convert_hf_to_gguf.py` of llama.cpp.

mod bert;
mod config;
mod decoder;
mod error;
mod index;
mod names;
mod rope;
mod safetensors;
#[cfg(test)]
mod tests;
mod text;
mod tokens;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use mapping::{FileIdentity, MappedFile};

use self::config::Config;
use self::decoder::Family;
pub use self::error::FolderError;
use self::safetensors::Stored;
use self::text::Texts;
pub(crate) use self::text::{Text, identities};
use crate::artifact::{ArtifactFiles, OpenError};
use crate::gguf::{Assembly, FormatError, Header, Placed};
use crate::limits::TENSORS_MAX;

/// Classes of `transformers` that are read.
pub(crate) const SUPPORTED: [&str; 8] = [
    "BertForSequenceClassification",
    "BertModel",
    "Gemma3ForCausalLM",
    "LlamaForCausalLM",
    "MistralForCausalLM",
    "Qwen2ForCausalLM",
    "Qwen3ForCausalLM",
    "SmolLM3ForCausalLM",
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    Bert,
    BertForSequenceClassification,
    Gemma3,
    Llama,
    Mistral,
    Qwen2,
    Qwen3,
    SmolLm3,
}

impl Class {
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "BertForSequenceClassification" => Self::BertForSequenceClassification,
            "BertModel" => Self::Bert,
            "Gemma3ForCausalLM" => Self::Gemma3,
            "LlamaForCausalLM" => Self::Llama,
            "MistralForCausalLM" => Self::Mistral,
            "Qwen2ForCausalLM" => Self::Qwen2,
            "Qwen3ForCausalLM" => Self::Qwen3,
            "SmolLM3ForCausalLM" => Self::SmolLm3,
            _ => return None,
        })
    }

    fn taken_from(config: &mut Config) -> Result<Self, FolderError> {
        const KEY: &str = "architectures";
        let names = config.texts(KEY)?.ok_or_else(|| config.missing(KEY))?;
        let [name] = &names[..] else { return Err(config.unsupported(KEY, names.join(", "))) };
        Self::named(name).ok_or_else(|| FolderError::UnsupportedArchitecture { name: crate::gguf::shown(name) })
    }
}

/// What a catalog calls the model in the folder at `path`: the folder's name, or, in a Hugging Face cache, the
/// repository's without its owner.
pub(crate) fn name(path: &Path) -> Option<&str> {
    let own = path.file_name()?.to_str()?;
    let cache = path.parent().filter(|parent| parent.file_name().is_some_and(|name| name == "snapshots"));
    let repository = cache.and_then(Path::parent).and_then(Path::file_name).and_then(|name| name.to_str());
    let repository =
        repository.and_then(|name| name.strip_prefix("models--")).and_then(|name| name.rsplit("--").next());
    Some(repository.unwrap_or(own))
}

/// The folder of the repository whose snapshots are in the folder at `path`, if that is one of a Hugging Face cache.
pub(crate) fn repository_of_snapshots(path: &Path) -> Option<&Path> {
    let repository = path.parent().filter(|_| path.file_name().is_some_and(|name| name == "snapshots"))?;
    repository.file_name()?.to_str()?.starts_with("models--").then_some(repository)
}

/// Reads the folder whose weights are `mapped` and whose texts are the versions `identities`.
pub(crate) fn read(
    files: &ArtifactFiles,
    mapped: &[MappedFile],
    identities: &[FileIdentity],
) -> Result<Header, OpenError> {
    let texts = Texts { paths: &files.texts, identities };
    let weights = stored(files, mapped)?;
    if let Some(index) = texts.optional(Text::Index)?.filter(|_| mapped.len() > 1) {
        check_index(&index, files, &weights).map_err(|error| texts.invalid(Text::Index, error))?;
    }
    let in_config = |error: FolderError| texts.invalid(Text::Config, error);
    let mut config = Config::parse(&texts.required(Text::Config)?).map_err(in_config)?;
    let class = Class::taken_from(&mut config).map_err(in_config)?;
    let count = weights.iter().map(Vec::len).sum();
    let mut out = Assembly::with_capacity(count).map_err(|error| in_config(error.into()))?;
    let ends = config.take("eos_token_id");
    let promises = translate(config, class, &mut out).map_err(in_config)?;
    // A reranker's score is its classifier's, whatever stands around it.
    let modules = if class == Class::BertForSequenceClassification { None } else { texts.optional(Text::Modules)? };
    if let Some(modules) = modules {
        let pooling = texts.optional(Text::Pooling)?;
        let architecture = Family::of(class).map_or("bert", |family| family.architecture);
        bert::sentences(architecture, &modules, pooling.as_deref(), &mut out)
            .map_err(|error| texts.invalid(Text::Modules, error))?;
    }
    tokens::translate(&texts, ends, &mut out)?;
    for (file, tensors) in (0..).zip(&weights) {
        let is_tied = promises.is_some_and(|promises| promises.is_tied);
        let path = &files.weights[file as usize];
        let failed = |error: FormatError| OpenError::InvalidFolder { path: path.clone(), source: error.into() };
        for Stored { name, ty, dims, offset, bytes } in tensors {
            let Some(name) = names::translated(class, name, is_tied) else { continue };
            let placed = Placed { name: &name, ty: *ty, dims, file, offset: *offset, bytes: *bytes };
            out.tensor(placed).map_err(failed)?;
        }
    }
    if let Some(promises) = promises {
        promises.check(&out).map_err(in_config)?;
    }
    Ok(out.finish(mapped.iter().map(|file| file.bytes().len() as u64).sum()))
}

fn translate(mut config: Config, class: Class, out: &mut Assembly) -> Result<Option<decoder::Promises>, FolderError> {
    let promises = match Family::of(class) {
        Some(family) => {
            out.text("general.architecture", family.architecture);
            Some(decoder::translate(&mut config, (class, family), out)?)
        }
        None => {
            out.text("general.architecture", "bert");
            bert::translate(&mut config, class, out)?;
            None
        }
    };
    config.finish_whole()?;
    Ok(promises)
}

/// The tensors of every file.
fn stored(files: &ArtifactFiles, mapped: &[MappedFile]) -> Result<Vec<Vec<Stored>>, OpenError> {
    let mut all = Vec::with_capacity(mapped.len());
    let mut count = 0;
    for (file, path) in mapped.iter().zip(&files.weights) {
        let failed = |source: FolderError| OpenError::InvalidFolder { path: path.clone(), source };
        let tensors = safetensors::parse(file.bytes()).map_err(failed)?;
        count += tensors.len() as u64;
        if count > TENSORS_MAX {
            let error = FormatError::CountTooLarge { what: "tensors", count, limit: TENSORS_MAX };
            return Err(failed(error.into()));
        }
        all.push(tensors);
    }
    Ok(all)
}

fn check_index(index: &[u8], files: &ArtifactFiles, weights: &[Vec<Stored>]) -> Result<(), FolderError> {
    let mut found = HashMap::new();
    for (tensors, name) in weights.iter().zip(&files.weight_names) {
        for tensor in tensors {
            if found.insert(tensor.name.as_str(), name.as_str()).is_some() {
                return Err(FormatError::DuplicateTensor { tensor: crate::gguf::shown(&tensor.name) }.into());
            }
        }
    }
    index::check(index, &found)
}

/// The files of the folder at `path`, in which lie files called `names`; `None` if they are no model.
///
/// Every text is among them, whether or not the folder has it.
pub(crate) fn files<'n>(path: &Path, names: impl Iterator<Item = &'n str>) -> Option<ArtifactFiles> {
    const WHOLE: &str = "model.safetensors";
    let (mut is_configured, mut is_whole, mut shard) = (false, false, None);
    for name in names {
        is_configured |= name == Text::Config.path();
        is_whole |= name == WHOLE;
        if shard.is_none_or(|kept| name < kept) && is_shard(name) {
            shard = Some(name);
        }
    }
    let weights = match shard {
        _ if !is_configured => return None,
        _ if is_whole => vec![path.join(WHOLE)],
        Some(shard) => {
            let shard = path.join(shard);
            crate::artifact::ShardName::of(&shard)?.paths(&shard)
        }
        None => return None,
    };
    let texts: Vec<(Text, PathBuf)> = Text::ALL.map(|text| (text, path.join(text.path()))).into();
    let file_name = |path: &PathBuf| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let weight_names = weights.iter().map(file_name).collect();
    Some(ArtifactFiles { path: path.to_owned(), weights, weight_names, texts })
}

fn is_shard(name: &str) -> bool {
    let stem = name.strip_suffix(".safetensors");
    stem.and_then(crate::artifact::ShardName::parse).is_some_and(|shard| shard.prefix == "model")
}
