//! The policy, looked at from four sides that must agree: the table, the compiled programs as the evaluator runs
//! them, the same programs in the kernel, and `sandbox/policy.txt`, which a reviewer reads.

mod arguments;
mod edges;
mod kernel;
mod numbers;
mod snapshot;
mod victim;

use seccompiler::BpfProgram;

use super::compile::{HIGHEST_KNOWN_CALL, Programs};
use super::evaluate::{Action, Call, action};
use super::table::{AFTER_INIT, Condition, Entry, POLICY, Rule};
use crate::grants::Grant;

/// `AUDIT_ARCH_X86_64` and `AUDIT_ARCH_I386`.
const X86_64: u32 = 0xC000_003E;
const I386: u32 = 0x4000_0003;
/// Of the numbers of the x32 ABI.
const X32_BIT: u32 = 0x4000_0000;
/// No descriptor, no pointer, no size and no set of flags: whoever is asked to use it refuses.
const BAD: u64 = 0xffff_ffff_ffff_f000;

/// When a call is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// By the plugin's constructors or its initialisation.
    BeforeInit,
    /// By a worker, or the template while it forks.
    AfterInit,
}

const STAGES: [Stage; 2] = [Stage::BeforeInit, Stage::AfterInit];

/// Grants with which the policy is looked at: none, each as far as it comes alone, and all.
const GRANTED: [&[Grant]; 7] = [
    &[],
    &[Grant::Read],
    &[Grant::Read, Grant::Names],
    &[Grant::Read, Grant::Write],
    &[Grant::Connect],
    &[Grant::Threads],
    Grant::ALL,
];

/// The programs that stand at a stage, in the order in which they were installed.
fn standing(programs: &Programs, stage: Stage) -> Vec<&BpfProgram> {
    let Programs { numbers, refusals, allowed, after_init } = programs;
    let mut standing = vec![numbers, refusals, allowed];
    if stage == Stage::AfterInit {
        standing.push(after_init);
    }
    standing
}

/// What the compiled programs answer.
fn compiled(programs: &Programs, stage: Stage, call: &Call) -> Action {
    let standing: Vec<&[_]> = standing(programs, stage).into_iter().map(Vec::as_slice).collect();
    action(&standing, call).expect("the compiled policy has a value for every call")
}

/// Every number that is looked at: those that exist, those that may come to exist, and the lowest that no call ever
/// has.
fn every_number() -> impl Iterator<Item = u32> {
    (0..=600).chain([u32::MAX])
}

/// A call of this machine's own ABI.
fn native(number: u32, arguments: [u64; 6]) -> Call {
    Call { number, architecture: X86_64, instruction_pointer: 0, arguments }
}

/// What the table says about a call, worked out from its lines and nothing else.
fn told(grants: &[Grant], stage: Stage, call: &Call) -> Action {
    let exists = call.architecture == X86_64 && call.number <= HIGHEST_KNOWN_CALL;
    if !exists {
        return Action::KillProcess;
    }
    if i64::from(call.number) == libc::SYS_clone3 {
        return Action::Errno(errno(libc::ENOSYS));
    }
    let mut lines = lines_of(POLICY, grants, call.number);
    if stage == Stage::AfterInit {
        lines.extend(lines_of(AFTER_INIT, grants, call.number));
    }
    let (mut refused, mut allowed) = (false, false);
    for entry in lines {
        match entry.rule {
            Rule::Allow => allowed = true,
            Rule::AllowIf(alternatives) => allowed |= any_holds(alternatives, call),
            Rule::Refuse => refused = true,
            Rule::RefuseIf(alternatives) => refused |= any_holds(alternatives, call),
            Rule::Gate => {}
        }
    }
    match (refused, allowed) {
        (true, _) => Action::Errno(errno(libc::EACCES)),
        (false, true) => Action::Allow,
        (false, false) => Action::Notify,
    }
}

/// The lines of a call that hold: those of its grants, or if there are none, those without.
fn lines_of(table: &'static [Entry], grants: &[Grant], number: u32) -> Vec<&'static Entry> {
    let lines = table.iter().filter(|entry| entry.number == i64::from(number));
    let (granted, others): (Vec<&Entry>, Vec<&Entry>) = lines.partition(|entry| entry.grant.is_some());
    let given = |entry: &&Entry| entry.grant.is_some_and(|grant| grants.contains(&grant));
    let given: Vec<&Entry> = granted.into_iter().filter(given).collect();
    if given.is_empty() { others } else { given }
}

fn any_holds(alternatives: &[&[Condition]], call: &Call) -> bool {
    let holds = |condition: &Condition| {
        call.arguments[usize::from(condition.argument)] & condition.mask == condition.value
    };
    alternatives.iter().any(|conditions| conditions.iter().all(holds))
}

fn errno(number: i32) -> u16 {
    u16::try_from(number).expect("an errno is a small positive number")
}

/// The alternatives of a rule that has conditions.
fn alternatives(rule: Rule) -> &'static [&'static [Condition]] {
    match rule {
        Rule::AllowIf(alternatives) | Rule::RefuseIf(alternatives) => alternatives,
        Rule::Allow | Rule::Refuse | Rule::Gate => &[],
    }
}

/// Bad arguments but for those that an alternative asks for: those are as it wants them, and have no other bit set.
fn satisfying(conditions: &[Condition]) -> [u64; 6] {
    let mut arguments = [BAD; 6];
    for condition in conditions {
        arguments[usize::from(condition.argument)] = 0;
    }
    for condition in conditions {
        arguments[usize::from(condition.argument)] |= condition.value;
    }
    arguments
}
