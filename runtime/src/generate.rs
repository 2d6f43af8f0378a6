//! One request from its model's name to its settled receipt.
//!
//! In order: the name becomes an entry (a known alias may be pulled first), of several devices one is chosen (`devices`),
//! its pool grants a lease, what was asked becomes work that fits the model ([`generate`] makes prompts of it, `embed`
//! texts to encode), the request is queued and reserved in the ledger. From then on a task of its own follows it to the
//! end, whether the client stays or not: what was computed is settled exactly once.
//!
//! Deliberately absent: how answers look on the wire (`http`).

mod admit;
mod checkpoints;
mod drive;
mod ending;
mod grammar;
mod leasing;
mod prompt;
mod stored;

use std::sync::Arc;

use kernels::{KvPrecision, KvShape};
use meter::Receipt;
use models::Descriptor;
use models::contexts::ContextKey;
use models::encoding::Encoding;
use models::generation::{Echo, Generation, GenerationRequest, Output, Tokens};
use scheduler::{Instant, KeepAlive, Owner, Standing, StandingWatch, Submission, SubmitError};
use tokio::sync::mpsc;

pub(crate) use self::admit::admit;
use self::checkpoints::Checkpoints;
use self::leasing::{lease, replaced, standing_aside};
pub(crate) use self::leasing::{lease_error, load_failed, reasons};
pub(crate) use self::prompt::{
    Asked, Prompt, check_is_decoder, conversation_error, encode_context, no_template, template_error,
};
use crate::app::{App, Lease};
use crate::config::Speculation;
use crate::contexts::{AtHand, Contexts, Publication};
use crate::devices::{Question, Routed};
use crate::engine::{Beginnings, DeviceEngine, Extent, Generating, Holder, Sequence};
use crate::http::error::ApiError;
use crate::http::wire::Urgency;
use crate::limits::{ANSWER_PIECES_MAX, REQUEST_MAX};
use crate::loading::context_key;
use crate::response_cache::Recorder;
use crate::tenancy::{Admission, Asker};
use drive::Drive;
use stored::Found;

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
    /// When it came.
    pub(crate) arrived: std::time::Instant,
    /// The request's id, which its receipt is found by.
    pub(crate) id: String,
    pub(crate) asker: Asker,
    /// What it took of rates and budgets.
    pub(crate) admission: Admission,
    /// The model as the request names it.
    pub(crate) model: String,
    /// How long the model is to stay, where the request says.
    pub(crate) keep_alive: Option<KeepAlive>,
    /// How long the answer may take, and who goes first.
    pub(crate) urgency: Urgency,
    /// Takes the answer down, where it may be given again.
    pub(crate) recorder: Option<Recorder>,
}

/// What a request is prepared for.
pub(crate) struct Preparation<'a> {
    pub(crate) descriptor: &'a Descriptor,
    /// The model's true name.
    pub(crate) name: Arc<str>,
    /// Positions that a text may have.
    pub(crate) positions_max: usize,
    pub(crate) contexts: &'a Contexts,
    /// How the kernels keep the model's keys and values.
    pub(crate) kv_precision: KvPrecision,
}

impl Preparation<'_> {
    /// What the kernels compute keys and values by.
    ///
    /// # Panics
    /// When the model is an encoder.
    pub(crate) fn context_key(&self) -> ContextKey {
        context_key(self.descriptor, self.contexts.isa(), self.kv_precision)
    }

    /// The sizes of keys and values there.
    ///
    /// # Panics
    /// When the model is an encoder.
    pub(crate) fn kv_shape(&self) -> KvShape {
        KvShape { precision: self.kv_precision, ..self.descriptor.kv_shape() }
    }
}

/// What a model is to do.
pub(crate) enum Work {
    Generate(GenerationRequest),
    /// To compute a prompt that is then everyone's.
    Publish(GenerationRequest, Box<Publication>),
    Encode(Encoding),
}

impl Work {
    fn prompt_tokens(&self) -> u64 {
        match self {
            Self::Generate(request) | Self::Publish(request, _) => {
                request.prompts.iter().map(|ids| ids.len() as u64).sum()
            }
            Self::Encode(_) => 0,
        }
    }
}

/// A request on its way. Dropping it cancels the request.
pub(crate) struct Answer {
    pieces: mpsc::Receiver<Piece>,
    /// For the texts of tokens.
    pub(crate) descriptor: Arc<Descriptor>,
    /// Tokens of all prompts; 0 where texts are encoded.
    pub(crate) prompt_tokens: u64,
    pub(crate) is_cold: bool,
    /// None where there is nothing to wait for.
    standing: Option<StandingWatch<DeviceEngine>>,
    /// Whether it was given before, where that was looked for.
    pub(crate) cache: Option<CacheUse>,
}

/// What looking into the response cache came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CacheUse {
    /// The answer is from there.
    Hit,
    /// It was not there, and is there from now on, unless it is too long.
    Miss,
}

impl Answer {
    /// How far it is.
    pub(crate) fn standing(&self) -> Standing {
        self.standing.as_ref().map_or(Standing::Ended, StandingWatch::standing)
    }

    /// The next piece; a request whose task died ends with a fault.
    pub(crate) async fn next(&mut self) -> Piece {
        let died = || Piece::End(Err(ApiError::internal("the request's task ended early")));
        self.pieces.recv().await.unwrap_or_else(died)
    }
}

/// Starts a request to go on with texts, or gives the answer that is there. Errors are those from before its first step.
pub(crate) async fn generate(app: &Arc<App>, asked: Asked) -> Result<Answer, ApiError> {
    let arrived = std::time::Instant::now();
    let admission = admit(app, &asked.asker, asked.tokens_estimated()).await?;
    let (asked, found) = stored::look_up(app, asked).await?;
    let recorder = match found {
        Found::Answer(hit) => return Ok(stored::answer(app, (asked, admission), hit, arrived)),
        Found::Nothing(recorder) => Some(recorder),
        Found::NotLookedFor => None,
    };
    let caller = Caller {
        arrived,
        id: asked.id.clone(),
        asker: asked.asker.clone(),
        admission,
        model: asked.common.model.clone(),
        keep_alive: asked.common.keep_alive,
        urgency: asked.urgency,
        recorder,
    };
    if let Some(name) = &asked.common.context
        && !app.contexts.called(name).iter().any(|context| asked.asker.access.may_use(&context.record.about.model))
    {
        return Err(ApiError::context_not_found(name));
    }
    let compiled = grammar::compiled(app, &asked, arrived).await?;
    start(app, caller, |preparation| asked.encode(compiled, preparation).map(Work::Generate)).await
}

/// Starts a request: `prepare` says what is to be done, given the model and the positions that a text may have; it may
/// take as long as texts take to be tokenized. Errors are those from before its first step.
pub(crate) async fn start(
    app: &Arc<App>,
    caller: Caller,
    prepare: impl FnOnce(&Preparation<'_>) -> Result<Work, ApiError> + Send + 'static,
) -> Result<Answer, ApiError> {
    let Caller { arrived, id, asker, admission, model, keep_alive, urgency, recorder } = caller;
    let (tenant, key_id) = (Arc::clone(&asker.access.tenant), asker.access.key_id());
    let cache = recorder.is_some().then_some(CacheUse::Miss);
    let deadline = Instant::from_std(arrived) + urgency.timeout.unwrap_or(REQUEST_MAX);
    let priority = urgency.priority(app.config().scheduler.priority_max(&tenant))?;
    let entered = app.devices.enter(&tenant).map_err(|full| ApiError::overloaded(full.retry_after))?;
    let model = app.true_name(&asker.access, &model, deadline).await?;
    let mut unprepared = Preparing::Wanted(prepare);
    let mut prepared_for = None;
    // Which device is best depends on what is to be done; where there is only one, that can wait for the model.
    let routed = if app.devices.are_several() {
        let descriptor = app.descriptor(&model).await?;
        unprepared = Preparing::Done(Box::new(prepared(app, (&descriptor, &model), unprepared).await?));
        let Preparing::Done(work) = &unprepared else { unreachable!("it was done just now") };
        let question = Question { tenant: &tenant, model: &model, descriptor: &descriptor, work: work.as_ref() };
        let routed = app.devices.route(&question, entered).await?;
        prepared_for = Some(descriptor);
        routed
    } else {
        entered.unrouted()
    };
    let Routed { device, mut place, follow } = routed;
    let stay = app.metering.arrives(&id, &tenant, (device, &model));
    let lease = standing_aside(&mut place, lease(app, (device, &model), keep_alive, deadline)).await?;
    stay.begins();
    let descriptor = Arc::clone(lease.model().descriptor());
    if prepared_for.is_some_and(|known| known.identity() != descriptor.identity()) {
        return Err(replaced(app, device, lease));
    }
    let work = prepared(app, (&descriptor, &model), unprepared).await?;
    let (work, contexts) = at_hand(app, work, &lease, &tenant).await?;
    let prompt_tokens = work.prompt_tokens();
    let (is_cold, load_wait) = (lease.is_cold(), lease.load_wait());
    // A file that was replaced serves on while it is in memory, and is not answered for by the new one's name.
    let recorder = recorder.filter(|recorder| recorder.is_of(lease.model().artifact().identity()));
    let (sequence, publication) = sequence(app, (work, contexts), (device, &lease), (&id, &tenant));
    let checkpoints = Checkpoints::new(sequence.progress(), &lease);
    let weight = app.config().scheduler.weight(&tenant);
    let owner = Owner { tenant: Arc::clone(&tenant), weight, priority };
    let submission = Submission { lease, sequence, owner, place, deadline: Some(deadline) };
    let ticket = app.devices.get(device).executor.submit(submission).map_err(|error| match error {
        SubmitError::ShuttingDown { .. } => ApiError::shutting_down(),
    })?;
    // Admitted: from here to the spawn nothing waits, so that a client that leaves cannot leave the row open.
    let named = (&*id, asker.idempotency_key.as_deref());
    let reserved = app.metering.reserve(named, (&tenant, key_id.as_deref()), &model);
    let (standing, (sender, pieces)) = (ticket.watch(), mpsc::channel(ANSWER_PIECES_MAX));
    let drive = Drive {
        app: Arc::clone(app),
        id,
        tenant,
        key_id,
        record: asker.record,
        device,
        model,
        follow,
        is_cold,
        arrived,
        load_wait,
        stay: Some(stay),
        admission,
        ticket,
        reserved,
        recorder,
        checkpoints,
        pieces: sender,
        publication,
        over: None,
    };
    app.requests.spawn(drive.run());
    Ok(Answer { pieces, descriptor, prompt_tokens, is_cold, standing: Some(standing), cache })
}

/// What a model is to do, before or after it was made of what was asked.
enum Preparing<P> {
    Wanted(P),
    Done(Box<Work>),
}

/// What is to be done. Whatever takes long of it is done where that holds nobody up.
async fn prepared<P>(
    app: &App,
    (descriptor, name): (&Arc<Descriptor>, &Arc<str>),
    preparing: Preparing<P>,
) -> Result<Work, ApiError>
where
    P: FnOnce(&Preparation<'_>) -> Result<Work, ApiError> + Send + 'static,
{
    let prepare = match preparing {
        Preparing::Wanted(prepare) => prepare,
        Preparing::Done(work) => return Ok(*work),
    };
    let (descriptor, name, positions_max) = (Arc::clone(descriptor), Arc::clone(name), app.context_of(descriptor));
    let (contexts, kv_precision) = (Arc::clone(&app.contexts), app.config().kv_precision(&name));
    let prepared = tokio::task::spawn_blocking(move || {
        prepare(&Preparation { descriptor: &descriptor, name, positions_max, contexts: &contexts, kv_precision })
    });
    prepared.await.map_err(ApiError::internal)?
}

/// The published contexts that the prompts of `work` begin with, mapped, which may block.
async fn at_hand(
    app: &App,
    work: Work,
    lease: &Lease,
    tenant: &Arc<str>,
) -> Result<(Work, Vec<Arc<AtHand>>), ApiError> {
    if matches!(work, Work::Encode(_)) || lease.model().context_key().is_none() || app.contexts.is_empty() {
        return Ok((work, Vec::new()));
    }
    let (contexts, scope) = (Arc::clone(&app.contexts), app.config().scheduler.scope(tenant));
    let lease = lease.clone();
    let found = tokio::task::spawn_blocking(move || {
        let model = lease.model();
        let mut at_hand: Vec<Arc<AtHand>> = Vec::new();
        let (Work::Generate(request) | Work::Publish(request, _), Some(key)) = (&work, model.context_key()) else {
            return (work, at_hand);
        };
        for tokens in &request.prompts {
            let known_blocks = model.prefixes().reach(None, &scope, tokens).blocks;
            let found = contexts.at_hand(key, model.kv_shape(), tokens, known_blocks);
            at_hand.extend(found.filter(|found| !at_hand.iter().any(|known| Arc::ptr_eq(known, found))));
        }
        (work, at_hand)
    });
    found.await.map_err(ApiError::internal)
}

fn sequence(
    app: &App,
    (work, contexts): (Work, Vec<Arc<AtHand>>),
    (device, lease): (usize, &Lease),
    (id, tenant): (&str, &Arc<str>),
) -> (Sequence, Option<Box<Publication>>) {
    let (request, publication) = match work {
        Work::Generate(request) => (request, None),
        Work::Publish(request, publication) => (request, Some(publication)),
        Work::Encode(encoding) => return (Sequence::Encoding(Box::new(encoding)), None),
    };
    let beginnings = Beginnings {
        prefixes: Arc::clone(lease.model().prefixes()),
        scope: app.config().scheduler.scope(tenant),
        extent: match &publication {
            Some(_) => Extent::Nothing,
            None if request.choices > 1 => Extent::Prompt,
            None => Extent::Whole,
        },
        contexts,
    };
    let holder = Holder { request: id.into(), model: Arc::clone(lease.name()), metering: Arc::clone(&app.metering) };
    let generation = Generation::new(request, Arc::clone(lease.model().descriptor()));
    // candle's sums depend on how many tokens a step has: what it computes ahead would not be what it computes.
    let is_exact = lease.model().weights().is_none();
    let generation = match app.config().scheduler.speculation {
        Speculation::Auto if is_exact => generation.with_drafts(),
        Speculation::Auto | Speculation::Off => generation,
    };
    let budget = Arc::clone(app.devices.get(device).pool.budget());
    let generating = Generating::new(generation, lease.model(), budget, beginnings, holder);
    (Sequence::Generating(Box::new(generating)), publication)
}

/// The request's bound on an answer, as the generation wants it. Of no tokens and no echo what is left is the prompt, for a
/// next request that finds it computed.
fn bound(tokens_max: Option<usize>, echo: Echo) -> Tokens {
    match (tokens_max, echo) {
        (Some(0), Echo::Nothing) => Tokens::PromptAlone,
        (Some(tokens), _) => Tokens::AtMost(tokens),
        (None, _) => Tokens::RestOfContext,
    }
}
