//! What the kernel tells about a file's pages: how many are cached, and how often a thread waited for the disk.
//!
//! Invariants: what is not known is `None`, never a guess.

#![allow(unsafe_code)]

use std::fs::File;
use std::ops::Range;
use std::os::fd::AsRawFd;

use crate::guard::page_bytes;

/// Bytes of `range` of `file` that are in the page cache, whole pages counted, no more than the range is long; `mapped`
/// is the same range in memory, from a page's start.
///
/// Asked is `cachestat` (Linux 6.5), else `mincore`. Both tell the truth only to those who own the file or may write it:
/// `cachestat` refuses others, `mincore` says "all" to them, and is not asked then.
pub(crate) fn cached_bytes(file: &File, range: Range<u64>, mapped: &[u8]) -> Option<u64> {
    let length = range.end - range.start;
    let pages = match cachestat(file, range) {
        Some(pages) => pages,
        None if is_trusted(file) => mincore(mapped)?,
        None => return None,
    };
    Some(pages.saturating_mul(page_bytes() as u64).min(length))
}

/// Pages of `range` that are cached, where the kernel has this call and tells us.
#[cfg(target_os = "linux")]
fn cachestat(file: &File, range: Range<u64>) -> Option<u64> {
    /// The same on every architecture; the C libraries do not name it everywhere.
    const SYS_CACHESTAT: libc::c_long = 451;
    // `struct cachestat_range { off, len }` and `struct cachestat { nr_cache, dirty, writeback, evicted,
    // recently_evicted }`, all of them 64-bit numbers.
    let asked = [range.start, range.end - range.start];
    let mut told = [0_u64; 5];
    // SAFETY: the descriptor is open; both arrays are laid out as the structures are and live through the call, which
    // reads the first and writes the second. There are no flags.
    let status = unsafe { libc::syscall(SYS_CACHESTAT, file.as_raw_fd(), asked.as_ptr(), told.as_mut_ptr(), 0_u32) };
    (status == 0).then_some(told[0])
}

#[cfg(not(target_os = "linux"))]
fn cachestat(_: &File, _: Range<u64>) -> Option<u64> {
    None
}

/// Whether `mincore` tells us the truth about the file: Linux asks whether we own it or may write it.
fn is_trusted(file: &File) -> bool {
    use std::os::unix::fs::MetadataExt;
    // SAFETY: geteuid has no arguments and cannot fail.
    let user = unsafe { libc::geteuid() };
    file.metadata().is_ok_and(|metadata| metadata.uid() == user) || is_writable(file)
}

#[cfg(target_os = "linux")]
fn is_writable(file: &File) -> bool {
    let flags = libc::AT_EMPTY_PATH | libc::AT_EACCESS;
    // SAFETY: the descriptor is open and the path a C string, which is empty: the file itself is meant.
    unsafe { libc::faccessat(file.as_raw_fd(), c"".as_ptr(), libc::W_OK, flags) == 0 }
}

#[cfg(not(target_os = "linux"))]
fn is_writable(_: &File) -> bool {
    false
}

/// Pages of `mapped`, which starts on a page, that are in memory.
fn mincore(mapped: &[u8]) -> Option<u64> {
    const BATCH_PAGES: usize = 4096;
    let page = page_bytes();
    let mut flags = [0_u8; BATCH_PAGES];
    let mut resident_pages = 0_u64;
    for chunk in mapped.chunks(BATCH_PAGES * page) {
        let pages = chunk.len().div_ceil(page);
        // SAFETY: the chunk starts on a page (the slice does, and batches are whole pages) and lies in a live map;
        // `flags` holds one byte for each of its at most BATCH_PAGES pages.
        let status = unsafe { libc::mincore(chunk.as_ptr().cast_mut().cast(), chunk.len(), flags.as_mut_ptr().cast()) };
        if status != 0 {
            return None;
        }
        resident_pages += flags[..pages].iter().map(|flag| u64::from(flag & 1)).sum::<u64>();
    }
    Some(resident_pages)
}

/// How often the calling thread has had to wait for a page that was not in memory, since it began; `None` where the
/// system does not count threads apart (it does on Linux).
#[must_use]
pub fn thread_major_faults() -> Option<u64> {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    {
        // SAFETY: an all-zero `rusage` is a valid value of that C struct, which the call fills.
        let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
        // SAFETY: `usage` is a live `rusage`.
        let status = unsafe { libc::getrusage(libc::RUSAGE_THREAD, &raw mut usage) };
        if status == 0 { u64::try_from(usage.ru_majflt).ok() } else { None }
    }
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    None
}

/// Bytes that this process may lock in memory; `None` without a limit, or where it cannot be told.
pub(crate) fn lock_limit_bytes() -> Option<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is a live `rlimit`.
    let status = unsafe { libc::getrlimit(libc::RLIMIT_MEMLOCK, &raw mut limit) };
    (status == 0 && limit.rlim_cur != libc::RLIM_INFINITY).then_some(limit.rlim_cur)
}

/// Asks the kernel to let the cached pages of `file` go. Best effort.
pub(crate) fn forget_cached(file: &File) {
    #[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd"))]
    // SAFETY: the descriptor is open; the call changes nothing but what is cached. 0 bytes mean the whole file.
    unsafe {
        libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED);
    }
    #[cfg(not(any(target_os = "linux", target_os = "android", target_os = "freebsd")))]
    let _ = file;
}

/// Makes the pages of `mapped`, a live map, the first that the kernel takes away. Best effort.
pub(crate) fn make_cold(mapped: &[u8]) {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    // SAFETY: the slice is a whole live map; the advice changes the order of reclaim and no contents.
    unsafe {
        libc::madvise(mapped.as_ptr().cast_mut().cast(), mapped.len(), libc::MADV_COLD);
    }
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    let _ = mapped;
}
