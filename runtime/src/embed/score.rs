//! Scores of pairs of texts: what a model that ranks makes of both, or how alike the vectors of a model that embeds are.

use std::sync::Arc;

use meter::Receipt;
use models::Descriptor;
use models::encoding::{Encoding, Passage};
use models::plan::Pooling;

use super::{Room, caller, encode, encoder, probability};
use crate::app::App;
use crate::generate::admit;
use crate::http::error::ApiError;
use crate::http::wire::{PromptInput, ScoreRequest};
use crate::limits::TOKEN_BYTES_ASSUMED;
use crate::tenancy::Asker;

/// A score for each pair, and the receipt, which is durable.
pub(crate) struct Scored {
    pub(crate) scores: Vec<f32>,
    pub(crate) receipt: Box<Receipt>,
}

/// Scores each pair of a request.
pub(crate) async fn score(app: &Arc<App>, asker: Asker, mut request: ScoreRequest) -> Result<Scored, ApiError> {
    let model = std::mem::take(&mut request.model);
    let tokens = |(_, one, other): (usize, &str, &str)| (one.len() + other.len()).div_ceil(TOKEN_BYTES_ASSUMED) as u64;
    let admission = admit(app, &asker, request.pairs().map(tokens).sum()).await?;
    let caller = caller("score", (asker, admission), model, (request.keep_alive, request.urgency));
    let request = Arc::new(request);
    let asked = Arc::clone(&request);
    let encoded = encode(app, caller, move |descriptor, context| {
        let plan = encoder(descriptor)?;
        let room = Room { context, tokens: 0 };
        let passages = match plan.pooling {
            Pooling::Rank(_) => pairs(&asked, room, descriptor)?,
            _ => texts(&asked, room, descriptor)?,
        };
        Ok(Encoding::new(passages, plan.finish))
    })
    .await?;
    let (rows, firsts) = (&encoded.rows, request.firsts.len());
    let scores = if rows.len() == request.seconds.len() {
        rows.iter().map(|row| probability(row[0])).collect()
    } else {
        // A row for each of the first texts, and one for each of the second.
        let pairs = request.pairs().zip(&rows[firsts..]);
        pairs.map(|((first, ..), second)| cosine(&rows[first], second)).collect()
    };
    Ok(Scored { scores, receipt: encoded.receipt })
}

/// Both texts of each pair together.
fn pairs(request: &ScoreRequest, mut room: Room, descriptor: &Descriptor) -> Result<Vec<Passage>, ApiError> {
    let query = |(index, text): (usize, &String)| room.ids(text, descriptor, &path("text_1", index, &request.firsts));
    let queries: Vec<Vec<u32>> = request.firsts.iter().enumerate().map(query).collect::<Result<_, _>>()?;
    let pair = |(index, (first, _, second)): (usize, (usize, &str, &str))| {
        room.pair(&queries[first], second, descriptor, &path("text_2", index, &request.seconds))
    };
    request.pairs().enumerate().map(pair).collect()
}

/// Each text alone, the first ones first.
fn texts(request: &ScoreRequest, mut room: Room, descriptor: &Descriptor) -> Result<Vec<Passage>, ApiError> {
    let mut passages = Vec::with_capacity(request.firsts.len() + request.seconds.len());
    for (name, texts) in [("text_1", &request.firsts), ("text_2", &request.seconds)] {
        for (index, text) in texts.iter().enumerate() {
            let input = PromptInput::Text(text.clone());
            passages.push(room.passage(input, descriptor, &path(name, index, texts))?);
        }
    }
    Ok(passages)
}

/// Where a text stands: one that stands alone was no list, or is all of it.
fn path(name: &str, index: usize, texts: &[String]) -> String {
    crate::http::wire::inputs::path(name, index, texts.len())
}

/// The cosine of the angle between two vectors; 0 where one has no direction.
fn cosine(one: &[f32], other: &[f32]) -> f32 {
    let product = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
    let lengths = (product(one, one) * product(other, other)).sqrt();
    if lengths > 0.0 { product(one, other) / lengths } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::cosine;

    #[test]
    fn a_cosine_is_of_directions_alone() {
        assert!((cosine(&[3.0, 0.0], &[0.5, 0.0]) - 1.0).abs() < 1e-6);
        assert!((cosine(&[1.0, 1.0], &[-2.0, -2.0]) + 1.0).abs() < 1e-6);
        assert!(cosine(&[1.0, 0.0], &[0.0, 4.0]).abs() < 1e-6);
        assert!(cosine(&[0.0, 0.0], &[1.0, 1.0]).abs() < 1e-6);
    }
}
