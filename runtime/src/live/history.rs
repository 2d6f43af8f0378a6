//! What had been saved when, since this server began: points of a curve.
//!
//! Invariants: there are [`SAVINGS_POINTS_MAX`] at most, about as far apart each; when there are more, every other one is
//! forgotten, and the next ones come half as often. A point is what the report said at that moment, and never interpolated.
//! Deliberately absent: what an earlier process remembered.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use meter::Moment;
use meter::savings::{Comparison, Savings, SavingsReport};

use crate::limits::{ACCOUNTS_EVERY, SAVINGS_POINT_TENANTS_MAX, SAVINGS_POINTS_MAX};

/// The points of one server.
#[derive(Clone, PartialEq)]
pub(crate) struct History {
    every: Duration,
    last: Option<Moment>,
    points: VecDeque<Point>,
}

/// What a moment's report said.
#[derive(Clone, PartialEq)]
struct Point {
    unix_ms: i64,
    total: Saved,
    /// Of at most [`SAVINGS_POINT_TENANTS_MAX`].
    tenants: BTreeMap<String, Saved>,
}

/// What was saved until then, against both baselines.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Saved {
    pub(crate) shared: SavedAgainst,
    pub(crate) dedicated: SavedAgainst,
}

/// What was saved against one baseline: negative where it was lost.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct SavedAgainst {
    pub(crate) gb_hours: f64,
    pub(crate) attributional_joules: f64,
    pub(crate) marginal_joules: f64,
    /// None where a price is missing.
    pub(crate) cost: Option<f64>,
}

impl Default for History {
    fn default() -> Self {
        Self { every: ACCOUNTS_EVERY, last: None, points: VecDeque::new() }
    }
}

impl History {
    /// Whether a point is due: what is told of memory is told until `accounted`.
    pub(crate) fn is_due(&self, accounted: Moment) -> bool {
        self.last.is_none_or(|last| Duration::from_millis(accounted.get().saturating_sub(last.get())) >= self.every)
    }

    /// Remembers what is saved until `accounted`, which is `unix_ms` by the wall clock: in all by `report`, of each tenant by
    /// `of_own`, in which nothing is shared.
    pub(crate) fn push(&mut self, accounted: Moment, unix_ms: i64, (report, of_own): (&SavingsReport, &SavingsReport)) {
        let of_tenant = |one: &meter::savings::TenantSavings| Some((one.tenant.clone()?, Saved::of(&one.savings)));
        let tenants = of_own.tenants.iter().filter_map(of_tenant).take(SAVINGS_POINT_TENANTS_MAX).collect();
        self.points.push_back(Point { unix_ms, total: Saved::of(&report.total), tenants });
        self.last = Some(accounted);
        if self.points.len() > SAVINGS_POINTS_MAX {
            let mut is_kept = false;
            self.points.retain(|_| {
                is_kept = !is_kept;
                is_kept
            });
            self.every *= 2;
        }
    }

    /// The points of all, or of one tenant, which begin when it is first in a report: milliseconds since 1970, and what was
    /// saved.
    pub(crate) fn of<'a>(&'a self, tenant: Option<&'a str>) -> impl Iterator<Item = (i64, Saved)> + 'a {
        self.points.iter().filter_map(move |point| {
            let saved = match tenant {
                Some(tenant) => point.tenants.get(tenant).copied(),
                None => Some(point.total),
            };
            Some((point.unix_ms, saved?))
        })
    }
}

impl Saved {
    fn of(savings: &Savings) -> Self {
        let against = |Comparison { saved, .. }: &Comparison| SavedAgainst {
            gb_hours: saved.gb_hours,
            attributional_joules: saved.attributional_joules,
            marginal_joules: saved.marginal_joules,
            cost: saved.cost,
        };
        Self { shared: against(&savings.shared_persistent), dedicated: against(&savings.dedicated) }
    }
}

#[cfg(test)]
mod tests {
    use meter::savings::{ModelUse, SavingsInputs, TenantUse, report};
    use meter::{CpuDescription, EnergyModel, KibMillis, RateCard};

    use super::*;

    fn after(window_ms: u64) -> SavingsReport {
        of_tenants(window_ms, &["acme"])
    }

    fn of_tenants(window_ms: u64, tenants: &[&str]) -> SavingsReport {
        let tenants = tenants.iter().map(|&tenant| TenantUse {
            tenant: tenant.into(),
            model: "m".into(),
            requests: 1,
            active: KibMillis::new(1),
            ..TenantUse::default()
        });
        let model = ModelUse { model: "m".into(), weights_bytes: 1 << 30, ..ModelUse::default() };
        let inputs =
            SavingsInputs { window_ms, models: vec![model], tenants: tenants.collect(), ..SavingsInputs::default() };
        report(&inputs, &EnergyModel::new(&CpuDescription::default(), 2, 8 << 30), &RateCard::default())
    }

    #[test]
    fn points_stay_within_their_bound_and_evenly_apart() {
        let mut history = History::default();
        let mut number = 0;
        while number < 4 * SAVINGS_POINTS_MAX as u64 {
            let at = Moment::after_start(u32::try_from(number).unwrap() * ACCOUNTS_EVERY);
            if history.is_due(at) {
                let report = after(1000 * number);
                history.push(at, i64::try_from(number).unwrap(), (&report, &report));
            }
            number += 1;
        }
        assert!(history.points.len() <= SAVINGS_POINTS_MAX && history.points.len() > SAVINGS_POINTS_MAX / 2);
        let times: Vec<i64> = history.points.iter().map(|point| point.unix_ms).collect();
        let apart = times[1] - times[0];
        assert!(times.windows(2).all(|pair| pair[1] - pair[0] == apart), "{times:?}");
        let (_, first) = history.of(None).next().unwrap();
        let (_, last) = history.of(Some("acme")).last().unwrap();
        assert!(last.shared.gb_hours > first.shared.gb_hours, "{first:?} {last:?}");
        assert_eq!(history.of(Some("other")).count(), 0);
    }

    #[test]
    fn so_many_tenants_are_remembered_and_the_total_has_all() {
        let names: Vec<String> = (0..=SAVINGS_POINT_TENANTS_MAX).map(|number| format!("{number:03}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let (mut history, report) = (History::default(), of_tenants(3_600_000, &names));
        history.push(Moment::ZERO, 0, (&report, &report));
        assert_eq!(history.points[0].tenants.len(), SAVINGS_POINT_TENANTS_MAX);
        assert_eq!(history.of(None).next().unwrap().1.shared.gb_hours, report.total.shared_persistent.saved.gb_hours);
    }
}
