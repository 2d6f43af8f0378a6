//! Memory that is short: who gives way, and comes back.

use std::time::Duration;

use tokio::time::timeout;

use super::fake::Act::{Finish, NeedRoom, Token};
use super::fake::*;
use crate::executor::*;
use crate::pool::NoRoom;

/// One whose waiting sequences soon make others give way.
fn impatient() -> ExecutorOptions {
    ExecutorOptions { preempt_after: Duration::from_millis(1), ..ExecutorOptions::default() }
}

impl Bench {
    /// Answers the next request for room; returns how much it was for.
    async fn grant(&mut self) -> u64 {
        let asked = self.asked().await;
        asked.answer.settle(Ok(self.budget.try_reserve(asked.bytes).expect("it fits")));
        asked.bytes
    }

    /// Waits until so much is in use.
    async fn used(&self, bytes: u64) {
        let mut freed = self.budget.freed();
        while self.budget.used_bytes() != bytes {
            timeout(PATIENCE, freed.changed()).await.expect("nothing comes free").unwrap();
        }
    }
}

#[tokio::test]
async fn a_slow_readers_sequence_gives_way_first_and_comes_back_when_it_has_read() {
    let mut bench = Bench::with(ExecutorOptions { outputs_max: 1, ..impatient() });
    let mut slow = bench.submit("m", "slow", &[NeedRoom(40), Token, Token, Finish]);
    bench.step().await;
    bench.grant().await;
    assert_eq!(bench.step().await, "slow");
    let mut other = bench.submit("m", "other", &[NeedRoom(70), Finish]);
    assert_eq!(bench.step().await, "other");
    let asked = bench.asked().await;
    bench.used(0).await;
    asked.answer.settle(Ok(bench.budget.try_reserve(70).unwrap()));
    bench.run_free();
    assert!(matches!(finish(&mut other).await.1.outcome, Outcome::Completed));
    let (outputs, completion) = finish(&mut slow).await;
    assert_eq!((outputs, completion.timing.preempted), (2, 1));
    assert!(completion.timing.stall > Duration::ZERO);
}

#[tokio::test]
async fn a_preempted_sequence_that_waits_in_vain_queues_again() {
    let room_wait_max = Duration::from_millis(5);
    let mut bench = Bench::with(ExecutorOptions { outputs_max: 1, room_wait_max, ..impatient() });
    let mut slow = bench.submit("m", "slow", &[NeedRoom(40), Token, NeedRoom(40), Finish]);
    bench.step().await;
    bench.grant().await;
    assert_eq!(bench.step().await, "slow");
    let mut other = bench.submit("m", "other", &[NeedRoom(70), Finish]);
    assert_eq!(bench.step().await, "other");
    let in_vain = bench.asked().await;
    bench.used(0).await;
    assert!(matches!(finish(&mut other).await.1.outcome, Outcome::NoRoom(NoRoom::DeadlinePassed)));
    drop(in_vain);
    bench.run_free();
    assert_eq!(output(&mut slow).await, 1);
    // It computes again, asks, and waits too long; then it asks again.
    let mut asked = bench.asked().await;
    timeout(PATIENCE, asked.answer.unwanted()).await.expect("it gives up");
    let (_, completion) = finish(&mut slow).await;
    assert!(matches!(completion.outcome, Outcome::Completed), "{:?}", completion.outcome);
}
