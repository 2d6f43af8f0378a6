//! Encoders: both executors, against llama.cpp's vectors and scores of the same tiny files, and against each other.
//!
//! Goldens are of llama.cpp 11434 by the example `peer_embeddings`; to be taken anew when a fixture changes. llama.cpp
//! gives every token of a pair the first type and no last `[SEP]`, so its scores are of such pairs; those that BERT was
//! trained with are held to candle.

use loader::fixture::EncoderPooling;
use models::encoding::{Encoding, Passage};
use models::tokenizer::{Special, Start};
use models::{Executor, Model};
use serde_json::Value;

use crate::peer_encoders::{DOCUMENTS, PeerEncoder, QUERY, peer_encoders, texts};
use crate::support::{executor, written};

/// What a request for these passages is answered.
pub(crate) fn rows(executor: &mut Executor, model: &Model, passages: Vec<Passage>) -> Vec<Vec<f32>> {
    let mut encoding = Encoding::new(passages, model.encoder().finish);
    while !encoding.is_done() {
        let rows = executor.encode(model, &encoding.batch()).to_vec();
        encoding.absorb(&rows).unwrap();
    }
    encoding.into_rows()
}

/// Pairs as llama.cpp lays them out.
fn plain_pairs(model: &Model) -> Vec<Passage> {
    let tokenizer = &model.descriptor().tokenizer;
    let query = tokenizer.encode(QUERY, Special::Plain, Start::AsModel).unwrap();
    let tokens = |document: &str| tokenizer.encode(document, Special::Plain, Start::Bare).unwrap();
    DOCUMENTS.map(|document| Passage::of_tokens([query.clone(), tokens(document)].concat())).to_vec()
}

fn passages(pooling: EncoderPooling, model: &Model) -> Vec<Passage> {
    match pooling {
        EncoderPooling::Rank => plain_pairs(model),
        _ => texts().into_iter().map(Passage::of_tokens).collect(),
    }
}

/// How far a number may stand from llama.cpp's. Its GELU is tanh's approximation, from a table of halves. Where weights
/// are quantized both round activations to 8 bits; beside halves llama.cpp rounds them to the same.
fn bound(name: &str) -> f64 {
    match name {
        "mean-q8_0" => 4e-3,
        "rank-f32" => 6e-4,
        _ => 2e-4,
    }
}

#[test]
fn vectors_and_scores_agree_with_llama_cpps() {
    let goldens: Value = serde_json::from_str(include_str!("../goldens/encoders.json")).unwrap();
    let mut executor = executor();
    let encoders = peer_encoders();
    assert_eq!(encoders.len(), goldens.as_object().unwrap().len());
    for PeerEncoder { name, pooling, file } in encoders {
        let (_folder, model) = written(&file);
        let ours = rows(&mut executor, &model, passages(pooling, &model));
        let golden: Vec<f64> = match pooling {
            EncoderPooling::Rank => numbers(&goldens[name]),
            _ => goldens[name].as_array().unwrap().iter().flat_map(numbers).collect(),
        };
        let ours: Vec<f32> = ours.concat();
        assert_eq!(ours.len(), golden.len(), "{name}");
        let most = ours.iter().zip(&golden).map(|(ours, golden)| (f64::from(*ours) - golden).abs()).fold(0.0, f64::max);
        println!("{name}: |Δ| {most:.6} at most");
        assert!(most <= bound(name), "{name}: |Δ| {most:.6} at most");
    }
}

fn numbers(list: &Value) -> Vec<f64> {
    list.as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
}

#[test]
fn both_executors_agree() {
    let mut executor = executor();
    for PeerEncoder { name, pooling, file } in peer_encoders() {
        let (_folder, model) = written(&file);
        let tokenizer = &model.descriptor().tokenizer;
        let mut passages = passages(pooling, &model);
        if pooling == EncoderPooling::Rank {
            let query = tokenizer.encode(QUERY, Special::Plain, Start::AsModel).unwrap();
            passages.extend(DOCUMENTS.map(|document| Passage::of_pair(&query, document, tokenizer, 128).unwrap()));
        }
        for passage in &passages {
            let theirs = models::reference::encode(&model, passage).unwrap();
            let ours = executor.encode(&model, &[passage]);
            assert_eq!(ours.len(), theirs.len());
            let most = ours.iter().zip(&theirs).map(|(ours, theirs)| (ours - theirs).abs()).fold(0.0, f32::max);
            let bound = if name.contains("-q") { 0.05 } else { 2e-5 };
            assert!(most < bound, "{name}, {} tokens: |Δ| {most} at most", passage.tokens().len());
        }
    }
}

#[test]
fn a_text_alone_is_the_same_as_in_a_batch() {
    let mut executor = executor();
    for PeerEncoder { name, pooling, file } in peer_encoders() {
        let (_folder, model) = written(&file);
        let passages = passages(pooling, &model);
        let alone: Vec<Vec<f32>> =
            passages.iter().map(|passage| rows(&mut executor, &model, vec![passage.clone()]).remove(0)).collect();
        assert_eq!(rows(&mut executor, &model, passages), alone, "{name}");
    }
}

#[test]
fn a_pair_is_both_texts_with_their_ends_and_types() {
    let rank = peer_encoders().remove(5);
    let (_folder, model) = written(&rank.file);
    let tokenizer = &model.descriptor().tokenizer;
    let ids = |text: &str| tokenizer.encode(text, Special::Plain, Start::Bare).unwrap();
    let query = tokenizer.encode("hello [SEP]", Special::Plain, Start::AsModel).unwrap();
    let pair = Passage::of_pair(&query, "the day", tokenizer, 128).unwrap();
    let expected = [vec![2], ids("hello [SEP]"), vec![3], ids("the day"), vec![3]].concat();
    assert_eq!(pair.tokens(), expected);
    assert_eq!(expected.iter().filter(|&&id| id == 3).count(), 2, "what a text spells is no control token");
    let second_from = expected.iter().position(|&id| id == 3).unwrap() + 1;
    let types: Vec<usize> = (0..expected.len()).map(|position| pair.token_type(position)).collect();
    assert!(types[..second_from].iter().all(|&ty| ty == 0) && types[second_from..].iter().all(|&ty| ty == 1));
    let scores = |passage| rows(&mut executor(), &model, vec![passage]);
    assert_ne!(scores(pair.clone()), scores(Passage::of_tokens(expected)), "the types count");
    for (document, fits) in [("b", true), ("b b b b", true), ("b b b b b", false), ("b b b b b b b b b b", false)] {
        let pair = Passage::of_pair(&[2, 5, 3], document, tokenizer, 8).unwrap();
        assert_eq!(pair.tokens().len() <= 8, fits, "{document}");
    }
}
