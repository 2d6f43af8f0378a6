//! Follows a queued request to its end, whether the client stays or not.
//!
//! Nothing is shown before the reservation is durable, and the end is shown only when the settlement is. A client that
//! leaves, or that takes nothing for too long, cancels the request; what was computed is charged all the same.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ledger::LedgerError;
use meter::receipt::{MeasuredCpu, MeasuredMemory, MeasuredTimes, MeasuredTokens};
use meter::{Measured, Outcome as Ended, Quality};
use models::generation::TokenCounts;
use scheduler::{Event, NoRoom, Outcome, Ticket};
use tokio::sync::{mpsc, oneshot};

use super::checkpoints::Checkpoints;
use super::{Finished, Piece};
use crate::app::App;
use crate::engine::{KernelEngine, Released, Sequence, StepFault};
use crate::http::error::ApiError;
use crate::limits::STALL_MAX;
use crate::metering::Stay;

pub(super) struct Drive {
    pub(super) app: Arc<App>,
    pub(super) id: String,
    pub(super) tenant: Arc<str>,
    pub(super) model: Arc<str>,
    pub(super) is_cold: bool,
    pub(super) arrived: Instant,
    pub(super) load_wait: Duration,
    pub(super) stay: Stay,
    pub(super) ticket: Ticket<KernelEngine>,
    pub(super) reserved: oneshot::Receiver<Result<(), LedgerError>>,
    pub(super) checkpoints: Checkpoints,
    pub(super) pieces: mpsc::Sender<Piece>,
}

/// Whether the client still takes pieces.
enum Client {
    Listening,
    Gone,
    /// The ledger took no reservation: nothing may be shown.
    Refused(LedgerError),
}

type Completion = scheduler::Completion<KernelEngine>;

impl Drive {
    pub(super) async fn run(mut self) {
        let mut client = self.reservation().await;
        if !matches!(client, Client::Listening) {
            self.ticket.cancel();
        }
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
            match event {
                Some(Event::Output(output)) if matches!(client, Client::Listening) => {
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
        match completion {
            Some(completion) => self.settle(completion, client).await,
            None => tracing::error!(id = self.id, "the executor dropped a request"),
        }
    }

    /// Waits until the reservation is durable, or the client has left.
    async fn reservation(&mut self) -> Client {
        match (&mut self.reserved).await.unwrap_or(Err(LedgerError::Closed)) {
            Ok(()) if self.pieces.is_closed() => Client::Gone,
            Ok(()) => Client::Listening,
            Err(error) => Client::Refused(error),
        }
    }

    /// Whether the client took it in time.
    async fn show(&self, piece: Piece) -> bool {
        let piece = match self.pieces.try_send(piece) {
            Ok(()) => return true,
            Err(mpsc::error::TrySendError::Closed(_)) => return false,
            Err(mpsc::error::TrySendError::Full(piece)) => piece,
        };
        matches!(tokio::time::timeout(STALL_MAX, self.pieces.send(piece)).await, Ok(Ok(())))
    }

    async fn settle(self, completion: Completion, client: Client) {
        let Completion { outcome, lease, sequence, timing } = completion;
        let weights_bytes = lease.weights_bytes();
        // A step that did not return keeps its sequence: what earlier ones computed is known all the same.
        let computed =
            TokenCounts { prompt: timing.prefill.tokens, completion: timing.decode.tokens, ..TokenCounts::default() };
        let counts = sequence.as_ref().map_or(computed, Sequence::counts);
        if matches!(outcome, Outcome::Failed(StepFault::ModelFileChanged)) {
            self.unload();
        }
        if let Client::Refused(error) = client {
            drop(sequence);
            // Never reserved, so there is nothing to settle; nothing was shown either.
            let _ = self.pieces.try_send(Piece::End(Err(ledger_error(error))));
            return;
        }
        let released = sequence.map(Sequence::release);
        let Released { kv, sharing, rows } = released.unwrap_or_else(|| Released::lost(&self.app.metering, &self.id));
        let charge = self.stay.ends();
        // Nobody waits for the memory's way back: the row does not need the model any more.
        drop(lease);
        let (ended, failure) = ended(outcome);
        let measured = Measured {
            id: self.id,
            tenant: self.tenant.to_string(),
            model: self.model.to_string(),
            cold: self.is_cold,
            outcome: ended,
            tokens: MeasuredTokens { prompt: counts.prompt, cached: counts.cached, completion: counts.completion },
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
            memory: MeasuredMemory { weights: charge.weights, kv, weights_bytes, quality: Quality::Derived },
            sharing,
        };
        let end = match (self.app.metering.settle(measured).await, failure) {
            (Err(error), _) => Err(ledger_error(error)),
            (Ok(_), Some(failure)) => Err(failure),
            (Ok(receipt), None) => Ok(Finished { receipt: Box::new(receipt), rows }),
        };
        if matches!(client, Client::Listening) {
            let _ = tokio::time::timeout(STALL_MAX, self.pieces.send(Piece::End(end))).await;
        }
    }

    /// The mapping is worthless: the next request must load the file anew, or learn that it cannot be.
    fn unload(&self) {
        let (pool, model) = (self.app.pool.clone(), Arc::clone(&self.model));
        self.app.requests.spawn(async move {
            // Refused only while the pool ends, which unloads everything.
            let _ = pool.unload(&model).await;
        });
    }
}

/// How the ledger names the end, and what the client is told if it is not an answer.
fn ended(outcome: Outcome<StepFault>) -> (Ended, Option<ApiError>) {
    match outcome {
        Outcome::Completed => (Ended::Completed, None),
        Outcome::Cancelled => (Ended::Cancelled, Some(ApiError::internal("the request was cancelled"))),
        Outcome::StallLimit => (Ended::Cancelled, Some(ApiError::internal("the client took nothing for too long"))),
        Outcome::Failed(fault @ StepFault::ModelFileChanged) => {
            (Ended::Failed, Some(ApiError::model_file_changed().because(fault)))
        }
        Outcome::Failed(fault @ StepFault::NonFiniteLogits(_)) => {
            (Ended::Failed, Some(ApiError::non_finite_logits().because(fault)))
        }
        Outcome::Failed(fault @ StepFault::NonFiniteVector(_)) => {
            (Ended::Failed, Some(ApiError::non_finite_vector().because(fault)))
        }
        Outcome::DeadlinePassed => (Ended::Failed, Some(ApiError::deadline_passed())),
        Outcome::NoRoom(no_room) => (Ended::Failed, Some(no_room_error(no_room))),
        Outcome::EnginePanicked { message } => (Ended::Failed, Some(ApiError::engine_panicked(message))),
        Outcome::EngineTimeout => (Ended::Failed, Some(ApiError::engine_timeout())),
        Outcome::ShuttingDown => (Ended::Failed, Some(ApiError::shutting_down())),
    }
}

/// A ledger that is behind is an overload; one that cannot be written is a fault.
fn ledger_error(error: LedgerError) -> ApiError {
    match error {
        LedgerError::Overloaded { .. } => ApiError::overloaded(scheduler::limits::RETRY_AFTER_MIN).because(error),
        _ => ApiError::ledger_unavailable(error),
    }
}

fn no_room_error(no_room: NoRoom) -> ApiError {
    match no_room {
        NoRoom::TooLarge { .. } => ApiError::model_too_large(no_room),
        NoRoom::Overloaded { retry_after } => ApiError::overloaded(retry_after),
        NoRoom::DeadlinePassed => ApiError::overloaded(scheduler::limits::RETRY_AFTER_MIN),
        NoRoom::ShuttingDown => ApiError::shutting_down(),
    }
}
