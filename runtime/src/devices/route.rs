//! From a request to its device: what is known of each, the scheduler's choice, and what came of it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use meter::receipt::{RoutedCandidate, Routing};
use models::Descriptor;
use models::generation::Tokens;
use scheduler::routing::{Candidate, Choice, Expected, Obstacle, Reason, Work as Predicted, choose};
use scheduler::{Place, RequestTiming};

use super::estimates::{Estimate, Size};
use super::{Device, Devices, Entered};
use crate::generate::Work;
use crate::http::error::ApiError;
use crate::limits::LOAD_BYTES_PER_SECOND_ASSUMED;
use crate::metering::Metering;

/// What is to be done, for whom.
pub(crate) struct Question<'a> {
    pub(crate) tenant: &'a Arc<str>,
    pub(crate) model: &'a Arc<str>,
    pub(crate) descriptor: &'a Descriptor,
    pub(crate) work: &'a Work,
}

/// Where a request goes, with its place there.
pub(crate) struct Routed {
    /// The device's number.
    pub(crate) device: usize,
    pub(crate) place: Place,
    /// Where there was a choice.
    pub(crate) follow: Option<Follow>,
}

/// A routed request on its way: what was predicted, until it is known what came of it.
pub(crate) struct Follow {
    routing: Routing,
    expected: Option<Expected>,
    predicted: Option<Duration>,
    since: Instant,
}

impl Routed {
    pub(super) fn unasked(device: usize, place: Place) -> Self {
        Self { device, place, follow: None }
    }
}

impl Follow {
    /// A piece of the answer came.
    pub(crate) fn token(&self) {
        if let Some(expected) = &self.expected {
            expected.token();
        }
    }

    /// How the choice is told.
    pub(crate) fn routing(&self) -> Routing {
        self.routing.clone()
    }
}

impl Devices {
    /// Chooses a device for a request that has a place in one of their queues, and its place there.
    ///
    /// # Errors
    /// When no device can take it: as the first device would answer.
    pub(crate) async fn route(&self, question: &Question<'_>, entered: Entered) -> Result<Routed, ApiError> {
        let Entered { device: held, place } = entered;
        let mut place = Some(place);
        let size = self.size(question.work);
        let mut seen = Vec::with_capacity(self.devices.len());
        for device in &self.devices {
            seen.push(device.look(question, size, device.number == held).await);
        }
        loop {
            let candidates: Vec<Candidate> = seen.iter().map(|(candidate, _)| candidate.clone()).collect();
            let Some(Choice { index, reason }) = choose(self.rule, &candidates) else {
                return Err(refusal(&candidates));
            };
            let device = &self.devices[index];
            let taken = if index == held { place.take() } else { device.executor.enter(question.tenant).ok() };
            let Some(place) = taken else {
                // Taken by another meanwhile: the next best.
                seen[index].0.obstacle = Some(Obstacle::QueueFull);
                continue;
            };
            if reason == Reason::Exploring {
                device.estimates.explores(question.model);
            }
            let expected = seen[index].1.map(|Estimate { prefill, token }| {
                device.backlog.expect(question.model, prefill, token, size.completion_tokens)
            });
            let predicted = candidates[index].prediction().map(|prediction| prediction.finish);
            let routing = told(self.rule.policy.name(), device, reason, &candidates);
            let follow = Follow { routing, expected, predicted, since: Instant::now() };
            return Ok(Routed { device: index, place, follow: Some(follow) });
        }
    }

    /// What came of a routed request. Learns from it, and tells how far the prediction was off.
    pub(crate) fn learn(
        &self,
        number: usize,
        (model, weights_bytes): (&str, u64),
        timing: &RequestTiming,
        outcome: (&Metering, Option<&Follow>),
    ) {
        if !self.are_several() {
            return;
        }
        let (metering, follow) = outcome;
        let device = &self.devices[number];
        device.estimates.learn(model, weights_bytes, timing);
        if timing.decode.tokens > 0 {
            self.lengths.learn(timing.decode.tokens);
        }
        let Some(Follow { predicted: Some(predicted), since, .. }) = follow else { return };
        let took = since.elapsed().saturating_sub(timing.stall).as_secs_f64();
        if took > 0.0 {
            metering.metrics().routed(&device.name, (predicted.as_secs_f64() - took).abs() / took);
        }
    }

    fn size(&self, work: &Work) -> Size {
        let count = |tokens: usize| u32::try_from(tokens).unwrap_or(u32::MAX);
        match work {
            Work::Generate(request) | Work::Publish(request, _) => {
                let prompt_tokens = request.prompts.iter().map(Vec::len).sum();
                let longest = request.prompts.iter().map(Vec::len).max().unwrap_or(0);
                let tokens_max = match request.tokens_max {
                    Tokens::AtMost(tokens) => tokens,
                    Tokens::PromptAlone => 0,
                    Tokens::RestOfContext => request.context.saturating_sub(longest),
                };
                let answers = count(request.prompts.len().saturating_mul(request.choices));
                let completion_tokens = self.lengths.expected(tokens_max).saturating_mul(answers);
                Size { prompt_tokens: count(prompt_tokens), completion_tokens }
            }
            Work::Encode(encoding) => Size { prompt_tokens: count(encoding.tokens()), completion_tokens: 0 },
        }
    }
}

impl Device {
    /// What is known of this device for one request, which may hold a place here already.
    async fn look(&self, question: &Question<'_>, size: Size, has_place: bool) -> (Candidate, Option<Estimate>) {
        let Question { tenant, model, descriptor, .. } = question;
        let outlook = self.pool.outlook(model).await;
        let needed_bytes = self.models.needed_bytes(descriptor);
        let costs = self.models.costs(descriptor);
        let estimate = self.estimates.work((model, needed_bytes), &costs, size);
        let alone = estimate.map(|estimate| estimate.alone(size));
        let load = match outlook.is_at_hand {
            true => Duration::ZERO,
            false => {
                outlook.load_wall.or_else(|| self.estimates.load(needed_bytes)).unwrap_or_else(|| assumed(needed_bytes))
            }
        };
        let obstacle = if outlook.shutting_down || self.executor.has_ended() {
            Some(Obstacle::Ended)
        } else if matches!(question.work, Work::Publish(..)) && !self.models.shares_blocks() {
            Some(Obstacle::SharesNothing)
        } else if needed_bytes > outlook.available_bytes && !self.may_page() {
            Some(Obstacle::TooLarge { needed_bytes, limit_bytes: outlook.available_bytes })
        } else if !has_place && self.executor.enter(tenant).is_err() {
            Some(Obstacle::QueueFull)
        } else if !outlook.is_at_hand && outlook.known_bytes.is_none() && needed_bytes > outlook.reclaimable_bytes {
            let available_bytes = outlook.reclaimable_bytes;
            Some(Obstacle::MemoryFull { needed_bytes, available_bytes })
        } else {
            None
        };
        let candidate = Candidate {
            device: Arc::clone(&self.name),
            obstacle,
            load,
            ahead: self.backlog.delay(model, alone.unwrap_or(Duration::ZERO)),
            work: match alone {
                Some(alone) => Predicted::Predicted(alone),
                None => Predicted::Unknown(self.estimates.exploration(model)),
            },
            busy_watts: Some(self.busy_watts),
            busy_second_cost: self.busy_second_cost,
        };
        (candidate, estimate)
    }

    /// Whether a model may be larger than its memory here.
    fn may_page(&self) -> bool {
        self.oversize == scheduler::Oversize::Page
    }
}

/// How long a load takes before any was measured.
fn assumed(bytes: u64) -> Duration {
    let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(LOAD_BYTES_PER_SECOND_ASSUMED);
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

/// What a client is told whom no device can take: what stands in the way of the first that it could wait for.
fn refusal(candidates: &[Candidate]) -> ApiError {
    let is_full = candidates.iter().any(|candidate| candidate.obstacle == Some(Obstacle::QueueFull));
    let too_large = candidates.iter().find_map(|candidate| match &candidate.obstacle {
        Some(obstacle @ Obstacle::TooLarge { .. }) => Some(obstacle.clone()),
        _ => None,
    });
    let shares_none = candidates.iter().any(|candidate| candidate.obstacle == Some(Obstacle::SharesNothing));
    match too_large {
        _ if is_full => ApiError::overloaded(scheduler::limits::RETRY_AFTER_MIN),
        None if shares_none => ApiError::invalid_value("model", "no device of this server can publish a context of it"),
        Some(obstacle) => ApiError::model_too_large(obstacle),
        None => ApiError::shutting_down(),
    }
}

fn told(policy: &str, device: &Device, reason: Reason, candidates: &[Candidate]) -> Routing {
    let candidate = |candidate: &Candidate| {
        let prediction = candidate.prediction();
        RoutedCandidate {
            device: candidate.device.to_string(),
            predicted_finish_ms: prediction.map(|prediction| prediction.finish.as_secs_f64() * 1e3),
            predicted_joules: prediction.and_then(|prediction| prediction.joules),
            predicted_cost: prediction.and_then(|prediction| prediction.cost),
            excluded: candidate.obstacle.as_ref().map(ToString::to_string),
        }
    };
    Routing {
        policy: policy.to_owned(),
        device: device.name.to_string(),
        reason: reason.name().to_owned(),
        candidates: candidates.iter().map(candidate).collect(),
    }
}
