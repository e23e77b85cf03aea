//! The user namespace of an ordinary user, and what a runner does inside it.

use std::fs;

use super::{About, Doing, Failure, Row, child, harmless_directory, must};
use crate::grants::Grants;
use crate::level::Level;
use crate::runner::{confine, root as view};
use crate::spawner::NAMESPACES;
use crate::userns;

const ONLY_BARE: &str = "level bare, if the user allows it";
const HERE: &[Level] = &[Level::Userns];

/// That it was started by somebody else than root: at level userns or bare, functions have their user's own uid.
pub(super) fn ordinary_user() -> Row {
    let about = About::new(
        "an ordinary user",
        "any",
        "functions with root's own uid",
        "level full, which is what root is for",
    );
    let outcome = if userns::is_root() {
        Err(Failure { forbidden: true, ..Failure::found("it was started as root") })
    } else {
        Ok(())
    };
    Row::new(about.at(&[Level::Userns, Level::Bare]), outcome)
}

/// Of no meaning for root, whom the kernel and the distribution allow more.
pub(super) fn rows(ordinary: bool) -> Vec<Row> {
    let user = "privileges outside, while the runner makes the other namespaces inside";
    let others =
        "listing and signalling processes, reaching any network, sharing memory, learning the host's name";
    let root = "seeing any file but libraries and the function's own, and writing any";
    let capabilities = "using what the runner was capable of inside";
    let row = |name: &str, kernel, protects, trial: fn() -> Result<(), Failure>| {
        let about = About::new(format!("user namespace: {name}"), kernel, protects, ONLY_BARE).at(HERE);
        if ordinary { Row::new(about, trial()) } else { Row::untried(about, "it is for an ordinary user") }
    };
    vec![
        row("the user alone", "3.8", user, user_alone),
        row("the six others", "5.5", others, six_others),
        row("root file system", "5.12", root, root_file_system),
        row("no capabilities", "4.3", capabilities, no_capabilities),
    ]
}

/// Runs `body` as the only user of a new user namespace, in other new namespaces as well.
fn inside(others: libc::c_int, body: impl FnOnce() -> Result<(), Failure>) -> Result<(), Failure> {
    let (uid, gid) = userns::own_ids();
    let flags = others | libc::CLONE_NEWUSER;
    child::run(u64::from(flags.cast_unsigned()), || {
        userns::map("self", uid, gid).doing("map the user")?;
        body()
    })
}

fn user_alone() -> Result<(), Failure> {
    inside(0, || {
        let (uid, gid) = userns::own_ids();
        must("the user is root inside, or nobody", uid != 0 && gid != 0 && uid == gid)?;
        let status = fs::read_to_string("/proc/self/status").doing("read /proc/self/status")?;
        must("the user has no capabilities inside", !status.contains("CapEff:\t0000000000000000\n"))
    })
}

fn six_others() -> Result<(), Failure> {
    const ENTRIES: [&str; 5] = ["mnt", "net", "ipc", "uts", "cgroup"];
    let identities = || ENTRIES.map(|entry| fs::read_link(format!("/proc/self/ns/{entry}")).ok());
    let ours = identities();
    inside(NAMESPACES, || {
        // SAFETY: takes no pointers.
        must("the child is not the first process", unsafe { libc::getpid() } == 1)?;
        let shared = identities().iter().zip(&ours).any(|(its, ours)| its.is_none() || its == ours);
        must("the child shares one of its parent's", !shared)
    })
}

fn root_file_system() -> Result<(), Failure> {
    let directory = harmless_directory()?;
    inside(libc::CLONE_NEWNS, || {
        view::enter(&directory, &Grants::default())?;
        super::files::look_around()
    })
}

fn no_capabilities() -> Result<(), Failure> {
    inside(0, || {
        confine::drop_capabilities(Level::Userns).doing("drop from the bounding set")?;
        confine::clear_capabilities().doing("capset")?;
        let status = fs::read_to_string("/proc/self/status").doing("read /proc/self/status")?;
        for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
            must(
                &format!("a capability stayed in {set}"),
                status.contains(&format!("{set}:\t0000000000000000\n")),
            )?;
        }
        Ok(())
    })
}
