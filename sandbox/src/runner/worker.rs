//! A worker: forked from the template, one channel, one invocation at a time.

use ::landlock::RulesetCreated;

use super::confine::die_with_parent;
use super::host::{self, Arena, Current};
use super::plugin::Plugin;
use super::template::control;
use super::{exit, set_name};
use crate::channel::{Geometry, WorkerEnd};
use crate::ending::EXIT_WORKER_START;
use crate::landlock;
use crate::layers::{self, Layer};
use crate::policy::Control;
use crate::setup::Assignment;

/// Runs until it is killed.
pub(super) fn run(plugin: &Plugin, geometry: Geometry, domain: RulesetCreated, assignment: &Assignment) -> ! {
    set_name(c"ht-worker");
    if !assignment.level.has_namespaces() {
        // The guardian sees to this. Should somebody kill it together with the daemon, the template dies of that,
        // and this worker with the template.
        die_with_parent(libc::SIGKILL);
    }
    if control(Control::CheckIn, 0, 0) != 0 {
        exit(EXIT_WORKER_START);
    }
    // Its own domain: the template may still signal it, its siblings may not.
    if !layers::on(Layer::Landlock) {
        drop(domain);
    } else if landlock::enforce(domain).is_err() {
        exit(EXIT_WORKER_START);
    }
    let Ok(mut channel) = WorkerEnd::open(geometry) else { exit(EXIT_WORKER_START) };
    if plugin.worker_start() != 0 {
        exit(EXIT_WORKER_START);
    }
    if control(Control::Ready, 0, 0) != 0 {
        exit(EXIT_WORKER_START);
    }
    let mut headers = Vec::new();
    let mut arena = Arena::default();
    loop {
        channel.next();
        let (reader, reply) = channel.parts();
        let request = reader.view(&mut headers);
        if assignment.mark_output {
            host::mark_output(&request);
        }
        let mut current = Current { reply, arena: &mut arena };
        let result = plugin.invoke(current.as_invocation(), &request);
        let used_slab = current.reply.publish(result);
        arena.clear();
        channel.published(used_slab);
    }
}
