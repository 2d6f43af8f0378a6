//! Whether a request may begin, by rates and budgets; and what it took of both, until it is over.

use std::sync::Arc;

use super::access::Access;
use super::rates::{Level, Rated, Rates, TooFast};
use super::spending::{Exceeded, Reserved, Spending};

/// Rates and budgets of one server.
pub(crate) struct Admissions {
    rates: Rates,
    spending: Arc<Spending>,
}

/// Why a request may not begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// It may in a while.
    TooFast(TooFast),
    /// It may when its budget begins anew.
    Exceeded(Exceeded),
}

/// A request that may begin. What it took comes back when this is dropped, and what it used does not once that was said.
pub(crate) struct Admission {
    admissions: Arc<Admissions>,
    access: Arc<Access>,
    /// That were taken.
    tokens: u64,
    /// That were used.
    used_tokens: u64,
    reserved: Reserved,
}

impl Admissions {
    /// With buckets that are full, and budgets of which this is spent.
    pub(crate) fn new(spending: Arc<Spending>) -> Self {
        Self { rates: Rates::default(), spending }
    }

    /// Takes a request of whatever sort from the rates of whoever asks.
    ///
    /// # Errors
    /// [`TooFast`].
    pub(crate) fn take_request(&self, access: &Access) -> Result<(), TooFast> {
        self.rates.take(access, Rated::Requests, 1)
    }

    /// Lets a request of about so many tokens, prompt and answer, begin.
    ///
    /// # Errors
    /// [`Refusal`].
    pub(crate) fn admit(self: &Arc<Self>, access: &Arc<Access>, tokens: u64) -> Result<Admission, Refusal> {
        let reserved = self.spending.reserve(access, tokens).map_err(Refusal::Exceeded)?;
        let (admissions, access) = (Arc::clone(self), Arc::clone(access));
        let mut admission = Admission { admissions, access, tokens: 0, used_tokens: 0, reserved };
        self.rates.take(&admission.access, Rated::Tokens, tokens).map_err(Refusal::TooFast)?;
        admission.tokens = tokens;
        Ok(admission)
    }

    /// What is left of the rates of whoever asks.
    pub(crate) fn levels(&self, access: &Access) -> Vec<Level> {
        self.rates.levels(access)
    }
}

impl Admission {
    /// So many tokens were used.
    pub(crate) fn used(&mut self, tokens: u64) {
        self.used_tokens = tokens;
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.admissions.rates.correct_tokens(&self.access, self.tokens, self.used_tokens);
        self.admissions.spending.release(&self.access, self.reserved);
    }
}
