//! Crimes 63 to 78: ways to end, and to break the contract.

use super::Crime;
use super::Expected::Exited;

/// Exits with success instead of answering.
pub const EXITS: Crime = Crime {
    number: 63,
    name: "63-exit",
    invoke: Exited(0),
    init: Some(Exited(0)),
    constructor: true,
    ..Crime::DEFAULT
};

/// The chapter.
pub const CRIMES: &[&Crime] = &[&EXITS];
