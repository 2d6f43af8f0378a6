//! Requests to encoders: texts that fit the model, and one answer when all of them are computed.
//!
//! They go the way of every request (`generate`): lease, reserve, queue, step after step between those of other models,
//! settle. Nothing is shown before the end, and a client that leaves cancels the steps that are left.
//!
//! Deliberately absent: how answers look on the wire (`http`); cutting a text that is too long, which is refused.

mod score;

use std::sync::Arc;
use std::time::Instant;

use meter::Receipt;
use models::Descriptor;
use models::encoding::{Encoding, Passage};
use models::plan::{EncoderPlan, Pooling};
use models::tokenizer::{Special, Start};
use scheduler::KeepAlive;
use uuid::Uuid;

pub(crate) use self::score::{Scored, score};
use crate::app::App;
use crate::generate::{Caller, Finished, Piece, Preparation, Work, admit, start};
use crate::http::error::ApiError;
use crate::http::wire::{EmbeddingRequest, PromptInput, RerankRequest, Urgency, inputs};
use crate::limits::{ENCODED_TEXT_BYTES_MAX, ENCODED_TOKENS_MAX, TOKEN_BYTES_ASSUMED};
use crate::tenancy::{Admission, Asker};

/// A vector for each text, and the receipt, which is durable.
pub(crate) struct Encoded {
    pub(crate) rows: Vec<Vec<f32>>,
    pub(crate) receipt: Box<Receipt>,
}

/// Numbers of documents with their scores from 0 to 1, the best first, and the receipt, which is durable.
pub(crate) struct Ranked {
    pub(crate) scores: Vec<(usize, f32)>,
    pub(crate) receipt: Box<Receipt>,
}

/// Makes a vector of each input.
pub(crate) async fn embed(app: &Arc<App>, asker: Asker, mut request: EmbeddingRequest) -> Result<Encoded, ApiError> {
    let model = std::mem::take(&mut request.model);
    let tokens = request.inputs.iter().map(PromptInput::tokens_estimated).sum();
    let admission = admit(app, &asker, tokens).await?;
    let caller = caller("embd", (asker, admission), model, (request.keep_alive, request.urgency));
    encode(app, caller, move |descriptor, context| {
        let plan = encoder(descriptor)?;
        if let Pooling::Rank(_) = plan.pooling {
            return Err(ApiError::wrong_model("this model ranks documents and gives no vectors: use /v1/rerank"));
        }
        if request.dimensions.is_some_and(|dimensions| dimensions != plan.hidden) {
            return Err(ApiError::unsupported_field("dimensions"));
        }
        let mut room = Room { context, tokens: 0 };
        let count = request.inputs.len();
        let passage = |(index, input)| room.passage(input, descriptor, &inputs::path("input", index, count));
        let passages: Vec<Passage> = request.inputs.into_iter().enumerate().map(passage).collect::<Result<_, _>>()?;
        Ok(Encoding::new(passages, plan.finish))
    })
    .await
}

/// Scores each document by what it has to do with the query.
pub(crate) async fn rank(app: &Arc<App>, asker: Asker, mut request: RerankRequest) -> Result<Ranked, ApiError> {
    let model = std::mem::take(&mut request.model);
    let of_documents = |document: &String| (request.query.len() + document.len()).div_ceil(TOKEN_BYTES_ASSUMED) as u64;
    let admission = admit(app, &asker, request.documents.iter().map(of_documents).sum()).await?;
    let caller = caller("rerank", (asker, admission), model, (request.keep_alive, request.urgency));
    let encoded = encode(app, caller, move |descriptor, context| {
        let plan = encoder(descriptor)?;
        if !matches!(plan.pooling, Pooling::Rank(_)) {
            return Err(ApiError::wrong_model("this model embeds texts and ranks no documents: use /v1/embeddings"));
        }
        let mut room = Room { context, tokens: 0 };
        let query = room.ids(&request.query, descriptor, "query")?;
        let pair = |(index, document): (usize, &String)| {
            room.pair(&query, document, descriptor, &format!("documents[{index}]"))
        };
        let passages: Vec<Passage> = request.documents.iter().enumerate().map(pair).collect::<Result<_, _>>()?;
        Ok(Encoding::new(passages, plan.finish))
    })
    .await?;
    Ok(Ranked { scores: ranked(&encoded.rows), receipt: encoded.receipt })
}

/// Numbers of rows with their scores, the best first, and of equal ones the first.
fn ranked(rows: &[Vec<f32>]) -> Vec<(usize, f32)> {
    let mut logits: Vec<(usize, f32)> = rows.iter().map(|row| row[0]).enumerate().collect();
    // Probabilities near 1 are alike where logits are not.
    logits.sort_by(|a, b| b.1.total_cmp(&a.1));
    logits.into_iter().map(|(index, logit)| (index, probability(logit))).collect()
}

/// The logistic function: what cross-encoders of one label are trained with.
fn probability(logit: f32) -> f32 {
    1.0 / (1.0 + (-logit).exp())
}

/// Who asks now, under an id that begins with `prefix`.
fn caller(
    prefix: &str,
    (asker, admission): (Asker, Admission),
    model: String,
    (keep_alive, urgency): (Option<KeepAlive>, Urgency),
) -> Caller {
    let id = format!("{prefix}-{}", Uuid::now_v7().simple());
    Caller { arrived: Instant::now(), id, asker, admission, model, keep_alive, urgency, recorder: None }
}

fn encoder(descriptor: &Descriptor) -> Result<&EncoderPlan, ApiError> {
    descriptor.encoder().ok_or_else(|| {
        let why = "this model goes on with texts and makes no vectors or scores of them: it serves \
                   /v1/chat/completions and /v1/completions";
        ApiError::wrong_model(why)
    })
}

async fn encode(
    app: &Arc<App>,
    caller: Caller,
    prepare: impl FnOnce(&Descriptor, usize) -> Result<Encoding, ApiError> + Send + 'static,
) -> Result<Encoded, ApiError> {
    let prepare =
        |preparation: &Preparation<'_>| prepare(preparation.descriptor, preparation.positions_max).map(Work::Encode);
    let mut answer = start(app, caller, prepare).await?;
    loop {
        match answer.next().await {
            // An encoder's steps show nothing.
            Piece::Output(_) => {}
            Piece::End(end) => {
                return end.map(|Finished { receipt, rows }| Encoded { rows, receipt });
            }
        }
    }
}

/// What a request's texts may still take.
struct Room {
    /// Tokens of one text.
    context: usize,
    /// Tokens of all texts so far.
    tokens: usize,
}

impl Room {
    /// One input, as the tokens that the model sees.
    fn passage(&mut self, input: PromptInput, descriptor: &Descriptor, param: &str) -> Result<Passage, ApiError> {
        let tokens = match input {
            PromptInput::Text(text) => self.ids(&text, descriptor, param)?,
            PromptInput::Ids(ids) => match ids.iter().find(|&&id| id as usize >= descriptor.tokenizer.len()) {
                Some(id) => return Err(ApiError::invalid_value(param, format!("{id} is not a token of this model"))),
                None => ids,
            },
        };
        self.checked(tokens.len(), param)?;
        Ok(Passage::of_tokens(tokens))
    }

    /// A pair of the query's tokens and a document.
    fn pair(
        &mut self,
        query: &[u32],
        document: &str,
        descriptor: &Descriptor,
        param: &str,
    ) -> Result<Passage, ApiError> {
        check_bytes(document, param)?;
        let pair = Passage::of_pair(query, document, &descriptor.tokenizer, self.context);
        let pair = pair.map_err(ApiError::internal)?;
        self.checked(pair.tokens().len(), param)?;
        Ok(pair)
    }

    /// Ids of a text with what the model puts around it: at most one more than fit.
    fn ids(&self, text: &str, descriptor: &Descriptor, param: &str) -> Result<Vec<u32>, ApiError> {
        check_bytes(text, param)?;
        let ids = descriptor.tokenizer.encode_up_to(text, Special::Plain, Start::AsModel, self.context);
        let ids = ids.map_err(ApiError::internal)?;
        if ids.is_empty() {
            return Err(ApiError::invalid_value(param, "it has no tokens"));
        }
        self.check_context(ids.len(), param)?;
        Ok(ids)
    }

    /// Counts a text's tokens.
    fn checked(&mut self, tokens: usize, param: &str) -> Result<(), ApiError> {
        self.check_context(tokens, param)?;
        self.tokens += tokens;
        if self.tokens > ENCODED_TOKENS_MAX {
            let why = format_args!("all texts of a request together may have {ENCODED_TOKENS_MAX} tokens");
            return Err(ApiError::invalid_value(param, why));
        }
        Ok(())
    }

    fn check_context(&self, tokens: usize, param: &str) -> Result<(), ApiError> {
        if tokens > self.context {
            let why = format_args!("the text has {tokens} tokens or more; the context has {}", self.context);
            return Err(ApiError::context_length_exceeded(param, why));
        }
        Ok(())
    }
}

/// Refuses a text that tokenizing would take much memory for. How many tokens it has is no matter of its bytes: a word
/// that is not known is one token, however long.
fn check_bytes(text: &str, param: &str) -> Result<(), ApiError> {
    if text.len() > ENCODED_TEXT_BYTES_MAX {
        let why = format_args!("the text has {} bytes; {ENCODED_TEXT_BYTES_MAX} are read", text.len());
        return Err(ApiError::context_length_exceeded(param, why));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{ENCODED_TOKENS_MAX, Room, probability, ranked};

    #[test]
    fn all_texts_together_have_so_many_tokens() {
        let mut room = Room { context: ENCODED_TOKENS_MAX, tokens: 0 };
        room.checked(ENCODED_TOKENS_MAX - 3, "input").unwrap();
        room.checked(3, "input").unwrap();
        let error = room.checked(1, "input").unwrap_err().envelope();
        assert_eq!((&error["error"]["code"], &error["error"]["param"]), (&"invalid_value".into(), &"input".into()));
        assert!(error["error"]["message"].as_str().unwrap().contains("together may have 1048576 tokens"), "{error}");
    }

    #[test]
    fn the_best_come_first_though_their_probabilities_are_one() {
        let order: Vec<usize> =
            ranked(&[vec![18.0], vec![25.0], vec![-3.0], vec![25.0]]).into_iter().map(|(index, _)| index).collect();
        assert_eq!(order, [1, 3, 0, 2]);
    }

    #[test]
    fn scores_are_probabilities() {
        assert!((probability(0.0) - 0.5).abs() < 1e-7 && (probability(2.0) - 0.880_797).abs() < 1e-6);
        assert!(probability(-200.0) >= 0.0 && probability(200.0) <= 1.0);
    }
}
