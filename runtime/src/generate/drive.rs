//! Follows a queued request to its end, whether the client stays or not.
//!
//! Nothing is shown before the reservation is durable, and the end is shown only when the settlement is. A client that
//! leaves, or that takes nothing for too long, cancels the request; what was computed is charged all the same.

use std::sync::Arc;
use std::time::{Duration, Instant};

use kernels::KvBlock;
use ledger::LedgerError;
use meter::Measured;
use meter::receipt::{AnsweredFrom, MeasuredCpu, MeasuredTimes, MeasuredTokens};
use models::generation::TokenCounts;
use scheduler::{Event, Outcome, RequestTiming, Ticket};
use tokio::sync::{mpsc, oneshot};

use super::checkpoints::Checkpoints;
use super::ending::{ended, ledger_error};
use super::{Finished, Piece};
use crate::app::{App, Lease};
use crate::contexts::{Publication, Written};
use crate::devices::Follow;
use crate::engine::{DeviceEngine, Released, Sequence, StepFault};
use crate::http::error::ApiError;
use crate::http::record::RequestRecord;
use crate::limits::STALL_MAX;
use crate::loading::{LoadError, Trust};
use crate::metering::{Stay, StayCharge};
use crate::response_cache::Recorder;
use crate::tenancy::Admission;

pub(super) struct Drive {
    pub(super) app: Arc<App>,
    pub(super) id: String,
    pub(super) tenant: Arc<str>,
    /// Of the key that it came by.
    pub(super) key_id: Option<Arc<str>>,
    /// Where what becomes of it is noted for the log.
    pub(super) record: Option<Arc<RequestRecord>>,
    pub(super) device: usize,
    pub(super) model: Arc<str>,
    /// Where there was a choice of devices.
    pub(super) follow: Option<Follow>,
    pub(super) is_cold: bool,
    pub(super) arrived: Instant,
    pub(super) load_wait: Duration,
    /// None once it is over.
    pub(super) stay: Option<Stay>,
    /// What it took of rates and budgets, until it is settled.
    pub(super) admission: Admission,
    pub(super) ticket: Ticket<DeviceEngine>,
    pub(super) reserved: oneshot::Receiver<Result<(), LedgerError>>,
    /// Takes down what is shown, where it may be given again.
    pub(super) recorder: Option<Recorder>,
    pub(super) checkpoints: Checkpoints,
    pub(super) pieces: mpsc::Sender<Piece>,
    /// What becomes of the prompt's blocks, where they are everyone's.
    pub(super) publication: Option<Box<Publication>>,
    /// Once the sequence has ended, which may be before the client has taken what it showed.
    pub(super) over: Option<Over>,
}

/// An ended sequence, when what it held was let go.
pub(super) struct Over {
    /// What a publication kept, or why not.
    written: Result<Option<Written>, ApiError>,
    outcome: Outcome<StepFault>,
    timing: RequestTiming,
    counts: TokenCounts,
    charge: StayCharge,
    released: Released,
    weights_bytes: u64,
    kv_precision: Option<&'static str>,
}

/// Whether the client still takes pieces.
enum Client {
    Listening,
    Gone,
    /// The ledger took no reservation: nothing may be shown.
    Refused(LedgerError),
}

type Completion = scheduler::Completion<DeviceEngine>;

impl Drive {
    pub(super) async fn run(mut self) {
        let mut client = self.reservation().await;
        if !matches!(client, Client::Listening) {
            self.ticket.cancel();
        }
        let (mut brings_in, mut is_asked_for, mut has_token) = (self.is_cold, false, false);
        let completion = loop {
            let event = tokio::select! {
                event = self.ticket.recv() => event,
                () = self.checkpoints.due(), if !matches!(client, Client::Refused(_)) => {
                    self.leave_checkpoint();
                    continue;
                }
                () = self.pieces.closed(), if matches!(client, Client::Listening) => {
                    client = Client::Gone;
                    self.ticket.cancel();
                    continue;
                }
            };
            // The first of it, or the last: what its steps brought in has to be known before it is charged.
            match &event {
                Some(Event::Done(_)) if std::mem::take(&mut brings_in) => {
                    let metering = Arc::clone(&self.app.metering);
                    // Fails when the server ends.
                    let _ = tokio::task::spawn_blocking(move || metering.ask_for_residency()).await;
                }
                Some(Event::Output(_)) if brings_in && !std::mem::replace(&mut is_asked_for, true) => {
                    self.app.metering.ask_for_residency_soon();
                }
                _ => {}
            }
            if matches!(event, Some(Event::Output(_))) {
                if !std::mem::replace(&mut has_token, true) {
                    self.has_first_token();
                }
                self.follow.iter().for_each(Follow::token);
            }
            match event {
                Some(Event::Output(output)) if matches!(client, Client::Listening) => {
                    if let Some(recorder) = &mut self.recorder {
                        recorder.push(&output);
                    }
                    if !self.show(Piece::Output(output)).await {
                        client = Client::Gone;
                        self.ticket.cancel();
                    }
                }
                Some(Event::Output(_)) => {}
                Some(Event::Done(completion)) => break Some(*completion),
                None => break None,
            }
        };
        match (completion, self.over.take(), client) {
            (Some(completion), _, Client::Refused(error)) => self.refuse(completion, error).await,
            (Some(completion), _, client) => {
                let over = self.let_go(completion).await;
                self.settle(over, client).await;
            }
            (None, Some(over), client) => self.settle(over, client).await,
            (None, None, _) => tracing::error!(id = self.id, "the executor dropped a request"),
        }
    }

    /// Its first token is there.
    fn has_first_token(&self) {
        let after = self.arrived.elapsed();
        self.app.metering.metrics().first_token(&self.model, self.is_cold, after);
        self.record.iter().for_each(|record| record.has_first_token(after));
    }

    /// Waits until the reservation is durable, or the client has left.
    async fn reservation(&mut self) -> Client {
        match (&mut self.reserved).await.unwrap_or(Err(LedgerError::Closed)) {
            Ok(()) if self.pieces.is_closed() => Client::Gone,
            Ok(()) => Client::Listening,
            Err(error) => Client::Refused(error),
        }
    }

    /// Whether the client took it in time. What the sequence held goes meanwhile, if that ends.
    async fn show(&mut self, piece: Piece) -> bool {
        let piece = match self.pieces.try_send(piece) {
            Ok(()) => return true,
            Err(mpsc::error::TrySendError::Closed(_)) => return false,
            Err(mpsc::error::TrySendError::Full(piece)) => piece,
        };
        let pieces = self.pieces.clone();
        let taken = tokio::time::timeout(STALL_MAX, pieces.send(piece));
        tokio::pin!(taken);
        while self.over.is_none() {
            let completion = tokio::select! {
                taken = &mut taken => return matches!(taken, Ok(Ok(()))),
                completion = self.ticket.ended() => completion,
            };
            match completion {
                Some(completion) => self.over = Some(self.let_go(*completion).await),
                None => break,
            }
        }
        matches!(taken.await, Ok(Ok(())))
    }

    /// Never reserved, so there is nothing to settle; nothing was shown either.
    async fn refuse(self, completion: Completion, error: LedgerError) {
        self.judge(&completion.outcome, &completion.lease).await;
        let cpu = completion.timing.prefill.cpu + completion.timing.decode.cpu;
        self.app.metering.metrics().computed_in_vain(&self.model, cpu.into());
        self.app.metering.metrics().ledger_failed();
        drop(completion);
        let error = ledger_error(error);
        self.record.iter().for_each(|record| record.has_failed(&error));
        let _ = self.pieces.try_send(Piece::End(Err(error)));
    }

    /// Lets go of what an ended sequence held: its memory, then its model.
    async fn let_go(&mut self, completion: Completion) -> Over {
        let Completion { outcome, lease, sequence, timing } = completion;
        let kv_precision = lease.model().kv_precision_word();
        // A step that did not return keeps its sequence: what earlier ones computed is known all the same.
        let computed = TokenCounts {
            prompt: timing.prefill.tokens,
            completion: timing.decode.tokens,
            drafted: timing.rejected_drafts,
            ..TokenCounts::default()
        };
        let counts = sequence.as_ref().map_or(computed, Sequence::counts);
        self.judge(&outcome, &lease).await;
        let blocks = match (&self.publication, &sequence) {
            (Some(_), Some(sequence)) => sequence.kv_blocks(),
            _ => Vec::new(),
        };
        let written = self.written(&outcome, blocks).await;
        let released = sequence.map(Sequence::release);
        let released = released.unwrap_or_else(|| Released::lost(&self.app.metering, &self.id));
        let charge = self.stay.take().map(Stay::ends).unwrap_or_default();
        let weights_bytes = lease.weights_bytes();
        if matches!(outcome, Outcome::Completed) {
            let follow = self.follow.as_ref();
            self.app.devices.learn(self.device, (&self.model, weights_bytes), &timing, (&self.app.metering, follow));
        }
        Over { written, outcome, timing, counts, charge, released, weights_bytes, kv_precision }
    }

    async fn settle(mut self, over: Over, client: Client) {
        let Over { written, outcome, timing, counts, charge, released, weights_bytes, kv_precision } = over;
        let Released { kv, sharing, rows } = released;
        self.admission.used(counts.prompt.saturating_add(counts.completion));
        self.app.metering.metrics().preempted(&self.model, timing.preempted);
        let (ended, failure) = ended(outcome);
        let (written, failure) = match written {
            Ok(written) => (written, failure),
            Err(error) => (None, failure.or(Some(error))),
        };
        let measured = Measured {
            id: self.id,
            tenant: self.tenant.to_string(),
            key_id: self.key_id.as_deref().map(str::to_owned),
            model: self.model.to_string(),
            cold: self.is_cold,
            outcome: ended,
            answered_from: AnsweredFrom::Model,
            tokens: MeasuredTokens {
                prompt: counts.prompt,
                cached: counts.cached,
                completion: counts.completion,
                drafted: counts.drafted,
                accepted: counts.accepted,
            },
            times: MeasuredTimes {
                queue: (timing.queue + timing.turn_wait + timing.room_wait).into(),
                load_wait: self.load_wait.into(),
                prefill: timing.prefill.elapsed.into(),
                decode: timing.decode.elapsed.into(),
                stall: timing.stall.into(),
                wall: self.arrived.elapsed().into(),
            },
            cpu: MeasuredCpu {
                prefill: timing.prefill.cpu.into(),
                decode: timing.decode.cpu.into(),
                load: charge.load_cpu,
            },
            busy: timing.computed().into(),
            memory: charge.memory(kv, weights_bytes),
            kv_precision,
            sharing,
            routing: self.follow.as_ref().map(Follow::routing),
        };
        let settled = self.app.metering.settle(self.device, measured).await;
        if let (Some(record), Ok(receipt)) = (&self.record, &settled) {
            record.is_settled(receipt);
        }
        let end = match (settled, failure) {
            (Err(error), _) => Err(ledger_error(error)),
            (Ok(_), Some(failure)) => Err(failure),
            (Ok(receipt), None) => {
                if let Some(recorder) = self.recorder {
                    self.app.responses.keep(recorder, counts);
                }
                Ok(Finished { receipt: Box::new(receipt), rows })
            }
        };
        drop(self.admission);
        // Nobody finds it before its computation is accounted for.
        let end = match (end, written) {
            (Ok(finished), Some(written)) => written.publish().await.map(|()| finished),
            (end, _) => end,
        };
        if let (Some(record), Err(error)) = (&self.record, &end) {
            record.has_failed(error);
        }
        if matches!(client, Client::Listening) {
            let _ = tokio::time::timeout(STALL_MAX, self.pieces.send(Piece::End(end))).await;
        }
    }

    /// Keeps the blocks of a context that was computed to its end, while the request still holds them.
    async fn written(
        &mut self,
        outcome: &Outcome<StepFault>,
        blocks: Vec<KvBlock>,
    ) -> Result<Option<Written>, ApiError> {
        match (self.publication.take(), outcome) {
            (Some(publication), Outcome::Completed) => publication.write(blocks).await.map(Some),
            _ => Ok(None),
        }
    }

    /// Its file is worthless: whoever begins with it next computes it.
    fn lose_context(&self, id: Arc<str>) {
        let contexts = Arc::clone(&self.app.contexts);
        self.app.requests.spawn_blocking(move || contexts.lose(&id));
    }

    /// What the end says of the model: who asks next must not run into the same.
    async fn judge(&self, outcome: &Outcome<StepFault>, lease: &Lease) {
        let fault = match outcome {
            Outcome::Completed => return lease.model().did_well(),
            Outcome::Failed(StepFault::ModelFileChanged) => return self.unload(),
            Outcome::Failed(StepFault::ContextFileChanged { id }) => return self.lose_context(Arc::clone(id)),
            Outcome::EngineTimeout => LoadError::StepLost,
            Outcome::Failed(StepFault::NonFiniteLogits(_) | StepFault::NonFiniteVector(_)) => {
                match lease.model().strike() {
                    Trust::Kept => return,
                    Trust::Lost => LoadError::NotFinite,
                }
            }
            _ => return,
        };
        self.app.devices.get(self.device).pool.quarantine(lease, Arc::new(fault)).await;
    }

    /// The mapping is worthless: the next request must load the file anew, or learn that it cannot be.
    fn unload(&self) {
        let (pool, model) = (self.app.devices.get(self.device).pool.clone(), Arc::clone(&self.model));
        self.app.requests.spawn(async move {
            // Refused only while the pool ends, which unloads everything.
            let _ = pool.unload(&model).await;
        });
    }
}
