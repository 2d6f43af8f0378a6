//! Sizes that are sampled while a model is in memory.

use super::*;

#[test]
fn a_size_goes_in_a_straight_line_to_what_is_sampled() {
    let mut residency = minute();
    residency.model_loaded("m", at(0), loaded(10, 0));
    assert_eq!(residency.size_of("m"), Some((10, Quality::Derived)));
    residency.request_begins("m", by("r", "a"), at(0));
    residency.resident_bytes_sampled("m", (ONE, 20 * KIB), at(6));
    assert_eq!(residency.size_of("m"), Some((20, Quality::Measured)));
    // Level until something happens: nobody knows more then.
    residency.request_begins("m", by("s", "a"), at(10));
    let until_then = 15 * 6 + 20 * 4;
    residency.resident_bytes_sampled("m", (ONE, 0), at(20));
    assert_eq!(residency.request_ends("s", at(30)), active(10 * 10 / 2), "half of what went down from 20 to 0");
    assert_eq!(residency.request_ends("r", at(30)), active(until_then + 10 * 10 / 2));
    assert_eq!((residency.measured(), residency.imbalance()), (u128::from(until_then) + 100, 0));
}

#[test]
fn a_sample_is_of_the_artifact_that_it_says() {
    let mut residency = minute();
    residency.resident_bytes_sampled("m", (ONE, KIB), at(0));
    assert_eq!(residency.size_of("m"), None, "a sample loads nothing");
    residency.model_loaded("m", at(0), loaded(100, 0));
    residency.model_loaded("m", at(0), Load { artifact: OTHER, ..loaded(10, 0) });
    residency.resident_bytes_sampled("m", (ArtifactId([7; 4]), KIB), at(10));
    assert_eq!(residency.size_of("m"), Some((10, Quality::Derived)), "nobody has that artifact");
    // The replaced file is on its way out: 100 until 10, then down to 50 at 20.
    residency.advance(at(10));
    residency.resident_bytes_sampled("m", (ONE, 50 * KIB), at(20));
    assert_eq!(residency.size_of("m"), Some((10, Quality::Derived)));
    residency.copy_freed("m", ONE, at(20));
    assert_eq!(charged(&mut residency, 20), [("m".into(), Account::Idle, 10 * 20 + 100 * 10 + 75 * 10)]);
}

#[test]
fn a_late_sample_counts_from_the_latest_event_on() {
    let mut residency = minute();
    residency.model_loaded("m", at(0), loaded(10, 0));
    residency.advance(at(10));
    residency.resident_bytes_sampled("m", (ONE, 20 * KIB), at(5));
    assert_eq!(charged(&mut residency, 20), [("m".into(), Account::Idle, 10 * 10 + 20 * 10)]);
}

#[test]
fn a_model_grows_while_it_is_loaded_from_what_was_in_memory_already() {
    let mut residency = minute();
    let waiters = [by("r", "a")];
    let load = Load { bytes_before: 20 * KIB, waiters: &waiters, ..loaded(60, 10) };
    residency.model_loaded("m", at(10), load);
    assert_eq!(residency.request_ends("r", at(10)).load.get(), 40 * 10);
    // Another mapping of it adds nothing but what it brings in.
    residency.model_loaded("m", at(20), Load { bytes_before: 60 * KIB, waiters: &waiters, ..loaded(80, 10) });
    assert_eq!(residency.request_ends("r", at(20)).load.get(), 10 * 10);
    assert_eq!(residency.imbalance(), 0);
}
