//! `config.json`, key by key: what was not taken in the end is refused, unless it is known to mean nothing.

use serde_json::{Map, Value};

use super::FolderError;

/// Keys of any model whose values change nothing that is computed here: where it comes from, how it was trained, how
/// its library stores and runs it, what its library's own sampling would do. Tokens are told by the tokenizer's files.
const MEANINGLESS: &[&str] = &[
    "_attn_implementation",
    "_attn_implementation_autoset",
    "_commit_hash",
    "_name_or_path",
    "attention_dropout",
    "attention_probs_dropout_prob",
    "attn_implementation",
    "bos_token_id",
    "cache_implementation",
    "chunk_size_feed_forward",
    "classifier_dropout",
    "classifier_dropout_prob",
    "cls_token_id",
    "directionality",
    "do_sample",
    "dtype",
    "eos_token_id",
    "finetuning_task",
    "gradient_checkpointing",
    "hidden_dropout",
    "hidden_dropout_prob",
    "id2label",
    "initializer_range",
    "is_llama_config",
    "label2id",
    "mask_token_id",
    "max_length",
    "max_new_tokens",
    "num_labels",
    "output_attentions",
    "output_hidden_states",
    "output_past",
    "pad_token_id",
    "pretraining_tp",
    "problem_type",
    "resid_pdrop",
    "return_dict",
    "sbert_ce_default_activation_function",
    "sentence_transformers",
    "sep_token_id",
    "task_specific_params",
    "temperature",
    "tokenizer_class",
    "top_k",
    "top_p",
    "torch_dtype",
    "torchscript",
    "transformers.js_config",
    "transformers_version",
    "unk_token_id",
    "unsloth_fixed",
    "unsloth_version",
    "use_bfloat16",
    "use_cache",
];

/// Keys of any model with the one value that changes nothing. (`pruned_heads` is checked as empty.)
const FALSE: &[&str] = &[
    "add_cross_attention",
    "is_decoder",
    "is_encoder_decoder",
    "rope_interleaved",
    "tie_encoder_decoder",
    "use_bidirectional_attention",
    "use_mrope",
    "use_sliding_window",
];

/// An object of JSON whose keys are taken one after another.
#[derive(Debug)]
pub(super) struct Config {
    values: Map<String, Value>,
    /// Shown before the keys, where the object is inside another.
    prefix: String,
}

impl Config {
    pub(super) fn parse(json: &[u8]) -> Result<Self, FolderError> {
        Ok(Self { values: serde_json::from_slice(json)?, prefix: String::new() })
    }

    fn name(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }

    pub(super) fn missing(&self, key: &str) -> FolderError {
        FolderError::MissingKey { key: self.name(key) }
    }

    pub(super) fn wrong_type(&self, key: &str, expected: &'static str) -> FolderError {
        FolderError::WrongType { key: self.name(key), expected }
    }

    pub(super) fn unsupported(&self, key: &str, value: impl ToString) -> FolderError {
        FolderError::UnsupportedValue { key: self.name(key), value: value.to_string().chars().take(80).collect() }
    }

    /// Whether the key is there and not null.
    pub(super) fn has(&self, key: &str) -> bool {
        self.values.get(key).is_some_and(|value| !value.is_null())
    }

    /// Takes a value; `None` where it is absent or null.
    pub(super) fn take(&mut self, key: &str) -> Option<Value> {
        self.values.remove(key).filter(|value| !value.is_null())
    }

    pub(super) fn optional_u32(&mut self, key: &str) -> Result<Option<u32>, FolderError> {
        let Some(value) = self.take(key) else { return Ok(None) };
        let number = value.as_u64().and_then(|number| u32::try_from(number).ok());
        number.map(Some).ok_or_else(|| self.wrong_type(key, "count of 32 bits"))
    }

    pub(super) fn u32(&mut self, key: &str) -> Result<u32, FolderError> {
        self.optional_u32(key)?.ok_or_else(|| self.missing(key))
    }

    pub(super) fn optional_f32(&mut self, key: &str) -> Result<Option<f32>, FolderError> {
        let Some(value) = self.take(key) else { return Ok(None) };
        #[allow(clippy::cast_possible_truncation, reason = "rounding is what is asked for")]
        let number = value.as_f64().map(|number| number as f32);
        number.map(Some).ok_or_else(|| self.wrong_type(key, "number"))
    }

    pub(super) fn f32(&mut self, key: &str) -> Result<f32, FolderError> {
        self.optional_f32(key)?.ok_or_else(|| self.missing(key))
    }

    pub(super) fn optional_bool(&mut self, key: &str) -> Result<Option<bool>, FolderError> {
        let Some(value) = self.take(key) else { return Ok(None) };
        value.as_bool().map(Some).ok_or_else(|| self.wrong_type(key, "bool"))
    }

    pub(super) fn optional_text(&mut self, key: &str) -> Result<Option<String>, FolderError> {
        match self.take(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(self.wrong_type(key, "text")),
        }
    }

    /// Texts; none where the key is absent.
    pub(super) fn texts(&mut self, key: &str) -> Result<Option<Vec<String>>, FolderError> {
        let Some(value) = self.take(key) else { return Ok(None) };
        serde_json::from_value(value).map(Some).map_err(|_| self.wrong_type(key, "list of texts"))
    }

    /// An object inside this one.
    pub(super) fn object(&mut self, key: &str) -> Result<Option<Self>, FolderError> {
        match self.take(key) {
            None => Ok(None),
            Some(Value::Object(values)) => Ok(Some(Self { values, prefix: format!("{}.", self.name(key)) })),
            Some(_) => Err(self.wrong_type(key, "object")),
        }
    }

    /// Takes a text that must be one of `allowed`, if it is there.
    pub(super) fn only_texts(&mut self, key: &str, allowed: &[&str]) -> Result<(), FolderError> {
        match self.optional_text(key)? {
            Some(text) if !allowed.contains(&text.as_str()) => Err(self.unsupported(key, text)),
            _ => Ok(()),
        }
    }

    /// Takes a bool that must be `expected`, if it is there.
    pub(super) fn only_bool(&mut self, key: &str, expected: bool) -> Result<(), FolderError> {
        match self.optional_bool(key)? {
            Some(value) if value != expected => Err(self.unsupported(key, value)),
            _ => Ok(()),
        }
    }

    /// Takes a number that must be `expected`, if it is there.
    pub(super) fn only_number(&mut self, key: &str, expected: f32) -> Result<(), FolderError> {
        #[expect(clippy::float_cmp, reason = "a constant that configurations state as it is")]
        match self.optional_f32(key)? {
            Some(value) if value != expected => Err(self.unsupported(key, value)),
            _ => Ok(()),
        }
    }

    /// Refuses the first key that nobody took.
    pub(super) fn finish(self) -> Result<(), FolderError> {
        match self.values.iter().find(|(_, value)| !value.is_null()) {
            Some((key, _)) => Err(FolderError::UnsupportedKey { key: self.name(&crate::gguf::shown(key)) }),
            None => Ok(()),
        }
    }

    /// As [`Config::finish`], for a whole configuration, in which some keys mean nothing.
    pub(super) fn finish_whole(mut self) -> Result<(), FolderError> {
        FALSE.iter().try_for_each(|key| self.only_bool(key, false))?;
        if let Some(pruned) = self.take("pruned_heads")
            && pruned.as_object().is_none_or(|heads| !heads.is_empty())
        {
            return Err(self.unsupported("pruned_heads", pruned));
        }
        self.values.retain(|key, _| !MEANINGLESS.contains(&key.as_str()));
        self.finish()
    }
}
