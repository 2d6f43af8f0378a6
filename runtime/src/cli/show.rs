//! `dayfly show`

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use kernels::{KvPrecision, KvShape};
use loader::Artifact;
use loader::gguf::{FormatError, Header, ValueType};
use models::plan::{EncoderPlan, Network, Pooling};
use models::{Descriptor, Model};
use serde::Serialize;

use super::failure::Failure;
use super::flags::Context;
use super::output::{self, Column, Format, counted, table};
use super::{complete, names};
use crate::config::{Config, Layer, bytes_text};
use crate::facts::parameters;

/// Show what a model's file says about itself
///
/// Its header alone is read.
#[derive(Args, Debug)]
pub(super) struct Show {
    /// A name or alias of `dayfly list`, or a file that ends in .gguf
    #[arg(value_name = "MODEL|FILE", add = complete::models_here())]
    model: String,
}

/// What a header says.
#[derive(Debug, Serialize)]
struct Facts {
    name: String,
    path: PathBuf,
    size_bytes: u64,
    format: &'static str,
    /// Of a GGUF file.
    gguf_version: Option<u32>,
    architecture: Option<String>,
    title: Option<String>,
    license: Option<String>,
    parameters: u64,
    tensors: usize,
    /// By type: tensors and their bytes, the largest share first.
    types: Vec<TypeShare>,
    context_length: Option<u64>,
    layers: Option<u64>,
    embedding_length: Option<u64>,
    heads: Option<u64>,
    kv_heads: Option<u64>,
    vocabulary: Option<usize>,
    tokenizer: Option<String>,
    pre_tokenizer: Option<String>,
    has_chat_template: bool,
    /// Paths of the API that it can serve; none if it cannot be served.
    serves: Vec<&'static str>,
    /// Memory of the key-value cache for one position; none if the model keeps none or cannot be served.
    kv_bytes_per_position: Option<usize>,
    /// Why it cannot be served, if so.
    problem: Option<String>,
}

/// How much of a file is stored in a type.
#[derive(Debug, Serialize)]
struct TypeShare {
    #[serde(rename = "type")]
    name: &'static str,
    tensors: usize,
    bytes: u64,
}

impl Show {
    pub(super) fn run(&self, context: &Context) -> Result<(), Failure> {
        let config = context.config(Layer::default())?;
        let (name, artifact) = open(&config, &self.model)?;
        let facts = facts(&config, name, artifact).map_err(|error| Failure::Failed(error.into()))?;
        match context.format() {
            Format::Json => output::print_json(&facts),
            Format::Text => output::print(facts.text()),
        }
    }
}

/// Opens a file, if `model` is one's path, or else the model of that name; with the name that it goes by.
///
/// # Errors
/// [`Failure::NotFound`], with the names that are most like it; what opening fails with.
pub(super) fn open(config: &Config, model: &str) -> Result<(String, Artifact), Failure> {
    let failed = |error| Failure::Failed(anyhow::Error::new(error));
    if is_file(model) {
        let artifact = Artifact::open(Path::new(model)).map_err(failed)?;
        return Ok((artifact.name().to_owned(), artifact));
    }
    let catalog = config.catalog();
    let entry = catalog.resolve(model).map_err(|error| names::not_resolved(error, model, &catalog))?;
    Ok((entry.name.clone(), entry.open().map_err(failed)?))
}

/// Whether an argument means a file: it looks like a path and is there.
pub(super) fn is_file(argument: &str) -> bool {
    let looks_so = argument.to_ascii_lowercase().ends_with(".gguf") || argument.contains(std::path::is_separator);
    looks_so && Path::new(argument).exists()
}

/// What there is to know of `artifact`, which goes by `name`, and of what `config` says of that.
fn facts(config: &Config, name: String, artifact: Artifact) -> Result<Facts, FormatError> {
    let (template, precision) = (config.chat_templates.get(&name).map(AsRef::as_ref), config.kv_precision(&name));
    let header = Arc::clone(artifact.header());
    let path = artifact.path().to_owned();
    let size_bytes = artifact.identity().weights_bytes();
    let text = |key: &str| header.string(key).map(|text| text.map(str::to_owned));
    let architecture = text("general.architecture")?;
    let of_architecture = |key: &str| match &architecture {
        Some(architecture) => number(&header, &format!("{architecture}.{key}")),
        None => Ok(None),
    };
    let from_json = artifact.tokenizer_json().map(|_| "tokenizer.json".to_owned());
    let servable = Descriptor::of(&artifact, template).map(|descriptor| Model::new(artifact, Arc::new(descriptor)));
    let tokens = match (header.strings("tokenizer.ggml.tokens")?, &servable) {
        (Some(tokens), _) => Some(tokens.len()),
        (None, Ok(model)) => Some(model.descriptor().tokenizer.len()),
        (None, Err(_)) => None,
    };
    let (serves, kv_bytes_per_position, problem) = match servable {
        Ok(model) => (serves(model.descriptor()), kv_bytes_per_position(&model, precision), None),
        Err(error) => (Vec::new(), None, Some(format!("{:#}", anyhow::Error::new(error)))),
    };
    let (format, gguf_version) = match header.format() {
        loader::gguf::Format::Gguf { version } => ("GGUF", Some(version)),
        loader::gguf::Format::Safetensors => ("safetensors", None),
    };
    Ok(Facts {
        name,
        path,
        size_bytes,
        format,
        gguf_version,
        title: text("general.name")?,
        license: text("general.license")?,
        parameters: parameters(&header),
        tensors: header.tensor_count(),
        types: types(&header),
        context_length: of_architecture("context_length")?,
        layers: of_architecture("block_count")?,
        embedding_length: of_architecture("embedding_length")?,
        heads: of_architecture("attention.head_count")?,
        kv_heads: of_architecture("attention.head_count_kv")?,
        vocabulary: tokens,
        tokenizer: text("tokenizer.ggml.model")?.or(from_json),
        pre_tokenizer: text("tokenizer.ggml.pre")?,
        has_chat_template: template.is_some() || header.contains("tokenizer.chat_template"),
        architecture,
        serves,
        kv_bytes_per_position,
        problem,
    })
}

/// Paths of the API that a model can serve.
fn serves(descriptor: &Descriptor) -> Vec<&'static str> {
    match &descriptor.network {
        Network::Decoder(_) if descriptor.template.is_some() => vec!["/v1/chat/completions", "/v1/completions"],
        Network::Decoder(_) => vec!["/v1/completions"],
        Network::Encoder(EncoderPlan { pooling: Pooling::Rank(_), .. }) => vec!["/v1/rerank"],
        Network::Encoder(_) => vec!["/v1/embeddings"],
    }
}

fn kv_bytes_per_position(model: &Model, precision: KvPrecision) -> Option<usize> {
    let shape = model.descriptor().decoder().map(|_| KvShape { precision, ..model.kv_shape() })?;
    Some(shape.block_bytes() / shape.block_positions)
}

/// A count, where the file has it as one number for all layers.
fn number(header: &Header, key: &str) -> Result<Option<u64>, FormatError> {
    match header.value_type(key) {
        Some(ValueType::Single(_)) => header.u64(key),
        Some(ValueType::Array(_)) | None => Ok(None),
    }
}

fn types(header: &Header) -> Vec<TypeShare> {
    let mut shares: BTreeMap<&'static str, TypeShare> = BTreeMap::new();
    for tensor in header.tensors() {
        let name = tensor.ty.name();
        let share = shares.entry(name).or_insert(TypeShare { name, tensors: 0, bytes: 0 });
        share.tensors += 1;
        share.bytes += tensor.bytes;
    }
    let mut shares: Vec<TypeShare> = shares.into_values().collect();
    shares.sort_by_key(|share| std::cmp::Reverse(share.bytes));
    shares
}

impl Facts {
    fn text(&self) -> String {
        let count = |value: Option<u64>| value.map_or("-".into(), |value| value.to_string());
        let word = |value: &Option<String>| value.clone().unwrap_or_else(|| "-".into());
        let types: Vec<String> = self
            .types
            .iter()
            .map(|share| {
                format!("{} ({}, {})", share.name, counted(share.tensors as u64, "tensor"), bytes_text(share.bytes))
            })
            .collect();
        let tokenizer = format!(
            "{}, {} ({} tokens)",
            word(&self.tokenizer),
            word(&self.pre_tokenizer),
            self.vocabulary.map_or("?".into(), |tokens| tokens.to_string()),
        );
        let heads = match self.kv_heads {
            Some(kv_heads) => format!("{}, {kv_heads} of keys and values", count(self.heads)),
            None => count(self.heads),
        };
        let kv = self.kv_bytes_per_position.map_or("-".into(), |bytes| format!("{} a token", bytes_text(bytes as u64)));
        let template = if self.has_chat_template { "yes" } else { "no" };
        let rows = [
            ("name", self.name.clone()),
            ("title", word(&self.title)),
            ("file", self.path.display().to_string()),
            ("size", format!("{} ({} bytes)", bytes_text(self.size_bytes), self.size_bytes)),
            ("architecture", word(&self.architecture)),
            ("parameters", millions(self.parameters)),
            ("weights", types.join(", ")),
            ("context", count(self.context_length)),
            ("layers", count(self.layers)),
            ("width", count(self.embedding_length)),
            ("heads", heads),
            ("cache", kv),
            ("tokenizer", tokenizer),
            ("chat template", template.into()),
            ("license", word(&self.license)),
            ("served", self.problem.as_ref().map_or(self.serves.join(", "), |problem| format!("no: {problem}"))),
        ];
        let columns = [Column::Left(""), Column::Left("")];
        let table = table(&columns, rows.into_iter().map(|(name, value)| vec![name.into(), value]));
        table.trim_start_matches(['\n', ' ']).to_owned()
    }
}

fn millions(count: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
    let millions = count as f64 / 1e6;
    format!("{} M ({count})", output::figure(millions))
}
