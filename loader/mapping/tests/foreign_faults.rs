//! Faults outside our maps get what they would have got without us. Each case runs in a child, which it may kill.
//!
//! Without a test harness: run plainly it is the parent, with the name of a case it is the child.
#![cfg(unix)]
#![allow(unsafe_code)]

use std::fs::{self, OpenOptions};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, ExitStatus};
use std::ptr;

use libc::{c_int, c_void, siginfo_t};
use mapping::MappedFile;

/// How a child that was handed its fault says so.
const HANDED_ON: c_int = 42;

struct Case {
    name: &'static str,
    body: fn(&Path),
    expected: fn(ExitStatus) -> bool,
}

const CASES: &[Case] = &[
    Case { name: "to_a_handler_with_information", body: information, expected: handed_on },
    Case { name: "to_a_plain_handler", body: plain, expected: handed_on },
    Case { name: "to_the_default", body: default, expected: killed },
    Case { name: "to_the_runtime_of_the_language", body: untouched, expected: killed },
    Case { name: "ignored_faults_still_kill", body: ignored, expected: killed },
    Case { name: "a_sent_signal_to_the_default", body: sent, expected: killed },
    Case { name: "a_sent_signal_ignored", body: sent_ignored, expected: succeeded },
    Case { name: "our_own_faults_are_ours", body: ours, expected: succeeded },
    Case { name: "a_handler_for_one_fault_is_asked_once", body: one_shot, expected: killed },
];

fn main() {
    if let Some(case) = CASES.iter().find(|case| std::env::args().nth(1).as_deref() == Some(case.name)) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        (case.body)(folder.path());
        return;
    }
    let program = std::env::current_exe().expect("this program's path");
    for case in CASES {
        let status = Command::new(&program).arg(case.name).status().expect("the child starts");
        assert!((case.expected)(status), "{}: the child ended with {status}", case.name);
        println!("{} ... ok", case.name);
    }
}

fn handed_on(status: ExitStatus) -> bool {
    status.code() == Some(HANDED_ON)
}

fn succeeded(status: ExitStatus) -> bool {
    status.success()
}

fn killed(status: ExitStatus) -> bool {
    status.signal() == Some(libc::SIGBUS)
}

fn information(folder: &Path) {
    install(on_fault_with_information as *const () as usize, libc::SA_SIGINFO);
    guarded(folder);
    foreign_fault(folder);
}

fn plain(folder: &Path) {
    install(on_fault as *const () as usize, 0);
    guarded(folder);
    foreign_fault(folder);
}

fn default(folder: &Path) {
    install(libc::SIG_DFL, 0);
    guarded(folder);
    foreign_fault(folder);
}

fn untouched(folder: &Path) {
    guarded(folder);
    foreign_fault(folder);
}

fn ignored(folder: &Path) {
    install(libc::SIG_IGN, 0);
    guarded(folder);
    foreign_fault(folder);
}

fn sent(folder: &Path) {
    install(libc::SIG_DFL, 0);
    guarded(folder);
    // SAFETY: raise has no preconditions.
    unsafe { libc::raise(libc::SIGBUS) };
}

fn sent_ignored(folder: &Path) {
    install(libc::SIG_IGN, 0);
    guarded(folder);
    // SAFETY: raise has no preconditions.
    unsafe { libc::raise(libc::SIGBUS) };
}

fn ours(folder: &Path) {
    install(on_fault as *const () as usize, 0);
    guarded(folder);
}

/// The previous handler returns without repair, so the fault repeats; by then its one turn is used up.
fn one_shot(folder: &Path) {
    install(on_fault_do_nothing as *const () as usize, libc::SA_RESETHAND);
    guarded(folder);
    foreign_fault(folder);
}

/// Puts the guard in place and has it repair a fault of ours.
fn guarded(folder: &Path) {
    let path = folder.join("ours");
    fs::write(&path, vec![1; 1 << 20]).expect("the file is written");
    let mapped = MappedFile::open(&path).expect("the file is mapped");
    OpenOptions::new().write(true).open(&path).expect("the file opens").set_len(1).expect("the file is cut");
    // SAFETY: closing no descriptor only sets errno.
    unsafe { libc::close(-1) };
    assert_eq!(mapped.bytes()[1 << 19], 0);
    assert_eq!(std::io::Error::last_os_error().raw_os_error(), Some(libc::EBADF), "errno survives a repaired fault");
    assert!(mapped.is_poisoned());
}

/// Reads behind the end of a file that this crate knows nothing of.
fn foreign_fault(folder: &Path) {
    let path = folder.join("foreign");
    fs::write(&path, b"").expect("the file is written");
    let file = fs::File::open(&path).expect("the file opens");
    // SAFETY: a fresh map of one page; the read is meant to fault.
    unsafe {
        let descriptor = std::os::fd::AsRawFd::as_raw_fd(&file);
        let page = libc::mmap(ptr::null_mut(), 4096, libc::PROT_READ, libc::MAP_SHARED, descriptor, 0);
        assert_ne!(page, libc::MAP_FAILED);
        EXPECTED.store(page.addr(), std::sync::atomic::Ordering::Relaxed);
        ptr::read_volatile(page.cast::<u8>());
    }
    unreachable!("the fault was swallowed");
}

static EXPECTED: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);

fn install(handler: usize, flags: c_int) {
    // SAFETY: zeroed is a valid `sigaction`; the handlers below only compare and `_exit`.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler;
        action.sa_flags = flags;
        assert_eq!(libc::sigaction(libc::SIGBUS, &raw const action, ptr::null_mut()), 0);
    }
}

extern "C" fn on_fault(_signal: c_int) {
    // SAFETY: `_exit` is async-signal-safe.
    unsafe { libc::_exit(HANDED_ON) }
}

extern "C" fn on_fault_with_information(signal: c_int, info: *mut siginfo_t, context: *mut c_void) {
    let expected = EXPECTED.load(std::sync::atomic::Ordering::Relaxed);
    // SAFETY: `info` comes from the kernel; `_exit` is async-signal-safe.
    unsafe {
        let same = (*info).si_addr().addr() == expected && signal == libc::SIGBUS && !context.is_null();
        libc::_exit(if same { HANDED_ON } else { 1 })
    }
}

extern "C" fn on_fault_do_nothing(_signal: c_int) {}
