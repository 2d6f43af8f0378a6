//! What processes hold and take, looked at from outside: proportional set size and processor time.
//!
//! Invariants: times are those since an arm began; between two samples memory changes linearly, before the first and
//! behind the last it is theirs. Deliberately absent: other systems than Linux, which do not tell what a process holds
//! of what it shares.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fs;
use std::time::Duration;

use anyhow::Context as _;
use meter::KibMillis;
use sysinfo::{Pid, ProcessRefreshKind, ProcessesToUpdate, System};
use tokio::time::{Instant, MissedTickBehavior};

use crate::cli::failure::Failure;

/// Between two samples.
pub(super) const SAMPLE_EVERY: Duration = Duration::from_millis(200);

/// One look at a process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::cli) struct Sample {
    /// After the beginning.
    pub(in crate::cli) at: Duration,
    /// What it holds: pages that are shared count in parts.
    pub(in crate::cli) pss_kib: u64,
    /// Of these, pages of files: weights and the program.
    pub(in crate::cli) file_kib: u64,
    /// Processor time that it has taken.
    pub(in crate::cli) cpu: Duration,
}

/// Looks at processes again and again.
pub(in crate::cli) struct Sampler {
    began: Instant,
    system: System,
    pids: Vec<u32>,
    series: Vec<Vec<Sample>>,
}

impl Sampler {
    /// Of `pids`, for an arm that began at `began`.
    ///
    /// # Errors
    /// When the system tells nothing of processes.
    pub(in crate::cli) fn new(pids: Vec<u32>, began: Instant) -> Result<Self, Failure> {
        let series = vec![Vec::new(); pids.len()];
        let system = System::new().context("the system does not tell of processes")?;
        Ok(Self { began, system, pids, series })
    }

    /// Looks at all until it is dropped.
    ///
    /// # Errors
    /// When one cannot be looked at: it has ended.
    pub(super) async fn watch(&mut self) -> Result<Infallible, Failure> {
        let mut ticks = tokio::time::interval(SAMPLE_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            tokio::task::block_in_place(|| self.look())?;
        }
    }

    /// Looks at all once.
    ///
    /// # Errors
    /// When one cannot be looked at: it has ended.
    pub(in crate::cli) fn look(&mut self) -> Result<(), Failure> {
        let pids: Vec<Pid> = self.pids.iter().map(|&pid| Pid::from_u32(pid)).collect();
        let what = ProcessRefreshKind::nothing().with_cpu();
        self.system.refresh_processes_specifics(ProcessesToUpdate::Some(&pids), true, what);
        for ((&number, pid), series) in self.pids.iter().zip(pids).zip(&mut self.series) {
            let process = self.system.process(pid).context("a server has ended by itself")?;
            let cpu = Duration::from_millis(process.accumulated_cpu_time());
            let rollup = fs::read_to_string(format!("/proc/{number}/smaps_rollup"));
            let rollup = rollup.context("what a server holds is not told; it is measured on Linux alone")?;
            let kib = |name| field_kib(&rollup, name).with_context(|| format!("{name} is not told of a server"));
            let (pss_kib, file_kib) = (kib("Pss:")?, kib("Pss_File:")?);
            series.push(Sample { at: self.began.elapsed(), pss_kib, file_kib, cpu });
        }
        Ok(())
    }

    /// The samples of each process.
    pub(super) fn into_series(self) -> Vec<Vec<Sample>> {
        self.series
    }

    /// The latest sample of each process.
    pub(in crate::cli) fn latest(&self) -> impl Iterator<Item = Sample> {
        self.series.iter().filter_map(|series| series.last().copied())
    }
}

/// What stands behind `name` on its line.
fn field_kib(rollup: &str, name: &str) -> Option<u64> {
    let line = rollup.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().strip_suffix("kB")?.trim_end().parse().ok()
}

/// What was held from `from` to `to`, over time.
pub(super) fn integral(series: &[Sample], (from, to): (Duration, Duration), kib: fn(&Sample) -> u64) -> KibMillis {
    let (Some(first), Some(last)) = (series.first(), series.last()) else { return KibMillis::ZERO };
    let points: Vec<(f64, f64)> = std::iter::once((Duration::ZERO.min(first.at), kib(first)))
        .chain(series.iter().map(|sample| (sample.at, kib(sample))))
        .chain(std::iter::once((to.max(last.at), kib(last))))
        .map(|(at, kib)| (at.as_secs_f64() * 1e3, as_float(kib)))
        .collect();
    let (from, to) = (from.as_secs_f64() * 1e3, to.as_secs_f64() * 1e3);
    let area: f64 = points.windows(2).map(|pair| trapezoid(pair[0], pair[1], (from, to))).sum();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a sum of positive areas saturates")]
    KibMillis::new(area.round() as u64)
}

/// The area below the line from `a` to `b`, between two times.
fn trapezoid(a: (f64, f64), b: (f64, f64), (from, to): (f64, f64)) -> f64 {
    let (begin, end) = (a.0.max(from), b.0.min(to));
    if end <= begin {
        return 0.0;
    }
    let at = |time: f64| a.1 + (b.1 - a.1) * (time - a.0) / (b.0 - a.0);
    (end - begin) * f64::midpoint(at(begin), at(end))
}

#[expect(clippy::cast_precision_loss, reason = "KiB of a machine's memory are far below 2^52")]
fn as_float(kib: u64) -> f64 {
    kib as f64
}

/// What all processes hold together, at each time at which they were looked at.
pub(super) fn together(all: &[Vec<Sample>]) -> Vec<(Duration, u64)> {
    let mut sums: BTreeMap<usize, (Duration, u64)> = BTreeMap::new();
    for (index, sample) in all.iter().flat_map(|series| series.iter().enumerate()) {
        let sum = sums.entry(index).or_insert((sample.at, 0));
        sum.1 += sample.pss_kib;
    }
    sums.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64, pss_kib: u64) -> Sample {
        Sample { at: Duration::from_millis(millis), pss_kib, ..Sample::default() }
    }

    fn held(series: &[Sample], from: u64, to: u64) -> u64 {
        let window = (Duration::from_millis(from), Duration::from_millis(to));
        integral(series, window, |sample| sample.pss_kib).get()
    }

    #[test]
    fn the_area_below_the_samples_is_exact_where_they_are_linear() {
        let series = [at(100, 10), at(200, 30), at(400, 30)];
        assert_eq!(held(&series, 100, 200), 2000);
        assert_eq!(held(&series, 0, 400), 1000 + 2000 + 6000, "before the first it is the first's");
        assert_eq!(held(&series, 0, 1000), 9000 + 18_000, "behind the last it is the last's");
        assert_eq!(held(&series, 150, 300), 1250 + 3000, "parts between samples");
        assert_eq!(held(&series, 500, 600), 3000);
        assert_eq!(held(&series, 300, 300), 0);
        assert_eq!(held(&[], 0, 100), 0);
        assert_eq!(held(&[at(50, 4)], 0, 100), 400);
    }

    #[test]
    fn a_window_in_parts_sums_to_the_whole() {
        let series: Vec<Sample> = (0..50).map(|index| at(index * 17, (index * 7919) % 1000)).collect();
        let parts: u64 = (0..10).map(|part| held(&series, part * 80, part * 80 + 80)).sum();
        assert!(parts.abs_diff(held(&series, 0, 800)) <= 10, "rounded ten times");
    }

    #[test]
    fn processes_are_summed_by_their_looks() {
        let all = [vec![at(0, 1), at(10, 2)], vec![at(1, 10), at(11, 20), at(21, 30)]];
        let millis: Vec<(u128, u64)> = together(&all).into_iter().map(|(at, kib)| (at.as_millis(), kib)).collect();
        assert_eq!(millis, [(0, 11), (10, 22), (21, 30)]);
    }

    #[test]
    fn this_process_holds_something_and_has_taken_time() {
        let mut sampler = Sampler::new(vec![std::process::id()], Instant::now()).unwrap();
        sampler.look().unwrap();
        let sample = sampler.latest().next().unwrap();
        assert!(sample.pss_kib > sample.file_kib && sample.file_kib > 0, "{sample:?}");
        assert_eq!(field_kib("Pss_File: 1 kB\nPss:     20 kB\n", "Pss:"), Some(20));
        assert_eq!(field_kib("Pss: x kB", "Pss:"), None);
    }
}
