//! Everything that happens in, or to, a confined child process.
//!
//! The way in is [`Sandbox`]: it loads functions, forks workers and tells of their ends.

pub mod cgroup;
pub mod channel;
pub mod ending;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
pub mod grants;
mod groups;
mod init;
pub mod janitor;
mod landlock;
pub mod layers;
pub mod level;
pub mod limits;
pub mod mark;
pub mod policy;
pub mod probe;
pub mod runner;
mod setup;
mod spawner;
pub mod step;
mod sys;
pub mod text;
mod userns;
mod warden;

pub use sys::{
    cpu_time, demote, descriptor_limit, eventfd, kill, may_restore, monotonic_ns, random, ring, shut_down,
    shut_down_writing, take_turns,
};
pub use warden::{
    Event, EventSink, FunctionKey, FunctionSpec, LoadFailure, Sandbox, SandboxConfig, StartTimes, Ticket,
    WardenHandle, Worker,
};
