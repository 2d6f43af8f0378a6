//! Configurations: what is translated, accepted, refused.

use serde_json::{Value, json};

use super::{DECODERS, llama, refused_for, tiny, written};
use crate::artifact::Artifact;
use crate::fixture::{Architecture, FolderTensor, FolderWriter};
use crate::gguf::Header;

#[track_caller]
fn config_refused(change: impl FnOnce(&mut FolderWriter), reason: &str) {
    let mut writer = llama();
    change(&mut writer);
    refused_for(written(&writer).path(), "config.json", reason);
}

#[test]
fn keys_that_change_the_maths_are_refused_by_name() {
    let refused = [
        ("architectures", json!(["MambaForCausalLM"]), "\"MambaForCausalLM\" is not supported (supported: BertFor"),
        ("architectures", json!(["LlamaForCausalLM", "BertModel"]), "\"architectures\""),
        ("architectures", Value::Null, "\"architectures\" is missing"),
        ("model_type", json!("mistral"), "\"model_type\" has the value"),
        ("hidden_act", json!("gelu"), "\"hidden_act\" has the value gelu"),
        ("hidden_act", Value::Null, "\"hidden_act\" is missing"),
        ("mystery", json!(1), "\"mystery\" may change"),
        ("auto_map", json!({}), "\"auto_map\" may change"),
        ("quantization_config", json!({ "bits": 4 }), "\"quantization_config\" may change"),
        ("residual_multiplier", json!(0.2), "\"residual_multiplier\" may change"),
        ("sliding_window", json!(4096), "\"sliding_window\" may change"),
        ("rope_interleaved", json!(true), "\"rope_interleaved\" has the value true"),
        ("is_decoder", json!("no"), "\"is_decoder\" is no bool"),
        ("pruned_heads", json!({ "0": [1] }), "\"pruned_heads\" has the value"),
        ("layer_types", json!(["full_attention", "linear_attention"]), "linear_attention"),
        ("partial_rotary_factor", json!(0.5), "\"partial_rotary_factor\" has the value 0.5"),
        ("hidden_size", Value::Null, "\"hidden_size\" is missing"),
        ("hidden_size", json!(-1), "\"hidden_size\" is no count"),
        ("hidden_size", json!(4_294_967_296_u64), "\"hidden_size\" is no count"),
        ("rms_norm_eps", json!("small"), "\"rms_norm_eps\" is no number"),
        (
            "rope_scaling",
            json!({ "rope_type": "dynamic", "factor": 2.0 }),
            "\"rope_scaling.rope_type\" has the value dynamic",
        ),
        ("rope_scaling", json!({ "type": "linear" }), "\"rope_scaling.factor\" is missing"),
        ("rope_scaling", json!({ "type": "linear", "factor": 2.0, "more": 1 }), "\"rope_scaling.more\" may change"),
        ("rope_scaling", json!({ "type": "yarn", "factor": 4.0, "mscale": 0.7 }), "\"rope_scaling.mscale\" may change"),
        ("rope_scaling", json!({ "type": "yarn", "factor": 4.0, "attention_factor": 2.0 }), "attention_factor"),
        ("rope_scaling", json!({ "type": "llama3", "factor": 8.0 }), "\"rope_scaling.low_freq_factor\" is missing"),
        ("rope_scaling", json!(8.0), "\"rope_scaling\" is no object"),
        ("attention_bias", json!(true), "\"blk.0.attn_q.bias\" is missing"),
        ("tie_word_embeddings", json!(false), "\"lm_head.weight\" is missing"),
    ];
    for (key, value, reason) in refused {
        config_refused(|writer| drop(writer.config.insert(key.to_owned(), value)), reason);
    }
    config_refused(
        |writer| {
            let bias = FolderTensor {
                name: "model.layers.0.self_attn.q_proj.bias".into(),
                dtype: "F32".into(),
                shape: vec![64],
                data: vec![0; 256],
            };
            writer.tensors.push(bias);
        },
        "\"blk.0.attn_q.bias\" has no use",
    );
    for (architecture, key, value) in [
        (Architecture::Qwen2, "use_sliding_window", json!(true)),
        (Architecture::SmolLm3, "no_rope_layers", json!([1, 0])),
        (Architecture::SmolLm3, "no_rope_layer_interval", json!(3)),
        (Architecture::Gemma3, "query_pre_attn_scalar", json!(168)),
        (Architecture::Gemma3, "final_logit_softcapping", json!(30.0)),
        (Architecture::Gemma3, "use_bidirectional_attention", json!(true)),
        (Architecture::Gemma3, "layer_types", json!(["chunked_attention"])),
        (Architecture::Gemma3, "hidden_activation", json!("gelu")),
    ] {
        let mut writer = tiny(architecture);
        writer.set(key, value);
        refused_for(written(&writer).path(), "config.json", key);
    }
}

#[test]
fn keys_that_mean_nothing_are_accepted() {
    let mut writer = llama();
    for (key, value) in [
        ("_name_or_path", json!("org/name")),
        ("pretraining_tp", json!(1)),
        ("attention_dropout", json!(0.1)),
        ("rope_interleaved", json!(false)),
        ("pruned_heads", json!({})),
        ("sliding_window", Value::Null),
        ("unheard_of", Value::Null),
        ("id2label", json!({ "0": "LABEL_0" })),
    ] {
        writer.set(key, value);
    }
    Artifact::open(written(&writer).path()).unwrap();
}

#[test]
fn scalings_become_the_keys_of_gguf() {
    let header = |scaling: Value| {
        let mut writer = llama();
        writer.set("rope_scaling", scaling);
        Artifact::open(written(&writer).path()).unwrap().header().clone()
    };
    let text = |header: &Header| header.string("llama.rope.scaling.type").unwrap().map(str::to_owned);
    assert_eq!(text(&header(Value::Null)), None);
    assert_eq!(text(&header(json!({ "rope_type": "default" }))), None);
    let linear = header(json!({ "type": "linear", "factor": 4.0 }));
    assert_eq!((text(&linear).as_deref(), linear.f32("llama.rope.scaling.factor")), (Some("linear"), Ok(Some(4.0))));
    let llama3 = header(json!({
        "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    }));
    assert_eq!(text(&llama3).as_deref(), Some("llama3"));
    assert_eq!(llama3.u32("llama.rope.scaling.original_context_length"), Ok(Some(8192)));
    let mut writer = llama();
    writer.config.remove("rope_theta");
    writer.set(
        "rope_parameters",
        json!({ "rope_theta": 500_000.0, "rope_type": "yarn", "factor": 4.0, "beta_fast": 32.0 }),
    );
    let yarn = Artifact::open(written(&writer).path()).unwrap().header().clone();
    assert_eq!((text(&yarn).as_deref(), yarn.f32("llama.rope.freq_base")), (Some("yarn"), Ok(Some(500_000.0))));
    assert_eq!(yarn.f32("llama.rope.scaling.yarn_beta_fast"), Ok(Some(32.0)));
}

#[test]
fn newer_gemmas_have_a_rope_for_each_kind_of_layer() {
    let mut writer = tiny(Architecture::Gemma3);
    writer.config.remove("rope_theta");
    writer.config.remove("rope_local_base_freq");
    writer
        .set(
            "rope_parameters",
            json!({
                "full_attention": { "rope_type": "linear", "factor": 8.0, "rope_theta": 1_000_000.0 },
                "sliding_attention": { "rope_type": "default", "rope_theta": 5000.0 },
            }),
        )
        .set("layer_types", json!(["sliding_attention", "full_attention"]));
    let header = Artifact::open(written(&writer).path()).unwrap().header().clone();
    assert_eq!(header.f32("gemma3.rope.freq_base"), Ok(Some(1_000_000.0)));
    assert_eq!(header.f32("gemma3.rope.freq_base_swa"), Ok(Some(5000.0)));
    assert_eq!(header.f32("gemma3.rope.scaling.factor"), Ok(Some(8.0)));
    assert_eq!(header.bools("gemma3.attention.sliding_window_pattern"), Ok(Some(vec![true, false])));
}

/// Every key with every kind of nonsense: read, or refused as the folder's fault.
#[test]
fn no_value_of_any_key_makes_the_reader_panic() {
    let mut opened = 0;
    for architecture in DECODERS {
        let writer = tiny(architecture);
        let folder = written(&writer);
        let more = ["rope_parameters", "layer_types", "sliding_window", "pruned_heads", "no_rope_layers"];
        for key in writer.config.keys().map(String::as_str).chain(more) {
            for value in [
                json!(0),
                json!(-1),
                json!(0.5),
                json!(u64::MAX),
                json!(1e300),
                json!(true),
                json!(""),
                json!("llama3"),
                json!([]),
                json!([0, "full_attention", {}]),
                json!({}),
                json!({ "rope_type": "yarn", "factor": -1, "full_attention": {}, "sliding_attention": [] }),
                Value::Null,
            ] {
                let mut config = writer.config.clone();
                config.insert(key.to_owned(), value);
                std::fs::write(folder.path().join("config.json"), Value::Object(config).to_string()).unwrap();
                match Artifact::open(folder.path()) {
                    Ok(_) => opened += 1,
                    Err(error) => assert!(error.is_load_fail(), "{key}: {error}"),
                }
            }
        }
    }
    assert!(opened > 100, "some values are harmless: {opened}");
}
