//! Who asks, what that one may, and how much of it.
//!
//! A request comes in by a key ([`Keyring`]), which makes it one tenant's and gives it an [`Access`]: scopes, models, and an
//! [`Allowance`] of requests, tokens and money or the like over time. A key has bounds of its own, and its tenant has
//! bounds that hold for all of its keys together. It begins if rates and budgets let it ([`Admissions`]).
//!
//! Invariants: a model that someone may not use does not exist for that one, in lists and answers alike; a key is in no log,
//! answer or file. Deliberately absent: how much of the device a tenant gets against others (`scheduler`), and how anything
//! of this looks on the wire (`http`).

mod access;
mod admission;
mod bucket;
mod budget;
mod keyring;
mod permissions;
mod rates;
mod sign_ins;
mod spending;
mod window;

pub(crate) use self::access::{Access, Asker, ContextAuthority};
pub(crate) use self::admission::{Admission, Admissions, Refusal};
pub(crate) use self::budget::{Budget, BudgetError};
pub(crate) use self::keyring::{BoundedBy, KeyMark, Keyring, Reconfigured, Shown};
pub(crate) use self::permissions::{Allowance, Budgets, ModelNames, Permissions, RequestRate, Scope, Scopes};
pub(crate) use self::rates::{Level, TooFast};
pub(crate) use self::sign_ins::{SignInError, SignIns};
pub(crate) use self::spending::{Exceeded, Spending};
