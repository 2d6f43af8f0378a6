//! What threads share of a budget: two numbers under one lock, so that a grant and a change of the limit have an order.
//!
//! With an atomic for each, a grant could be checked against a limit that was lowered before it was counted.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// A limit, and what is taken of it.
pub(super) struct Account(Mutex<Balance>);

/// Both numbers at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Balance {
    pub(super) limit_bytes: u64,
    pub(super) used_bytes: u64,
}

impl Account {
    pub(super) fn new(limit_bytes: u64) -> Self {
        Self(Mutex::new(Balance { limit_bytes, used_bytes: 0 }))
    }

    pub(super) fn balance(&self) -> Balance {
        *self.lock()
    }

    /// Takes `bytes` if they fit; whether they did.
    pub(super) fn try_take(&self, bytes: u64) -> bool {
        let mut balance = self.lock();
        let sum = balance.used_bytes.checked_add(bytes).filter(|&sum| sum <= balance.limit_bytes);
        if let Some(sum) = sum {
            balance.used_bytes = sum;
        }
        sum.is_some()
    }

    pub(super) fn give_back(&self, bytes: u64) {
        self.lock().used_bytes -= bytes;
    }

    pub(super) fn set_limit(&self, limit_bytes: u64) {
        self.lock().limit_bytes = limit_bytes;
    }

    // Nothing above leaves the numbers half changed, even if it panics.
    fn lock(&self) -> MutexGuard<'_, Balance> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
