//! Every number, of every ABI: what the compiled programs answer is what the table says.

use super::*;

/// Arguments of calls that look at none, and of calls that refuse all.
const ARGUMENTS: [[u64; 6]; 3] = [[0; 6], [BAD; 6], [u64::MAX; 6]];

#[test]
fn every_number_gets_what_the_table_says() {
    for grants in GRANTED {
        let programs = Programs::compile(grants).expect("the policy compiles");
        for (stage, number) in
            STAGES.into_iter().flat_map(|stage| every_number().map(move |number| (stage, number)))
        {
            for arguments in ARGUMENTS {
                let call = native(number, arguments);
                let (is, told) = (compiled(&programs, stage, &call), told(grants, stage, &call));
                assert_eq!(is, told, "{grants:?}, {stage:?}, {call:x?}");
            }
        }
    }
}

/// The other ABIs of the machine reach nothing: not the 32-bit one, whose numbers mean other calls, not x32, and no
/// architecture that there is not.
#[test]
fn every_number_of_a_foreign_abi_kills() {
    // With all grants: none has a say in this.
    let programs = Programs::compile(Grant::ALL).expect("the policy compiles");
    for stage in STAGES {
        for number in every_number() {
            let native = native(number, [0; 6]);
            let x32 = Call { number: number | X32_BIT, ..native };
            let foreign = [I386, 0, u32::MAX, X86_64 ^ 1, X86_64 & !(1 << 31)];
            let foreign = foreign.map(|architecture| Call { architecture, ..native });
            for call in foreign.into_iter().chain([x32]) {
                assert_eq!(compiled(&programs, stage, &call), Action::KillProcess, "{stage:?}, {call:x?}");
                assert_eq!(told(Grant::ALL, stage, &call), Action::KillProcess, "{stage:?}, {call:x?}");
            }
        }
    }
}

/// A handful of lines by hand, so that a mistake that table and programs share is seen.
#[test]
fn what_everybody_knows_of_the_policy() {
    let programs = Programs::compile(&[]).expect("the policy compiles");
    let eacces = Action::Errno(errno(libc::EACCES));
    let enosys = Action::Errno(errno(libc::ENOSYS));
    for (number, before, after) in [
        (libc::SYS_read, Action::Allow, Action::Allow),
        (libc::SYS_openat, Action::Allow, eacces),
        (libc::SYS_open, eacces, eacces),
        (libc::SYS_clone3, enosys, enosys),
        (libc::SYS_clone, Action::Notify, Action::Notify),
        (libc::SYS_socket, Action::Notify, Action::Notify),
        (libc::SYS_execve, Action::Notify, Action::Notify),
        (libc::SYS_ptrace, Action::Notify, Action::Notify),
        (libc::SYS_io_uring_setup, Action::Notify, Action::Notify),
        (libc::SYS_kill, Action::Notify, Action::Notify),
    ] {
        let call = native(u32::try_from(number).expect("a number of a call"), [BAD; 6]);
        let got = STAGES.map(|stage| compiled(&programs, stage, &call));
        assert_eq!(got, [before, after], "call {number}");
    }
}

/// What a grant gives and what it does not, written down by hand: everything else here is derived from the table, and a
/// mistake there would be made twice.
#[test]
fn what_everybody_knows_of_the_grants() {
    const INET: u64 = libc::AF_INET as u64;
    const STREAM: u64 = libc::SOCK_STREAM as u64;
    let eacces = Action::Errno(errno(libc::EACCES));
    let enosys = Action::Errno(errno(libc::ENOSYS));
    let path = BAD;
    let (read, write, connect) = (
        &[Grant::Read, Grant::Names][..],
        &[Grant::Read, Grant::Names, Grant::Write][..],
        &[Grant::Connect][..],
    );
    for (grants, number, arguments, after) in [
        // No table of descriptors of a thread's own, whatever is granted.
        (&[][..], libc::SYS_close_range, [3, 4, 2, 0, 0, 0], Action::Notify),
        (Grant::ALL, libc::SYS_close_range, [3, 4, 2, 0, 0, 0], Action::Notify),
        (Grant::ALL, libc::SYS_close_range, [3, 4, 4, 0, 0, 0], Action::Allow),
        // Of sockets TCP alone.
        (&[][..], libc::SYS_socket, [INET, STREAM, 0, 0, 0, 0], Action::Notify),
        (connect, libc::SYS_socket, [INET, STREAM, 0, 0, 0, 0], Action::Allow),
        (connect, libc::SYS_socket, [INET, libc::SOCK_DGRAM as u64, 0, 0, 0, 0], Action::Notify),
        (connect, libc::SYS_socket, [INET, libc::SOCK_RAW as u64, 0, 0, 0, 0], Action::Notify),
        (connect, libc::SYS_socket, [INET, STREAM, libc::IPPROTO_MPTCP as u64, 0, 0, 0], Action::Notify),
        (connect, libc::SYS_socket, [libc::AF_UNIX as u64, STREAM, 0, 0, 0, 0], Action::Notify),
        (
            connect,
            libc::SYS_socket,
            [libc::AF_NETLINK as u64, libc::SOCK_RAW as u64, 0, 0, 0, 0],
            Action::Notify,
        ),
        (connect, libc::SYS_bind, [5, path, 16, 0, 0, 0], Action::Notify),
        (connect, libc::SYS_listen, [5, 1, 0, 0, 0, 0], Action::Notify),
        (connect, libc::SYS_sendmsg, [5, path, 0, 0, 0, 0], Action::Notify),
        (connect, libc::SYS_recvmsg, [5, path, 0, 0, 0, 0], Action::Notify),
        (connect, libc::SYS_sendto, [5, path, 1, 0, 0, 0], Action::Allow),
        (connect, libc::SYS_sendto, [5, path, 1, libc::MSG_FASTOPEN as u64, 0, 0], Action::Notify),
        (connect, libc::SYS_sendto, [5, path, 1, 0, path, 16], Action::Notify),
        // The channel's descriptors stay as they are.
        (
            connect,
            libc::SYS_fcntl,
            [60, libc::F_SETFL as u64, libc::O_NONBLOCK as u64, 0, 0, 0],
            Action::Allow,
        ),
        (
            connect,
            libc::SYS_fcntl,
            [61, libc::F_SETFL as u64, libc::O_NONBLOCK as u64, 0, 0, 0],
            Action::Notify,
        ),
        (
            connect,
            libc::SYS_fcntl,
            [63, libc::F_SETFL as u64, libc::O_NONBLOCK as u64, 0, 0, 0],
            Action::Notify,
        ),
        (connect, libc::SYS_epoll_ctl, [5, 1, 60, path, 0, 0], Action::Allow),
        (connect, libc::SYS_epoll_ctl, [5, 1, 61, path, 0, 0], Action::Notify),
        (connect, libc::SYS_epoll_ctl, [5, 1, 63, path, 0, 0], Action::Notify),
        // Files are opened after init, but not as mere places, and nothing is executed.
        (&[][..], libc::SYS_openat, [path, path, 0, 0, 0, 0], eacces),
        (read, libc::SYS_openat, [path, path, 0, 0, 0, 0], Action::Allow),
        (read, libc::SYS_openat, [path, path, libc::O_PATH as u64, 0, 0, 0], eacces),
        (read, libc::SYS_mmap, [0, 4096, libc::PROT_EXEC as u64, libc::MAP_PRIVATE as u64, 5, 0], eacces),
        (read, libc::SYS_unlinkat, [path, path, 0, 0, 0, 0], Action::Notify),
        (write, libc::SYS_unlinkat, [path, path, 0, 0, 0, 0], Action::Allow),
        (
            write,
            libc::SYS_renameat2,
            [path, path, path, path, libc::RENAME_EXCHANGE.into(), 0],
            Action::Notify,
        ),
        (
            write,
            libc::SYS_renameat2,
            [path, path, path, path, libc::RENAME_WHITEOUT.into(), 0],
            Action::Notify,
        ),
        (write, libc::SYS_linkat, [path, path, path, path, 0, 0], Action::Notify),
        (write, libc::SYS_symlinkat, [path, path, path, 0, 0, 0], Action::Notify),
        (write, libc::SYS_mknodat, [path, path, 0, 0, 0, 0], Action::Notify),
        (write, libc::SYS_fchmodat, [path, path, 0, 0, 0, 0], Action::Notify),
        // Whatever is granted.
        (Grant::ALL, libc::SYS_clone3, [path, 88, 0, 0, 0, 0], enosys),
        (Grant::ALL, libc::SYS_clone, [0x11, 0, 0, 0, 0, 0], Action::Notify),
        (Grant::ALL, libc::SYS_execve, [path; 6], Action::Notify),
        (Grant::ALL, libc::SYS_ptrace, [path; 6], Action::Notify),
        (Grant::ALL, libc::SYS_io_uring_setup, [path; 6], Action::Notify),
        (Grant::ALL, libc::SYS_kill, [path; 6], Action::Notify),
        (Grant::ALL, libc::SYS_mount, [path; 6], Action::Notify),
    ] {
        let programs = Programs::compile(grants).expect("the policy compiles");
        let call = native(u32::try_from(number).expect("a number of a call"), arguments);
        let got = compiled(&programs, Stage::AfterInit, &call);
        assert_eq!(got, after, "call {number} with {grants:?} and {arguments:x?}");
    }
}
