//! The template: confines itself, loads the plugin, and then only forks.

use std::io;

use ::landlock::RulesetCreated;

use super::confine::{confine, not_dumpable};
use super::plugin::Plugin;
use super::root::function_directory;
use super::{EXIT_SETUP, exit, host, set_name, worker};
use crate::channel::Geometry;
use crate::landlock;
use crate::layers::{self, Layer};
use crate::limits::WORKER_TURN;
use crate::policy::compile::{self, Programs};
use crate::policy::{CONTROL_CALL, Control};
use crate::setup::{Assignment, FromRunner, Setup, ToRunner};
use crate::step::{SetupError, Step};
use crate::sys;

/// Speaks to the warden; returns its answer, negative for a refusal.
pub(super) fn control(operation: Control, first: u64, second: u64) -> i64 {
    // SAFETY: Linux never carries this call out; the warden only reads where the arguments point to.
    unsafe { libc::syscall(CONTROL_CALL.into(), operation as u64, first, second) }
}

/// The child of the init.
pub(super) fn run(setup: Setup) -> ! {
    set_name(c"ht-template");
    // Its workers inherit it: one that wakes is not to wait until another function's has computed for milliseconds.
    sys::take_turns(WORKER_TURN);
    // Compiled while nobody waits.
    let programs = match Programs::compile(&[]) {
        Ok(programs) => programs,
        Err(error) => fail(&setup, SetupError::new(Step::Seccomp, &error)),
    };
    if setup.send(&FromRunner::Parked).is_err() {
        exit(EXIT_SETUP);
    }
    let assignment = match setup.receive() {
        Ok(ToRunner::Become(assignment)) => assignment,
        Ok(_) | Err(_) => exit(EXIT_SETUP),
    };
    let granted = assignment.grants.given(assignment.level);
    let programs = match granted[..] {
        [] => Ok(programs),
        _ => Programs::compile(&granted),
    };
    let programs = match programs {
        Ok(programs) => programs,
        Err(error) => fail(&setup, SetupError::new(Step::Seccomp, &error)),
    };
    host::set_environment(&assignment.environment);
    host::write_line_by_line();
    for (name, value) in &assignment.environment {
        // SAFETY: this process has one thread.
        unsafe { std::env::set_var(name, value) };
    }
    if let Err(error) = confine(&assignment, &programs, &setup) {
        fail(&setup, error);
    }
    drop(setup);
    serve(&assignment, &programs)
}

fn fail(setup: &Setup, error: SetupError) -> ! {
    let _ = setup.send(&FromRunner::Failed(error));
    exit(EXIT_SETUP);
}

/// Everything from here on may be under the plugin's control.
fn serve(assignment: &Assignment, programs: &Programs) -> ! {
    let plugin = match Plugin::load(&function_directory(assignment).join(&assignment.library)) {
        Ok(plugin) => plugin,
        Err(why) => {
            control(Control::LoadFailed, why.as_ptr() as u64, why.len() as u64);
            exit(EXIT_SETUP);
        }
    };
    let domain = match restrict_after_init(programs, assignment) {
        Ok(domain) => domain,
        Err(error) => {
            let why = format!("could not restrict itself after init: {error}");
            control(Control::LoadFailed, why.as_ptr() as u64, why.len() as u64);
            exit(EXIT_SETUP);
        }
    };
    // The kernel reaps the workers: nobody asks this process about them.
    // SAFETY: ignoring a signal has no preconditions.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
    if control(Control::Loaded, 0, 0) != 0 {
        exit(EXIT_SETUP);
    }
    let geometry = Geometry { max_request: assignment.max_request, max_response: assignment.max_response };
    loop {
        // Waits in the call until the warden wants a worker.
        // SAFETY: threads that the plugin started do not exist in the child; the warden refuses templates
        // that have any.
        match unsafe { libc::fork() } {
            -1 => exit(EXIT_SETUP),
            0 => worker::run(&plugin, geometry, domain, assignment),
            _ => {}
        }
    }
}

/// The domain that each worker takes, and what is dropped after init. Best effort by nature: a hostile init could
/// have kept this from working, and what was installed before it was loaded stands regardless. One that leaves no
/// descriptor for the domain ends here, where the reason can be told, and not in its workers.
fn restrict_after_init(programs: &Programs, assignment: &Assignment) -> io::Result<RulesetCreated> {
    let domain = landlock::working(&assignment.grants)?;
    if !assignment.level.has_capabilities() {
        // Until now the warden might have had to read why the plugin was refused.
        not_dumpable()?;
    }
    // SAFETY: takes no pointers.
    let result = unsafe { libc::prctl(libc::PR_SET_MDWE, libc::PR_MDWE_REFUSE_EXEC_GAIN, 0, 0, 0) };
    sys::check(result.into())?;
    if layers::on(Layer::Seccomp) {
        compile::install(&programs.after_init, false)?;
    }
    Ok(domain)
}
