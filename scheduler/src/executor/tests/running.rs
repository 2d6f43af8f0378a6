//! Turns, order, cancellation, deadlines, faults.

use std::time::Duration;

use tokio::time::Instant;

use super::fake::Act::{Fail, Finish, Forget, Panic, Prefill, Spin, Token};
use super::fake::*;
use crate::executor::*;
use crate::pool::{Identity, Lease};

#[tokio::test]
async fn a_sequence_runs_to_its_end_and_gives_everything_back() {
    let bench = Bench::new();
    let mut ticket = bench.submit("m", "one", &[Prefill(7), Prefill(5), Token, Token, Finish]);
    bench.run_free();
    assert_eq!((output(&mut ticket).await, output(&mut ticket).await), (1, 2));
    let (outputs, completion) = finish(&mut ticket).await;
    assert_eq!(outputs, 0);
    assert!(matches!(completion.outcome, Outcome::Completed));
    assert_eq!((&**completion.lease.name(), completion.sequence.as_ref().unwrap().name), ("m", "one"));
    let timing = completion.timing;
    assert_eq!((timing.prefill.steps, timing.prefill.tokens), (2, 12));
    assert_eq!((timing.prefill.wall, timing.prefill.cpu), (2 * STEP.wall, 2 * STEP.cpu));
    assert_eq!((timing.decode.steps, timing.decode.tokens), (3, 3));
    assert_eq!((timing.decode.wall, timing.decode.cpu), (3 * STEP.wall, 3 * STEP.cpu));
}

#[tokio::test]
async fn models_take_turns_step_by_step() {
    let mut bench = Bench::new();
    let script = [Token, Token, Finish];
    let _first = bench.submit("gate", "gate", &[Finish]);
    assert_eq!(bench.stepping().await, "gate");
    let _tickets = [bench.submit("a", "a", &script), bench.submit("b", "b", &script), bench.submit("c", "c", &script)];
    bench.permit();
    assert_eq!(bench.steps(9).await, ["a", "b", "c", "a", "b", "c", "a", "b", "c"]);
}

#[tokio::test]
async fn sequences_of_one_model_step_together_and_join_and_leave_at_any_step() {
    let mut bench = Bench::new();
    let script = [Token, Token, Finish];
    let mut one = bench.submit("m", "1", &script);
    assert_eq!(bench.stepping().await, "1");
    let (mut two, mut three) = (bench.submit("m", "2", &script), bench.submit("m", "3", &[Finish]));
    bench.permit();
    assert_eq!(bench.batch(3).await, ["1", "2", "3"]);
    assert!(matches!(finish(&mut three).await, (0, Completion { outcome: Outcome::Completed, .. })));
    assert_eq!(bench.batch(2).await, ["1", "2"]);
    assert_eq!(bench.step().await, "2");
    for ticket in [&mut one, &mut two] {
        let (outputs, completion) = finish(ticket).await;
        assert_eq!((outputs, completion.timing.decode.steps), (2, 3));
        assert_eq!(completion.timing.computed(), 3 * STEP.wall, "each pays its own share");
    }
}

#[tokio::test]
async fn a_panic_in_a_step_ends_all_of_its_batch() {
    let mut bench = Bench::new();
    let _gate = bench.submit("m", "gate", &[Finish]);
    assert_eq!(bench.stepping().await, "gate");
    let mut batch = [bench.submit("m", "1", &[Token, Finish]), bench.submit("m", "2", &[Panic])];
    let mut other = bench.submit("n", "other", &[Token, Finish]);
    bench.run_free();
    for ticket in &mut batch {
        assert!(matches!(finish(ticket).await.1.outcome, Outcome::EnginePanicked { .. }));
    }
    assert!(matches!(finish(&mut other).await, (1, Completion { outcome: Outcome::Completed, .. })));
}

#[tokio::test]
async fn artifacts_of_one_name_share_no_step() {
    let mut bench = Bench::new();
    let _gate = bench.submit("m", "gate", &[Finish]);
    assert_eq!(bench.stepping().await, "gate");
    let mut old = bench.submit("m", "old", &[Token, Panic]);
    let mut replaced = bench.submission("m", "new", &[Token, Token, Finish]);
    replaced.lease = Lease::of_artifact("m", FakeModel, Identity([1; 4]));
    let mut new = bench.executor.submit(replaced).unwrap();
    bench.run_free();
    assert!(matches!(finish(&mut old).await, (1, Completion { outcome: Outcome::EnginePanicked { .. }, .. })));
    assert!(matches!(finish(&mut new).await, (2, Completion { outcome: Outcome::Completed, .. })));
}

#[tokio::test]
async fn a_cancelled_sequence_takes_no_further_step() {
    let mut bench = Bench::one_by_one();
    let mut one = bench.submit("m", "one", &[Token, Token, Token]);
    let _two = bench.submit("m", "two", &[Finish]);
    assert_eq!(bench.step().await, "one");
    assert_eq!(bench.stepping().await, "one");
    one.cancel();
    one.cancel();
    bench.permit();
    assert_eq!(bench.step().await, "two");
    let (outputs, completion) = finish(&mut one).await;
    assert!(matches!(completion.outcome, Outcome::Cancelled));
    assert_eq!((outputs, completion.timing.decode.steps), (2, 2), "what was computed is shown and booked");
    one.cancel();
}

#[tokio::test]
async fn a_sequence_cancelled_while_queued_never_steps() {
    let mut bench = Bench::one_by_one();
    let _one = bench.submit("m", "one", &[Token, Finish]);
    let mut two = bench.submit("m", "two", &[Token, Finish]);
    let _three = bench.submit("m", "three", &[Finish]);
    assert_eq!(bench.stepping().await, "one");
    assert_eq!(bench.executor.queued(), 2);
    two.cancel();
    bench.permit();
    assert_eq!(bench.steps(2).await, ["one", "three"]);
    let (outputs, completion) = finish(&mut two).await;
    assert!(matches!(completion.outcome, Outcome::Cancelled));
    assert_eq!((outputs, completion.timing.computed()), (0, Duration::ZERO));
    assert_eq!(bench.executor.queued(), 0);
}

#[tokio::test]
async fn a_dropped_ticket_cancels_and_frees() {
    let mut bench = Bench::one_by_one();
    let mut submission = bench.submission("m", "one", &[Token, Token, Token]);
    submission.sequence.room = bench.budget.try_reserve(100);
    let one = bench.executor.submit(submission).unwrap();
    let _two = bench.submit("m", "two", &[Finish]);
    assert_eq!(bench.stepping().await, "one");
    drop(one);
    bench.permit();
    assert_eq!(bench.stepping().await, "two");
    assert_eq!(bench.budget.used_bytes(), 0, "before the next step, its memory was free");
    bench.permit();
}

#[tokio::test]
async fn a_deadline_ends_a_running_sequence() {
    let bench = Bench::new();
    let mut endless = bench.submission("m", "endless", &[Spin]);
    let deadline = Instant::now() + Duration::from_millis(20);
    endless.deadline = Some(deadline);
    let mut endless = bench.executor.submit(endless).unwrap();
    bench.run_free();
    let (_, completion) = finish(&mut endless).await;
    assert!(matches!(completion.outcome, Outcome::DeadlinePassed));
    assert!(Instant::now() >= deadline);
}

#[tokio::test]
async fn a_deadline_that_passes_in_the_queue_is_never_computed() {
    let mut bench = Bench::one_by_one();
    let _running = bench.submit("m", "running", &[Finish]);
    assert_eq!(bench.stepping().await, "running");
    let mut queued = bench.submission("m", "queued", &[Token]);
    queued.deadline = Some(Instant::now());
    let mut queued = bench.executor.submit(queued).unwrap();
    let _last = bench.submit("m", "last", &[Finish]);
    bench.permit();
    assert_eq!(bench.step().await, "last");
    let (_, completion) = finish(&mut queued).await;
    assert!(matches!(completion.outcome, Outcome::DeadlinePassed));
    assert_eq!(completion.timing.computed(), Duration::ZERO);
    assert!(completion.timing.queue > Duration::ZERO);
}

#[tokio::test]
async fn a_fault_ends_its_sequence_alone() {
    let bench = Bench::new();
    let mut one = bench.submit("m", "one", &[Token, Fail]);
    let mut two = bench.submit("m", "two", &[Token, Finish]);
    bench.run_free();
    assert!(matches!(finish(&mut one).await, (1, Completion { outcome: Outcome::Failed(FakeFault), .. })));
    assert!(matches!(finish(&mut two).await, (1, Completion { outcome: Outcome::Completed, .. })));
}

#[tokio::test]
async fn a_panic_in_a_step_ends_its_sequence_and_the_next_model_succeeds() {
    let bench = Bench::new();
    let mut one = bench.submit("m", "one", &[Token, Panic]);
    let mut two = bench.submit("n", "two", &[Token, Token, Finish]);
    bench.run_free();
    let (outputs, completion) = finish(&mut one).await;
    let Outcome::EnginePanicked { message } = &completion.outcome else { panic!("{:?}", completion.outcome) };
    assert_eq!(
        (outputs, message.as_str(), completion.sequence.as_ref().unwrap().name),
        (1, "the script panics", "one")
    );
    assert_eq!(completion.timing.decode.steps, 2, "the step that panicked is booked as well");
    assert!(matches!(finish(&mut two).await, (2, Completion { outcome: Outcome::Completed, .. })));
}

#[tokio::test]
async fn an_engine_that_breaks_its_contract_ends_the_sequence() {
    let bench = Bench::new();
    let mut ticket = bench.submit("m", "one", &[Forget]);
    bench.run_free();
    let (_, completion) = finish(&mut ticket).await;
    let Outcome::EnginePanicked { message } = completion.outcome else { panic!("{:?}", completion.outcome) };
    assert_eq!(message, "0 outcomes for a batch of 1");
}

#[tokio::test]
async fn time_waiting_for_turns_is_told_apart_from_the_queue() {
    let mut bench = Bench::new();
    let submitted = Instant::now();
    let mut a = bench.submit("a", "a", &[Token, Finish]);
    assert_eq!(bench.stepping().await, "a");
    let _b = bench.submit("b", "b", &[Finish]);
    bench.permit();
    assert_eq!(bench.stepping().await, "b");
    bench.permit();
    assert_eq!(bench.stepping().await, "a");
    let stepped = Instant::now();
    bench.run_free();
    let (_, completion) = finish(&mut a).await;
    assert!(completion.timing.turn_wait > Duration::ZERO);
    assert!(completion.timing.queue + completion.timing.turn_wait <= stepped - submitted);
}
