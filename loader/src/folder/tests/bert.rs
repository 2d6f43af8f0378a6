//! Encoders, rerankers and sentence encoders.

use serde_json::{Value, json};

use super::{llama, refused_for, written};
use crate::artifact::Artifact;
use crate::fixture::{FolderTensor, FolderWriter};

/// Tensors of a BERT of one layer: their names in `transformers` and what GGUF calls them, widths aside.
const TENSORS: [(&str, &str); 21] = [
    ("embeddings.word_embeddings.weight", "token_embd.weight"),
    ("embeddings.position_embeddings.weight", "position_embd.weight"),
    ("embeddings.token_type_embeddings.weight", "token_types.weight"),
    ("embeddings.LayerNorm.weight", "token_embd_norm.weight"),
    ("embeddings.LayerNorm.bias", "token_embd_norm.bias"),
    ("encoder.layer.0.attention.self.query.weight", "blk.0.attn_q.weight"),
    ("encoder.layer.0.attention.self.query.bias", "blk.0.attn_q.bias"),
    ("encoder.layer.0.attention.self.key.weight", "blk.0.attn_k.weight"),
    ("encoder.layer.0.attention.self.key.bias", "blk.0.attn_k.bias"),
    ("encoder.layer.0.attention.self.value.weight", "blk.0.attn_v.weight"),
    ("encoder.layer.0.attention.self.value.bias", "blk.0.attn_v.bias"),
    ("encoder.layer.0.attention.output.dense.weight", "blk.0.attn_output.weight"),
    ("encoder.layer.0.attention.output.dense.bias", "blk.0.attn_output.bias"),
    ("encoder.layer.0.attention.output.LayerNorm.weight", "blk.0.attn_output_norm.weight"),
    ("encoder.layer.0.attention.output.LayerNorm.bias", "blk.0.attn_output_norm.bias"),
    ("encoder.layer.0.intermediate.dense.weight", "blk.0.ffn_up.weight"),
    ("encoder.layer.0.intermediate.dense.bias", "blk.0.ffn_up.bias"),
    ("encoder.layer.0.output.dense.weight", "blk.0.ffn_down.weight"),
    ("encoder.layer.0.output.dense.bias", "blk.0.ffn_down.bias"),
    ("encoder.layer.0.output.LayerNorm.weight", "blk.0.layer_output_norm.weight"),
    ("encoder.layer.0.output.LayerNorm.bias", "blk.0.layer_output_norm.bias"),
];

const POOLER: [&str; 2] = ["pooler.dense.weight", "pooler.dense.bias"];

fn tensor(name: &str) -> FolderTensor {
    FolderTensor { name: name.to_owned(), dtype: "F32".to_owned(), shape: vec![4], data: vec![0; 16] }
}

fn bert(class: &str, prefix: &str) -> FolderWriter {
    let config = json!({
        "architectures": [class], "model_type": "bert", "hidden_act": "gelu", "layer_norm_eps": 1e-12,
        "num_hidden_layers": 1, "max_position_embeddings": 512, "hidden_size": 8, "intermediate_size": 16,
        "num_attention_heads": 2, "vocab_size": 32, "type_vocab_size": 2, "position_embedding_type": "absolute",
        "hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1, "pad_token_id": 0, "classifier_dropout": null,
    });
    let names = TENSORS.iter().map(|(name, _)| *name).chain(POOLER);
    let mut tensors: Vec<FolderTensor> = names.map(|name| tensor(&format!("{prefix}{name}"))).collect();
    let positions = FolderTensor { dtype: "I64".to_owned(), shape: vec![1, 2], ..tensor("embeddings.position_ids") };
    tensors.push(positions);
    FolderWriter { config: config.as_object().unwrap().clone(), tensors, texts: llama().texts, shards: 1 }
}

fn with_modules(modules: Value, pooling: Option<Value>) -> FolderWriter {
    let mut writer = bert("BertModel", "");
    writer.texts.insert("modules.json".to_owned(), modules.to_string().into_bytes());
    if let Some(pooling) = pooling {
        writer.texts.insert("1_Pooling/config.json".to_owned(), pooling.to_string().into_bytes());
    }
    writer
}

fn modules(more: &[(&str, &str)]) -> Value {
    let all = [("Transformer", ""), ("Pooling", "1_Pooling")].iter().chain(more);
    let module =
        |(kind, path): &(&str, &str)| json!({ "type": format!("sentence_transformers.models.{kind}"), "path": path });
    all.map(module).collect()
}

#[test]
fn an_encoder_has_gguf_keys_and_names() {
    for prefix in ["", "bert."] {
        let artifact = Artifact::open(written(&bert("BertModel", prefix)).path()).unwrap();
        let header = artifact.header();
        assert_eq!(header.string("general.architecture"), Ok(Some("bert")));
        for (key, value) in [
            ("block_count", 1),
            ("context_length", 512),
            ("embedding_length", 8),
            ("feed_forward_length", 16),
            ("attention.head_count", 2),
        ] {
            assert_eq!(header.u32(&format!("bert.{key}")), Ok(Some(value)), "{key}");
        }
        assert_eq!(header.f32("bert.attention.layer_norm_epsilon"), Ok(Some(1e-12)));
        assert_eq!(header.bool("bert.attention.causal"), Ok(Some(false)));
        assert!(!header.contains("bert.pooling_type"));
        let mut names: Vec<&str> = artifact.tensors().map(|tensor| tensor.name).collect();
        let mut expected = TENSORS.map(|(_, name)| name);
        names.sort_unstable();
        expected.sort_unstable();
        assert_eq!(names, expected, "the pooler and the positions have no use");
    }
}

#[test]
fn a_reranker_has_a_head() {
    let mut writer = bert("BertForSequenceClassification", "bert.");
    writer.tensors.extend([tensor("classifier.weight"), tensor("classifier.bias")]);
    writer.texts.insert("modules.json".to_owned(), modules(&[]).to_string().into_bytes());
    let artifact = Artifact::open(written(&writer).path()).unwrap();
    assert_eq!(artifact.header().u32("bert.pooling_type"), Ok(Some(4)));
    for name in ["cls.weight", "cls.bias", "cls.output.weight", "cls.output.bias"] {
        assert!(artifact.tensor(name).is_some(), "{name}");
    }
}

#[test]
fn sentences_are_pooled_as_their_modules_say() {
    for (mode, number) in [("mean_tokens", 1), ("cls_token", 2), ("lasttoken", 3)] {
        for (more, normalizes) in [(&[][..], false), (&[("Normalize", "2_Normalize")][..], true)] {
            let mut pooling = json!({ "word_embedding_dimension": 8, "pooling_mode_max_tokens": false });
            pooling[format!("pooling_mode_{mode}")] = true.into();
            let artifact = Artifact::open(written(&with_modules(modules(more), Some(pooling))).path()).unwrap();
            assert_eq!(artifact.header().u32("bert.pooling_type"), Ok(Some(number)), "{mode}");
            assert_eq!(artifact.header().bool("sentence_transformers.normalize"), Ok(Some(normalizes)));
        }
    }
    let mean = || Some(json!({ "pooling_mode_mean_tokens": true }));
    for (modules, pooling, reason) in [
        (modules(&[("Dense", "2_Dense")]), mean(), "Dense in \"2_Dense\""),
        (modules(&[]), None, "1_Pooling/config.json"),
        (modules(&[]), Some(json!({ "pooling_mode_max_tokens": true })), "pooling_mode_max_tokens"),
        (modules(&[]), Some(json!({})), "0 modes at once"),
        (modules(&[]), Some(json!({ "pooling_mode_mean_tokens": true, "pooling_mode_cls_token": true })), "2 modes"),
        (modules(&[]), Some(json!({ "pooling_mode_mean_tokens": true, "mystery": 1 })), "\"mystery\" may change"),
        (json!([{ "type": "Pooling", "path": "../1_Pooling" }]), mean(), "Pooling in"),
        (modules(&[("Pooling", "1_Pooling")]), mean(), "Pooling in"),
        (json!({}), mean(), "JSON"),
    ] {
        refused_for(written(&with_modules(modules, pooling)).path(), "modules.json", reason);
    }
}

#[test]
fn other_encoders_are_refused_by_the_key_that_tells() {
    for (key, value) in [
        ("hidden_act", json!("relu")),
        ("position_embedding_type", json!("relative_key")),
        ("model_type", json!("xlm-roberta")),
        ("is_decoder", json!(true)),
        ("layer_norm_eps", Value::Null),
    ] {
        let mut writer = bert("BertModel", "");
        writer.set(key, value);
        refused_for(written(&writer).path(), "config.json", key);
    }
}
