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
//! signed ones in two's complement. The fields are [`Kind::columns`] and then [`Kind::bound`], in that order; columns that a
//! later schema added to a table are left out where all of them are null, so that a row from before has the digest that it had.
//! The head's digest stands for every row before it: whoever keeps a copy of it elsewhere can tell later whether one was
//! changed, added in between or taken away. Without such a copy the chain shows damage and careless changes, and not the work
//! of somebody who computes it anew: there is no secret in it.
//!
//! Deliberately absent: a key. What an auditor cannot check without the operator's secret proves nothing to the auditor.

mod kind;

use rusqlite::types::ValueRef;
use sha2::{Digest as _, Sha256};

pub(crate) use self::kind::Kind;

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
        let count = self.kind.columns().len() + self.kind.bound().len();
        let before = count - self.kind.added();
        let lacks_them = || self.fields[before..].iter().all(|field| matches!(field, ValueRef::Null));
        if self.fields.len() == count && lacks_them() { &self.fields[..before] } else { self.fields }
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
        // The next: … + pack('<BBqB', 1, 2, 7, 3) + b'\3' + pack('<q', 2) + b'ab' + b'\4' + pack('<q', 1) + b'c'
        // + pack('<Bd', 2, 0.5)
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

    /// Anchors of schema 2, reservations and settlements of schema 3, and intervals of schema 4 have fewer fields, and the
    /// digests that they had.
    #[test]
    fn columns_that_were_added_later_are_not_there_where_they_are_null() {
        let all =
            [(Kind::Anchor, 16, 1), (Kind::Reservation, 8, 1), (Kind::Settlement, 26, 1), (Kind::Interval, 14, 5)];
        for (kind, count, added) in all {
            let fields = vec![ValueRef::Integer(7); count];
            let digest = |fields: &[ValueRef<'_>]| Row { kind, sequence: 1, fields }.digest();
            let before = &fields[..count - added];
            let mut without = fields.clone();
            without[count - added..].fill(ValueRef::Null);
            assert_eq!(digest(&without), digest(before));
            assert_ne!(digest(&fields), digest(before));
            let mut other_null = before.to_vec();
            other_null[count - added - 1] = ValueRef::Null;
            assert_ne!(digest(&other_null), digest(&fields[..count - added - 1]), "only what was added later");
        }
        let mut unpriced = vec![ValueRef::Integer(7); 14];
        unpriced[13] = ValueRef::Null;
        let digest = |fields: &[ValueRef<'_>]| Row { kind: Kind::Interval, sequence: 1, fields }.digest();
        assert_ne!(digest(&unpriced), digest(&unpriced[..13]), "a price that is missing is told");
        unpriced[9] = ValueRef::Null;
        assert_ne!(digest(&unpriced), digest(&unpriced[..9]), "one that is there says something");
    }
}
