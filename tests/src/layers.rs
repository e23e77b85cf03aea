//! Every crime with one layer of the confinement off: what is seen then.
//!
//! The daemon is that of `--cfg layers_off`. It runs where a crime that nothing stops finds nobody else: in PID, mount
//! and control group namespaces of its own, in groups with limits.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;
use std::{fs, thread};

use crate::artefacts;
use crate::crimes::{Crime, Layer, NEIGHBOUR, Variant, catalogue, channel};
use crate::daemon::Daemon;
use crate::home::Home;
use crate::http::Response;
use crate::process::eventually;

/// What switches layers off in that daemon.
pub const VARIABLE: &str = "HAIRTRIGGER_LAYERS_OFF";

/// Most memory of everything that runs with a layer off, in bytes.
const MEMORY: u64 = 3 << 30;
/// Most processes and threads of it: some five for each function.
const PROCESSES: u64 = 1000;

/// How long a crime is waited for that no time limit ends, beyond its own.
const LONG_AFTER: Duration = Duration::from_secs(3);

/// What is off: nothing, or a layer.
pub type Off = Option<Layer>;

/// A deed, by the crime's name and its own.
pub fn title(crime: &Crime, deed: &Variant) -> String {
    let slash = if deed.deed.is_empty() { "" } else { "/" };
    format!("{}{slash}{}", crime.name, deed.deed)
}

/// Whether a deed is done with this off. Layers that only bound what a function uses are of interest to the crimes that
/// they bound.
fn is_done(crime: &Crime, off: Off) -> bool {
    match off {
        None | Some(Layer::Seccomp | Layer::Landlock | Layer::Namespaces | Layer::Uid) => true,
        Some(layer @ (Layer::Groups | Layer::Limits | Layer::Deadline)) => {
            crime.defence.first() == Some(&layer)
        }
    }
}

/// Does every deed with each of these off in turn; what was seen, by what was off and by deed. `inner` is the
/// executable of `tests/src/bin/commits.rs`, which ends up in [`commit_all`].
pub fn run(inner: &Path, offs: &[Off]) -> BTreeMap<(Off, String), String> {
    let daemon = artefacts::daemon_with_layers_off();
    let groups = OuterGroups::new();
    let mut command = Command::new("sh");
    // Into the groups; then what is mounted anew in the namespaces has them for its root.
    command.arg("-c").arg(
        r#"set -e
        for group in "$1" "$2" "$3"; do echo $$ >"$group/cgroup.procs"; done
        shift 3
        exec unshare --mount --pid --cgroup --fork --kill-child --mount-proc sh -c '
            set -e
            for controller in memory pids cpu; do
                umount "/sys/fs/cgroup/$controller"
                mount -t cgroup -o "$controller" cgroup "/sys/fs/cgroup/$controller"
            done
            exec "$@"' sh "$@""#,
    );
    command.arg("sh").args(&groups.0).arg(inner).env("HAIRTRIGGER_DAEMON", daemon);
    command.args(offs.iter().map(|off| off.map_or("nothing", Layer::name)));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit());
    // SAFETY: between fork and exec one system call is made, on numbers.
    unsafe {
        command.pre_exec(|| {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            Ok(())
        });
    }
    let output = command.output().expect("a shell can be executed");
    assert!(output.status.success(), "what commits the crimes ended with {}", output.status);
    let text = String::from_utf8(output.stdout).expect("the other side writes text");
    text.lines().map(parse).collect()
}

/// One line of the other side's: what was off, the deed, what was seen.
fn parse(line: &str) -> ((Off, String), String) {
    let mut parts = line.splitn(3, '\t');
    let mut next = || parts.next().unwrap_or_else(|| panic!("no line of three parts: {line}")).to_owned();
    ((off_of(&next()), next()), next())
}

fn off_of(word: &str) -> Off {
    if word == "nothing" {
        return None;
    }
    Some(Layer::named(word).unwrap_or_else(|| panic!("{word} is no layer")))
}

/// A group in each hierarchy that a daemon has groups in, of which two have a limit. Removed once everything in it is
/// gone.
struct OuterGroups([PathBuf; 3]);

impl OuterGroups {
    fn new() -> Self {
        let name = format!("hairtrigger-layers-{}", std::process::id());
        let groups = ["memory", "pids", "cpu"]
            .map(|controller| Path::new("/sys/fs/cgroup").join(controller).join(&name));
        let limits = [("memory.limit_in_bytes", MEMORY), ("pids.max", PROCESSES)];
        for group in &groups {
            fs::create_dir(group).unwrap_or_else(|error| panic!("{}: {error}", group.display()));
        }
        for (group, (file, value)) in groups.iter().zip(limits) {
            fs::write(group.join(file), value.to_string()).expect("a limit can be written");
        }
        Self(groups)
    }
}

impl Drop for OuterGroups {
    fn drop(&mut self) {
        for group in &self.0 {
            remove(group);
        }
    }
}

/// Removes a group and those below, which the other side's daemons may have left, once the last process is gone.
fn remove(group: &Path) {
    for entry in fs::read_dir(group).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove(&entry.path());
        }
    }
    eventually("an outer group is empty", || {
        let removed = fs::remove_dir(group);
        removed.is_ok().then_some(())
    });
}

/// The other side: PID 1 of its namespace.
pub fn commit_all(words: impl Iterator<Item = String>) {
    let alone = "this kills all processes that it can see: only in a namespace of its own";
    assert_eq!(std::process::id(), 1, "{alone}");
    for word in words {
        let off = off_of(&word);
        for (deed, seen) in column(off) {
            println!("{word}\t{deed}\t{seen}");
        }
        std::io::stdout().flush().expect("somebody reads");
        // Whatever a crime has left behind.
        // SAFETY: takes no pointers; it spares this process.
        unsafe { libc::kill(-1, libc::SIGKILL) };
        // SAFETY: a null status is allowed.
        while unsafe { libc::waitpid(-1, std::ptr::null_mut(), 0) } != -1 {}
    }
}

/// Does every deed with something off.
fn column(off: Off) -> Vec<(String, String)> {
    let home = Home::new();
    home.add(NEIGHBOUR, &artefacts::function("plugins/echo/echo.c"), "concurrency.max = 1");
    let crimes: Vec<&Crime> = catalogue().filter(|crime| is_done(crime, off)).collect();
    crimes.iter().for_each(|crime| crime.deploy(&home));
    let mut command = Command::new(artefacts::daemon());
    command.arg("serve").arg("--config").arg(home.config()).env(VARIABLE, off.map_or("", Layer::name));
    let daemon = Daemon::start_by(&home, command);
    assert_switched(&daemon, off);
    let mut rows = Vec::new();
    for crime in crimes {
        for deed in crime.deeds() {
            let seen = commit(crime, &deed, &daemon, off);
            assert!(
                !daemon.process.ends_within(Duration::ZERO),
                "after {} the daemon is gone",
                title(crime, &deed)
            );
            rows.push((title(crime, &deed), seen));
        }
    }
    daemon.kill();
    rows
}

fn commit(crime: &Crime, deed: &Variant, daemon: &Daemon<'_>, off: Off) -> String {
    let request = crime.request(deed, daemon);
    loop {
        let mut connection = daemon.connect();
        if off == Some(Layer::Deadline) {
            connection.be_patient_for(LONG_AFTER);
        }
        match connection.send(&request).try_receive() {
            // Its worker is still on its way.
            Ok(answer) if answer.status == 503 && answer.json()["outcome"] == "overloaded" => {
                thread::yield_now();
            }
            Ok(answer) => return by_chance(crime, seen(&answer)),
            Err(_) => return "**not stopped**: it still runs".to_owned(),
        }
    }
}

/// What may be one thing or another is told as both, so that the table is the same each time.
fn by_chance(crime: &Crime, seen: String) -> String {
    const EITHER: [&str; 2] = ["**not stopped**", "protocol violation"];
    if crime.number == channel::DOUBLE_FETCH.number && EITHER.contains(&&*seen) {
        return EITHER.join(", or ");
    }
    seen
}

/// In a few words.
fn seen(answer: &Response) -> String {
    let body = String::from_utf8_lossy(&answer.body);
    if answer.status == 200 {
        return match body.split_once("refused: ") {
            Some(("", what)) => what.to_owned(),
            _ => "**not stopped**".to_owned(),
        };
    }
    let json = answer.json();
    let message = json["message"].as_str().unwrap_or_default().to_owned();
    let between = |start: &str, end: &str| {
        let found = message.split_once(start).and_then(|(_, rest)| rest.split_once(end));
        found.map_or_else(|| message.clone(), |(what, _)| what.to_owned())
    };
    match json["outcome"].as_str() {
        Some("violation") => format!("killed: {}", between("the denied system call ", " and was killed")),
        Some("fault") => between("was ended by ", " (").split(';').next().unwrap_or_default().to_owned(),
        Some("timeout") => "time limit".to_owned(),
        Some("out_of_memory") => "memory limit".to_owned(),
        Some("exited") => between("Function ", " in the middle")
            .split_once(' ')
            .map_or_else(String::new, |(_, what)| what.to_owned()),
        Some(outcome) => outcome.replace('_', " "),
        None => format!("status {}", answer.status),
    }
}

/// That what is off is off, and nothing else, as the kernel shows it of a worker: a switch that did nothing would make
/// the others look as good as it. Of landlock and of deadlines the kernel shows nothing.
fn assert_switched(daemon: &Daemon<'_>, off: Off) {
    let family = daemon.tree();
    let worker =
        family.iter().find(|process| process.name() == "ht-worker").expect("a worker is provisioned");
    let filters: u32 = worker.status("Seccomp_filters").parse().expect("a number");
    let namespaces = worker.namespace("net") != daemon.process.namespace("net");
    let files = worker.read("limits");
    let limited = files.lines().any(|line| line.starts_with("Max open files") && line.contains(" 64 "));
    let template =
        family.iter().find(|process| process.name() == "ht-template").expect("it was forked from one");
    let grouped = template.read("cgroup").contains(daemon.home.groups.name());
    let seen = [
        (Layer::Seccomp, filters > 1),
        (Layer::Namespaces, namespaces),
        (Layer::Uid, worker.uid() != Some(0)),
        (Layer::Groups, grouped),
        (Layer::Limits, limited),
    ];
    for (layer, on) in seen {
        assert_eq!(
            on,
            off != Some(layer),
            "{} with {} off",
            layer.name(),
            off.map_or("nothing", Layer::name)
        );
    }
}
