//! What is asked, by whom and when: made from a seed, before anything is asked.
//!
//! Invariants: the same shape and seed give the same requests; of an open loop they are in the order of their times, all
//! within the duration. Deliberately absent: prompts (see [`drive`](super::drive)) and clocks.

use std::time::Duration;

use clap::ValueEnum;
use serde::Serialize;

use super::random::{Random, Zipf};

/// Requests of a burst on average.
const BURST_REQUESTS: f64 = 4.0;
/// Seconds between the requests of a burst on average.
const BURST_GAP: f64 = 0.1;
/// How far a day's rate goes above its mean at noon, and below at midnight.
const DIURNAL_SWING: f64 = 0.9;

/// How requests come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub(in crate::cli::bench) enum Arrivals {
    /// Independent of one another.
    Poisson,
    /// Four at a time on average, a tenth of a second apart.
    Bursty,
    /// As over a day, midnight to midnight, compressed into the duration: 1.9 times the mean at noon, 0.1 at midnight.
    Diurnal,
    /// Each tenant asks again some time after its answer.
    Closed,
}

/// Whether requests wait for answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::cli::bench) enum Pacing {
    /// Each at its time.
    OpenLoop,
    /// Each some time after the answer to the tenant's one before.
    ClosedLoop,
}

/// One request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(in crate::cli) struct Arrival {
    /// After the beginning; in a closed loop after the tenant's answer before.
    pub(in crate::cli) at: Duration,
    /// Who asks.
    pub(in crate::cli) tenant: usize,
    /// Which model.
    pub(in crate::cli) model: usize,
    /// Tokens of the prompt.
    pub(in crate::cli) prompt_tokens: u32,
    /// Tokens of the answer.
    pub(in crate::cli) completion_tokens: u32,
}

/// All requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cli::bench) struct Workload {
    /// Whether they wait for answers.
    pub(in crate::cli::bench) pacing: Pacing,
    /// In the order of their times; in a closed loop each tenant's in its order.
    pub(in crate::cli::bench) arrivals: Vec<Arrival>,
}

/// What a workload shall be like.
#[derive(Clone, Copy, Debug)]
pub(in crate::cli::bench) struct Shape {
    /// Requests a second of all tenants together; in a closed loop if answers took no time.
    pub(in crate::cli::bench) per_second: f64,
    /// From the beginning to the last request at most.
    pub(in crate::cli::bench) duration: Duration,
    /// How many there are of each.
    pub(in crate::cli::bench) crowd: Crowd,
    /// Tokens of prompts and of answers on average.
    pub(in crate::cli::bench) tokens: (u32, u32),
}

/// Who asks for what.
#[derive(Clone, Copy, Debug)]
pub(in crate::cli::bench) struct Crowd {
    /// Tenants, not 0; all ask alike.
    pub(in crate::cli::bench) tenants: usize,
    /// Models, not 0.
    pub(in crate::cli::bench) models: usize,
    /// The exponent of Zipf's law by which models are asked for.
    pub(in crate::cli::bench) zipf: f64,
    /// What draws are made from.
    pub(in crate::cli::bench) seed: u64,
}

/// Draws tenants and models.
pub(super) struct Drawing {
    pub(super) random: Random,
    zipf: Zipf,
    tenants: usize,
}

impl Crowd {
    /// Draws from the seed.
    pub(super) fn drawing(&self) -> Drawing {
        Drawing { random: Random::new(self.seed), zipf: Zipf::new(self.models, self.zipf), tenants: self.tenants }
    }
}

impl Drawing {
    /// A request of anybody for anything.
    pub(super) fn arrival(&mut self, at: Duration, (prompt_tokens, completion_tokens): (u32, u32)) -> Arrival {
        let (tenant, model) = (self.random.index(self.tenants), self.zipf.draw(&mut self.random));
        Arrival { at, tenant, model, prompt_tokens, completion_tokens }
    }
}

impl Workload {
    /// Requests that come as `arrivals` says.
    pub(in crate::cli::bench) fn new(arrivals: Arrivals, shape: &Shape) -> Self {
        if arrivals == Arrivals::Closed {
            return Self::closed(shape);
        }
        let mut drawing = shape.crowd.drawing();
        let seconds = shape.duration.as_secs_f64();
        let times = match arrivals {
            Arrivals::Bursty => bursts(shape.per_second, seconds, &mut drawing.random),
            Arrivals::Diurnal => thinned(shape.per_second, seconds, &mut drawing.random),
            Arrivals::Poisson | Arrivals::Closed => poisson(shape.per_second, seconds, &mut drawing.random),
        };
        let arrivals = times.into_iter().map(|at| {
            let tokens = (drawing.random.about(shape.tokens.0), drawing.random.about(shape.tokens.1));
            drawing.arrival(Duration::from_secs_f64(at), tokens)
        });
        Self { pacing: Pacing::OpenLoop, arrivals: arrivals.collect() }
    }

    /// Each tenant thinks for exponentially distributed times, as long as the duration together.
    fn closed(shape: &Shape) -> Self {
        let mut drawing = shape.crowd.drawing();
        let mut arrivals = Vec::new();
        #[expect(clippy::cast_precision_loss, reason = "a few tenants")]
        let think = shape.crowd.tenants as f64 / shape.per_second;
        for tenant in 0..shape.crowd.tenants {
            let mut thought = 0.0;
            loop {
                let at = drawing.random.exponential(think);
                thought += at;
                if thought >= shape.duration.as_secs_f64() {
                    break;
                }
                let tokens = (drawing.random.about(shape.tokens.0), drawing.random.about(shape.tokens.1));
                arrivals.push(Arrival { tenant, ..drawing.arrival(Duration::from_secs_f64(at), tokens) });
            }
        }
        Self { pacing: Pacing::ClosedLoop, arrivals }
    }

    /// The models that `tenant` asks for, in order.
    pub(super) fn models_of(&self, tenant: usize) -> Vec<usize> {
        let mut models: Vec<usize> =
            self.arrivals.iter().filter(|arrival| arrival.tenant == tenant).map(|arrival| arrival.model).collect();
        models.sort_unstable();
        models.dedup();
        models
    }
}

fn poisson(per_second: f64, seconds: f64, random: &mut Random) -> Vec<f64> {
    let mut times = Vec::new();
    let mut at = random.exponential(1.0 / per_second);
    while at < seconds {
        times.push(at);
        at += random.exponential(1.0 / per_second);
    }
    times
}

/// Bursts come as a Poisson process; what of one falls behind the end is left out.
fn bursts(per_second: f64, seconds: f64, random: &mut Random) -> Vec<f64> {
    let mut times = Vec::new();
    for begin in poisson(per_second / BURST_REQUESTS, seconds, random) {
        let mut at = begin;
        for _ in 0..random.geometric(BURST_REQUESTS) {
            times.push(at);
            at += random.exponential(BURST_GAP);
        }
    }
    times.retain(|&at| at < seconds);
    times.sort_by(f64::total_cmp);
    times
}

/// Of a Poisson process at the highest rate those are kept that the rate of their time wants.
///
/// Source: P. Lewis and G. Shedler, "Simulation of nonhomogeneous Poisson processes by thinning", 1979.
fn thinned(per_second: f64, seconds: f64, random: &mut Random) -> Vec<f64> {
    let highest = per_second * (1.0 + DIURNAL_SWING);
    let mut times = poisson(highest, seconds, random);
    times.retain(|at| random.unit() * highest < per_second * day(at / seconds));
    times
}

/// The rate at a share of the day from midnight, over its mean.
fn day(share: f64) -> f64 {
    1.0 - DIURNAL_SWING * (share * std::f64::consts::TAU).cos()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Arrivals; 4] = [Arrivals::Poisson, Arrivals::Bursty, Arrivals::Diurnal, Arrivals::Closed];

    fn shape(seed: u64) -> Shape {
        Shape {
            per_second: 2.0,
            duration: Duration::from_secs(5000),
            crowd: Crowd { tenants: 4, models: 3, zipf: 1.0, seed },
            tokens: (64, 24),
        }
    }

    fn counts(arrivals: &[Arrival], windows: usize, duration: Duration) -> Vec<f64> {
        let mut counts = vec![0.0; windows];
        for arrival in arrivals {
            let window = arrival.at.as_millis() * windows as u128 / duration.as_millis();
            counts[usize::try_from(window).unwrap()] += 1.0;
        }
        counts
    }

    #[test]
    fn every_shape_has_its_rate_and_all_tenants_ask_alike() {
        for (seed, arrivals) in (0..4).flat_map(|seed| ALL.map(|arrivals| (seed, arrivals))) {
            let workload = Workload::new(arrivals, &shape(seed));
            let count = workload.arrivals.len();
            assert!(count.abs_diff(10_000) < 600, "{arrivals:?}: {count}");
            for tenant in 0..4 {
                let own = workload.arrivals.iter().filter(|arrival| arrival.tenant == tenant).count();
                assert!(
                    own.abs_diff(count / 4) < count / 20,
                    "{arrivals:?}: tenant {tenant} asks {own} times of {count}"
                );
            }
            let first = workload.arrivals.iter().filter(|arrival| arrival.model == 0).count();
            assert!(first.abs_diff(count * 6 / 11) < count / 20, "{arrivals:?}: {first} of {count} ask for the first");
            assert!(
                workload.arrivals.iter().all(|arrival| arrival.prompt_tokens >= 32 && arrival.completion_tokens >= 12)
            );
            assert_eq!(workload.models_of(0), [0, 1, 2]);
        }
    }

    #[test]
    fn an_open_loop_is_in_order_and_within_its_duration() {
        for arrivals in [Arrivals::Poisson, Arrivals::Bursty, Arrivals::Diurnal] {
            let workload = Workload::new(arrivals, &shape(5));
            assert_eq!(workload.pacing, Pacing::OpenLoop);
            assert!(workload.arrivals.is_sorted_by_key(|arrival| arrival.at));
            assert!(workload.arrivals.last().unwrap().at < Duration::from_secs(5000));
            assert_eq!(workload, Workload::new(arrivals, &shape(5)));
            assert_ne!(workload, Workload::new(arrivals, &shape(6)));
        }
    }

    #[test]
    fn bursts_vary_more_than_independent_requests() {
        // The variance of counts over their mean: 1 for Poisson; towards 2 · 4 − 1 for geometric bursts of 4.
        let dispersion = |arrivals| {
            let duration = Duration::from_secs(5000);
            let counts = counts(&Workload::new(arrivals, &shape(1)).arrivals, 500, duration);
            let mean = counts.iter().sum::<f64>() / 500.0;
            counts.iter().map(|count| (count - mean).powi(2)).sum::<f64>() / 500.0 / mean
        };
        let (independent, bursty) = (dispersion(Arrivals::Poisson), dispersion(Arrivals::Bursty));
        assert!((0.8..1.25).contains(&independent), "{independent}");
        assert!((5.0..9.0).contains(&bursty), "{bursty}");
    }

    #[test]
    fn a_day_sums_to_its_mean_and_is_busiest_at_noon() {
        let steps = 1000;
        let sum: f64 = (0..steps).map(|step| day(f64::from(step) / f64::from(steps))).sum();
        assert!((sum / f64::from(steps) - 1.0).abs() < 1e-9, "{sum}");
        let counts = counts(&Workload::new(Arrivals::Diurnal, &shape(2)).arrivals, 10, Duration::from_secs(5000));
        assert!(counts[0] < 300.0 && counts[9] < 300.0, "{counts:?}");
        assert!(counts[4] > 1700.0 && counts[5] > 1700.0, "{counts:?}");
    }

    #[test]
    fn who_asks_in_a_closed_loop_thinks_for_the_duration() {
        let workload = Workload::new(Arrivals::Closed, &shape(3));
        assert_eq!(workload.pacing, Pacing::ClosedLoop);
        for tenant in 0..4 {
            let own = workload.arrivals.iter().filter(|arrival| arrival.tenant == tenant);
            let thought: Duration = own.map(|arrival| arrival.at).sum();
            assert!((4900..5000).contains(&thought.as_secs()), "{thought:?}");
        }
    }
}
