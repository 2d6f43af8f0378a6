//! What is summed: by which names, in which columns, and how two values of a column become one.
//!
//! The order of [`Of`] and of the columns is part of the file's format: anchors bind sums in it.

/// What is summed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Of {
    /// Settled requests.
    Requests,
    /// Intervals of accounts, of before schema 5: as what memory was held is not known of them.
    Accounts,
    /// Intervals of energy.
    Energy,
    /// Settled requests by the keys that they came by, of those that came by one with an id.
    Keys,
    /// Intervals of accounts, by whose they are and as what memory was held.
    Held,
}

/// How two values of a column become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rule {
    Add,
    Least,
    Most,
}

/// A column and its rule.
type Column = (&'static str, Rule);

/// What requests used, by whatever names they are summed.
const USED: [Column; 15] = [
    ("cold", Rule::Add),
    ("prompt_tokens", Rule::Add),
    ("cached_tokens", Rule::Add),
    ("completion_tokens", Rule::Add),
    ("load_wait_ns", Rule::Add),
    ("wall_ns", Rule::Add),
    ("cpu_ns", Rule::Add),
    ("load_cpu_ns", Rule::Add),
    ("weights_kib_ms", Rule::Add),
    ("load_kib_ms", Rule::Add),
    ("kv_kib_ms", Rule::Add),
    ("energy_nj", Rule::Add),
    ("micrograms_co2e", Rule::Add),
    ("pico_units", Rule::Add),
    ("unpriced", Rule::Add),
];

pub(super) const REQUEST_COLUMNS: [Column; 20] = around_used(
    &[("requests", Rule::Add)],
    &[
        ("first_ms", Rule::Least),
        ("last_ms", Rule::Most),
        ("weights_bytes", Rule::Most),
        // The link of the last row that tells a size. Nothing reads it; anchors of every schema bind it.
        ("weights_link", Rule::Most),
    ],
);

const ACCOUNT_COLUMNS: [Column; 4] =
    [("intervals", Rule::Add), ("kib_ms", Rule::Add), ("first_ms", Rule::Least), ("last_ms", Rule::Most)];

const ENERGY_COLUMNS: [Column; 11] = [
    ("intervals", Rule::Add),
    ("energy_nj", Rule::Add),
    ("requests_nj", Rule::Add),
    ("keepalive_nj", Rule::Add),
    ("runtime_nj", Rule::Add),
    ("host_other_nj", Rule::Add),
    ("idle_nj", Rule::Add),
    ("unmeasured_nj", Rule::Add),
    ("unknown_ms", Rule::Add),
    ("first_ms", Rule::Least),
    ("last_ms", Rule::Most),
];

const KEY_COLUMNS: [Column; 17] = around_used(&[("requests", Rule::Add), ("completed", Rule::Add)], &[]);

const HELD_COLUMNS: [Column; 9] = [
    ("intervals", Rule::Add),
    ("kib_ms", Rule::Add),
    ("cpu_ns", Rule::Add),
    ("energy_nj", Rule::Add),
    ("micrograms_co2e", Rule::Add),
    ("pico_units", Rule::Add),
    ("unpriced", Rule::Add),
    ("first_ms", Rule::Least),
    ("last_ms", Rule::Most),
];

impl Of {
    pub(crate) const ALL: [Self; 5] = [Self::Requests, Self::Accounts, Self::Energy, Self::Keys, Self::Held];

    /// The end of its tables' names.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Accounts => "accounts",
            Self::Energy => "energy",
            Self::Keys => "keys",
            Self::Held => "held",
        }
    }

    /// What its sums are told apart by, beside time and run.
    pub(crate) const fn names(self) -> [&'static str; 3] {
        match self {
            Self::Requests => ["tenant", "model", "outcome"],
            Self::Accounts => ["model", "account", "tenant"],
            Self::Energy => ["device", "source", "quality"],
            Self::Keys => ["key_id", "tenant", "model"],
            Self::Held => ["model", "tenant", "held_as"],
        }
    }

    /// What is summed of its rows.
    pub(crate) fn columns(self) -> impl ExactSizeIterator<Item = &'static str> {
        self.rules().iter().map(|(column, _)| *column)
    }

    pub(super) const fn rules(self) -> &'static [Column] {
        match self {
            Self::Requests => &REQUEST_COLUMNS,
            Self::Accounts => &ACCOUNT_COLUMNS,
            Self::Energy => &ENERGY_COLUMNS,
            Self::Keys => &KEY_COLUMNS,
            Self::Held => &HELD_COLUMNS,
        }
    }
}

/// [`USED`] between other columns.
const fn around_used<const N: usize>(before: &[Column], after: &[Column]) -> [Column; N] {
    let parts = [before, &USED, after];
    let mut columns = [("", Rule::Add); N];
    let (mut part, mut index, mut count) = (0, 0, 0);
    while part < parts.len() {
        if index < parts[part].len() {
            columns[count] = parts[part][index];
            (index, count) = (index + 1, count + 1);
        } else {
            (part, index) = (part + 1, 0);
        }
    }
    assert!(count == N);
    columns
}
