//! A server's memory and processor time as another process sees them, ten times a second.
//!
//! What is counted of memory are its mappings of weights below one folder, by the first name below that: a model's, without
//! `.gguf`. Each is told twice: what of the file is in the page cache while it is mapped, and what of it this process's
//! tables point at (`/proc/PID/smaps`), which leaves out what was never touched. Nothing of that is told by the process
//! itself. Beside it stands one figure that only the server knows, which the caller samples.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use mapping::MappedFile;
use procfs::process::{MMapPath, Process};

use crate::process::processor_time_of;

/// Between two looks.
pub const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What was seen at a moment.
#[derive(Clone, Debug)]
pub struct Sample {
    /// When.
    pub at: Instant,
    /// Which of the processes that were watched one after another.
    pub run: usize,
    /// Of each model's weights.
    pub resident: BTreeMap<String, Resident>,
    /// Of what the server kept of models for nobody, beside their files, when it was last asked.
    pub kept_bytes: u64,
    /// Processor time that the process had taken.
    pub cpu: Duration,
}

/// What of a model's weights is in memory.
#[derive(Clone, Copy, Debug, Default)]
pub struct Resident {
    /// In the page cache, of files that the process maps.
    pub cached_bytes: u64,
    /// Of these, what the process has touched.
    pub touched_bytes: u64,
}

/// What was seen of one process after another.
#[derive(Debug)]
pub struct Observer {
    folder: PathBuf,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    watched: Option<u32>,
    run: usize,
    kept_bytes: u64,
    samples: Vec<Sample>,
    /// Weights that were seen, to ask how much of them is in the page cache.
    files: BTreeMap<PathBuf, MappedFile>,
}

impl Observer {
    /// Of processes that map files below `folder`.
    ///
    /// # Errors
    /// When there is no such folder.
    pub fn new(folder: &Path) -> anyhow::Result<Self> {
        Ok(Self { folder: folder.canonicalize()?, seen: Mutex::default() })
    }

    /// From now on the process with this id is looked at, as that run; none while there is none.
    pub fn watch(&self, id: Option<u32>, run: usize) {
        let mut seen = self.seen();
        (seen.watched, seen.run, seen.kept_bytes) = (id, run, 0);
    }

    /// The server says that it keeps these bytes beside its models' files, for nobody.
    pub fn keeps(&self, bytes: u64) {
        self.seen().kept_bytes = bytes;
    }

    /// Looks once; nothing is noted where no process is watched, or it has ended.
    pub fn look(&self) {
        let Some(id) = self.seen().watched else { return };
        let looked = self.resident(id).and_then(|resident| Ok((resident, processor_time_of(id)?)));
        let at = Instant::now();
        let mut seen = self.seen();
        if let Ok((resident, cpu)) = looked
            && seen.watched == Some(id)
        {
            let (run, kept_bytes) = (seen.run, seen.kept_bytes);
            seen.samples.push(Sample { at, run, resident, kept_bytes, cpu });
        }
    }

    /// Everything that was seen, in order.
    #[must_use]
    pub fn samples(&self) -> Vec<Sample> {
        self.seen().samples.clone()
    }

    fn resident(&self, id: u32) -> anyhow::Result<BTreeMap<String, Resident>> {
        let mut resident: BTreeMap<String, Resident> = BTreeMap::new();
        let mut mapped = BTreeSet::new();
        for map in Process::new(id.try_into()?)?.smaps()? {
            let MMapPath::Path(path) = map.pathname else { continue };
            let is_of_weights = path.extension().is_some_and(|kind| kind == "gguf" || kind == "safetensors");
            let Some(name) = self.model_of(&path).filter(|_| is_of_weights) else { continue };
            resident.entry(name.clone()).or_default().touched_bytes +=
                map.extension.map.get("Rss").copied().unwrap_or(0);
            mapped.insert((name, path));
        }
        let files = &mut self.seen().files;
        for (name, path) in mapped {
            let file = match files.entry(path) {
                Entry::Occupied(file) => file.into_mut(),
                Entry::Vacant(place) => {
                    let file = MappedFile::open(place.key())?;
                    place.insert(file)
                }
            };
            let cached = file.cached_bytes(0..usize::MAX).context("the system does not tell what is cached")?;
            resident.entry(name).or_default().cached_bytes += cached;
        }
        Ok(resident)
    }

    fn model_of(&self, path: &Path) -> Option<String> {
        let name = path.strip_prefix(&self.folder).ok()?.components().next()?.as_os_str().to_str()?;
        Some(name.strip_suffix(".gguf").unwrap_or(name).to_owned())
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The integral of `figure` over time, in its unit times seconds, linear between samples of one run; of those within
/// `from` and `to` alone.
#[must_use]
pub fn integral(samples: &[Sample], (from, to): (Instant, Instant), figure: impl Fn(&Sample) -> f64) -> f64 {
    samples
        .windows(2)
        .filter(|pair| pair[0].run == pair[1].run && pair[0].at >= from && pair[1].at <= to)
        .map(|pair| f64::midpoint(figure(&pair[0]), figure(&pair[1])) * (pair[1].at - pair[0].at).as_secs_f64())
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(at: Instant, run: usize, bytes: u64) -> Sample {
        let resident = BTreeMap::from([("m".to_owned(), Resident { cached_bytes: bytes, touched_bytes: 0 })]);
        Sample { at, run, resident, kept_bytes: 0, cpu: Duration::ZERO }
    }

    #[test]
    fn an_integral_is_linear_between_samples_and_nothing_between_runs() {
        let began = Instant::now();
        let at = |seconds| began + Duration::from_secs(seconds);
        let samples = [sample(at(0), 0, 0), sample(at(2), 0, 10), sample(at(9), 1, 4), sample(at(10), 1, 4)];
        let bytes = |sample: &Sample| sample.resident["m"].cached_bytes as f64;
        assert_eq!(integral(&samples, (at(0), at(10)), bytes), 14.0);
        assert_eq!(integral(&samples, (at(3), at(10)), bytes), 4.0);
        assert_eq!(integral(&[], (at(0), at(1)), bytes), 0.0);
    }

    #[test]
    fn models_are_named_by_what_lies_below_the_folder() {
        let folder = std::env::temp_dir();
        let observer = Observer::new(&folder).unwrap();
        let named = |path: &str| observer.model_of(&observer.folder.join(path));
        assert_eq!(named("a.gguf").as_deref(), Some("a"));
        assert_eq!(named("b/model.safetensors").as_deref(), Some("b"));
        assert_eq!(observer.model_of(Path::new("/elsewhere/a.gguf")), None);
    }
}
