//! `[scheduler]`: who waits, who computes, and what is kept of what was computed.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;

use kernels::KvPrecision;
use models::limits::PREFILL_CHUNK_TOKENS;
use scheduler::routing::{Policy, Rule};
use scheduler::{ExecutorOptions, Priority, Scope};
use serde::Deserialize;

use super::quantity::{ByteSize, Choice, Span};
use super::tenants::TenantTable;
use super::{ConfigError, ModelChoices};
use crate::limits::{LOADING_MAX, QUEUE_MAX, STALL_MAX};

/// One part in so many of the budget is for pages that no sequence uses, unless told otherwise.
const PREFIX_CACHE_DIVISOR: u64 = 8;
/// How many times as long as on the fastest device an answer may take to save energy or money, unless told otherwise.
const ROUTING_SLACK: f64 = 2.0;
/// What that is at most.
const ROUTING_SLACK_MAX: f64 = 1000.0;
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
    /// Requests that wait for their model's load, beside the queue.
    loading_max: Option<usize>,
    /// Sequences of a model that compute in turn or together.
    sequences_per_model_max: Option<usize>,
    /// Tokens that a step computes.
    step_tokens_max: Option<NonZeroU32>,
    /// How long a step may take that others wait for.
    step_wall_max: Option<Span>,
    /// After how long a step is taken never to return.
    step_timeout: Option<Span>,
    /// What keys and values are kept as, of models that say nothing of their own.
    kv_precision: Option<Choice<KvPrecision>>,
    /// Whether tokens that may follow are computed ahead.
    speculation: Option<Choice<Speculation>>,
    /// Memory of pages that are kept for those who begin alike.
    prefix_cache: Option<ByteSize>,
    /// Who finds them.
    prefix_scope: Option<Choice<PrefixScope>>,
    /// What devices are chosen by.
    routing: Option<Choice<Policy>>,
    /// How many times as long as on the fastest device an answer may take to save energy or money.
    routing_slack: Option<f64>,
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

/// Whether tokens that may follow are computed ahead.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Speculation {
    /// Where that pays, by what steps were measured to cost.
    #[default]
    Auto,
    /// Never.
    Off,
}

/// What an operator chose of all this.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct SchedulerChoices {
    /// The executor's.
    pub(crate) options: ExecutorOptions,
    /// What keys and values are kept as, of models that say nothing of their own.
    pub(crate) kv_precision: KvPrecision,
    /// Whether tokens that may follow are computed ahead.
    pub(crate) speculation: Speculation,
    /// Memory of pages that are kept for those who begin alike.
    pub(crate) prefix_cache_bytes_max: u64,
    /// Who finds them.
    pub(crate) prefix_scope: PrefixScope,
    /// Shares of tenants that have one of their own.
    pub(crate) weights: BTreeMap<String, NonZeroU32>,
    /// How urgent the requests of tenants may be, where it is not as most.
    pub(crate) priorities_max: BTreeMap<String, Priority>,
    /// How devices are chosen.
    pub(crate) routing: Rule,
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
        let loading_max = count(self.loading_max, LOADING_MAX, "loading_max is at least 1, and a number of requests")?;
        let started_per_model_max = count(
            self.sequences_per_model_max,
            default.started_per_model_max,
            "sequences_per_model_max is at least 1, and a number of requests",
        )?;
        let priority_max = |(name, table): (&String, &TenantTable)| {
            table.priority_max.map(|Choice(priority)| (name.clone(), priority))
        };
        let priorities_max = tenants.iter().filter_map(priority_max).collect();
        if self.step_tokens_max.is_some_and(|tokens| tokens.get() as usize > PREFILL_CHUNK_TOKENS) {
            return Err(ConfigError::Scheduler {
                reason: "step_tokens_max is at most 256: models are checked for that",
            });
        }
        if self.step_timeout.is_some_and(|Span(timeout)| timeout.is_zero()) {
            return Err(ConfigError::Scheduler { reason: "step_timeout = 0 would end every step" });
        }
        let weights = tenants.into_iter().filter_map(|(name, table)| Some((name, table.weight?))).collect();
        Ok(SchedulerChoices {
            options: ExecutorOptions {
                queue_max,
                queue_per_tenant_max,
                loading_max,
                started_per_model_max,
                step_tokens_max: self.step_tokens_max.map_or(default.step_tokens_max, NonZeroU32::get),
                step_wall_max: self.step_wall_max.map_or(default.step_wall_max, |Span(wall)| wall),
                step_timeout: self.step_timeout.map_or(default.step_timeout, |Span(timeout)| timeout),
                model_weights: models.weights.iter().map(|(name, weight)| (name.as_str().into(), *weight)).collect(),
                stall_max: STALL_MAX,
                ..default
            },
            kv_precision: self.kv_precision.map_or(KvPrecision::default(), |Choice(precision)| precision),
            speculation: self.speculation.map_or(Speculation::default(), |Choice(speculation)| speculation),
            prefix_cache_bytes_max: self
                .prefix_cache
                .map_or(memory_budget_bytes / PREFIX_CACHE_DIVISOR, |ByteSize(bytes)| bytes),
            prefix_scope: self.prefix_scope.map_or(PrefixScope::default(), |Choice(scope)| scope),
            weights,
            priorities_max,
            routing: self.rule()?,
        })
    }

    fn rule(&self) -> Result<Rule, ConfigError> {
        let slack = self.routing_slack.unwrap_or(ROUTING_SLACK);
        if !(1.0..=ROUTING_SLACK_MAX).contains(&slack) {
            return Err(ConfigError::Scheduler { reason: "routing_slack is a factor from 1 to 1000" });
        }
        Ok(Rule { policy: self.routing.map_or(Policy::default(), |Choice(policy)| policy), slack })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUDGET: u64 = 800 << 20;

    fn choices(table: &str, tenants: &str, models: &ModelChoices) -> Result<SchedulerChoices, ConfigError> {
        let table: SchedulerTable = toml::from_str(table).unwrap();
        table.choices(BUDGET, toml::from_str(tenants).unwrap(), models)
    }

    #[test]
    fn silence_is_the_defaults() {
        let chosen = choices("", "", &ModelChoices::default()).unwrap();
        assert_eq!(
            chosen.options,
            ExecutorOptions {
                stall_max: STALL_MAX,
                queue_max: QUEUE_MAX,
                loading_max: LOADING_MAX,
                ..Default::default()
            }
        );
        assert_eq!((chosen.prefix_cache_bytes_max, chosen.prefix_scope), (100 << 20, PrefixScope::Tenant));
        assert_eq!((chosen.weight("anyone").get(), chosen.priority_max("anyone")), (1, Priority::Normal));
        assert_eq!(chosen.routing, Rule { policy: Policy::Latency, slack: 2.0 });
        assert_eq!(chosen.scope(&"me".into()), Scope::Tenant("me".into()));
        assert_eq!((chosen.kv_precision, chosen.speculation), (KvPrecision::F16, Speculation::Auto));
    }

    #[test]
    fn what_is_said_is_taken() {
        let table = "queue_max = 9\nqueue_per_tenant_max = 3\nloading_max = 8\nsequences_per_model_max = 2\nstep_tokens_max = 7\n\
                     step_wall_max = '5ms'\nstep_timeout = '7s'\nprefix_cache = '1MiB'\nprefix_scope = 'everyone'\n\
                     routing = 'energy'\nrouting_slack = 1.5\nkv_precision = 'q8_0'\nspeculation = 'off'";
        let weights = [("m".to_owned(), NonZeroU32::new(5).unwrap())].into();
        let models = ModelChoices { weights, ..ModelChoices::default() };
        let chosen = choices(table, "[a]\nweight = 4\npriority_max = 'high'\n[b]", &models).unwrap();
        assert_eq!((chosen.kv_precision, chosen.speculation), (KvPrecision::Q8_0, Speculation::Off));
        let options = &chosen.options;
        assert_eq!((options.queue_max, options.queue_per_tenant_max, options.started_per_model_max), (9, 3, 2));
        assert_eq!(options.loading_max, 8);
        assert_eq!((options.step_tokens_max, options.step_wall_max.as_millis()), (7, 5));
        assert_eq!((options.step_timeout.as_secs(), options.model_weights["m"].get()), (7, 5));
        assert_eq!((chosen.prefix_cache_bytes_max, chosen.scope(&"a".into())), (1 << 20, Scope::Everyone));
        assert_eq!(chosen.routing, Rule { policy: Policy::Energy, slack: 1.5 });
        assert_eq!((chosen.weight("a").get(), chosen.weight("b").get()), (4, 1));
        assert_eq!((chosen.priority_max("a"), chosen.priority_max("b")), (Priority::High, Priority::Normal));
    }

    #[test]
    fn what_cannot_be_is_refused() {
        for table in [
            "queue_max = 0",
            "queue_per_tenant_max = 0",
            "loading_max = 0",
            "sequences_per_model_max = 100000",
            "step_tokens_max = 257",
            "step_timeout = '0s'",
            "routing_slack = 0.9",
            "routing_slack = nan",
        ] {
            assert!(
                matches!(choices(table, "", &ModelChoices::default()), Err(ConfigError::Scheduler { .. })),
                "{table}"
            );
        }
        for table in [
            "step_tokens_max = 0",
            "prefix_scope = 'nobody'",
            "step_wall_max = 'soon'",
            "kv_precision = 'q4_0'",
            "speculation = 'on'",
            "queues = 1",
        ] {
            assert!(toml::from_str::<SchedulerTable>(table).is_err(), "{table}");
        }
        assert!(toml::from_str::<BTreeMap<String, TenantTable>>("[a]\nweight = 0").is_err());
    }
}
