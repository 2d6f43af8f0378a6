//! What the runtime measured of one request, before it is priced and put on a receipt.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::routing::Routing;
use crate::energy::Quality;
use crate::residency::RequestCharge;
use crate::step_costs::{EqualReason, SplitMethod};
use crate::units::{KibMillis, Nanos};

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The whole answer was given.
    Completed,
    /// The client left; what was computed until then is charged.
    Cancelled,
    /// It ended with an error.
    Failed,
    /// The process died before it ended.
    Crashed,
}

impl Outcome {
    /// The name as it stands in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Cancelled => "cancelled",
            Self::Failed => "failed",
            Self::Crashed => "crashed",
        }
    }

    /// The outcome of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Completed, Self::Cancelled, Self::Failed, Self::Crashed].into_iter().find(|one| one.name() == name)
    }
}

/// Where an answer is from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum AnsweredFrom {
    /// The model computed it.
    #[default]
    Model,
    /// An earlier request for exactly this had it computed.
    ResponseCache,
}

impl AnsweredFrom {
    /// The name as it stands in JSON and columns.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Model => "model",
            Self::ResponseCache => "response_cache",
        }
    }
}

/// How the cost of compute steps was given to the request: the method that most of its cost was split by, as
/// [`SplitTally`](crate::step_costs::SplitTally) finds it. In JSON `"whole_step"`, `{"affine": {"fit_error_ratio": 0.04}}`
/// or `{"equal": {"reason": "few_steps" | "collinear" | "poor_fit"}}`.
pub type StepSharing = SplitMethod;

/// The same in a sentence.
pub(super) fn explanation(sharing: StepSharing) -> String {
    let equally = "most of its cost is an equal share of each step over the sequences in its batch:";
    match sharing {
        SplitMethod::WholeStep => "whole step: one sequence per batch".to_owned(),
        SplitMethod::Affine { fit_error_ratio } => format!(
            "most of its cost is its share of each step by a fit of what steps cost: the fixed part divided by the \
             sequences in the batch, and what its own tokens and positions add; the fit was {:.1} % off on average",
            fit_error_ratio * 100.0
        ),
        SplitMethod::Equal { reason: EqualReason::FewSteps } => {
            format!("{equally} too few were measured to say what they cost")
        }
        SplitMethod::Equal { reason: EqualReason::Collinear } => {
            format!("{equally} those measured do not tell what of them costs what")
        }
        SplitMethod::Equal { reason: EqualReason::PoorFit } => {
            format!("{equally} no fit was close to what was measured")
        }
    }
}

/// Which bytes of weights are charged, in words.
pub(super) const fn resident_bytes(quality: Quality) -> &'static str {
    match quality {
        Quality::Measured => "what of their files the kernel says is in memory",
        Quality::Derived | Quality::Modelled | Quality::Assumed => "their files' size, or their copy's",
    }
}

/// What was measured of one request, as the runtime hands it in.
#[derive(Debug, Clone, PartialEq)]
pub struct Measured {
    /// The response's id.
    pub id: String,
    /// Who is charged.
    pub tenant: String,
    /// The id of the key that it came by, if that has one.
    pub key_id: Option<String>,
    /// The model's name in the catalog.
    pub model: String,
    /// Whether the model had to be loaded for it.
    pub cold: bool,
    /// How it ended.
    pub outcome: Outcome,
    /// Where its answer is from.
    pub answered_from: AnsweredFrom,
    /// Tokens.
    pub tokens: MeasuredTokens,
    /// Wall-clock spans.
    pub times: MeasuredTimes,
    /// Processor time of the compute threads.
    pub cpu: MeasuredCpu,
    /// Time for which the device computed for it: its shares of the steps.
    pub busy: Nanos,
    /// Memory over time.
    pub memory: MeasuredMemory,
    /// What its keys and values were kept as; none where there were none.
    pub kv_precision: Option<&'static str>,
    /// How step costs were shared; of no meaning where nothing was computed.
    pub sharing: StepSharing,
    /// How its device was chosen, where there are several.
    pub routing: Option<Routing>,
}

/// Token counts: `cached` is a part of `prompt`, `accepted` of `drafted` and of `completion`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MeasuredTokens {
    /// All prompt tokens.
    pub prompt: u64,
    /// Those of them whose keys and values were found in the cache.
    pub cached: u64,
    /// Tokens generated.
    pub completion: u64,
    /// Tokens computed ahead because they might be what follows.
    pub drafted: u64,
    /// Those of them that were generated then.
    pub accepted: u64,
}

/// Wall-clock spans of one request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MeasuredTimes {
    /// Waiting for a turn.
    pub queue: Nanos,
    /// Waiting for the model to be loaded.
    pub load_wait: Nanos,
    /// Computing the prompt.
    pub prefill: Nanos,
    /// Generating.
    pub decode: Nanos,
    /// Waiting for the client to take what was generated.
    pub stall: Nanos,
    /// From the request's arrival to its end.
    pub wall: Nanos,
}

/// Processor time of one request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MeasuredCpu {
    /// Computing the prompt.
    pub prefill: Nanos,
    /// Generating.
    pub decode: Nanos,
    /// This request's share of loading the model.
    pub load: Nanos,
}

/// Memory of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MeasuredMemory {
    /// Its share of the weights, as [`crate::Residency::request_ends`] returned it.
    pub weights: RequestCharge,
    /// Its key-value blocks, as [`crate::KvIntegral::finish`] returned it.
    pub kv: KibMillis,
    /// Resident bytes of the model's weights at the end: what a copy that is never unloaded would hold.
    pub weights_bytes: u64,
    /// [`Quality::Measured`] if the kernel was asked what is resident, [`Quality::Derived`] if the pool's own
    /// accounting stands in.
    pub quality: Quality,
}
