//! The memory of one request's keys and values: its pages, what it was granted, and what it is charged.
//!
//! A page of a published context lies in its file and is never the request's own; any other is, until others can
//! find it. From then on the meter divides it among those who hold it, and charges who it is kept for while nobody does.
//!
//! Invariants: a page's bytes come back to the budget with its last holder, and the meter hears of it; a request that
//! leaves no receipt is charged to an account.

use std::sync::{Arc, OnceLock};

use meter::kv::BlockId;
use meter::{Account, HeldAs, KibMillis, KvIntegral};
use scheduler::{Budget, Reservation, Scope};

use crate::contexts::AtHand;
use crate::metering::Metering;

/// The memory of one page.
pub(crate) struct PageRoom {
    reservation: Reservation,
    /// Once it can be found.
    shared: OnceLock<(BlockId, Arc<Metering>)>,
    /// Whose file its bytes are in, if they are.
    context: Option<Arc<AtHand>>,
}

impl PageRoom {
    /// Memory of the budget.
    pub(crate) fn bytes(&self) -> u64 {
        self.reservation.bytes()
    }

    /// The published context that its bytes are of, mapped.
    pub(crate) fn context(&self) -> Option<&Arc<AtHand>> {
        self.context.as_ref()
    }
}

impl Drop for PageRoom {
    fn drop(&mut self) {
        if let Some((id, metering)) = self.shared.get() {
            metering.page_freed(*id);
        }
    }
}

/// Whose keys and values they are.
pub(crate) struct Holder {
    /// The request's id.
    pub(crate) request: Arc<str>,
    /// The model's name.
    pub(crate) model: Arc<str>,
    pub(crate) metering: Arc<Metering>,
}

/// What a preemption gives back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Preempted {
    pub(super) freed_bytes: u64,
    /// Of pages that nobody but the prefix cache holds now.
    pub(super) cached_bytes: u64,
}

/// The memory of one request's keys and values.
pub(super) struct KvMemory {
    holder: Holder,
    budget: Arc<Budget>,
    /// Of the cache's blocks, in order.
    rooms: Vec<Arc<PageRoom>>,
    /// Reserved for it, and of no block yet.
    granted: Option<Reservation>,
    /// Of pages that nobody else can find.
    own: KvIntegral,
    is_settled: bool,
}

impl KvMemory {
    pub(super) fn new(holder: Holder, budget: Arc<Budget>) -> Self {
        let own = KvIntegral::new(holder.metering.clock().now());
        Self { holder, budget, rooms: Vec::new(), granted: None, own, is_settled: false }
    }

    /// Bytes that it holds, shared ones included.
    pub(super) fn bytes(&self) -> u64 {
        let granted = self.granted.as_ref().map_or(0, Reservation::bytes);
        self.rooms.iter().map(|room| room.bytes()).sum::<u64>() + granted
    }

    /// Bytes that come free when it lets go, and those that only the prefix cache holds then.
    pub(super) fn own_bytes(&self) -> Preempted {
        let granted = self.granted.as_ref().map_or(0, Reservation::bytes);
        let held_by = |holders: usize| {
            let rooms = self.rooms.iter().filter(move |room| Arc::strong_count(room) == holders);
            rooms.map(|room| room.bytes()).sum::<u64>()
        };
        Preempted { freed_bytes: held_by(1) + granted, cached_bytes: held_by(2) }
    }

    /// Takes memory for `pages` more of `page_bytes` each, or tells how many bytes are missing.
    pub(super) fn grow(&mut self, pages: usize, page_bytes: u64) -> Result<(), u64> {
        let bytes = pages as u64 * page_bytes;
        self.secure(bytes)?;
        if let Some(granted) = &mut self.granted {
            let page = |_| {
                let reservation = granted.split(page_bytes);
                Arc::new(PageRoom { reservation, shared: OnceLock::new(), context: None })
            };
            self.rooms.extend((0..pages).map(page));
        }
        self.own.grow(bytes, self.holder.metering.clock().now());
        Ok(())
    }

    /// Has `bytes` granted that are of no page yet, or tells how many are missing.
    pub(super) fn secure(&mut self, bytes: u64) -> Result<(), u64> {
        let granted = self.granted.as_ref().map_or(0, Reservation::bytes);
        if granted < bytes {
            let more = self.budget.try_reserve(bytes - granted).ok_or(bytes - granted)?;
            self.grant(more);
        }
        Ok(())
    }

    /// Holds a page of a published context, for which as much was secured. Whoever holds it carries it, and while nobody
    /// does its publisher.
    ///
    /// # Panics
    /// When less was secured.
    pub(super) fn adopt_mapped(&mut self, context: &Arc<AtHand>, page_bytes: u64) -> Arc<PageRoom> {
        let reservation = self.granted.as_mut().expect("it was secured").split(page_bytes);
        let Holder { model, metering, .. } = &self.holder;
        let publisher = Account::Keepalive(context.publisher().to_owned());
        let id = metering.page_shared(model, page_bytes, (publisher, HeldAs::Context));
        let shared = OnceLock::from((id, Arc::clone(metering)));
        let room = Arc::new(PageRoom { reservation, shared, context: Some(Arc::clone(context)) });
        self.adopt(Arc::clone(&room));
        room
    }

    /// A published context among those whose pages it holds that is not what was mapped any more.
    pub(super) fn changed_context(&self) -> Option<&Arc<AtHand>> {
        let mut last: Option<&Arc<AtHand>> = None;
        let mut contexts = self.rooms.iter().filter_map(|room| room.context());
        contexts.find(|context| {
            let is_seen = last.is_some_and(|last| Arc::ptr_eq(last, context));
            last = Some(context);
            !is_seen && !context.is_unchanged()
        })
    }

    /// Memory that was asked for.
    pub(super) fn grant(&mut self, more: Reservation) {
        match &mut self.granted {
            Some(granted) => granted.merge(more),
            None => self.granted = Some(more),
        }
    }

    /// Holds a page that others computed.
    pub(super) fn adopt(&mut self, room: Arc<PageRoom>) {
        if let Some((id, metering)) = room.shared.get() {
            metering.page_held(*id, &self.holder.request);
        }
        self.rooms.push(room);
    }

    /// A page's memory.
    pub(super) fn room(&self, page: usize) -> &Arc<PageRoom> {
        &self.rooms[page]
    }

    /// Those of `scope` can find a page of its own from now on.
    pub(super) fn share(&mut self, page: usize, scope: &Scope) {
        let (Holder { request, model, metering }, room) = (&self.holder, &self.rooms[page]);
        let kept_for = match scope {
            Scope::Tenant(tenant) => Account::Keepalive(tenant.to_string()),
            Scope::Everyone => Account::Idle,
        };
        let id = metering.page_shared(model, room.bytes(), (kept_for, HeldAs::Prefix));
        metering.page_held(id, request);
        if room.shared.set((id, Arc::clone(metering))).is_err() {
            unreachable!("a page becomes findable once");
        }
        self.own.shrink(room.bytes(), metering.clock().now());
    }

    /// Lets go of all pages.
    pub(super) fn clear(&mut self) {
        let metering = &self.holder.metering;
        for (id, _) in self.rooms.iter().filter_map(|room| room.shared.get()) {
            metering.page_released(*id, &self.holder.request);
        }
        self.rooms.clear();
        self.own.shrink(self.own.bytes(), metering.clock().now());
    }

    /// Gives back what was granted for pages that were not taken.
    pub(super) fn give_back(&mut self) {
        self.granted = None;
    }

    /// What the pages that nobody else can find have held over time.
    pub(super) fn own_so_far(&self) -> KibMillis {
        self.own.clone().finish(self.holder.metering.clock().now())
    }

    /// The request is over: what it held over time.
    pub(super) fn settle(mut self) -> KibMillis {
        self.is_settled = true;
        let metering = Arc::clone(&self.holder.metering);
        let now = metering.clock().now();
        let own = std::mem::replace(&mut self.own, KvIntegral::new(now)).finish(now);
        own.saturating_add(metering.pages_settled(&self.holder.request))
    }
}

impl Drop for KvMemory {
    fn drop(&mut self) {
        if !self.is_settled {
            let metering = &self.holder.metering;
            let now = metering.clock().now();
            let own = std::mem::replace(&mut self.own, KvIntegral::new(now)).finish(now);
            metering.pages_abandoned(&self.holder.request, &self.holder.model, own);
        }
    }
}
