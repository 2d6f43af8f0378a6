//! What `ps`, metrics and probes see. Taking one wakes nothing and refreshes nothing.

use std::sync::Arc;
use std::time::Duration;

use super::break_even::BreakEven;
use super::event::{EvictionCause, EvictionRecord};
use super::loader::LoadSource;
use super::options::KeepAlive;
use super::progress::LoadProgress;

/// The pool at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PoolSnapshot {
    /// Every model in memory, on its way, or remembered; by name.
    pub models: Vec<ModelSnapshot>,
    /// The budget.
    pub limit_bytes: u64,
    /// Of it, reserved now: weights, loads in flight and KV.
    pub used_bytes: u64,
    /// Of them, held by models that stay.
    pub pinned_bytes: u64,
    /// Requests that wait for a model.
    pub waiters: usize,
    /// Sequences that wait for room.
    pub room_waiters: usize,
    /// The latest evictions, oldest first.
    pub evictions: Vec<EvictionRecord>,
    /// Whether new requests are refused.
    pub shutting_down: bool,
}

/// What a request for one model would meet at this moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outlook {
    /// The model is in memory, and handed out at once.
    pub is_at_hand: bool,
    /// Bytes that are reserved for it, or will be; `None` where it was not inspected.
    pub known_bytes: Option<u64>,
    /// Mean of its recent loads; `None` before the first.
    pub load_wall: Option<Duration>,
    /// What a model may have at most: the budget without what other models hold that stay.
    pub available_bytes: u64,
    /// What is free, or held by models that nobody uses and that may go.
    pub reclaimable_bytes: u64,
    /// Whether new requests are refused.
    pub shutting_down: bool,
}

/// One model at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelSnapshot {
    /// As requests call it.
    pub name: Arc<str>,
    /// Where it is in its life.
    pub state: ModelState,
    /// Bytes reserved for it: of this copy, or of the copies that are still going.
    pub weights_bytes: u64,
    /// Requests that hold it.
    pub leases: usize,
    /// Requests that wait for it.
    pub waiters: usize,
    /// How long it stays after use, by its latest request or the default.
    pub keep_alive: KeepAlive,
    /// What was chosen for it; only when idle, and its keep-alive is automatic.
    pub break_even: Option<BreakEven>,
    /// How long nobody has held it; only when idle.
    pub idle_for: Option<Duration>,
    /// When its keep-alive runs out; only when idle, and never for those that stay.
    pub expires_in: Option<Duration>,
    /// How far its load is; only while it loads.
    pub progress: Option<LoadProgress>,
    /// Loads that succeeded so far.
    pub loads: u64,
    /// From the reservation of its room to its end, the last time.
    pub last_load_wall: Option<Duration>,
    /// Where its bytes came from, the last time.
    pub last_load_source: Option<LoadSource>,
    /// The rest of its back-off after an invalid load.
    pub quarantined_for: Option<Duration>,
    /// It is larger than its room: it is, or will be, in memory in part.
    pub paged: bool,
    /// It stays until someone says otherwise.
    pub pinned: bool,
    /// Requests for it wait until it was evicted for this cause.
    pub gives_way_for: Option<EvictionCause>,
    /// It goes as soon as its last lease ends, because someone asked.
    pub unload_pending: bool,
}

/// Where a model is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ModelState {
    /// Only remembered.
    Absent,
    /// Its artifact is looked at.
    Inspecting,
    /// It waits for room, or for its turn to load.
    AwaitingRoom,
    /// It loads.
    Loading,
    /// Requests hold it.
    Resident,
    /// Nobody holds it.
    Idle,
    /// Its memory is on the way back.
    Evicting,
}

impl ModelState {
    /// For tables and labels.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::Inspecting => "inspecting",
            Self::AwaitingRoom => "awaiting_room",
            Self::Loading => "loading",
            Self::Resident => "resident",
            Self::Idle => "idle",
            Self::Evicting => "evicting",
        }
    }
}
