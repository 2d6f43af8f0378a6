//! A mapped file: its bytes, its identity, and how much of it is in memory.
//!
//! The descriptor is kept open as long as the map. It costs one descriptor per model and buys the only true
//! comparison with what is mapped: `fstat` speaks of the mapped inode, while a `stat` of the path would speak of
//! whatever was renamed over it, which is no fault (the old version serves on).

#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::Path;

use memmap2::{Advice, Mmap, MmapOptions};

use crate::guard::Registration;
use crate::identity::{FileIdentity, open_regular};
use crate::{MapError, guard};

/// A whole file, mapped shared and read-only.
///
/// `Send + Sync`; dropping it unmaps. See the crate's page for what its readers owe.
#[derive(Debug)]
pub struct MappedFile {
    // Field order is drop order: the guard forgets the range before the range is unmapped.
    registration: Registration,
    map: Mmap,
    file: File,
    identity: FileIdentity,
}

impl MappedFile {
    /// Maps the regular file at `path`, links followed. Nothing is read yet.
    ///
    /// # Errors
    /// Every variant of [`MapError`] but [`MapError::Changed`].
    pub fn open(path: &Path) -> Result<Self, MapError> {
        let (file, identity) = open_regular(path)?;
        if identity.size_bytes == 0 {
            return Err(MapError::Empty);
        }
        let length = usize::try_from(identity.size_bytes).map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge))?;
        guard::install()?;
        // SAFETY: the map is read-only and the file immutable by the crate's promise; where that is broken by
        // truncation the guard supplies zeros, so that every byte of the slice stays readable.
        let map = unsafe { MmapOptions::new().len(length).map(&file) }?;
        let registration = Registration::publish(map.as_ptr().addr(), length)?;
        Ok(Self { registration, map, file, identity })
    }

    /// The file's bytes. Where the file was cut after it was mapped, zeros.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.map
    }

    /// The version that was mapped.
    #[must_use]
    pub fn identity(&self) -> FileIdentity {
        self.identity
    }

    /// Whether some reading of this map met lost pages, or a change was noticed. Never goes back to false.
    #[must_use]
    pub fn is_poisoned(&self) -> bool {
        self.registration.is_poisoned()
    }

    /// Compares the mapped inode's size and modification time with those at opening, and poisons the map if they
    /// differ. A replacement by rename is not a change: the mapped inode lives on.
    ///
    /// # Errors
    /// [`MapError::Changed`], also if the map was poisoned before; [`MapError::Io`] when `fstat` fails.
    pub fn verify_unchanged(&self) -> Result<(), MapError> {
        let now = FileIdentity::of(&self.file.metadata()?);
        if now != self.identity {
            self.registration.poison();
        }
        if self.is_poisoned() { Err(MapError::Changed) } else { Ok(()) }
    }

    /// Brings the pages of `range` (clamped to the file) into memory and into the page table, and waits for them.
    ///
    /// Where the kernel cannot do that (before Linux 5.14, other systems) it is asked to read ahead, and the call
    /// returns at once.
    ///
    /// # Errors
    /// [`MapError::Changed`] where the file no longer reaches so far or cannot be read (the map is poisoned then);
    /// [`MapError::Io`] otherwise.
    pub fn populate(&self, range: Range<usize>) -> Result<(), MapError> {
        let start = range.start.min(self.map.len());
        let length = range.end.min(self.map.len()).saturating_sub(start);
        if length == 0 {
            return Ok(());
        }
        match populate(&self.map, start, length) {
            Ok(()) => Ok(()),
            Err(error) if lost_pages(&error) => {
                self.registration.poison();
                Err(MapError::Changed)
            }
            Err(source) => Err(source.into()),
        }
    }

    /// How many bytes of the file are in the page cache now, counted in whole pages.
    ///
    /// Linux tells this only to those who own the file or may write it; to others all of it is said to be resident.
    ///
    /// # Errors
    /// What `mincore` says.
    pub fn resident_bytes(&self) -> io::Result<u64> {
        const BATCH_PAGES: usize = 4096;
        let page = guard::page_bytes();
        let mut flags = [0_u8; BATCH_PAGES];
        let mut resident_pages = 0_u64;
        for chunk in self.map.chunks(BATCH_PAGES * page) {
            let pages = chunk.len().div_ceil(page);
            // SAFETY: the chunk starts on a page (the map does, and batches are whole pages) and lies in a live map;
            // `flags` holds one byte for each of its at most BATCH_PAGES pages.
            let status =
                unsafe { libc::mincore(chunk.as_ptr().cast_mut().cast(), chunk.len(), flags.as_mut_ptr().cast()) };
            if status != 0 {
                return Err(io::Error::last_os_error());
            }
            resident_pages += flags[..pages].iter().map(|flag| u64::from(flag & 1)).sum::<u64>();
        }
        Ok(resident_pages * page as u64)
    }
}

#[cfg(target_os = "linux")]
fn populate(map: &Mmap, start: usize, length: usize) -> io::Result<()> {
    match map.advise_range(Advice::PopulateRead, start, length) {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => map.advise_range(Advice::WillNeed, start, length),
        other => other,
    }
}

#[cfg(not(target_os = "linux"))]
fn populate(map: &Mmap, start: usize, length: usize) -> io::Result<()> {
    map.advise_range(Advice::WillNeed, start, length)
}

/// Where a load would have raised SIGBUS, `MADV_POPULATE_READ` fails with `EFAULT`, or `EHWPOISON` for broken memory.
#[cfg(target_os = "linux")]
fn lost_pages(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EFAULT | libc::EHWPOISON))
}

#[cfg(not(target_os = "linux"))]
fn lost_pages(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::EFAULT)
}
