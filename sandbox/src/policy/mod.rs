//! Which system calls a function may make.
//!
//! [`table`] is the policy as data, a reason a rule. [`compile`] turns it into the filters that the kernel
//! runs. A call that no rule names is a *violation*: it is reported to the warden, which kills the caller
//! and names the call.

pub mod compile;
pub mod denied;
pub mod evaluate;
pub mod table;

#[cfg(test)]
mod tests;

/// The call that a runner uses to speak to the warden. Linux reserves `getpmsg` and never implemented it,
/// so no library makes it.
#[expect(clippy::cast_possible_truncation, reason = "numbers of calls fit 32 bits")]
pub const CONTROL_CALL: i32 = libc::SYS_getpmsg as i32;

/// Operations of the [`CONTROL_CALL`], its first argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Control {
    /// The template has loaded and initialised the plugin, and will only fork from now on.
    Loaded = 1,
    /// The plugin was refused. Arguments: address and length of a text that says why.
    LoadFailed = 2,
    /// A forked worker asks for its channel.
    CheckIn = 3,
    /// A worker has started, and takes requests from now on.
    Ready = 4,
}

impl Control {
    /// From the first argument of the call; `None` is a violation.
    pub fn from_argument(argument: u64) -> Option<Self> {
        [Self::Loaded, Self::LoadFailed, Self::CheckIn, Self::Ready]
            .into_iter()
            .find(|operation| *operation as u64 == argument)
    }
}

/// The flags of `clone` as the C library's `pthread_create` gives them: a thread of the same process and nothing else.
pub const THREAD_FLAGS: u64 = (libc::CLONE_VM
    | libc::CLONE_FS
    | libc::CLONE_FILES
    | libc::CLONE_SIGHAND
    | libc::CLONE_THREAD
    | libc::CLONE_SYSVSEM
    | libc::CLONE_SETTLS
    | libc::CLONE_PARENT_SETTID
    | libc::CLONE_CHILD_CLEARTID) as u64;
const _: () = assert!(THREAD_FLAGS == 0x3d_0f00);

/// The flags of `clone` as the C library's `fork` gives them: what the fork gate lets pass, and only them.
pub const FORK_FLAGS: u64 = (libc::CLONE_CHILD_SETTID | libc::CLONE_CHILD_CLEARTID | libc::SIGCHLD) as u64;
