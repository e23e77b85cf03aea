//! What the SDK promises about forked and confined workers, in real forked and confined processes.

use hairtrigger_abi::{Error, Function, Host, RandomState, Request, Response, descriptor, raw};
use std::ffi::{c_char, c_void};
use std::hash::BuildHasher;
use std::io::Read;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr;
use std::sync::atomic::{AtomicI32, Ordering::Relaxed};

/// What a child wrote, and its wait status.
struct Ended {
    output: String,
    status: i32,
}

/// Forks; the child runs `body` with its log and standard error going to a pipe, and exits with the result.
fn in_child(body: impl FnOnce() -> i32) -> Ended {
    let mut ends = [0; 2];
    // SAFETY: room for two descriptors.
    assert_eq!(unsafe { libc::pipe(ends.as_mut_ptr()) }, 0);
    // SAFETY: both are new and nobody else's.
    let (reading, writing) = unsafe { (OwnedFd::from_raw_fd(ends[0]), OwnedFd::from_raw_fd(ends[1])) };
    // SAFETY: the child goes on with this thread alone. It takes no lock of the test harness: it writes with
    // write(2) and leaves with _exit(2).
    let child = unsafe { libc::fork() };
    assert!(child >= 0, "fork failed");
    if child == 0 {
        LOG.store(writing.as_raw_fd(), Relaxed);
        // SAFETY: plain system calls on descriptors of this process.
        unsafe {
            libc::dup2(writing.as_raw_fd(), 2);
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body)).unwrap_or(99);
            libc::_exit(result);
        }
    }
    drop(writing);
    let mut output = String::new();
    std::fs::File::from(reading).read_to_string(&mut output).expect("the child writes text");
    let mut status = 0;
    // SAFETY: a child of this process that nobody else waits for.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
    Ended { output, status }
}

fn say(text: &str) {
    // SAFETY: address and length of a `str`.
    unsafe { libc::write(LOG.load(Relaxed), text.as_ptr().cast(), text.len()) };
}

/// The hash of one value under a fresh state of the SDK, and of the standard library.
struct Hashes;

fn hash_lines() -> String {
    let std = std::collections::hash_map::RandomState::new();
    format!("sdk {:x}\nstd {:x}\n", RandomState::new().hash_one("key"), std.hash_one("key"))
}

impl Function for Hashes {
    fn init(_: &Host) -> Result<Self, Error> {
        let _ = RandomState::new();
        Ok(Self)
    }

    fn worker_start(&mut self, _: &Host) -> Result<(), Error> {
        say(&hash_lines());
        Ok(())
    }

    fn invoke(&mut self, _: &Request<'_>, _: &mut Response<'_>) -> Result<(), Error> {
        Ok(())
    }
}

/// Makes a template of [`Hashes`] and three workers of it; `prepare` runs in the template before `init`.
/// Gives the three (SDK, standard library) hashes.
fn hashes_of_three_workers(prepare: fn()) -> Vec<(String, String)> {
    // A thread of its own stands for the template's process: the standard library's seed is per thread.
    let template = std::thread::spawn(move || {
        prepare();
        let function = descriptor::<Hashes>();
        let mut state = ptr::null_mut();
        // SAFETY: the entries as the contract has them: one thread, state from `init`.
        assert_eq!(unsafe { function.init.expect("init")(&raw const HOST, &raw mut state) }, 0);
        let worker = || {
            // SAFETY: as above.
            let ended =
                in_child(|| unsafe { function.worker_start.expect("worker_start")(&raw const HOST, state) });
            assert_eq!(ended.status, 0, "{}", ended.output);
            let mut words = ended.output.split_whitespace().skip(1).step_by(2).map(str::to_owned);
            (words.next().expect("a hash of the SDK"), words.next().expect("a hash of the standard library"))
        };
        vec![worker(), worker(), worker()]
    });
    template.join().expect("the template did its work")
}

fn distinct<'a>(hashes: impl Iterator<Item = &'a String>) -> usize {
    hashes.collect::<std::collections::BTreeSet<_>>().len()
}

#[test]
fn workers_have_hash_seeds_of_their_own_even_if_the_template_made_hash_maps() {
    let hashes = hashes_of_three_workers(|| {
        let _ = std::collections::hash_map::RandomState::new();
    });
    assert_eq!(distinct(hashes.iter().map(|(sdk, _)| sdk)), 3, "{hashes:?}");
    // The reason why the SDK has a hasher of its own. Should this fail one day, the standard library has
    // learnt to reseed, and the SDK's may go.
    assert_eq!(distinct(hashes.iter().map(|(_, std)| std)), 1, "{hashes:?}");
}

#[test]
fn the_sdk_itself_leaves_the_standard_librarys_seed_untouched_in_the_template() {
    let hashes = hashes_of_three_workers(|| ());
    assert_eq!(distinct(hashes.iter().map(|(_, std)| std)), 3, "{hashes:?}");
}

struct Panics;

impl Function for Panics {
    fn init(_: &Host) -> Result<Self, Error> {
        Ok(Self)
    }

    fn invoke(&mut self, request: &Request<'_>, _: &mut Response<'_>) -> Result<(), Error> {
        panic!("cannot serve {}", request.path())
    }
}

#[test]
fn a_panic_makes_no_system_call_but_for_memory_locks_and_its_log_line() {
    let request = raw::Request {
        struct_size: 120,
        header_count: 0,
        headers: ptr::null(),
        method: bytes("GET"),
        path: bytes("/x"),
        query: bytes(""),
        body: bytes(""),
        invocation_id: bytes("00112233445566778899aabbccddeeff"),
        deadline_ns: u64::MAX,
        trailers: ptr::null(),
        trailer_count: 0,
    };
    let ended = in_child(|| {
        // What makes the standard library's own report look at files.
        // SAFETY: the only thread of this process.
        unsafe { std::env::set_var("RUST_BACKTRACE", "full") };
        let function = descriptor::<Panics>();
        let mut state = ptr::null_mut();
        // SAFETY: the entries as the contract has them: one thread, state from `init`, valid request.
        unsafe {
            assert_eq!(function.init.expect("init")(&raw const HOST, &raw mut state), 0);
            assert_eq!(function.worker_start.expect("worker_start")(&raw const HOST, state), 0);
            allow_only(&[
                libc::SYS_write,
                libc::SYS_brk,
                libc::SYS_futex,
                libc::SYS_mmap,
                libc::SYS_mprotect,
                libc::SYS_munmap,
                libc::SYS_mremap,
                libc::SYS_exit_group,
            ]);
            function.invoke.expect("invoke")(&raw const HOST, state, ptr::null_mut(), &raw const request)
        }
    });
    assert!(
        libc::WIFEXITED(ended.status),
        "killed by signal {}: a system call that is not allowed (31 is SIGSYS)",
        libc::WTERMSIG(ended.status)
    );
    assert_eq!(libc::WEXITSTATUS(ended.status), 101, "{}", ended.output);
    assert!(ended.output.starts_with("log 1: panicked at "), "{}", ended.output);
    assert!(ended.output.ends_with(": cannot serve /x\n"), "{}", ended.output);
}

/// Has the kernel kill this process at any system call that is not listed.
fn allow_only(calls: &[libc::c_long]) {
    let statement = |code: u32, jt: u8, jf: u8, k: u32| libc::sock_filter {
        code: u16::try_from(code).expect("operation codes are small"),
        jt,
        jf,
        k,
    };
    // The number of the call is the first word of what a filter is given.
    let mut program = vec![statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0)];
    for call in calls {
        let number = u32::try_from(*call).expect("call numbers are small");
        program.push(statement(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, number));
        program.push(statement(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW));
    }
    program.push(statement(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_KILL_PROCESS));
    let filter = libc::sock_fprog {
        len: u16::try_from(program.len()).expect("a short program"),
        filter: program.as_mut_ptr(),
    };
    // SAFETY: the filter and its program live until the kernel has copied them.
    unsafe {
        assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
        assert_eq!(libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const filter), 0);
    }
}

fn bytes(text: &'static str) -> raw::Bytes {
    raw::Bytes { data: text.as_ptr(), len: text.len() }
}

/// Where the host's log goes in a child.
static LOG: AtomicI32 = AtomicI32::new(2);

/// A host that only logs.
static HOST: raw::Host = raw::Host {
    abi_version: raw::ABI_VERSION,
    struct_size: 88,
    log,
    now_ns,
    env,
    set_status,
    add_header,
    write,
    reserve,
    commit,
    alloc,
    add_trailer: add_header,
};

unsafe extern "C" fn log(level: u32, text: *const u8, len: usize) {
    // SAFETY: the caller lends `len` bytes at `text`.
    let text = unsafe { std::slice::from_raw_parts(text, len) };
    say(&format!("log {level}: {}\n", String::from_utf8_lossy(text)));
}

unsafe extern "C" fn now_ns() -> u64 {
    0
}

unsafe extern "C" fn env(_: *const c_char) -> *const c_char {
    ptr::null()
}

unsafe extern "C" fn set_status(_: *mut raw::Invocation, _: u32) -> i32 {
    raw::INVALID
}

unsafe extern "C" fn add_header(
    _: *mut raw::Invocation,
    _: *const u8,
    _: usize,
    _: *const u8,
    _: usize,
) -> i32 {
    raw::INVALID
}

unsafe extern "C" fn write(_: *mut raw::Invocation, _: *const u8, _: usize) -> i32 {
    raw::INVALID
}

unsafe extern "C" fn reserve(_: *mut raw::Invocation, _: usize) -> *mut u8 {
    ptr::null_mut()
}

unsafe extern "C" fn commit(_: *mut raw::Invocation, _: usize) -> i32 {
    raw::INVALID
}

unsafe extern "C" fn alloc(_: *mut raw::Invocation, _: usize, _: usize) -> *mut c_void {
    ptr::null_mut()
}
