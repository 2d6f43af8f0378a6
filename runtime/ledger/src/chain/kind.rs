//! What rows there are: where each is stored, and what of it is linked.
//!
//! Numbers and columns, and their order, are part of the file's format.

/// What a row is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Run = 1,
    Reservation = 2,
    Checkpoint = 3,
    Settlement = 4,
    Interval = 5,
    Anchor = 6,
    Migration = 7,
    Energy = 8,
}

impl Kind {
    pub(crate) const ALL: [Self; 8] = [
        Self::Run,
        Self::Reservation,
        Self::Checkpoint,
        Self::Settlement,
        Self::Interval,
        Self::Anchor,
        Self::Migration,
        Self::Energy,
    ];

    /// The kind of that number in a link.
    pub(crate) fn from_number(number: i64) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.number() == number)
    }

    pub(crate) const fn number(self) -> i64 {
        self as i64
    }

    /// Where its rows are.
    pub(crate) const fn table(self) -> &'static str {
        match self {
            Self::Run => "runs",
            Self::Reservation => "reservations",
            Self::Checkpoint => "checkpoints",
            Self::Settlement => "settlements",
            Self::Interval => "intervals",
            Self::Anchor => "anchors",
            Self::Migration => "migrations",
            Self::Energy => "energy_intervals",
        }
    }

    /// What stands at a row's sequence number.
    pub(crate) const fn key(self) -> &'static str {
        if matches!(self, Self::Run) { "run" } else { "sequence" }
    }

    /// Everything else that its rows have.
    pub(crate) const fn columns(self) -> &'static [&'static str] {
        match self {
            Self::Run => &["opened_unix_ms", "first_reservation"],
            Self::Reservation => &["run", "id", "tenant", "model", "at_ms", "unix_ms", "idempotency_key", "key_id"],
            Self::Checkpoint => &["reservation", "number", "at_ms", "unix_ms", "receipt"],
            Self::Settlement => &SETTLEMENT_COLUMNS,
            Self::Interval => &INTERVAL_COLUMNS,
            Self::Anchor => &ANCHOR_COLUMNS,
            Self::Migration => &["from_schema", "to_schema", "first_link", "last_link", "unix_ms"],
            Self::Energy => &ENERGY_COLUMNS,
        }
    }

    /// How many of a row's last fields a later schema added, all of them at once.
    pub(super) const fn added(self) -> usize {
        match self {
            Self::Reservation | Self::Settlement | Self::Anchor => 1,
            Self::Interval => 5,
            Self::Run | Self::Checkpoint | Self::Migration | Self::Energy => 0,
        }
    }

    /// What a settlement's link binds of its reservation, which may be older than what is kept of the chain.
    pub(crate) const fn bound(self) -> &'static [&'static str] {
        if matches!(self, Self::Settlement) { &BOUND_COLUMNS } else { &[] }
    }
}

const BOUND_COLUMNS: [&str; 6] = ["run", "id", "tenant", "model", "at_ms", "key_id"];

const SETTLEMENT_COLUMNS: [&str; 20] = [
    "reservation",
    "outcome",
    "at_ms",
    "unix_ms",
    "cold",
    "prompt_tokens",
    "cached_tokens",
    "completion_tokens",
    "load_wait_ns",
    "wall_ns",
    "cpu_ns",
    "load_cpu_ns",
    "weights_kib_ms",
    "load_kib_ms",
    "kv_kib_ms",
    "weights_bytes",
    "energy_nj",
    "micrograms_co2e",
    "pico_units",
    "receipt",
];

const INTERVAL_COLUMNS: [&str; 14] = [
    "run",
    "source_sequence",
    "model",
    "account",
    "tenant",
    "kib_ms",
    "from_ms",
    "to_ms",
    "unix_ms",
    "held_as",
    "cpu_ns",
    "energy_nj",
    "micrograms_co2e",
    "pico_units",
];

const ENERGY_COLUMNS: [&str; 16] = [
    "run",
    "source_sequence",
    "device",
    "source",
    "quality",
    "energy_nj",
    "requests_nj",
    "keepalive_nj",
    "runtime_nj",
    "host_other_nj",
    "idle_nj",
    "unmeasured_nj",
    "unknown_ms",
    "from_ms",
    "to_ms",
    "unix_ms",
];

const ANCHOR_COLUMNS: [&str; 16] = [
    "first_link",
    "last_link",
    "digest",
    "previous",
    "sums",
    "runs_to",
    "reservations_to",
    "checkpoints_to",
    "settlements_to",
    "intervals_to",
    "migrations_to",
    "run",
    "run_opened_unix_ms",
    "run_first_reservation",
    "unix_ms",
    "energy_intervals_to",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_have_the_numbers_that_links_are_stored_with() {
        assert_eq!(Kind::ALL.map(Kind::number), [1, 2, 3, 4, 5, 6, 7, 8]);
        for kind in Kind::ALL {
            assert_eq!(Kind::from_number(kind.number()), Some(kind));
        }
        assert_eq!((Kind::from_number(0), Kind::from_number(9)), (None, None));
    }
}
