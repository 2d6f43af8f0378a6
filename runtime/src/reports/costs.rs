//! Money by tenant, model and what it is for.

use ledger::{AccountTotal, TenantTotal, UsageBucket};
use meter::rate::{BilledUse, RateCard, Resource};
use meter::{Account, HeldAs, KibMillis, PicoUnits};

/// What money is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum LineItem {
    /// Requests, as their receipts say.
    Requests,
    /// What accounts held beside them, as this; loads with their processor time.
    Held(HeldAs),
}

impl LineItem {
    /// The name as it stands in JSON and in columns.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Held(held_as) => held_as.name(),
        }
    }
}

/// When something was priced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum PricedAt {
    /// When its request ended.
    Request,
    /// When its account was written down.
    Interval,
    /// Now: what was written before schema 5 has no price.
    Export,
}

impl PricedAt {
    /// The name as it stands in columns.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Interval => "interval",
            Self::Export => "export",
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
    pub(crate) priced_at: PricedAt,
    /// Whether something of it has none.
    pub(crate) is_incomplete: bool,
}

/// The lines of a bucket: its requests and accounts as they were priced, and what has no price yet as memory is priced now.
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
        priced_at: PricedAt::Request,
        is_incomplete: total.unpriced > 0,
    }
}

fn of_account<'a>(total: &'a AccountTotal, rates: &RateCard) -> CostLine<'a> {
    let (pico_units, is_incomplete, priced_at) = if total.held_as.is_some() {
        (total.pico_units, total.unpriced > 0, PricedAt::Interval)
    } else {
        let billed = rates.cost_of(&BilledUse { memory: total.kib_ms, ..BilledUse::default() });
        let price = billed.parts.iter().find(|part| part.resource == Resource::Memory).map(|part| part.pico_units);
        (price.unwrap_or_default(), price.is_none(), PricedAt::Export)
    };
    let tenant = match &total.account {
        Account::Keepalive(tenant) => Some(tenant.as_str()),
        Account::Load | Account::Idle | Account::Unmeasured => None,
    };
    let (item, memory) = (LineItem::Held(total.told_as()), total.kib_ms);
    CostLine { tenant, model: &total.model, item, memory, pico_units, priced_at, is_incomplete }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_of_old_are_priced_as_memory_and_a_missing_price_is_told() {
        let accounts = [Account::Keepalive("a".into()), Account::Load, Account::Idle, Account::Unmeasured];
        let kib_ms = KibMillis::new(3_515_625_000_000);
        let mut accounts =
            accounts.map(|account| AccountTotal { kib_ms, ..AccountTotal::of("m".into(), account) }).to_vec();
        let (account, pico_units) = (Account::Keepalive("a".into()), PicoUnits::new(9));
        let pinned =
            AccountTotal { held_as: Some(HeldAs::Pinned), pico_units, ..AccountTotal::of("m".into(), account) };
        accounts.push(AccountTotal { unpriced: 1, held_as: Some(HeldAs::Prefix), ..pinned.clone() });
        accounts.push(pinned);
        let priced =
            TenantTotal { tenant: "a".into(), pico_units: PicoUnits::new(7), unpriced: 1, ..TenantTotal::default() };
        let bucket = UsageBucket { begins_unix_s: 0, requests: vec![priced], accounts, keys: Vec::new() };
        let rates = RateCard { cpu_hour: None, ..RateCard::default() };
        let lines = costs_of(&bucket, &rates);
        assert_eq!((lines[0].pico_units.get(), lines[0].is_incomplete), (7, true));
        let names: Vec<_> = lines.iter().map(|line| (line.tenant, line.item.name())).collect();
        let nobody = ["load", "idle", "unmeasured"].map(|name| (None, name));
        assert_eq!(names[..2], [(Some("a"), "requests"), (Some("a"), "keepalive")]);
        assert_eq!(names[2..5], nobody);
        for line in &lines[1..5] {
            assert_eq!((line.pico_units.get(), line.is_incomplete), (4_237_000_000, false), "a GB-hour");
        }
        let recorded: Vec<_> =
            lines[5..].iter().map(|line| (line.item.name(), line.pico_units.get(), line.is_incomplete)).collect();
        assert_eq!(recorded, [("prefix", 9, true), ("pinned", 9, false)], "whatever prices are now");
        let free = RateCard { memory_gb_hour: None, ..rates };
        let lines = costs_of(&bucket, &free);
        assert!(lines[1..5].iter().all(|line| line.is_incomplete) && !lines[6].is_incomplete);
    }
}
