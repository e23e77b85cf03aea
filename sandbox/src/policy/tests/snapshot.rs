//! `sandbox/policy.txt`: the policy as a reviewer reads it, made from the compiled programs.

use std::fmt::Write as _;
use std::path::Path;

use super::arguments::words;
use super::*;
use crate::policy::denied;

/// Set to anything, has the test write the file instead of comparing it.
const WRITE_VARIABLE: &str = "HAIRTRIGGER_WRITE_POLICY";

const HEAD: &str = "\
# The system call policy, as the compiled programs answer: first while the plugin is loaded and initialised, then for
# workers. Made by a test from sandbox/src/policy/; CONTRIBUTING.md says how to write it anew. Read its diff.
#
#   allow      the kernel carries the call out
#   EACCES     the call fails with this error, as does ENOSYS
#   gate       the warden decides, call by call
#   violation  the warden kills the process and names the call
#
# Numbers above the last one, those of x32 and every call of the 32-bit ABI kill the process at once. About uretprobe
# and uprobe newer kernels ask no filter; whoever calls them from anywhere but the kernel's own trampolines gets SIGILL
# from the one and ENXIO from the other.
";

/// What the programs answer at both stages.
fn answers(programs: &Programs, gate: bool, call: &Call) -> [&'static str; 2] {
    STAGES.map(|stage| match compiled(programs, stage, call) {
        Action::Allow => "allow",
        Action::Notify if gate => "gate",
        Action::Notify => "violation",
        Action::Errno(number) if number == errno(libc::EACCES) => "EACCES",
        Action::Errno(number) if number == errno(libc::ENOSYS) => "ENOSYS",
        action => panic!("there is no word for {action:?}"),
    })
}

fn if_words(entry: &Entry, conditions: &[Condition]) -> String {
    let words: Vec<_> = conditions.iter().map(|condition| words(entry.number, condition)).collect();
    format!("if {}", words.join("; "))
}

/// What is said of one call.
fn describe(out: &mut String, programs: &Programs, grants: &[Grant], number: u32) {
    let name = denied::name(number).expect("calls that are described have names");
    let (policy, after_init) = (lines_of(POLICY, grants, number), lines_of(AFTER_INIT, grants, number));
    let gate = policy.iter().any(|entry| matches!(entry.rule, Rule::Gate));
    let mut line = |start: &str, [before, after]: [&str; 2], text: &str| {
        let line = format!("{start:<28} {before:<10} {after:<10} {text}");
        writeln!(out, "{}", line.trim_end()).expect("a string takes everything");
    };
    let start = format!("{number:>3} {name}");
    let reasons = policy.iter().map(|entry| entry.reason.to_owned());
    let reasons = reasons.chain(after_init.iter().map(|entry| format!("later: {}", entry.reason)));
    let reasons: Vec<String> = if i64::from(number) == libc::SYS_clone3 {
        vec![
            "its flags lie in memory, where a filter cannot see them; the C library falls back to clone"
                .to_owned(),
        ]
    } else if policy.is_empty() {
        vec![denied::family(number).expect("what is not in the policy is in a family").name.to_owned()]
    } else {
        reasons.collect()
    };
    let conditional = policy.iter().chain(&after_init).any(|entry| !alternatives(entry.rule).is_empty());
    if !conditional {
        let all = [[0; 6], [BAD; 6]].map(|arguments| answers(programs, gate, &native(number, arguments)));
        assert_eq!(all[0], all[1], "call {number} looks at its arguments");
        line(&start, all[0], &reasons.join("; "));
        return;
    }
    line(&start, ["", ""], "");
    for entry in &policy {
        for conditions in alternatives(entry.rule) {
            let answers = answers(programs, gate, &native(number, satisfying(conditions)));
            line("", answers, &if_words(entry, conditions));
        }
    }
    for entry in &after_init {
        for conditions in alternatives(entry.rule) {
            let [_, after] = answers(programs, gate, &native(number, satisfying(conditions)));
            line("", ["", after], &if_words(entry, conditions));
        }
    }
    // Arguments of which none of the lines above speaks, if there are any.
    let no_line = |arguments: &[u64; 6]| {
        let call = native(number, *arguments);
        !policy.iter().chain(&after_init).any(|entry| any_holds(alternatives(entry.rule), &call))
    };
    if let Some(arguments) =
        [[0; 6], [BAD; 6], [u64::MAX; 6], [1; 6], [1 << 20; 6]].iter().find(|arguments| no_line(arguments))
    {
        line("", answers(programs, gate, &native(number, *arguments)), "otherwise");
    }
    for reason in reasons {
        line("", ["", ""], &format!("- {reason}"));
    }
}

fn snapshot() -> String {
    let mut out = HEAD.to_owned();
    let programs = Programs::compile(&[]).expect("the policy compiles");
    out.push_str("\n## Without a grant\n\n");
    let mut number = 0;
    while number <= HIGHEST_KNOWN_CALL {
        if denied::name(number).is_some() {
            describe(&mut out, &programs, &[], number);
            number += 1;
            continue;
        }
        let first = number;
        while number <= HIGHEST_KNOWN_CALL && denied::name(number).is_none() {
            let got = answers(&programs, false, &native(number, [BAD; 6]));
            assert_eq!(got, ["violation"; 2], "call {number} does not exist");
            number += 1;
        }
        let range = format!("{first} to {}: no calls", number - 1);
        writeln!(out, "{range:<28} {:<10} violation", "violation").expect("a string takes everything");
    }
    for grant in Grant::ALL {
        let programs = Programs::compile(&[*grant]).expect("the policy compiles");
        let given = match grant {
            Grant::Read => "allow.read or allow.write",
            Grant::Names => "the same, at levels with a root of a function's own",
            Grant::Write => "allow.write",
            Grant::Connect => "allow.connect",
            Grant::Threads => "threads",
        };
        write!(out, "\n## With {given}, in place of the above\n\n").expect("a string takes everything");
        for number in 0..=HIGHEST_KNOWN_CALL {
            let spoken = |table: &[Entry]| {
                table.iter().any(|entry| entry.number == i64::from(number) && entry.grant == Some(*grant))
            };
            if spoken(POLICY) || spoken(AFTER_INIT) {
                describe(&mut out, &programs, &[*grant], number);
            }
        }
    }
    out
}

#[test]
fn the_snapshot_is_the_policy() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("policy.txt");
    let fresh = snapshot();
    if std::env::var_os(WRITE_VARIABLE).is_some() {
        std::fs::write(&path, &fresh).expect("the snapshot can be written");
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    let differs = kept.lines().zip(fresh.lines()).find(|(kept, fresh)| kept != fresh);
    assert!(
        kept == fresh,
        "sandbox/policy.txt is not the policy any more; the first line that differs, kept and now: {differs:#?}\n\
         If that is what is meant: {WRITE_VARIABLE}=1 cargo test -p hairtrigger-sandbox --lib the_snapshot"
    );
}
