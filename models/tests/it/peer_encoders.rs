//! Tiny seeded encoders whose vectors and scores were once taken from llama.cpp.
//!
//! The example `peer_embeddings` reads this file too: it writes these models and asks llama.cpp.

use loader::fixture::{EncoderPooling, GgufWriter, Random, TinyEncoder, tiny_encoder};
use loader::gguf::TensorType;

/// `[CLS]` and `[SEP]` of the fixture.
const AROUND: (u32, u32) = (2, 3);
/// Words and pieces of its vocabulary that are no control tokens.
const WORDS: std::ops::Range<u32> = 5..93;
/// Tokens of each text, the first and the last included: from nothing but those to the whole context, and past what one
/// block of keys and one register hold.
const LENGTHS: [usize; 6] = [2, 3, 16, 33, 100, 128];

/// An encoder and its name among the goldens.
pub(crate) struct PeerEncoder {
    pub(crate) name: &'static str,
    pub(crate) pooling: EncoderPooling,
    pub(crate) file: GgufWriter,
}

/// All of them, in the order of the goldens.
pub(crate) fn peer_encoders() -> Vec<PeerEncoder> {
    let encoder = |name, pooling, ty| {
        let shape =
            TinyEncoder { seed: 21, layers: 3, hidden: 96, ffn: 160, heads: 4, ty, pooling, ..TinyEncoder::default() };
        PeerEncoder { name, pooling, file: tiny_encoder(&shape) }
    };
    vec![
        encoder("mean-f32", EncoderPooling::Mean, TensorType::F32),
        encoder("mean-f16", EncoderPooling::Mean, TensorType::F16),
        encoder("mean-q8_0", EncoderPooling::Mean, TensorType::Q8_0),
        encoder("first-f32", EncoderPooling::First, TensorType::F32),
        encoder("last-f32", EncoderPooling::Last, TensorType::F32),
        encoder("rank-f32", EncoderPooling::Rank, TensorType::F32),
    ]
}

/// Seeded ids of each text.
pub(crate) fn texts() -> Vec<Vec<u32>> {
    let mut random = Random::new(77);
    let mut word = || WORDS.start + u32::try_from(random.below(WORDS.len())).expect("an id");
    let mut text = |length: usize| [vec![AROUND.0], (2..length).map(|_| word()).collect(), vec![AROUND.1]].concat();
    LENGTHS.map(&mut text).to_vec()
}

/// A query, and documents to be ranked by it.
pub(crate) const QUERY: &str = "hello, may the day lives?";
pub(crate) const DOCUMENTS: [&str; 5] = [
    "the mayfly lives for the day.",
    "a",
    "modeling and modeled models, for 2 worlds!",
    "hello hello hello hello hello hello hello hello hello hello",
    "what is not in the vocabulary is spelled, letter by letter: zygote 12345",
];
