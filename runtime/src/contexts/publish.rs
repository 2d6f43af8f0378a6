//! Publishing: what was asked, as a request of the publisher that computes a prompt and nothing else.

use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use meter::Receipt;
use models::contexts::{ContextAbout, ContextDraft, ContextSource};
use models::generation::{Echo, End, Ending, GenerationRequest, Shown, Tokens};
use models::limits::KV_BLOCK_POSITIONS;
use models::sampling::Sampling;
use scheduler::KeepAlive;
use uuid::Uuid;

use super::{Context, Contexts, Publication};
use crate::app::App;
use crate::generate::{Caller, Piece, Preparation, Work, admit, check_is_decoder, encode_context, start};
use crate::http::error::ApiError;
use crate::http::wire::Urgency;
use crate::limits::{CONTEXT_ID_PREFIX, TOKEN_BYTES_ASSUMED};
use crate::tenancy::{Asker, ContextAuthority};

/// A context that someone wants published.
pub(crate) struct PublishRequest {
    /// Who publishes.
    pub(crate) asker: Asker,
    /// What of others' it may replace.
    pub(crate) authority: ContextAuthority,
    /// The model as the request names it.
    pub(crate) model: String,
    pub(crate) name: String,
    /// `None` is what the context of this name was made of.
    pub(crate) source: Option<ContextSource>,
    pub(crate) keep_alive: Option<KeepAlive>,
    pub(crate) urgency: Urgency,
}

/// A context that is there now, and the receipt of its computation, which is durable.
pub(crate) struct Published {
    pub(crate) context: Arc<Context>,
    pub(crate) receipt: Box<Receipt>,
}

/// Computes a context and keeps it, in the place of the one of the same name and model.
pub(crate) async fn publish(app: &Arc<App>, request: PublishRequest) -> Result<Published, ApiError> {
    let PublishRequest { asker, authority, model, name, source, keep_alive, urgency } = request;
    let id = format!("{CONTEXT_ID_PREFIX}{}", Uuid::now_v7().simple());
    let admission = admit(app, &asker, source.as_ref().map_or(0, tokens_estimated)).await?;
    let (arrived, tenant) = (Instant::now(), Arc::clone(&asker.access.tenant));
    let caller = Caller { arrived, id: id.clone(), asker, admission, model, keep_alive, urgency, recorder: None };
    let (contexts, about_id) = (Arc::clone(&app.contexts), id.clone());
    let prepare = move |preparation: &Preparation<'_>| {
        check_is_decoder(preparation.descriptor)?;
        let source = match source {
            Some(source) => source,
            None => known_source(&contexts, &preparation.name, &name)?,
        };
        let about = ContextAbout {
            id: about_id,
            name,
            model: preparation.name.to_string(),
            publisher: tenant.to_string(),
            created_unix_s: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs()),
            key: preparation.context_key(),
        };
        prepare(&contexts, (about, source), authority, preparation)
    };
    let mut answer = start(app, caller, prepare).await?;
    let finished = loop {
        match answer.next().await {
            Piece::Output(_) => {}
            Piece::End(end) => break end?,
        }
    };
    let context = app.contexts.called(&id).into_iter().next();
    // Replaced or deleted by someone else by now.
    let context = context.ok_or_else(|| ApiError::context_not_found(&id))?;
    Ok(Published { context, receipt: finished.receipt })
}

fn known_source(contexts: &Contexts, model: &str, name: &str) -> Result<ContextSource, ApiError> {
    let known = contexts.shelf().named(model, name);
    match known {
        Some(known) => contexts.source(&known),
        None => Err(ApiError::missing_field("text")),
    }
}

/// What is computed is the full blocks: the tokens behind them would be of no use to anyone.
fn prepare(
    contexts: &Arc<Contexts>,
    (about, source): (ContextAbout, ContextSource),
    authority: ContextAuthority,
    preparation: &Preparation<'_>,
) -> Result<Work, ApiError> {
    let tokens = encode_context(&source, preparation)?;
    let computed = tokens.len() / KV_BLOCK_POSITIONS * KV_BLOCK_POSITIONS;
    if computed == 0 {
        let why = format_args!("has {} tokens; a context has at least {KV_BLOCK_POSITIONS}", tokens.len());
        return Err(ApiError::invalid_value(param_of(&source), why));
    }
    let request = GenerationRequest {
        prompts: vec![tokens[..computed].to_vec()],
        choices: 1,
        tokens_max: Tokens::PromptAlone,
        sampling: Sampling::default(),
        grammar: None,
        stop: Vec::new(),
        end: End::Honoured,
        ending: Ending::default(),
        control_tokens: Shown::No,
        echo: Echo::Nothing,
        logprobs: None,
        context: preparation.positions_max,
    };
    let draft = ContextDraft { about, tokens: tokens.into(), source };
    let publication = Publication::plan(contexts, draft, preparation.kv_shape(), authority)?;
    Ok(Work::Publish(request, Box::new(publication)))
}

/// About how many tokens a source has.
fn tokens_estimated(source: &ContextSource) -> u64 {
    let bytes = match source {
        ContextSource::Text(text) => text.len(),
        ContextSource::Messages(messages) => messages.iter().map(|message| message.content.len()).sum(),
    };
    bytes.div_ceil(TOKEN_BYTES_ASSUMED) as u64
}

/// The field that a source came in.
pub(crate) const fn param_of(source: &ContextSource) -> &'static str {
    match source {
        ContextSource::Text(_) => "text",
        ContextSource::Messages(_) => "messages",
    }
}
