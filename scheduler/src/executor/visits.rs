//! Whether tenants come and go: where several were here lately, another may come during any step, and waits for its end.
//!
//! Invariants: two moments and one name are kept, however many tenants there are.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

/// Who had something to step last.
#[derive(Debug, Default)]
pub(super) struct Visits {
    last: Option<(Arc<str>, Instant)>,
    /// When one of another name than the last had.
    other: Option<Instant>,
}

impl Visits {
    /// `tenant` has something to step at `now`.
    pub(super) fn note(&mut self, tenant: &Arc<str>, now: Instant) {
        match &mut self.last {
            Some((last, at)) if last == tenant => *at = now,
            last => self.other = last.replace((Arc::clone(tenant), now)).map(|(_, at)| at).or(self.other),
        }
    }

    /// Whether tenants of more than one name were here within `lately` before `now`.
    pub(super) fn were_of_several(&self, lately: Duration, now: Instant) -> bool {
        self.other.is_some_and(|at| now.saturating_duration_since(at) <= lately)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_left_is_remembered_for_a_while_whoever_stays() {
        let (mut visits, start) = (Visits::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        let names: [Arc<str>; 3] = ["a".into(), "b".into(), "c".into()];
        let several = |visits: &Visits, seconds| visits.were_of_several(Duration::from_secs(5), at(seconds));
        (0..3).for_each(|seconds| visits.note(&names[0], at(seconds)));
        assert!(!several(&visits, 3), "there is one only");
        visits.note(&names[1], at(3));
        (4..=20).for_each(|seconds| visits.note(&names[0], at(seconds)));
        assert_eq!((several(&visits, 8), several(&visits, 9)), (true, false), "b was there at 3");
        visits.note(&names[2], at(21));
        assert!(several(&visits, 25), "a was there at 20");
        visits.note(&names[2], at(26));
        assert!(!several(&visits, 26));
        visits.note(&names[1], at(27));
        assert!(several(&visits, 31), "c was there at 26");
    }
}
