//! What a row tells: its name, its unit, in words, and how much of it there is.

use meter::rate::Resource;
use meter::{HeldAs, KibMillis, Receipt};

use crate::reports::costs::{LineItem, PricedAt};

/// What is told in one row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Meter {
    /// A part of receipts.
    Resource(ResourceName),
    /// Requests whose receipts retention has removed.
    Removed,
    /// What no request carries, and when it was priced.
    Account(LineItem, PricedAt),
}

/// A resource's place among the rows, and its names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ResourceName {
    name: &'static str,
    unit: &'static str,
    description: &'static str,
}

impl Meter {
    /// The parts of receipts that are of this.
    pub(super) const fn of(resource: Resource) -> Self {
        Self::Resource(resource_name(resource))
    }

    /// Its name, the unit of its quantity (empty for what has none), and what it is in words.
    pub(super) const fn names(self) -> [&'static str; 3] {
        match self {
            Self::Resource(ResourceName { name, unit, description }) => [name, unit, description],
            Self::Removed => ["requests", "", "requests whose receipts retention has removed"],
            Self::Account(item, _) => [item.name(), "GB-Hours", account_description(item)],
        }
    }

    /// When it was priced, and how it was given to whose it is: by name, and in words.
    pub(super) const fn method(self) -> (PricedAt, [&'static str; 2]) {
        match self {
            Self::Account(item, priced_at) => (priced_at, account_method(item)),
            Self::Resource(_) | Self::Removed => (PricedAt::Request, REQUEST_METHOD),
        }
    }

    /// An amount in its unit: of nanoseconds, KiB-milliseconds, nanojoules or tokens.
    pub(super) fn quantity(self, amount: u128) -> String {
        const NANOS_PER_HOUR: f64 = 3.6e12;
        const NANOJOULES_PER_KWH: f64 = 3.6e15;
        #[expect(clippy::cast_precision_loss, reason = "fifteen digits are enough for a quantity; money is exact")]
        let value = amount as f64;
        let gb_hours = || KibMillis::saturating_from(amount).gb_hours();
        match self {
            Self::Account(..) => format!("{:.12}", gb_hours()),
            Self::Resource(ResourceName { unit: "GB-Hours", .. }) => format!("{:.12}", gb_hours()),
            Self::Resource(ResourceName { unit: "Hours", .. }) => format!("{:.12}", value / NANOS_PER_HOUR),
            Self::Resource(ResourceName { unit: "kWh", .. }) => format!("{:.15}", value / NANOJOULES_PER_KWH),
            Self::Resource(_) | Self::Removed => amount.to_string(),
        }
    }
}

/// What of a resource a request used, in the unit that [`Meter::quantity`] begins with.
pub(super) fn amount_of(receipt: &Receipt, resource: Resource) -> u128 {
    let tokens = &receipt.tokens;
    let is_found = receipt.method.answered_from == meter::receipt::AnsweredFrom::ResponseCache;
    match resource {
        Resource::Cpu => receipt.cpu.total_ns.get().into(),
        // Receipts do not tell it.
        Resource::Device => 0,
        Resource::Memory => receipt.memory.total().get().into(),
        Resource::Energy => receipt.energy.total_nj.get().into(),
        Resource::PromptTokens if is_found => 0,
        Resource::PromptTokens => (tokens.prompt - tokens.cached).into(),
        Resource::CachedTokens if is_found => tokens.total.into(),
        Resource::CachedTokens => tokens.cached.into(),
        Resource::CompletionTokens if is_found => 0,
        Resource::CompletionTokens => tokens.completion.into(),
    }
}

const fn resource_name(resource: Resource) -> ResourceName {
    let (name, unit, description) = match resource {
        Resource::Cpu => ("cpu", "Hours", "processor time"),
        Resource::Device => ("device", "", "time for which a device of its own price computed"),
        Resource::Memory => ("memory", "GB-Hours", "weights, loads, keys and values while requests were active"),
        Resource::Energy => ("energy", "kWh", "energy, as the receipts' own quality says"),
        Resource::PromptTokens => ("prompt_tokens", "Tokens", "prompt tokens that were computed"),
        Resource::CachedTokens => ("cached_tokens", "Tokens", "tokens that were found in a cache"),
        Resource::CompletionTokens => ("completion_tokens", "Tokens", "tokens that were generated"),
    };
    ResourceName { name, unit, description }
}

const REQUEST_METHOD: [&str; 2] =
    ["measured-steps", "steps by affine Shapley shares, weights equally over active tenants and then their requests"];

const fn account_description(item: LineItem) -> &'static str {
    match item {
        LineItem::Requests => "requests",
        LineItem::Held(HeldAs::Keepalive) => "weights kept after the tenant's last request",
        LineItem::Held(HeldAs::Pinned) => "weights that were pinned, while no request was active",
        LineItem::Held(HeldAs::Load) => "loads that no request waited for: memory and processor time",
        LineItem::Held(HeldAs::Prefix) => "keys and values kept to be found again",
        LineItem::Held(HeldAs::Context) => "keys and values of published contexts",
        LineItem::Held(HeldAs::Idle) => "weights held for nobody in particular",
        LineItem::Held(HeldAs::Unmeasured) => "memory that no rule covers",
    }
}

/// How that was given to whose it is, by name and in words.
const fn account_method(item: LineItem) -> [&'static str; 2] {
    match item {
        LineItem::Requests => REQUEST_METHOD,
        LineItem::Held(HeldAs::Keepalive) => [
            "equal-over-last-active-tenants",
            "weights after the last request, over the tenants that were active last; what nobody carries has no account",
        ],
        LineItem::Held(HeldAs::Pinned | HeldAs::Load) => ["asked-for", "whoever asked for it; nobody where nobody did"],
        LineItem::Held(HeldAs::Prefix | HeldAs::Context) => {
            ["kept-for", "whoever keeps it while no request holds it; nobody where everyone finds it"]
        }
        LineItem::Held(HeldAs::Idle | HeldAs::Unmeasured) => ["none", "nobody carries it"],
    }
}
