//! Bills in FOCUS's columns (FinOps Open Cost and Usage Specification 1.2, with 1.3's `Allocated…`): a row for each tenant,
//! key, model, meter and hour. The key's id is a column of ours (`x_KeyId`, as that specification has such columns named), and
//! no tag: tags are of resources, and a key is none. It is empty where a request came by no key with an id, and for what
//! accounts hold, which no key does.
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

mod meters;

use std::collections::BTreeMap;

use chrono::{DateTime, Datelike as _, SecondsFormat, Utc};
use ledger::{LedgerError, Reader, SeriesQuery, SettledRequest, Span, TenantTotal};
use meter::rate::RateCard;

use self::meters::{Meter, amount_of};
use super::costs::{CostLine, LineItem, costs_of};

/// The columns, in the order of the rows' cells.
pub(crate) const FOCUS_COLUMNS: [&str; 37] = [
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
    "x_KeyId",
    "x_Meter",
    "x_PricedAt",
];

const HOUR_S: i64 = Span::Hour.seconds();

/// Whose row it is, in the order of rows.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    hour: i64,
    /// Nobody's without one.
    tenant: Option<String>,
    /// Of no key with an id without one.
    key_id: Option<String>,
    model: String,
    meter: Meter,
}

/// Money by place of requests, of whatever meter, that no row has told of yet.
type Untold = BTreeMap<Place, u64>;

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
    /// Sums of accounts of which a part has no price.
    pub(crate) accounts_unpriced: u64,
}

impl Focus {
    /// The rows of all hours from the one of `since_unix_s` on, at `rates` where nothing else was recorded.
    pub(crate) fn read(reader: &Reader, since_unix_s: i64, rates: &RateCard) -> Result<Self, LedgerError> {
        let mut focus = Self::default();
        let query = SeriesQuery { width: Span::Hour, from_unix_s: since_unix_s, to_unix_s: i64::MAX };
        let snapshot = reader.snapshot()?;
        let buckets = snapshot.series(query)?;
        let mut untold = Untold::new();
        for bucket in &buckets {
            let hour = bucket.begins_unix_s / HOUR_S;
            for (key_id, TenantTotal { tenant, model, pico_units, unpriced, .. }) in bucket.by_key() {
                let (tenant, key_id) = (Some(tenant), key_id.map(str::to_owned));
                untold.insert(Place { hour, tenant, key_id, model, meter: Meter::Removed }, pico_units.get());
                focus.unpriced += unpriced;
            }
            for line in costs_of(bucket, rates).iter().filter(|line| line.item != LineItem::Requests) {
                focus.add_account(hour, line);
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
        for (place, pico_units) in untold.into_iter().filter(|(_, pico_units)| *pico_units > 0) {
            focus.add(place, Sum { pico_units, amount: 0 });
        }
        Ok(focus)
    }

    /// Adds a request of an hour that is told, and takes it out of that hour's sum.
    fn add_request(&mut self, settled: &SettledRequest, untold: &mut Untold) {
        let Some(receipt) = &settled.usage.receipt else { return };
        let Some(pico_units) = receipt.cost.pico_units else { return };
        let place = Place {
            hour: settled.settled_unix_ms.div_euclid(Span::Hour.seconds() * 1000),
            tenant: Some(settled.usage.tenant.clone()),
            key_id: settled.usage.key_id.clone(),
            model: settled.usage.model.clone(),
            meter: Meter::Removed,
        };
        let Some(left) = untold.get_mut(&place) else { return };
        *left = left.saturating_sub(pico_units.get());
        for part in &receipt.cost.parts {
            let sum = Sum { pico_units: part.pico_units.get(), amount: amount_of(receipt, part.resource) };
            self.add(Place { meter: Meter::of(part.resource), ..place.clone() }, sum);
        }
    }

    fn add_account(&mut self, hour: i64, line: &CostLine<'_>) {
        let place = Place {
            hour,
            tenant: line.tenant.map(str::to_owned),
            key_id: None,
            model: line.model.to_owned(),
            meter: Meter::Account(line.item, line.priced_at),
        };
        self.accounts_unpriced += u64::from(line.is_incomplete);
        // Of several intervals some may have had a price.
        if !line.is_incomplete || line.pico_units.get() > 0 {
            self.add(place, Sum { pico_units: line.pico_units.get(), amount: line.memory.get().into() });
        }
    }

    fn add(&mut self, place: Place, sum: Sum) {
        let row = self.rows.entry(place).or_default();
        row.pico_units = row.pico_units.saturating_add(sum.pico_units);
        row.amount = row.amount.saturating_add(sum.amount);
    }

    /// The cells of every row, ordered by hour, tenant, key, model and meter.
    pub(crate) fn rows<'a>(&'a self, rates: &'a RateCard) -> impl Iterator<Item = [String; FOCUS_COLUMNS.len()]> + 'a {
        self.rows.iter().map(|(place, sum)| cells(place, *sum, rates))
    }

    /// All money in the rows, in pico-units.
    #[cfg(test)]
    pub(crate) fn total(&self) -> u64 {
        self.rows.values().map(|sum| sum.pico_units).sum()
    }
}

fn cells(
    Place { hour, tenant, key_id, model, meter }: &Place,
    sum: Sum,
    rates: &RateCard,
) -> [String; FOCUS_COLUMNS.len()] {
    let cost = decimal(sum.pico_units);
    let [name, unit, description] = meter.names();
    let quantity = if unit.is_empty() { String::new() } else { meter.quantity(sum.amount) };
    let tenant_name = tenant.clone().unwrap_or_default();
    let period = moment(*hour * HOUR_S);
    let [month, next_month] = month_of(*hour * HOUR_S);
    let (priced_at, [method, details]) = meter.method();
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
        key_id.clone().unwrap_or_default(),
        name.into(),
        priced_at.name().into(),
    ]
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
