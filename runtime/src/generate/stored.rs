//! Requests that were answered before: looked for before anything is waited for, and answered without their model.
//!
//! A hit takes no place in the queue, no lease and no step, so that its model is neither brought in nor kept longer. It
//! is reserved and settled as any request, with nothing but its time on the receipt. It is settled before its first piece is
//! shown: there is nothing left that could be computed for it, or not.

use std::sync::Arc;
use std::time::Instant;

use loader::ArtifactIdentity;
use meter::receipt::{AnsweredFrom, Measured, MeasuredCpu, MeasuredMemory, MeasuredTimes, MeasuredTokens, StepSharing};
use meter::{KibMillis, Nanos, Outcome, Quality, Receipt, RequestCharge};
use models::Descriptor;
use models::generation::Echo;
use tokio::sync::mpsc;

use super::ending::ledger_error;
use super::{Answer, Asked, CacheUse, Finished, Piece, Prompt};
use crate::app::App;
use crate::contexts::Contexts;
use crate::http::error::ApiError;
use crate::http::record::RequestRecord;
use crate::http::wire::{CacheWish, Repeats};
use crate::limits::{ANSWER_PIECES_MAX, STALL_MAX};
use crate::loading::Models;
use crate::response_cache::{Key, Recorder, Served, StoredAnswer};
use crate::tenancy::Admission;

/// What there is for a request.
pub(super) enum Found {
    /// Its answer.
    Answer(Hit),
    /// Nothing yet: what is computed is taken down.
    Nothing(Recorder),
    /// It is not to be looked for, or what it asks for cannot be had, which is for the usual way to say.
    NotLookedFor,
}

/// A request's answer, and what its model is.
pub(super) struct Hit {
    answer: Arc<StoredAnswer>,
    model: Arc<str>,
    descriptor: Arc<Descriptor>,
}

/// Looks for a request's answer where the request or its tenant wants that.
pub(super) async fn look_up(app: &Arc<App>, asked: Asked) -> Result<(Asked, Found), ApiError> {
    let is_wanted = match asked.common.cache {
        CacheWish::Use => true,
        CacheWish::Avoid => false,
        CacheWish::Unsaid => app.config().response_cache.is_default_for(&asked.asker.access.tenant),
    };
    if asked.common.cache == CacheWish::Use && !app.responses.is_on() {
        return Err(ApiError::invalid_value("cache", "this server keeps no answers"));
    }
    // What is asked for the prompt's keys and values alone has no answer that could stand for them.
    let is_prompt_alone = asked.common.tokens_max == Some(0) && asked.echo == Echo::Nothing;
    if !is_wanted || is_prompt_alone || asked.common.repeats == Repeats::No || !app.responses.is_on() {
        return Ok((asked, Found::NotLookedFor));
    }
    // What an answer that is computed would be refused for.
    asked.urgency.priority(app.config().scheduler.priority_max(&asked.asker.access.tenant))?;
    let (models, contexts) = (Arc::clone(&app.models), Arc::clone(&app.contexts));
    let looked = tokio::task::spawn_blocking(move || {
        let place = Place::of(&asked, &models, &contexts);
        (asked, place)
    });
    let (asked, place) = looked.await.map_err(ApiError::internal)?;
    let Some(Place { key, identity, model, descriptor }) = place else { return Ok((asked, Found::NotLookedFor)) };
    let (found, came_to) = match app.responses.find(&key) {
        Some(answer) => (Found::Answer(Hit { answer, model, descriptor }), CacheUse::Hit),
        None => (Found::Nothing(Recorder::new(key, identity, asked.answers())), CacheUse::Miss),
    };
    app.metering.metrics().looked_for_response(came_to);
    Ok((asked, found))
}

/// Where a request's answer is, or would be.
struct Place {
    key: Key,
    identity: ArtifactIdentity,
    model: Arc<str>,
    descriptor: Arc<Descriptor>,
}

impl Place {
    /// None where there is no such model, or none that could answer. Blocks on the file system.
    fn of(asked: &Asked, models: &Models, contexts: &Contexts) -> Option<Self> {
        let entry = models.entry(&asked.common.model).ok().filter(|entry| asked.asker.access.may_use(&entry.name))?;
        let descriptor = models.descriptor(&entry.name).ok()?;
        let identity = descriptor.identity().clone();
        let template = models.chat_template(&entry.name);
        let named =
            asked.common.context.as_deref().map(|name| contexts.of_model(name, &entry.name)).transpose().ok()?;
        let context = named.as_ref().map(|context| context.id());
        let key = Key::of(asked, Served { model: &entry.name, identity: &identity, template, context });
        Some(Self { key, identity, model: entry.name.into(), descriptor })
    }
}

impl Asked {
    /// Answers that it asks for.
    fn answers(&self) -> usize {
        let prompts = match &self.prompt {
            Prompt::Messages(..) => 1,
            Prompt::Raw(inputs, _) => inputs.len(),
        };
        prompts.saturating_mul(self.common.choices)
    }
}

/// Answers with what is there already.
pub(super) fn answer(app: &Arc<App>, (asked, admission): (Asked, Admission), hit: Hit, arrived: Instant) -> Answer {
    let Hit { answer, model, descriptor } = hit;
    let (sender, pieces) = mpsc::channel(ANSWER_PIECES_MAX);
    let prompt_tokens = answer.prompt_tokens;
    let replay = Replay {
        admission,
        idempotency_key: asked.asker.idempotency_key,
        record: asked.asker.record,
        app: Arc::clone(app),
        id: asked.id,
        tenant: Arc::clone(&asked.asker.access.tenant),
        key_id: asked.asker.access.key_id(),
        model,
        arrived,
        answer,
        pieces: sender,
    };
    app.requests.spawn(replay.run());
    Answer { pieces, descriptor, prompt_tokens, is_cold: false, standing: None, cache: Some(CacheUse::Hit) }
}

/// An answer from the cache, followed to its end.
struct Replay {
    app: Arc<App>,
    id: String,
    tenant: Arc<str>,
    key_id: Option<Arc<str>>,
    model: Arc<str>,
    arrived: Instant,
    answer: Arc<StoredAnswer>,
    admission: Admission,
    idempotency_key: Option<Arc<str>>,
    record: Option<Arc<RequestRecord>>,
    pieces: mpsc::Sender<Piece>,
}

impl Replay {
    async fn run(mut self) {
        let end = match self.settled().await {
            Ok(receipt) => {
                self.record.iter().for_each(|record| record.is_settled(&receipt));
                self.admission.used(receipt.tokens.total);
                for output in self.answer.outputs() {
                    if !self.show(Piece::Output(output)).await {
                        return;
                    }
                }
                Ok(Finished { receipt: Box::new(receipt), rows: Vec::new() })
            }
            Err(error) => {
                self.record.iter().for_each(|record| record.has_failed(&error));
                Err(error)
            }
        };
        // Who has left needs no end.
        let _ = self.show(Piece::End(end)).await;
    }

    /// Whether the client took it in time.
    async fn show(&self, piece: Piece) -> bool {
        matches!(tokio::time::timeout(STALL_MAX, self.pieces.send(piece)).await, Ok(Ok(())))
    }

    /// Its row, from reservation to settlement.
    async fn settled(&self) -> Result<Receipt, ApiError> {
        let metering = &self.app.metering;
        let (named, payer) = ((&*self.id, self.idempotency_key.as_deref()), (&*self.tenant, self.key_id.as_deref()));
        let reserved = metering.reserve(named, payer, &self.model).await;
        reserved.unwrap_or(Err(ledger::LedgerError::Closed)).map_err(ledger_error)?;
        let StoredAnswer { prompt_tokens, completion_tokens, .. } = *self.answer;
        let measured = Measured {
            id: self.id.clone(),
            tenant: self.tenant.to_string(),
            key_id: self.key_id.as_deref().map(str::to_owned),
            model: self.model.to_string(),
            cold: false,
            outcome: Outcome::Completed,
            answered_from: AnsweredFrom::ResponseCache,
            tokens: MeasuredTokens {
                prompt: prompt_tokens,
                cached: prompt_tokens,
                completion: completion_tokens,
                ..MeasuredTokens::default()
            },
            times: MeasuredTimes { wall: self.arrived.elapsed().into(), ..MeasuredTimes::default() },
            cpu: MeasuredCpu::default(),
            memory: MeasuredMemory {
                weights: RequestCharge::default(),
                kv: KibMillis::ZERO,
                weights_bytes: 0,
                quality: Quality::Measured,
            },
            busy: Nanos::default(),
            kv_precision: None,
            sharing: StepSharing::WholeStep,
            routing: None,
        };
        // No device had any part in it.
        metering.settle(0, measured).await.map_err(ledger_error)
    }
}
