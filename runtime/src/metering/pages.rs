//! Pages of keys and values that more than one request can find: who holds them, and who carries them meanwhile.
//!
//! Deliberately absent: which pages there are (`prefixes`, `contexts`), and those that a request has for itself, which its
//! sequence counts.

use meter::kv::{BlockId, PublishedBlock};
use meter::{Account, HeldAs, KibMillis};

use super::Metering;

impl Metering {
    /// A page of `model` can be found from now on; while nobody holds it, an account carries it as something.
    pub(crate) fn page_shared(&self, model: &str, bytes: u64, (kept_for, kept_as): (Account, HeldAs)) -> BlockId {
        let now = self.clock.now();
        let mut book = self.book();
        let id = BlockId(book.next_page);
        book.next_page += 1;
        book.pages.published(PublishedBlock { id, model, bytes, kept_for, kept_as }, now);
        id
    }

    /// `request` holds a page that can be found.
    pub(crate) fn page_held(&self, page: BlockId, request: &str) {
        let now = self.clock.now();
        self.book().pages.held(page, request, now);
    }

    /// `request` holds it no more.
    pub(crate) fn page_released(&self, page: BlockId, request: &str) {
        let now = self.clock.now();
        self.book().pages.released(page, request, now);
    }

    /// A page's memory is given back.
    pub(crate) fn page_freed(&self, page: BlockId) {
        let now = self.clock.now();
        self.book().pages.freed(page, now);
    }

    /// `request` holds no page any more: what it is charged of those that can be found.
    pub(crate) fn pages_settled(&self, request: &str) -> KibMillis {
        let now = self.clock.now();
        self.book().pages.request_ends(request, now)
    }

    /// `request` of `model` ends without a receipt.
    pub(crate) fn pages_abandoned(&self, request: &str, model: &str, own: KibMillis) {
        let now = self.clock.now();
        self.book().pages.request_abandoned(request, model, own, now);
    }
}
