//! What an operator may choose about the pages of a mapped file: how they come, whether they stay, and how they go.
//!
//! The defaults were chosen by `cargo run --release -p benches --bin load_policies`, on Linux 6.18, ext4, two cores of an
//! AMD EPYC (Zen 3), 2026-11-28; milliseconds, medians, of gemma3-270m (253 MB) and SmolLM2 (98 MB):
//!
//! | bring in | cached: load, first reading | on the disk: load, first reading |
//! |---|---|---|
//! | populate | 4.2, 1.8 and 3.9, 0.8 | 161, 5 and 148, 1 |
//! | will need | 2.0, 5.2 and 2.4, 11.3 | 32, 237 and 32, 143 |
//! | lazy | 1.2, 14.5 and 1.2, 12.9 | 0.1, 170 and 0.1, 87 |
//!
//! Populating is never much slower in sum, the load tells how it went, and the first step is as fast as any. A file that
//! is in the page cache in single pages, because it was just written or came by `MADV_WILLNEED`, takes 35 and 15 ms to
//! populate; what was read by faults lies there in larger pieces. That is why nothing is asked ahead of populating.
//!
//! | let go | drop | next load | cached then |
//! |---|---|---|---|
//! | keep | 1.2, 1.0 | 4.2, 3.9 | all |
//! | cold | 1.9, 1.7 | 4.1, 4.0 | all, until memory is short |
//! | don't need | 12, 22 | 182, 134 | nothing |
//!
//! In every row the process's proportional set size came back to what it was before the load.

/// How the pages of a file that was mapped come into memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BringIn {
    /// They are read and put into the page table before the load is done: `MADV_POPULATE_READ`. The first step then waits
    /// for nothing, and a file that is cut or cannot be read is noticed by the load.
    #[default]
    Populate,
    /// The kernel is asked to read ahead, and the load does not wait: `MADV_WILLNEED`. The first step waits for what has
    /// not come yet, and takes a fault for each page.
    WillNeed,
    /// Each page comes when it is first read. For files that are larger than memory, which are then paged from the disk
    /// at every step.
    Lazy,
}

/// What becomes of a file's pages in the page cache when its map is dropped.
///
/// The map itself is always undone, and with it what counts as this process's memory. What differs is how soon the
/// kernel reuses the cached pages, and so whether the next load reads the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LetGo {
    /// They stay cached until the kernel needs the memory, by its own order of use.
    #[default]
    Keep,
    /// They stay cached, but are the first to go: `MADV_COLD` before the map is undone. Pages that another process maps
    /// too are left alone.
    Cold,
    /// They leave the page cache at once: `POSIX_FADV_DONTNEED` after the map is undone. The kernel keeps the pages
    /// that are still mapped, by this process or another, and those that are not written to the disk yet; it is a
    /// request, and nothing fails where it is not heard.
    DontNeed,
}

/// Whether the kernel may take a mapped file's pages away under pressure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Lock {
    /// It may: they are read again when they are needed.
    #[default]
    Unlocked,
    /// It may not: `mlock`, within `RLIMIT_MEMLOCK`. All pages come in, whatever [`BringIn`] says.
    Locked,
}
