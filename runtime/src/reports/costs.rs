//! Money by tenant, model and what it is for.

use ledger::{AccountTotal, TenantTotal, UsageBucket};
use meter::rate::{BilledUse, RateCard, Resource};
use meter::{Account, KibMillis, PicoUnits};

/// What money is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum LineItem {
    /// Requests, as their receipts say.
    Requests,
    /// Weights kept for a tenant after its requests, at the present price of memory.
    Keepalive,
    /// Loads that nobody waited for, at the same.
    Load,
    /// Weights held for nobody in particular, at the same.
    Idle,
    /// What no rule covers, at the same.
    Unmeasured,
}

impl LineItem {
    /// The name as it stands in JSON and in columns.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Keepalive => "keepalive",
            Self::Load => "load",
            Self::Idle => "idle",
            Self::Unmeasured => "unmeasured",
        }
    }
}

/// A line of a bill.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CostLine<'a> {
    /// Who is charged; nobody for what no tenant carries.
    pub(crate) tenant: Option<&'a str>,
    pub(crate) model: &'a str,
    pub(crate) item: LineItem,
    /// How much memory it is, where that is what is priced.
    pub(crate) memory: KibMillis,
    /// The amount of what has a price.
    pub(crate) pico_units: PicoUnits,
    /// Whether something of it has none.
    pub(crate) is_incomplete: bool,
}

/// The lines of a bucket: its requests as they were priced, its accounts as memory is priced now.
pub(crate) fn costs_of<'a>(bucket: &'a UsageBucket, rates: &RateCard) -> Vec<CostLine<'a>> {
    let requests = bucket.requests.iter().map(of_requests);
    requests.chain(bucket.accounts.iter().map(|total| of_account(total, rates))).collect()
}

fn of_requests(total: &TenantTotal) -> CostLine<'_> {
    CostLine {
        tenant: Some(&total.tenant),
        model: &total.model,
        item: LineItem::Requests,
        memory: [total.weights_kib_ms, total.load_kib_ms, total.kv_kib_ms].into_iter().sum(),
        pico_units: total.pico_units,
        is_incomplete: total.unpriced > 0,
    }
}

fn of_account<'a>(total: &'a AccountTotal, rates: &RateCard) -> CostLine<'a> {
    let (tenant, item) = match &total.account {
        Account::Keepalive(tenant) => (Some(tenant.as_str()), LineItem::Keepalive),
        Account::Load => (None, LineItem::Load),
        Account::Idle => (None, LineItem::Idle),
        Account::Unmeasured => (None, LineItem::Unmeasured),
    };
    let billed = rates.cost_of(&BilledUse { memory: total.kib_ms, ..BilledUse::default() });
    let price = billed.parts.iter().find(|part| part.resource == Resource::Memory).map(|part| part.pico_units);
    CostLine {
        tenant,
        model: &total.model,
        item,
        memory: total.kib_ms,
        pico_units: price.unwrap_or_default(),
        is_incomplete: price.is_none(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_are_priced_as_memory_and_a_missing_price_is_told() {
        let accounts = [Account::Keepalive("a".into()), Account::Load, Account::Idle, Account::Unmeasured];
        let gb_hour = KibMillis::new(3_515_625_000_000);
        let accounts = accounts.map(|account| AccountTotal { model: "m".into(), account, kib_ms: gb_hour });
        let priced =
            TenantTotal { tenant: "a".into(), pico_units: PicoUnits::new(7), unpriced: 1, ..TenantTotal::default() };
        let bucket =
            UsageBucket { begins_unix_s: 0, requests: vec![priced], accounts: accounts.to_vec(), keys: Vec::new() };
        let rates = RateCard { cpu_hour: None, ..RateCard::default() };
        let lines = costs_of(&bucket, &rates);
        assert_eq!((lines[0].pico_units.get(), lines[0].is_incomplete), (7, true));
        let names: Vec<_> = lines.iter().map(|line| (line.tenant, line.item.name())).collect();
        let nobody = ["load", "idle", "unmeasured"].map(|name| (None, name));
        assert_eq!(names[..2], [(Some("a"), "requests"), (Some("a"), "keepalive")]);
        assert_eq!(names[2..], nobody);
        for line in &lines[1..] {
            assert_eq!((line.pico_units.get(), line.is_incomplete), (4_237_000_000, false), "a GB-hour");
        }
        let free = RateCard { memory_gb_hour: None, ..RateCard::default() };
        assert!(costs_of(&bucket, &free)[1..].iter().all(|line| line.is_incomplete));
    }
}
