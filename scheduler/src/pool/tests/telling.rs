//! What listeners and snapshots learn of a model on its way.

use std::sync::{Arc, Mutex, mpsc};

use tokio::time::{Instant, sleep};

use crate::pool::fake::*;
use crate::pool::*;

/// What was told of `name`, in order.
fn told(bench: &Bench, name: &str) -> Vec<PoolEventKind> {
    let of_it = bench.heard.events().into_iter().filter(|event| &*event.model == name);
    of_it.map(|event| event.kind).collect()
}

const WANTED: PoolEventKind = PoolEventKind::Requested { cause: LoadCause::Demand };

fn dismissed(reason: Dismissal) -> PoolEventKind {
    PoolEventKind::Dismissed { reason }
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_shows_how_far_a_load_is_and_where_its_bytes_came_from() {
    let bench = Bench::new(10);
    let waiting = bench.lease_meanwhile("a").await;
    let model = bench.model("a").await;
    let begun = LoadProgress { stage: LoadStage::Header, done_bytes: 0, total_bytes: 10 };
    assert_eq!((model.state, model.progress, model.last_load_source), (ModelState::Loading, Some(begun), None));
    drop(waiting.await.unwrap().unwrap());
    let model = bench.model("a").await;
    assert_eq!((model.state, model.progress, model.last_load_source), (ModelState::Idle, None, Some(SOURCE)));
    assert_eq!(bench.pool.unload("a").await, Ok(UnloadOutcome::Evicting));
    sleep(2 * DISPOSE).await;
    assert_eq!(bench.model("a").await.last_load_source, Some(SOURCE), "an eviction does not forget it");
}

/// A loader that goes on only when it is told to.
struct Stepwise(Mutex<mpsc::Receiver<u64>>);

impl ModelLoader for Stepwise {
    type Model = ();
    type Error = Fault;

    fn inspect(&self, _name: &str) -> Result<Inspection, Fault> {
        Ok(Inspection::new(Identity([0; 4]), 160))
    }

    fn load(&self, _name: &str, _inspection: &Inspection, progress: &Progress) -> Result<Loaded<()>, Fault> {
        for done_bytes in &*self.0.lock().unwrap() {
            progress.at(LoadStage::Weights, done_bytes);
        }
        Ok(Loaded { model: (), source: LoadSource::UNKNOWN })
    }
}

#[tokio::test]
async fn progress_is_seen_while_the_load_runs() {
    let (step, steps) = mpsc::channel();
    let heard = Arc::new(Heard::default());
    let loader = Arc::new(Stepwise(Mutex::new(steps)));
    let observer = Arc::clone(&heard) as Arc<dyn PoolObserver>;
    let (pool, _task) = Pool::spawn(loader, crate::Budget::new(160), PoolOptions::default(), observer);
    let leasing = {
        let pool = pool.clone();
        tokio::spawn(async move { pool.lease("a", within(60 * SECOND)).await.map(drop) })
    };
    for done_bytes in [0, 10, 160] {
        step.send(done_bytes).unwrap();
        let expected = LoadProgress { stage: LoadStage::Weights, done_bytes, total_bytes: 160 };
        let deadline = Instant::now() + 60 * SECOND;
        while pool.snapshot().await.models.first().and_then(|model| model.progress) != Some(expected) {
            assert!(Instant::now() < deadline, "{expected:?} is never seen");
            tokio::task::yield_now().await;
        }
        assert!(heard.events().iter().any(|event| event.kind == PoolEventKind::Progress(expected)));
    }
    drop(step);
    leasing.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_model_that_does_not_begin_to_load_is_told_as_dismissed() {
    let bench = Bench::new(10);
    bench.loader.put("huge", 11, Behaviour::Good);
    bench.lease("huge").await.unwrap_err();
    assert_eq!(told(&bench, "huge"), [WANTED, dismissed(Dismissal::TooLarge)]);

    bench.loader.put("bad", 10, Behaviour::Invalid);
    bench.lease("bad").await.unwrap_err();
    bench.lease("bad").await.unwrap_err();
    assert_eq!(told(&bench, "bad").last(), Some(&dismissed(Dismissal::Quarantined)));

    let _busy = bench.lease("a").await.unwrap();
    bench.lease_meanwhile("b").await.abort();
    sleep(INSPECT).await;
    let waited = [WANTED, PoolEventKind::AwaitingRoom { bytes: 10 }];
    assert_eq!(told(&bench, "b")[..2], waited);
    assert_eq!(told(&bench, "b")[2..], [dismissed(Dismissal::Abandoned)]);

    let _waiting = bench.lease_meanwhile("c").await;
    bench.pool.shutdown();
    sleep(INSPECT).await;
    assert_eq!(told(&bench, "c").last(), Some(&dismissed(Dismissal::Shutdown)));
}

#[tokio::test(start_paused = true)]
async fn an_outlook_tells_what_a_request_would_meet() {
    let bench = Bench::new(25);
    let new = bench.pool.outlook("a").await;
    let nothing = Outlook { available_bytes: 25, reclaimable_bytes: 25, ..Outlook::default() };
    assert_eq!(new, nothing);
    let held = bench.lease("a").await.unwrap();
    let busy = bench.pool.outlook("a").await;
    assert_eq!((busy.is_at_hand, busy.known_bytes, busy.load_wall), (true, Some(10), Some(LOAD)));
    assert_eq!(bench.pool.outlook("b").await.reclaimable_bytes, 15, "a is in use");
    drop(held);
    sleep(INSPECT).await;
    assert_eq!(bench.pool.outlook("b").await.reclaimable_bytes, 25, "a may go");
    bench.pool.pin("a", Instant::now() + SECOND).await.unwrap();
    let beside = bench.pool.outlook("b").await;
    assert_eq!((beside.available_bytes, beside.reclaimable_bytes), (15, 15), "a stays");
    assert_eq!(bench.pool.outlook("a").await.available_bytes, 25);
    bench.pool.shutdown();
    sleep(SECOND).await;
    assert!(bench.pool.outlook("a").await.shutting_down);
}
