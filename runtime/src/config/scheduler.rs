//! `[scheduler]` and `[tenants.NAME]`: who waits, who computes, and what is kept of what was computed.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;

use scheduler::{ExecutorOptions, Priority, Scope};
use serde::Deserialize;

use super::quantity::{ByteSize, Choice, Span};
use super::{ConfigError, ModelChoices};
use crate::limits::{QUEUE_MAX, STALL_MAX};

/// One part in so many of the budget is for pages that no sequence uses, unless told otherwise.
const PREFIX_CACHE_DIVISOR: u64 = 8;
/// Requests that wait or run at once, at most: each has a task and a stream.
const REQUESTS_MAX: usize = 65_536;

/// `[scheduler]`.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SchedulerTable {
    /// Requests that wait for their first step.
    queue_max: Option<usize>,
    /// Those of them that are one tenant's.
    queue_per_tenant_max: Option<usize>,
    /// Sequences of a model that compute in turn or together.
    sequences_per_model_max: Option<usize>,
    /// Tokens that a step computes.
    step_tokens_max: Option<NonZeroU32>,
    /// How long a step may take that others wait for.
    step_wall_max: Option<Span>,
    /// Memory of pages that are kept for those who begin alike.
    prefix_cache: Option<ByteSize>,
    /// Who finds them.
    prefix_scope: Option<Choice<PrefixScope>>,
}

/// `[tenants.NAME]`: one tenant's own.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TenantTable {
    /// Its share against others'.
    weight: Option<NonZeroU32>,
    /// How urgent its requests may be.
    priority_max: Option<Choice<Priority>>,
}

/// Who finds what a tenant computed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum PrefixScope {
    /// The tenant alone: an answer's time tells nobody what others asked.
    #[default]
    Tenant,
    /// Everyone, where all tenants trust each other.
    Everyone,
}

/// What an operator chose of all this.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SchedulerChoices {
    /// The executor's.
    pub(crate) options: ExecutorOptions,
    /// Memory of pages that are kept for those who begin alike.
    pub(crate) prefix_cache_bytes_max: u64,
    /// Who finds them.
    pub(crate) prefix_scope: PrefixScope,
    /// Shares of tenants that have one of their own.
    pub(crate) weights: BTreeMap<String, NonZeroU32>,
    /// How urgent the requests of tenants may be, where it is not as most.
    pub(crate) priorities_max: BTreeMap<String, Priority>,
}

impl SchedulerChoices {
    /// A tenant's share against others'.
    pub(crate) fn weight(&self, tenant: &str) -> NonZeroU32 {
        self.weights.get(tenant).copied().unwrap_or(NonZeroU32::MIN)
    }

    /// How urgent a tenant's requests may be.
    pub(crate) fn priority_max(&self, tenant: &str) -> Priority {
        self.priorities_max.get(tenant).copied().unwrap_or_default()
    }

    /// Who finds what `tenant` computes.
    pub(crate) fn scope(&self, tenant: &Arc<str>) -> Scope {
        match self.prefix_scope {
            PrefixScope::Tenant => Scope::Tenant(Arc::clone(tenant)),
            PrefixScope::Everyone => Scope::Everyone,
        }
    }
}

impl SchedulerTable {
    /// The choices in a budget of `memory_budget_bytes`.
    pub(super) fn choices(
        self,
        memory_budget_bytes: u64,
        tenants: BTreeMap<String, TenantTable>,
        models: &ModelChoices,
    ) -> Result<SchedulerChoices, ConfigError> {
        let default = ExecutorOptions::default();
        let count = |chosen: Option<usize>, default: usize, reason: &'static str| match chosen.unwrap_or(default) {
            count if (1..=REQUESTS_MAX).contains(&count) => Ok(count),
            _ => Err(ConfigError::Scheduler { reason }),
        };
        let queue_max = count(self.queue_max, QUEUE_MAX, "queue_max is at least 1, and a number of requests")?;
        let per_tenant = self.queue_per_tenant_max.unwrap_or(default.queue_per_tenant_max.min(queue_max));
        let queue_per_tenant_max =
            count(Some(per_tenant), queue_max, "queue_per_tenant_max is at least 1, and a number of requests")?;
        let started_per_model_max = count(
            self.sequences_per_model_max,
            default.started_per_model_max,
            "sequences_per_model_max is at least 1, and a number of requests",
        )?;
        let priority_max = |(name, table): (&String, &TenantTable)| {
            table.priority_max.map(|Choice(priority)| (name.clone(), priority))
        };
        let priorities_max = tenants.iter().filter_map(priority_max).collect();
        let weights = tenants.into_iter().filter_map(|(name, table)| Some((name, table.weight?))).collect();
        Ok(SchedulerChoices {
            options: ExecutorOptions {
                queue_max,
                queue_per_tenant_max,
                started_per_model_max,
                step_tokens_max: self.step_tokens_max.map_or(default.step_tokens_max, NonZeroU32::get),
                step_wall_max: self.step_wall_max.map_or(default.step_wall_max, |Span(wall)| wall),
                model_weights: models.weights.iter().map(|(name, weight)| (name.as_str().into(), *weight)).collect(),
                stall_max: STALL_MAX,
                ..default
            },
            prefix_cache_bytes_max: self
                .prefix_cache
                .map_or(memory_budget_bytes / PREFIX_CACHE_DIVISOR, |ByteSize(bytes)| bytes),
            prefix_scope: self.prefix_scope.map_or(PrefixScope::default(), |Choice(scope)| scope),
            weights,
            priorities_max,
        })
    }
}
