//! A model that is loaded again while earlier copies of it are still in memory.

use super::*;

fn of(artifact: ArtifactId, kib: u64, wall_millis: u64) -> Load<'static> {
    Load { artifact, ..loaded(kib, wall_millis) }
}

#[test]
fn a_load_that_ends_while_the_old_copy_is_leaving_is_charged_to_its_waiters() {
    let mut residency = minute();
    residency.model_loaded("m", at(0), loaded(100, 0));
    residency.kept_until("m", at(10), at(10));
    let waiters = [by("r", "a"), by("s", "b")];
    residency.model_loaded("m", at(30), Load { waiters: &waiters, ..of(OTHER, 50, 20) });
    residency.request_begins("m", by("r", "a"), at(30));
    residency.copy_freed("m", ONE, at(40));
    let charge = residency.request_ends("r", at(50));
    assert_eq!((charge.load.get(), charge.active.get()), (50 * 20 / 2, 50 * 20));
    assert_eq!(residency.request_ends("s", at(50)).load.get(), 50 * 20 / 2);
    assert_eq!(charged(&mut residency, 50), [("m".into(), Account::Idle, 100 * 40)], "the copy that left is nobody's");
}

#[test]
fn a_load_that_nobody_waits_for_goes_to_its_account_beside_an_old_copy_too() {
    let mut residency = minute();
    residency.model_loaded("m", at(0), loaded(100, 0));
    residency.model_loaded("m", at(30), of(OTHER, 50, 20));
    residency.copy_freed("m", ONE, at(30));
    let carried = [("m".into(), Account::Load, 50 * 20), ("m".into(), Account::Idle, 100 * 30)];
    assert_eq!(charged(&mut residency, 30), carried);
}

#[test]
fn a_load_spans_back_over_the_eviction_of_another_artifact() {
    let mut residency = minute();
    residency.model_loaded("m", at(0), loaded(100, 0));
    residency.copy_freed("m", ONE, at(20));
    residency.model_loaded("m", at(30), of(OTHER, 50, 15));
    let carried = [("m".into(), Account::Load, 50 * 15), ("m".into(), Account::Idle, 100 * 20)];
    assert_eq!(charged(&mut residency, 30), carried, "from 15 to 20 both were there");
}

#[test]
fn one_artifact_mapped_twice_counts_once() {
    let mut residency = minute();
    let waiters = [by("r", "a")];
    residency.model_loaded("m", at(0), loaded(100, 0));
    residency.model_loaded("m", at(30), Load { waiters: &waiters, ..loaded(100, 20) });
    assert_eq!(residency.request_ends("r", at(30)).load.get(), 0, "its pages were there, and charged already");
    residency.copy_freed("m", ONE, at(40));
    residency.copy_freed("m", ONE, at(50));
    residency.copy_freed("m", ONE, at(60));
    assert_eq!(charged(&mut residency, 60), [("m".into(), Account::Idle, 100 * 50)]);
}

#[test]
fn a_copy_that_stays_smaller_or_grows_larger_counts_as_the_larger() {
    let mut residency = minute();
    residency.model_loaded("m", at(0), loaded(100, 0));
    residency.model_loaded("m", at(30), loaded(130, 20));
    residency.copy_freed("m", ONE, at(40));
    let carried = [("m".into(), Account::Load, 30 * 20), ("m".into(), Account::Idle, 100 * 30 + 130 * 10)];
    assert_eq!(charged(&mut residency, 40), carried);
}

#[test]
fn a_new_copy_ends_the_keep_alive_of_the_old_one() {
    let mut residency = Residency::new(Duration::from_millis(10));
    residency.model_loaded("m", at(0), loaded(1, 0));
    residency.request_begins("m", by("r", "a"), at(0));
    residency.request_ends("r", at(5));
    residency.kept_until("m", at(1000), at(5));
    residency.model_loaded("m", at(20), loaded(1, 0));
    residency.request_begins("m", by("s", "b"), at(30));
    residency.request_ends("s", at(40));
    let carried = [
        ("m".into(), Account::Keepalive("a".into()), 15),
        ("m".into(), Account::Keepalive("b".into()), 10),
        ("m".into(), Account::Idle, 10 + 10),
    ];
    assert_eq!(charged(&mut residency, 60), carried);
}

/// Size of each artifact of a history.
const KIB_OF: [u64; 3] = [7, 31, 100];

fn id(artifact: usize) -> ArtifactId {
    ArtifactId([artifact as u64; 4])
}

/// A copy from the beginning of its load until it was freed.
struct Held {
    artifact: usize,
    from: u64,
    to: Option<u64>,
}

/// What became of a model's copies, one load at a time.
struct History {
    residency: Residency,
    arbitrary: Arbitrary,
    now: u64,
    held: Vec<Held>,
    /// Loads while another copy was there.
    together: usize,
}

impl History {
    fn new(seed: u64) -> Self {
        Self { residency: minute(), arbitrary: Arbitrary::new(seed), now: 0, held: Vec::new(), together: 0 }
    }

    fn step(&mut self) {
        self.now += self.arbitrary.below(9);
        match self.arbitrary.below(5) {
            0 | 1 => self.load(),
            2 => self.free(3),
            3 => self.residency.advance(at(self.now)),
            _ => {
                self.residency.request_begins("m", by("r", "a"), at(self.now));
                self.now += self.arbitrary.below(3);
                self.residency.request_ends("r", at(self.now));
            }
        }
    }

    /// A copy comes in, and others may go meanwhile.
    fn load(&mut self) {
        let (artifact, from) = (self.arbitrary.index(3), self.now);
        self.together += usize::from(self.held.iter().any(|copy| copy.to.is_none()));
        for _ in 0..self.arbitrary.below(4) {
            self.now += self.arbitrary.below(9);
            self.free(2);
        }
        let wall = self.now - from;
        self.residency.model_loaded("m", at(self.now), of(id(artifact), KIB_OF[artifact], wall));
        self.held.push(Held { artifact, from, to: None });
    }

    /// One copy goes, in one of `cases`.
    fn free(&mut self, cases: u64) {
        let there: Vec<_> = (0..self.held.len()).filter(|&copy| self.held[copy].to.is_none()).collect();
        if !there.is_empty() && self.arbitrary.below(cases) == 0 {
            let copy = &mut self.held[there[self.arbitrary.index(there.len())]];
            copy.to = Some(self.now);
            self.residency.copy_freed("m", id(copy.artifact), at(self.now));
        }
    }

    fn resident_kib(&self, millis: u64) -> u64 {
        let is_there = |copy: &Held| copy.from <= millis && copy.to.is_none_or(|to| millis < to);
        let artifacts = 0..KIB_OF.len();
        let there =
            artifacts.filter(|&artifact| self.held.iter().any(|copy| copy.artifact == artifact && is_there(copy)));
        there.map(|artifact| KIB_OF[artifact]).sum()
    }
}

/// In any history of loads and ends of copies what is measured is what a count by the millisecond finds.
#[test]
fn what_is_measured_is_what_was_resident() {
    let mut together = 0;
    for seed in 0..300 {
        let mut history = History::new(seed);
        for _ in 0..60 {
            history.step();
            assert_eq!(history.residency.imbalance(), 0, "seed {seed}");
        }
        history.residency.advance(at(history.now));
        let resident: u64 = (0..history.now).map(|millis| history.resident_kib(millis)).sum();
        assert_eq!(history.residency.measured(), u128::from(resident), "seed {seed}");
        together += history.together;
    }
    assert!(together > 1_000, "copies overlap: {together}");
}
