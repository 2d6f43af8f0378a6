//! Drain, stop, and what everyone is told then.

use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::fake::Act::{Finish, NeedRoom, Token};
use super::fake::*;
use crate::executor::*;

#[tokio::test]
async fn a_drain_finishes_what_was_let_in_and_refuses_the_rest() {
    let mut bench = Bench::new();
    let mut running = bench.submit("m", "running", &[Token, Token, Finish]);
    let mut queued = bench.submit("m", "queued", &[Token, Finish]);
    assert_eq!(bench.stepping().await, "running");
    let executor = bench.executor.clone();
    let drain = tokio::spawn(async move { executor.drain(Instant::now() + PATIENCE).await });
    // The drain takes effect at some moment: every submission is either taken and finished, or refused.
    let mut taken = Vec::new();
    let refusal = loop {
        match bench.executor.submit(bench.submission("n", "late", &[Finish])) {
            Ok(ticket) => taken.push(ticket),
            Err(refusal) => break refusal,
        }
        tokio::task::yield_now().await;
    };
    let SubmitError::ShuttingDown { submission } = refusal;
    assert_eq!(submission.sequence.name, "late");
    assert!(!drain.is_finished());
    bench.run_free();
    assert_eq!(drain.await.unwrap(), DrainOutcome::Drained);
    assert!(matches!(finish(&mut running).await, (2, Completion { outcome: Outcome::Completed, .. })));
    assert!(matches!(finish(&mut queued).await, (1, Completion { outcome: Outcome::Completed, .. })));
    for ticket in &mut taken {
        assert!(matches!(finish(ticket).await.1.outcome, Outcome::Completed));
    }
}

#[tokio::test]
async fn a_drain_that_is_not_done_in_time_says_so_and_a_stop_cuts_off() {
    let mut bench = Bench::one_by_one();
    let mut running = bench.submit("m", "running", &[Token, Token, Token]);
    let mut queued = bench.submit("m", "queued", &[Token]);
    let mut waiting = bench.submit("n", "waiting", &[NeedRoom(1)]);
    assert_eq!(bench.steps(2).await, ["running", "waiting"]);
    let _asked = bench.asked().await;
    assert_eq!(bench.stepping().await, "running");
    assert_eq!(bench.executor.drain(Instant::now() + Duration::from_millis(5)).await, DrainOutcome::Unfinished);
    bench.executor.stop();
    bench.permit();
    timeout(PATIENCE, bench.executor.ended()).await.expect("the thread ends");
    for (ticket, steps) in [(&mut running, 2), (&mut queued, 0), (&mut waiting, 1)] {
        let (_, completion) = finish(ticket).await;
        assert!(matches!(completion.outcome, Outcome::ShuttingDown));
        assert_eq!(completion.timing.decode.steps, steps);
    }
    assert!(matches!(
        bench.executor.submit(bench.submission("m", "late", &[])).unwrap_err(),
        SubmitError::ShuttingDown { .. }
    ));
    assert_eq!(bench.executor.drain(Instant::now() + PATIENCE).await, DrainOutcome::Drained);
}

#[tokio::test]
async fn an_idle_executor_drains_at_once() {
    let bench = Bench::new();
    assert_eq!(bench.executor.drain(Instant::now() + PATIENCE).await, DrainOutcome::Drained);
}

#[tokio::test]
async fn an_executor_without_handles_stops() {
    let mut bench = Bench::new();
    let mut ticket = bench.submit("m", "one", &[Token, Token]);
    assert_eq!(bench.stepping().await, "one");
    let permits = bench.permit_later();
    drop(bench);
    permits();
    assert!(matches!(finish(&mut ticket).await.1.outcome, Outcome::ShuttingDown));
}

#[tokio::test]
async fn every_ticket_gets_its_completion_whatever_happens() {
    use crate::testing::Random;

    let (queue_max, queue_per_tenant_max) = (10_000, 10_000);
    let options = ExecutorOptions { outputs_max: 2, queue_max, queue_per_tenant_max, ..ExecutorOptions::default() };
    let bench = Bench::with(options);
    bench.run_free();
    let mut random = Random::new(11);
    let mut readers = Vec::new();
    for round in 0..600 {
        let model = ["a", "b", "c"][usize::try_from(random.below(3)).unwrap()];
        let script: Vec<_> = (0..random.below(6))
            .map(|_| match random.below(10) {
                0 => Act::Panic,
                1 => Act::Fail,
                2 => Act::Prefill(3),
                _ => Act::Token,
            })
            .collect();
        let mut ticket = bench.submit(model, "any", &script);
        match random.below(4) {
            0 => ticket.cancel(),
            1 => drop(ticket),
            _ => readers.push(tokio::spawn(async move { finish(&mut ticket).await.1.timing })),
        }
        if round == 500 {
            bench.executor.stop();
            break;
        }
    }
    for reader in readers {
        reader.await.unwrap();
    }
    timeout(PATIENCE, bench.executor.ended()).await.expect("the thread ends");
    assert_eq!(bench.executor.queued(), 0);
}

#[tokio::test]
async fn what_a_finished_sequence_held_is_let_go_before_its_outputs_are_read() {
    let bench = Bench::new();
    bench.run_free();
    let mut submission = bench.submission("m", "one", &[Token, Token, Token, Finish]);
    submission.sequence.room = bench.budget.try_reserve(10);
    let mut ticket = bench.executor.submit(submission).unwrap();
    let completion = timeout(PATIENCE, ticket.ended()).await.expect("it ends").expect("and says so");
    assert!(matches!(completion.outcome, Outcome::Completed));
    drop(completion);
    assert_eq!(bench.budget.used_bytes(), 0);
    // Its outputs wait.
    assert_eq!([output(&mut ticket).await, output(&mut ticket).await, output(&mut ticket).await], [1, 2, 3]);
    assert!(next(&mut ticket).await.is_none());
    assert!(ticket.ended().await.is_none(), "the end is told once");
}

#[tokio::test]
async fn an_end_that_is_waited_for_in_vain_loses_no_output() {
    let mut bench = Bench::new();
    let mut ticket = bench.submit("m", "one", &[Token, Finish]);
    assert_eq!(bench.stepping().await, "one");
    let early = timeout(Duration::from_millis(5), ticket.ended()).await;
    assert!(early.is_err(), "it has not ended");
    bench.permit();
    assert_eq!(bench.stepping().await, "one");
    let early = timeout(Duration::from_millis(5), ticket.ended()).await;
    assert!(early.is_err());
    assert_eq!(output(&mut ticket).await, 1);
    bench.permit();
    assert!(matches!(finish(&mut ticket).await, (0, Completion { outcome: Outcome::Completed, .. })));
}
