//! Requests that come when their time comes, whether or not those before were answered: an open loop.
//!
//! As many threads as there may be connections take the requests in the order of their times, and each waits for the
//! time of its own. A request whose time passes while all of them are taken is not sent late but not at all, and is
//! counted: where the generator is the limit, it says so.

use std::collections::BTreeMap;
use std::io;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::client::Answer;
use crate::percentile;

/// A request that is this late is not sent.
const LATE_MAX: Duration = Duration::from_millis(250);
/// Of a thread that waits for an answer.
const STACK_BYTES: usize = 256 << 10;

/// How many requests come, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct Offer {
    /// Requests a second, evenly apart.
    pub per_second: f64,
    /// From the first one's time to the last one's.
    pub during: Duration,
    /// Connections at once; each request has one of its own.
    pub connections_max: usize,
}

/// A request that was sent.
#[derive(Clone, Debug)]
pub struct Sent<T> {
    /// After its time.
    pub late: Duration,
    /// When its answer had been read.
    pub answered: Instant,
    /// From sending it until then.
    pub latency: Duration,
    /// What came of it.
    pub result: T,
}

/// What came of all requests.
#[derive(Clone, Debug)]
pub struct Offered<T> {
    /// Those that were sent.
    pub sent: Vec<Sent<T>>,
    /// Those that found every connection taken.
    pub unsent: usize,
}

/// Calls `ask` for each request at its time, and returns when the last answer was read.
///
/// # Errors
/// When the system has no thread for a connection.
pub fn open_loop<T: Send>(offer: Offer, ask: impl Fn() -> T + Sync) -> io::Result<Offered<T>> {
    offer_within(LATE_MAX, offer, ask)
}

fn offer_within<T: Send>(late_max: Duration, offer: Offer, ask: impl Fn() -> T + Sync) -> io::Result<Offered<T>> {
    let offered = Mutex::new(Offered { sent: Vec::new(), unsent: 0 });
    let (taken, began) = (AtomicU32::new(0), Instant::now());
    let note = |sent: Option<Sent<T>>| {
        let mut offered = offered.lock().expect("nobody panics with it");
        match sent {
            Some(sent) => offered.sent.push(sent),
            None => offered.unsent += 1,
        }
    };
    let connection = || {
        loop {
            let seconds = f64::from(taken.fetch_add(1, Ordering::Relaxed)) / offer.per_second;
            if seconds >= offer.during.as_secs_f64() {
                return;
            }
            let due = began + Duration::from_secs_f64(seconds);
            wait_until(due);
            let begins = Instant::now();
            let late = begins - due;
            if late > late_max {
                note(None);
                continue;
            }
            let result = ask();
            let answered = Instant::now();
            note(Some(Sent { late, answered, latency: answered - begins, result }));
        }
    };
    thread::scope(|scope| {
        for _ in 0..offer.connections_max {
            thread::Builder::new().stack_size(STACK_BYTES).spawn_scoped(scope, connection)?;
        }
        Ok::<_, io::Error>(())
    })?;
    Ok(offered.into_inner().expect("nobody panics with it"))
}

/// Until `time`, and hardly longer.
pub fn wait_until(time: Instant) {
    while let Some(left) = time.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
        thread::park_timeout(left);
    }
}

/// How whole answers turned out.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// When each good answer had been read.
    pub good: Vec<Instant>,
    /// Refusals by their status.
    pub refused: BTreeMap<u16, usize>,
    /// Of these, how many say when to come again.
    pub with_retry_after: usize,
    /// Milliseconds until each refusal.
    pub refusal_ms: Vec<f64>,
    /// Requests without an answer: those that the server's end cut off belong here.
    pub unanswered: usize,
    /// Requests that found every connection taken.
    pub unsent: usize,
    /// Milliseconds that requests were sent after their time.
    pub late_ms: Vec<f64>,
}

impl Tally {
    /// Of all requests.
    #[must_use]
    pub fn of(offered: &Offered<anyhow::Result<Answer>>) -> Self {
        let mut tally = Self { unsent: offered.unsent, ..Self::default() };
        for sent in &offered.sent {
            tally.late_ms.push(sent.late.as_secs_f64() * 1e3);
            match &sent.result {
                Ok(answer) if answer.status == 200 => tally.good.push(sent.answered),
                Ok(answer) => {
                    *tally.refused.entry(answer.status).or_default() += 1;
                    tally.with_retry_after += usize::from(answer.retry_after.is_some());
                    tally.refusal_ms.push(sent.latency.as_secs_f64() * 1e3);
                }
                Err(_) => tally.unanswered += 1,
            }
        }
        tally
    }

    /// In the field's words.
    #[must_use]
    pub fn json(&mut self) -> Value {
        let refusal_ms = &mut self.refusal_ms;
        json!({
            "good": self.good.len(),
            "refused": self.refused,
            "with_retry_after": self.with_retry_after,
            "refusal_ms": { "p50": percentile(refusal_ms, 50.0), "p99": percentile(refusal_ms, 99.0), "max": percentile(refusal_ms, 100.0) },
            "unanswered": self.unanswered,
            "unsent": self.unsent,
            "late_ms_p99": percentile(&mut self.late_ms, 99.0),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use super::*;

    #[test]
    fn requests_do_not_wait_for_one_another() {
        // None is answered before all have been sent.
        let all = Barrier::new(4);
        let offer = Offer { per_second: 4e3, during: Duration::from_micros(999), connections_max: 4 };
        let offered = offer_within(Duration::MAX, offer, || all.wait()).unwrap();
        assert_eq!((offered.sent.len(), offered.unsent), (4, 0));
    }

    #[test]
    fn a_request_that_would_be_late_is_counted() {
        let offer = Offer { per_second: 1e9, during: Duration::from_nanos(100), connections_max: 1 };
        let offered = offer_within(Duration::ZERO, offer, || ()).unwrap();
        assert!(offered.unsent > 0);
        assert_eq!(offered.sent.len() + offered.unsent, 100);
    }

    #[test]
    fn answers_are_told_apart() {
        let sent = |result| Sent { late: Duration::ZERO, answered: Instant::now(), latency: Duration::ZERO, result };
        let answer = |status, retry_after| Ok(Answer { status, retry_after, body: Value::Null });
        let sent = vec![
            sent(answer(200, None)),
            sent(answer(503, Some(1))),
            sent(answer(503, None)),
            sent(Err(anyhow::anyhow!("cut off"))),
        ];
        let tally = Tally::of(&Offered { sent, unsent: 2 });
        assert_eq!((tally.good.len(), tally.refused[&503], tally.with_retry_after), (1, 2, 1));
        assert_eq!((tally.refusal_ms.len(), tally.unanswered, tally.unsent), (2, 1, 2));
    }
}
