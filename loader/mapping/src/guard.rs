//! The SIGBUS guard: what happens when a mapped page cannot be read.
//!
//! The handler looks the faulting address up in a fixed table of ranges. If it is ours, an anonymous page of zeros is
//! mapped over the faulting page *and everything behind it* in that map, the map's poisoned flag is set, and the
//! faulting load runs again. The whole tail goes at once because a truncation loses the whole tail: page by page, a
//! large model would take 100,000 signals and could exhaust the number of maps a process may hold. After a read error
//! in the middle, good pages behind it are lost too; nothing computed from a poisoned map is used, so it does not matter.
//! Any other fault goes to the handler that was installed before ours.
//!
//! Invariants:
//! - The handler touches only static atomics, `mmap`, `sigaction`, `raise` and `errno`. (POSIX does not list `mmap` as
//!   async-signal-safe; in glibc, musl and Darwin's libc it is a bare system call.)
//! - A range in the table is mapped: it is published after mapping and withdrawn before unmapping. The faulting
//!   thread borrows the map it reads, so the range it needs is stable; slots that change meanwhile are skipped.
//! - The handler is installed once and never taken down. Threads that block SIGBUS are killed by the kernel instead;
//!   nobody here blocks it.

#![allow(unsafe_code)]

use std::io;
use std::ptr::{self, null_mut};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering, fence};
use std::sync::{Mutex, OnceLock, PoisonError};

use libc::{c_int, c_void, siginfo_t};

use crate::MapError;

/// Files that can be mapped at once: the size of the handler's table. Each also holds a descriptor, of which a
/// process often has no more than 1,024.
pub const MAPPINGS_MAX: usize = 256;

/// One row of the table, a sequence lock: `sequence` is odd while the row is being written.
struct Slot {
    sequence: AtomicUsize,
    /// First address, on a page; 0 in a free slot.
    start: AtomicUsize,
    /// One past the last address, on a page.
    end: AtomicUsize,
    poisoned: AtomicBool,
}

impl Slot {
    /// The range, or `None` if the slot is free or being written. Never waits: the handler calls this.
    fn range(&self) -> Option<(usize, usize)> {
        let before = self.sequence.load(Ordering::Acquire);
        let range = (self.start.load(Ordering::Relaxed), self.end.load(Ordering::Relaxed));
        fence(Ordering::Acquire);
        let after = self.sequence.load(Ordering::Relaxed);
        (before == after && before.is_multiple_of(2) && range.0 != 0).then_some(range)
    }

    /// Callers hold [`WRITER`].
    fn write(&self, start: usize, end: usize) {
        let sequence = self.sequence.load(Ordering::Relaxed);
        self.sequence.store(sequence.wrapping_add(1), Ordering::Relaxed);
        fence(Ordering::Release);
        self.start.store(start, Ordering::Relaxed);
        self.end.store(end, Ordering::Relaxed);
        self.poisoned.store(false, Ordering::Relaxed);
        self.sequence.store(sequence.wrapping_add(2), Ordering::Release);
    }
}

static TABLE: [Slot; MAPPINGS_MAX] = [const {
    Slot {
        sequence: AtomicUsize::new(0),
        start: AtomicUsize::new(0),
        end: AtomicUsize::new(0),
        poisoned: AtomicBool::new(false),
    }
}; MAPPINGS_MAX];

/// One writer of the table at a time; the handler never takes it.
static WRITER: Mutex<()> = Mutex::new(());

/// What was installed before us, leaked; null once it was used up (`SA_RESETHAND`) or never read.
static PREVIOUS: AtomicPtr<libc::sigaction> = AtomicPtr::new(null_mut());

/// Bytes in a page; 0 until [`install`] has run, which precedes every published range.
static PAGE_BYTES: AtomicUsize = AtomicUsize::new(0);

/// One published range; withdrawn on drop.
#[derive(Debug)]
pub(crate) struct Registration {
    slot: usize,
}

impl Registration {
    /// Puts `length` bytes from `start`, a page's first address, under the guard.
    pub(crate) fn publish(start: usize, length: usize) -> Result<Self, MapError> {
        let end = start + length.next_multiple_of(page_bytes());
        let _writer = WRITER.lock().unwrap_or_else(PoisonError::into_inner);
        let slot =
            TABLE.iter().position(|slot| slot.start.load(Ordering::Relaxed) == 0).ok_or(MapError::TooManyMappings)?;
        TABLE[slot].write(start, end);
        Ok(Self { slot })
    }

    pub(crate) fn is_poisoned(&self) -> bool {
        TABLE[self.slot].poisoned.load(Ordering::Acquire)
    }

    pub(crate) fn poison(&self) {
        TABLE[self.slot].poisoned.store(true, Ordering::Release);
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let _writer = WRITER.lock().unwrap_or_else(PoisonError::into_inner);
        TABLE[self.slot].write(0, 0);
    }
}

/// The system's page size.
pub(crate) fn page_bytes() -> usize {
    static BYTES: OnceLock<usize> = OnceLock::new();
    *BYTES.get_or_init(|| {
        // SAFETY: sysconf reads a constant of the system.
        let bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
        usize::try_from(bytes).ok().filter(|bytes| bytes.is_power_of_two()).expect("a unix has a page size")
    })
}

/// Installs the handler, once per process.
pub(crate) fn install() -> io::Result<()> {
    static INSTALLED: Mutex<bool> = Mutex::new(false);
    let mut installed = INSTALLED.lock().unwrap_or_else(PoisonError::into_inner);
    if *installed {
        return Ok(());
    }
    PAGE_BYTES.store(page_bytes(), Ordering::Release);
    // SAFETY: an all-zero `sigaction` is a valid value of that C struct.
    let mut previous: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: a null action only reads; `previous` is a live `sigaction`.
    if unsafe { libc::sigaction(libc::SIGBUS, ptr::null(), &raw mut previous) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // Known before our handler can run. Leaked, so that the handler may read it at any time.
    PREVIOUS.store(Box::into_raw(Box::new(previous)), Ordering::Release);
    let mut ours = previous;
    ours.sa_sigaction = on_sigbus as extern "C" fn(c_int, *mut siginfo_t, *mut c_void) as usize;
    // The previous handler's mask is kept: it may rely on it when we pass a fault on.
    ours.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | (previous.sa_flags & libc::SA_NODEFER);
    // SAFETY: `ours` is a whole `sigaction` whose handler has the SA_SIGINFO signature and is async-signal-safe.
    if unsafe { libc::sigaction(libc::SIGBUS, &raw const ours, ptr::null_mut()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    *installed = true;
    Ok(())
}

extern "C" fn on_sigbus(signal: c_int, info: *mut siginfo_t, context: *mut c_void) {
    // SAFETY: errno is this thread's own; the kernel hands a valid `info` to an SA_SIGINFO handler.
    let (errno, code, address) = unsafe { (*errno_location(), (*info).si_code, (*info).si_addr().addr()) };
    if !(is_fault(code) && cover(address)) {
        pass_on(signal, info, context, is_fault(code));
    }
    // SAFETY: as above. The interrupted code must find the errno that it left.
    unsafe { *errno_location() = errno };
}

/// Whether the signal came from a load or store of this thread (and not from `kill`, where no address is given).
fn is_fault(code: c_int) -> bool {
    code > 0 && !is_notice(code)
}

/// Linux may announce broken memory that nobody has touched yet; that is not ours to repair.
#[cfg(target_os = "linux")]
fn is_notice(code: c_int) -> bool {
    code == libc::BUS_MCEERR_AO
}

#[cfg(not(target_os = "linux"))]
fn is_notice(_code: c_int) -> bool {
    false
}

/// Maps zeros from the page of `address` to the end of its range and poisons the range; false if it is not ours.
fn cover(address: usize) -> bool {
    let page = PAGE_BYTES.load(Ordering::Acquire);
    for slot in &TABLE {
        let Some((start, end)) = slot.range() else { continue };
        if !(start..end).contains(&address) {
            continue;
        }
        slot.poisoned.store(true, Ordering::Release);
        let first = address & !(page - 1);
        // SAFETY: first..end lies inside a range that is mapped by us and stays so while this thread reads it; the
        // protection is the same, so every borrowed slice remains readable memory.
        let zeros = unsafe {
            libc::mmap(
                ptr::with_exposed_provenance_mut(first),
                end - first,
                libc::PROT_READ,
                libc::MAP_PRIVATE | libc::MAP_ANON | libc::MAP_FIXED | libc::MAP_NORESERVE,
                -1,
                0,
            )
        };
        return zeros != libc::MAP_FAILED;
    }
    false
}

/// Does what would have happened without us.
fn pass_on(signal: c_int, info: *mut siginfo_t, context: *mut c_void, is_fault: bool) {
    let previous = PREVIOUS.load(Ordering::Acquire);
    // SAFETY: PREVIOUS is null or a leaked, never changed `sigaction`.
    let Some(action) = (unsafe { previous.as_ref() }) else { return default_action(signal, is_fault) };
    match action.sa_sigaction {
        libc::SIG_DFL => default_action(signal, is_fault),
        // The kernel does not let a fault be ignored either.
        libc::SIG_IGN if is_fault => default_action(signal, is_fault),
        libc::SIG_IGN => {}
        handler => {
            if action.sa_flags & libc::SA_RESETHAND != 0 {
                PREVIOUS.store(null_mut(), Ordering::Release);
            }
            if action.sa_flags & libc::SA_SIGINFO != 0 {
                // SAFETY: with SA_SIGINFO the stored address is a function of this signature.
                let handler: extern "C" fn(c_int, *mut siginfo_t, *mut c_void) =
                    unsafe { std::mem::transmute(handler as *const ()) };
                handler(signal, info, context);
            } else {
                // SAFETY: without SA_SIGINFO the stored address is a function of one int.
                let handler: extern "C" fn(c_int) = unsafe { std::mem::transmute(handler as *const ()) };
                handler(signal);
            }
        }
    }
}

/// Gives the signal back to the kernel. A fault happens again when we return, with its true address for the core
/// file; a sent signal has to be sent again, and waits until we return because it is blocked in its handler.
fn default_action(signal: c_int, is_fault: bool) {
    // SAFETY: zeroed is a valid `sigaction`, and SIG_DFL with an empty mask a valid action; both calls are
    // async-signal-safe.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = libc::SIG_DFL;
        libc::sigaction(signal, &raw const action, ptr::null_mut());
        if !is_fault {
            libc::raise(signal);
        }
    }
}

#[cfg(any(target_os = "linux", target_os = "emscripten", target_os = "hurd", target_os = "redox"))]
unsafe fn errno_location() -> *mut c_int {
    // SAFETY: always valid for the calling thread.
    unsafe { libc::__errno_location() }
}

#[cfg(any(target_os = "macos", target_os = "ios", target_os = "freebsd"))]
unsafe fn errno_location() -> *mut c_int {
    // SAFETY: always valid for the calling thread.
    unsafe { libc::__error() }
}

#[cfg(any(target_os = "android", target_os = "netbsd", target_os = "openbsd"))]
unsafe fn errno_location() -> *mut c_int {
    // SAFETY: always valid for the calling thread.
    unsafe { libc::__errno() }
}
