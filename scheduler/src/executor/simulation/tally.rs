//! What a run came to.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::executor::RequestTiming;

#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) completed: usize,
    pub(super) cancelled: usize,
    pub(super) failed: usize,
    pub(super) panicked: usize,
    /// Ended by their deadline.
    pub(super) late: usize,
    pub(super) stalled_out: usize,
    pub(super) no_room: usize,
    pub(super) shut_down: usize,
    /// Those whose clients dropped their tickets.
    pub(super) dropped: usize,
    pub(super) refused_places: usize,
    pub(super) preemptions: usize,
    pub(super) recomputed_tokens: u64,
    pub(super) stalls: usize,
    pub(super) room_waits: usize,
    pub(super) reclaims: usize,
    pub(super) steps: u64,
    /// Drafts that were right, and that were not.
    pub(super) accepted: u64,
    pub(super) rejected: u64,
    /// Runs' largest batches, summed.
    pub(super) batched: usize,
    pub(super) lasted: Duration,
    pub(super) longest_turn_wait: Duration,
    /// Of each sequence whose end was seen: its number, and how it went.
    pub(super) ends: BTreeMap<u64, End>,
    pub(super) violations: Vec<String>,
}

/// How one sequence went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct End {
    pub(super) latency: Duration,
    pub(super) timing: RequestTiming,
    pub(super) outputs: u32,
}

impl Tally {
    pub(super) fn add(&mut self, other: &Self) {
        self.completed += other.completed;
        self.cancelled += other.cancelled;
        self.failed += other.failed;
        self.panicked += other.panicked;
        self.late += other.late;
        self.stalled_out += other.stalled_out;
        self.no_room += other.no_room;
        self.shut_down += other.shut_down;
        self.dropped += other.dropped;
        self.refused_places += other.refused_places;
        self.preemptions += other.preemptions;
        self.recomputed_tokens += other.recomputed_tokens;
        self.stalls += other.stalls;
        self.room_waits += other.room_waits;
        self.reclaims += other.reclaims;
        self.steps += other.steps;
        self.accepted += other.accepted;
        self.rejected += other.rejected;
        self.batched += other.batched;
        self.longest_turn_wait = self.longest_turn_wait.max(other.longest_turn_wait);
    }
}
