//! What a function sees of the file system and of the network: its own root, and landlock.

use std::fs::{self, File};
use std::io;
use std::net::TcpStream;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::path::Path;

use super::{
    About, BELOW_FULL, Doing, FULL, Failure, NO_FUNCTION, Row, child, harmless_directory, must, must_fail,
};
use crate::grants::Grants;
use crate::landlock as rules;
use crate::runner::{confine, root as view};
use crate::step::Step;
use crate::sys::{self, check};

/// Private mounts, a tmpfs, read-only binds, pivot_root and a read-only root.
pub(super) fn root(mount_namespace: bool) -> Row {
    let protects = "seeing any file but libraries and the function's own, and writing any";
    let about = About::new(Step::Root, "5.12", protects, BELOW_FULL).at(FULL);
    if !mount_namespace {
        return Row::untried(about, "it needs a mount namespace of its own");
    }
    let flags = u64::from(libc::CLONE_NEWNS.cast_unsigned());
    let outcome = harmless_directory().and_then(|directory| {
        child::run(flags, || {
            view::enter(&directory, &Grants::default())?;
            look_around()
        })
    });
    Row::new(about, outcome)
}

/// What is to be seen in a function's root file system, and what is not.
pub(super) fn look_around() -> Result<(), Failure> {
    fs::read_dir("/function").doing("list the function's directory")?;
    for hidden in ["/etc", "/proc", "/dev", "/home"] {
        must_fail(&format!("listing {hidden}"), libc::ENOENT, fs::read_dir(hidden))?;
    }
    must_fail("making a file in the root", libc::EROFS, File::create("/made"))?;
    must_fail("making a file beside libraries", libc::EROFS, File::create("/function/made"))
}

pub(super) fn landlock() -> Vec<Row> {
    let files = "opening files, should the root above fail";
    let tcp = "TCP, should the network namespace fail";
    let scopes = "signals and abstract sockets to other workers of the same function";
    vec![
        row("files", files, || {
            must_fail("opening /etc/passwd", libc::EACCES, File::open("/etc/passwd"))?;
            must_fail("listing /", libc::EACCES, fs::read_dir("/"))?;
            fs::read_dir(harmless_directory()?).doing("list libraries, which is granted").map(drop)
        }),
        row("TCP", tcp, || {
            // Landlock answers before the network is asked; otherwise nobody listens there.
            must_fail("a TCP connection", libc::EACCES, TcpStream::connect(("127.0.0.1", 9)))
        }),
        row("scopes", scopes, || {
            // SAFETY: takes no pointers; signal 0 only asks whether one could be sent.
            let signal = unsafe { libc::kill(libc::getppid(), 0) };
            must_fail("a signal to another process", libc::EPERM, check(signal.into()))
        }),
        socket_row("abstract sockets", scopes),
        row("tracing", "reading and changing the memory of other processes of the same user", || {
            must_fail("reading another process's memory", libc::EPERM, read_parent())
        }),
    ]
}

/// Reads a byte of the parent, which has the same image, and so the same variable at the same address.
fn read_parent() -> io::Result<()> {
    static BYTE: u8 = 1;
    // SAFETY: takes no pointers.
    let parent = unsafe { libc::getppid() };
    sys::read_process_memory(parent, &raw const BYTE as u64, 1).map(drop)
}

fn about(what: &str, protects: &'static str) -> About {
    About::new(format!("landlock: {what}"), "6.12", protects, NO_FUNCTION)
}

fn row(what: &str, protects: &'static str, body: impl FnOnce() -> Result<(), Failure>) -> Row {
    let outcome = child::run(0, || {
        enforce()?;
        body()
    });
    Row::new(about(what, protects), outcome)
}

/// A socket that listens since before the domain lies outside of it.
fn socket_row(what: &str, protects: &'static str) -> Row {
    let outcome = child::run(0, || {
        let name = format!("hairtrigger-doctor-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(name).doing("name an abstract socket")?;
        let _listener = UnixListener::bind_addr(&address).doing("listen on an abstract socket")?;
        drop(UnixStream::connect_addr(&address).doing("connect to an abstract socket")?);
        enforce()?;
        must_fail("a connection to an abstract socket", libc::EPERM, UnixStream::connect_addr(&address))
    });
    Row::new(about(what, protects), outcome)
}

fn enforce() -> Result<(), Failure> {
    confine::no_new_privileges().doing("set no_new_privs")?;
    let directories = view::library_directories();
    must("this host has no library directory that we know", !directories.is_empty())?;
    let readable: Vec<&Path> = directories.iter().map(AsRef::as_ref).collect();
    let enforced: io::Result<()> = rules::loading(&readable, &Grants::default()).and_then(rules::enforce);
    enforced.doing("")
}
