//! Functions of an ordinary user: nobody, with a user namespace for each function (level *userns*) and without
//! (level *bare*).

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::process::CommandExt;
use std::time::Duration;

use hairtrigger_tests::artefacts;
use hairtrigger_tests::crimes::{Expected, NEIGHBOUR, crime};
use hairtrigger_tests::daemon::Daemon;
use hairtrigger_tests::home::Home;
use hairtrigger_tests::http::Response;
use hairtrigger_tests::ordinary::{self, NOBODY};
use hairtrigger_tests::process::{Process, eventually, left_after};
use hairtrigger_tests::sentences::denied;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    Userns,
    Bare,
}

const LEVELS: [Level; 2] = [Level::Userns, Level::Bare];

/// Puts a C source of the workspace where `dev` finds it, with a manifest of `rest`.
pub(crate) fn add(home: &Home, name: &str, source: &str, rest: &str) {
    let folder = home.add_manifest(name, &format!("name = \"{name}\"\nsource = \"{name}.c\"\n{rest}\n"));
    let source = artefacts::workspace().join(source);
    fs::copy(source, folder.join(format!("{name}.c"))).expect("a source can be copied");
}

pub(crate) fn add_own(home: &Home, name: &str, rest: &str) {
    add(home, name, &format!("tests/functions/{}.c", name.replace('-', "_")), rest);
}

/// `dev`, by nobody, serving at a level.
pub(crate) fn dev(home: &Home, level: Level) -> Daemon<'_> {
    let mut command = match level {
        Level::Userns => ordinary::dev(home, &[]),
        Level::Bare => {
            let mut command = ordinary::dev(home, &["--allow-degraded"]);
            ordinary::without_user_namespaces(&mut command);
            command
        }
    };
    // What is built by nobody must not lie where root has built.
    command.env_remove("CARGO_TARGET_DIR");
    let mut daemon = Daemon::run(home, command);
    daemon.await_address();
    daemon
}

/// The answer of a function that may still be loading.
pub(crate) fn get(daemon: &Daemon<'_>, path: &str) -> Response {
    eventually(&format!("an answer of {path}"), || {
        let answer = daemon.get(path);
        let waits = answer.status == 404 || answer.has("retry-after");
        (!waits).then_some(answer)
    })
}

fn named(daemon: &Daemon<'_>, name: &str) -> Vec<Process> {
    daemon.tree().into_iter().filter(|process| process.name() == name).collect()
}

/// One of the workers: more may have been started while requests waited.
fn a_worker(daemon: &Daemon<'_>) -> Process {
    named(daemon, "ht-worker").into_iter().next().expect("one has just answered")
}

fn only(mut processes: Vec<Process>) -> Process {
    assert_eq!(processes.len(), 1, "{processes:?}");
    processes.remove(0)
}

fn soft_limit(process: &Process, name: &str) -> String {
    let text = process.read("limits");
    let line = text.lines().find_map(|line| line.strip_prefix(name)).expect("a limit that the kernel has");
    line.split_whitespace().next().expect("a value").to_owned()
}

#[test]
fn each_function_has_a_user_namespace_where_nobody_is_nobody_else() {
    let home = Home::new();
    add_own(&home, "probe", "memory = \"48MiB\"\n[concurrency]\nmax = 3");
    let daemon = dev(&home, Level::Userns);
    get(&daemon, "/probe/fine").assert_ok("fine");
    let worker = a_worker(&daemon);
    for kind in ["user", "net", "mnt", "pid", "ipc", "uts", "cgroup"] {
        assert_ne!(worker.namespace(kind), daemon.process.namespace(kind), "{kind} is the daemon's");
    }
    // One id inside, which is not root's, is nobody outside; and nobody's groups cannot be changed inside.
    let fields: Vec<String> = worker.read("uid_map").split_whitespace().map(str::to_owned).collect();
    assert_eq!(fields, ["1000", "65534", "1"]);
    assert_eq!(worker.read("gid_map").split_whitespace().collect::<Vec<_>>(), ["1000", "65534", "1"]);
    assert_eq!(worker.read("setgroups").trim(), "deny");
    let template =
        only(named(&daemon, "ht-template").into_iter().filter(|it| it.pid == worker.parent).collect());
    for process in [&worker, &template] {
        assert_eq!(process.uid(), Some(NOBODY));
        assert_eq!((&*process.status("Seccomp"), &*process.status("NoNewPrivs")), ("2", "1"));
        for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
            assert_eq!(process.status(set), "0000000000000000", "{set}");
        }
        // The manifest's memory and a mebibyte for the runner; three workers, the template and the init.
        assert_eq!(soft_limit(process, "Max data size"), ((48 + 1) << 20).to_string());
        assert_eq!(soft_limit(process, "Max processes"), "5");
        let root = fs::read_dir(process.path("root")).expect("the process runs");
        let root: BTreeSet<_> =
            root.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
        assert_eq!(root, ["function", "lib", "lib64", "usr"].map(str::to_owned).into());
    }
    daemon.stop();
}

#[test]
fn bare_keeps_what_needs_no_namespace() {
    let home = Home::new();
    add_own(&home, "probe", "memory = \"48MiB\"");
    let daemon = dev(&home, Level::Bare);
    get(&daemon, "/probe/fine").assert_ok("fine");
    let worker = a_worker(&daemon);
    assert_eq!(worker.uid(), Some(NOBODY));
    assert_eq!((&*worker.status("Seccomp"), &*worker.status("NoNewPrivs")), ("2", "1"));
    assert_eq!(worker.status("CapEff"), "0000000000000000");
    assert_eq!(soft_limit(&worker, "Max data size"), ((48 + 1) << 20).to_string());
    assert_eq!(soft_limit(&worker, "Max open files"), "64");
    assert_eq!(worker.descriptors().keys().copied().collect::<Vec<_>>(), [0, 1, 2, 63]);
    // Its guardian, which the terminal's signals do not reach and which holds nothing.
    let template = Process::open(worker.parent).expect("a worker has a template");
    let guardian = Process::open(template.parent).expect("a template has a guardian");
    eventually("the guardian has locked itself down", || (guardian.status("Seccomp") == "2").then_some(()));
    assert_eq!(guardian.descriptors().len(), 0);
    daemon.stop();
}

#[test]
fn what_is_not_enforced_is_said_one_line_each() {
    for (level, expected) in [
        (
            Level::Userns,
            &[
                "functions are confined at level userns; compared with level full:",
                "  every function has your own user and group ids outside its user namespace, and none of its own",
                "  memory is held by a resource limit and no control group: a worker at its limit sees malloc fail, \
                 and its end is not told from another",
                "  the cpu limit of a function does nothing",
            ][..],
        ),
        (
            Level::Bare,
            &[
                "functions are confined at level bare; compared with level full:",
                "  every function has your own user and group ids",
                "  files are kept from functions by landlock and the system call policy alone: there is no root of \
                 their own, and /function does not exist",
                "  other processes, the network and the host's name are kept from functions by landlock and the \
                 system call policy alone",
                "  the number of a function's processes is held by the fork gate alone",
                "  memory is held by a resource limit and no control group: a worker at its limit sees malloc fail, \
                 and its end is not told from another",
                "  the cpu limit of a function does nothing",
            ][..],
        ),
    ] {
        let home = Home::new();
        add(&home, "echo", "plugins/echo/echo.c", "");
        let daemon = dev(&home, level);
        get(&daemon, "/echo").assert_ok("GET /echo\n");
        let lines = daemon.lines();
        let at = lines.iter().position(|line| line == expected[0]);
        let at = at.unwrap_or_else(|| panic!("{level:?}: {lines:?}"));
        assert_eq!(&lines[at..at + expected.len()], expected);
        daemon.stop();
    }
}

#[test]
fn bare_must_be_asked_for() {
    let home = Home::new();
    add(&home, "echo", "plugins/echo/echo.c", "");
    let mut command = ordinary::dev(&home, &[]);
    ordinary::without_user_namespaces(&mut command);
    let said = Daemon::run(&home, command).refusal_with(4);
    let sentence = "hairtrigger: this host cannot confine functions at level userns; `hairtrigger doctor` says more, \
                    and --allow-degraded makes do with level bare";
    let at = said.iter().position(|line| line == sentence).unwrap_or_else(|| panic!("{said:?}"));
    let expected =
        "  user namespace: the user alone (Linux 3.8): clone3: No space left on device (os error 28)";
    assert_eq!(said[at + 1], expected);
}

#[test]
fn serve_makes_do_with_no_less_than_full() {
    let home = Home::new();
    home.add("echo", &crate::echo(), "");
    let said = Daemon::run(&home, ordinary::command(&home, &["serve", "--config", "hairtrigger.toml"]));
    let expected =
        "hairtrigger: hairtrigger confines functions at level full, for which it must be started as root";
    assert_eq!(said.refusal_with(4), [expected]);
}

/// Some crimes of `plugins/hostile`, and what each comes to where nobody counts memory: the bomb sees malloc fail.
#[test]
fn crimes_are_contained_and_named() {
    let crimes = [1, 13, 22, 39, 51, 55, 59, 63].map(crime);
    for level in LEVELS {
        let home = Home::new();
        home.add(NEIGHBOUR, &crate::echo(), "");
        crimes.iter().for_each(|crime| crime.deploy(&home));
        let daemon = dev(&home, level);
        let neighbour = || get(&daemon, &format!("/{NEIGHBOUR}")).assert_ok(format!("GET /{NEIGHBOUR}\n"));
        neighbour();
        for crime in crimes {
            let expected = match crime.invoke {
                Expected::OutOfMemory => Expected::Refused("malloc: Cannot allocate memory"),
                expected => expected,
            };
            let expected = expected.answer(crime);
            // Twice: a function serves on after its crime.
            for _ in 0..2 {
                let answer = get(&daemon, &format!("/{}", crime.name));
                assert_eq!(answer.status, expected.status, "{level:?}: {}: {}", crime.name, answer.text());
                assert!(
                    answer.text().contains(&expected.text),
                    "{level:?}: {}: {}",
                    crime.name,
                    answer.text()
                );
            }
            neighbour();
        }
        daemon.stop();
    }
}

/// Processes of one user, whom the kernel by itself would let trace and signal each other.
#[test]
fn no_process_of_the_same_user_is_reached() {
    let crimes = [
        ("kill", "kill"),
        ("everybody", "kill"),
        ("queue", "rt_sigqueueinfo"),
        ("thread", "tgkill"),
        ("trace", "ptrace"),
        ("read", "process_vm_readv"),
        ("write", "process_vm_writev"),
        ("open", "pidfd_open"),
        ("limit", "prlimit64"),
        ("leave", "setpgid"),
        ("session", "setsid"),
    ];
    for level in LEVELS {
        let home = Home::new();
        add_own(&home, "reach", "");
        // One worker, so that it is the same one that answers.
        add_own(&home, "probe", "[concurrency]\nmax = 1");
        let daemon = dev(&home, level);
        get(&daemon, "/probe/fine").assert_ok("fine");
        let of_probe = |daemon: &Daemon<'_>| {
            let pid: i32 = daemon.get("/probe/pid").text().trim().parse().expect("a pid");
            let own = |process: &Process| {
                process.status("NSpid").split_whitespace().last() == Some(&pid.to_string())
            };
            named(daemon, "ht-worker").into_iter().find(own).expect("it has just answered")
        };
        let victim = of_probe(&daemon);
        let victims = [daemon.process.pid, victim.pid, victim.parent];
        for (crime, call) in crimes {
            for victim in victims {
                let answer = get(&daemon, &format!("/reach/{crime}?{victim}"));
                let sentence = format!("Function reach {}", denied(call));
                answer.assert_outcome("reach", 502, "violation", &sentence);
            }
        }
        assert_eq!(of_probe(&daemon).pid, victim.pid, "{level:?}: the other function's worker noticed");
        daemon.stop();
    }
}

#[test]
fn why_a_plugin_is_refused_is_told() {
    for level in LEVELS {
        let home = Home::new();
        add_own(&home, "init-fails", "");
        let daemon = dev(&home, level);
        let answer = eventually("the reason", || {
            let answer = daemon.get("/init-fails");
            (answer.status == 503).then_some(answer)
        });
        let message = answer.json()["message"].to_string();
        assert!(message.contains("init returned 7: there is no model to load"), "{level:?}: {message}");
        daemon.stop();
    }
}

/// There is no `/function` at level bare; relative names serve everywhere.
#[test]
fn init_finds_the_functions_files_by_relative_names() {
    for level in LEVELS {
        let home = Home::new();
        add_own(&home, "init-reads", "");
        let daemon = dev(&home, level);
        get(&daemon, "/init-reads").assert_ok("read");
        daemon.stop();
    }
    let home = Home::new();
    home.add("init-reads", &crate::own("init_reads"), "");
    let daemon = home.start();
    daemon.get("/init-reads").assert_ok("read");
    daemon.stop();
}

/// One worker spins, so that it would never notice by itself.
fn with_a_spinning_worker(level: Level, test: impl FnOnce(Daemon<'_>, Process)) {
    let home = Home::new();
    add_own(&home, "probe", "timeout = \"60s\"\n[concurrency]\nprovisioned = 1\nmax = 1");
    let daemon = dev(&home, level);
    get(&daemon, "/probe/fine").assert_ok("fine");
    let worker = only(named(&daemon, "ht-worker"));
    let mut connection = daemon.connect();
    connection.send(hairtrigger_tests::http::get("/probe/spin"));
    eventually("the worker spins", || {
        let stat = worker.read("stat");
        let (_, fields) = stat.rsplit_once(") ")?;
        let user_ticks: u32 = fields.split(' ').nth(11)?.parse().ok()?;
        (user_ticks > 1).then_some(())
    });
    test(daemon, worker);
}

const AT_ONCE: Duration = Duration::from_secs(2);

#[test]
fn nothing_outlives_a_killed_daemon() {
    for level in LEVELS {
        with_a_spinning_worker(level, |daemon, _| {
            let family = daemon.tree();
            assert!(family.len() >= 5, "{family:?}");
            daemon.kill();
            assert_eq!(left_after(&family, AT_ONCE), [""; 0], "{level:?}");
        });
    }
}

#[test]
fn nothing_of_a_function_outlives_its_template() {
    for level in LEVELS {
        with_a_spinning_worker(level, |daemon, worker| {
            let template = Process::open(worker.parent).expect("a worker has a template");
            template.signal(libc::SIGKILL);
            assert_eq!(left_after(&[worker, template], AT_ONCE), [""; 0], "{level:?}");
            get(&daemon, "/probe/fine").assert_ok("fine");
            daemon.stop();
        });
    }
}

/// Killed as the kernel would kill it that is out of memory, without a chance to do its work.
#[test]
fn nothing_of_a_function_outlives_its_init() {
    for level in LEVELS {
        with_a_spinning_worker(level, |daemon, worker| {
            let template = Process::open(worker.parent).expect("a worker has a template");
            let init = Process::open(template.parent).expect("a template has an init");
            init.signal(libc::SIGKILL);
            assert_eq!(left_after(&[worker, template, init], AT_ONCE), [""; 0], "{level:?}");
            get(&daemon, "/probe/fine").assert_ok("fine");
            daemon.stop();
        });
    }
}

/// Daemon and guardian killed at once, as somebody kills who kills whatever has a name of ours.
fn kill_with_its_init(daemon: Daemon<'_>, template: &Process) -> Process {
    let init = Process::open(template.parent).expect("a template has an init");
    // So that it has no chance to do its work.
    init.signal(libc::SIGSTOP);
    daemon.kill();
    init.signal(libc::SIGKILL);
    init
}

#[test]
fn no_worker_outlives_daemon_and_guardian() {
    for level in LEVELS {
        with_a_spinning_worker(level, |daemon, worker| {
            let template = Process::open(worker.parent).expect("a worker has a template");
            let init = kill_with_its_init(daemon, &template);
            assert_eq!(left_after(&[worker, template, init], AT_ONCE), [""; 0], "{level:?}");
        });
    }
}

/// A template that hangs in its initialisation does not notice by itself that its warden is gone.
fn with_a_hanging_init(level: Level, test: impl FnOnce(Daemon<'_>, Process)) {
    let home = Home::new();
    add_own(&home, "init-hangs", "");
    let daemon = dev(&home, level);
    let template = eventually("the template initialises", || {
        named(&daemon, "ht-template")
            .into_iter()
            .find(|process| process.read("maps").contains("init-hangs.so"))
    });
    test(daemon, template);
}

#[test]
fn an_init_that_hangs_does_not_outlive_a_killed_daemon() {
    for level in LEVELS {
        with_a_hanging_init(level, |daemon, _| {
            let family = daemon.tree();
            daemon.kill();
            assert_eq!(left_after(&family, AT_ONCE), [""; 0], "{level:?}");
        });
    }
}

#[test]
fn an_init_that_hangs_does_not_outlive_daemon_and_guardian() {
    for level in LEVELS {
        with_a_hanging_init(level, |daemon, template| {
            let init = kill_with_its_init(daemon, &template);
            assert_eq!(left_after(&[template, init], AT_ONCE), [""; 0], "{level:?}");
        });
    }
}

/// Rings are memory that an ordinary user may have only so much of.
#[test]
fn what_keeps_a_shard_from_its_ring_is_named() {
    let home = Home::new();
    add_own(&home, "probe", "");
    let mut command = ordinary::dev(&home, &[]);
    let limit = libc::rlimit { rlim_cur: 1 << 16, rlim_max: 1 << 16 };
    // SAFETY: between fork and exec one system call is made, on a constant.
    unsafe {
        command.pre_exec(move || {
            libc::setrlimit(libc::RLIMIT_MEMLOCK, &raw const limit);
            Ok(())
        });
    }
    let said = Daemon::run(&home, command).refusal();
    // Which ring is the first without room depends on what else this user's tests have locked.
    let expected = " cannot be started: all memory that this user may lock is in use (RLIMIT_MEMLOCK, for all his \
                    processes together, of which each shard takes 320 KiB); raise it, or set fewer shards";
    assert!(said.iter().any(|line| line.ends_with(expected)), "{said:?}");
}
