//! Files that were cut or changed: what was committed before is there, or the ledger says what is wrong.

use std::fs;
use std::path::{Path, PathBuf};

use ledger::{Ledger, LedgerError, LedgerOptions, Reader, TenantTotal, UsageState, Verification};
use meter::Outcome;

use crate::arbitrary::Arbitrary;
use crate::support::{checkpoint, folder, measured, open, reserve, settle};

const COMMITS: usize = 24;
/// Of a page in the WAL, and of what precedes the first.
const FRAME_BYTES: usize = 24 + 4096;
const WAL_HEADER_BYTES: usize = 32;

/// A ledger whose last commits are in its WAL alone, as a process leaves it that is killed.
struct Recorded {
    file: Vec<u8>,
    wal: Vec<u8>,
    /// What its process noted last.
    head: Vec<u8>,
    /// How long the WAL was when request number … was settled.
    settled_at: Vec<usize>,
}

fn recorded() -> Recorded {
    let folder = folder();
    let path = folder.path().join("ledger.sqlite");
    // The tables and a few rows are in the file.
    let ledger = open(&path).unwrap();
    for number in 0..8 {
        let id = format!("old {number}");
        reserve(&ledger, &id).unwrap();
        settle(&ledger, &id).unwrap();
    }
    drop(ledger);
    let ledger = open(&path).unwrap();
    let wal = path.with_extension("sqlite-wal");
    let mut settled_at = Vec::new();
    for number in 0..COMMITS {
        let id = format!("r{number}");
        reserve(&ledger, &id).unwrap();
        ledger::wait(|done| ledger.checkpoint(checkpoint(measured(&id, "acme"), 0, 5), done)).unwrap();
        settle(&ledger, &id).unwrap();
        settled_at.push(usize::try_from(fs::metadata(&wal).unwrap().len()).unwrap());
    }
    // The last completion is called after the note.
    let head = fs::read(path.with_extension("sqlite.head")).unwrap();
    Recorded { file: fs::read(&path).unwrap(), wal: fs::read(&wal).unwrap(), head, settled_at }
}

/// A folder for one image after another.
struct Images {
    _folder: tempfile::TempDir,
    path: PathBuf,
}

impl Images {
    fn new() -> Self {
        let folder = folder();
        Self { path: folder.path().join("image.sqlite"), _folder: folder }
    }

    fn put(&self, file: &[u8], wal: &[u8]) -> &Path {
        for other in ["sqlite-shm", "sqlite.head"] {
            let _ = fs::remove_file(self.path.with_extension(other));
        }
        fs::write(&self.path, file).unwrap();
        fs::write(self.path.with_extension("sqlite-wal"), wal).unwrap();
        &self.path
    }
}

/// The image is as the recorded ledger was after some commit, no earlier than the last whose WAL ended by `intact`.
fn check_prefix(path: &Path, recorded: &Recorded, intact: usize, case: &str) {
    let ledger = open(path).unwrap_or_else(|error| panic!("{case}: {error:?}"));
    for number in 0..8 {
        let old = ledger.reader().usage(&format!("old {number}")).unwrap();
        assert_eq!(old.unwrap().outcome, Some(Outcome::Completed), "{case}");
    }
    let mut is_over = false;
    for (number, &length) in recorded.settled_at.iter().enumerate() {
        let record = ledger.reader().usage(&format!("r{number}")).unwrap();
        if length <= intact {
            assert_eq!(record.unwrap().outcome, Some(Outcome::Completed), "r{number}, {case}");
            continue;
        }
        // Behind the damage: there, crashed, or gone, and after the first that is gone nothing.
        if let Some(record) = record {
            assert!(!is_over, "r{number} is there and one before it is not, {case}");
            assert_eq!(record.state, UsageState::Settled, "r{number}, {case}");
        } else {
            is_over = true;
        }
    }
    let found = ledger.reader().verify().unwrap();
    assert!(found.is_sound(), "{case}: {:?}", found.faults);
}

/// Cuts at every frame's border, as many bytes before it as `before` says, and at `random` bytes.
fn cut_wals(before: &[usize], random: usize) {
    let (recorded, images, mut arbitrary) = (recorded(), Images::new(), Arbitrary(3));
    let frames = (recorded.wal.len() - WAL_HEADER_BYTES) / FRAME_BYTES;
    let borders = (0..=frames).map(|frame| WAL_HEADER_BYTES + frame * FRAME_BYTES);
    let mut cuts: Vec<usize> = borders.flat_map(|border| before.iter().map(move |before| border - before)).collect();
    cuts.extend((0..random).map(|_| arbitrary.index(recorded.wal.len())));
    assert!(frames > COMMITS, "{frames} frames test little");
    for cut in cuts {
        check_prefix(images.put(&recorded.file, &recorded.wal[..cut]), &recorded, cut, &format!("cut at {cut}"));
    }
}

/// Flips one bit of the WAL in each of `count` images: its checksums end it before the frame that has the bit.
fn flip_bits_of_wals(count: usize) {
    let (mut recorded, images, mut arbitrary) = (recorded(), Images::new(), Arbitrary(4));
    for _ in 0..count {
        let (at, bit) = (arbitrary.index(recorded.wal.len()), arbitrary.below(8));
        recorded.wal[at] ^= 1 << bit;
        let frame = at.saturating_sub(WAL_HEADER_BYTES) / FRAME_BYTES;
        let intact = if at < WAL_HEADER_BYTES { 0 } else { WAL_HEADER_BYTES + frame * FRAME_BYTES };
        let path = images.put(&recorded.file, &recorded.wal);
        check_prefix(path, &recorded, intact, &format!("bit {bit} of byte {at} flipped"));
        recorded.wal[at] ^= 1 << bit;
    }
}

fn read(path: &Path) -> Result<(Verification, Vec<TenantTotal>), LedgerError> {
    let reader = Reader::open(path)?;
    Ok((reader.verify()?, reader.tenant_totals()?))
}

/// Flips one bit of the file in each of `count` images: pages have no checksums, but rows have links.
fn flip_bits_of_files(count: usize) {
    let (recorded, images, mut arbitrary) = (recorded(), Images::new(), Arbitrary(5));
    // Everything in the file.
    drop(open(images.put(&recorded.file, &recorded.wal)).unwrap());
    let mut file = fs::read(&images.path).unwrap();
    let sound = read(&images.path).unwrap();
    assert!(sound.0.is_sound());
    let (mut refused, mut found, mut harmless) = (0, 0, 0);
    for _ in 0..count {
        let (at, bit) = (arbitrary.index(file.len()), arbitrary.below(8));
        file[at] ^= 1 << bit;
        let path = images.put(&file, &[]);
        match read(path) {
            Err(_) => refused += 1,
            Ok((verification, _)) if !verification.is_sound() => found += 1,
            Ok(read) => {
                // Where nothing is stored.
                assert_eq!(read, sound, "bit {bit} of byte {at} flipped");
                harmless += 1;
            }
        }
        // Whatever it is, writing to it neither panics nor hangs.
        if let Ok(ledger) = Ledger::open(path, LedgerOptions::default()) {
            let _ = reserve(&ledger, "new").and_then(|()| settle(&ledger, "new"));
        }
        file[at] ^= 1 << bit;
    }
    assert!(found > count / 4 && refused > 0, "{refused} refused, {found} found, {harmless} harmless test little");
}

/// Where the process could note what it acknowledged, nothing of that is lost unseen, whatever the WAL's checksums make of
/// the damage.
#[test]
fn a_ledger_that_lacks_what_was_acknowledged_is_refused_untouched() {
    let (mut recorded, images, mut arbitrary) = (recorded(), Images::new(), Arbitrary(6));
    let put = |recorded: &Recorded, wal: &[u8]| {
        let path = images.put(&recorded.file, wal);
        fs::write(path.with_extension("sqlite.head"), &recorded.head).unwrap();
        path.to_owned()
    };
    drop(open(&put(&recorded, &recorded.wal)).unwrap());
    for _ in 0..40 {
        let at = arbitrary.index(recorded.wal.len());
        let path = put(&recorded, &recorded.wal[..at]);
        let opened = open(&path).map(drop);
        assert!(matches!(opened, Err(LedgerError::Corrupt { .. })), "cut at {at}: {opened:?}");
        recorded.wal[at] ^= 1;
        let path = put(&recorded, &recorded.wal);
        let opened = open(&path).map(drop);
        assert!(matches!(opened, Err(LedgerError::Corrupt { .. })), "byte {at} flipped: {opened:?}");
        assert!(fs::read(path.with_extension("sqlite-wal")).unwrap() == recorded.wal, "byte {at} flipped");
        assert!(fs::read(&path).unwrap() == recorded.file, "byte {at} flipped");
        recorded.wal[at] ^= 1;
    }
    // Whoever answers for it goes on with what is left.
    let path = put(&recorded, &recorded.wal[..recorded.settled_at[3]]);
    let said = open(&path).map(drop).unwrap_err();
    let why = std::error::Error::source(&said).unwrap().to_string();
    assert!(why.contains("acknowledged are missing") && why.contains("sqlite.head"), "{why}");
    fs::remove_file(path.with_extension("sqlite.head")).unwrap();
    assert!(open(&path).unwrap().reader().verify().unwrap().is_sound());
}

#[test]
fn every_commit_before_a_cut_is_there() {
    cut_wals(&[0], 60);
}

#[test]
fn every_commit_before_a_flipped_bit_of_the_wal_is_there() {
    flip_bits_of_wals(80);
}

#[test]
fn a_flipped_bit_of_the_file_is_found() {
    flip_bits_of_files(120);
}

#[test]
#[ignore = "takes minutes"]
fn ten_thousand_torn_images_lose_nothing_unseen() {
    cut_wals(&[0, 1, 31], 2000);
    flip_bits_of_wals(3500);
    flip_bits_of_files(3500);
}
