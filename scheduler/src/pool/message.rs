//! What reaches the pool's task, and what it sends through.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::error::{BudgetRefused, LeaseError, ShuttingDown};
use super::handle::{RetryAfter, UnloadOutcome, UnpinOutcome};
use super::lease::{Lease, Resident};
use super::loader::{Identity, Inspection, Loaded, ModelLoader};
use super::progress::LoadProgress;
use super::room::RoomWaiter;
use super::slot::Waiter;
use super::snapshot::{Outlook, PoolSnapshot};
use super::workers::Workers;

/// What a request for a model gets.
pub type LeaseResult<L> = Result<Lease<<L as ModelLoader>::Model>, LeaseError<<L as ModelLoader>::Error>>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct WaiterId(pub(super) u64);

/// What callers ask. Bounded: a caller waits until there is space.
pub(super) enum Request<L: ModelLoader> {
    Lease { model: Arc<str>, waiter: Waiter<L> },
    Room(RoomWaiter),
    Unload { model: Arc<str>, reply: oneshot::Sender<Result<UnloadOutcome, ShuttingDown>> },
    Unpin { model: Arc<str>, reply: oneshot::Sender<Result<UnpinOutcome, ShuttingDown>> },
    Budget { limit_bytes: u64, reply: oneshot::Sender<Result<(), BudgetRefused>> },
    Fault { model: Arc<str>, identity: Identity, source: Arc<L::Error>, reply: oneshot::Sender<()> },
    Snapshot { reply: oneshot::Sender<PoolSnapshot> },
    Outlook { model: Arc<str>, reply: oneshot::Sender<Outlook> },
}

/// What must never wait, since destructors send it. As many as there are leases, waiters,
/// disposals and shutdowns.
pub(super) enum Signal {
    Released { model: Arc<str> },
    Disposed { model: Arc<str>, identity: Identity, bytes: u64 },
    // A caller drops its end of the answer before it sends one of these two.
    LeaseUnwanted { model: Arc<str>, id: WaiterId },
    RoomUnwanted { id: WaiterId },
    Shutdown,
}

/// What a load ends in.
pub(super) type LoadResult<L> = Result<Loaded<Resident<<L as ModelLoader>::Model>>, <L as ModelLoader>::Error>;

/// What inspections and loads report. A bounded number for each of them.
pub(super) enum Arrival<L: ModelLoader> {
    Inspected { model: Arc<str>, result: Result<Inspection, L::Error> },
    Progress { model: Arc<str>, progress: LoadProgress },
    Loaded { model: Arc<str>, result: LoadResult<L>, wall: Duration },
}

pub(super) struct Incoming<L: ModelLoader> {
    pub(super) requests: mpsc::Receiver<Request<L>>,
    pub(super) signals: mpsc::UnboundedReceiver<Signal>,
    pub(super) arrivals: mpsc::UnboundedReceiver<Arrival<L>>,
}

pub(super) struct Outgoing<L: ModelLoader> {
    pub(super) workers: Arc<dyn Workers>,
    pub(super) signals: mpsc::UnboundedSender<Signal>,
    pub(super) arrivals: mpsc::UnboundedSender<Arrival<L>>,
    pub(super) retry_after: Arc<RetryAfter>,
}

/// Whether a message can change what is done about those in line. Most cannot: they take one more lease of a model in use,
/// or give it back, and looking at every model in memory for each of them would be all that the pool does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    OnLine,
    None,
}

/// Whether a request found its model in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Coldness {
    Warm,
    WaitedForLoad,
}
