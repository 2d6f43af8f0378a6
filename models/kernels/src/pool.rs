//! Threads for work items of ten microseconds: persistent, claiming chunks, asleep when there is nothing to do.
//!
//! A call hands out chunk numbers. Every participant (the caller is one) has its own run of them, so that it walks
//! through memory in order, and takes from the others' runs when its own is done. A worker that wakes too late finds
//! the call closed and is not waited for.
//!
//! Invariants: one call at a time; a call returns only when no worker is inside its body any more; a panic in a body
//! fails that call alone. A body must not call the pool again: it would wait for itself.

use std::any::Any;
use std::cell::UnsafeCell;
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::clock::ThreadClock;
use crate::denormals::Flushed;
use crate::limits::{SPIN, THREADS_MAX};

/// What a call runs for every chunk: (participant, chunk). No two chunks run as the same participant at a time.
type Body = dyn Fn(usize, usize) + Sync;

/// Set in `state` while workers may join; below it the number that did, above it the call's number.
const OPEN: u64 = 1 << 31;
const JOINED: u64 = OPEN - 1;
const CALL_SHIFT: u32 = 32;

/// One participant's run of chunks, on a cache line of its own.
#[repr(align(128))]
#[derive(Default)]
struct Lane {
    next: AtomicUsize,
    end: AtomicUsize,
}

struct Shared {
    state: AtomicU64,
    /// The body of the open call, written by its caller while the state is closed and nobody has joined.
    body: UnsafeCell<Option<*const Body>>,
    lanes: Box<[Lane]>,
    clocks: Box<[OnceLock<ThreadClock>]>,
    failed: AtomicBool,
    failure: Mutex<Option<Box<dyn Any + Send>>>,
    stopping: AtomicBool,
    sleepers: AtomicUsize,
    caller_sleeps: AtomicBool,
    bed: Mutex<()>,
    work: Condvar,
    done: Condvar,
}

// SAFETY: `body` is the only part that is not Sync by itself. It is written only by the holder of the pool's turn
// while the state is closed and empty, and read only by workers that have joined an open state.
unsafe impl Sync for Shared {}
// SAFETY: as above; the pointer is dead whenever no call is open.
unsafe impl Send for Shared {}

/// The threads, and whose turn it is.
pub(crate) struct Pool {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
    turn: Mutex<()>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic while one of these is held leaves nothing half done: they guard no data but whole values.
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

impl Pool {
    /// A pool of `threads`, the caller's included; fewer where the system gives no more.
    pub(crate) fn new(threads: NonZeroUsize) -> Self {
        let threads = threads.get().min(THREADS_MAX);
        let shared = Arc::new(Shared {
            state: AtomicU64::new(0),
            body: UnsafeCell::new(None),
            lanes: (0..threads).map(|_| Lane::default()).collect(),
            clocks: (0..threads).map(|_| OnceLock::new()).collect(),
            failed: AtomicBool::new(false),
            failure: Mutex::new(None),
            stopping: AtomicBool::new(false),
            sleepers: AtomicUsize::new(0),
            caller_sleeps: AtomicBool::new(false),
            bed: Mutex::new(()),
            work: Condvar::new(),
            done: Condvar::new(),
        });
        let workers: Vec<_> = (1..threads)
            .map_while(|participant| {
                let shared = Arc::clone(&shared);
                let name = format!("kernels-{participant}");
                std::thread::Builder::new().name(name).spawn(move || shared.work(participant)).ok()
            })
            .collect();
        // Until each runs: what a thread allocates for itself is then behind us, and its time is counted.
        while shared.clocks[1..=workers.len()].iter().any(|clock| clock.get().is_none()) {
            std::thread::yield_now();
        }
        Self { shared, workers, turn: Mutex::new(()) }
    }

    /// Participants of a call.
    pub(crate) fn threads(&self) -> usize {
        self.workers.len() + 1
    }

    /// Processor time of the workers so far and of the calling thread.
    pub(crate) fn cpu_time(&self) -> Duration {
        let workers = self.shared.clocks.iter().filter_map(OnceLock::get).map(|clock| clock.elapsed());
        workers.sum::<Duration>() + ThreadClock::of_this_thread().elapsed()
    }

    /// Runs `body` once for each of `chunks`, on all threads, and returns when all are done.
    ///
    /// # Panics
    /// With the first panic of a body; the remaining chunks may then not have run.
    pub(crate) fn run(&self, chunks: usize, body: &(dyn Fn(usize, usize) + Sync)) {
        let _turn = lock(&self.turn);
        let _flushed = Flushed::new();
        if self.workers.is_empty() || chunks <= 1 {
            (0..chunks).for_each(|chunk| body(0, chunk));
            return;
        }
        self.shared.open(chunks, self.threads(), body);
        self.shared.take_part(0, body);
        self.shared.close();
        if self.shared.failed.swap(false, Ordering::Relaxed)
            && let Some(panic) = lock(&self.shared.failure).take()
        {
            resume_unwind(panic);
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::SeqCst);
        drop(lock(&self.shared.bed));
        self.shared.work.notify_all();
        for worker in self.workers.drain(..) {
            // A worker catches every panic of a body; there is nobody to tell of another.
            let _ = worker.join();
        }
    }
}

impl Shared {
    /// Publishes a call; the holder of the turn alone.
    fn open(&self, chunks: usize, threads: usize, body: &(dyn Fn(usize, usize) + Sync)) {
        for (index, lane) in self.lanes[..threads].iter().enumerate() {
            lane.next.store(chunks * index / threads, Ordering::Relaxed);
            lane.end.store(chunks * (index + 1) / threads, Ordering::Relaxed);
        }
        let body: *const (dyn Fn(usize, usize) + Sync + '_) = body;
        // SAFETY: only the lifetime changes; `close` lets the caller go only when no worker uses it any more.
        let body: *const Body = unsafe { std::mem::transmute(body) };
        // SAFETY: the state is closed and empty, so no worker reads it, and the turn is ours.
        unsafe { *self.body.get() = Some(body) };
        let call = (self.state.load(Ordering::Relaxed) >> CALL_SHIFT) as u32;
        self.state.store(u64::from(call.wrapping_add(1)) << CALL_SHIFT | OPEN, Ordering::SeqCst);
        if self.sleepers.load(Ordering::SeqCst) > 0 {
            drop(lock(&self.bed));
            self.work.notify_all();
        }
    }

    /// Lets nobody join any more and waits until those who did have left.
    fn close(&self) {
        let mut state = self.state.fetch_and(!OPEN, Ordering::SeqCst) & !OPEN;
        let mut patience = Patience::new();
        while state & JOINED != 0 {
            if patience.is_left() {
                state = self.state.load(Ordering::Acquire);
                continue;
            }
            let mut bed = lock(&self.bed);
            self.caller_sleeps.store(true, Ordering::SeqCst);
            while self.state.load(Ordering::SeqCst) & JOINED != 0 {
                bed = self.done.wait(bed).unwrap_or_else(std::sync::PoisonError::into_inner);
            }
            self.caller_sleeps.store(false, Ordering::SeqCst);
            break;
        }
    }

    /// Claims and runs chunks until none is left; a panic ends the call for all.
    fn take_part(&self, participant: usize, body: &(dyn Fn(usize, usize) + Sync)) {
        let lanes = self.lanes.len();
        let claims = AssertUnwindSafe(|| {
            for lane in (0..lanes).map(|step| &self.lanes[(participant + step) % lanes]) {
                let end = lane.end.load(Ordering::Relaxed);
                while !self.failed.load(Ordering::Relaxed) {
                    let chunk = lane.next.fetch_add(1, Ordering::Relaxed);
                    if chunk >= end {
                        break;
                    }
                    body(participant, chunk);
                }
            }
        });
        if let Err(panic) = catch_unwind(claims) {
            lock(&self.failure).get_or_insert(panic);
            self.failed.store(true, Ordering::Relaxed);
        }
    }

    /// A worker's life.
    fn work(&self, participant: usize) {
        let _flushed = Flushed::new();
        // Each slot has one thread, which sets it once.
        let _ = self.clocks[participant].set(ThreadClock::of_this_thread());
        let mut seen = 0;
        while let Some(call) = self.next_call(seen) {
            seen = call;
            if !self.join(call) {
                continue;
            }
            // SAFETY: joined, so the caller stays in `close` until `leave`, and `open` wrote the body before the state.
            let body = unsafe { &*(*self.body.get()).expect("an open call has a body") };
            self.take_part(participant, body);
            self.leave();
        }
    }

    /// Waits for a call other than `seen`: awake at first, then asleep. None when the pool ends.
    fn next_call(&self, seen: u32) -> Option<u32> {
        let call = || {
            let call = (self.state.load(Ordering::SeqCst) >> CALL_SHIFT) as u32;
            if self.stopping.load(Ordering::SeqCst) { Some(None) } else { (call != seen).then_some(Some(call)) }
        };
        let mut patience = Patience::new();
        while patience.is_left() {
            if let Some(found) = call() {
                return found;
            }
        }
        let mut bed = lock(&self.bed);
        self.sleepers.fetch_add(1, Ordering::SeqCst);
        let found = loop {
            if let Some(found) = call() {
                break found;
            }
            bed = self.work.wait(bed).unwrap_or_else(std::sync::PoisonError::into_inner);
        };
        self.sleepers.fetch_sub(1, Ordering::SeqCst);
        found
    }

    /// Joins `call` if it is still open.
    fn join(&self, call: u32) -> bool {
        let open = |state: u64| (state >> CALL_SHIFT) as u32 == call && state & OPEN != 0;
        self.state.fetch_update(Ordering::Acquire, Ordering::Relaxed, |state| open(state).then_some(state + 1)).is_ok()
    }

    fn leave(&self) {
        let before = self.state.fetch_sub(1, Ordering::SeqCst);
        if before & JOINED == 1 && self.caller_sleeps.load(Ordering::SeqCst) {
            drop(lock(&self.bed));
            self.done.notify_all();
        }
    }
}

/// How long a thread goes on looking before it sleeps.
struct Patience {
    looks: u32,
    until: Option<Instant>,
}

impl Patience {
    /// Looks between two looks at the clock, which costs as much as several of them.
    const LOOKS: u32 = 32;

    const fn new() -> Self {
        Self { looks: 0, until: None }
    }

    /// Whether to look again; passes a little time.
    fn is_left(&mut self) -> bool {
        std::hint::spin_loop();
        self.looks += 1;
        if !self.looks.is_multiple_of(Self::LOOKS) {
            return true;
        }
        let now = Instant::now();
        now < *self.until.get_or_insert_with(|| now + SPIN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(threads: usize) -> Pool {
        Pool::new(NonZeroUsize::new(threads).expect("some threads"))
    }

    #[test]
    fn every_chunk_runs_once() {
        for threads in [1, 2, 3, 5] {
            let pool = pool(threads);
            for chunks in [0, 1, 2, 7, 64, 1000] {
                let runs: Vec<AtomicUsize> = (0..chunks).map(|_| AtomicUsize::new(0)).collect();
                pool.run(chunks, &|participant, chunk| {
                    assert!(participant < threads);
                    runs[chunk].fetch_add(1, Ordering::Relaxed);
                });
                assert!(runs.iter().all(|run| run.load(Ordering::Relaxed) == 1), "{threads} threads, {chunks} chunks");
            }
        }
    }

    #[test]
    fn thousands_of_tiny_calls_end() {
        let pool = pool(4);
        let sum = AtomicUsize::new(0);
        for _ in 0..20_000 {
            pool.run(5, &|_, chunk| {
                sum.fetch_add(chunk, Ordering::Relaxed);
            });
        }
        assert_eq!(sum.into_inner(), 20_000 * 10);
    }

    #[test]
    fn a_panic_fails_its_call_and_the_pool_goes_on() {
        let pool = pool(3);
        for chunks in [1, 100] {
            let failure = catch_unwind(AssertUnwindSafe(|| {
                pool.run(chunks, &|_, chunk| assert!(chunk != chunks / 2, "chunk {chunk} fails"));
            }))
            .expect_err("the panic reaches the caller");
            let message = failure.downcast_ref::<String>().expect("a formatted message");
            assert_eq!(*message, format!("chunk {} fails", chunks / 2));
            let runs = AtomicUsize::new(0);
            pool.run(50, &|_, _| {
                runs.fetch_add(1, Ordering::Relaxed);
            });
            assert_eq!(runs.into_inner(), 50);
        }
    }

    #[test]
    fn callers_take_turns() {
        let pool = pool(3);
        let inside = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..500 {
                        let mine = AtomicUsize::new(0);
                        assert!(!pool.shared.lanes.is_empty());
                        pool.run(6, &|participant, _| {
                            // Two calls at once would meet in the same participant.
                            assert_eq!(inside.fetch_or(1 << participant, Ordering::SeqCst) & (1 << participant), 0);
                            mine.fetch_add(1, Ordering::Relaxed);
                            inside.fetch_and(!(1 << participant), Ordering::SeqCst);
                        });
                        assert_eq!(mine.into_inner(), 6);
                    }
                });
            }
        });
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn an_idle_pool_uses_no_processor() {
        let pool = pool(3);
        pool.run(64, &|_, _| {});
        // The workers sleep once their patience is over; a waiting thread here neither spins nor sleeps by the clock.
        let never = (Mutex::new(()), Condvar::new());
        let wait = |time| drop(never.1.wait_timeout(lock(&never.0), time).expect("not poisoned"));
        wait(SPIN * 100);
        let before = pool.cpu_time();
        wait(Duration::from_millis(200));
        assert!(pool.cpu_time() - before < Duration::from_millis(2), "{:?}", pool.cpu_time() - before);
    }
}
