//! The handle: what the rest of the process calls. Holds no state, waits with deadlines, leaves no trace when dropped.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

use super::error::{BudgetRefused, LeaseError, NoRoom, ShuttingDown};
use super::event::{LoadCause, PoolObserver};
use super::lease::Lease;
use super::loader::ModelLoader;
use super::message::{Incoming, LeaseResult, Outgoing, Request, Signal, WaiterId};
use super::options::{LeaseOptions, PoolOptions};
use super::owner::Owner;
use super::room::RoomWaiter;
use super::slot::Waiter;
use super::snapshot::{Outlook, PoolSnapshot};
use super::workers::{BlockingThreads, Workers};
use crate::budget::{Budget, Reservation};
use crate::executor::{RoomAnswer, RoomSource};
use crate::limits::{POOL_REQUESTS_MAX, RETRY_AFTER_MIN};

/// A handle to the pool; clones are the same pool. When the last one is dropped the pool shuts down.
pub struct Pool<L: ModelLoader> {
    requests: mpsc::Sender<Request<L>>,
    signals: mpsc::UnboundedSender<Signal>,
    shared: Arc<Shared>,
}

impl<L: ModelLoader> Clone for Pool<L> {
    fn clone(&self) -> Self {
        Self { requests: self.requests.clone(), signals: self.signals.clone(), shared: Arc::clone(&self.shared) }
    }
}

/// What handles read without asking.
struct Shared {
    budget: Arc<Budget>,
    load_wait_max: Duration,
    retry_after: Arc<RetryAfter>,
    waiter_ids: AtomicU64,
    runtime: Handle,
}

/// The owner's latest estimate of when room may come up.
pub(super) struct RetryAfter(AtomicU64);

impl RetryAfter {
    pub(super) fn set(&self, time: Duration) {
        self.0.store(u64::try_from(time.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> Duration {
        Duration::from_millis(self.0.load(Ordering::Relaxed))
    }
}

/// What [`Pool::unload`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnloadOutcome {
    /// It was idle; its memory is on the way back.
    Evicting,
    /// Requests hold it or wait for it; it goes as soon as the last of them lets go.
    WhenFree {
        /// How many hold it or wait for it now.
        users: usize,
    },
    /// It was not in memory.
    NotLoaded,
    /// Someone asked for it to stay; nothing changed.
    Pinned,
}

/// What [`Pool::unpin`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnpinOutcome {
    /// It goes as any other from now on.
    Unpinned,
    /// It was not pinned; a pin that is still on its way is not touched.
    NotPinned,
}

/// What [`Pool::load`] and [`Pool::pin`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoadOutcome {
    /// It was in memory.
    Present,
    /// It was brought in.
    Loaded {
        /// How long that took: inspection, the wait for room, and the load.
        waited: Duration,
    },
}

impl<L: ModelLoader> Pool<L> {
    /// Starts the pool's task on the current runtime.
    ///
    /// The task ends, and the join handle with it, once the pool was shut down, every lease was returned and every
    /// model dropped.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    #[must_use]
    pub fn spawn(
        loader: Arc<L>,
        budget: Arc<Budget>,
        options: PoolOptions,
        observer: Arc<dyn PoolObserver>,
    ) -> (Self, JoinHandle<()>) {
        let workers = Arc::new(BlockingThreads::new(Handle::current()));
        Self::spawn_on(workers, Parts { loader, budget, options, observer })
    }

    pub(super) fn spawn_on(workers: Arc<dyn Workers>, parts: Parts<L>) -> (Self, JoinHandle<()>) {
        let (requests, requests_in) = mpsc::channel(POOL_REQUESTS_MAX);
        let (signals, signals_in) = mpsc::unbounded_channel();
        let retry_after = Arc::new(RetryAfter(AtomicU64::new(0)));
        retry_after.set(RETRY_AFTER_MIN);
        let shared = Arc::new(Shared {
            budget: Arc::clone(&parts.budget),
            load_wait_max: parts.options.load_wait_max,
            retry_after: Arc::clone(&retry_after),
            waiter_ids: AtomicU64::new(0),
            runtime: Handle::current(),
        });
        let (arrivals, arrivals_in) = mpsc::unbounded_channel();
        let incoming = Incoming { requests: requests_in, signals: signals_in, arrivals: arrivals_in };
        let outgoing = Outgoing { workers, signals: signals.clone(), arrivals, retry_after };
        let task = tokio::spawn(Owner::new(parts, outgoing).run(incoming));
        (Self { requests, signals, shared }, task)
    }

    /// Waits for the model `name` and holds it.
    ///
    /// A model in memory is handed out at once; otherwise the request joins the load, or begins it, and waits until
    /// its deadline or the pool's `load_wait_max`, whichever comes first. Dropping the future leaves the load alone.
    ///
    /// # Errors
    /// See [`LeaseError`].
    pub async fn lease(&self, name: &str, options: LeaseOptions) -> LeaseResult<L> {
        self.ask(name, options, LoadCause::Demand).await
    }

    /// Brings the model `name` in and holds nothing: it stays as after a request that used it.
    ///
    /// # Errors
    /// See [`LeaseError`].
    pub async fn load(&self, name: &str, options: LeaseOptions) -> Result<LoadOutcome, LeaseError<L::Error>> {
        self.ask(name, options, LoadCause::Explicit).await.map(|lease| LoadOutcome::of(&lease))
    }

    /// Brings the model `name` in and keeps it there until [`Pool::unpin`] or the pool's end: neither its keep-alive
    /// nor others' need of memory evicts it. Takes back an unload that was asked for. Pinning again changes nothing.
    ///
    /// # Errors
    /// [`LeaseError::PinnedTooLarge`] when pinned models would hold more than `pinned_percent_max` of the budget
    /// together; otherwise as [`Pool::lease`]. After an error nothing new is pinned, but the model may be in memory.
    ///
    /// Dropping the future leaves the load alone; a pin that was granted in that very moment holds.
    pub async fn pin(&self, name: &str, deadline: Instant) -> Result<LoadOutcome, LeaseError<L::Error>> {
        let options = LeaseOptions { keep_alive: None, deadline };
        self.ask(name, options, LoadCause::Pin).await.map(|lease| LoadOutcome::of(&lease))
    }

    /// Lets the model `name` go as any other: its keep-alive begins now, unless it is in use.
    ///
    /// # Errors
    /// [`ShuttingDown`] when everything is being unloaded anyway.
    pub async fn unpin(&self, name: &str) -> Result<UnpinOutcome, ShuttingDown> {
        let (reply, answer) = oneshot::channel();
        self.requests.send(Request::Unpin { model: name.into(), reply }).await.map_err(|_| ShuttingDown)?;
        answer.await.map_err(|_| ShuttingDown)?
    }

    async fn ask(&self, name: &str, options: LeaseOptions, cause: LoadCause) -> LeaseResult<L> {
        let now = Instant::now();
        if options.deadline <= now {
            return Err(LeaseError::DeadlinePassed);
        }
        let wait_end = now.checked_add(self.shared.load_wait_max).unwrap_or(options.deadline);
        let id = self.waiter_id();
        let (reply, answer) = oneshot::channel();
        let model: Arc<str> = name.into();
        let waiter = Waiter { id, since: now, cause, keep_alive: options.keep_alive, reply };
        let request = Request::Lease { model: Arc::clone(&model), waiter };
        let asked = async {
            self.requests.send(request).await.ok()?;
            let mut guard = LeaveOnDrop { signals: &self.signals, leave: Some(Signal::LeaseUnwanted { model, id }) };
            let answer = answer.await;
            guard.leave = None;
            answer.ok()
        };
        match timeout_at(options.deadline.min(wait_end), asked).await {
            Ok(Some(answer)) => answer,
            Ok(None) => Err(LeaseError::ShuttingDown),
            Err(_) if options.deadline <= wait_end => Err(LeaseError::DeadlinePassed),
            Err(_) => Err(LeaseError::Overloaded { retry_after: self.shared.retry_after.get() }),
        }
    }

    /// Reserves `bytes` for a sequence of `model`, evicting idle models for it, least recently used first; waits for
    /// room until `deadline`.
    ///
    /// # Errors
    /// See [`NoRoom`].
    pub async fn make_room(&self, model: &str, bytes: u64, deadline: Instant) -> Result<Reservation, NoRoom> {
        let id = self.waiter_id();
        let (reply, answer) = oneshot::channel();
        let request = Request::Room(RoomWaiter { model: model.into(), bytes, id, since: Instant::now(), reply });
        let asked = async {
            self.requests.send(request).await.ok()?;
            let mut guard = LeaveOnDrop { signals: &self.signals, leave: Some(Signal::RoomUnwanted { id }) };
            let answer = answer.await;
            guard.leave = None;
            answer.ok()
        };
        match timeout_at(deadline, asked).await {
            Ok(Some(answer)) => answer,
            Ok(None) => Err(NoRoom::ShuttingDown),
            Err(_) => Err(NoRoom::DeadlinePassed),
        }
    }

    /// Evicts `name` now if it is idle, otherwise as soon as the last request that holds it or waits for it lets go.
    /// A model that is pinned stays.
    ///
    /// # Errors
    /// [`ShuttingDown`] when everything is being unloaded anyway.
    pub async fn unload(&self, name: &str) -> Result<UnloadOutcome, ShuttingDown> {
        let (reply, answer) = oneshot::channel();
        self.requests.send(Request::Unload { model: name.into(), reply }).await.map_err(|_| ShuttingDown)?;
        answer.await.map_err(|_| ShuttingDown)?
    }

    /// The model that `lease` holds failed in use, as `source` says: from the moment that this returns it is refused to
    /// everyone until the pool's back-off is over, by its artifact and as one whose load failed is. Those who hold it go
    /// on; it is evicted when the last of them lets go, and any pin of it ends. Does nothing once the pool has ended.
    ///
    /// A lease that never comes back keeps its bytes reserved, and holds up nobody: after the back-off requests get the
    /// copy that is still there.
    pub async fn quarantine(&self, lease: &Lease<L::Model>, source: Arc<L::Error>) {
        let (reply, done) = oneshot::channel();
        let (model, identity) = (Arc::clone(lease.name()), lease.identity());
        if self.requests.send(Request::Fault { model, identity, source, reply }).await.is_ok() {
            let _ = done.await;
        }
    }

    /// The budget is `limit_bytes` from now on. More of it serves those who wait, at once; less of it evicts idle models
    /// now and busy ones as their leases end, and refuses those who can never fit any more; until that is enough nothing is
    /// granted, so that sequences that need more room wait, each until its deadline.
    ///
    /// # Errors
    /// See [`BudgetRefused`]; nothing changed then.
    pub async fn set_budget(&self, limit_bytes: u64) -> Result<(), BudgetRefused> {
        let (reply, answer) = oneshot::channel();
        let request = Request::Budget { limit_bytes, reply };
        self.requests.send(request).await.map_err(|_| BudgetRefused::ShuttingDown)?;
        answer.await.map_err(|_| BudgetRefused::ShuttingDown)?
    }

    /// The pool at this moment. Wakes no model and refreshes no time-out.
    pub async fn snapshot(&self) -> PoolSnapshot {
        let (reply, answer) = oneshot::channel();
        if self.requests.send(Request::Snapshot { reply }).await.is_ok()
            && let Ok(snapshot) = answer.await
        {
            return snapshot;
        }
        PoolSnapshot {
            limit_bytes: self.shared.budget.limit_bytes(),
            used_bytes: self.shared.budget.used_bytes(),
            shutting_down: true,
            ..PoolSnapshot::default()
        }
    }

    /// What a request for `name` would meet at this moment. Wakes no model and refreshes no time-out.
    pub async fn outlook(&self, name: &str) -> Outlook {
        let (reply, answer) = oneshot::channel();
        let ended = Outlook { shutting_down: true, ..Outlook::default() };
        if self.requests.send(Request::Outlook { model: name.into(), reply }).await.is_err() {
            return ended;
        }
        answer.await.unwrap_or(ended)
    }

    /// Answers every waiter with `ShuttingDown`, evicts idle models now and busy ones as their leases end. Returns at
    /// once; the join handle of [`Pool::spawn`] tells the end. Drain the executor first: its sequences ask for room.
    pub fn shutdown(&self) {
        // Fails only when the task has ended already.
        let _ = self.signals.send(Signal::Shutdown);
    }

    /// The budget that this pool works in.
    #[must_use]
    pub fn budget(&self) -> &Arc<Budget> {
        &self.shared.budget
    }

    fn waiter_id(&self) -> WaiterId {
        WaiterId(self.shared.waiter_ids.fetch_add(1, Ordering::Relaxed))
    }
}

/// Sequences get their room from the pool that their models live in.
impl<L: ModelLoader> RoomSource for Pool<L> {
    fn request(&self, model: &Arc<str>, bytes: u64, deadline: Instant, mut answer: RoomAnswer) {
        let pool = self.clone();
        let model = Arc::clone(model);
        self.shared.runtime.spawn(async move {
            let room = tokio::select! {
                biased;
                () = answer.unwanted() => return,
                room = pool.make_room(&model, bytes, deadline) => room,
            };
            answer.settle(room);
        });
    }
}

/// What [`Pool::spawn`] was given.
pub(super) struct Parts<L: ModelLoader> {
    pub(super) loader: Arc<L>,
    pub(super) budget: Arc<Budget>,
    pub(super) options: PoolOptions,
    pub(super) observer: Arc<dyn PoolObserver>,
}

impl LoadOutcome {
    fn of<M>(lease: &Lease<M>) -> Self {
        if lease.is_cold() { Self::Loaded { waited: lease.load_wait() } } else { Self::Present }
    }
}

/// Tells the owner that an answer is not wanted any more, unless it came.
struct LeaveOnDrop<'a> {
    signals: &'a mpsc::UnboundedSender<Signal>,
    leave: Option<Signal>,
}

impl Drop for LeaveOnDrop<'_> {
    fn drop(&mut self) {
        if let Some(leave) = self.leave.take() {
            let _ = self.signals.send(leave);
        }
    }
}

const _: () = {
    const fn is_shareable<T: Send + Sync>() {}
    is_shareable::<Lease<()>>();
};
