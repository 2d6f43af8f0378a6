//! The bounds of this crate, in one place.

/// The most resident memory that one model is believed to have: 1 PiB, in KiB.
pub(crate) const RESIDENT_KIB_MAX: u64 = 1 << 40;

/// A processor name longer than this is cut.
pub(crate) const BRAND_CHARS_MAX: usize = 128;

/// Two arms of a comparison closer than this share of the larger one do not differ: the outside check on the
/// memory integral is itself held to 5 %.
pub(crate) const SIGNIFICANCE_PERCENT: u64 = 5;
