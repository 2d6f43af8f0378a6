//! What must hold of a simulated pool.

use std::time::Duration;

use tokio::time::sleep;

use super::watch::{InMemory, Want};
use super::{Snapshots, TIMER_GRAIN, World};
use crate::limits::PAGED_KV_DIVISOR;
use crate::pool::fake::*;
use crate::pool::slot::Pin;
use crate::pool::*;

/// Whoever waits for longer, for a model that does not load, waits for room.
const INSPECTED: Duration = Duration::from_millis(10);

impl World {
    /// What holds at every moment.
    pub(super) async fn check(&self) {
        self.check_bytes();
        if self.snapshots == Snapshots::AfterEveryAct {
            let snapshot = self.pool.snapshot().await;
            let held: u64 = snapshot.models.iter().map(|model| model.weights_bytes).sum();
            let used_bytes = snapshot.used_bytes;
            if held > used_bytes || snapshot.pinned_bytes > held {
                self.violation(format!("models hold more than is used: {snapshot:#?}"));
            }
        }
    }

    pub(super) fn check_bytes(&self) {
        let (used, limit) = (self.budget.used_bytes(), self.budget.limit_bytes());
        let (live, kv) = (self.loader.records.lock().unwrap().live_bytes, *self.kv_bytes.lock().unwrap());
        let mut ceiling = self.ceiling_bytes.lock().unwrap();
        if used > limit.max(*ceiling) || live + kv > used {
            self.violation(format!("used {used} of {limit} or {ceiling}: live models {live}, sequences {kv}"));
        }
        *ceiling = used.max(limit).max(*self.resizing_bytes.lock().unwrap());
    }

    pub(super) fn check_no_wake_up_is_lost(&self) {
        let watched = self.watch.state.lock().unwrap();
        // A copy on its way out is one more reason to wait.
        if watched.leaving > 0 {
            return;
        }
        let young = self.options.residency_min + TIMER_GRAIN;
        let may_go =
            |model: &&InMemory| model.pin == Pin::NotPinned && model.leases == 0 && model.since.elapsed() >= young;
        if self.budget.excess_bytes() > 0
            && watched.loaded.values().any(|model| model.pin == Pin::NotPinned && model.leases == 0)
        {
            self.violation("an idle model stays although the budget was cut".to_owned());
        }
        let pinned = watched.loaded.values().filter(|model| model.pin == Pin::Pinned).map(|model| model.bytes).sum();
        let idle: u64 = watched.loaded.values().filter(may_go).map(|model| model.bytes).sum();
        let possible = (self.budget.free_bytes() + idle).saturating_sub(self.budget.excess_bytes());
        let records = self.loader.records.lock().unwrap();
        let (mut rooms, mut models, mut longest) = (Vec::new(), Vec::new(), Duration::ZERO);
        for (_, want) in &*self.waiting.0.lock().unwrap() {
            match want {
                Want::Room(bytes) => rooms.push(*bytes),
                Want::Model(name, since) if !watched.loading.contains(name) => {
                    if watched.loaded.get(name).is_some_and(|model| !model.gives_way) {
                        self.violation(format!("{name} is waited for although it is in memory"));
                    }
                    models.push(self.resident_bytes(records.artifacts[name].bytes, pinned));
                    longest = longest.max(since.elapsed());
                }
                Want::Model(..) => {}
            }
        }
        drop(records);
        let may_load =
            rooms.is_empty() && longest >= INSPECTED && watched.loading.len() < self.options.loads_parallel_max;
        drop(watched);
        // Which of them is first in line cannot be seen: only when all would fit is the wait a mistake.
        let all_fit = |needs: &[u64]| !needs.is_empty() && needs.iter().all(|&need| need <= possible);
        if all_fit(&rooms) || (may_load && all_fit(&models)) {
            self.violation(format!("{rooms:?} and {models:?} are waited for, {possible} can be had"));
        }
    }

    /// Every client is gone: nobody waits, nobody holds, and the bytes in use are those of live models.
    pub(super) async fn check_quiet(&self) {
        sleep(Duration::from_secs(30)).await;
        let snapshot = self.pool.snapshot().await;
        let live = self.loader.records.lock().unwrap().live_bytes;
        let held: usize = snapshot.models.iter().map(|model| model.leases + model.waiters).sum();
        if held + snapshot.waiters + snapshot.room_waiters > 0 || snapshot.used_bytes != live {
            self.violation(format!("not quiet: live {live}, {snapshot:#?}"));
        }
    }

    /// Whatever happened before, every good model that fits can still be had.
    pub(super) async fn check_alive(&self) {
        for name in &self.names {
            let Artifact { bytes, behaviour, .. } = self.loader.records.lock().unwrap().artifacts[*name];
            let result = self.pool.lease(name, within(Duration::from_secs(3_600))).await;
            let fits = self.options.oversize == Oversize::Page || bytes <= self.budget.limit_bytes();
            if behaviour == Behaviour::Good && fits && result.is_err() {
                self.violation(format!("{name} cannot be had any more: {:?}", result.err()));
            }
        }
    }

    pub(super) fn check_empty(&self) {
        let live = self.loader.records.lock().unwrap().live_bytes;
        if self.budget.used_bytes() + live > 0 {
            self.violation(format!("after the end {} bytes are used, {live} live", self.budget.used_bytes()));
        }
    }

    /// Bytes that a model of `bytes` takes beside pinned ones.
    fn resident_bytes(&self, bytes: u64, pinned: u64) -> u64 {
        let limit = self.budget.limit_bytes();
        let available = limit.saturating_sub(pinned);
        match self.options.oversize {
            Oversize::Page if bytes > available => available.saturating_sub(limit.div_ceil(PAGED_KV_DIVISOR)),
            _ => bytes,
        }
    }
}
