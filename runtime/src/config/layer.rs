//! What one source says; `None` where it is silent. Its form in TOML is the configuration file's.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use loader::catalog::LinkPolicy;
use loader::pull::Url;
use serde::Deserialize;

use super::allowed_origin::AllowedOrigin;
use super::contexts::ContextsTable;
use super::devices::DeviceTable;
use super::energy::EnergyTable;
use super::http::HttpTable;
use super::pool::{ModelTable, PoolTable};
use super::quantity::{ByteSize, Choice, IsaName, Parsed, Span, Stay};
use super::response_cache::ResponseCacheTable;
use super::savings::SavingsTable;
use super::scheduler::SchedulerTable;
use super::tables::{CarbonTable, RateTable};
use super::tenants::{AnonymousPolicy, KeyTable, TenantTable};
use super::{PullPolicy, chat_templates};
use crate::logging::LogDirectives;

/// One source's choices.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Layer {
    pub(crate) listen: Option<SocketAddr>,
    pub(crate) models_dirs: Option<Vec<PathBuf>>,
    pub(crate) ledger: Option<PathBuf>,
    pub(crate) ledger_retention: Option<Span>,
    pub(crate) descriptors_dir: Option<PathBuf>,
    pub(crate) memory_budget: Option<ByteSize>,
    pub(crate) ctx_max: Option<NonZeroUsize>,
    pub(crate) threads: Option<NonZeroUsize>,
    pub(crate) isa: Option<IsaName>,
    pub(crate) keep_alive: Option<Stay>,
    pub(crate) exit_when_idle: Option<Span>,
    pub(crate) log: Option<Parsed<LogDirectives>>,
    pub(crate) links: Option<Choice<LinkPolicy>>,
    pub(crate) pull: Option<Choice<PullPolicy>>,
    pub(crate) hf_endpoint: Option<Parsed<Url>>,
    pub(crate) hosts: Option<Vec<String>>,
    pub(crate) origins: Option<Vec<AllowedOrigin>>,
    pub(crate) http: Option<HttpTable>,
    pub(crate) aliases: Option<BTreeMap<String, String>>,
    pub(crate) chat_templates: Option<BTreeMap<String, PathBuf>>,
    pub(crate) pool: Option<PoolTable>,
    pub(crate) contexts: Option<ContextsTable>,
    pub(crate) scheduler: Option<SchedulerTable>,
    pub(crate) response_cache: Option<ResponseCacheTable>,
    pub(crate) tenants: Option<BTreeMap<String, TenantTable>>,
    pub(crate) models: Option<BTreeMap<String, ModelTable>>,
    pub(crate) devices: Option<BTreeMap<String, DeviceTable>>,
    pub(crate) keys: Option<Vec<KeyTable>>,
    pub(crate) energy: Option<EnergyTable>,
    pub(crate) anonymous: Option<Choice<AnonymousPolicy>>,
    pub(crate) carbon: Option<CarbonTable>,
    pub(crate) rates: Option<RateTable>,
    pub(crate) savings: Option<SavingsTable>,
}

impl Layer {
    /// Where this one is silent, `next` speaks.
    pub(super) fn or(self, next: Self) -> Self {
        Self {
            listen: self.listen.or(next.listen),
            models_dirs: self.models_dirs.or(next.models_dirs),
            ledger: self.ledger.or(next.ledger),
            ledger_retention: self.ledger_retention.or(next.ledger_retention),
            descriptors_dir: self.descriptors_dir.or(next.descriptors_dir),
            memory_budget: self.memory_budget.or(next.memory_budget),
            ctx_max: self.ctx_max.or(next.ctx_max),
            threads: self.threads.or(next.threads),
            isa: self.isa.or(next.isa),
            keep_alive: self.keep_alive.or(next.keep_alive),
            exit_when_idle: self.exit_when_idle.or(next.exit_when_idle),
            log: self.log.or(next.log),
            links: self.links.or(next.links),
            pull: self.pull.or(next.pull),
            hf_endpoint: self.hf_endpoint.or(next.hf_endpoint),
            hosts: self.hosts.or(next.hosts),
            origins: self.origins.or(next.origins),
            http: self.http.or(next.http),
            aliases: self.aliases.or(next.aliases),
            chat_templates: self.chat_templates.or(next.chat_templates),
            pool: self.pool.or(next.pool),
            contexts: self.contexts.or(next.contexts),
            scheduler: self.scheduler.or(next.scheduler),
            response_cache: self.response_cache.or(next.response_cache),
            tenants: self.tenants.or(next.tenants),
            models: self.models.or(next.models),
            devices: self.devices.or(next.devices),
            keys: self.keys.or(next.keys),
            energy: self.energy.or(next.energy),
            anonymous: self.anonymous.or(next.anonymous),
            carbon: self.carbon.or(next.carbon),
            rates: self.rates.or(next.rates),
            savings: self.savings.or(next.savings),
        }
    }

    /// Relative paths of a file are relative to its folder.
    pub(super) fn relative_to(mut self, folder: &Path) -> Self {
        let paths = self.models_dirs.iter_mut().flatten().chain(&mut self.ledger).chain(&mut self.descriptors_dir);
        for path in paths {
            *path = folder.join(&path);
        }
        if let Some(contexts) = &mut self.contexts {
            contexts.relative_to(folder);
        }
        let choices = self.chat_templates.iter_mut().flat_map(BTreeMap::values_mut);
        choices.filter(|choice| !chat_templates::is_builtin(choice)).for_each(|path| *path = folder.join(&path));
        self
    }
}
