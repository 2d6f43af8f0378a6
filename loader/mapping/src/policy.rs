//! What an operator may choose about the pages of a mapped file: how they come, whether they stay, and how they go.
//!
//! The defaults were chosen by `cargo run --release -p benches --bin load_policies`, on Linux 6.18, ext4, two cores of an
//! AMD EPYC (Zen 3), 2026-11-28; milliseconds, medians, of gemma3-270m (253 MB) and SmolLM2 (98 MB):
//!
//! | bring in | cached: load, first reading | on the disk: load, first reading |
//! |---|---|---|
//! | populate | 2.2, 1.6 and 2.9, 0.9 | 104, 1.5 and 41, 1.7 |
//! | will need | 2.0, 5.2 and 2.4, 11.3 | 28, 179 and 29, 127 |
//! | lazy | 1.1, 11.3 and 1.0, 10.3 | 0.1, 123 and 0.1, 55 |
//!
//! Populating is the fastest in sum, the load tells how it went, and the first step is as fast as any. It asks for huge
//! pages first: without, the same loads from the disk took 161 and 148. How a file lies in the page cache decides what a
//! load of a cached file costs, and it lies there as it came: of gemma3-270m 0.3 ms in huge pages, 4 in larger pieces, as
//! reading ahead leaves them, and 35 in single pages, as a file that was just written may be. Reading ahead before
//! populating would forgo the huge pages.
//!
//! | let go | drop | next load | cached then |
//! |---|---|---|---|
//! | keep | 1.0, 0.6 | 3.8, 2.9 | all |
//! | cold | 1.6, 1.0 | 3.9, 3.0 | all, until memory is short |
//! | don't need | 1.1, 0.6 | 102, 43 | nothing |
//!
//! In every row the process's proportional set size came back to what it was before the load.

/// How the pages of a file that was mapped come into memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BringIn {
    /// They are read, in huge pages where the system has them for files (`MADV_HUGEPAGE`), and put into the page table before
    /// the load is done (`MADV_POPULATE_READ`). The first step then waits for nothing, and a file that is cut or cannot be read
    /// is noticed by the load.
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
