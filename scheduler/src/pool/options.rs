//! What an operator and a request can choose.

use std::time::Duration;

use tokio::time::Instant;

use super::break_even::Prices;

/// The operator's choices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolOptions {
    /// For models whose requests never said anything else.
    pub keep_alive_default: KeepAlive,
    /// The longest that a request waits for room and load together, whatever its own deadline.
    pub load_wait_max: Duration,
    /// Loads of different models that run at once.
    pub loads_parallel_max: usize,
    /// Requests that wait for models, and for room, in all.
    pub waiters_max: usize,
    /// How long the first in line waits for room before busy models take turns with it.
    pub busy_turn_max: Duration,
    /// How long a model is safe from pressure after its load, in use or not.
    pub residency_min: Duration,
    /// What [`KeepAlive::Auto`] reckons with.
    pub prices: Prices,
    /// The percentage of the budget that pinned models may hold together; the rest is for those that come and go, and
    /// for sequences.
    pub pinned_percent_max: u8,
    /// What becomes of models that are larger than the budget.
    pub oversize: Oversize,
    /// Back-off after the first load of an artifact that turned out invalid; doubled by each further one.
    pub quarantine_min: Duration,
    /// Where that doubling ends.
    pub quarantine_max: Duration,
}

impl Default for PoolOptions {
    fn default() -> Self {
        Self {
            keep_alive_default: KeepAlive::For(Duration::from_secs(300)),
            load_wait_max: Duration::from_secs(120),
            loads_parallel_max: 2,
            waiters_max: 4096,
            busy_turn_max: Duration::from_secs(2),
            residency_min: Duration::ZERO,
            prices: Prices::default(),
            pinned_percent_max: 90,
            oversize: Oversize::Refuse,
            quarantine_min: Duration::from_secs(5),
            quarantine_max: Duration::from_secs(300),
        }
    }
}

/// What becomes of a model that is larger than the budget, or than what pinned models leave of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Oversize {
    /// It is refused.
    Refuse,
    /// It is loaded alone, and holds all of the budget but what is pinned and one part in
    /// [`PAGED_KV_DIVISOR`](crate::limits::PAGED_KV_DIVISOR), left to sequences; the rest of it is read from its file
    /// again and again, as it is used.
    Page,
}

/// How long a model stays after its last lease has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeepAlive {
    /// This long, unless memory is needed earlier. Zero means [`KeepAlive::DropAfterUse`].
    For(Duration),
    /// No time-out: only memory pressure (in its turn, as any idle model) or an unload evicts it.
    Forever,
    /// It is evicted at the moment its last lease ends.
    DropAfterUse,
    /// For as long as it is worth its memory, as [`BreakEven`](super::BreakEven) has it, unless memory is needed earlier.
    Auto,
}

impl KeepAlive {
    pub(super) fn is_after_use(self) -> bool {
        matches!(self, Self::DropAfterUse | Self::For(Duration::ZERO))
    }
}

/// A request's choices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseOptions {
    /// The last request that says something decides for the model, until it is evicted; `None` changes nothing.
    pub keep_alive: Option<KeepAlive>,
    /// When the request gives up waiting.
    pub deadline: Instant,
}
