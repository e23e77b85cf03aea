//! Crimes 13 to 21: networks, and what processes speak to each other by.

use super::{Crime, Layer, Target};

/// Connects to the daemon by TCP.
pub const CONNECTS_BY_TCP: Crime = Crime {
    target: Target::TcpPort,
    constructor: true,
    defence: &[Layer::Seccomp, Layer::Landlock, Layer::Namespaces],
    ..Crime::denied(13, "13-tcp-connect", "socket")
};

/// The chapter.
pub const CRIMES: &[&Crime] = &[&CONNECTS_BY_TCP];
