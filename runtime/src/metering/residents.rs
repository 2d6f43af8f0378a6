//! How much of mapped models is resident, by what the kernel says: asked when a model is mapped, at its load's end, soon after
//! its first token, once a second, and before it is unmapped.
//!
//! Asked is about the mapped files themselves: one that another has replaced by rename is still told of as what is mapped.
//! Of an artifact that is mapped under several names each name is charged an equal part, so that it counts once. Copies on
//! other devices are wholly resident and never asked about. What the kernel does not tell (files of other users) stays at
//! what the pool counts, and receipts say so.
//!
//! Invariants: no lock of the book is held while the kernel is asked; asking takes at most a fiftieth of one processor,
//! however large the files are ([`pause_after`]); a model is never unmapped by whoever asks, because who lets it go waits
//! until an answer is there. There are no more models to ask about than files can be mapped.
//!
//! Deliberately absent: the pool's budget, which counts a file's whole size from before its load: a reservation.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use meter::residency::ArtifactId;
use meter::units::split_equally;
use models::Model;
use scheduler::Identity;
use tokio::sync::Notify;

use super::Metering;
use crate::limits::{RESIDENCY_ASKED_EVERY, RESIDENCY_PAUSES};

/// Models that are mapped.
#[derive(Default)]
pub(super) struct Residents {
    entries: Mutex<Vec<Arc<Entry>>>,
    asked: Notify,
}

/// A mapped model that is asked about until this is dropped, which must be before the model is.
pub(crate) struct Watch {
    metering: Arc<Metering>,
    entry: Arc<Entry>,
}

struct Entry {
    device: usize,
    name: Arc<str>,
    artifact: ArtifactId,
    /// Locked while the kernel is asked; `None` once it is to be unmapped.
    mapped: Mutex<Option<Weak<Model>>>,
}

impl Entry {
    /// Resident bytes of its files, where it is still mapped and the kernel tells.
    fn resident_bytes(&self) -> Option<u64> {
        let mapped = self.mapped();
        let model = mapped.as_ref()?.upgrade()?;
        let bytes = model.resident_bytes();
        // Before the lock goes, so that the last holder is never this one.
        drop(model);
        bytes
    }

    fn mapped(&self) -> MutexGuard<'_, Option<Weak<Model>>> {
        self.mapped.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Residents {
    fn entries(&self) -> MutexGuard<'_, Vec<Arc<Entry>>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The part of `bytes` of its artifact that this entry's name is charged.
    fn part_of(&self, entry: &Entry, bytes: u64) -> u64 {
        let entries = self.entries();
        let same = entries.iter().filter(|other| other.device == entry.device && other.artifact == entry.artifact);
        // This one may have left them meanwhile.
        let mut names: Vec<&str> = same.map(|other| &*other.name).chain([&*entry.name]).collect();
        names.sort_unstable();
        names.dedup();
        let place = names.iter().position(|name| *name == &*entry.name).expect("it is among them");
        split_equally(bytes, names.len())[place]
    }
}

impl Metering {
    /// `model` is in memory, as a load of `name` on the device of this number that the pool has not told of yet; when it was
    /// mapped `bytes_before` of it were, as far as that is known. It is asked about from now on.
    pub(crate) fn watch(
        self: &Arc<Self>,
        (device, name): (usize, &str),
        Identity(words): Identity,
        (model, bytes_before): (&Arc<Model>, Option<u64>),
    ) -> Watch {
        let mapped = Mutex::new(Some(Arc::downgrade(model)));
        let entry = Arc::new(Entry { device, name: name.into(), artifact: ArtifactId(words), mapped });
        let bytes = entry.resident_bytes();
        self.residents.entries().push(Arc::clone(&entry));
        if let Some(bytes) = bytes {
            let parts = [bytes_before.unwrap_or(bytes), bytes].map(|bytes| self.residents.part_of(&entry, bytes));
            self.book().resident_at_load.insert((device, name.to_owned()), parts);
        }
        Watch { metering: Arc::clone(self), entry }
    }

    /// Somebody saw the first of a model that was loaded for it: what its steps brought in is asked about soon.
    pub(crate) fn ask_for_residency_soon(&self) {
        self.residents.asked.notify_one();
    }

    /// Asks about every model that is mapped. Blocks for as long as the kernel takes.
    pub(crate) fn ask_for_residency(&self) {
        let entries = self.residents.entries().clone();
        entries.iter().for_each(|entry| self.sample(entry));
    }

    fn sample(&self, entry: &Entry) {
        let Some(bytes) = entry.resident_bytes() else { return };
        let part = self.residents.part_of(entry, bytes);
        let now = self.clock.now();
        self.book().residency[entry.device].resident_bytes_sampled(&entry.name, (entry.artifact, part), now);
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.metering.sample(&self.entry);
        *self.entry.mapped() = None;
        self.metering.residents.entries().retain(|other| !Arc::ptr_eq(other, &self.entry));
    }
}

/// Asks for as long as the server runs, on a thread that may wait.
pub(crate) async fn follow(metering: Arc<Metering>) {
    let mut every = RESIDENCY_ASKED_EVERY;
    loop {
        let soon = metering.residents.asked.notified();
        let _ = tokio::time::timeout(every, soon).await;
        let asking = Arc::clone(&metering);
        let asked = tokio::task::spawn_blocking(move || {
            let began = std::time::Instant::now();
            asking.ask_for_residency();
            began.elapsed()
        });
        let took = asked.await.unwrap_or_else(|error| {
            tracing::error!(error = &error as &dyn std::error::Error, "resident memory was not asked for");
            Duration::ZERO
        });
        let pause = pause_after(took);
        tokio::time::sleep(pause).await;
        every = RESIDENCY_ASKED_EVERY.saturating_sub(pause);
    }
}

/// How long nobody asks after asking took so long.
fn pause_after(took: Duration) -> Duration {
    took.saturating_mul(RESIDENCY_PAUSES)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(device: usize, name: &str, artifact: u64) -> Arc<Entry> {
        let (name, artifact) = (name.into(), ArtifactId([artifact; 4]));
        Arc::new(Entry { device, name, artifact, mapped: Mutex::default() })
    }

    #[test]
    fn one_file_under_several_names_counts_once() {
        let residents = Residents::default();
        let [a, again, b] = [entry(0, "a", 1), entry(0, "a", 1), entry(0, "b", 1)];
        let others = [entry(0, "c", 2), entry(1, "d", 1)];
        residents.entries().extend([&a, &again, &b].into_iter().chain(&others).map(Arc::clone));
        assert_eq!([&a, &again, &b].map(|one| residents.part_of(one, 101)), [51, 51, 50], "by name, not by mapping");
        assert_eq!(others.each_ref().map(|one| residents.part_of(one, 101)), [101; 2]);
        residents.entries().retain(|one| !Arc::ptr_eq(one, &b));
        assert_eq!(residents.part_of(&a, 101), 101);
        assert_eq!(residents.part_of(&b, 101), 50, "one that leaves meanwhile is told its part all the same");
    }

    #[test]
    fn asking_takes_a_fiftieth_of_the_time_at_most() {
        for took in [Duration::ZERO, Duration::from_micros(40), Duration::from_secs(3)] {
            assert_eq!(took + pause_after(took), 50 * took);
        }
        assert_eq!(pause_after(Duration::MAX), Duration::MAX);
    }

    #[test]
    fn what_is_unmapped_is_not_asked_about() {
        assert_eq!(entry(0, "a", 1).resident_bytes(), None);
    }
}
