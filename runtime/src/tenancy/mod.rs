//! Who asks, what that one may, and how much of it.
//!
//! A request comes in by a key ([`Keyring`]), which makes it one tenant's and gives it an [`Access`]: scopes, models, and an
//! [`Allowance`] of requests, tokens and money or the like over time. A key has bounds of its own, and its tenant has
//! bounds that hold for all of its keys together.
//!
//! Invariants: a model that someone may not use does not exist for that one, in lists and answers alike; a key is in no log,
//! answer or file. Deliberately absent: how much of the device a tenant gets against others (`scheduler`), and how anything
//! of this looks on the wire (`http`).

mod access;
mod budget;
mod keyring;
mod permissions;

pub(crate) use self::access::{Access, ContextAuthority};
pub(crate) use self::budget::{Budget, BudgetError};
pub(crate) use self::keyring::Keyring;
pub(crate) use self::permissions::{Allowance, Budgets, ModelNames, Permissions, RequestRate, Scope, Scopes};
