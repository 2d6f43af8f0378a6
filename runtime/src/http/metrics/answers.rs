//! Figures of answers: how long clients waited for them, and what they cost.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use meter::Receipt;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use super::labels::ModelLabels;

/// Milliseconds to half a minute, each bucket twice the one before.
const WAIT_BUCKETS: (f64, f64, u16) = (0.001, 2.0, 16);
/// A tenth of a millisecond to three seconds.
const TOKEN_BUCKETS: (f64, f64, u16) = (0.0001, 2.0, 16);

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct StartLabels {
    model: String,
    start: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct CostLabels {
    tenant: String,
    model: String,
    currency: String,
}

/// The counters.
pub(super) struct AnswerMetrics {
    first_token: Family<StartLabels, Histogram, fn() -> Histogram>,
    token: Family<ModelLabels, Histogram, fn() -> Histogram>,
    queue: Family<ModelLabels, Histogram, fn() -> Histogram>,
    cost: Family<CostLabels, Counter<f64, AtomicU64>>,
}

impl Default for AnswerMetrics {
    fn default() -> Self {
        Self {
            first_token: Family::new_with_constructor(|| histogram(WAIT_BUCKETS)),
            token: Family::new_with_constructor(|| histogram(TOKEN_BUCKETS)),
            queue: Family::new_with_constructor(|| histogram(WAIT_BUCKETS)),
            cost: Family::default(),
        }
    }
}

impl AnswerMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        let text = "From a request's arrival to its first token, by whether its model had to be loaded for it";
        registry.register_with_unit("time_to_first_token", text, Unit::Seconds, self.first_token.clone());
        let text = "Time decoding by tokens generated, of settled requests with two tokens at least";
        registry.register_with_unit("time_per_output_token", text, Unit::Seconds, self.token.clone());
        let text = "Time for which settled requests waited for their turns and for room";
        registry.register_with_unit("queue_wait", text, Unit::Seconds, self.queue.clone());
        let text = "Money of settled requests; those that lack a price are not in it";
        registry.register("cost", text, self.cost.clone());
    }

    /// A request has its first token.
    pub(super) fn first_token(&self, model: &str, is_cold: bool, after: Duration) {
        let labels = StartLabels { model: model.to_owned(), start: if is_cold { "cold" } else { "warm" } };
        self.first_token.get_or_create(&labels).observe(after.as_secs_f64());
    }

    /// A request of the tenant with this label was settled.
    pub(super) fn settled(&self, tenant: &str, receipt: &Receipt) {
        let labels = ModelLabels { model: receipt.model.clone() };
        self.queue.get_or_create(&labels).observe(Duration::from(receipt.times.queue_ns).as_secs_f64());
        let decode = Duration::from(receipt.times.decode_ns);
        let tokens = u32::try_from(receipt.tokens.completion).ok().filter(|&tokens| tokens > 1);
        // What was answered again took no time to decode.
        if let Some(tokens) = tokens.filter(|_| !decode.is_zero()) {
            self.token.get_or_create(&labels).observe(decode.as_secs_f64() / f64::from(tokens));
        }
        if let Some(amount) = receipt.cost.amount {
            let currency = receipt.cost.currency.clone();
            let labels = CostLabels { tenant: tenant.to_owned(), model: receipt.model.clone(), currency };
            self.cost.get_or_create(&labels).inc_by(amount);
        }
    }
}

fn histogram((first, factor, count): (f64, f64, u16)) -> Histogram {
    Histogram::new(exponential_buckets(first, factor, count))
}
