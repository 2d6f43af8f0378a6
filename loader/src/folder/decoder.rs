//! Configurations of decoders to GGUF's keys, as llama.cpp's converter writes them.

use super::config::Config;
use super::rope::{self, Target};
use super::{Class, FolderError};
use crate::gguf::Assembly;

/// What distinguishes the classes of decoders here.
#[derive(Clone, Copy, Debug)]
pub(super) struct Family {
    /// `general.architecture`.
    pub(super) architecture: &'static str,
    model_type: &'static str,
    activation: (&'static str, &'static [&'static str]),
    rope_base: f32,
    tied_by_default: bool,
    biases: Biases,
}

/// Which products have biases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Biases {
    Never,
    /// Queries, keys and values always.
    QueryKeyValue,
    /// All of attention by `attention_bias`.
    Attention,
    /// That, and all of the feed-forward network by `mlp_bias`.
    AttentionAndFeedForward,
}

const SILU: (&str, &[&str]) = ("hidden_act", &["silu", "swish"]);
/// Gemma's old configurations have `hidden_act` beside it, which its class does not read.
const GELU: (&str, &[&str]) = ("hidden_activation", &["gelu_pytorch_tanh"]);

impl Family {
    /// The family of a class, `None` for those that are no decoders.
    pub(super) fn of(class: Class) -> Option<Self> {
        let llama = Self {
            architecture: "llama",
            model_type: "llama",
            activation: SILU,
            rope_base: 10_000.0,
            tied_by_default: false,
            biases: Biases::AttentionAndFeedForward,
        };
        Some(match class {
            Class::Llama => llama,
            Class::Mistral => Self { model_type: "mistral", biases: Biases::Never, ..llama },
            Class::SmolLm3 => Self {
                architecture: "smollm3",
                model_type: "smollm3",
                rope_base: 2_000_000.0,
                tied_by_default: true,
                ..llama
            },
            Class::Qwen2 => Self { architecture: "qwen2", model_type: "qwen2", biases: Biases::QueryKeyValue, ..llama },
            Class::Qwen3 => Self { architecture: "qwen3", model_type: "qwen3", biases: Biases::Attention, ..llama },
            Class::Gemma3 => Self {
                architecture: "gemma3",
                model_type: "gemma3_text",
                activation: GELU,
                rope_base: 1_000_000.0,
                tied_by_default: true,
                biases: Biases::Attention,
            },
            Class::Bert | Class::BertForSequenceClassification => return None,
        })
    }
}

/// Sizes that more than one key depends on.
#[derive(Clone, Copy, Debug)]
struct Sizes {
    layers: u32,
    hidden: u32,
    heads: u32,
    head_dim: Option<u32>,
}

/// What the tensors must agree with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Promises {
    /// Whether the head is the embedding.
    pub(super) is_tied: bool,
    query_key_value: bool,
    attention_output: bool,
    feed_forward: bool,
}

/// Writes a decoder's keys.
pub(super) fn translate(
    config: &mut Config,
    (class, family): (Class, Family),
    out: &mut Assembly,
) -> Result<Promises, FolderError> {
    let key = |name: &str| format!("{}.{name}", family.architecture);
    config.only_texts("model_type", &[family.model_type])?;
    let (activation, allowed) = family.activation;
    if !config.has(activation) {
        return Err(config.missing(activation));
    }
    config.only_texts(activation, allowed)?;
    let sizes = Sizes {
        layers: config.u32("num_hidden_layers")?,
        hidden: config.u32("hidden_size")?,
        heads: config.u32("num_attention_heads")?,
        head_dim: config.optional_u32("head_dim")?,
    };
    let Sizes { layers, hidden, heads, head_dim } = sizes;
    out.u32(&key("block_count"), layers);
    out.u32(&key("context_length"), config.u32("max_position_embeddings")?);
    out.u32(&key("embedding_length"), hidden);
    out.u32(&key("feed_forward_length"), config.u32("intermediate_size")?);
    out.u32(&key("attention.head_count"), heads);
    let kv_heads = match class {
        Class::Llama => config.optional_u32("num_key_value_heads")?.unwrap_or(heads),
        _ => config.u32("num_key_value_heads")?,
    };
    out.u32(&key("attention.head_count_kv"), kv_heads);
    if let Some(width) = head_dim {
        out.u32(&key("attention.key_length"), width);
        out.u32(&key("attention.value_length"), width);
    } else if matches!(class, Class::Qwen3 | Class::Gemma3) {
        return Err(config.missing("head_dim"));
    }
    out.f32(&key("attention.layer_norm_rms_epsilon"), config.f32("rms_norm_eps")?);
    out.u32(&key("vocab_size"), config.u32("vocab_size")?);
    config.only_number("partial_rotary_factor", 1.0)?;
    match class {
        Class::Gemma3 => gemma3(config, sizes, out)?,
        _ => rope::translate(config, Target { architecture: family.architecture, base: family.rope_base }, out)?,
    }
    windows(config, class, out)?;
    if class == Class::SmolLm3 {
        without_positions(config, layers)?;
    }
    promises(config, family)
}

fn promises(config: &mut Config, family: Family) -> Result<Promises, FolderError> {
    let is_tied = config.optional_bool("tie_word_embeddings")?.unwrap_or(family.tied_by_default);
    let attention = match family.biases {
        Biases::Never | Biases::QueryKeyValue => false,
        _ => config.optional_bool("attention_bias")?.unwrap_or(false),
    };
    let feed_forward = match family.biases {
        Biases::AttentionAndFeedForward => config.optional_bool("mlp_bias")?.unwrap_or(false),
        _ => false,
    };
    Ok(Promises {
        is_tied,
        query_key_value: attention || family.biases == Biases::QueryKeyValue,
        attention_output: attention,
        feed_forward,
    })
}

impl Promises {
    /// Refuses a head or biases that are missing, and biases that the model's own class would not use.
    pub(super) fn check(self, out: &Assembly) -> Result<(), FolderError> {
        if !self.is_tied && !out.has_tensor("output.weight") {
            return Err(FolderError::MissingTensor { tensor: "lm_head.weight".to_owned() });
        }
        for name in out.tensor_names() {
            let Some((stem, part)) = name.rsplit_once('.').filter(|_| name.starts_with("blk.")) else { continue };
            let biased = match stem.rsplit('.').next() {
                Some("attn_q" | "attn_k" | "attn_v") => self.query_key_value,
                Some("attn_output") => self.attention_output,
                Some("ffn_gate" | "ffn_up" | "ffn_down") => self.feed_forward,
                _ => false,
            };
            let bias = format!("{stem}.bias");
            if part == "weight" && biased && !out.has_tensor(&bias) {
                return Err(FolderError::MissingTensor { tensor: bias });
            }
            if part == "bias" && !biased {
                return Err(FolderError::UnusedTensor { tensor: bias });
            }
        }
        Ok(())
    }
}

/// Sliding windows of all layers: Mistral's own, and what must be off elsewhere.
fn windows(config: &mut Config, class: Class, out: &mut Assembly) -> Result<(), FolderError> {
    match class {
        Class::Gemma3 => return Ok(()),
        Class::Mistral => {
            if let Some(window) = config.optional_u32("sliding_window")? {
                out.u32("llama.attention.sliding_window", window);
            }
        }
        // These read the window only where `use_sliding_window` is true, which is refused.
        Class::Qwen2 | Class::Qwen3 | Class::SmolLm3 => {
            config.optional_u32("sliding_window")?;
            config.optional_u32("max_window_layers")?;
        }
        _ => {}
    }
    match config.texts("layer_types")?.unwrap_or_default().into_iter().find(|kind| kind != "full_attention") {
        Some(kind) => Err(config.unsupported("layer_types", kind)),
        None => Ok(()),
    }
}

/// SmolLM3's layers without positions: every fourth, which no key of GGUF could say otherwise.
fn without_positions(config: &mut Config, layers: u32) -> Result<(), FolderError> {
    const INTERVAL: u32 = 4;
    const LISTED: &str = "no_rope_layers";
    config.only_number("no_rope_layer_interval", 4.0)?;
    let Some(listed) = config.take(LISTED) else { return Ok(()) };
    let listed: Vec<u8> = serde_json::from_value(listed).map_err(|_| config.wrong_type(LISTED, "list of 0 and 1"))?;
    let expected = (1..=layers).map(|layer| u8::from(layer % INTERVAL != 0));
    if listed.len() != layers as usize || !listed.iter().copied().eq(expected) {
        return Err(config.unsupported(LISTED, "that is not every fourth layer"));
    }
    Ok(())
}

/// Layers of Gemma 3's largest model, whose scores are scaled otherwise.
const LAYERS_OF_27B: u32 = 62;

/// Gemma 3's windows, its two ropes and its scale.
fn gemma3(config: &mut Config, sizes: Sizes, out: &mut Assembly) -> Result<(), FolderError> {
    out.u32("gemma3.attention.sliding_window", config.u32("sliding_window")?);
    let every = match config.optional_u32("sliding_window_pattern")? {
        Some(every) => Some(every),
        None => config.optional_u32("_sliding_window_pattern")?,
    };
    config.take("_sliding_window_pattern");
    match config.texts("layer_types")? {
        Some(kinds) => {
            let is_local = |kind: &String| match kind.as_str() {
                "sliding_attention" => Ok(true),
                "full_attention" => Ok(false),
                other => Err(config.unsupported("layer_types", other)),
            };
            let pattern: Vec<bool> = kinds.iter().map(is_local).collect::<Result<_, _>>()?;
            out.bools("gemma3.attention.sliding_window_pattern", &pattern);
        }
        None => out.u32("gemma3.attention.sliding_window_pattern", every.unwrap_or(6)),
    }
    gemma3_ropes(config, out)?;
    // The class does not read it; the other key is its own.
    config.take("hidden_act");
    let scale = config.f32("query_pre_attn_scalar")?;
    // A reader of GGUF takes the head's width, or for the largest model the hidden state's share.
    let expected = if sizes.layers == LAYERS_OF_27B { sizes.hidden.checked_div(sizes.heads) } else { sizes.head_dim };
    #[expect(clippy::cast_precision_loss, clippy::float_cmp, reason = "a small integer in both")]
    match expected {
        Some(expected) if expected as f32 == scale => Ok(()),
        _ => Err(config.unsupported("query_pre_attn_scalar", scale)),
    }
}

/// The rope of layers that see everything, and the base of the others'.
fn gemma3_ropes(config: &mut Config, out: &mut Assembly) -> Result<(), FolderError> {
    const LOCAL: &str = "gemma3.rope.freq_base_swa";
    const LOCAL_BASE: f32 = 10_000.0;
    let target = Target { architecture: "gemma3", base: 1_000_000.0 };
    let local = config.optional_f32("rope_local_base_freq")?.unwrap_or(LOCAL_BASE);
    let Some(mut nested) = config.object("rope_parameters")? else {
        out.f32(LOCAL, local);
        return rope::translate(config, target, out);
    };
    let full = nested.object("full_attention")?.ok_or_else(|| nested.missing("full_attention"))?;
    rope::parameters(full, target, out)?;
    let mut sliding = nested.object("sliding_attention")?.ok_or_else(|| nested.missing("sliding_attention"))?;
    sliding.only_texts("rope_type", &["default"])?;
    out.f32(LOCAL, sliding.optional_f32("rope_theta")?.unwrap_or(local));
    sliding.finish()?;
    nested.finish()
}
