//! Key-value blocks that several requests may hold at once: each carries its part of a block, by the number of its holders.
//!
//! A block is charged for from its publication until it is gone: to the requests that hold it, equally, or while none does to
//! the account that was named for it (a tenant's own cached prefix, and a context that it published: [`Account::Keepalive`];
//! what everyone finds anyway: [`Account::Idle`]). A block may stand for a whole run of them that is held and let go together,
//! which is what a prefix is: what a change costs grows with the runs that it touches, and an interval's end with all runs.
//!
//! Invariants: what requests and accounts are charged and what is carried sum to the integral of published bytes over time
//! exactly ([`SharedBlocks::imbalance`]). What cannot be split into whole KiB · ms (less than one for each holder) is
//! carried to the block's next span, and to another block when it is gone. No sequence of events panics: repeated and
//! unknown ones are absorbed, and time that runs backwards stands still. Nothing grows without bound if blocks are freed,
//! requests end and intervals are taken.
//!
//! Deliberately absent: which blocks there are, what is in them, and private ones ([`KvIntegral`](super::KvIntegral)).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::limits::RESIDENT_KIB_MAX;
use crate::residency::charges::{Charges, Span};
use crate::residency::{Account, AccountInterval, HeldAs, Holdings, IntervalNumbers};
use crate::units::{KibMillis, Moment};

const BYTES_PER_KIB: u128 = 1024;

/// The number that its cache gives to a block, or to a run of blocks that are held together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlockId(pub u64);

/// A block that is published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishedBlock<'a> {
    /// Unique among those that are there.
    pub id: BlockId,
    /// The model whose keys and values it holds.
    pub model: &'a str,
    /// Its bytes, in all layers.
    pub bytes: u64,
    /// Who carries it while nobody holds it.
    pub kept_for: Account,
    /// As what: a [`HeldAs::Prefix`] or a [`HeldAs::Context`].
    pub kept_as: HeldAs,
}

/// All blocks that may be shared.
#[derive(Debug, Default)]
pub struct SharedBlocks {
    blocks: BTreeMap<BlockId, Block>,
    /// Which blocks a request holds.
    holds: BTreeMap<Arc<str>, BTreeSet<BlockId>>,
    charges: Charges,
    /// Bytes · ms of blocks that are gone and that made no whole KiB · ms.
    carried: u128,
    /// The integral of published bytes over time, in bytes · ms.
    byte_millis: u128,
}

#[derive(Debug)]
struct Block {
    model: Arc<str>,
    bytes: u64,
    /// Nobody's in particular without one.
    kept_for: Option<String>,
    kept_as: HeldAs,
    holders: BTreeSet<Arc<str>>,
    clock: Moment,
    /// Bytes · ms that were measured and not charged yet.
    carried: u128,
}

impl SharedBlocks {
    /// No blocks yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// `block` is there from `at` on, held by nobody yet. One that is there already is left as it is.
    pub fn published(&mut self, block: PublishedBlock<'_>, at: Moment) {
        let PublishedBlock { id, model, bytes, kept_for, kept_as } = block;
        self.blocks.entry(id).or_insert_with(|| Block {
            model: model.into(),
            bytes: bytes.min(RESIDENT_KIB_MAX << 10),
            kept_for: kept_for.into_tenant(),
            kept_as,
            holders: BTreeSet::new(),
            clock: at,
            carried: 0,
        });
    }

    /// `request` holds the block from `at` on, once however often this is said.
    pub fn held(&mut self, block: BlockId, request: &str, at: Moment) {
        let Some(known) = self.advanced(block, at) else { return };
        let request: Arc<str> = known.holders.get(request).cloned().unwrap_or_else(|| request.into());
        known.holders.insert(Arc::clone(&request));
        self.holds.entry(request).or_default().insert(block);
    }

    /// `request` holds the block no more.
    pub fn released(&mut self, block: BlockId, request: &str, at: Moment) {
        if let Some(known) = self.advanced(block, at) {
            known.holders.remove(request);
        }
        if let Some(holds) = self.holds.get_mut(request) {
            holds.remove(&block);
            if holds.is_empty() {
                self.holds.remove(request);
            }
        }
    }

    /// The block's memory came back at `at`, whoever holds it.
    pub fn freed(&mut self, block: BlockId, at: Moment) {
        if self.advanced(block, at).is_none() {
            return;
        }
        let gone = self.blocks.remove(&block).expect("it was there just now");
        for holder in &gone.holders {
            if let Some(holds) = self.holds.get_mut(holder) {
                holds.remove(&block);
                if holds.is_empty() {
                    self.holds.remove(holder);
                }
            }
        }
        // Less than one KiB · ms for each who held it last: what is whole of it is nobody's in particular.
        self.carried += gone.carried;
        let kib_ms = whole_kib(&mut self.carried, 1);
        self.charges.measure(kib_ms);
        let at = gone.clock;
        let span = Span { kib_ms, from: at, to: at };
        self.charges.charge_account(&gone.model, (None, gone.kept_as), span);
    }

    /// `request` is over and holds nothing any more: what it is charged of all blocks. One that is unknown, or ended
    /// before, nothing.
    pub fn request_ends(&mut self, request: &str, at: Moment) -> KibMillis {
        self.release_all(request, at);
        self.charges.settle(request).total()
    }

    /// A request of `model` is over that gets no receipt: what it was charged goes to the account `idle`.
    /// So does `own`, what it held of blocks that were never published.
    pub fn request_abandoned(&mut self, request: &str, model: &str, own: KibMillis, at: Moment) {
        self.release_all(request, at);
        self.byte_millis += u128::from(own.get()) * BYTES_PER_KIB;
        self.charges.measure(own.get());
        let model = model.into();
        let span = Span { kib_ms: own.get(), from: at, to: at };
        self.charges.charge_account(&model, (None, HeldAs::Prefix), span);
        self.charges.abandon(request, (&model, None), HeldAs::Prefix, at);
    }

    /// What the accounts carried since the last call, up to `at`. The caller stores every interval.
    pub fn take_intervals(&mut self, at: Moment, numbers: &mut IntervalNumbers) -> Vec<AccountInterval> {
        self.advance(at);
        self.charges.take_intervals(numbers)
    }

    /// Nothing happened until `at`: charges all blocks up to it.
    pub fn advance(&mut self, at: Moment) {
        for block in self.blocks.values_mut() {
            self.byte_millis += block.advance(at, &mut self.charges);
        }
    }

    /// Who held how much until the latest event.
    #[must_use]
    pub const fn holdings(&self) -> Holdings {
        self.charges.holdings()
    }

    /// The integral of published bytes over time until the latest event, in bytes · ms.
    #[must_use]
    pub const fn byte_millis(&self) -> u128 {
        self.byte_millis
    }

    /// How far what was charged and what is carried are from [`SharedBlocks::byte_millis`], in bytes · ms: zero, or there
    /// is a bug.
    #[must_use]
    pub fn imbalance(&self) -> u128 {
        let carried = self.blocks.values().map(|block| block.carried).fold(self.carried, u128::saturating_add);
        let charged = self.charges.measured().saturating_mul(BYTES_PER_KIB);
        let of_charges = self.charges.imbalance().saturating_mul(BYTES_PER_KIB);
        self.byte_millis.abs_diff(charged.saturating_add(carried)).saturating_add(of_charges)
    }

    fn release_all(&mut self, request: &str, at: Moment) {
        for block in self.holds.remove(request).unwrap_or_default() {
            if let Some(block) = self.advanced(block, at) {
                block.holders.remove(request);
            }
        }
    }

    /// The block, charged up to `at`.
    fn advanced(&mut self, block: BlockId, at: Moment) -> Option<&mut Block> {
        let block = self.blocks.get_mut(&block)?;
        self.byte_millis += block.advance(at, &mut self.charges);
        Some(block)
    }
}

impl Block {
    /// Charges the time up to `at`; how many bytes · ms that was.
    fn advance(&mut self, at: Moment, charges: &mut Charges) -> u128 {
        let (from, to) = (self.clock, at.max(self.clock));
        self.clock = to;
        let byte_millis = u128::from(self.bytes) * u128::from(to.millis_since(from));
        self.carried += byte_millis;
        let payers = self.holders.len().max(1);
        let kib_ms = whole_kib(&mut self.carried, payers as u64);
        charges.measure(kib_ms.saturating_mul(payers as u64));
        let span = Span { kib_ms, from, to };
        if self.holders.is_empty() {
            charges.charge_account(&self.model, (self.kept_for.as_deref(), self.kept_as), span);
        }
        for holder in &self.holders {
            charges.charge_active(&self.model, holder, span);
        }
        byte_millis
    }
}

/// Takes what `payers` can carry alike, in whole KiB · ms each, out of `carried`.
fn whole_kib(carried: &mut u128, payers: u64) -> u64 {
    let unit = BYTES_PER_KIB * u128::from(payers);
    let kib_ms = u64::try_from(*carried / unit).unwrap_or(u64::MAX / payers);
    *carried -= u128::from(kib_ms) * unit;
    kib_ms
}

#[cfg(test)]
mod tests;
