//! A forked child of this process that is confined by real programs and makes one call.

use std::arch::asm;
use std::io;
use std::mem::zeroed;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicI64, Ordering};

use super::*;
use crate::policy::compile;
use crate::sys;

/// How long a call may take, in milliseconds: they all have bad arguments, and so nothing to wait for.
const PATIENCE: i32 = 10_000;

/// What is seen of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// It returned this, a negative `errno` for a refusal.
    Returned(i64),
    /// Its caller was ended by this signal.
    Killed(i32),
    /// Its caller exited.
    Exited,
    /// It came to the listener, which killed the caller.
    Notified { number: i32, arguments: [u64; 6] },
    /// A program could not be installed.
    NotInstalled(i32),
    /// It neither returned nor ended.
    Hung,
}

/// How a call is made.
#[derive(Clone, Copy, Debug)]
pub(super) enum Way {
    /// `syscall`.
    Native,
    /// `int 0x80`, by which the 32-bit ABI is entered.
    Int80,
}

/// What the child leaves for its parent, in memory that they share.
#[repr(C)]
struct Report {
    /// Descriptor of the listener in the child; -1 if there is none.
    listener: AtomicI64,
    /// [`RETURNED`] once the call has.
    state: AtomicI64,
    result: AtomicI64,
}

const RETURNED: i64 = 1;
const NOT_INSTALLED: i64 = 2;

/// A page shared with the children that are forked while it lives.
struct Shared(*mut Report);

impl Shared {
    fn new() -> Self {
        let (access, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_ANONYMOUS);
        // SAFETY: a new mapping, wherever the kernel wants it; all-zero is a valid `Report`.
        let page = unsafe { libc::mmap(null_mut(), size_of::<Report>(), access, kind, -1, 0) };
        assert_ne!(page, libc::MAP_FAILED, "a page can be mapped");
        let shared = Self(page.cast());
        shared.report().listener.store(-1, Ordering::Relaxed);
        shared
    }

    fn report(&self) -> &Report {
        // SAFETY: the mapping lives as long as `self`; both processes reach it through atomics only.
        unsafe { &*self.0 }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // SAFETY: the mapping of `new`, to which no reference is left.
        unsafe { libc::munmap(self.0.cast(), size_of::<Report>()) };
    }
}

/// Whether a program notifies.
fn notifies(program: &BpfProgram) -> bool {
    program.iter().any(|instruction| {
        let code = u32::from(instruction.code);
        code == libc::BPF_RET | libc::BPF_K && instruction.k == libc::SECCOMP_RET_USER_NOTIF
    })
}

/// Forks a child that installs the programs, in order, and makes the call.
pub(super) fn watch(programs: &[&BpfProgram], way: Way, number: u32, arguments: [u64; 6]) -> Seen {
    let shared = Shared::new();
    // Two pipes: the child says by one that it is ready, and waits at the other until it is watched.
    let (ready, theirs_ready) = pipe();
    let (theirs_go, go) = pipe();
    // SAFETY: the child makes system calls alone, on what was prepared above, and never returns.
    let cloned = unsafe { sys::clone3(sys::CLONE_CLEAR_SIGHAND, None) }.expect("a child can be forked");
    let Some(child) = cloned else {
        suffer(shared.report(), programs, theirs_ready.as_raw_fd(), theirs_go.as_raw_fd(), || {
            make(way, number, arguments)
        })
    };
    drop((theirs_ready, theirs_go));
    let pidfd = child.pidfd.as_fd();
    let seen = (|| {
        let mut byte = [0_u8];
        // SAFETY: one byte of room. The child writes one, or ends.
        let got = unsafe { libc::read(ready.as_raw_fd(), byte.as_mut_ptr().cast(), 1) };
        if got != 1 {
            return None;
        }
        let listener =
            RawFd::try_from(shared.report().listener.load(Ordering::Acquire)).expect("a descriptor");
        let listener =
            (listener != -1).then(|| sys::pidfd_getfd(pidfd, listener).expect("the child's listener"));
        // SAFETY: one byte, which the child waits for.
        unsafe { libc::write(go.as_raw_fd(), byte.as_ptr().cast(), 1) };
        match listener {
            Some(listener) => await_call(listener.as_fd(), pidfd),
            None => await_end(pidfd),
        }
    })();
    let _ = sys::kill(pidfd);
    let ended = status(pidfd);
    let report = shared.report();
    match (seen, report.state.load(Ordering::Acquire)) {
        (Some(seen), _) => seen,
        (None, RETURNED) => Seen::Returned(report.result.load(Ordering::Acquire)),
        (None, NOT_INSTALLED) => Seen::NotInstalled(
            i32::try_from(report.result.load(Ordering::Acquire)).expect("an errno is a small number"),
        ),
        (None, _) => ended,
    }
}

fn pipe() -> (OwnedFd, OwnedFd) {
    let mut ends = [-1; 2];
    // SAFETY: `ends` has room for two descriptors, which nobody else owns.
    unsafe {
        assert_eq!(libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC), 0, "a pipe can be made");
        (OwnedFd::from_raw_fd(ends[0]), OwnedFd::from_raw_fd(ends[1]))
    }
}

/// The child. Of what a process has it uses nothing but system calls: other threads' locks stay locked here.
fn suffer(
    report: &Report,
    programs: &[&BpfProgram],
    ready: RawFd,
    go: RawFd,
    call: impl FnOnce() -> i64,
) -> ! {
    // SAFETY: takes no pointers but to a limit and bytes that outlive the calls.
    unsafe {
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        // No core file, wherever the host sends them.
        libc::prctl(libc::PR_SET_DUMPABLE, 0);
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
        let mut byte = [0_u8];
        let mut last = -1;
        for program in programs {
            match compile::install(program, notifies(program)) {
                Ok(Some(listener)) => last = listener.into_raw_fd(),
                Ok(None) => {}
                Err(error) => {
                    report.result.store(error.raw_os_error().unwrap_or(0).into(), Ordering::Relaxed);
                    report.state.store(NOT_INSTALLED, Ordering::Release);
                    libc::_exit(0);
                }
            }
        }
        report.listener.store(last.into(), Ordering::Release);
        libc::write(ready, byte.as_ptr().cast(), 1);
        libc::read(go, byte.as_mut_ptr().cast(), 1);
        let result = call();
        report.result.store(result, Ordering::Relaxed);
        report.state.store(RETURNED, Ordering::Release);
        libc::_exit(0)
    }
}

/// Makes a call and returns what is in the register then: the C library is not to put it into `errno`.
fn make(way: Way, number: u32, arguments: [u64; 6]) -> i64 {
    match way {
        Way::Native => {
            let [a, b, c, d, e, f] = arguments;
            let mut result = i64::from(number);
            // SAFETY: all that the kernel can do is done to this process, which exists for that.
            unsafe {
                asm!("syscall", inlateout("rax") result, in("rdi") a, in("rsi") b, in("rdx") c, in("r10") d,
                     in("r8") e, in("r9") f, lateout("rcx") _, lateout("r11") _);
            }
            result
        }
        Way::Int80 => {
            let mut result = i64::from(number);
            // SAFETY: as above. Registers of this ABI are 32 bits wide; rbx, which the compiler keeps for itself, is
            // put back.
            unsafe {
                asm!("xchg {first}, rbx", "int 0x80", "xchg {first}, rbx", first = inout(reg) arguments[0] => _,
                     inlateout("rax") result, in("rcx") arguments[1], in("rdx") arguments[2],
                     in("rsi") arguments[3], in("rdi") arguments[4],
                     lateout("r8") _, lateout("r9") _, lateout("r10") _, lateout("r11") _);
            }
            result
        }
    }
}

/// The first of: a notified call, the end of the child. `None` is the latter.
fn await_call(listener: BorrowedFd<'_>, pidfd: BorrowedFd<'_>) -> Option<Seen> {
    let entry = |fd: BorrowedFd<'_>| libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    let mut polled = [entry(listener), entry(pidfd)];
    // SAFETY: two entries, which outlive the call.
    if unsafe { libc::poll(polled.as_mut_ptr(), 2, PATIENCE) } == 0 {
        return Some(Seen::Hung);
    }
    if polled[0].revents & libc::POLLIN == 0 {
        return None;
    }
    let call = sys::notification_receive(listener).expect("a notification can be received")?;
    Some(Seen::Notified { number: call.number, arguments: call.arguments })
}

fn await_end(pidfd: BorrowedFd<'_>) -> Option<Seen> {
    let mut polled = libc::pollfd { fd: pidfd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: one entry, which outlives the call.
    (unsafe { libc::poll(&raw mut polled, 1, PATIENCE) } == 0).then_some(Seen::Hung)
}

/// Reaps the child and says how it ended.
fn status(pidfd: BorrowedFd<'_>) -> Seen {
    // SAFETY: all-zero is room for a siginfo, which outlives the call.
    let (code, status) = unsafe {
        let mut info: libc::siginfo_t = zeroed();
        let id = pidfd.as_raw_fd().cast_unsigned();
        let result = libc::waitid(libc::P_PIDFD, id, &raw mut info, libc::WEXITED);
        assert_eq!(result, 0, "the child can be waited for: {}", io::Error::last_os_error());
        (info.si_code, info.si_status())
    };
    if code == libc::CLD_EXITED { Seen::Exited } else { Seen::Killed(status) }
}

/// Of Linux 6.11 and 6.18.
const URETPROBE: libc::c_long = 335;
const UPROBE: libc::c_long = 336;

/// What is to be seen of a call that has these bad arguments.
fn expected(action: Action, number: u32, arguments: [u64; 6]) -> impl Fn(Seen) -> bool {
    let is = move |call: libc::c_long| i64::from(number) == call;
    move |seen| match action {
        // Newer kernels ask no filter about these two, which they serve to their own trampolines alone.
        Action::Notify if is(URETPROBE) && seen == Seen::Killed(libc::SIGILL) => true,
        Action::Notify if is(UPROBE) && seen == Seen::Returned(-i64::from(libc::ENXIO)) => true,
        Action::KillProcess => seen == Seen::Killed(libc::SIGSYS),
        Action::Errno(errno) => seen == Seen::Returned(-i64::from(errno)),
        Action::Notify => seen == Seen::Notified { number: number.cast_signed(), arguments },
        Action::Allow if is(libc::SYS_exit) || is(libc::SYS_exit_group) => seen == Seen::Exited,
        // There is no frame of a signal to return to.
        Action::Allow if is(libc::SYS_rt_sigreturn) => seen == Seen::Killed(libc::SIGSEGV),
        // What it says to operations that there are not.
        Action::Allow if is(libc::SYS_futex) && seen == Seen::Returned(-i64::from(libc::ENOSYS)) => true,
        // The kernel refuses bad arguments otherwise than the policy refuses calls.
        Action::Allow => matches!(seen, Seen::Returned(result)
            if result != -i64::from(libc::EACCES) && result != -i64::from(libc::ENOSYS)),
        Action::KillThread | Action::Trap(_) | Action::Trace(_) | Action::Log => false,
    }
}

/// Both stages without a grant, and with all of them what can be done at most.
const WATCHED: [(&[Grant], Stage); 3] =
    [(&[], Stage::BeforeInit), (&[], Stage::AfterInit), (Grant::ALL, Stage::BeforeInit)];

/// Every number, made for real under the real programs.
#[test]
fn a_victim_meets_what_the_table_says() {
    for (grants, stage) in WATCHED {
        let programs = Programs::compile(grants).expect("the policy compiles");
        let standing = standing(&programs, stage);
        for number in every_number() {
            let arguments = [BAD; 6];
            let action = told(grants, stage, &native(number, arguments));
            let seen = watch(&standing, Way::Native, number, arguments);
            let right = expected(action, number, arguments)(seen);
            assert!(right, "{grants:?}, {stage:?}, call {number}: {action:?}, {seen:?}");
        }
    }
}

/// Every alternative of every conditional line, satisfied: what the table allows reaches the kernel.
#[test]
fn a_victim_meets_each_alternative() {
    for (grants, stage) in WATCHED {
        let programs = Programs::compile(grants).expect("the policy compiles");
        let standing = standing(&programs, stage);
        for entry in POLICY.iter().chain(AFTER_INIT) {
            for conditions in alternatives(entry.rule) {
                let number = u32::try_from(entry.number).expect("a number of a call");
                let arguments = satisfying(conditions);
                let action = told(grants, stage, &native(number, arguments));
                let seen = watch(&standing, Way::Native, number, arguments);
                let right = expected(action, number, arguments)(seen);
                assert!(right, "{grants:?}, {stage:?}, {entry:?}: {action:?}, {seen:?}");
            }
        }
    }
}

/// The other two ABIs that the processor can be asked for by the same process.
#[test]
fn a_victim_reaches_nothing_by_a_foreign_abi() {
    let programs = Programs::compile(Grant::ALL).expect("the policy compiles");
    let standing = standing(&programs, Stage::BeforeInit);
    for number in every_number() {
        let x32 = watch(&standing, Way::Native, number | X32_BIT, [BAD; 6]);
        assert_eq!(x32, Seen::Killed(libc::SIGSYS), "x32 call {number}");
    }
    // Where the kernel has no 32-bit ABI the instruction itself faults.
    let end = match watch(&[], Way::Int80, 20, [0; 6]) {
        Seen::Returned(_) => libc::SIGSYS,
        _ => libc::SIGSEGV,
    };
    for number in every_number() {
        let i386 = watch(&standing, Way::Int80, number, [BAD; 6]);
        assert_eq!(i386, Seen::Killed(end), "i386 call {number}");
    }
}
