//! Crimes 1 to 12: files, and what is mapped or handed down.

use super::Expected::{Committed, Refused, Violation};
use super::{Crime, Layer, Variant};

/// What opening comes to in a worker, whatever the name.
const SHUT: &str = "open: Permission denied";
/// What opening comes to in init, of what is not in the function's view.
const ABSENT: &str = "open: No such file or directory";

/// One that opens a file of the host's.
const fn opens(number: u32, name: &'static str) -> Crime {
    Crime {
        number,
        name,
        invoke: Refused(SHUT),
        init: Some(Refused(ABSENT)),
        defence: &[Layer::Seccomp, Layer::Landlock, Layer::Namespaces],
        ..Crime::DEFAULT
    }
}

/// Opens a file of the host's by its name.
pub const OPENS_ETC_PASSWD: Crime = Crime { constructor: true, ..opens(1, "01-open-passwd") };

/// Opens its own code to write to it, and changes files by name.
pub const WRITES_ITS_OWN_CODE: Crime = Crime {
    // Somebody else's, and read-only besides.
    init: Some(Refused(SHUT)),
    constructor: true,
    variants: &[
        Variant::denied("truncate"),
        Variant::denied("unlink"),
        Variant::denied("rename"),
        Variant::denied("link"),
        Variant::denied("mkdir"),
    ],
    defence: &[Layer::Seccomp, Layer::Landlock, Layer::Namespaces, Layer::Uid],
    ..opens(2, "02-write-own-code")
};

/// Climbs out with dots.
pub const CLIMBS_OUT_WITH_DOTS: Crime =
    Crime { variants: &[Variant::refused("below", SHUT, ABSENT)], ..opens(3, "03-dotdot") };

/// Follows a link out.
pub const FOLLOWS_A_LINK_OUT: Crime = Crime {
    link: Some(("out", "/etc/passwd")),
    variants: &[Variant::denied("symlink"), Variant::denied("symlinkat")],
    ..opens(4, "04-symlink-out")
};

/// Changes to a directory by a descriptor that needs no right to read.
pub const GOES_WHERE_A_PATH_DESCRIPTOR_LEADS: Crime = Crime {
    init: Some(Violation("fchdir")),
    variants: &[Variant::denied("fchdir"), Variant::denied("chdir"), Variant::denied("chroot")],
    defence: &[Layer::Seccomp, Layer::Namespaces],
    ..opens(5, "05-path-descriptor")
};

/// Opens by other calls.
pub const OPENS_BY_OTHER_CALLS: Crime = Crime {
    variants: &[
        Variant::denied("open_by_handle_at"),
        Variant::denied("name_to_handle_at"),
        Variant::denied("creat"),
        Variant::denied("open_tree"),
    ],
    defence: &[Layer::Seccomp, Layer::Landlock, Layer::Namespaces],
    ..Crime::denied(6, "06-other-opens", "openat2")
};

/// Makes devices and mounts.
pub const MOUNTS: Crime = Crime {
    variants: &[
        Variant::denied("mknodat"),
        Variant::denied("mount"),
        Variant::denied("umount2"),
        Variant::denied("pivot_root"),
        Variant::denied("fsopen"),
        Variant::denied("fsmount"),
        Variant::denied("move_mount"),
        Variant::denied("mount_setattr"),
    ],
    defence: &[Layer::Seccomp, Layer::Uid],
    ..Crime::denied(7, "07-mounts", "mknod")
};

/// Becomes another program.
pub const EXECUTES: Crime = Crime {
    constructor: true,
    variants: &[
        Variant::denied("execveat"),
        Variant::named("handle", "execveat"),
        Variant::named("memory", "memfd_create"),
    ],
    defence: &[Layer::Seccomp, Layer::Landlock],
    ..Crime::denied(8, "08-exec", "execve")
};

/// Makes files in memory, and memory that nobody counts.
pub const MAKES_MEMORY_FILES: Crime = Crime {
    variants: &[
        Variant::named("share", "mmap"),
        Variant::named("lock", "mmap"),
        Variant::named("grow", "mmap"),
        Variant::denied("mlockall"),
        Variant::denied("memfd_secret"),
    ],
    defence: &[Layer::Seccomp, Layer::Limits],
    ..Crime::denied(9, "09-memory-files", "memfd_create")
};

/// Makes code at run time.
pub const MAKES_NEW_CODE: Crime = Crime {
    number: 10,
    name: "10-new-code",
    invoke: Refused("mmap: Permission denied"),
    init: Some(Violation("mmap")),
    variants: &[
        // The loader does the same.
        Variant {
            deed: "then",
            invoke: Refused("mprotect: Permission denied"),
            init: Some(Committed("new code ran")),
        },
        Variant {
            deed: "both",
            invoke: Refused("mprotect: Permission denied"),
            init: Some(Violation("mprotect")),
        },
        Variant {
            deed: "execute",
            invoke: Refused("mmap: Permission denied"),
            init: Some(Committed("mmap")),
        },
        Variant::denied("pkey_mprotect"),
        Variant::denied("personality"),
        Variant::denied("remap_file_pages"),
    ],
    defence: &[Layer::Seccomp],
    ..Crime::DEFAULT
};

/// Learns of files without opening any, and changes what is said of them.
pub const PROBES_FILES: Crime = Crime {
    number: 11,
    name: "11-probing",
    invoke: Refused("stat: Permission denied"),
    init: Some(Refused("stat: Permission denied")),
    variants: &[
        Variant::refused("newfstatat", "newfstatat: Permission denied", "newfstatat: Permission denied"),
        Variant::refused("statx", "statx: Permission denied", "statx: Permission denied"),
        Variant::refused("access", "access: Permission denied", "access: Permission denied"),
        Variant::refused("readlink", "readlink: Permission denied", "readlink: Permission denied"),
        Variant::refused("getcwd", "getcwd: Permission denied", "getcwd: Permission denied"),
        Variant::denied("statfs"),
        Variant::denied("getxattr"),
        Variant::denied("getdents64"),
        Variant::denied("chmod"),
        Variant::denied("fchmodat"),
        Variant::denied("chown"),
        Variant::denied("utimensat"),
        Variant::denied("inotify_init1"),
        Variant::denied("fanotify_init"),
    ],
    defence: &[Layer::Seccomp, Layer::Namespaces],
    ..Crime::DEFAULT
};

/// Looks for descriptors left to it.
pub const FINDS_NO_DESCRIPTORS: Crime = Crime {
    number: 12,
    name: "12-descriptors",
    invoke: Committed("0 device, 1 pipe, 2 pipe, 63 other"),
    init: Some(Committed("0 device, 1 pipe, 2 pipe")),
    constructor: true,
    ..Crime::DEFAULT
};

/// The chapter.
pub const CRIMES: &[&Crime] = &[
    &OPENS_ETC_PASSWD,
    &WRITES_ITS_OWN_CODE,
    &CLIMBS_OUT_WITH_DOTS,
    &FOLLOWS_A_LINK_OUT,
    &GOES_WHERE_A_PATH_DESCRIPTOR_LEADS,
    &OPENS_BY_OTHER_CALLS,
    &MOUNTS,
    &EXECUTES,
    &MAKES_MEMORY_FILES,
    &MAKES_NEW_CODE,
    &PROBES_FILES,
    &FINDS_NO_DESCRIPTORS,
];
