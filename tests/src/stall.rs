//! A thread of another process that is made to run in a circle, as a fault of its program would.

use std::fs;
use std::io::Error;
use std::thread::yield_now;
use std::time::{Duration, Instant};

use crate::process::Process;

/// How long it may take until a thread is found asleep in its ring's call.
const PATIENCE: Duration = Duration::from_secs(20);

/// `jmp .`, the two bytes of it that a little-endian word begins with.
const JUMP_TO_SELF: i64 = 0xfeeb;

/// A thread that computes and comes to nothing, until it is released. To be released by the thread that has made it.
#[derive(Debug)]
pub struct Stalled {
    tid: i32,
    registers: libc::user_regs_struct,
    at: u64,
    word: i64,
}

/// The thread of a process that has this name.
pub fn thread(process: &Process, name: &str) -> i32 {
    let threads = fs::read_dir(process.path("task")).expect("the process runs").flatten();
    let named = |thread: &fs::DirEntry| {
        fs::read_to_string(thread.path().join("comm")).is_ok_and(|comm| comm.trim_end() == name)
    };
    let found = threads.into_iter().find(named).unwrap_or_else(|| panic!("there is no thread {name}"));
    found.file_name().to_str().and_then(|tid| tid.parse().ok()).expect("threads have numbers")
}

/// Has a thread of a process that has a ring run in a circle from now on: it is led to two bytes at the end of the
/// program's code, where nobody else comes.
pub fn stall(process: &Process, tid: i32) -> Stalled {
    let at = end_of_code(process);
    let registers = interrupt_in_ring(tid);
    // SAFETY: reads and writes a word of the stopped thread's own, private memory.
    let word = unsafe {
        let word = libc::ptrace(libc::PTRACE_PEEKTEXT, tid, at, 0);
        let jump = word & !0xffff | JUMP_TO_SELF;
        assert_eq!(libc::ptrace(libc::PTRACE_POKETEXT, tid, at, jump), 0, "{}", Error::last_os_error());
        word
    };
    // The call that it is in is over, and is not to be begun again.
    let circle = libc::user_regs_struct { rip: at, orig_rax: u64::MAX, ..registers };
    resume(tid, &circle);
    Stalled { tid, registers, at, word }
}

impl Stalled {
    /// It goes on where it was; its call was interrupted.
    pub fn release(self) {
        let Self { tid, registers, at, word } = self;
        interrupt(tid);
        // SAFETY: as above.
        unsafe { assert_eq!(libc::ptrace(libc::PTRACE_POKETEXT, tid, at, word), 0) };
        let interrupted = i64::from(-libc::EINTR).cast_unsigned();
        resume(tid, &libc::user_regs_struct { rax: interrupted, orig_rax: u64::MAX, ..registers });
    }
}

/// Where the last eight bytes of the executable's mapped code are.
fn end_of_code(process: &Process) -> u64 {
    let maps = process.read("maps");
    let program = fs::read_link(process.path("exe")).expect("the process runs").display().to_string();
    let code = maps.lines().find(|line| line.contains(" r-xp ") && line.ends_with(&program));
    let end = code.and_then(|line| line.split(['-', ' ']).nth(1)).expect("a program has code");
    u64::from_str_radix(end, 16).expect("an address") - 8
}

/// Stops a thread in the call that it waits in for its ring, which may be interrupted at any time. In another call, or
/// between calls, it would go on afterwards as if it had done what it has not.
fn interrupt_in_ring(tid: i32) -> libc::user_regs_struct {
    let begun = Instant::now();
    loop {
        interrupt(tid);
        let registers = registers(tid);
        if registers.orig_rax.cast_signed() == libc::SYS_io_uring_enter {
            return registers;
        }
        detach(tid);
        assert!(begun.elapsed() < PATIENCE, "the thread does not wait for its ring");
        yield_now();
    }
}

/// Stops a thread, which is watched from then on.
fn interrupt(tid: i32) {
    // SAFETY: no memory but `status` is touched, which outlives the call.
    unsafe {
        assert_eq!(libc::ptrace(libc::PTRACE_SEIZE, tid, 0, 0), 0, "{}", Error::last_os_error());
        assert_eq!(libc::ptrace(libc::PTRACE_INTERRUPT, tid, 0, 0), 0, "{}", Error::last_os_error());
        let mut status = 0;
        assert_eq!(libc::waitpid(tid, &raw mut status, libc::__WALL), tid, "{}", Error::last_os_error());
        assert!(libc::WIFSTOPPED(status), "status {status}");
    }
}

fn registers(tid: i32) -> libc::user_regs_struct {
    // SAFETY: the structure is numbers only, and outlives the call, which fills it.
    unsafe {
        let mut registers = std::mem::zeroed::<libc::user_regs_struct>();
        let got = libc::ptrace(libc::PTRACE_GETREGS, tid, 0, &raw mut registers);
        assert_eq!(got, 0, "{}", Error::last_os_error());
        registers
    }
}

/// Lets a stopped thread go on like this, unwatched.
fn resume(tid: i32, registers: &libc::user_regs_struct) {
    // SAFETY: the structure outlives the call, which reads it.
    unsafe {
        let set = libc::ptrace(libc::PTRACE_SETREGS, tid, 0, &raw const *registers);
        assert_eq!(set, 0, "{}", Error::last_os_error());
    }
    detach(tid);
}

/// Lets a stopped thread go on, unwatched.
fn detach(tid: i32) {
    // SAFETY: touches no memory.
    let detached = unsafe { libc::ptrace(libc::PTRACE_DETACH, tid, 0, 0) };
    assert_eq!(detached, 0, "{}", Error::last_os_error());
}
