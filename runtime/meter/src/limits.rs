//! The bounds of this crate, in one place.

use std::time::Duration;

use crate::units::Microwatts;

/// Steps that a fit of their costs forgets over: each counts this much less one, in parts of this, with every later one.
pub(crate) const STEPS_WINDOW: f64 = 512.0;

/// Fewer steps than this make no fit.
pub(crate) const STEPS_MIN: u64 = 50;

/// A step that took less was not measured.
pub(crate) const STEP_WALL_MIN: Duration = Duration::from_micros(1);

/// What a column must have to itself of its square: with less, 5 % of noise in 512 steps would be 7 % of a step or more in
/// what it is said to cost.
pub(crate) const COLLINEARITY_MIN: f64 = 1e-3;

/// A fit that is further off than this on average splits nothing.
pub(crate) const FIT_ERROR_RATIO_MAX: f64 = 0.15;

/// A fit that is further off than this on average predicts nothing: half of what a step takes is still told by one that is off
/// by as much.
pub(crate) const PREDICTION_ERROR_RATIO_MAX: f64 = 0.5;

/// The most resident memory that one model is believed to have: 1 PiB, in KiB.
pub(crate) const RESIDENT_KIB_MAX: u64 = 1 << 40;

/// A processor name longer than this is cut.
pub(crate) const BRAND_CHARS_MAX: usize = 128;

/// Two arms of a comparison closer than this share of the larger one do not differ: the outside check on the
/// memory integral is itself held to 5 %.
pub(crate) const SIGNIFICANCE_PERCENT: u64 = 5;

/// A file of a sensor that is longer than this holds no figure.
pub(crate) const SENSOR_FILE_BYTES_MAX: u64 = 4096;

/// Entries of a folder of sensors that are looked at; zones, monitors and supplies of real machines are some tens.
pub(crate) const SENSOR_ENTRIES_MAX: usize = 1024;

/// Domains, sockets or batteries of one sensor.
pub(crate) const SENSOR_DOMAINS_MAX: usize = 256;

/// Work must move an energy counter within this.
pub(crate) const GATE_WINDOW: Duration = Duration::from_secs(2);

/// Processor time that counts as work, in a window of the gate.
pub(crate) const GATE_BURN_MIN: Duration = Duration::from_millis(200);

/// A shorter time says nothing of power: counters are brought up to date every 1 ms (RAPL) to 100 ms (NVML).
pub(crate) const GATE_SPAN_MIN: Duration = Duration::from_millis(250);

/// Windows in a row that must be passed by a sensor that was not believed before.
pub(crate) const GATE_WINDOWS_AFTER_REFUSAL: u32 = 5;

/// A power reading may stay the same for this long under work: meters average over as much as a minute and round to whole
/// watts.
pub(crate) const GAUGE_STILL_MAX: Duration = Duration::from_secs(300);

/// A power reading stands for no more time than this.
pub(crate) const GAUGE_GAP_MAX: Duration = Duration::from_secs(10);

/// A sensor that could not be read is tried again after this.
pub(crate) const SENSOR_RETRY_AFTER: Duration = Duration::from_secs(60);

/// Intervals of low use that the base power is taken from.
pub(crate) const BASELINE_INTERVALS_MAX: usize = 512;

/// Fewer make no base power.
pub(crate) const BASELINE_INTERVALS_MIN: usize = 20;

/// What an interval's shortfall against the base may carry forward: this much of the base.
pub(crate) const SHORTFALL_SPAN_MAX: Duration = Duration::from_secs(10);

/// Processor time over which what it takes is averaged.
pub(crate) const RATE_WINDOW: Duration = Duration::from_secs(600);

/// Less processor time tells nothing of what it takes.
pub(crate) const RATE_BURN_MIN: Duration = Duration::from_secs(2);

/// The rating of a card that tells none: the most of any card that is sold, and no more is believed than three times that.
pub(crate) const CARD_POWER_UNRATED: Microwatts = Microwatts::new(1_200_000_000);
