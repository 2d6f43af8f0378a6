//! The hash chain over every row that is appended, in the order in which they were.
//!
//! Each row has a *link*: its place in that order and a digest,
//!
//! ```text
//! digest(n) = SHA-256( digest(n − 1) ‖ n ‖ row )                                  digest(0) = 32 zero bytes
//! row       = 1 ‖ kind ‖ sequence ‖ count of fields ‖ field ‖ field …             the leading 1 is the encoding's version
//! field     = 0                     null
//!           | 1 ‖ value             an integer, 8 bytes
//!           | 2 ‖ value             a floating-point number, its 8 bytes; no table has any
//!           | 3 ‖ length ‖ bytes    a text in UTF-8
//!           | 4 ‖ length ‖ bytes    bytes
//! ```
//!
//! `n`, `sequence`, lengths and values are 8 bytes, version, kind, tags and the count one; integers are little-endian and
//! signed ones in two's complement. The fields are [`Kind::columns`] and then [`Kind::bound`], in that order; a column that
//! a later schema added to a table is left out where it is null, so that a row from before has the digest that it had. The head's
//! digest stands for every row before it: whoever keeps a copy of it elsewhere can tell later whether one was changed,
//! added in between or taken away. Without such a copy the chain shows damage and careless changes, and not the work of
//! somebody who computes it anew: there is no secret in it.
//!
//! Deliberately absent: a key. What an auditor cannot check without the operator's secret proves nothing to the auditor.

use rusqlite::types::ValueRef;
use sha2::{Digest as _, Sha256};

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
            Self::Interval => {
                &["run", "source_sequence", "model", "account", "tenant", "kib_ms", "from_ms", "to_ms", "unix_ms"]
            }
            Self::Anchor => &ANCHOR_COLUMNS,
            Self::Migration => &["from_schema", "to_schema", "first_link", "last_link", "unix_ms"],
            Self::Energy => &ENERGY_COLUMNS,
        }
    }

    /// Whether the last of a row's fields is one that a later schema added.
    const fn ends_with_an_added_column(self) -> bool {
        matches!(self, Self::Reservation | Self::Settlement | Self::Anchor)
    }

    /// What a settlement's link binds of its reservation, which may be older than what is kept of the chain.
    pub(crate) const fn bound(self) -> &'static [&'static str] {
        if matches!(self, Self::Settlement) { &BOUND_COLUMNS } else { &[] }
    }
}

const BOUND_COLUMNS: [&str; 6] = ["run", "id", "tenant", "model", "at_ms", "key_id"];

pub(crate) const SETTLEMENT_COLUMNS: [&str; 20] = [
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

/// SHA-256.
pub(crate) type Digest = [u8; 32];

/// Where the chain ends, or has been followed to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head {
    /// The last link's number, from 1; 0 before the first.
    pub(crate) link: i64,
    pub(crate) digest: Digest,
}

impl Head {
    /// Before the first link.
    pub(crate) const START: Self = Self { link: 0, digest: [0; 32] };

    /// The head when `row` is linked to this one.
    pub(crate) fn after(&self, row: &Row<'_>) -> Self {
        let link = self.link + 1;
        let mut bytes = Vec::with_capacity(ROW_BYTES);
        bytes.extend(self.digest);
        bytes.extend(link.to_le_bytes());
        row.write_to(&mut bytes);
        Self { link, digest: Sha256::digest(&bytes).into() }
    }
}

/// A row as it is hashed.
#[derive(Debug)]
pub(crate) struct Row<'a> {
    pub(crate) kind: Kind,
    pub(crate) sequence: i64,
    /// [`Kind::columns`] and [`Kind::bound`].
    pub(crate) fields: &'a [ValueRef<'a>],
}

const ENCODING: u8 = 1;
/// Few rows have more when they are encoded.
const ROW_BYTES: usize = 4096;

impl Row<'_> {
    /// The digest of the row alone.
    pub(crate) fn digest(&self) -> Digest {
        let mut bytes = Vec::with_capacity(ROW_BYTES);
        self.write_to(&mut bytes);
        Sha256::digest(&bytes).into()
    }

    fn write_to(&self, bytes: &mut Vec<u8>) {
        let fields = self.encoded();
        bytes.extend([ENCODING, self.kind as u8]);
        bytes.extend(self.sequence.to_le_bytes());
        bytes.push(u8::try_from(fields.len()).expect("no table has 256 columns"));
        fields.iter().for_each(|field| write_field(bytes, *field));
    }

    /// Without what a later schema added and this row does not have.
    fn encoded(&self) -> &[ValueRef<'_>] {
        let is_whole = self.fields.len() == self.kind.columns().len() + self.kind.bound().len();
        match self.fields {
            [before @ .., ValueRef::Null] if is_whole && self.kind.ends_with_an_added_column() => before,
            fields => fields,
        }
    }
}

/// Adds a field to what is hashed.
pub(crate) fn write_field(bytes: &mut Vec<u8>, field: ValueRef<'_>) {
    let (tag, content) = match field {
        ValueRef::Null => return bytes.push(0),
        ValueRef::Integer(value) => {
            bytes.push(1);
            return bytes.extend(value.to_le_bytes());
        }
        ValueRef::Real(value) => {
            bytes.push(2);
            return bytes.extend(value.to_le_bytes());
        }
        ValueRef::Text(text) => (3, text),
        ValueRef::Blob(blob) => (4, blob),
    };
    bytes.push(tag);
    bytes.extend((content.len() as u64).to_le_bytes());
    bytes.extend(content);
}

/// As people and JSON write it.
pub(crate) fn hex(digest: &[u8]) -> String {
    use std::fmt::Write as _;
    digest.iter().fold(String::with_capacity(2 * digest.len()), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a String takes everything");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run<'a>(fields: &'a [ValueRef<'a>]) -> Row<'a> {
        Row { kind: Kind::Run, sequence: 1, fields }
    }

    /// The encoding is part of the file's format: an auditor's own program must find the same.
    #[test]
    fn the_first_link_has_the_digest_that_the_documentation_says() {
        // Python: sha256(bytes(32) + pack('<q', 1) + pack('<BBqB', 1, 1, 1, 2) + pack('<Bq', 1, 5) + b'\0').hexdigest()
        let head = Head::START.after(&run(&[ValueRef::Integer(5), ValueRef::Null]));
        assert_eq!(hex(&head.digest), "8ee7e659aa6382648efc16154b28b92eb7adf313723cb0f52dc17e7b43bff487");
        // The next: … + pack('<BBqB', 1, 2, 7, 3) + b'\3' + pack('<q', 2) + b'ab' + b'\4' + pack('<q', 1) + b'c' + pack('<Bd', 2, 0.5)
        let fields = [ValueRef::Text(b"ab"), ValueRef::Blob(b"c"), ValueRef::Real(0.5)];
        let next = head.after(&Row { kind: Kind::Reservation, sequence: 7, fields: &fields });
        assert_eq!(
            (next.link, hex(&next.digest).as_str()),
            (2, "920b2c1b835830d1239139de1c9feea529d0fca2afb4511ba73cc808c1fe45f9")
        );
    }

    #[test]
    fn whatever_differs_changes_the_digest() {
        let base = run(&[ValueRef::Text(b"ab"), ValueRef::Text(b"c")]).digest();
        let others: [&[ValueRef<'_>]; 6] = [
            &[ValueRef::Text(b"a"), ValueRef::Text(b"bc")],
            &[ValueRef::Text(b"abc"), ValueRef::Text(b"")],
            &[ValueRef::Text(b"ab"), ValueRef::Blob(b"c")],
            &[ValueRef::Text(b"ab"), ValueRef::Text(b"c"), ValueRef::Null],
            &[ValueRef::Text(b"ab"), ValueRef::Null],
            &[ValueRef::Text(b"ab"), ValueRef::Integer(0)],
        ];
        for other in others {
            assert_ne!(run(other).digest(), base, "{other:?}");
        }
        assert_ne!(Row { kind: Kind::Run, sequence: 2, fields: &[] }.digest(), run(&[]).digest());
        assert_ne!(Row { kind: Kind::Anchor, sequence: 1, fields: &[] }.digest(), run(&[]).digest());
    }

    /// Anchors of schema 2, and reservations and settlements of schema 3, have one field less, and the digests that they had.
    #[test]
    fn a_column_that_was_added_later_is_not_there_where_it_is_null() {
        for (kind, count) in [(Kind::Anchor, 16), (Kind::Reservation, 8), (Kind::Settlement, 26)] {
            let fields = vec![ValueRef::Integer(7); count];
            let digest = |fields: &[ValueRef<'_>]| Row { kind, sequence: 1, fields }.digest();
            let (_, before) = fields.split_last().unwrap();
            let mut without = fields.clone();
            without[count - 1] = ValueRef::Null;
            assert_eq!(digest(&without), digest(before));
            assert_ne!(digest(&fields), digest(before));
            let mut other_null = before.to_vec();
            other_null[count - 2] = ValueRef::Null;
            assert_ne!(digest(&other_null), digest(&fields[..count - 2]), "only what was added later");
        }
    }

    #[test]
    fn kinds_have_the_numbers_that_links_are_stored_with() {
        assert_eq!(Kind::ALL.map(Kind::number), [1, 2, 3, 4, 5, 6, 7, 8]);
        for kind in Kind::ALL {
            assert_eq!(Kind::from_number(kind.number()), Some(kind));
        }
        assert_eq!((Kind::from_number(0), Kind::from_number(9)), (None, None));
    }
}
