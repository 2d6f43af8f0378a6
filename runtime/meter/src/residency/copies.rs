//! The copies of one model that are in memory: what of them counts, and what a load added.
//!
//! Copies of the same artifact share its pages, and count as the largest of them; copies of different ones (a file that
//! was replaced) add up. The copy that was loaded last is the one in use; all others are on their way out.
//!
//! Deliberately absent: who pays.

use super::ArtifactId;
use super::line::Line;
use crate::limits::RESIDENT_KIB_MAX;
use crate::units::Moment;

#[derive(Debug, Clone, Copy)]
struct Copy {
    artifact: ArtifactId,
    kib: u64,
}

#[derive(Debug, Default)]
pub(super) struct Copies {
    in_use: Option<Copy>,
    leaving: Vec<Copy>,
    /// Artifacts of which the last copy went, and when. None is older than the last load, so there are no more of them
    /// than there were copies then.
    gone: Vec<(Copy, Moment)>,
}

impl Copies {
    pub(super) const fn is_in_use(&self) -> bool {
        self.in_use.is_some()
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.in_use.is_none() && self.leaving.is_empty()
    }

    /// What counts of the artifact in use.
    pub(super) fn in_use_kib(&self) -> u64 {
        self.in_use.map_or(0, |copy| self.counted_kib(copy.artifact))
    }

    /// What counts of all others: memory that is on its way back.
    pub(super) fn leaving_kib(&self) -> u64 {
        let in_use = self.in_use.map(|copy| copy.artifact);
        let mut sum: u64 = 0;
        for (index, copy) in self.leaving.iter().enumerate() {
            let is_first_of_its_artifact = self.leaving[..index].iter().all(|other| other.artifact != copy.artifact);
            if Some(copy.artifact) != in_use && is_first_of_its_artifact {
                sum = sum.saturating_add(self.counted_kib(copy.artifact));
            }
        }
        sum
    }

    /// A copy came in, from `from` to `to`, and grew from one size to the other: what that took beside what counted already,
    /// in KiB · ms.
    pub(super) fn load(&mut self, artifact: ArtifactId, kib: [u64; 2], from: Moment, to: Moment) -> u64 {
        let [kib_before, kib] = kib.map(|kib| kib.min(RESIDENT_KIB_MAX));
        let gone = self.gone.drain(..).find(|(copy, _)| copy.artifact == artifact);
        let (counted_kib, until) = if self.all().any(|copy| copy.artifact == artifact) {
            (self.counted_kib(artifact), to)
        } else {
            gone.map_or((0, from), |(copy, at)| (copy.kib, at.clamp(from, to)))
        };
        self.leaving.extend(self.in_use.replace(Copy { artifact, kib }));
        let line = Line::between((from, kib_before), (to, kib));
        let counted = counted_kib.saturating_mul(until.millis_since(from));
        line.area(from, until).saturating_sub(counted).saturating_add(line.area(until, to))
    }

    /// Copies of `artifact` are `kib` large; whether there are any.
    pub(super) fn resize(&mut self, artifact: ArtifactId, kib: u64) -> bool {
        let mut copies =
            self.leaving.iter_mut().chain(&mut self.in_use).filter(|copy| copy.artifact == artifact).peekable();
        let is_there = copies.peek().is_some();
        copies.for_each(|copy| copy.kib = kib.min(RESIDENT_KIB_MAX));
        is_there
    }

    /// Whether the copy in use is of `artifact`.
    pub(super) fn uses(&self, artifact: ArtifactId) -> bool {
        self.in_use.is_some_and(|copy| copy.artifact == artifact)
    }

    /// A copy of `artifact` is gone, one that is not in use if there is one. Nothing if there is none.
    pub(super) fn free(&mut self, artifact: ArtifactId, at: Moment) {
        let counted_kib = self.counted_kib(artifact);
        if let Some(place) = self.leaving.iter().position(|copy| copy.artifact == artifact) {
            self.leaving.remove(place);
        } else if self.in_use.is_some_and(|copy| copy.artifact == artifact) {
            self.in_use = None;
        } else {
            return;
        }
        if self.all().all(|copy| copy.artifact != artifact) {
            self.gone.retain(|(copy, _)| copy.artifact != artifact);
            self.gone.push((Copy { artifact, kib: counted_kib }, at));
        }
    }

    /// What counts of an artifact, however many copies of it there are.
    fn counted_kib(&self, artifact: ArtifactId) -> u64 {
        self.all().filter(|copy| copy.artifact == artifact).map(|copy| copy.kib).max().unwrap_or(0)
    }

    fn all(&self) -> impl Iterator<Item = &Copy> {
        self.leaving.iter().chain(&self.in_use)
    }
}
