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
