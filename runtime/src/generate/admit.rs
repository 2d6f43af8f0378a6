//! Whether a request may begin: before anything is looked for, loaded or queued for it.
//!
//! Who asks again under an `Idempotency-Key` that was used is told what became of the first request. Its answer is not kept, so
//! it cannot be given again, and computing it anew would be charged anew or by nobody.

use std::sync::Arc;

use crate::app::App;
use crate::http::error::ApiError;
use crate::tenancy::{Admission, Asker, Exceeded, Refusal, TooFast};

/// Lets a request of about so many tokens begin, if it is no repeat, and rates and budgets let it.
pub(crate) async fn admit(app: &Arc<App>, asker: &Asker, tokens: u64) -> Result<Admission, ApiError> {
    let refused = |reason| app.metering.metrics().refused(Some(&asker.access.tenant), reason);
    if let Some(key) = &asker.idempotency_key {
        let (metering, key) = (Arc::clone(&app.metering), Arc::clone(key));
        let tenant = Arc::clone(&asker.access.tenant);
        let find = move || metering.ledger().reader().usage_by_key(&tenant, &key);
        let first = tokio::task::spawn_blocking(find).await.map_err(ApiError::internal)?;
        if let Some(first) = first.map_err(ApiError::ledger_unavailable)? {
            refused("idempotency_key");
            return Err(match first.outcome {
                Some(outcome) => ApiError::idempotency_key_used(&first.id, outcome.name()),
                None => ApiError::idempotency_key_in_use(&first.id),
            });
        }
    }
    app.admissions.admit(&asker.access, tokens).map_err(|refusal| match refusal {
        Refusal::TooFast(TooFast { of, wait }) => {
            refused("rate_limit_exceeded");
            ApiError::rate_limited(of.name(), wait)
        }
        Refusal::Exceeded(Exceeded { budget, anew_in }) => {
            refused("insufficient_quota");
            ApiError::insufficient_quota(&budget, anew_in)
        }
    })
}
