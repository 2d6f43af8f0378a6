//! Bills in FOCUS's columns (FinOps Open Cost and Usage Specification 1.2, with 1.3's `Allocated…`): a row for each tenant,
//! model, meter and hour.
//!
//! Requests are told by the parts of their receipts; what accounts held beside them is a row of its own for each thing that
//! it was held as, priced when it was written down, or where an older schema did not write that, now (`x_PricedAt`). Where
//! retention has removed receipts, their hours' sums stand in one row.
//! Counterfactuals are never rows here.
//!
//! Invariant: the rows of requests sum to what their receipts say, to the last pico-unit. Requests without a price are
//! counted and make no row: FOCUS has no unknown amount.
//!
//! Source: <https://focus.finops.org/focus-specification/v1-2/>

use std::collections::BTreeMap;

use chrono::{DateTime, Datelike as _, SecondsFormat, Utc};
use ledger::{LedgerError, Reader, SeriesQuery, SettledRequest, Span};
use meter::rate::{RateCard, Resource};
use meter::{HeldAs, KibMillis, Receipt};

use super::costs::{CostLine, LineItem, PricedAt, costs_of};

/// The columns, in the order of the rows' cells.
pub(crate) const FOCUS_COLUMNS: [&str; 36] = [
    "AllocatedMethodDetails",
    "AllocatedMethodId",
    "AllocatedResourceId",
    "BilledCost",
    "BillingAccountId",
    "BillingAccountName",
    "BillingCurrency",
    "BillingPeriodEnd",
    "BillingPeriodStart",
    "ChargeCategory",
    "ChargeClass",
    "ChargeDescription",
    "ChargeFrequency",
    "ChargePeriodEnd",
    "ChargePeriodStart",
    "ConsumedQuantity",
    "ConsumedUnit",
    "ContractedCost",
    "EffectiveCost",
    "InvoiceIssuerName",
    "ListCost",
    "PricingCategory",
    "PricingQuantity",
    "PricingUnit",
    "ProviderName",
    "PublisherName",
    "ResourceId",
    "ResourceName",
    "ResourceType",
    "ServiceCategory",
    "ServiceName",
    "SkuId",
    "SubAccountId",
    "SubAccountName",
    "x_Meter",
    "x_PricedAt",
];

const HOUR_S: i64 = Span::Hour.seconds();

/// What is told in one row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Meter {
    /// A part of receipts.
    Resource(ResourceName),
    /// Requests whose receipts retention has removed.
    Removed,
    /// What no request carries, and when it was priced.
    Account(LineItem, PricedAt),
}

/// A resource's place among the rows, and its names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct ResourceName {
    name: &'static str,
    unit: &'static str,
    description: &'static str,
}

/// Whose row it is: the hour's number, the tenant (none for nobody), the model, the meter.
type Place = (i64, Option<String>, String, Meter);

#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    pico_units: u64,
    /// Nanoseconds, KiB-milliseconds, nanojoules or tokens, as the meter has it.
    amount: u128,
}

/// The rows of a ledger.
#[derive(Debug, Default)]
pub(crate) struct Focus {
    rows: BTreeMap<Place, Sum>,
    /// Requests that have no price.
    pub(crate) unpriced: u64,
}

impl Focus {
    /// The rows of all hours from the one of `since_unix_s` on, at `rates` where nothing else was recorded.
    pub(crate) fn read(reader: &Reader, since_unix_s: i64, rates: &RateCard) -> Result<Self, LedgerError> {
        let mut focus = Self::default();
        let query = SeriesQuery { width: Span::Hour, from_unix_s: since_unix_s, to_unix_s: i64::MAX };
        let snapshot = reader.snapshot()?;
        let buckets = snapshot.series(query)?;
        // Money of each hour that no row has told of yet.
        let mut untold: BTreeMap<(i64, String, String), u64> = BTreeMap::new();
        for bucket in &buckets {
            for total in &bucket.requests {
                let place = (bucket.begins_unix_s / HOUR_S, total.tenant.clone(), total.model.clone());
                untold.insert(place, total.pico_units.get());
                focus.unpriced += total.unpriced;
            }
            for line in costs_of(bucket, rates).iter().filter(|line| line.item != LineItem::Requests) {
                focus.add_account(bucket.begins_unix_s / HOUR_S, line);
            }
        }
        let mut after = 0;
        loop {
            let page = snapshot.settled_after(after)?;
            let Some(last) = page.last() else { break };
            after = last.number;
            for settled in &page {
                focus.add_request(settled, &mut untold);
            }
        }
        for ((hour, tenant, model), pico_units) in untold.into_iter().filter(|(_, pico_units)| *pico_units > 0) {
            focus.add((hour, Some(tenant), model, Meter::Removed), Sum { pico_units, amount: 0 });
        }
        Ok(focus)
    }

    /// Adds a request of an hour that is told, and takes it out of that hour's sum.
    fn add_request(&mut self, settled: &SettledRequest, untold: &mut BTreeMap<(i64, String, String), u64>) {
        let Some(receipt) = &settled.usage.receipt else { return };
        let Some(pico_units) = receipt.cost.pico_units else { return };
        let hour = settled.settled_unix_ms.div_euclid(Span::Hour.seconds() * 1000);
        let place = (hour, settled.usage.tenant.clone(), settled.usage.model.clone());
        let Some(left) = untold.get_mut(&place) else { return };
        *left = left.saturating_sub(pico_units.get());
        let (hour, tenant, model) = place;
        for part in &receipt.cost.parts {
            let sum = Sum { pico_units: part.pico_units.get(), amount: amount_of(receipt, part.resource) };
            let meter = Meter::Resource(resource_name(part.resource));
            self.add((hour, Some(tenant.clone()), model.clone(), meter), sum);
        }
    }

    fn add_account(&mut self, hour: i64, line: &CostLine<'_>) {
        let place =
            (hour, line.tenant.map(str::to_owned), line.model.to_owned(), Meter::Account(line.item, line.priced_at));
        if !line.is_incomplete {
            self.add(place, Sum { pico_units: line.pico_units.get(), amount: line.memory.get().into() });
        }
    }

    fn add(&mut self, place: Place, sum: Sum) {
        let row = self.rows.entry(place).or_default();
        row.pico_units = row.pico_units.saturating_add(sum.pico_units);
        row.amount = row.amount.saturating_add(sum.amount);
    }

    /// The cells of every row, ordered by hour, tenant, model and meter.
    pub(crate) fn rows<'a>(&'a self, rates: &'a RateCard) -> impl Iterator<Item = [String; FOCUS_COLUMNS.len()]> + 'a {
        self.rows.iter().map(|(place, sum)| cells(place, *sum, rates))
    }

    /// All money in the rows, in pico-units.
    #[cfg(test)]
    pub(crate) fn total(&self) -> u64 {
        self.rows.values().map(|sum| sum.pico_units).sum()
    }
}

fn cells((hour, tenant, model, meter): &Place, sum: Sum, rates: &RateCard) -> [String; FOCUS_COLUMNS.len()] {
    let cost = decimal(sum.pico_units);
    let (name, unit, description) = match meter {
        Meter::Resource(resource) => (resource.name, resource.unit, resource.description),
        Meter::Removed => ("requests", "", "requests whose receipts retention has removed"),
        Meter::Account(item, _) => (item.name(), "GB-Hours", account_description(*item)),
    };
    let quantity = if unit.is_empty() { String::new() } else { quantity(*meter, sum.amount) };
    let tenant_name = tenant.clone().unwrap_or_default();
    let period = moment(*hour * HOUR_S);
    let [month, next_month] = month_of(*hour * HOUR_S);
    let (priced_at, [method, details]) = match meter {
        Meter::Account(item, priced_at) => (*priced_at, account_method(*item)),
        Meter::Resource(_) | Meter::Removed => (PricedAt::Request, REQUEST_METHOD),
    };
    [
        details.into(),
        method.into(),
        model.clone(),
        cost.clone(),
        "dayfly".into(),
        rates.name.clone(),
        rates.currency.clone(),
        next_month,
        month,
        "Usage".into(),
        String::new(),
        description.into(),
        "Usage-Based".into(),
        moment((*hour + 1) * HOUR_S),
        period,
        quantity.clone(),
        unit.into(),
        cost.clone(),
        cost.clone(),
        "dayfly".into(),
        cost,
        "Standard".into(),
        quantity,
        unit.into(),
        "dayfly".into(),
        "dayfly".into(),
        model.clone(),
        model.clone(),
        "Model".into(),
        "AI and Machine Learning".into(),
        "dayfly inference".into(),
        format!("{model}/{name}"),
        tenant_name.clone(),
        tenant_name,
        name.into(),
        priced_at.name().into(),
    ]
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

/// What of a resource a request used, in the unit that [`quantity`] begins with.
fn amount_of(receipt: &Receipt, resource: Resource) -> u128 {
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

/// An amount in the unit of its column.
fn quantity(meter: Meter, amount: u128) -> String {
    const NANOS_PER_HOUR: f64 = 3.6e12;
    const NANOJOULES_PER_KWH: f64 = 3.6e15;
    #[expect(clippy::cast_precision_loss, reason = "fifteen digits are enough for a quantity; money is exact")]
    let value = amount as f64;
    let gb_hours = || KibMillis::saturating_from(amount).gb_hours();
    match meter {
        Meter::Account(..) => format!("{:.12}", gb_hours()),
        Meter::Resource(ResourceName { unit: "GB-Hours", .. }) => format!("{:.12}", gb_hours()),
        Meter::Resource(ResourceName { unit: "Hours", .. }) => format!("{:.12}", value / NANOS_PER_HOUR),
        Meter::Resource(ResourceName { unit: "kWh", .. }) => format!("{:.15}", value / NANOJOULES_PER_KWH),
        Meter::Resource(_) | Meter::Removed => amount.to_string(),
    }
}

/// Pico-units as an exact decimal number of the currency's units.
pub(super) fn decimal(pico_units: u64) -> String {
    const PER_UNIT: u64 = 1_000_000_000_000;
    format!("{}.{:012}", pico_units / PER_UNIT, pico_units % PER_UNIT)
}

fn moment(unix_s: i64) -> String {
    DateTime::from_timestamp(unix_s, 0).unwrap_or_default().to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// The month that holds this second: its beginning, and the next one's.
fn month_of(unix_s: i64) -> [String; 2] {
    let at: DateTime<Utc> = DateTime::from_timestamp(unix_s, 0).unwrap_or_default();
    let (year, month) = (at.year(), at.month());
    let (next_year, next) = if month == 12 { (year + 1, 1) } else { (year, month + 1) };
    [(year, month), (next_year, next)].map(|(year, month)| format!("{year:04}-{month:02}-01T00:00:00Z"))
}

#[cfg(test)]
mod tests;
