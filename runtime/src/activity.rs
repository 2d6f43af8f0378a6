//! Whether anybody uses the server: what an exit when idle waits for.
//!
//! Two things are told apart. A *use* restarts the clock: a request that was let in and is no probe and no scrape, at its
//! beginning and at its end. A *hold* only has to end first: a request of any kind until its answer is sent and settled, and
//! a connection that has not said yet what it wants. So whoever probes keeps nothing running, and nobody is cut off.
//!
//! Invariant: an idle server has no hold. Deliberately absent: what else keeps a server (pinned models, loads, pulls), which
//! `app` knows.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

/// Who uses one server, and when somebody last did.
pub(crate) struct Activity {
    state: Mutex<State>,
    changed: Notify,
}

struct State {
    holds: usize,
    used: Instant,
}

/// Keeps the server from being idle until it is dropped.
pub(crate) struct Hold {
    activity: Arc<Activity>,
}

impl Activity {
    /// Of a server that begins now, which counts as a use.
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { state: Mutex::new(State { holds: 0, used: Instant::now() }), changed: Notify::new() })
    }

    /// Somebody uses it now.
    pub(crate) fn used(&self) {
        self.state().used = Instant::now();
    }

    /// It is not idle while the hold lives.
    pub(crate) fn hold(self: &Arc<Self>) -> Hold {
        self.state().holds += 1;
        Hold { activity: Arc::clone(self) }
    }

    /// Whether there is no hold, and there was no use for `span`.
    pub(crate) fn is_idle_for(&self, span: Duration) -> bool {
        self.idle_at(span).is_some_and(|at| at <= Instant::now())
    }

    /// Completes when that is so.
    pub(crate) async fn idle_for(&self, span: Duration) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            // What ends from here on is heard of.
            changed.as_mut().enable();
            match self.idle_at(span) {
                Some(at) if at <= Instant::now() => return,
                Some(at) => tokio::select! {
                    () = tokio::time::sleep_until(at) => {}
                    () = changed => {}
                },
                None => changed.await,
            }
        }
    }

    /// When it will have been idle for `span`, if nobody comes; none while there are holds.
    fn idle_at(&self, span: Duration) -> Option<Instant> {
        let state = self.state();
        (state.holds == 0).then(|| state.used + span)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.activity.state().holds -= 1;
        self.activity.changed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPAN: Duration = Duration::from_secs(600);
    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn uses_restart_the_clock_and_holds_do_not() {
        let activity = Activity::new();
        tokio::time::advance(SPAN - SECOND).await;
        drop(activity.hold());
        assert!(!activity.is_idle_for(SPAN));
        tokio::time::advance(SECOND).await;
        assert!(activity.is_idle_for(SPAN), "a probe a second ago is no use");
        activity.used();
        assert!(!activity.is_idle_for(SPAN));
        let began = Instant::now();
        activity.idle_for(SPAN).await;
        assert_eq!(began.elapsed(), SPAN);
    }

    #[tokio::test(start_paused = true)]
    async fn what_goes_on_is_waited_for() {
        let activity = Activity::new();
        let hold = activity.hold();
        let waiting = Arc::clone(&activity);
        let idle = tokio::spawn(async move { waiting.idle_for(SPAN).await });
        tokio::time::advance(2 * SPAN).await;
        assert!(!idle.is_finished() && !activity.is_idle_for(SPAN));
        // The end of a long request is a use.
        activity.used();
        drop(hold);
        let began = Instant::now();
        idle.await.unwrap();
        assert_eq!(began.elapsed(), SPAN);
    }
}
