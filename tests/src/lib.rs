//! Helpers of the integration tests: they build the real daemon and functions in C, start the one with
//! the others, talk to it as any client would, and look at its processes and groups as the kernel shows
//! them.
//!
//! Everything here panics with a sentence when something is missing or goes wrong: in a test, that is the
//! report. Processes are ended by pid or pidfd, groups looked at below the test's own only, and nothing
//! but loopback is used.

pub mod admin;
pub mod artefacts;
pub mod crimes;
pub mod daemon;
pub mod damage;
pub mod groups;
pub mod home;
pub mod http;
pub mod layers;
pub mod ordinary;
pub mod process;
pub mod random;
pub mod sentences;
pub mod stall;
