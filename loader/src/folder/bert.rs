//! Configurations of BERT's encoders and rerankers, and of the sentence encoders around them, to GGUF's keys.

use serde_json::Value;

use super::config::Config;
use super::{Class, FolderError};
use crate::gguf::Assembly;

/// llama.cpp's number of "the classifier's score of the whole".
const POOLING_RANK: u32 = 4;

/// Whether vectors of sentences are scaled to unit length. No key of GGUF says so.
const NORMALIZE: &str = "sentence_transformers.normalize";

/// Ways to make one vector of many: the configuration's key, and llama.cpp's number.
const POOLINGS: [(&str, u32); 3] =
    [("pooling_mode_mean_tokens", 1), ("pooling_mode_cls_token", 2), ("pooling_mode_lasttoken", 3)];

/// Writes an encoder's keys.
pub(super) fn translate(config: &mut Config, class: Class, out: &mut Assembly) -> Result<(), FolderError> {
    config.only_texts("model_type", &["bert"])?;
    if !config.has("hidden_act") {
        return Err(config.missing("hidden_act"));
    }
    config.only_texts("hidden_act", &["gelu"])?;
    config.only_texts("position_embedding_type", &["absolute"])?;
    config.optional_bool("tie_word_embeddings")?;
    for (key, from) in [
        ("bert.block_count", "num_hidden_layers"),
        ("bert.context_length", "max_position_embeddings"),
        ("bert.embedding_length", "hidden_size"),
        ("bert.feed_forward_length", "intermediate_size"),
        ("bert.attention.head_count", "num_attention_heads"),
        ("bert.vocab_size", "vocab_size"),
        ("tokenizer.ggml.token_type_count", "type_vocab_size"),
    ] {
        out.u32(key, config.u32(from)?);
    }
    out.f32("bert.attention.layer_norm_epsilon", config.f32("layer_norm_eps")?);
    out.bool("bert.attention.causal", false);
    if class == Class::BertForSequenceClassification {
        out.u32("bert.pooling_type", POOLING_RANK);
    }
    Ok(())
}

/// Writes what `modules.json` says about sentences: how they are pooled, whether they are scaled.
///
/// `pooling` is the configuration in `1_Pooling`, where there is one.
pub(super) fn sentences(
    architecture: &str,
    modules: &[u8],
    pooling: Option<&[u8]>,
    out: &mut Assembly,
) -> Result<(), FolderError> {
    let modules: Vec<serde_json::Map<String, Value>> = serde_json::from_slice(modules)?;
    let (mut normalize, mut pooled) = (false, None);
    for (index, module) in modules.iter().enumerate() {
        let text = |key: &str| module.get(key).and_then(Value::as_str).unwrap_or_default();
        let (kind, path) = (text("type"), text("path"));
        match (kind.rsplit('.').next().unwrap_or_default(), path) {
            ("Transformer", "") if index == 0 => {}
            ("Pooling", "1_Pooling") if pooled.is_none() => {
                let pooling =
                    pooling.ok_or_else(|| FolderError::MissingKey { key: "1_Pooling/config.json".to_owned() })?;
                pooled = Some(pooling_type(Config::parse(pooling)?)?);
            }
            ("Normalize", _) => normalize = true,
            _ => {
                let value = format!("{} in {path:?}", kind.chars().take(80).collect::<String>());
                return Err(FolderError::UnsupportedValue { key: "modules.json".to_owned(), value });
            }
        }
    }
    if let Some(number) = pooled {
        out.u32(&format!("{architecture}.pooling_type"), number);
    }
    out.bool(NORMALIZE, normalize);
    Ok(())
}

fn pooling_type(mut config: Config) -> Result<u32, FolderError> {
    let mut chosen = Vec::new();
    for (key, number) in POOLINGS {
        if config.optional_bool(key)?.unwrap_or(false) {
            chosen.push(number);
        }
    }
    for other in ["pooling_mode_max_tokens", "pooling_mode_mean_sqrt_len_tokens", "pooling_mode_weightedmean_tokens"] {
        config.only_bool(other, false)?;
    }
    config.only_bool("include_prompt", true)?;
    config.optional_u32("word_embedding_dimension")?;
    config.optional_u32("embedding_dimension")?;
    match chosen[..] {
        [number] => config.finish().map(|()| number),
        _ => Err(config.unsupported("pooling_mode", format!("{} modes at once", chosen.len()))),
    }
}
