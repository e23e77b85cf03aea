//! Arbitrary notifications, judged one after the other; and arbitrary texts of /proc.
//!
//! The sequence of verdicts is held against the promises, which are counted here in another way: as many forks as
//! workers were wanted, as many check-ins as forks, one readiness a check-in, and nothing from anybody else.

use std::collections::BTreeMap;

use super::verdict::{
    Caller, Known, Stage, Verdict, is_fork, judge, status_number, status_of_zombie, to_itself,
};
use crate::fuzz::Input;
use crate::limits::MAX_LOAD_MESSAGE;
use crate::policy::{CONTROL_CALL, FORK_FLAGS};
use crate::sys::{Notification, ProcessInfo};
use crate::text;

const TEMPLATE: libc::pid_t = 100;
const STEPS: usize = 200;

#[derive(Default)]
struct Run {
    loaded: bool,
    ended: bool,
    fork_waits: bool,
    wanted: u32,
    /// Forks let through that have not checked in.
    awaited: u32,
    /// By pid: whether it is starting.
    workers: BTreeMap<libc::pid_t, bool>,
    // What is counted.
    all_wanted: u32,
    all_forks: u32,
    all_check_ins: u32,
    all_ready: u32,
}

pub(crate) fn run(input: &mut Input<'_>) {
    if input.u8() % 4 == 3 {
        return texts(input);
    }
    let mut run = Run::default();
    for _ in 0..STEPS {
        if input.is_empty() {
            return;
        }
        run.step(input);
        assert!(run.all_forks <= run.all_wanted && run.all_check_ins <= run.all_forks);
        assert!(run.all_ready <= run.all_check_ins && run.awaited == run.all_forks - run.all_check_ins);
    }
}

impl Run {
    fn step(&mut self, input: &mut Input<'_>) {
        match input.u8() % 16 {
            0..2 => {
                (self.wanted, self.all_wanted) = (self.wanted + 1, self.all_wanted + 1);
                self.let_fork();
            }
            // A signal interrupts the fork that waits.
            2 => self.fork_waits = false,
            3 => {
                self.workers.pop_first();
            }
            4 => self.ended |= input.u8() == 0,
            _ => self.notify(input),
        }
    }

    /// As the template does it.
    fn let_fork(&mut self) {
        if self.loaded && !self.ended && self.wanted > 0 && self.fork_waits {
            self.fork_waits = false;
            self.wanted -= 1;
            self.awaited += 1;
            self.all_forks += 1;
        }
    }

    fn notify(&mut self, input: &mut Input<'_>) {
        let thread = match input.u8() {
            0..64 => TEMPLATE,
            // Workers, forks and others' threads; few, so that they meet.
            pid => TEMPLATE + libc::pid_t::from(pid % 8),
        };
        let number = match input.u8() {
            0..64 => i32::try_from(libc::SYS_clone).unwrap(),
            64..96 => i32::try_from(libc::SYS_tgkill).unwrap(),
            96..224 => CONTROL_CALL,
            224.. => input.u32().cast_signed(),
        };
        let mut arguments = [0; 6];
        arguments[0] = match input.u8() {
            0..64 => FORK_FLAGS,
            64..192 => u64::from(input.u8() % 6),
            192.. => input.number(),
        };
        (arguments[1], arguments[2]) = (input.number(), input.number());
        let call = Notification { id: 1, thread, number, arguments };
        let caller = match self.workers.get(&thread) {
            _ if thread == TEMPLATE => Caller::Template,
            Some(&starting) => Caller::Worker { starting },
            None => Caller::Other,
        };
        let stage = match (self.ended, self.loaded) {
            (true, _) => Stage::Ending,
            (false, true) => Stage::Serving,
            (false, false) => Stage::Loading,
        };
        let known = Known { caller, stage, fork_waits: self.fork_waits, awaited: self.awaited > 0 };
        self.obey(&call, judge(&call, known), input);
    }

    fn obey(&mut self, call: &Notification, verdict: Verdict, input: &mut Input<'_>) {
        let control = call.number == CONTROL_CALL;
        match verdict {
            Verdict::Violation => {}
            Verdict::Park => {
                assert!(call.thread == TEMPLATE && i64::from(call.number) == libc::SYS_clone);
                assert!(call.arguments[0] == FORK_FLAGS, "another clone than the C library's fork");
                assert!(self.loaded && !self.ended && !self.fork_waits);
                self.fork_waits = true;
                self.let_fork();
            }
            Verdict::Signal => {
                assert_eq!(i64::from(call.number), libc::SYS_tgkill);
                let own = (input.u8(), input.u8());
                let exact = [call.arguments[0], call.arguments[1]] == [own.0, own.1].map(u64::from);
                assert_eq!(to_itself(call, (own.0.into(), own.1.into())), exact, "all 64 bits count");
            }
            Verdict::Loaded => {
                assert!(control && call.thread == TEMPLATE && !self.loaded && !self.ended);
                self.loaded = true;
            }
            Verdict::LoadFailed { .. } => {
                assert!(control && call.thread == TEMPLATE && !self.loaded && !self.ended);
                self.ended = true;
            }
            Verdict::CheckIn => {
                assert!(control && call.thread != TEMPLATE && !self.workers.contains_key(&call.thread));
                let info = ProcessInfo {
                    parent: TEMPLATE + libc::pid_t::from(input.u8() % 2),
                    thread_group: call.thread + libc::pid_t::from(input.u8() % 2),
                    exit: None,
                };
                // Another's child, or another thread than the main one, is nobody's fork.
                if is_fork(&info, TEMPLATE, call.thread) {
                    assert!(info.parent == TEMPLATE && info.thread_group == call.thread);
                    assert!(self.awaited > 0, "a worker that nobody wanted");
                    self.workers.insert(call.thread, true);
                    (self.awaited, self.all_check_ins) = (self.awaited - 1, self.all_check_ins + 1);
                }
            }
            Verdict::Ready => {
                assert!(
                    control && self.workers.insert(call.thread, false) == Some(true),
                    "not once a check-in"
                );
                self.all_ready += 1;
            }
        }
    }
}

/// What /proc says of a process that has named itself, and what a template says of its refusal.
fn texts(input: &mut Input<'_>) {
    let length = usize::from(input.u16());
    let bytes = input.bytes(length);
    for name in ["Tgid:", "NStgid:", "NSpid:", "Threads:"] {
        let behind = [bytes, b"\n", name.as_bytes(), b"\t7\t-3\n"].concat();
        // What stands before it, as the name does, cannot hide a line, unless it holds one of that name itself, which
        // the kernel does not let it.
        let forged = bytes.split(|&byte| byte == b'\n').any(|line| line.starts_with(name.as_bytes()));
        assert!(forged || status_number(&behind, name) == Some(-3));
        let _ = status_number(bytes, name);
    }
    let _ = status_of_zombie(bytes);
    let fields = vec!["0"; 48].join(" ");
    let stat = [b"17 (", bytes, format!(") Z {fields} 9\n").as_bytes()].concat();
    assert_eq!(status_of_zombie(&stat), Some(9));
    let shown = text::line(bytes, MAX_LOAD_MESSAGE);
    assert!(!shown.contains(char::is_control) && shown.len() <= 3 * MAX_LOAD_MESSAGE + " …".len());
}
