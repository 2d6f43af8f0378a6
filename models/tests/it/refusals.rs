//! What an architecture's file refuses, and that it says what: nothing that changes the maths is overlooked, and
//! nothing that a file says makes the reader or a step panic.

use loader::Artifact;
use loader::fixture::{
    Architecture, EncoderPooling, FixtureTensor, FixtureValue, GgufWriter, Output, TinyEncoder, TinyModel,
    tiny_encoder, tiny_model,
};
use loader::gguf::ElementType;
use models::{ModelError, architecture};

use crate::support::{executor, logits, written};

const ALL: [Architecture; 5] =
    [Architecture::Llama, Architecture::SmolLm3, Architecture::Qwen2, Architecture::Qwen3, Architecture::Gemma3];

/// A model of one layer that goes through all of its architecture's code.
fn tiny(architecture: Architecture) -> GgufWriter {
    let shape =
        TinyModel { architecture, layers: 1, hidden: 32, ffn: 32, heads: 2, kv_heads: 1, ..TinyModel::default() };
    let mut file = tiny_model(&TinyModel { head_dim: Some(16), output: Output::Separate, ..shape });
    if architecture == Architecture::Gemma3 {
        file.set("gemma3.attention.sliding_window", FixtureValue::U32(4));
    }
    file
}

fn plan_of(file: &GgufWriter) -> Result<(), ModelError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tiny.gguf");
    file.write_to(&path).unwrap();
    architecture::network(&Artifact::open(&path).unwrap()).map(drop)
}

fn with(architecture: Architecture, keys: &[(&str, FixtureValue)]) -> Result<(), ModelError> {
    let mut file = tiny(architecture);
    for (key, value) in keys {
        file.set(&format!("{}.{key}", architecture.name()), value.clone());
    }
    plan_of(&file)
}

#[test]
fn an_unknown_architecture_is_told_by_name_with_those_that_are_known() {
    let mut file = tiny(Architecture::Llama);
    file.set("general.architecture", "mamba");
    let message = plan_of(&file).unwrap_err().to_string();
    assert!(message.contains("`mamba`") && message.contains("bert, gemma3, llama, qwen2, qwen3, smollm3"), "{message}");
    assert!(ALL.iter().all(|known| architecture::supported().any(|name| name == known.name())));
}

#[test]
fn what_changes_the_maths_is_refused_by_name() {
    for architecture in ALL {
        assert!(plan_of(&tiny(architecture)).is_ok(), "{architecture:?}");
        let refused = [
            ("attention.mystery", FixtureValue::U32(1)),
            ("attention.causal", FixtureValue::Bool(false)),
            ("attention.scale", FixtureValue::F32(0.5)),
            ("expert_count", FixtureValue::U32(8)),
            ("final_logit_softcapping", FixtureValue::F32(30.0)),
            ("logit_scale", FixtureValue::F32(2.0)),
            ("rope.dimension_sections", FixtureValue::I32s(vec![1, 1, 1, 1])),
            ("rope.scaling.type", "longrope".into()),
            ("rope.scaling.yarn_beta_fast", FixtureValue::F32(16.0)),
            ("rope.scaling.yarn_log_multiplier", FixtureValue::F32(0.1)),
        ];
        for (key, value) in refused {
            let error = with(architecture, &[(key, value)]).unwrap_err();
            let full = format!("{}.{key}", architecture.name());
            assert!(matches!(&error, ModelError::UnsupportedKey { key } if *key == full), "{full}: {error}");
        }
        let mut file = tiny(architecture);
        file.push(FixtureTensor::vector("blk.0.mystery.weight", 4, || 1.0));
        let error = plan_of(&file).unwrap_err();
        assert!(matches!(&error, ModelError::UnsupportedTensor { name, .. } if name == "blk.0.mystery.weight"));
    }
    for architecture in [Architecture::SmolLm3, Architecture::Qwen2, Architecture::Qwen3] {
        let error = with(architecture, &[("attention.sliding_window", FixtureValue::U32(4))]).unwrap_err();
        assert!(matches!(error, ModelError::UnsupportedKey { .. }), "{architecture:?}: {error}");
    }
}

#[test]
fn what_converters_write_and_changes_nothing_is_accepted() {
    let harmless = [
        ("attention.causal", FixtureValue::Bool(true)),
        ("expert_count", FixtureValue::U32(0)),
        ("expert_used_count", FixtureValue::U32(0)),
        ("pooling_type", FixtureValue::U32(0)),
        ("rope.dimension_count", FixtureValue::U32(16)),
        ("rope.scaling.attn_factor", FixtureValue::F32(1.0)),
        ("rope.scaling.finetuned", FixtureValue::Bool(true)),
        ("rope.scaling.type", "none".into()),
        ("rope.scaling.yarn_beta_fast", FixtureValue::F32(32.0)),
        ("tensor_data_layout", "Meta AI original pth".into()),
        ("vocab_size", FixtureValue::U32(275)),
    ];
    for architecture in ALL {
        with(architecture, &harmless).unwrap();
    }
    with(Architecture::Llama, &[("attention.sliding_window", FixtureValue::U32(0))]).unwrap();
}

#[test]
fn yarn_needs_its_factor_and_heads_that_turn_whole() {
    for architecture in ALL {
        let error = with(architecture, &[("rope.scaling.type", "yarn".into())]).unwrap_err();
        assert!(matches!(&error, ModelError::MissingKey { key } if key.ends_with("rope.scaling.factor")), "{error}");
        let half = [
            ("rope.scaling.type", "yarn".into()),
            ("rope.scaling.factor", FixtureValue::F32(4.0)),
            ("rope.dimension_count", FixtureValue::U32(8)),
        ];
        let error = with(architecture, &half).unwrap_err();
        assert!(matches!(&error, ModelError::UnsupportedKey { key } if key.ends_with("rope.scaling.type")), "{error}");
    }
}

#[test]
fn a_tensor_that_is_missing_or_has_another_shape_is_named() {
    for architecture in ALL {
        let whole = tiny(architecture);
        for (index, tensor) in whole.tensors.iter().enumerate() {
            let optional = tensor.name.ends_with(".bias") || tensor.name == "output.weight";
            let mut file = whole.clone();
            file.tensors.remove(index);
            match plan_of(&file) {
                Ok(()) => assert!(optional, "{architecture:?} without {}", tensor.name),
                Err(ModelError::MissingTensor { name }) => assert!(!optional && name == tensor.name, "{name}"),
                Err(error) => panic!("{architecture:?} without {}: {error}", tensor.name),
            }
            let mut file = whole.clone();
            file.tensors[index].dims[0] -= 1;
            match plan_of(&file) {
                Err(ModelError::TensorShape { name, .. }) => assert_eq!(name, tensor.name),
                other => panic!("{architecture:?} with a narrow {}: {other:?}", tensor.name),
            }
        }
    }
}

#[test]
fn frequency_factors_that_divide_by_nothing_are_refused() {
    for factor in [0.0, -1.0, f32::NAN, f32::INFINITY] {
        let mut file = tiny(Architecture::Llama);
        file.push(FixtureTensor::vector("rope_freqs.weight", 8, || factor));
        let error = plan_of(&file).unwrap_err();
        assert!(matches!(&error, ModelError::ImpossibleTensor { name } if name == "rope_freqs.weight"), "{error}");
    }
}

/// Every key with every kind of nonsense: refused, or a model that computes (if only numbers that mean nothing).
#[test]
fn no_value_of_any_key_makes_the_reader_or_a_step_panic() {
    let nonsense = [
        FixtureValue::U32(0),
        FixtureValue::U32(1),
        FixtureValue::U32(3),
        FixtureValue::U32(u32::MAX),
        FixtureValue::U64(u64::MAX),
        FixtureValue::I32(-1),
        FixtureValue::F32(0.0),
        FixtureValue::F32(-1.0),
        FixtureValue::F32(1e-40),
        FixtureValue::F32(1.0),
        FixtureValue::F32(f32::MAX),
        FixtureValue::F32(f32::NAN),
        FixtureValue::F32(f32::INFINITY),
        FixtureValue::Bool(false),
        "yarn".into(),
        "".into(),
        FixtureValue::I32s(vec![1]),
        FixtureValue::Raw { type_id: 9, bytes: [&ElementType::Bool.id().to_le_bytes()[..], &[0; 8]].concat() },
    ];
    let more = [
        "attention.sliding_window",
        "attention.sliding_window_pattern",
        "rope.dimension_count",
        "rope.freq_base_swa",
        "rope.scale_linear",
        "rope.scaling.attn_factor",
        "rope.scaling.factor",
        "rope.scaling.original_context_length",
        "rope.scaling.type",
    ];
    let mut executor = executor();
    for architecture in ALL {
        let mut scaled = tiny(architecture);
        let prefix = format!("{}.", architecture.name());
        scaled
            .set(&format!("{prefix}rope.scaling.type"), "yarn")
            .set(&format!("{prefix}rope.scaling.factor"), FixtureValue::F32(4.0));
        let present = scaled.keys.iter().filter_map(|(key, _)| key.strip_prefix(&prefix).map(str::to_owned));
        let keys: Vec<String> = present.chain(more.map(str::to_owned)).collect();
        let mut computed = 0;
        for key in keys {
            for value in &nonsense {
                let mut file = scaled.clone();
                file.set(&format!("{prefix}{key}"), value.clone());
                if plan_of(&file).is_ok() {
                    let (_folder, model) = written(&file);
                    let all = logits(&mut executor, &model, &[4, 5, 6, 7, 8, 9], 4);
                    assert_eq!(all.len(), 6, "{prefix}{key} = {value:?}");
                    computed += 1;
                }
            }
        }
        assert!(computed > 0, "{architecture:?}: some values are harmless");
    }
}

fn encoder(pooling: EncoderPooling) -> GgufWriter {
    tiny_encoder(&TinyEncoder { layers: 1, hidden: 32, ffn: 32, heads: 2, pooling, ..TinyEncoder::default() })
}

#[test]
fn an_encoder_refuses_by_name_what_changes_the_maths() {
    for pooling in [EncoderPooling::Mean, EncoderPooling::First, EncoderPooling::Last, EncoderPooling::Rank] {
        assert!(plan_of(&encoder(pooling)).is_ok(), "{pooling:?}");
    }
    let with = |key: &str, value: FixtureValue| {
        let mut file = encoder(EncoderPooling::Mean);
        file.set(&format!("bert.{key}"), value);
        plan_of(&file).unwrap_err().to_string()
    };
    for (key, value, says) in [
        ("attention.causal", FixtureValue::Bool(true), "`bert.attention.causal` changes"),
        ("pooling_type", FixtureValue::U32(0), "`bert.pooling_type` changes"),
        ("pooling_type", FixtureValue::U32(4), "`cls.output.weight` is missing"),
        ("rope.freq_base", FixtureValue::F32(1e4), "`bert.rope.freq_base` changes"),
        ("attention.head_count", FixtureValue::U32(3), "`bert.attention.head_count` has an impossible value"),
        ("context_length", FixtureValue::U32(64), "`position_embd.weight` has shape"),
        ("context_length", FixtureValue::U32(1 << 24), "a step would work in"),
        ("attention.layer_norm_epsilon", FixtureValue::F32(f32::NAN), "is not above zero"),
    ] {
        let message = with(key, value);
        assert!(message.contains(says), "{key}: {message}");
    }
    let mut file = encoder(EncoderPooling::Mean);
    file.remove("bert.pooling_type");
    assert!(matches!(plan_of(&file), Err(ModelError::MissingKey { .. })));
    file = encoder(EncoderPooling::Mean);
    file.push(FixtureTensor::vector("blk.0.ffn_gate.weight", 32, || 1.0));
    assert!(matches!(plan_of(&file), Err(ModelError::UnsupportedTensor { .. })));
}

#[test]
fn an_encoder_has_so_many_types_of_tokens() {
    let with = |types: u64| {
        let mut file = encoder(EncoderPooling::Mean);
        file.tensors.retain(|tensor| tensor.name != "token_types.weight");
        let mut table = FixtureTensor::vector("token_types.weight", 32 * types, || 0.5);
        table.dims = vec![32, types];
        file.push(table);
        plan_of(&file)
    };
    let most = u64::try_from(models::limits::TOKEN_TYPES_MAX).unwrap();
    with(1).unwrap();
    with(most).unwrap();
    let message = with(most + 1).unwrap_err().to_string();
    assert!(message.contains("17 types of tokens are not in 1..=16"), "{message}");
}

#[test]
fn an_encoder_that_ranks_has_one_label_and_types_of_tokens() {
    let mut file = encoder(EncoderPooling::Rank);
    file.tensors.retain(|tensor| tensor.name != "token_types.weight");
    let message = plan_of(&file).unwrap_err().to_string();
    assert!(message.contains("`bert.pooling_type`") && message.contains("types"), "{message}");
    file = encoder(EncoderPooling::Rank);
    file.tensor_mut("cls.output.weight").dims = vec![16, 2];
    assert!(matches!(plan_of(&file), Err(ModelError::TensorShape { .. })));
}
