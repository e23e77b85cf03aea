//! System calls that are dangerous by themselves.

use hairtrigger_sandbox::policy::compile::Programs;
use hairtrigger_sandbox::policy::denied;
use hairtrigger_sandbox::policy::evaluate::{Action, Call, action};
use hairtrigger_tests::crimes::calls::*;
use hairtrigger_tests::home::Home;
use hairtrigger_tests::sentences;

crimes! {
    c39_sets_up_io_uring: SETS_UP_IO_URING,
    c40_calls_bpf: CALLS_BPF,
    c41_calls_userfaultfd: CALLS_USERFAULTFD,
    c42_counts_events: COUNTS_EVENTS,
    c43_advises_others: ADVISES_OTHERS,
    c44_listens_to_its_own_calls: LISTENS_TO_ITS_OWN_CALLS,
    c45_changes_segments: CHANGES_SEGMENTS,
    c46_calls_as_i386: CALLS_AS_I386,
    c47_calls_by_other_numbers: CALLS_BY_OTHER_NUMBERS,
    c48_jumps_into_vsyscall: JUMPS_INTO_VSYSCALL,
    c49_changes_the_host: CHANGES_THE_HOST,
    c50_makes_every_call: MAKES_EVERY_CALL,
}

/// What crime 50 gives for each argument.
const BAD: u64 = 0xffff_ffff_ffff_f000;
/// About these two, of Linux 6.11 and 6.18, no filter is asked. They serve the kernel's own trampolines alone.
const URETPROBE: i64 = 335;
const UPROBE: i64 = 336;

/// Every number through the real daemon: what the policy's table makes a violation kills the worker, and the sentence
/// names exactly that call; what it refuses is refused; and what it allows goes to the kernel, which sees bad
/// arguments.
#[test]
fn c50_makes_every_call_there_is() {
    let crime = &MAKES_EVERY_CALL;
    let home = Home::new();
    crime.deploy(&home);
    let daemon = home.start();
    let mut connection = daemon.connect();
    let programs = Programs::compile(&[]).expect("the policy compiles");
    let programs = [&*programs.numbers, &*programs.refusals, &*programs.allowed, &*programs.after_init];
    let mut killed = 0;
    for number in (0..=600_u32).chain([u32::MAX]) {
        let call = Call { number, architecture: 0xC000_003E, instruction_pointer: 0, arguments: [BAD; 6] };
        let action = action(&programs, &call).expect("the policy has a value for every call");
        let answer = connection.get(&format!("/{}?{}", crime.name, number.cast_signed()));
        let outcome = || answer.json()["outcome"].as_str().map(str::to_owned);
        let text = || String::from_utf8_lossy(&answer.body);
        let violation = |name: &str| {
            let sentence = format!("Function {} {}", crime.name, sentences::denied(name));
            answer.assert_outcome(crime.name, 502, "violation", &sentence);
        };
        match action {
            Action::KillProcess => violation("of a foreign or unknown number"),
            Action::Notify if i64::from(number) == URETPROBE && outcome().as_deref() == Some("fault") => {}
            Action::Notify if i64::from(number) == UPROBE && answer.status == 200 => {
                assert_eq!(text(), "refused: the call: No such device or address");
            }
            Action::Notify => {
                violation(&denied::name(number).map_or_else(|| format!("number {number}"), str::to_owned));
            }
            Action::Errno(errno) if i32::from(errno) == libc::EACCES => {
                assert_eq!(
                    (answer.status, &*text()),
                    (200, "refused: the call: Permission denied"),
                    "{number}"
                );
            }
            Action::Errno(_) => {
                let enosys = "refused: the call: Function not implemented";
                assert_eq!((answer.status, &*text()), (200, enosys), "{number}");
            }
            Action::Allow => match i64::from(number) {
                libc::SYS_exit | libc::SYS_exit_group => assert_eq!(outcome().as_deref(), Some("exited")),
                // There is no frame of a signal to return to.
                libc::SYS_rt_sigreturn => assert_eq!(outcome().as_deref(), Some("fault")),
                _ => assert_eq!(answer.status, 200, "call {number}: {}", text()),
            },
            Action::KillThread | Action::Trap(_) | Action::Trace(_) | Action::Log => {
                panic!("the policy has no {action:?}")
            }
        }
        killed += u32::from(answer.status != 200);
    }
    assert!(killed > 400, "only {killed} were killed");
    connection.get(&format!("/{}/fine", crime.name)).assert_ok("fine");
    daemon.stop();
}
