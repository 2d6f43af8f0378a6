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
use crate::policy::{BringIn, LetGo};
use crate::{MapError, guard, residency};

/// A whole file, mapped shared and read-only.
///
/// `Send + Sync`; dropping it unmaps. See the crate's page for what its readers owe.
#[derive(Debug)]
pub struct MappedFile {
    // Field order is drop order: the guard forgets the range before the range is unmapped, and the page cache is spoken
    // to after that.
    registration: Registration,
    map: Mmap,
    file: KeptFile,
    identity: FileIdentity,
}

/// The descriptor, and what to tell the kernel when it closes.
#[derive(Debug)]
struct KeptFile {
    file: File,
    let_go: LetGo,
}

impl Drop for KeptFile {
    fn drop(&mut self) {
        if self.let_go == LetGo::DontNeed {
            residency::forget_cached(&self.file);
        }
    }
}

impl Drop for MappedFile {
    fn drop(&mut self) {
        if self.file.let_go == LetGo::Cold {
            residency::make_cold(&self.map);
        }
    }
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
        Ok(Self { registration, map, file: KeptFile { file, let_go: LetGo::default() }, identity })
    }

    /// Chooses what becomes of the cached pages when this is dropped.
    pub fn set_let_go(&mut self, let_go: LetGo) {
        self.file.let_go = let_go;
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
        let now = FileIdentity::of(&self.file.file.metadata()?);
        if now != self.identity {
            self.registration.poison();
        }
        if self.is_poisoned() { Err(MapError::Changed) } else { Ok(()) }
    }

    /// Brings the pages of `range` (clamped to the file) into memory, as `how` says; only [`BringIn::Populate`] waits.
    ///
    /// Where the kernel cannot populate (before Linux 5.14, other systems) it is asked to read ahead instead.
    ///
    /// # Errors
    /// [`MapError::Changed`] where the file no longer reaches so far or cannot be read (the map is poisoned then);
    /// [`MapError::Io`] otherwise.
    pub fn bring_in(&self, range: Range<usize>, how: BringIn) -> Result<(), MapError> {
        let range = self.clamped(range);
        if range.is_empty() {
            return Ok(());
        }
        let done = match how {
            BringIn::Populate => populate(&self.map, range.start, range.len()),
            BringIn::WillNeed => self.map.advise_range(Advice::WillNeed, range.start, range.len()),
            BringIn::Lazy => Ok(()),
        };
        match done {
            Ok(()) => Ok(()),
            Err(error) if lost_pages(&error) => {
                self.registration.poison();
                Err(MapError::Changed)
            }
            Err(source) => Err(source.into()),
        }
    }

    /// Keeps all pages of the file in memory until this is dropped, and waits until they are there.
    ///
    /// # Errors
    /// [`MapError::LockRefused`], with the limit; what was brought in stays, unlocked.
    pub fn lock(&self) -> Result<(), MapError> {
        self.map.lock().map_err(|source| MapError::LockRefused {
            bytes: self.identity.size_bytes,
            limit_bytes: residency::lock_limit_bytes(),
            source,
        })
    }

    /// How many bytes of `range` (clamped to the file) are in the page cache now, counted in whole pages.
    ///
    /// `None` where the system does not tell: Linux tells only those who own the file or may write it.
    #[must_use]
    pub fn cached_bytes(&self, range: Range<usize>) -> Option<u64> {
        let range = self.clamped(range);
        if range.is_empty() {
            return Some(0);
        }
        let page = guard::page_bytes();
        let mapped = &self.map[range.start / page * page..range.end];
        residency::cached_bytes(&self.file.file, range.start as u64..range.end as u64, mapped)
    }

    fn clamped(&self, range: Range<usize>) -> Range<usize> {
        let end = range.end.min(self.map.len());
        range.start.min(end)..end
    }
}

/// Asks that what is read from the disk for these bytes lies in the page cache in huge pages, and then for all of it.
#[cfg(target_os = "linux")]
fn populate(map: &Mmap, start: usize, length: usize) -> io::Result<()> {
    /// Where another size is used, the advice is about a little more or less.
    const HUGE_PAGE_BYTES: usize = 2 << 20;
    // Whole huge pages, so that one layer's and the next one's are one area to the kernel. Not every kernel, file system
    // or setting has them for files: then nothing changes.
    let first = start / HUGE_PAGE_BYTES * HUGE_PAGE_BYTES;
    let end = (start + length).next_multiple_of(HUGE_PAGE_BYTES).min(map.len());
    let _ = map.advise_range(Advice::HugePage, first, end - first);
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
