//! The ledger's figures as a stream tells them, each client its own.

use std::collections::BTreeMap;

use ledger::{AccountTotal, TenantTotal, UsageBucket};
use meter::{Account, PicoUnits, RateCard};
use serde_json::{Value, json};

use crate::app::App;
use crate::http::usage::keep_seen;
use crate::limits::{LIVE_BUDGETS_MAX, LIVE_TOTALS_MAX};
use crate::live::{Figures, Saved, SavedAgainst};
use crate::tenancy::{Access, BoundedBy};

/// What tenants used, today and in the last 30 days, and their budgets.
pub(super) fn tenants((app, access): (&App, &Access), figures: &Figures) -> Value {
    let today = figures.days.iter().filter(|day| day.begins_unix_s >= figures.today_unix_s);
    let budgets = app.keyring.budgets_seen_by(access, LIVE_BUDGETS_MAX);
    json!({
        "today": sums(access, today),
        "days_30": sums(access, figures.days.iter()),
        "budgets": budgets.iter().map(|bounded| budget(app, bounded)).collect::<Vec<_>>(),
    })
}

/// What was saved since the server began, now and until each point of the curve. A tenant is told of its own copies alone:
/// what a shared one costs it depends on who else uses that, and the report of its own is at `/v1/savings`.
pub(super) fn savings((app, access): (&App, &Access), figures: &Figures) -> Value {
    let Figures { savings, history, .. } = figures;
    let own = (!access.sees_all()).then(|| access.tenant.to_string());
    let points: Vec<(i64, Saved)> = history.of(own.as_deref()).collect();
    json!({
        "report": own.is_none().then_some(savings),
        "prices": prices(&app.metering.prices_of(0).rates),
        "points": {
            "unix_ms": points.iter().map(|(unix_ms, _)| unix_ms).collect::<Vec<_>>(),
            "shared": own.is_none().then(|| curves(&points, |saved| saved.shared)),
            "dedicated": curves(&points, |saved| saved.dedicated),
        },
    })
}

/// What a unit costs of what savings are priced by; null where that has no price.
fn prices(rates: &RateCard) -> Value {
    let price = |units: Option<PicoUnits>| units.map(PicoUnits::units);
    json!({
        "currency": rates.currency,
        "cpu_hour": price(rates.cpu_hour),
        "memory_gb_hour": price(rates.memory_gb_hour),
        "kilowatt_hour": price(rates.kilowatt_hour),
    })
}

fn curves(points: &[(i64, Saved)], against: fn(&Saved) -> SavedAgainst) -> Value {
    let curve = |figure: fn(&SavedAgainst) -> Option<f64>| -> Vec<Option<f64>> {
        points.iter().map(|(_, saved)| figure(&against(saved))).collect()
    };
    json!({
        "gb_hours": curve(|saved| Some(saved.gb_hours)),
        "attributional_joules": curve(|saved| Some(saved.attributional_joules)),
        "marginal_joules": curve(|saved| Some(saved.marginal_joules)),
        "cost": curve(|saved| saved.cost),
    })
}

/// The sums of some days, those with most memory first.
fn sums<'a>(access: &Access, days: impl Iterator<Item = &'a UsageBucket>) -> Value {
    let mut requests: BTreeMap<(String, String), TenantTotal> = BTreeMap::new();
    let mut accounts: BTreeMap<(String, Account), AccountTotal> = BTreeMap::new();
    for day in days {
        let mut day = day.clone();
        keep_seen(&mut day, access);
        for total in day.requests {
            let key = (total.tenant.clone(), total.model.clone());
            let none = || TenantTotal { tenant: key.0.clone(), model: key.1.clone(), ..TenantTotal::default() };
            requests.entry(key.clone()).or_insert_with(none).add(&total);
        }
        for total in day.accounts {
            let key = (total.model.clone(), total.account.clone());
            let none = || AccountTotal::of(key.0.clone(), key.1.clone());
            accounts.entry(key.clone()).or_insert_with(none).add(&total);
        }
    }
    let mut requests: Vec<TenantTotal> = requests.into_values().collect();
    requests.sort_by_key(|total| std::cmp::Reverse(total.weights_kib_ms.saturating_add(total.kv_kib_ms)));
    let mut accounts: Vec<AccountTotal> = accounts.into_values().collect();
    accounts.sort_by_key(|total| std::cmp::Reverse(total.kib_ms));
    let left_out = requests.len().saturating_sub(LIVE_TOTALS_MAX) + accounts.len().saturating_sub(LIVE_TOTALS_MAX);
    requests.truncate(LIVE_TOTALS_MAX);
    accounts.truncate(LIVE_TOTALS_MAX);
    json!({ "requests": requests, "accounts": accounts, "left_out": left_out })
}

fn budget(app: &App, bounded: &BoundedBy) -> Value {
    let standing = app.spending.standing(bounded);
    let BoundedBy { tenant, key, budget } = bounded;
    json!({
        "tenant": &**tenant,
        "key": key.as_deref(),
        "budget": budget.to_string(),
        "unit": budget.unit.name(),
        "limit": budget.unit.shown(budget.amount),
        "used": budget.unit.shown(standing.used),
        "reserved": budget.unit.shown(standing.reserved),
        "anew_in_seconds": standing.anew_in.as_secs(),
    })
}

#[cfg(test)]
mod tests {
    use meter::{HeldAs, KibMillis};

    use super::*;

    #[test]
    fn small_sums_are_left_out_and_counted() {
        let total = |number: usize| TenantTotal {
            tenant: number.to_string(),
            model: "m".to_owned(),
            requests: 1,
            weights_kib_ms: KibMillis::new(number as u64),
            ..TenantTotal::default()
        };
        let kept = |held_as, kib_ms| {
            let (held_as, kib_ms) = (Some(held_as), KibMillis::new(kib_ms));
            AccountTotal { held_as, kib_ms, ..AccountTotal::of("m".to_owned(), Account::Idle) }
        };
        let accounts = vec![kept(HeldAs::Idle, 1), kept(HeldAs::Pinned, 4)];
        let requests = (0..LIVE_TOTALS_MAX + 2).map(total).collect();
        let day = UsageBucket { begins_unix_s: 0, requests, accounts, keys: Vec::new() };
        let told = sums(&Access::unbounded("ops"), [&day, &day].into_iter());
        assert_eq!(told["left_out"], 2);
        let first = &told["requests"][0];
        assert_eq!((first["tenant"].as_str(), &first["requests"]), (Some("513"), &json!(2)), "the sum of both days");
        assert_eq!(told["accounts"][0]["kib_ms"], 10, "whatever an account held, as one");
        let own = sums(&Access::reading("7"), [&day].into_iter());
        assert_eq!((own["requests"].as_array().unwrap().len(), own["accounts"].as_array().unwrap().len()), (1, 0));
    }
}
