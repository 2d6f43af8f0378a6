//! The byte-time of key-value blocks: a request's own ([`KvIntegral`]), and those that several hold ([`SharedBlocks`]).
//!
//! Invariants: the integral never decreases; time that runs backwards counts as standing still; shrinking below
//! nothing leaves nothing. A request holds a block in one of the two ways at a time: one that it publishes leaves its
//! integral.

mod shared;

pub use self::shared::{BlockId, PublishedBlock, SharedBlocks};
use crate::units::{KibMillis, Moment};

const BYTES_PER_KIB: u128 = 1024;

/// Block bytes over time, for one request.
#[derive(Debug, Clone)]
pub struct KvIntegral {
    bytes: u64,
    clock: Moment,
    byte_millis: u128,
}

impl KvIntegral {
    /// No blocks yet, at `at`.
    #[must_use]
    pub const fn new(at: Moment) -> Self {
        Self { bytes: 0, clock: at, byte_millis: 0 }
    }

    /// Blocks of together `bytes` were taken at `at`.
    pub fn grow(&mut self, bytes: u64, at: Moment) {
        self.advance(at);
        self.bytes = self.bytes.saturating_add(bytes);
    }

    /// Blocks of together `bytes` were given back at `at`.
    pub fn shrink(&mut self, bytes: u64, at: Moment) {
        self.advance(at);
        self.bytes = self.bytes.saturating_sub(bytes);
    }

    /// Bytes held now.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// All blocks were given back at `at`: the integral, rounded to the nearest KiB · ms.
    #[must_use]
    pub fn finish(mut self, at: Moment) -> KibMillis {
        self.advance(at);
        KibMillis::saturating_from(self.byte_millis.saturating_add(BYTES_PER_KIB / 2) / BYTES_PER_KIB)
    }

    fn advance(&mut self, at: Moment) {
        let span = u128::from(at.millis_since(self.clock));
        self.byte_millis = self.byte_millis.saturating_add(u128::from(self.bytes) * span);
        self.clock = self.clock.max(at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integrates_steps() {
        let mut kv = KvIntegral::new(Moment::new(100));
        kv.grow(2048, Moment::new(100));
        kv.grow(1024, Moment::new(110));
        kv.shrink(2048, Moment::new(120));
        assert_eq!(kv.bytes(), 1024);
        assert_eq!(kv.finish(Moment::new(140)), KibMillis::new(2 * 10 + 3 * 10 + 20));
    }

    #[test]
    fn sub_kib_blocks_are_not_lost_and_time_may_stand_or_jump_back() {
        let mut kv = KvIntegral::new(Moment::new(10));
        kv.grow(512, Moment::new(10));
        kv.shrink(4096, Moment::new(5));
        kv.grow(512, Moment::new(10));
        assert_eq!(kv.finish(Moment::new(13)), KibMillis::new(2), "512 bytes for 3 ms are 1.5 KiB ms");
    }
}
