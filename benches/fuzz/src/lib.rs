//! What the targets share: models and tokenizers of known vocabularies.
//!
//! Purpose: bytes that anyone may have made go into what reads them (`targets/`, one file each). Nothing may panic, hang
//! or take memory out of proportion, and what is accepted must hold what the reader promises. `corpus/` keeps inputs
//! that lead deep into the readers, as seeds and against regressions.
//!
//! `cargo fuzz run --fuzz-dir benches/fuzz TARGET` in the root of the repository looks for more.

use std::path::Path;

use loader::fixture::{FixtureValue, FolderWriter, GgufWriter, TinyModel, tiny_model};
use loader::gguf::TensorType;
use models::tokenizer::Tokenizer;

/// A tokenizer of the kind that `kind` chooses.
///
/// # Panics
/// Never, as long as the fixtures are valid.
#[must_use]
pub fn tokenizer(kind: Kind) -> Tokenizer {
    let mut writer = tiny_model(&TinyModel::default());
    match kind {
        Kind::Bytes => {}
        Kind::Spaces => spaces(&mut writer),
        Kind::Words => words(&mut writer),
    }
    let header = loader::gguf::parse(&writer.to_bytes()).expect("the fixture is valid");
    Tokenizer::from_header(&header).expect("the fixture is valid")
}

/// A valid model as a folder of safetensors.
#[must_use]
pub fn folder() -> FolderWriter {
    FolderWriter::of(&mut tiny_model(&tiny()), TensorType::F32)
}

/// As small as a model can be.
#[must_use]
pub fn tiny() -> TinyModel {
    TinyModel { layers: 1, hidden: 8, ffn: 8, heads: 2, kv_heads: 1, ..TinyModel::default() }
}

/// A folder for as long as the process lives.
pub struct TemporaryFolder(tempfile::TempDir);

impl TemporaryFolder {
    /// A new one.
    ///
    /// # Panics
    /// When the system has no place for it.
    #[must_use]
    #[allow(clippy::new_without_default, reason = "it makes a folder")]
    pub fn new() -> Self {
        Self(tempfile::tempdir().expect("there is a place for temporary files"))
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

/// What kind of tokenizer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// Byte-level byte-pair encoding.
    Bytes,
    /// SentencePiece's byte pairs.
    Spaces,
    /// WordPiece.
    Words,
}

fn spaces(writer: &mut GgufWriter) {
    let control = ["<unk>", "<s>", "</s>"].map(str::to_owned);
    let bytes = (0..256).map(|byte| format!("<0x{byte:02X}>"));
    let pieces = ["▁", "▁the", "th", "he", "e", "t", "h", "▁▁", "▁▁▁▁", "ing", "in", "i", "n", "g", "é", "。", "👍"];
    let tokens: Vec<String> = control.into_iter().chain(bytes).chain(pieces.map(str::to_owned)).collect();
    let kinds = (0..tokens.len()).map(|id| match id {
        0 => 2,
        1 | 2 => 3,
        3..259 => 6,
        _ => 1,
    });
    let scores = (0..tokens.len()).map(|id| -(id as f32));
    writer
        .set("tokenizer.ggml.model", "llama")
        .set("tokenizer.ggml.token_type", FixtureValue::I32s(kinds.collect()))
        .set("tokenizer.ggml.scores", FixtureValue::F32s(scores.collect()))
        .set("tokenizer.ggml.tokens", FixtureValue::Strings(tokens.into_iter().map(String::into_bytes).collect()))
        .set("tokenizer.ggml.unknown_token_id", FixtureValue::U32(0))
        .remove("tokenizer.ggml.merges");
}

fn words(writer: &mut GgufWriter) {
    let tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "▁the", "▁a", "▁b", "a", "b", "c", "ing", "▁.", "▁é", "▁中"];
    let kinds = (0..tokens.len()).map(|id| if id < 4 { 3 } else { 1 });
    writer
        .set("tokenizer.ggml.model", "bert")
        .set("tokenizer.ggml.token_type", FixtureValue::I32s(kinds.collect()))
        .set(
            "tokenizer.ggml.tokens",
            FixtureValue::Strings(tokens.into_iter().map(|token| token.as_bytes().to_vec()).collect()),
        )
        .set("tokenizer.ggml.unknown_token_id", FixtureValue::U32(1))
        .remove("tokenizer.ggml.merges");
}
