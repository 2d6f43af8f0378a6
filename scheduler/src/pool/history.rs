//! What is remembered of a model beyond its copies: how its loads went, and how soon it was wanted again.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use super::loader::LoadSource;
use crate::limits::GAPS_REMEMBERED_MAX;

#[derive(Clone, Debug)]
pub(super) struct History {
    /// Loads that succeeded.
    pub(super) loads: u64,
    pub(super) last_load_wall: Option<Duration>,
    /// Of the recent loads: each new one counts a quarter.
    pub(super) load_wall_mean: Duration,
    pub(super) last_load_source: Option<LoadSource>,
    pub(super) last_asked: Instant,
    /// Nobody has held it since, in memory or not, and nobody asked to use it.
    unheld_since: Option<Instant>,
    /// The latest times from the end of use to the next request, oldest first.
    gaps: VecDeque<Duration>,
}

impl History {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            loads: 0,
            last_load_wall: None,
            load_wall_mean: Duration::ZERO,
            last_load_source: None,
            last_asked: now,
            unheld_since: None,
            gaps: VecDeque::new(),
        }
    }

    /// Someone wants to use it.
    pub(super) fn wanted(&mut self, now: Instant) {
        let Some(since) = self.unheld_since.take() else { return };
        if self.gaps.len() == GAPS_REMEMBERED_MAX {
            self.gaps.pop_front();
        }
        self.gaps.push_back(now.saturating_duration_since(since));
    }

    pub(super) fn let_go(&mut self, now: Instant) {
        self.unheld_since = Some(now);
    }

    pub(super) fn loaded(&mut self, wall: Duration, source: LoadSource) {
        self.loads += 1;
        self.last_load_wall = Some(wall);
        self.last_load_source = Some(source);
        self.load_wall_mean = if self.loads == 1 { wall } else { (self.load_wall_mean * 3 + wall) / 4 };
    }

    pub(super) fn gaps(&mut self) -> &[Duration] {
        self.gaps.make_contiguous()
    }
}
