//! Steps that do not return.

use std::time::Duration;

use tokio::time::timeout;

use super::fake::Act::{Finish, Hang, Token};
use super::fake::*;
use crate::executor::*;

fn short() -> ExecutorOptions {
    ExecutorOptions { step_timeout: Duration::from_millis(20), ..ExecutorOptions::default() }
}

#[tokio::test]
async fn row_39_a_step_that_never_returns_ends_its_batch_and_the_rest_goes_on() {
    let bench = Bench::with(short());
    bench.run_free();
    let mut hangs = bench.submit("m", "hangs", &[Token, Hang]);
    let mut other = bench.submit("n", "other", &[Token, Token, Finish]);
    let (outputs, completion) = finish(&mut hangs).await;
    assert!(matches!(completion.outcome, Outcome::EngineTimeout), "{:?}", completion.outcome);
    assert_eq!((outputs, completion.sequence.is_some()), (1, false));
    assert_eq!((&**completion.lease.name(), completion.timing.decode.steps), ("m", 2));
    assert!(matches!(finish(&mut other).await, (2, Completion { outcome: Outcome::Completed, .. })));
    let mut next = bench.submit("m", "next", &[Token, Finish]);
    assert!(matches!(finish(&mut next).await, (1, Completion { outcome: Outcome::Completed, .. })));
}

#[tokio::test]
async fn a_step_that_returns_too_late_finds_itself_replaced() {
    let bench = Bench::with(short());
    bench.run_free();
    let mut submission = bench.submission("m", "hangs", &[Hang, Token]);
    submission.sequence.room = bench.budget.try_reserve(10);
    let mut hangs = bench.executor.submit(submission).unwrap();
    assert!(matches!(finish(&mut hangs).await.1.outcome, Outcome::EngineTimeout));
    assert_eq!(bench.budget.used_bytes(), 10, "the step still has it");
    let mut freed = bench.budget.freed();
    bench.let_go();
    timeout(PATIENCE, freed.changed()).await.expect("what it was lent is dropped").unwrap();
    let mut next = bench.submit("m", "next", &[Token, Finish]);
    assert!(matches!(finish(&mut next).await, (1, Completion { outcome: Outcome::Completed, .. })));
}

#[tokio::test]
async fn when_engines_keep_hanging_the_executor_ends() {
    let bench = Bench::with(ExecutorOptions { engines_replaced_max: 1, started_per_model_max: 1, ..short() });
    bench.run_free();
    let mut hanging = [bench.submit("m", "1", &[Hang]), bench.submit("m", "2", &[Hang])];
    let mut queued = bench.submit("m", "queued", &[Finish]);
    for ticket in &mut hanging {
        assert!(matches!(finish(ticket).await.1.outcome, Outcome::EngineTimeout));
    }
    assert!(matches!(finish(&mut queued).await.1.outcome, Outcome::ShuttingDown));
    timeout(PATIENCE, bench.executor.ended()).await.expect("it ends");
    assert!(bench.executor.submit(bench.submission("m", "late", &[])).is_err());
}
