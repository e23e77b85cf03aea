//! Real groups of whichever version this host has. They need root, as the daemon does.

use std::ffi::CString;
use std::fs;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr;
use std::sync::atomic::{AtomicU32, Ordering};

use super::{Cgroups, Leaf, Slot, SlotLimits, cleanup, remove_all_of, share_namespace};
use crate::sys::{self, Cloned};

const MEBIBYTE: u64 = 1 << 20;

/// A root of its own for each test; its groups go when it is dropped, with the processes in them.
struct Grounds(Cgroups);

impl Grounds {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("hairtrigger-unit-{}-{number}", std::process::id());
        Self(Cgroups::detect(&name).expect("control groups, as the daemon needs them"))
    }

    fn slot(&self) -> Slot {
        self.0.create_slot(0).expect("root can make groups")
    }
}

impl Drop for Grounds {
    fn drop(&mut self) {
        let removed = remove_all_of(&self.0);
        assert!(std::thread::panicking() || removed.is_ok(), "{removed:?}");
        let left: Vec<_> = self.0.roots().into_iter().filter(|root| root.exists()).collect();
        assert!(std::thread::panicking() || left.is_empty(), "{left:?}");
    }
}

/// A process that waits for its end, killed and reaped when it is dropped.
struct Sleeper(Cloned);

impl Sleeper {
    /// As a runner is made: in its slot, one way or the other.
    fn in_slot(slot: &Slot, flags: u64) -> Self {
        let birthplace = slot.birthplace().expect("the group is there");
        // SAFETY: the child makes one system call, which needs no lock, over and over.
        let cloned = unsafe { sys::clone3(flags, birthplace.as_ref().map(AsFd::as_fd)) };
        let Some(cloned) = cloned.expect("root can clone") else {
            loop {
                // SAFETY: takes no pointers.
                unsafe { libc::pause() };
            }
        };
        let sleeper = Self(cloned);
        slot.attach(sleeper.0.pid).expect("root can attach");
        sleeper
    }

    /// Of somebody else.
    fn elsewhere() -> Self {
        // SAFETY: as above.
        let cloned = unsafe { sys::clone3(0, None) }.expect("root can clone");
        cloned.map(Self).unwrap_or_else(|| {
            loop {
                // SAFETY: takes no pointers.
                unsafe { libc::pause() };
            }
        })
    }

    /// In the PID namespace of another.
    fn beside(other: &Self) -> Self {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                // SAFETY: takes no pointers. It concerns what this thread clones, and the thread does nothing else.
                let entered = unsafe { libc::setns(other.0.pidfd.as_raw_fd(), libc::CLONE_NEWPID) };
                assert_eq!(entered, 0, "{}", std::io::Error::last_os_error());
                Self::elsewhere()
            });
            thread.join().expect("it clones")
        })
    }

    fn is_in(&self, group: &Path) -> bool {
        cleanup::processes(group).expect("the group is there").contains(&self.0.pid)
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        sys::kill(self.0.pidfd.as_fd()).expect("root can kill");
        // SAFETY: a null status is allowed; the pid is that of a child that nobody else reaps.
        unsafe { libc::waitpid(self.0.pid, std::ptr::null_mut(), 0) };
    }
}

fn made(slot: &Slot) -> Leaf {
    let leaf = slot.leaf(1);
    leaf.create(16 * MEBIBYTE).expect("root can make groups");
    leaf
}

#[test]
fn limits_are_kept_as_they_were_written() {
    let grounds = Grounds::new();
    let slot = grounds.slot();
    for (memory, pids, cpu) in [(64 * MEBIBYTE, 7, Some(0.5)), (1 << 40, 1026, None), (4097, 1, Some(0.001))]
    {
        slot.set_limits(&SlotLimits { memory, pids, cpu }).expect("all are read back");
    }
}

#[test]
fn a_runner_is_in_its_slot_and_a_worker_in_its_leaf() {
    let grounds = Grounds::new();
    let slot = grounds.slot();
    let leaf = made(&slot);
    let runner = Sleeper::in_slot(&slot, 0);
    assert!(runner.is_in(&leaf.home));
    leaf.attach(runner.0.pid).expect("root can attach");
    assert!(runner.is_in(&leaf.directory) && !runner.is_in(&leaf.home));
    assert_eq!((slot.oom_kills(), leaf.oom_kills()), (0, 0));
}

#[test]
fn a_leaf_is_limited_once_and_anew_if_it_was_removed() {
    let grounds = Grounds::new();
    let slot = grounds.slot();
    let leaf = made(&slot);
    fs::remove_dir(&leaf.directory).expect("nobody is in it");
    leaf.clone().create(16 * MEBIBYTE).expect("it has this limit");
    assert!(!fs::exists(&leaf.directory).expect("it can be looked for"), "nothing is written twice");
    let worker = Sleeper::in_slot(&slot, 0);
    leaf.attach(worker.0.pid).expect_err("it is gone");
    leaf.create(16 * MEBIBYTE).expect("root can make groups");
    leaf.attach(worker.0.pid).expect("root can attach");
    assert!(worker.is_in(&leaf.directory));
    leaf.create(32 * MEBIBYTE).expect("another limit is written");
}

/// A pid can be somebody else's when it is written.
#[test]
fn who_is_in_a_leaf_by_mistake_goes_back() {
    let grounds = Grounds::new();
    let slot = grounds.slot();
    let leaf = made(&slot);
    let new_namespace = u64::from(libc::CLONE_NEWPID.cast_unsigned());
    let init = Sleeper::in_slot(&slot, new_namespace);
    let stranger = Sleeper::elsewhere();
    assert!(!share_namespace(init.0.pid, stranger.0.pid));
    leaf.attach(stranger.0.pid).expect("root can attach");
    leaf.give_back().expect("there is a place for it");
    assert!(stranger.is_in(&leaf.outside) && !stranger.is_in(&leaf.directory));

    let kin = Sleeper::beside(&init);
    assert!(share_namespace(init.0.pid, kin.0.pid));
    leaf.attach(kin.0.pid).expect("root can attach");
    leaf.give_back().expect("there is a place for it");
    assert!(kin.is_in(&leaf.home) && !kin.is_in(&leaf.directory));
}

#[test]
fn groups_are_removed_with_the_processes_in_them() {
    let grounds = Grounds::new();
    let slot = grounds.slot();
    let leaf = made(&slot);
    let (runner, worker) = (Sleeper::in_slot(&slot, 0), Sleeper::in_slot(&slot, 0));
    leaf.attach(worker.0.pid).expect("root can attach");
    let removed = remove_all_of(&grounds.0).expect("they go");
    assert_eq!(removed.processes, 2);
    assert!(sys::has_ended(runner.0.pidfd.as_fd()) && sys::has_ended(worker.0.pidfd.as_fd()));
    assert!(!fs::exists(&leaf.directory).expect("it can be looked for"));
}

/// Of a daemon that is gone nobody else removes the others.
#[test]
fn a_group_that_cannot_be_removed_keeps_none_of_the_others() {
    let grounds = Grounds::new();
    let names = [0, 1].map(|index| format!("{}.{index}", grounds.0.daemon()));
    let paths = |name: &str| grounds.0.roots().into_iter().map(|root| root.join(name)).collect::<Vec<_>>();
    for index in [0, 1] {
        grounds.0.create_slot(index).expect("root can make groups");
    }
    let failure = std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            // Whatever is mounted on cannot be removed, where that is seen: by this thread.
            // SAFETY: takes no pointers. It concerns this thread, which does nothing else.
            let apart = unsafe { libc::unshare(libc::CLONE_NEWNS) };
            assert_eq!(apart, 0, "{}", std::io::Error::last_os_error());
            let mount = |from: &Path, on: &Path, flags| {
                let [from, on] =
                    [from, on].map(|path| CString::new(path.as_os_str().as_bytes()).expect("no NUL"));
                // SAFETY: both are NUL-terminated; no type and no data are needed for these flags.
                let done =
                    unsafe { libc::mount(from.as_ptr(), on.as_ptr(), ptr::null(), flags, ptr::null()) };
                assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
            };
            mount(Path::new("none"), Path::new("/"), libc::MS_REC | libc::MS_PRIVATE);
            for group in paths(&names[0]) {
                mount(&group, &group, libc::MS_BIND);
            }
            remove_all_of(&grounds.0).expect_err("it is mounted on")
        });
        thread.join().expect("it removes what it can")
    });
    assert_eq!(failure.error.raw_os_error(), Some(libc::EBUSY), "{failure}");
    assert!(paths(&names[0]).iter().all(|group| group.exists()), "these could not be removed");
    assert!(paths(&names[1]).iter().all(|group| !group.exists()), "these could");
}
