//! Crimes 1 to 12: files, and what is mapped or handed down.

use super::Expected::Refused;
use super::{Crime, Layer};

/// Opens a file of the host's.
pub const OPENS_ETC_PASSWD: Crime = Crime {
    number: 1,
    name: "01-open-passwd",
    invoke: Refused("open: Permission denied"),
    init: Some(Refused("open: No such file or directory")),
    constructor: true,
    defence: &[Layer::Seccomp, Layer::Landlock, Layer::Namespaces],
    ..Crime::DEFAULT
};

/// The chapter.
pub const CRIMES: &[&Crime] = &[&OPENS_ETC_PASSWD];
