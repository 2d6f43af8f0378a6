//! What the dashboard shows, as it is now: looked at while somebody follows it, by one task for all who do.
//!
//! The pool is looked at every [`LIVE_EVERY`], the ledger every [`LIVE_READ_EVERY`], the files of models every
//! [`LIVE_LISTED_EVERY`]; a follower hears of a figure that is
//! another than before, and sees the latest one whenever it is ready for it. What had been saved when is remembered
//! ([`history`]), whether anybody follows or not.
//!
//! Invariants: there are [`LIVE_FOLLOWERS_MAX`] followers at most, and of one tenant
//! [`LIVE_FOLLOWERS_PER_TENANT_MAX`]; none of them is waited for. Deliberately absent: who may see what, and how it looks
//! on the wire (`http::live`).

mod history;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ledger::{LedgerError, Reader, SavingsQuery, SeriesQuery, Since, Span, UsageBucket};
use loader::catalog::Entry;
use meter::savings::SavingsReport;
use meter::{KibMillis, SavingsInputs};
use scheduler::{Instant, ModelSnapshot, PoolSnapshot, PrefixStatus};
use tokio::sync::{Notify, watch};

pub(crate) use self::history::{History, Saved, SavedAgainst};
use crate::app::App;
use crate::limits::{
    LIVE_EVERY, LIVE_FOLLOWERS_MAX, LIVE_FOLLOWERS_PER_TENANT_MAX, LIVE_LISTED_EVERY, LIVE_READ_EVERY,
};
use crate::reports;
use crate::response_cache::ResponseCacheStatus;

const DAY_MS: i64 = 24 * 3600 * 1000;
/// The days before this one that sums are of.
const DAYS: i64 = 30;

/// The figures of one server, and who follows them.
pub(crate) struct Live {
    pool: watch::Sender<Option<Arc<Pool>>>,
    ledger: watch::Sender<Option<Arc<Recorded>>>,
    followers: Mutex<HashMap<Arc<str>, usize>>,
    /// Somebody has come.
    wanted: Notify,
}

/// Someone who follows; its place is free when it drops.
pub(crate) struct Follower {
    live: Arc<Live>,
    tenant: Arc<str>,
    since: Instant,
    pub(crate) pool: watch::Receiver<Option<Arc<Pool>>>,
    pub(crate) ledger: watch::Receiver<Option<Arc<Recorded>>>,
}

/// The memory of all devices, and who is in it.
#[derive(Clone)]
pub(crate) struct Pool {
    taken: Instant,
    /// Another one for each that a follower would see to be another.
    pub(crate) version: u64,
    /// What the catalog has.
    pub(crate) entries: Arc<Vec<Entry>>,
    /// In the order of the devices.
    pub(crate) snapshots: Vec<PoolSnapshot>,
    pub(crate) prefixes: PrefixStatus,
    /// Headers, tokenizers and templates that are kept: how many, and their bytes, which are beside the budget.
    pub(crate) headers: (u64, u64),
    /// Answers that are given again, beside the budget as well.
    pub(crate) responses: ResponseCacheStatus,
    /// Requests that wait for their first step, by device.
    queued: Vec<usize>,
}

/// What the ledger says.
pub(crate) struct Recorded {
    taken: Instant,
    /// Another one for each that a follower would see to be another.
    pub(crate) version: u64,
    /// None where it could not be read.
    pub(crate) figures: Option<Figures>,
}

/// Sums of the ledger.
#[derive(Clone, PartialEq)]
pub(crate) struct Figures {
    /// Since this server began.
    pub(crate) savings: SavingsReport,
    pub(crate) history: Arc<History>,
    /// Of each of the last days on which anything happened, the present one last.
    pub(crate) days: Vec<UsageBucket>,
    /// When the present day began: seconds since 1970.
    pub(crate) today_unix_s: i64,
    /// Receipts so far: budgets change with them.
    receipts: u64,
}

impl Live {
    /// Nobody follows yet.
    pub(crate) fn new() -> Arc<Self> {
        let (pool, ledger) = (watch::Sender::new(None), watch::Sender::new(None));
        Arc::new(Self { pool, ledger, followers: Mutex::default(), wanted: Notify::new() })
    }

    /// What had been saved since the server began, at the latest point of the curve.
    pub(crate) fn saved(&self) -> Option<Saved> {
        let recorded = self.ledger.borrow().clone()?;
        recorded.figures.as_ref()?.history.of(None).last().map(|(_, saved)| saved)
    }

    /// Someone who follows from now on; none where there is no place.
    pub(crate) fn follow(self: &Arc<Self>, tenant: &Arc<str>) -> Option<Follower> {
        let mut followers = self.followers();
        let own = followers.get(tenant).copied().unwrap_or(0);
        if followers.values().sum::<usize>() >= LIVE_FOLLOWERS_MAX || own >= LIVE_FOLLOWERS_PER_TENANT_MAX {
            return None;
        }
        followers.insert(Arc::clone(tenant), own + 1);
        // Before anyone is woken: the look that this begins is new to it.
        let since = Instant::now();
        self.wanted.notify_waiters();
        let (pool, ledger) = (self.pool.subscribe(), self.ledger.subscribe());
        Some(Follower { live: Arc::clone(self), tenant: Arc::clone(tenant), since, pool, ledger })
    }

    fn is_followed(&self) -> bool {
        !self.followers().is_empty()
    }

    fn followers(&self) -> MutexGuard<'_, HashMap<Arc<str>, usize>> {
        self.followers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Follower {
    /// Waits until everything was looked at since it came.
    pub(crate) async fn first(&mut self) {
        let moment = self.since;
        // Both end with the server alone, of which the stream hears by itself.
        let _ = self.pool.wait_for(|pool| pool.as_ref().is_some_and(|pool| pool.taken >= moment)).await;
        let _ = self.ledger.wait_for(|ledger| ledger.as_ref().is_some_and(|ledger| ledger.taken >= moment)).await;
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let mut followers = self.live.followers();
        if let Some(count) = followers.get_mut(&self.tenant) {
            *count -= 1;
            if *count == 0 {
                followers.remove(&self.tenant);
            }
        }
    }
}

impl Pool {
    /// As it is now.
    pub(crate) async fn now(app: &App, entries: Arc<Vec<Entry>>) -> Self {
        let taken = Instant::now();
        let (headers, headers_kib) = app.models.kept_descriptors();
        Self {
            taken,
            version: 0,
            entries,
            snapshots: app.devices.snapshots().await,
            prefixes: app.prefixes.status(),
            headers: (headers, headers_kib.saturating_mul(1024)),
            responses: app.responses.status(),
            queued: app.devices.iter().map(|device| device.executor.queued()).collect(),
        }
    }

    /// Whether a follower would see another one, time apart.
    fn differs_from(&self, other: &Self) -> bool {
        let still = |pool: &Self| pool.snapshots.iter().map(without_time).collect::<Vec<_>>();
        !Arc::ptr_eq(&self.entries, &other.entries)
            || (self.prefixes, self.headers, &self.queued) != (other.prefixes, other.headers, &other.queued)
            || self.responses != other.responses
            || still(self) != still(other)
    }
}

/// A snapshot without what the clock alone changes.
fn without_time(snapshot: &PoolSnapshot) -> PoolSnapshot {
    let still = |model: &ModelSnapshot| ModelSnapshot {
        idle_for: None,
        expires_in: model.expires_in.map(|_| std::time::Duration::ZERO),
        quarantined_for: model.quarantined_for.map(|_| std::time::Duration::ZERO),
        ..model.clone()
    };
    PoolSnapshot { models: snapshot.models.iter().map(still).collect(), ..snapshot.clone() }
}

/// Looks at everything for as long as the server runs.
pub(crate) async fn look(app: Arc<App>) {
    tokio::join!(look_at_pool(&app), look_at_ledger(&app));
}

async fn look_at_pool(app: &Arc<App>) {
    let mut entries: Option<(Instant, Arc<Vec<Entry>>)> = None;
    loop {
        let wanted = app.live.wanted.notified();
        if !app.live.is_followed() {
            wanted.await;
            continue;
        }
        let listed = match &entries {
            Some((at, listed)) if at.elapsed() < LIVE_LISTED_EVERY => Arc::clone(listed),
            _ => {
                let models = Arc::clone(&app.models);
                let now = tokio::task::spawn_blocking(move || models.list()).await.unwrap_or_default();
                let same = entries.take().map(|(_, listed)| listed).filter(|listed| **listed == now);
                let listed = same.unwrap_or_else(|| Arc::new(now));
                entries = Some((Instant::now(), Arc::clone(&listed)));
                listed
            }
        };
        let mut now = Pool::now(app, listed).await;
        // Sent in any case: whoever has just come waits for one that is new, and not for one that is another.
        app.live.pool.send_modify(|pool| {
            let (version, differs) = pool.as_ref().map_or((0, true), |pool| (pool.version, pool.differs_from(&now)));
            now.version = version + u64::from(differs);
            *pool = Some(Arc::new(now));
        });
        tokio::select! {
            () = tokio::time::sleep(LIVE_EVERY) => {}
            () = wanted => {}
        }
    }
}

async fn look_at_ledger(app: &Arc<App>) {
    let mut history = Arc::new(History::default());
    loop {
        let wanted = app.live.wanted.notified();
        let is_due = history.is_due(app.metering.accounted_until());
        if app.live.is_followed() || is_due {
            let taken = Instant::now();
            let (reading, before) = (Arc::clone(app), Arc::clone(&history));
            let read = tokio::task::spawn_blocking(move || figures(&reading, before)).await;
            let figures = match read {
                Ok(Ok(figures)) => Some(figures),
                Ok(Err(error)) => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "the ledger is not shown");
                    None
                }
                Err(_) => None,
            };
            if let Some(figures) = &figures {
                history = Arc::clone(&figures.history);
            }
            app.live.ledger.send_modify(|recorded| {
                let differs = |before: &Arc<Recorded>| (before.version, before.figures != figures);
                let (version, differs) = recorded.as_ref().map_or((0, true), differs);
                let version = version + u64::from(differs);
                *recorded = Some(Arc::new(Recorded { taken, version, figures }));
            });
        }
        tokio::select! {
            () = tokio::time::sleep(LIVE_READ_EVERY) => {}
            () = wanted => {}
        }
    }
}

/// What the ledger says now. Blocks on the disk.
fn figures(app: &App, mut history: Arc<History>) -> Result<Figures, LedgerError> {
    let until = app.metering.accounted_until();
    let receipts = *app.metering.recent().count().borrow();
    let reader: &Reader = app.metering.ledger().reader();
    let query = SavingsQuery { since: Since::LatestRun, until: Some(until) };
    let inputs = reports::savings_inputs(reader, query, app.process_bytes)?;
    let savings = reports::savings_of(&inputs, &app.metering.prices_of(0));
    let now_unix_ms = app.metering.now_unix_ms();
    if history.is_due(until) {
        // Of each tenant what no other has a part in, as its own report has it.
        let mut of_own = SavingsInputs { process_bytes: 0, ..inputs };
        of_own.models.iter_mut().for_each(|model| (model.load, model.idle) = (KibMillis::ZERO, KibMillis::ZERO));
        let of_own = reports::savings_of(&of_own, &app.metering.prices_of(0));
        Arc::make_mut(&mut history).push(until, now_unix_ms, (&savings, &of_own));
    }
    let today_unix_s = now_unix_ms.div_euclid(DAY_MS) * (DAY_MS / 1000);
    let from_unix_s = today_unix_s - (DAYS - 1) * (DAY_MS / 1000);
    let mut days = reader.series(SeriesQuery { width: Span::Day, from_unix_s, to_unix_s: i64::MAX })?;
    // Tenants and models alone are told.
    days.iter_mut().for_each(|day| day.keys = Vec::new());
    Ok(Figures { savings, history, days, today_unix_s, receipts })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use scheduler::{KeepAlive, ModelState};

    use super::*;

    #[test]
    fn followers_have_places_and_give_them_back() {
        let live = Live::new();
        let tenant = |number: usize| Arc::<str>::from(number.to_string());
        let mut followers: Vec<_> =
            (0..LIVE_FOLLOWERS_PER_TENANT_MAX).filter_map(|_| live.follow(&tenant(0))).collect();
        assert_eq!(followers.len(), LIVE_FOLLOWERS_PER_TENANT_MAX);
        assert!(live.follow(&tenant(0)).is_none(), "one tenant leaves places to others");
        followers.extend(
            (LIVE_FOLLOWERS_PER_TENANT_MAX..LIVE_FOLLOWERS_MAX).map(|number| live.follow(&tenant(number)).unwrap()),
        );
        assert!(live.follow(&tenant(1000)).is_none());
        followers.pop();
        assert!(live.follow(&tenant(1000)).is_some());
        followers.clear();
        assert!(!live.is_followed());
    }

    #[tokio::test(start_paused = true)]
    async fn the_look_that_a_follower_wakes_is_new_to_it() {
        let live = Live::new();
        let mut follower = live.follow(&"a".into()).unwrap();
        let taken = Instant::now();
        let pool = Pool {
            taken,
            version: 1,
            entries: Arc::default(),
            snapshots: Vec::new(),
            prefixes: PrefixStatus::default(),
            headers: (0, 0),
            responses: ResponseCacheStatus::default(),
            queued: Vec::new(),
        };
        live.pool.send_replace(Some(Arc::new(pool)));
        live.ledger.send_replace(Some(Arc::new(Recorded { taken, version: 1, figures: None })));
        // Its task runs a moment later.
        tokio::time::advance(Duration::from_millis(1)).await;
        tokio::time::timeout(LIVE_EVERY, follower.first()).await.expect("no other look is waited for");
    }

    #[test]
    fn time_alone_changes_nothing_for_a_follower() {
        let model = |idle_ms: u64| ModelSnapshot {
            name: "m".into(),
            state: ModelState::Idle,
            weights_bytes: 1,
            leases: 0,
            waiters: 0,
            keep_alive: KeepAlive::Auto,
            break_even: None,
            idle_for: Some(Duration::from_millis(idle_ms)),
            expires_in: Some(Duration::from_millis(1000 - idle_ms)),
            progress: None,
            loads: 1,
            last_load_wall: None,
            last_load_source: None,
            quarantined_for: None,
            paged: false,
            pinned: false,
            gives_way_for: None,
            unload_pending: false,
        };
        let snapshot = |model| PoolSnapshot { models: vec![model], ..PoolSnapshot::default() };
        assert_eq!(without_time(&snapshot(model(1))), without_time(&snapshot(model(2))));
        let stays = ModelSnapshot { expires_in: None, ..model(1) };
        assert_ne!(without_time(&snapshot(model(1))), without_time(&snapshot(stays)));
    }
}
