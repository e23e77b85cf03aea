//! The references: what a start costs when nothing is confined and nobody keeps books.
//!
//! Each runs in a process of its own on the servers' core and makes one start for each byte it reads, so
//! that starts of different kinds can take turns. It answers with a line: the nanoseconds from the decision
//! to start until it was woken with the news that the started process is ready.

use std::ffi::{OsStr, OsString};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::{env, ptr};

use anyhow::{Context, Result, ensure};

use super::plugin;
use crate::clock;
use crate::process::{pin_to, signal};

/// The role of a process that was exec'ed to be ready. It is told apart before the command line is parsed,
/// for its start is what is measured.
pub(crate) const LOADER: &str = "bare-loader";

/// A process that makes bare starts when told to. It ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Starter {
    child: Child,
    tell: Option<ChildStdin>,
    told: BufReader<ChildStdout>,
}

impl Starter {
    /// Starts `role` (`bare-fork`, `bare-exec` or `bare-invoke`) with `plugin` on `core`.
    ///
    /// # Errors
    /// If this executable cannot be started again.
    pub(crate) fn new(role: &str, plugin: &Path, core: usize) -> Result<Self> {
        let mut child = Command::new(env::current_exe()?)
            .args([OsStr::new(role), OsStr::new("--core"), OsStr::new(&core.to_string()), plugin.as_os_str()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("starting {role}"))?;
        let tell = child.stdin.take().context("a pipe")?;
        let told = BufReader::new(child.stdout.take().context("a pipe")?);
        Ok(Self { child, tell: Some(tell), told })
    }

    /// The process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Makes one start and gives its time in microseconds.
    ///
    /// # Errors
    /// If it did not work; the process has then said why on standard error.
    pub(crate) fn start_us(&mut self) -> Result<f64> {
        const ENDED: &str = "the process that makes bare starts has ended; it said why above";
        self.tell.as_mut().context("open until dropped")?.write_all(b"s").context(ENDED)?;
        let mut line = String::new();
        ensure!(self.told.read_line(&mut line)? > 0, "{ENDED}");
        let ns: u32 = line.trim().parse().with_context(|| format!("{line:?} instead of a start's time"))?;
        Ok(f64::from(ns) / 1_000.0)
    }
}

impl Drop for Starter {
    fn drop(&mut self) {
        // The end of its input ends it.
        self.tell.take();
        let _ = self.child.wait();
    }
}

/// Serves starts until the input ends; `start` makes one and gives its nanoseconds.
fn serve(mut start: impl FnMut() -> Result<u64>) -> Result<()> {
    let (mut input, mut output) = (io::stdin().lock(), io::stdout().lock());
    let mut byte = [0];
    while input.read(&mut byte)? == 1 {
        writeln!(output, "{}", start()?)?;
        output.flush()?;
    }
    Ok(())
}

/// The role `bare-fork`: an image with the plugin in it, loaded and initialised, that forks.
///
/// # Errors
/// If the plugin cannot be loaded or a fork fails.
pub(crate) fn serve_forks(plugin: &Path, core: usize) -> Result<()> {
    pin_to(core).with_context(|| format!("pinning to core {core}"))?;
    let _loaded = plugin::load(plugin)?;
    let ready = shared_word().context("a shared page")?;
    let parent = std::process::id();
    serve(|| {
        ready.store(0, Ordering::Relaxed);
        let begin = clock::now_ns();
        // SAFETY: this process has one thread, so the child owns every lock; it calls nothing but system
        // calls and never returns.
        let child = unsafe { libc::fork() };
        if child == 0 {
            be_ready(ready, parent);
        }
        let child = u32::try_from(child).map_err(|_| io::Error::last_os_error()).context("fork")?;
        while ready.load(Ordering::Acquire) == 0 {
            futex(ready, libc::FUTEX_WAIT, 0);
        }
        let end = clock::now_ns();
        reap(child);
        Ok(end - begin)
    })
}

/// What a forked child does: says that it is ready, and waits to be killed.
fn be_ready(ready: &AtomicU32, parent: u32) -> ! {
    ready.store(1, Ordering::Release);
    futex(ready, libc::FUTEX_WAKE, 1);
    wait_to_be_killed(parent)
}

fn wait_to_be_killed(parent: u32) -> ! {
    // SAFETY: takes integers only; async-signal-safe.
    unsafe {
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        // A parent that died before the line above sends no more signals.
        while u32::try_from(libc::getppid()) == Ok(parent) {
            libc::pause();
        }
        libc::_exit(0)
    }
}

/// Invocations that [`serve_invocations`] makes for each byte it reads.
pub(crate) const BATCH: u32 = 100;

/// The role `bare-invoke`: an image with the plugin in it that forks, has the child invoke the function and exit, and
/// waits for that, [`BATCH`] times in a row. The time is of all of them.
///
/// # Errors
/// If the plugin cannot be loaded, a fork fails, or an invocation does.
pub(crate) fn serve_invocations(plugin: &Path, core: usize) -> Result<()> {
    pin_to(core).with_context(|| format!("pinning to core {core}"))?;
    let plugin = plugin::load(plugin)?;
    serve(|| {
        let begin = clock::now_ns();
        for _ in 0..BATCH {
            // SAFETY: this process has one thread, so the child owns every lock; it invokes the function, as a worker
            // does, and never returns.
            let child = unsafe { libc::fork() };
            if child == 0 {
                // SAFETY: ends the process; what it inherited to be written is the parent's to write.
                unsafe { libc::_exit(i32::from(plugin.invoke() != 0)) }
            }
            ensure!(child > 0, "fork: {}", io::Error::last_os_error());
            let mut status = 0;
            // SAFETY: a child of this process, and a live local for its status.
            let ended = unsafe { libc::waitpid(child, &raw mut status, 0) };
            ensure!(ended == child && status == 0, "an invocation ended with status {status:#x}");
        }
        Ok(clock::now_ns() - begin)
    })
}

/// The role `bare-exec`: starts this executable again, which loads the plugin.
///
/// # Errors
/// If a start fails.
pub(crate) fn serve_execs(plugin: &Path, core: usize) -> Result<()> {
    pin_to(core).with_context(|| format!("pinning to core {core}"))?;
    // Without anything that needs code between fork and exec, the standard library uses posix_spawn.
    let mut command = Command::new(env::current_exe()?);
    command.arg(LOADER).arg(plugin).arg(std::process::id().to_string());
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    serve(|| {
        let begin = clock::now_ns();
        let mut child = command.spawn().context("starting the loader")?;
        let mut said = [0];
        // The loader's end of the pipe is the only one, so a loader that fails or crashes closes it.
        let ready = child.stdout.take().context("a pipe")?.read_exact(&mut said);
        let end = clock::now_ns();
        child.kill()?;
        child.wait()?;
        ready.context("the loader failed")?;
        Ok(end - begin)
    })
}

/// The role [`LOADER`]: loads the plugin, says so with one byte on standard output and waits to be killed.
/// `arguments` are the plugin's path and the parent's process id.
pub(crate) fn be_loader(arguments: &[OsString]) -> ExitCode {
    let [path, parent] = arguments else {
        eprintln!("error: {LOADER} PLUGIN PARENT is a role of the bench, started by `cold`");
        return ExitCode::FAILURE;
    };
    let parent = parent.to_str().and_then(|parent| parent.parse().ok()).unwrap_or(0);
    let ready = plugin::load(Path::new(path)).and_then(|_loaded| {
        let mut output = io::stdout().lock();
        output.write_all(b"r")?;
        Ok(output.flush()?)
    });
    if let Err(error) = ready {
        eprintln!("error: {error:#}");
        return ExitCode::FAILURE;
    }
    wait_to_be_killed(parent)
}

/// Ends a child of this process and takes its exit status.
fn reap(child: u32) {
    signal(child, libc::SIGKILL);
    if let Ok(child) = libc::pid_t::try_from(child) {
        // SAFETY: a null pointer asks for no status.
        unsafe {
            libc::waitpid(child, ptr::null_mut(), 0);
        }
    }
}

/// A zeroed word on a page that forked children share.
fn shared_word() -> io::Result<&'static AtomicU32> {
    // SAFETY: a new anonymous mapping, at an address of the kernel's choice.
    let page = unsafe {
        libc::mmap(
            ptr::null_mut(),
            4096,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    if page == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the page is readable, writable, zeroed, aligned, and never unmapped; every access to it is
    // through this type.
    Ok(unsafe { AtomicU32::from_ptr(page.cast()) })
}

/// `FUTEX_WAIT` while the word is `value`, or `FUTEX_WAKE` of `value` waiters, across processes. Whether it
/// waited does not matter: the caller looks at the word again.
fn futex(word: &AtomicU32, operation: libc::c_int, value: u32) {
    // SAFETY: the word is borrowed, so mapped; the null pointer stands for no timeout.
    unsafe {
        libc::syscall(libc::SYS_futex, word.as_ptr(), operation, value, ptr::null::<libc::timespec>());
    }
}
