//! Slow readers, room, and the bound of the queue.

use std::time::Duration;

use super::fake::Act::{Finish, NeedRoom, Token};
use super::fake::*;
use crate::executor::*;
use crate::pool::NoRoom;

fn one_output() -> ExecutorOptions {
    ExecutorOptions { outputs_max: 1, ..ExecutorOptions::default() }
}

#[tokio::test]
async fn a_slow_reader_holds_up_neither_its_model_nor_another() {
    let mut bench = Bench::with(one_output());
    let mut slow = bench.submit("m", "slow", &[Token, Token, Finish]);
    assert_eq!(bench.step().await, "slow");
    let _same = bench.submit("m", "same", &[NeedRoom(1), Finish]);
    assert_eq!(bench.step().await, "same");
    let _other = bench.submit("n", "other", &[Finish]);
    assert_eq!(bench.step().await, "other");
    assert!(bench.no_step_began());
    assert_eq!(output(&mut slow).await, 1);
    assert_eq!(bench.step().await, "slow", "it goes on when its reader has taken something");
    assert_eq!(output(&mut slow).await, 2);
    bench.run_free();
    let (_, completion) = finish(&mut slow).await;
    assert!(matches!(completion.outcome, Outcome::Completed));
    assert!(completion.timing.stall > Duration::ZERO);
}

#[tokio::test]
async fn a_reader_that_catches_up_goes_before_those_who_came_later() {
    let mut bench = Bench::with(one_output());
    let mut slow = bench.submit("m", "slow", &[Token, Finish]);
    assert_eq!(bench.step().await, "slow");
    let _later = bench.submit("m", "later", &[NeedRoom(0), Finish]);
    assert_eq!(bench.stepping().await, "later");
    assert_eq!(output(&mut slow).await, 1);
    bench.permit();
    assert_eq!(bench.step().await, "slow");
}

#[tokio::test]
async fn a_reader_that_is_slow_for_too_long_ends_its_sequence() {
    let stall_max = Duration::from_millis(20);
    let bench = Bench::with(ExecutorOptions { stall_max, ..one_output() });
    let mut slow = bench.submit("m", "slow", &[Token, Token, Token]);
    let mut next = bench.submit("m", "next", &[Finish]);
    bench.run_free();
    // The end comes although nothing is read.
    let (_, completion) = finish(&mut next).await;
    assert!(matches!(completion.outcome, Outcome::Completed));
    bench.executor.drain(tokio::time::Instant::now() + PATIENCE).await;
    let (outputs, completion) = finish(&mut slow).await;
    assert!(matches!(completion.outcome, Outcome::StallLimit));
    assert_eq!((outputs, completion.timing.decode.steps), (1, 1));
    assert!(completion.timing.stall >= stall_max);
}

#[tokio::test]
async fn slow_readers_of_one_model_are_bounded() {
    let mut bench = Bench::with(ExecutorOptions { started_per_model_max: 2, ..one_output() });
    let script = [Token, Finish];
    let mut one = bench.submit("m", "1", &script);
    let _two = bench.submit("m", "2", &script);
    let _three = bench.submit("m", "3", &script);
    assert_eq!(bench.steps(2).await, ["1", "2"]);
    let _probe = bench.submit("probe", "probe", &[Finish]);
    assert_eq!(bench.step().await, "probe", "3 does not begin while two readers are slow");
    output(&mut one).await;
    assert_eq!(bench.steps(2).await, ["1", "3"]);
}

#[tokio::test]
async fn room_is_asked_for_and_granted_while_others_go_on() {
    let mut bench = Bench::new();
    let mut ticket = bench.submit("m", "one", &[Token, NeedRoom(40), Token, NeedRoom(2), Finish]);
    assert_eq!(bench.steps(2).await, ["one", "one"]);
    let asked = bench.asked().await;
    assert_eq!((&*asked.model, asked.bytes), ("m", 40));
    let _other = bench.submit("n", "other", &[Token, Finish]);
    assert_eq!(bench.steps(2).await, ["other", "other"]);
    asked.answer.settle(Ok(bench.budget.try_reserve(40).unwrap()));
    assert_eq!(bench.steps(2).await, ["one", "one"]);
    let asked = bench.asked().await;
    asked.answer.settle(Ok(bench.budget.try_reserve(2).unwrap()));
    assert_eq!(bench.step().await, "one");
    let (_, completion) = finish(&mut ticket).await;
    assert!(matches!(completion.outcome, Outcome::Completed));
    assert!(completion.timing.room_wait > Duration::ZERO);
    assert_eq!(bench.budget.used_bytes(), 42, "held until the completion is dropped");
    drop(completion);
    assert_eq!(bench.budget.used_bytes(), 0);
}

#[tokio::test]
async fn none_of_a_model_begins_while_one_awaits_room() {
    let mut bench = Bench::new();
    let _one = bench.submit("m", "one", &[NeedRoom(1), Finish]);
    assert_eq!(bench.stepping().await, "one");
    let _two = bench.submit("m", "two", &[Finish]);
    bench.permit();
    let asked = bench.asked().await;
    let _probe = bench.submit("probe", "probe", &[Finish]);
    assert_eq!(bench.step().await, "probe");
    assert!(bench.no_step_began());
    asked.answer.settle(Ok(bench.budget.try_reserve(1).unwrap()));
    assert_eq!(bench.batch(2).await, ["one", "two"]);
}

#[tokio::test]
async fn refused_room_ends_the_sequence_with_the_reason() {
    let mut bench = Bench::new();
    let mut ticket = bench.submit("m", "one", &[NeedRoom(1_000)]);
    bench.permit();
    let refusal = NoRoom::TooLarge { needed_bytes: 1_000, available_bytes: 7 };
    bench.asked().await.answer.settle(Err(refusal));
    let (_, completion) = finish(&mut ticket).await;
    assert!(matches!(completion.outcome, Outcome::NoRoom(reason) if reason == refusal));

    let mut ticket = bench.submit("m", "two", &[NeedRoom(1_000)]);
    bench.permit();
    drop(bench.asked().await);
    let (_, completion) = finish(&mut ticket).await;
    assert!(matches!(completion.outcome, Outcome::NoRoom(NoRoom::ShuttingDown)), "an answer dropped is a refusal");
}

#[tokio::test]
async fn room_that_comes_too_late_ends_the_sequence_and_goes_back() {
    let room_wait_max = Duration::from_millis(20);
    let mut bench = Bench::with(ExecutorOptions { room_wait_max, ..ExecutorOptions::default() });
    let mut ticket = bench.submit("m", "one", &[NeedRoom(10)]);
    bench.permit();
    let mut asked = bench.asked().await;
    assert!(asked.deadline <= tokio::time::Instant::now() + room_wait_max);
    let (_, completion) = finish(&mut ticket).await;
    assert!(matches!(completion.outcome, Outcome::NoRoom(NoRoom::DeadlinePassed)));
    assert!(completion.timing.room_wait >= room_wait_max);
    tokio::time::timeout(PATIENCE, asked.answer.unwanted()).await.expect("the source is told");
    asked.answer.settle(Ok(bench.budget.try_reserve(10).unwrap()));
    let _probe = bench.submit("probe", "probe", &[Finish]);
    assert_eq!(bench.steps(2).await, ["one", "probe"]);
    assert_eq!(bench.budget.used_bytes(), 0);
}

#[tokio::test]
async fn a_sequence_cancelled_while_it_awaits_room_wants_none() {
    let mut bench = Bench::new();
    let mut ticket = bench.submit("m", "one", &[NeedRoom(10)]);
    bench.permit();
    let mut asked = bench.asked().await;
    ticket.cancel();
    assert!(matches!(finish(&mut ticket).await.1.outcome, Outcome::Cancelled));
    tokio::time::timeout(PATIENCE, asked.answer.unwanted()).await.expect("the source is told");
}

#[tokio::test]
async fn a_panic_while_room_is_granted_ends_its_sequence_alone() {
    let mut bench = Bench::new();
    let mut ticket = bench.submit("m", "one", &[NeedRoom(13)]);
    bench.permit();
    bench.asked().await.answer.settle(Ok(bench.budget.try_reserve(13).unwrap()));
    assert!(matches!(finish(&mut ticket).await.1.outcome, Outcome::EnginePanicked { .. }));
    assert_eq!(bench.budget.used_bytes(), 0);
    let mut next = bench.submit("m", "next", &[Finish]);
    bench.permit();
    assert!(matches!(finish(&mut next).await.1.outcome, Outcome::Completed));
}

#[tokio::test]
async fn a_full_queue_refuses_until_one_has_stepped() {
    let options = ExecutorOptions { queue_max: 2, started_per_model_max: 1, ..ExecutorOptions::default() };
    let mut bench = Bench::with(options);
    let _running = bench.submit("m", "running", &[Finish]);
    assert_eq!(bench.stepping().await, "running");
    let _queued = [bench.submit("m", "1", &[Finish]), bench.submit("m", "2", &[Finish])];
    let refusal = bench.executor.enter(&"tenant".into()).unwrap_err();
    assert_eq!(refusal, QueueFull { whose: Whose::Whole, retry_after: crate::limits::RETRY_AFTER_MIN });
    bench.permit();
    assert_eq!(bench.stepping().await, "1");
    let _taken = bench.submit("m", "3", &[Finish]);
    bench.permit();
    assert_eq!(bench.steps(2).await, ["2", "3"]);
}

#[tokio::test]
async fn a_tenant_takes_no_more_places_than_its_own() {
    let mut bench = Bench::with(ExecutorOptions { queue_per_tenant_max: 1, ..ExecutorOptions::default() });
    let _running = bench.submit("m", "running", &[Finish]);
    assert_eq!(bench.stepping().await, "running");
    let place = bench.executor.enter(&"tenant".into()).unwrap();
    assert_eq!(bench.executor.enter(&"tenant".into()).unwrap_err().whose, Whose::Tenant);
    let _other = bench.executor.enter(&"other".into()).unwrap();
    assert_eq!(bench.executor.queued(), 2);
    drop(place);
    let _again = bench.executor.enter(&"tenant".into()).unwrap();
}

#[tokio::test]
async fn a_ticket_tells_how_far_its_sequence_is() {
    let mut bench = Bench::new();
    let mut running = bench.submit("m", "running", &[Finish]);
    assert_eq!(bench.stepping().await, "running");
    let (next, last) = (bench.submit("m", "next", &[Finish]), bench.submit("m", "last", &[Finish]));
    assert_eq!(running.standing(), Standing::Running);
    assert_eq!(next.standing(), Standing::Queued { ahead: 0 });
    assert_eq!(last.standing(), Standing::Queued { ahead: 1 });
    bench.run_free();
    finish(&mut running).await;
    assert_eq!(running.standing(), Standing::Ended);
}

#[tokio::test]
async fn the_retry_delay_follows_what_was_completed_lately() {
    let (queue_max, queue_per_tenant_max) = (1_000, 1_000);
    let started_per_model_max = 1;
    let options =
        ExecutorOptions { queue_max, queue_per_tenant_max, started_per_model_max, ..ExecutorOptions::default() };
    let mut bench = Bench::with(options);
    let mut first = bench.submit("m", "first", &[Finish]);
    bench.permit();
    finish(&mut first).await;
    assert_eq!(bench.stepping().await, "first");
    let _running = bench.submit("m", "running", &[Finish]);
    assert_eq!(bench.stepping().await, "running");
    let queued: Vec<_> = (0..1_000).map(|_| bench.submit("m", "queued", &[Finish])).collect();
    assert_eq!(bench.executor.enter(&"tenant".into()).unwrap_err().retry_after, 1_000 * STEP.wall);
    drop(queued);
    bench.permit();
}
