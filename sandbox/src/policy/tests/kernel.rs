//! The evaluator and the kernel, given the same programs.

use std::mem::zeroed;
use std::sync::atomic::{AtomicU8, Ordering};

use proptest::prelude::*;
use seccompiler::sock_filter;

use super::victim::{Seen, Way, watch};
use super::*;
use crate::policy::evaluate::{Fault, value};

#[expect(clippy::cast_possible_truncation, reason = "codes are 16 bits wide")]
const fn statement(code: u32, k: u32) -> sock_filter {
    sock_filter { code: code as u16, jt: 0, jf: 0, k }
}

#[expect(clippy::cast_possible_truncation, reason = "codes are 16 bits wide")]
const fn branch(code: u32, k: u32, jt: u8, jf: u8) -> sock_filter {
    sock_filter { code: (libc::BPF_JMP | code) as u16, jt, jf, k }
}

const LOAD: u32 = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
const RETURN: u32 = libc::BPF_RET | libc::BPF_K;
const ALLOW: sock_filter = statement(RETURN, libc::SECCOMP_RET_ALLOW);
/// The call that programs under test answer; they let every other pass.
#[expect(clippy::cast_possible_truncation, reason = "a number of a call")]
const ASKED: u32 = libc::SYS_getppid as u32;

/// A program that gives `value` for the call that is asked.
fn answering(value: u32) -> BpfProgram {
    vec![statement(LOAD, 0), branch(libc::BPF_JEQ, ASKED, 0, 1), statement(RETURN, value), ALLOW]
}

/// Each of the 65536 codes, with operands at the edges of what any of them takes: the evaluator knows an instruction
/// if and only if the kernel installs a program with it.
#[test]
fn the_kernel_installs_what_the_evaluator_knows() {
    const OPERANDS: [u32; 9] = [0, 1, 4, 15, 16, 31, 32, 60, 64];
    let (access, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_ANONYMOUS);
    let size = OPERANDS.len() << 16;
    // SAFETY: a new mapping, wherever the kernel wants it, as long as is said; all-zero bytes are atomics.
    let known: &[AtomicU8] = unsafe {
        let map = libc::mmap(std::ptr::null_mut(), size, access, kind, -1, 0);
        assert_ne!(map, libc::MAP_FAILED, "memory can be mapped");
        std::slice::from_raw_parts(map.cast(), size)
    };
    let each = || {
        let codes = (0..=u16::MAX).flat_map(|code| OPERANDS.map(|k| (code, k)));
        codes.zip(known)
    };
    // SAFETY: the child makes system calls alone, and exits.
    let cloned =
        unsafe { crate::sys::clone3(crate::sys::CLONE_CLEAR_SIGHAND, None) }.expect("a child can be forked");
    let Some(child) = cloned else {
        // SAFETY: as above; each header describes a program that outlives the call.
        unsafe {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
            for ((code, k), known) in each() {
                // Behind a return: the kernel looks at what it never runs, too.
                let program = [ALLOW, sock_filter { code, jt: 0, jf: 0, k }, ALLOW];
                let header = libc::sock_fprog { len: 3, filter: program.as_ptr().cast_mut().cast() };
                let result =
                    libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const header);
                known.store(u8::from(result == 0), Ordering::Relaxed);
            }
            libc::_exit(0)
        }
    };
    // SAFETY: all-zero is room for a siginfo, which outlives the call.
    let code = unsafe {
        let mut info: libc::siginfo_t = zeroed();
        let id = std::os::fd::AsRawFd::as_raw_fd(&child.pidfd).cast_unsigned();
        assert_eq!(libc::waitid(libc::P_PIDFD, id, &raw mut info, libc::WEXITED), 0);
        info.si_code
    };
    assert_eq!(code, libc::CLD_EXITED, "the child came to its end");
    let call = native(0, [0; 6]);
    let mut count = 0;
    for ((code, k), known) in each() {
        let installed = known.load(Ordering::Relaxed) == 1;
        let evaluated = value(&[sock_filter { code, jt: 0, jf: 0, k }, ALLOW], &call);
        assert_eq!(evaluated.is_ok(), installed, "code {code:#x} with {k}: {evaluated:?}");
        count += u32::from(installed);
    }
    assert!(count > 200, "only {count} programs were installed");
    // SAFETY: the mapping from above, to which no reference is used any more.
    unsafe { libc::munmap(known.as_ptr().cast_mut().cast(), size) };
}

/// Every pair of actions, in both orders: the kernel does what the evaluator says of programs that are stacked.
#[test]
fn the_kernel_chooses_among_stacked_programs_as_the_evaluator_does() {
    let errno = |number: u32| libc::SECCOMP_RET_ERRNO | number;
    let values = [
        libc::SECCOMP_RET_KILL_PROCESS,
        libc::SECCOMP_RET_KILL_THREAD,
        libc::SECCOMP_RET_TRAP,
        errno(1),
        errno(2),
        // More than the greatest errno.
        errno(0xffff),
        libc::SECCOMP_RET_USER_NOTIF,
        libc::SECCOMP_RET_TRACE,
        libc::SECCOMP_RET_LOG,
        libc::SECCOMP_RET_ALLOW,
        // Of no meaning: kills, as what ranks where its number stands.
        0x7fc1_0000,
        0x0001_0000,
        0xffff_0000,
    ];
    let call = native(ASKED, [1, 2, 3, 4, 5, 6]);
    for first in values {
        for second in values {
            if first == second && first == libc::SECCOMP_RET_USER_NOTIF {
                // The kernel gives a process one listener.
                continue;
            }
            let programs = [answering(first), answering(second)];
            let action = action(&[&programs[0], &programs[1]], &call).expect("both have values");
            let seen = watch(&[&programs[0], &programs[1]], Way::Native, ASKED, call.arguments);
            let right = match action {
                Action::KillProcess | Action::KillThread | Action::Trap(_) => {
                    seen == Seen::Killed(libc::SIGSYS)
                }
                Action::Errno(errno) => seen == Seen::Returned(-i64::from(errno)),
                Action::Notify => {
                    seen == Seen::Notified { number: ASKED.cast_signed(), arguments: call.arguments }
                }
                // There is no tracer.
                Action::Trace(_) => seen == Seen::Returned(-i64::from(libc::ENOSYS)),
                Action::Log | Action::Allow => seen == Seen::Returned(std::process::id().into()),
            };
            assert!(right, "{first:#x} below {second:#x}: {action:?}, {seen:?}");
        }
    }
}

/// Instructions of a program that is valid wherever they stand, but for jumps, which may lead `below` far.
fn instruction(below: u8) -> impl Strategy<Value = sock_filter> {
    let calculations = prop::sample::select(vec![
        libc::BPF_ADD,
        libc::BPF_SUB,
        libc::BPF_MUL,
        libc::BPF_AND,
        libc::BPF_OR,
        libc::BPF_XOR,
    ]);
    let shifts = prop::sample::select(vec![libc::BPF_LSH, libc::BPF_RSH]);
    let comparisons = prop::sample::select(vec![libc::BPF_JEQ, libc::BPF_JGT, libc::BPF_JGE, libc::BPF_JSET]);
    let source = prop::sample::select(vec![libc::BPF_K, libc::BPF_X]);
    let constant = prop_oneof![Just(0), Just(1), Just(u32::MAX), Just(1 << 31), any::<u32>(), 0..64_u32];
    // Where the call was made (words 2 and 3) only the kernel knows.
    let word = prop::sample::select((0..16_u32).filter(|word| !matches!(word, 2 | 3)).collect::<Vec<_>>());
    let memory = prop::sample::select(vec![
        libc::BPF_LD | libc::BPF_MEM,
        libc::BPF_LDX | libc::BPF_MEM,
        libc::BPF_ST,
        libc::BPF_STX,
    ]);
    let plain = prop::sample::select(vec![
        libc::BPF_ALU | libc::BPF_NEG,
        libc::BPF_MISC | libc::BPF_TAX,
        libc::BPF_MISC | libc::BPF_TXA,
        libc::BPF_LD | libc::BPF_W | libc::BPF_LEN,
        libc::BPF_LDX | libc::BPF_W | libc::BPF_LEN,
    ]);
    let load_constant =
        prop::sample::select(vec![libc::BPF_LD | libc::BPF_IMM, libc::BPF_LDX | libc::BPF_IMM]);
    prop_oneof![
        3 => (calculations, source.clone(), constant.clone())
            .prop_map(|(operation, source, k)| statement(libc::BPF_ALU | operation | source, k)),
        2 => (shifts.clone(), 0..32_u32).prop_map(|(shift, k)| statement(libc::BPF_ALU | shift | libc::BPF_K, k)),
        1 => shifts.prop_map(|shift| statement(libc::BPF_ALU | shift | libc::BPF_X, 0)),
        1 => constant.clone().prop_map(|k| statement(libc::BPF_ALU | libc::BPF_DIV | libc::BPF_K, k.max(1))),
        1 => Just(statement(libc::BPF_ALU | libc::BPF_DIV | libc::BPF_X, 0)),
        3 => word.prop_map(|word| statement(LOAD, word * 4)),
        2 => (memory, 0..16_u32).prop_map(|(code, k)| statement(code, k)),
        2 => plain.prop_map(|code| statement(code, 0)),
        2 => (load_constant, constant.clone()).prop_map(|(code, k)| statement(code, k)),
        2 => (comparisons, source, constant, 0..=below, 0..=below)
            .prop_map(|(comparison, source, k, jt, jf)| branch(comparison | source, k, jt, jf)),
        1 => (0..=u32::from(below)).prop_map(|k| statement(libc::BPF_JMP | libc::BPF_JA, k)),
    ]
}

/// How many steps behind a body of instructions a jump out of it may land.
const SLOPE: u8 = 4;

/// A valid program for the call that is asked: a random body, whose result becomes an errno of 12 bits.
fn program() -> impl Strategy<Value = BpfProgram> {
    prop::collection::vec(instruction(SLOPE), 1..40).prop_map(|body| {
        let mut program = vec![statement(LOAD, 0), branch(libc::BPF_JEQ, ASKED, 1, 0), ALLOW];
        // Memory that may be read must have been written.
        program.extend((0..16).map(|word| statement(libc::BPF_ST, word)));
        program.extend(body);
        // Where jumps out of the body land; then all 32 bits are folded into twelve.
        program.extend((0..SLOPE).map(|_| statement(libc::BPF_ALU | libc::BPF_ADD | libc::BPF_K, 1)));
        program.extend([
            statement(libc::BPF_MISC | libc::BPF_TAX, 0),
            statement(libc::BPF_ALU | libc::BPF_RSH | libc::BPF_K, 12),
            statement(libc::BPF_ALU | libc::BPF_XOR | libc::BPF_X, 0),
            statement(libc::BPF_ALU | libc::BPF_AND | libc::BPF_K, 0xfff),
            statement(libc::BPF_ALU | libc::BPF_OR | libc::BPF_K, libc::SECCOMP_RET_ERRNO),
            statement(libc::BPF_RET | libc::BPF_A, 0),
        ]);
        program
    })
}

fn any_instruction() -> impl Strategy<Value = sock_filter> {
    // Half of them with a code of eight bits, most of which exist.
    let code = prop_oneof![any::<u16>(), 0..=0xff_u16];
    let k = prop_oneof![any::<u32>(), 0..70_u32];
    (code, 0..8_u8, 0..8_u8, k).prop_map(|(code, jt, jf, k)| sock_filter { code, jt, jf, k })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Calculation, memory and jumps: what the kernel's own machine makes of a program is what the evaluator makes.
    #[test]
    fn the_kernel_calculates_as_the_evaluator_does(program in program(), arguments in any::<[u64; 6]>()) {
        let call = native(ASKED, arguments);
        let action = action(&[&program], &call).expect("the program is valid");
        let seen = watch(&[&program], Way::Native, ASKED, arguments);
        let right = match action {
            Action::Errno(errno) => seen == Seen::Returned(-i64::from(errno)),
            // A division by zero.
            Action::KillThread => seen == Seen::Killed(libc::SIGSYS),
            _ => false,
        };
        prop_assert!(right, "{action:?}, {seen:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    /// No program whatever makes the evaluator panic or go on without end.
    #[test]
    fn the_evaluator_is_total(
        program in prop::collection::vec(any_instruction(), 0..64),
        number in any::<u32>(),
        arguments in any::<[u64; 6]>(),
    ) {
        let at = |index: usize| index < program.len();
        match value(&program, &native(number, arguments)) {
            Ok(_) | Err(Fault::NoReturn) => {}
            Err(Fault::Instruction { at: index } | Fault::Unwritten { at: index }) => prop_assert!(at(index)),
        }
    }
}

/// The faults, one by one.
#[test]
fn what_is_no_program_is_told() {
    let call = native(0, [0; 6]);
    let whole_jump = statement(libc::BPF_JMP | libc::BPF_JA, u32::MAX);
    let cases: [(&[sock_filter], Fault, &str); 5] = [
        (&[], Fault::NoReturn, "the program ends without a return"),
        (&[whole_jump, ALLOW], Fault::NoReturn, "the program ends without a return"),
        (
            &[statement(LOAD, 2), ALLOW],
            Fault::Instruction { at: 0 },
            "instruction 0 is none that seccomp allows",
        ),
        (
            &[statement(LOAD, 64), ALLOW],
            Fault::Instruction { at: 0 },
            "instruction 0 is none that seccomp allows",
        ),
        (
            &[statement(libc::BPF_ST, 3), statement(libc::BPF_LD | libc::BPF_MEM, 4), ALLOW],
            Fault::Unwritten { at: 1 },
            "instruction 1 reads memory that nothing has written",
        ),
    ];
    for (program, fault, sentence) in cases {
        assert_eq!(value(program, &call), Err(fault));
        assert_eq!(fault.to_string(), sentence);
    }
}
