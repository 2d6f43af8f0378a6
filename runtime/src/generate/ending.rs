//! What a request came to, as the ledger names it and as its client is told.

use ledger::LedgerError;
use meter::Outcome as Ended;
use scheduler::{NoRoom, Outcome};

use crate::engine::StepFault;
use crate::http::error::ApiError;

/// How the ledger names the end, and what the client is told if it is not an answer.
pub(super) fn ended(outcome: Outcome<StepFault>) -> (Ended, Option<ApiError>) {
    match outcome {
        Outcome::Completed => (Ended::Completed, None),
        Outcome::Cancelled => (Ended::Cancelled, Some(ApiError::cancelled("nobody waits for the answer"))),
        Outcome::StallLimit => (Ended::Cancelled, Some(ApiError::cancelled("the client took nothing for too long"))),
        Outcome::Failed(fault @ StepFault::ModelFileChanged) => {
            (Ended::Failed, Some(ApiError::model_file_changed().because(fault)))
        }
        Outcome::Failed(fault @ StepFault::ContextFileChanged { .. }) => {
            (Ended::Failed, Some(ApiError::context_file_changed().because(fault)))
        }
        Outcome::Failed(fault @ StepFault::NonFiniteLogits(_)) => {
            (Ended::Failed, Some(ApiError::non_finite_logits().because(fault)))
        }
        Outcome::Failed(StepFault::Grammar(fault)) => (Ended::Failed, Some(ApiError::grammar_failed(fault))),
        Outcome::Failed(fault @ StepFault::NonFiniteVector(_)) => {
            (Ended::Failed, Some(ApiError::non_finite_vector().because(fault)))
        }
        Outcome::Failed(StepFault::Device(fault)) => (Ended::Failed, Some(ApiError::device_failed(fault))),
        Outcome::DeadlinePassed => (Ended::Failed, Some(ApiError::deadline_passed())),
        Outcome::NoRoom(no_room) => (Ended::Failed, Some(no_room_error(no_room))),
        // What it said may quote the request: the log has where it was.
        Outcome::EnginePanicked { message: _ } => (Ended::Failed, Some(ApiError::engine_panicked())),
        Outcome::EngineTimeout => (Ended::Failed, Some(ApiError::engine_timeout())),
        Outcome::ShuttingDown => (Ended::Failed, Some(ApiError::shutting_down())),
    }
}

/// A ledger that is behind is an overload; one that cannot be written is a fault.
pub(super) fn ledger_error(error: LedgerError) -> ApiError {
    match error {
        // Two came at once, and the other one was first.
        LedgerError::KeyUsed { id } => ApiError::idempotency_key_in_use(&id),
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
