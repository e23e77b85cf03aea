//! Crimes 22 to 38: other processes.

use super::Crime;

/// Forks.
pub const FORKS: Crime = Crime { constructor: true, ..Crime::denied(22, "22-fork", "clone") };

/// The chapter.
pub const CRIMES: &[&Crime] = &[&FORKS];
