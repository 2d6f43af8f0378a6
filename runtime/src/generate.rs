//! One request from its model's name to its settled receipt.
//!
//! In order: the name becomes an entry (a known alias may be pulled first), of several devices one is chosen (`devices`),
//! its pool grants a lease, what was asked becomes work that fits the model ([`generate`] makes prompts of it, `embed`
//! texts to encode), the request is queued and reserved in the ledger. From then on a task of its own follows it to the
//! end, whether the client stays or not: what was computed is settled exactly once.
//!
//! Deliberately absent: how answers look on the wire (`http`).

mod drive;
mod prompt;

use std::sync::Arc;

use meter::Receipt;
use models::Descriptor;
use models::encoding::Encoding;
use models::generation::{Generation, GenerationRequest, Output, Tokens};
use scheduler::{
    FaultKind, Instant, KeepAlive, LeaseError, LeaseOptions, LoadFault as _, Owner, PoolOptions, Standing,
    StandingWatch, Submission, SubmitError,
};
use tokio::sync::mpsc;

pub(crate) use self::prompt::{Asked, Prompt};
use crate::app::{App, Lease};
use crate::devices::{Question, Routed};
use crate::engine::{Beginnings, DeviceEngine, Extent, Generating, Holder, Sequence};
use crate::http::error::ApiError;
use crate::http::wire::Urgency;
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
    /// Vectors or scores, where texts were encoded.
    pub(crate) rows: Vec<Vec<f32>>,
}

/// Who asks which model.
pub(crate) struct Caller {
    /// The request's id, which its receipt is found by.
    pub(crate) id: String,
    pub(crate) tenant: Arc<str>,
    /// The model as the request names it.
    pub(crate) model: String,
    /// How long the model is to stay, where the request says.
    pub(crate) keep_alive: Option<KeepAlive>,
    /// How long the answer may take, and who goes first.
    pub(crate) urgency: Urgency,
}

/// What a model is to do.
pub(crate) enum Work {
    Generate(GenerationRequest),
    Encode(Encoding),
}

/// A request on its way. Dropping it cancels the request.
pub(crate) struct Answer {
    pieces: mpsc::Receiver<Piece>,
    /// For the texts of tokens.
    pub(crate) descriptor: Arc<Descriptor>,
    pub(crate) is_cold: bool,
    standing: StandingWatch<DeviceEngine>,
}

impl Answer {
    /// How far it is.
    pub(crate) fn standing(&self) -> Standing {
        self.standing.standing()
    }

    /// The next piece; a request whose task died ends with a fault.
    pub(crate) async fn next(&mut self) -> Piece {
        let died = || Piece::End(Err(ApiError::internal("the request's task ended early")));
        self.pieces.recv().await.unwrap_or_else(died)
    }
}

/// Starts a request to go on with texts. Errors are those from before its first step.
pub(crate) async fn generate(app: &Arc<App>, asked: Asked) -> Result<Answer, ApiError> {
    let caller = Caller {
        id: asked.id.clone(),
        tenant: Arc::clone(&asked.tenant),
        model: asked.common.model.clone(),
        keep_alive: asked.common.keep_alive,
        urgency: asked.urgency,
    };
    start(app, caller, |descriptor, context| asked.encode(descriptor, context).map(Work::Generate)).await
}

/// Starts a request: `prepare` says what is to be done, given the model and the positions that a text may have; it may
/// take as long as texts take to be tokenized. Errors are those from before its first step.
pub(crate) async fn start(
    app: &Arc<App>,
    caller: Caller,
    prepare: impl FnOnce(&Descriptor, usize) -> Result<Work, ApiError> + Send + 'static,
) -> Result<Answer, ApiError> {
    let arrived = std::time::Instant::now();
    let Caller { id, tenant, model, keep_alive, urgency } = caller;
    let deadline = Instant::now() + urgency.timeout.unwrap_or(REQUEST_MAX);
    let priority = urgency.priority(app.config.scheduler.priority_max(&tenant))?;
    let entered = app.devices.enter(&tenant).map_err(|full| ApiError::overloaded(full.retry_after))?;
    let model = app.true_name(&model, deadline).await?;
    let mut unprepared = Preparation::Wanted(prepare);
    let mut prepared_for = None;
    // Which device is best depends on what is to be done; where there is only one, that can wait for the model.
    let routed = if app.devices.are_several() {
        let descriptor = app.descriptor(&model).await?;
        unprepared = Preparation::Done(prepared(app, &descriptor, unprepared).await?);
        let Preparation::Done(work) = &unprepared else { unreachable!("it was done just now") };
        let question = Question { tenant: &tenant, model: &model, descriptor: &descriptor, work };
        let routed = app.devices.route(&question, entered).await?;
        prepared_for = Some(descriptor);
        routed
    } else {
        entered.unrouted()
    };
    let Routed { device, place, follow } = routed;
    let stay = app.metering.arrives(&id, &tenant, (device, &model));
    let lease = lease(app, (device, &model), keep_alive, deadline).await?;
    stay.begins();
    let descriptor = Arc::clone(lease.model().descriptor());
    if prepared_for.is_some_and(|known| known.identity() != descriptor.identity()) {
        return Err(replaced(app, device, lease));
    }
    let work = prepared(app, &descriptor, unprepared).await?;
    let (is_cold, load_wait) = (lease.is_cold(), lease.load_wait());
    let sequence = sequence(app, work, (device, &lease), (&id, &tenant));
    let weight = app.config.scheduler.weight(&tenant);
    let owner = Owner { tenant: Arc::clone(&tenant), weight, priority };
    let submission = Submission { lease, sequence, owner, place, deadline: Some(deadline) };
    let ticket = app.devices.get(device).executor.submit(submission).map_err(|error| match error {
        SubmitError::ShuttingDown { .. } => ApiError::shutting_down(),
    })?;
    // Admitted: from here to the spawn nothing waits, so that a client that leaves cannot leave the row open.
    let reserved = app.metering.reserve(&id, &tenant, &model);
    let (sender, pieces) = mpsc::channel(ANSWER_PIECES_MAX);
    let standing = ticket.watch();
    let drive = Drive {
        app: Arc::clone(app),
        id,
        tenant,
        device,
        model,
        follow,
        is_cold,
        arrived,
        load_wait,
        stay,
        ticket,
        reserved,
        pieces: sender,
    };
    app.requests.spawn(drive.run());
    Ok(Answer { pieces, descriptor, is_cold, standing })
}

/// The file was replaced, and what is in memory is of the one before: the request's tokens may be none of its own. That
/// copy goes as soon as nobody uses it, and another try meets the new one.
fn replaced(app: &Arc<App>, device: usize, lease: Lease) -> ApiError {
    let (app, model) = (Arc::clone(app), Arc::clone(lease.name()));
    drop(lease);
    tokio::spawn(async move {
        // Fails when the server stops, which lets it go as well.
        let _ = app.devices.get(device).pool.unload(&model).await;
    });
    ApiError::load_failed(LoadError::Replaced)
}

/// What a model is to do, before or after it was made of what was asked.
enum Preparation<P> {
    Wanted(P),
    Done(Work),
}

/// What is to be done. Whatever takes long of it is done where that holds nobody up.
async fn prepared<P>(app: &App, descriptor: &Arc<Descriptor>, preparation: Preparation<P>) -> Result<Work, ApiError>
where
    P: FnOnce(&Descriptor, usize) -> Result<Work, ApiError> + Send + 'static,
{
    let prepare = match preparation {
        Preparation::Wanted(prepare) => prepare,
        Preparation::Done(work) => return Ok(work),
    };
    let (descriptor, context) = (Arc::clone(descriptor), app.context_of(descriptor));
    let prepared = tokio::task::spawn_blocking(move || prepare(&descriptor, context)).await;
    prepared.map_err(ApiError::internal)?
}

fn sequence(app: &App, work: Work, (device, lease): (usize, &Lease), (id, tenant): (&str, &Arc<str>)) -> Sequence {
    match work {
        Work::Generate(request) => {
            let beginnings = Beginnings {
                prefixes: Arc::clone(lease.model().prefixes()),
                scope: app.config.scheduler.scope(tenant),
                extent: if request.choices > 1 { Extent::Prompt } else { Extent::Whole },
            };
            let holder =
                Holder { request: id.into(), model: Arc::clone(lease.name()), metering: Arc::clone(&app.metering) };
            let generation = Generation::new(request, Arc::clone(lease.model().descriptor()));
            let budget = Arc::clone(app.devices.get(device).pool.budget());
            let generating = Generating::new(generation, lease.model(), budget, beginnings, holder);
            Sequence::Generating(Box::new(generating))
        }
        Work::Encode(encoding) => Sequence::Encoding(Box::new(encoding)),
    }
}

async fn lease(
    app: &App,
    (device, model): (usize, &Arc<str>),
    keep_alive: Option<KeepAlive>,
    deadline: Instant,
) -> Result<Lease, ApiError> {
    let leased = app.devices.get(device).pool.lease(model, LeaseOptions { keep_alive, deadline }).await;
    leased.map_err(|error| lease_error(model, error))
}

/// The one place where a pool's refusal becomes an answer.
pub(crate) fn lease_error(model: &str, error: LeaseError<LoadError>) -> ApiError {
    match error {
        LeaseError::NotFound(_) => ApiError::model_not_found(model),
        LeaseError::Quarantined { source, retry_after } => {
            ApiError::model_quarantined(retry_after, reasons(&*source)).because(source)
        }
        LeaseError::LoadFailed(source) => load_failed(source),
        LeaseError::TooLarge { .. } | LeaseError::PinnedTooLarge { .. } => ApiError::model_too_large(error),
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
