//! One request from its model's name to its settled receipt.
//!
//! In order: the name becomes an entry (a known alias may be pulled first), the pool grants a lease, the prompt becomes
//! ids within the context, the request is queued and reserved in the ledger. From then on a task of its own follows it to
//! the end, whether the client stays or not: what was computed is settled exactly once.
//!
//! Deliberately absent: how answers look on the wire (`http`).

mod drive;
mod prompt;

use std::sync::Arc;

use meter::Receipt;
use models::Descriptor;
use models::generation::{Generation, GenerationRequest, Output, Tokens};
use scheduler::{
    FaultKind, Instant, KeepAlive, LeaseError, LeaseOptions, LoadFault as _, PoolOptions, Submission, SubmitError,
};
use tokio::sync::mpsc;

pub(crate) use self::prompt::{Asked, Prompt};
use crate::app::{App, Lease};
use crate::engine::Sequence;
use crate::http::error::ApiError;
use crate::limits::{ANSWER_PIECES_MAX, REQUEST_MAX};
use crate::loading::LoadError;
use drive::Drive;

/// What a client is shown, in order; [`Piece::End`] is the last.
pub(crate) enum Piece {
    Output(Output),
    End(Result<Finished, ApiError>),
}

/// A request that ended well, and whose receipt is durable.
pub(crate) struct Finished {
    pub(crate) receipt: Box<Receipt>,
}

/// A request on its way. Dropping it cancels the request.
pub(crate) struct Answer {
    pieces: mpsc::Receiver<Piece>,
    /// For the texts of tokens.
    pub(crate) descriptor: Arc<Descriptor>,
    pub(crate) is_cold: bool,
}

impl Answer {
    /// The next piece; a request whose task died ends with a fault.
    pub(crate) async fn next(&mut self) -> Piece {
        let died = || Piece::End(Err(ApiError::internal("the request's task ended early")));
        self.pieces.recv().await.unwrap_or_else(died)
    }
}

/// Starts a request. Errors are those from before its first step.
pub(crate) async fn generate(app: &Arc<App>, asked: Asked) -> Result<Answer, ApiError> {
    let arrived = std::time::Instant::now();
    let deadline = Instant::now() + REQUEST_MAX;
    let model = app.true_name(&asked.common.model, deadline).await?;
    let stay = app.metering.arrives(&asked.id, &asked.tenant, &model);
    let lease = lease(app, &model, asked.common.keep_alive, deadline).await?;
    stay.begins();
    let descriptor = Arc::clone(lease.model().descriptor());
    let context = app.context_of(&descriptor);
    let (id, tenant, is_cold) = (asked.id.clone(), Arc::clone(&asked.tenant), lease.is_cold());
    let request = {
        let descriptor = Arc::clone(&descriptor);
        let encoded = tokio::task::spawn_blocking(move || asked.encode(&descriptor, context)).await;
        encoded.map_err(ApiError::internal)??
    };
    let load_wait = lease.load_wait();
    let sequence = sequence(app, request, &descriptor, &lease);
    let submission = Submission { lease, sequence, deadline: Some(deadline) };
    let ticket = app.executor.submit(submission).map_err(|error| match error {
        SubmitError::QueueFull { retry_after, .. } => ApiError::overloaded(retry_after),
        SubmitError::ShuttingDown { .. } => ApiError::shutting_down(),
    })?;
    // Admitted: from here to the spawn nothing waits, so that a client that leaves cannot leave the row open.
    let reserved = app.metering.reserve(&id, &tenant, &model);
    let (sender, pieces) = mpsc::channel(ANSWER_PIECES_MAX);
    let drive = Drive {
        app: Arc::clone(app),
        id,
        tenant,
        model,
        is_cold,
        arrived,
        load_wait,
        stay,
        ticket,
        reserved,
        pieces: sender,
    };
    app.requests.spawn(drive.run());
    Ok(Answer { pieces, descriptor, is_cold })
}

fn sequence(app: &App, request: GenerationRequest, descriptor: &Arc<Descriptor>, lease: &Lease) -> Sequence {
    let generation = Generation::new(request, Arc::clone(descriptor));
    Sequence::new(generation, lease.model(), Arc::clone(app.pool.budget()), app.metering.clock())
}

async fn lease(
    app: &App,
    model: &Arc<str>,
    keep_alive: Option<KeepAlive>,
    deadline: Instant,
) -> Result<Lease, ApiError> {
    if let Some(keep_alive) = keep_alive {
        app.metering.keep_alive_changed(model, keep_alive);
    }
    app.pool.lease(model, LeaseOptions { keep_alive, deadline }).await.map_err(|error| lease_error(model, error))
}

/// The one place where a pool's refusal becomes an answer.
pub(crate) fn lease_error(model: &str, error: LeaseError<LoadError>) -> ApiError {
    match error {
        LeaseError::NotFound(_) => ApiError::model_not_found(model),
        LeaseError::Quarantined { source, retry_after } => {
            ApiError::model_quarantined(retry_after, reasons(&*source)).because(source)
        }
        LeaseError::LoadFailed(source) => load_failed(source),
        LeaseError::TooLarge { .. } => ApiError::model_too_large(error),
        LeaseError::Overloaded { retry_after } => ApiError::overloaded(retry_after),
        LeaseError::DeadlinePassed => ApiError::deadline_passed(),
        LeaseError::ShuttingDown => ApiError::shutting_down(),
    }
}

/// A load that failed for the machine's reasons, or for the file's where nothing is remembered.
pub(crate) fn load_failed(source: Arc<LoadError>) -> ApiError {
    match source.kind() {
        FaultKind::Invalid => {
            ApiError::model_quarantined(PoolOptions::default().quarantine_min, reasons(&*source)).because(source)
        }
        FaultKind::NotFound | FaultKind::Transient => ApiError::load_failed(source),
    }
}

/// An error and what is below it, in one line, without the paths of this machine's folders.
pub(crate) fn reasons(error: &(dyn std::error::Error + 'static)) -> String {
    let mut line = error.to_string();
    let mut below = error.source();
    while let Some(error) = below {
        // The loader's errors name the file; a client knows the model's name already.
        if error.downcast_ref::<loader::OpenError>().is_none() {
            line.push_str(": ");
            line.push_str(&error.to_string());
        }
        below = error.source();
    }
    line
}

/// The request's bound on an answer, as the generation wants it.
fn bound(tokens_max: Option<usize>) -> Tokens {
    tokens_max.map_or(Tokens::RestOfContext, Tokens::AtMost)
}
