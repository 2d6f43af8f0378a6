//! Tiny seeded models whose log-probabilities were once taken from llama.cpp: every architecture and every type.
//!
//! The example `peer_goldens` reads this file too: it writes these models and asks llama.cpp.

use loader::fixture::{Architecture, FixtureTensor, FixtureValue, GgufWriter, Output, Random, TinyModel, tiny_model};
use loader::gguf::TensorType;

/// Types that weights may have.
pub(crate) const TYPES: [TensorType; 15] = [
    TensorType::F32,
    TensorType::F16,
    TensorType::BF16,
    TensorType::Q4_0,
    TensorType::Q4_1,
    TensorType::Q5_0,
    TensorType::Q5_1,
    TensorType::Q8_0,
    TensorType::Q2K,
    TensorType::Q3K,
    TensorType::Q4K,
    TensorType::Q5K,
    TensorType::Q6K,
    TensorType::IQ4NL,
    TensorType::IQ4XS,
];

/// How many of the prompt's tokens each answer has seen: before, at and far past the windows.
pub(crate) const DEPTHS: [usize; 5] = [1, 16, 17, 40, 90];

/// A model and its name among the goldens.
pub(crate) struct PeerModel {
    pub(crate) name: String,
    pub(crate) file: GgufWriter,
}

/// All of them, in the order of the goldens.
pub(crate) fn peer_models() -> Vec<PeerModel> {
    let mut models: Vec<PeerModel> = TYPES.into_iter().map(of_type).collect();
    models.extend([linear(), yarn(), factors(), biases(), smollm3(), qwen2(), qwen3()]);
    models.extend([gemma3(), gemma3_with_a_pattern()]);
    models
}

/// The prompt: seeded ids of no control token.
pub(crate) fn prompt() -> Vec<u32> {
    let mut random = Random::new(90);
    (0..DEPTHS[DEPTHS.len() - 1]).map(|_| 3 + u32::try_from(random.below(256)).expect("a byte's id")).collect()
}

fn small() -> TinyModel {
    TinyModel { seed: 7, layers: 3, hidden: 96, ffn: 160, heads: 4, kv_heads: 2, ..TinyModel::default() }
}

fn named(name: &str, file: GgufWriter) -> PeerModel {
    PeerModel { name: name.to_owned(), file }
}

fn of_type(ty: TensorType) -> PeerModel {
    let shape = TinyModel { ty, seed: 8, hidden: 256, ffn: 512, layers: 2, ..small() };
    named(&format!("llama-{}", ty.name().to_lowercase()), tiny_model(&shape))
}

fn linear() -> PeerModel {
    let mut file = tiny_model(&small());
    file.set("llama.rope.scaling.type", "linear").set("llama.rope.scaling.factor", FixtureValue::F32(4.0));
    named("llama-linear", file)
}

fn yarn() -> PeerModel {
    let mut file = tiny_model(&small());
    file.set("llama.rope.scaling.type", "yarn")
        .set("llama.rope.scaling.factor", FixtureValue::F32(4.0))
        .set("llama.rope.scaling.original_context_length", FixtureValue::U32(128));
    named("llama-yarn", file)
}

/// Llama 3.1's way: divisors of the frequencies in a tensor.
fn factors() -> PeerModel {
    let mut file = tiny_model(&TinyModel { output: Output::Separate, ..small() });
    let mut factor = 0.5;
    file.push(FixtureTensor::vector("rope_freqs.weight", 12, || {
        factor += 0.5;
        factor
    }));
    named("llama-factors", file)
}

fn biases() -> PeerModel {
    let mut file = tiny_model(&small());
    let mut random = Random::new(9);
    for index in 0..3 {
        for (part, width) in [
            ("attn_q", 96),
            ("attn_k", 48),
            ("attn_v", 48),
            ("attn_output", 96),
            ("ffn_gate", 160),
            ("ffn_up", 160),
            ("ffn_down", 96),
        ] {
            file.push(FixtureTensor::vector(&format!("blk.{index}.{part}.bias"), width, || random.signed_unit()));
        }
    }
    named("llama-biases", file)
}

fn smollm3() -> PeerModel {
    named("smollm3", tiny_model(&TinyModel { architecture: Architecture::SmolLm3, layers: 5, ..small() }))
}

fn qwen2() -> PeerModel {
    named("qwen2", tiny_model(&TinyModel { architecture: Architecture::Qwen2, ..small() }))
}

fn qwen3() -> PeerModel {
    let shape = TinyModel { architecture: Architecture::Qwen3, head_dim: Some(32), ..small() };
    named("qwen3", tiny_model(&shape))
}

fn gemma3() -> PeerModel {
    let shape = TinyModel { architecture: Architecture::Gemma3, head_dim: Some(32), layers: 7, ..small() };
    let mut file = tiny_model(&shape);
    file.set("gemma3.attention.sliding_window", FixtureValue::U32(16))
        .set("gemma3.rope.freq_base", FixtureValue::F32(1_000_000.0))
        .set("gemma3.rope.scaling.type", "linear")
        .set("gemma3.rope.scaling.factor", FixtureValue::F32(8.0));
    named("gemma3", file)
}

fn gemma3_with_a_pattern() -> PeerModel {
    let shape = TinyModel { architecture: Architecture::Gemma3, layers: 4, ..small() };
    let mut file = tiny_model(&shape);
    file.set("gemma3.attention.sliding_window", FixtureValue::U32(8))
        .set("gemma3.attention.sliding_window_pattern", FixtureValue::U32(2))
        .set("gemma3.rope.freq_base_swa", FixtureValue::F32(500.0));
    named("gemma3-pattern", file)
}
