//! How a sequence's memory grows without holding up the device: room is asked for, and answered later.

use std::fmt;
use std::sync::Arc;

use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::budget::Reservation;
use crate::pool::NoRoom;

/// Where sequences get room; the pool is one.
pub trait RoomSource: Send + 'static {
    /// Asks for `bytes` for a sequence of `model`. Must return at once; `answer` may be settled later, from any thread.
    fn request(&self, model: &Arc<str>, bytes: u64, deadline: Instant, answer: RoomAnswer);
}

/// Where the answer to one request for room goes. Dropping it unsettled refuses.
pub struct RoomAnswer {
    settle: Option<Settle>,
    wanted: oneshot::Receiver<()>,
}

type Settle = Box<dyn FnOnce(Result<Reservation, NoRoom>) + Send>;

/// Held by whoever waits for the answer; dropping it says that it is not wanted any more.
#[must_use = "dropping it abandons the request"]
#[derive(Debug)]
pub struct Wanted {
    _alive: oneshot::Sender<()>,
}

impl RoomAnswer {
    /// An answer that goes to `settle`, once, and the other end by which it is wanted.
    pub fn new(settle: impl FnOnce(Result<Reservation, NoRoom>) + Send + 'static) -> (Self, Wanted) {
        let (alive, wanted) = oneshot::channel();
        (Self { settle: Some(Box::new(settle)), wanted }, Wanted { _alive: alive })
    }

    /// Gives the room, or says why there is none.
    pub fn settle(mut self, room: Result<Reservation, NoRoom>) {
        if let Some(settle) = self.settle.take() {
            settle(room);
        }
    }

    /// Completes when nobody wants the room any more: the sequence was cancelled, or waited too long.
    pub async fn unwanted(&mut self) {
        // Nothing is ever sent: only the drop of the other end completes it.
        let _ = (&mut self.wanted).await;
    }
}

impl Drop for RoomAnswer {
    fn drop(&mut self) {
        if let Some(settle) = self.settle.take() {
            settle(Err(NoRoom::ShuttingDown));
        }
    }
}

impl fmt::Debug for RoomAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RoomAnswer").finish_non_exhaustive()
    }
}
