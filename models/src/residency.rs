//! Where a model's weights came from when it was brought into memory: the facts, and the label that they amount to.
//!
//! Deliberately absent: bringing them in ([`Model::bring_in`](crate::Model::bring_in)), what is charged for it.

use crate::limits::CACHED_PERCENT_WARM;

/// How far a model has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Bytes of the layers that are done.
    pub done_bytes: u64,
    /// Bytes of all.
    pub bytes: u64,
}

/// What bringing a model's weights in met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BroughtIn {
    /// Bytes that were to be brought in: the layers and the head, whatever lies between a layer's matrices included.
    pub bytes: u64,
    /// How many of them were in the page cache before; `None` where the system does not tell, which it does only those
    /// who own the files or may write them.
    pub cached_bytes_before: Option<u64>,
    /// How often the loading thread waited for the disk; `None` where it did not wait for the pages at all, or the
    /// system does not count threads apart. Each time brings at least a page, mostly many.
    pub major_faults: Option<u64>,
}

/// Whether the weights were in the page cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageCache {
    /// Practically all of them.
    Warm,
    /// Some had to be read from the disk.
    Cold,
    /// It cannot be told.
    Unknown,
}

impl BroughtIn {
    /// The label of the load.
    ///
    /// Warm where at least [`CACHED_PERCENT_WARM`] percent were cached before and the faults, at a page each the least
    /// that was read, do not contradict it. Where it is not known how much was cached, the faults alone decide, and
    /// there one is enough to be cold. A model that was in the pool was not brought in and has no label here.
    #[must_use]
    pub fn page_cache(&self) -> PageCache {
        const PAGE_BYTES: u64 = 4096;
        let is_most = |bytes: u64| u128::from(bytes) * 100 >= u128::from(self.bytes) * u128::from(CACHED_PERCENT_WARM);
        let read_bytes = self.major_faults.unwrap_or(0).saturating_mul(PAGE_BYTES);
        match (self.cached_bytes_before, self.major_faults) {
            (Some(cached), _) if is_most(cached) && is_most(self.bytes.saturating_sub(read_bytes)) => PageCache::Warm,
            (Some(_), _) | (None, Some(1..)) => PageCache::Cold,
            (None, Some(0)) => PageCache::Warm,
            (None, None) => PageCache::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_follows_from_what_was_cached_and_what_was_waited_for() {
        let label = |cached_bytes_before, major_faults| {
            BroughtIn { bytes: 100 << 20, cached_bytes_before, major_faults }.page_cache()
        };
        assert_eq!(label(Some(100 << 20), Some(0)), PageCache::Warm);
        assert_eq!(label(Some(95 << 20), Some(40)), PageCache::Warm);
        assert_eq!(label(Some(95 << 20), None), PageCache::Warm);
        assert_eq!(label(Some((95 << 20) - 1), Some(0)), PageCache::Cold);
        assert_eq!(label(Some(0), None), PageCache::Cold);
        assert_eq!(label(Some(100 << 20), Some(25_600)), PageCache::Cold, "the pages went while they were counted");
        assert_eq!(label(None, Some(0)), PageCache::Warm);
        assert_eq!(label(None, Some(1)), PageCache::Cold);
        assert_eq!(label(None, None), PageCache::Unknown);
        let nothing = BroughtIn { bytes: 0, cached_bytes_before: Some(0), major_faults: Some(0) };
        assert_eq!(nothing.page_cache(), PageCache::Warm);
    }
}
