use super::*;
use crate::arbitrary::Arbitrary;

const KIB: u64 = 1024;

fn at(millis: u64) -> Moment {
    Moment::new(millis)
}

fn block(id: u64, bytes: u64) -> PublishedBlock<'static> {
    PublishedBlock { id: BlockId(id), model: "m", bytes, kept_for: Account::Idle, kept_as: HeldAs::Prefix }
}

fn with_one(bytes: u64) -> SharedBlocks {
    let mut blocks = SharedBlocks::new();
    blocks.published(block(1, bytes), at(0));
    blocks
}

fn charged(blocks: &mut SharedBlocks, millis: u64) -> Vec<(Account, u64)> {
    let intervals = blocks.take_intervals(at(millis), &mut IntervalNumbers::default());
    assert_eq!(blocks.imbalance(), 0);
    let mut told: Vec<_> = intervals.into_iter().map(|one| (one.account(), one.kib_ms.get())).collect();
    told.sort();
    told
}

#[test]
fn a_block_is_divided_by_the_number_of_its_holders() {
    let mut blocks = with_one(6 * KIB);
    blocks.held(BlockId(1), "r", at(0));
    blocks.held(BlockId(1), "s", at(10));
    blocks.held(BlockId(1), "t", at(20));
    blocks.held(BlockId(1), "t", at(20));
    assert_eq!(blocks.request_ends("s", at(30)), KibMillis::new(6 * 10 / 2 + 6 * 10 / 3));
    blocks.released(BlockId(1), "t", at(40));
    assert_eq!(blocks.request_ends("r", at(50)), KibMillis::new(60 + 30 + 20 + 30 + 60));
    assert_eq!(blocks.request_ends("t", at(50)), KibMillis::new(20 + 30));
    assert_eq!(blocks.byte_millis(), u128::from(6 * KIB * 50));
    assert_eq!(charged(&mut blocks, 50), []);
}

#[test]
fn what_nobody_holds_is_carried_by_who_it_is_kept_for() {
    let mut blocks = SharedBlocks::new();
    let kept_for = Account::Keepalive("a".into());
    blocks.published(PublishedBlock { kept_for, ..block(1, 2 * KIB) }, at(0));
    blocks.held(BlockId(1), "r", at(10));
    assert_eq!(blocks.request_ends("r", at(20)), KibMillis::new(20), "while it is held its holders carry it");
    blocks.freed(BlockId(1), at(25));
    blocks.freed(BlockId(1), at(35));
    assert_eq!(charged(&mut blocks, 99), [(Account::Keepalive("a".into()), 20 + 10)]);
}

#[test]
fn a_remainder_is_carried_to_the_next_span_and_to_the_account_idle_at_the_end() {
    let mut blocks = with_one(KIB);
    for request in ["r", "s", "t"] {
        blocks.held(BlockId(1), request, at(0));
    }
    // A KiB · ms in each step: each third one makes a whole one for each of three.
    (1..=8).for_each(|millis| blocks.held(BlockId(1), "r", at(millis)));
    blocks.freed(BlockId(1), at(8));
    let ends = ["r", "s", "t"].map(|request| blocks.request_ends(request, at(9)).get());
    assert_eq!(ends, [2, 2, 2]);
    assert_eq!(charged(&mut blocks, 9), [(Account::Idle, 2)]);
    // Bytes that make no KiB go on too.
    for id in 2..6 {
        blocks.published(block(id, 256), at(10));
        blocks.freed(BlockId(id), at(11));
    }
    assert_eq!(charged(&mut blocks, 11), [(Account::Idle, 1)]);
}

#[test]
fn a_request_that_is_abandoned_leaves_its_part_to_the_account_idle() {
    let mut blocks = with_one(KIB);
    blocks.held(BlockId(1), "r", at(0));
    blocks.request_abandoned("r", "m", KibMillis::new(0), at(7));
    assert_eq!(charged(&mut blocks, 10), [(Account::Idle, 7 + 3)]);
    assert_eq!(blocks.request_ends("r", at(10)), KibMillis::ZERO);
}

#[test]
fn repeated_unknown_and_late_events_change_nothing() {
    let mut blocks = with_one(KIB);
    blocks.published(block(1, 9 * KIB), at(5));
    blocks.held(BlockId(9), "r", at(5));
    blocks.released(BlockId(9), "r", at(5));
    blocks.released(BlockId(1), "r", at(5));
    blocks.freed(BlockId(9), at(5));
    blocks.held(BlockId(1), "r", at(10));
    blocks.released(BlockId(1), "r", at(3));
    assert_eq!(blocks.request_ends("r", at(4)), KibMillis::ZERO);
    assert_eq!(charged(&mut blocks, 10), [(Account::Idle, 10)]);
}

#[test]
fn extremes_lose_nothing() {
    let mut blocks = with_one(u64::MAX);
    blocks.held(BlockId(1), "r", at(0));
    let _ = charged(&mut blocks, u64::MAX);
    assert_eq!(blocks.request_ends("r", at(u64::MAX)), KibMillis::MAX);
    blocks.freed(BlockId(1), at(u64::MAX));
    let _ = charged(&mut blocks, u64::MAX);
}

const IDS: [&str; 4] = ["r0", "r1", "r2", "r3"];

/// Whatever happens in whatever order, everything that was published is charged to someone or carried, exactly once.
#[test]
fn charges_always_sum_to_the_integral() {
    for seed in 0..400 {
        let mut arbitrary = Arbitrary::new(seed);
        let (mut blocks, mut numbers) = (SharedBlocks::new(), IntervalNumbers::default());
        let (mut now, mut charged) = (0, 0_u128);
        for step in 0..200 {
            now += arbitrary.below(40) * arbitrary.below(2);
            let when = at(if arbitrary.below(8) == 0 { now.saturating_sub(arbitrary.below(100)) } else { now });
            let (id, request) = (BlockId(arbitrary.below(5)), IDS[arbitrary.index(4)]);
            match arbitrary.below(9) {
                0 | 1 => blocks.published(block(id.0, arbitrary.below(5000)), when),
                2..=4 => blocks.held(id, request, when),
                5 => blocks.released(id, request, when),
                6 => blocks.freed(id, when),
                7 => charged += u128::from(blocks.request_ends(request, when).get()),
                _ => charged += sum(&blocks.take_intervals(when, &mut numbers)),
            }
            assert_eq!(blocks.imbalance(), 0, "seed {seed} step {step}");
        }
        charged += sum(&blocks.take_intervals(at(now), &mut numbers));
        (0..5).for_each(|id| blocks.freed(BlockId(id), at(now)));
        charged += IDS.map(|id| u128::from(blocks.request_ends(id, at(now)).get())).into_iter().sum::<u128>();
        charged += sum(&blocks.take_intervals(at(now), &mut numbers));
        assert!(blocks.byte_millis() > 0, "seed {seed} tests nothing");
        assert_eq!(charged, blocks.byte_millis() / 1024, "seed {seed}: all but the last part of a KiB ms");
        assert!(blocks.blocks.is_empty() && blocks.holds.is_empty(), "seed {seed}");
    }
}

fn sum(intervals: &[AccountInterval]) -> u128 {
    intervals.iter().map(|one| u128::from(one.kib_ms.get())).sum()
}
