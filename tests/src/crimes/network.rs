//! Crimes 13 to 21: networks, and what processes speak to each other by.

use super::{Crime, Layer, Target, Variant};

/// Connects to the daemon by TCP.
pub const CONNECTS_BY_TCP: Crime = Crime {
    target: Target::TcpPort,
    constructor: true,
    defence: &[Layer::Seccomp, Layer::Landlock, Layer::Namespaces],
    ..Crime::denied(13, "13-tcp-connect", "socket")
};

/// Sends by UDP.
pub const SENDS_BY_UDP: Crime = Crime {
    target: Target::UdpPort,
    variants: &[Variant::denied("sendto")],
    defence: &[Layer::Seccomp, Layer::Namespaces],
    ..Crime::denied(14, "14-udp", "socket")
};

/// Makes raw sockets.
pub const MAKES_RAW_SOCKETS: Crime = Crime {
    variants: &[Variant::named("netlink", "socket"), Variant::named("packet", "socket")],
    defence: &[Layer::Seccomp, Layer::Namespaces, Layer::Uid],
    ..Crime::denied(15, "15-raw-sockets", "socket")
};

/// Makes sockets of rare families.
pub const MAKES_RARE_SOCKETS: Crime = Crime {
    variants: &[
        Variant::named("alg", "socket"),
        Variant::named("bluetooth", "socket"),
        Variant::named("xdp", "socket"),
    ],
    ..Crime::denied(16, "16-rare-sockets", "socket")
};

/// Connects to an abstract socket of the host's.
pub const CONNECTS_TO_AN_ABSTRACT_SOCKET: Crime = Crime {
    target: Target::AbstractSocket,
    variants: &[Variant::denied("connect")],
    defence: &[Layer::Seccomp, Layer::Landlock, Layer::Namespaces],
    ..Crime::denied(17, "17-abstract-socket", "socket")
};

/// Connects to the administration.
pub const CONNECTS_TO_THE_ADMINISTRATION: Crime = Crime {
    target: Target::AdminSocket,
    defence: &[Layer::Seccomp, Layer::Namespaces, Layer::Uid],
    ..Crime::denied(18, "18-admin-socket", "socket")
};

/// Makes what outlives it.
pub const USES_SYSTEM_V_IPC: Crime = Crime {
    variants: &[
        Variant::denied("shmat"),
        Variant::denied("shmctl"),
        Variant::denied("msgget"),
        Variant::denied("semget"),
        Variant::denied("mq_open"),
    ],
    defence: &[Layer::Seccomp, Layer::Namespaces],
    ..Crime::denied(19, "19-system-v", "shmget")
};

/// Floods a socket with descriptors.
pub const FLOODS_WITH_DESCRIPTORS: Crime = Crime {
    variants: &[Variant::denied("sendmsg"), Variant::denied("recvmsg"), Variant::denied("sendmmsg")],
    defence: &[Layer::Seccomp, Layer::Limits],
    ..Crime::denied(20, "20-descriptor-flood", "socketpair")
};

/// Uses the kernel's key rings.
pub const USES_KEY_RINGS: Crime = Crime {
    variants: &[Variant::denied("add_key"), Variant::denied("request_key")],
    ..Crime::denied(21, "21-keys", "keyctl")
};

/// The chapter.
pub const CRIMES: &[&Crime] = &[
    &CONNECTS_BY_TCP,
    &SENDS_BY_UDP,
    &MAKES_RAW_SOCKETS,
    &MAKES_RARE_SOCKETS,
    &CONNECTS_TO_AN_ABSTRACT_SOCKET,
    &CONNECTS_TO_THE_ADMINISTRATION,
    &USES_SYSTEM_V_IPC,
    &FLOODS_WITH_DESCRIPTORS,
    &USES_KEY_RINGS,
];
