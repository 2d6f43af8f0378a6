//! Who is bounded by which budgets, as far as someone is to know.

use std::sync::Arc;

use super::Keyring;
use crate::tenancy::{Access, Budget};

/// A budget, and who is bounded by it.
pub(crate) struct BoundedBy {
    pub(crate) tenant: Arc<str>,
    /// The one key that it bounds; without one all of the tenant's.
    pub(crate) key: Option<Arc<str>>,
    pub(crate) budget: Budget,
}

impl Keyring {
    /// The budgets that `access` is to know of, at most so many: its own and its tenant's, or everyone's.
    pub(crate) fn budgets_seen_by(&self, access: &Access, budgets_max: usize) -> Vec<BoundedBy> {
        let keys = Arc::clone(&self.stored().keys);
        let of_tenants = keys.chosen.bounds.of_tenants.iter().filter(|(tenant, _)| access.sees(tenant));
        let mut found: Vec<BoundedBy> = Vec::new();
        for (tenant, bounds) in of_tenants {
            let tenant: Arc<str> = tenant.as_str().into();
            let of_tenant =
                |budget: &Budget| BoundedBy { tenant: Arc::clone(&tenant), key: None, budget: budget.clone() };
            found.extend(bounds.allowance.budgets.iter().map(of_tenant));
        }
        let own = access.key.as_ref().map(|key| Arc::clone(&key.id));
        let mut of_keys: Vec<BoundedBy> = Vec::new();
        for known in keys.by_hash.values() {
            let Some(key) = &known.key else { continue };
            if access.sees_all() || own.as_ref() == Some(&key.id) {
                of_keys.extend(key.allowance.budgets.iter().map(|budget| BoundedBy {
                    tenant: Arc::clone(&known.tenant),
                    key: Some(Arc::clone(&key.id)),
                    budget: budget.clone(),
                }));
            }
        }
        of_keys.sort_by(|one, other| (&one.tenant, &one.key).cmp(&(&other.tenant, &other.key)));
        found.extend(of_keys);
        found.truncate(budgets_max);
        found
    }
}
