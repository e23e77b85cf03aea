//! The policy as the programs that the kernel runs.
//!
//! seccompiler compiles rules; what it cannot say is added here: the notification as an action, the
//! numbers of other ABIs, and the listener.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch, sock_filter,
};

use super::table::{AFTER_INIT, Condition, Entry, POLICY, Rule, effective};
use crate::grants::Grant;

/// The highest number of a call that the policy's authors have looked at (Linux 6.18, `file_setattr`).
/// Higher ones are killed without a word.
pub const HIGHEST_KNOWN_CALL: u32 = 469;

/// `AUDIT_ARCH_X86_64`.
const ARCH: u32 = 0xC000_003E;
/// Set in the numbers of the x32 ABI, which shares the architecture's name.
const X32_BIT: u32 = 0x4000_0000;

/// Stands in the compiled program for the notification until [`notifying`] replaces it.
const PLACEHOLDER: u32 = 0x4854;

/// Programs in the order in which they are installed.
#[derive(Clone, Debug)]
pub struct Programs {
    /// Kills foreign and unknown numbers; `clone3` does not exist (its flags lie in memory, where a filter
    /// cannot see them, and the C library falls back to `clone`).
    pub numbers: BpfProgram,
    /// Refuses with EACCES.
    pub refusals: BpfProgram,
    /// Allows what may be done and notifies the warden of everything else. Installed last.
    pub allowed: BpfProgram,
    /// For after the plugin's initialisation.
    pub after_init: BpfProgram,
}

impl Programs {
    /// Compiles the policy of a function with these grants.
    pub fn compile(grants: &[Grant]) -> io::Result<Self> {
        let eacces = SeccompAction::Errno(libc::EACCES as u32);
        let (policy, after_init) = (effective(POLICY, grants), effective(AFTER_INIT, grants));
        let refused = rules(&policy, |rule| match rule {
            Rule::Refuse => Some(&[]),
            Rule::RefuseIf(alternatives) => Some(alternatives),
            Rule::Allow | Rule::AllowIf(_) | Rule::Gate => None,
        })?;
        let allowed = rules(&policy, |rule| match rule {
            Rule::Allow => Some(&[]),
            Rule::AllowIf(alternatives) => Some(alternatives),
            Rule::Refuse | Rule::RefuseIf(_) | Rule::Gate => None,
        })?;
        let after_init = rules(&after_init, |rule| match rule {
            Rule::Refuse => Some(&[]),
            Rule::RefuseIf(alternatives) => Some(alternatives),
            Rule::Allow | Rule::AllowIf(_) | Rule::Gate => None,
        })?;
        Ok(Self {
            numbers: numbers(),
            refusals: program(refused, SeccompAction::Allow, eacces.clone())?,
            allowed: notifying(program(allowed, SeccompAction::Trace(PLACEHOLDER), SeccompAction::Allow)?),
            after_init: program(after_init, SeccompAction::Allow, eacces)?,
        })
    }
}

type Rules = BTreeMap<i64, Vec<SeccompRule>>;
type Alternatives = &'static [&'static [Condition]];

/// The rules of the entries that `pick` picks; no alternatives means always.
fn rules(entries: &[&Entry], pick: impl Fn(Rule) -> Option<Alternatives>) -> io::Result<Rules> {
    let mut rules = Rules::new();
    for entry in entries {
        let Some(alternatives) = pick(entry.rule) else { continue };
        let always = |rules: &Vec<SeccompRule>| rules.is_empty();
        if alternatives.is_empty() || rules.get(&entry.number).is_some_and(always) {
            rules.insert(entry.number, Vec::new());
            continue;
        }
        let compiled: Result<Vec<_>, _> = alternatives
            .iter()
            .map(|conditions| {
                let conditions: Result<Vec<_>, _> = conditions.iter().map(condition).collect();
                SeccompRule::new(conditions?)
            })
            .collect();
        rules.entry(entry.number).or_default().extend(compiled.map_err(io::Error::other)?);
    }
    Ok(rules)
}

fn condition(condition: &Condition) -> Result<SeccompCondition, seccompiler::BackendError> {
    let width =
        if condition.mask > u64::from(u32::MAX) { SeccompCmpArgLen::Qword } else { SeccompCmpArgLen::Dword };
    SeccompCondition::new(condition.argument, width, SeccompCmpOp::MaskedEq(condition.mask), condition.value)
}

fn program(rules: Rules, otherwise: SeccompAction, matched: SeccompAction) -> io::Result<BpfProgram> {
    let filter =
        SeccompFilter::new(rules, otherwise, matched, TargetArch::x86_64).map_err(io::Error::other)?;
    filter.try_into().map_err(|error: seccompiler::BackendError| io::Error::other(error))
}

/// Replaces the placeholder by the notification, which seccompiler 0.5 has no name for.
fn notifying(mut program: BpfProgram) -> BpfProgram {
    let placeholder = libc::SECCOMP_RET_TRACE | PLACEHOLDER;
    let mut replaced = 0;
    for instruction in &mut program {
        if u32::from(instruction.code) == libc::BPF_RET | libc::BPF_K && instruction.k == placeholder {
            instruction.k = libc::SECCOMP_RET_USER_NOTIF;
            replaced += 1;
        }
    }
    assert!(replaced > 0, "the compiled policy must end in the placeholder");
    program
}

/// The numbers of other ABIs, unknown numbers, and `clone3`.
#[expect(clippy::cast_possible_truncation, reason = "codes are 16 bits wide, numbers of calls 32")]
fn numbers() -> BpfProgram {
    let statement = |code: u32, k: u32| sock_filter { code: code as u16, jt: 0, jf: 0, k };
    let jump = |condition: u32, k: u32, jt: u8, jf: u8| sock_filter {
        code: (libc::BPF_JMP | condition | libc::BPF_K) as u16,
        jt,
        jf,
        k,
    };
    let load = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
    let ret = libc::BPF_RET | libc::BPF_K;
    vec![
        statement(load, 4),
        jump(libc::BPF_JEQ, ARCH, 0, 3),
        statement(load, 0),
        // Covers the x32 bit and -1 as well: both are greater.
        jump(libc::BPF_JGT, HIGHEST_KNOWN_CALL, 1, 0),
        jump(libc::BPF_JEQ, libc::SYS_clone3 as u32, 1, 2),
        statement(ret, libc::SECCOMP_RET_KILL_PROCESS),
        statement(ret, libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32),
        statement(ret, libc::SECCOMP_RET_ALLOW),
    ]
}

const _: () = assert!(HIGHEST_KNOWN_CALL < X32_BIT);

/// Installs a program on this thread; with `listening`, returns the listener of its notifications.
pub(crate) fn install(program: &BpfProgram, listening: bool) -> io::Result<Option<OwnedFd>> {
    let flags = if listening { libc::SECCOMP_FILTER_FLAG_NEW_LISTENER } else { 0 };
    let length = u16::try_from(program.len()).map_err(io::Error::other)?;
    let header = libc::sock_fprog { len: length, filter: program.as_ptr().cast_mut().cast() };
    // SAFETY: `header` describes `program`, both outlive the call, and the kernel copies them; sock_filter
    // has the same layout in both crates, that of <linux/filter.h>.
    let result =
        unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const header) };
    let result = crate::sys::check(result)?;
    let fd = RawFd::try_from(result).map_err(io::Error::other)?;
    // SAFETY: with NEW_LISTENER the kernel returns a descriptor that nobody else knows of.
    Ok(listening.then(|| unsafe { OwnedFd::from_raw_fd(fd) }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_policy_compiles_and_notifies() {
        let notifies = |program: &BpfProgram| program.iter().any(|i| i.k == libc::SECCOMP_RET_USER_NOTIF);
        for grants in [&[][..], &[Grant::Connect], Grant::ALL] {
            let programs = Programs::compile(grants).expect("compiles");
            assert!(notifies(&programs.allowed));
            assert!(!notifies(&programs.refusals) && !notifies(&programs.after_init));
        }
    }

    #[test]
    fn a_call_without_conditions_needs_none_whatever_else_is_said_of_it() {
        let entry = |rule| Entry { number: 1, rule, grant: None, reason: "a test" };
        let (always, sometimes) = (entry(Rule::Allow), entry(Rule::AllowIf(&[&[ZERO]])));
        let pick = |rule| match rule {
            Rule::Allow => Some(&[][..]),
            Rule::AllowIf(alternatives) => Some(alternatives),
            _ => None,
        };
        for entries in [[&always, &sometimes], [&sometimes, &always]] {
            assert!(rules(&entries, pick).expect("they compile")[&1].is_empty());
        }
    }

    const ZERO: Condition = Condition { argument: 0, mask: u64::MAX, value: 0 };

    #[test]
    fn an_entry_with_a_grant_stands_in_place_of_those_without() {
        let entry = |number, grant| Entry { number, rule: Rule::Allow, grant, reason: "a test" };
        let table = [
            entry(1, None),
            entry(2, None),
            entry(2, None),
            entry(2, Some(Grant::Read)),
            entry(2, Some(Grant::Write)),
            entry(3, Some(Grant::Connect)),
        ];
        let effective = |grants: &[Grant]| -> Vec<_> {
            effective(&table, grants).iter().map(|entry| (entry.number, entry.grant)).collect()
        };
        assert_eq!(effective(&[]), [(1, None), (2, None), (2, None)]);
        assert_eq!(effective(&[Grant::Read]), [(1, None), (2, Some(Grant::Read))]);
        let both = [(1, None), (2, Some(Grant::Read)), (2, Some(Grant::Write))];
        assert_eq!(effective(&[Grant::Write, Grant::Read]), both);
        assert_eq!(effective(&[Grant::Connect])[3..], [(3, Some(Grant::Connect))]);
    }

    /// Otherwise one grant could take from another, or give what neither does.
    #[test]
    fn only_one_grant_speaks_of_a_call_unless_all_allow_it() {
        for table in [POLICY, AFTER_INIT] {
            for entry in table.iter().filter(|entry| entry.grant.is_some()) {
                let others = table.iter().filter(|other| {
                    other.number == entry.number && other.grant.is_some() && other.grant != entry.grant
                });
                for other in others {
                    let allow = [entry, other].map(|entry| matches!(entry.rule, Rule::Allow));
                    assert_eq!(allow, [true, true], "call {}", entry.number);
                }
            }
        }
    }

    #[test]
    fn every_entry_gives_a_reason() {
        for entry in POLICY.iter().chain(AFTER_INIT) {
            assert!(!entry.reason.is_empty(), "call {} has no reason", entry.number);
        }
    }
}
