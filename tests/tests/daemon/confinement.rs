//! What the kernel says of live processes of a function: the worker that serves, and the template it was
//! forked from.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use hairtrigger_tests::daemon::Daemon;
use hairtrigger_tests::groups::{counter, value};
use hairtrigger_tests::home::Home;
use hairtrigger_tests::process::{Process, eventually};

use crate::own;

const MANIFEST: &str = "memory = \"48MiB\"\ncpu = 0.5\n[concurrency]\nprovisioned = 2\nmax = 5";

fn home() -> Home {
    let home = Home::new();
    home.add("probe", &own("probe"), MANIFEST).add("other", &own("probe"), "");
    home
}

/// Worker and template of both functions, once a worker of each has served.
fn confined(daemon: &Daemon<'_>) -> [Process; 4] {
    let worker = |function: &str| {
        daemon.get(&format!("/{function}/fine")).assert_ok("fine");
        daemon.workers(function).into_iter().next().expect("it has just answered")
    };
    [worker("probe"), daemon.template("probe"), worker("other"), daemon.template("other")]
}

#[test]
fn no_privilege_is_left() {
    let home = home();
    let daemon = home.start();
    let processes = confined(&daemon);
    for process in &processes {
        let name = process.name();
        // Filters are on, and no exec could give anything back.
        assert_eq!((&*process.status("Seccomp"), &*process.status("NoNewPrivs")), ("2", "1"), "{name}");
        for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
            assert_eq!(process.status(set), "0000000000000000", "{set} of {name}");
        }
        assert_eq!(process.status("Groups"), "", "{name}");
        assert_eq!(process.status("Threads"), "1", "{name}");
        assert_eq!(process.status("TracerPid"), "0", "{name}");
    }
    // The ns-init above them is ours, and trusted; it needs none either.
    let init = daemon.ns_init("probe");
    eventually("the ns-init has locked itself down", || (init.status("Seccomp") == "2").then_some(()));
    assert_eq!((&*init.status("NoNewPrivs"), &*init.status("CapBnd")), ("1", "0000000000000000"));
    assert_eq!(init.descriptors(), BTreeMap::new());
    daemon.stop();
}

#[test]
fn each_function_is_a_user_of_its_own() {
    let home = home();
    let daemon = home.start();
    let [worker, template, other, other_template] = confined(&daemon);
    let uids = |process: &Process, kind: &str| -> BTreeSet<u32> {
        process.status(kind).split_whitespace().map(|id| id.parse().expect("a number")).collect()
    };
    for kind in ["Uid", "Gid"] {
        // Real, effective, saved and of the file system: all one.
        assert_eq!(uids(&worker, kind), BTreeSet::from([home.uid("probe")]));
        assert_eq!(uids(&template, kind), BTreeSet::from([home.uid("probe")]));
        assert_eq!(uids(&other, kind), BTreeSet::from([home.uid("other")]));
        assert_eq!(uids(&other_template, kind), BTreeSet::from([home.uid("other")]));
    }
    let init = uids(&daemon.ns_init("probe"), "Uid");
    let all = BTreeSet::from([0, home.uid("probe"), home.uid("other")]);
    assert!(all.len() == 3 && all.is_disjoint(&init), "functions, ns-inits and root are different users");
    let known = (home.uid("probe"), home.uid("other"));
    daemon.stop();
    let again = home.start();
    assert_eq!((home.uid("probe"), home.uid("other")), known, "uids are kept");
    again.stop();
}

#[test]
fn each_function_has_namespaces_of_its_own() {
    let home = home();
    let daemon = home.start();
    let [worker, template, other, _] = confined(&daemon);
    for kind in ["net", "mnt", "pid", "ipc", "uts", "cgroup"] {
        let (its, ours) = (worker.namespace(kind), daemon.process.namespace(kind));
        assert_ne!(its, ours, "{kind} is the daemon's");
        assert_ne!(its, other.namespace(kind), "{kind} is another function's");
        assert_eq!(its, template.namespace(kind), "{kind}");
    }
    // An empty network: loopback alone, which is down, and no way anywhere.
    let interfaces = worker.read("net/dev");
    assert!(interfaces.contains(" lo:") && !interfaces.contains("eth"), "{interfaces}");
    let routes = worker.read("net/route");
    assert!(routes.lines().count() <= 1, "a heading at most: {routes}");
    daemon.stop();
}

#[test]
fn the_root_holds_libraries_and_the_function_and_is_read_only() {
    let home = home();
    let daemon = home.start();
    for process in confined(&daemon) {
        let list = |path: &str| -> BTreeSet<String> {
            let entries = fs::read_dir(process.path("root").join(path)).expect("the process runs");
            entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect()
        };
        let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
        assert_eq!(list("."), set(&["function", "lib", "lib64", "usr"]));
        assert!(list("usr").is_subset(&set(&["lib", "lib64"])), "{:?}", list("usr"));
        assert_eq!(list("usr/lib"), set(&["x86_64-linux-gnu"]));
        let name = if process.uid() == Some(home.uid("probe")) { "probe" } else { "other" };
        assert_eq!(list("function"), set(&[&format!("{name}.so"), "function.toml"]));

        let mounts = process.read("mountinfo");
        let mut places = BTreeSet::new();
        for line in mounts.lines() {
            let fields: Vec<&str> = line.split(' ').collect();
            places.insert(fields[4].to_owned());
            let options: BTreeSet<&str> = fields[5].split(',').collect();
            assert!(BTreeSet::from(["ro", "nosuid", "nodev"]).is_subset(&options), "{line}");
            assert!(!line.contains("shared:") && !line.contains("master:"), "mounts would spread: {line}");
        }
        let expected = set(&["/", "/function", "/usr/lib/x86_64-linux-gnu", "/usr/lib64"]);
        assert!(places.is_subset(&expected) && places.contains("/function"), "{mounts}");
    }
    daemon.stop();
}

#[test]
fn only_documented_descriptors_are_open() {
    let home = home();
    let daemon = home.start();
    let [worker, template, other, _] = confined(&daemon);
    // What a descriptor is, without the number that tells one pipe from another.
    let kinds = |process: &Process| -> BTreeMap<i32, String> {
        let plain = |target: String| target.split(":[").next().unwrap_or_default().to_owned();
        process
            .descriptors()
            .into_iter()
            .map(|(fd, target)| (fd, if target.starts_with("pipe") { plain(target) } else { target }))
            .collect()
    };
    let documented = |more: &[(i32, &str)]| -> BTreeMap<i32, String> {
        let standard = [(0, "/dev/null"), (1, "pipe"), (2, "pipe")];
        standard.iter().chain(more).map(|(fd, what)| (*fd, (*what).to_owned())).collect()
    };
    // The regions of the channel are mapped and closed; the bell is the highest that it may have.
    assert_eq!(kinds(&worker), documented(&[(63, "anon_inode:[eventfd]")]));
    assert_eq!(kinds(&other), kinds(&worker));
    // What a worker's own landlock domain will be made of.
    assert_eq!(kinds(&template), documented(&[(3, "anon_inode:[landlock-ruleset]")]));
    assert_ne!(
        worker.descriptors()[&1],
        template.descriptors()[&1],
        "each worker writes to a pipe of its own"
    );
    daemon.stop();
}

#[test]
fn resources_are_limited_by_the_kernel() {
    let home = home();
    let daemon = home.start();
    let [worker, template, ..] = confined(&daemon);
    for process in [&worker, &template] {
        let text = process.read("limits");
        let limit = |name: &str| -> (String, String) {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            let line = line.unwrap_or_else(|| panic!("no {name} in:\n{text}"));
            let mut fields = line.split_whitespace();
            (fields.next().expect("soft").to_owned(), fields.next().expect("hard").to_owned())
        };
        for (name, value) in [
            ("Max core file size", 0),
            ("Max locked memory", 0),
            ("Max msgqueue size", 0),
            ("Max file size", 0),
            ("Max nice priority", 0),
            ("Max realtime priority", 0),
            ("Max pending signals", 64),
            ("Max open files", 64),
            ("Max stack size", 8 << 20),
            // The manifest's memory, and room for the image of the runner.
            ("Max data size", (48 << 20) + (128 << 20)),
        ] {
            let value = value.to_string();
            assert_eq!(limit(name), (value.clone(), value), "{name}");
        }
    }
    daemon.stop();
}

#[test]
fn groups_hold_what_the_manifest_says() {
    const MEBIBYTE: u64 = 1 << 20;
    let home = home();
    let daemon = home.start();
    let [_, template, ..] = confined(&daemon);
    let slot = home.groups.slot("memory", template.pid);
    // Workers enter their own group in the background.
    let leaves = eventually("both workers are in groups of their own", || {
        let workers = daemon.workers("probe");
        let leaves: BTreeSet<_> = workers.iter().map(|worker| home.groups.of("memory", worker.pid)).collect();
        let own =
            |leaf: &PathBuf| leaf.parent() == Some(&slot) && *leaf != home.groups.of("memory", template.pid);
        (leaves.len() == 2 && leaves.iter().all(own)).then_some(leaves)
    });
    for leaf in &leaves {
        let name = leaf.file_name().and_then(|name| name.to_str()).expect("a plain name");
        assert!(name.strip_prefix('w').is_some_and(|number| number.parse::<u32>().is_ok()), "{name}");
        assert_eq!(home.groups.memory(leaf), ((48 * MEBIBYTE).to_string(), "0".to_owned()));
        assert_eq!(value(leaf, "cgroup.procs").lines().count(), 1, "one worker a group");
    }
    // Five workers, the template, and what one worker can take before it is in its own group.
    let limit = home.groups.memory(&slot).0;
    assert_eq!(limit, ((64 + 128 + 48 * 5) * MEBIBYTE).to_string());
    for process in daemon.workers("probe").iter().chain([&template]) {
        let pids = home.groups.slot("pids", process.pid);
        assert_eq!(value(&pids, "pids.max"), "7", "five workers, template and ns-init");
        let cpu = home.groups.slot("cpu", process.pid);
        assert_eq!(home.groups.bandwidth(&cpu), Some((50_000, 100_000)), "half a core");
    }
    let other = home.groups.slot("cpu", daemon.template("other").pid);
    assert_eq!(home.groups.bandwidth(&other), None, "no limit was asked for");
    daemon.stop();
}

/// What the gate for forks never lets happen: somebody forks and forks among a function's processes.
#[test]
fn a_fork_bomb_stays_within_the_functions_group() {
    let home = home();
    let daemon = home.start();
    let [_, template, ..] = confined(&daemon);
    daemon.await_workers("probe", 2);
    let bomb = "read go; for number in 1 2 3 4 5 6 7 8; do sleep 60 >/dev/null 2>&1 & echo forked; done";
    let mut shell = Command::new("sh");
    shell.args(["-c", bomb]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut shell = shell.spawn().expect("a shell can be executed");
    let group = home.groups.of("pids", template.pid);
    fs::write(group.join("cgroup.procs"), shell.id().to_string()).expect("root can attach a process");
    shell.stdin.take().expect("asked for above").write_all(b"go\n").expect("it reads");
    let output = shell.wait_with_output().expect("a child can be waited for");
    let forked = String::from_utf8_lossy(&output.stdout).lines().count();
    // Of seven: the ns-init, the template, two workers, the shell.
    assert_eq!((forked, output.status.success()), (2, false), "so many more fit in, and then none");
    let slot = home.groups.slot("pids", template.pid);
    assert!(counter(&slot, "pids.events", "max") > 0, "the kernel says why");
    daemon.get("/other/fine").assert_ok("fine");
    // What is left of the bomb goes with the function's groups.
    daemon.stop();
}

/// Two functions and what each can do to the other: nothing.
#[test]
fn a_function_opens_no_file_and_signals_nobody() {
    let home = home();
    let daemon = home.start();
    daemon.get("/probe/open").assert_ok("Permission denied");
    let template = daemon.template("probe");
    // Its own template, by the pid that it has in the worker's namespace.
    let answer = daemon.get("/probe/kill?2");
    assert_eq!((answer.status, &answer.json()["outcome"]), (502, &"violation".into()));
    assert!(!template.ends_within(std::time::Duration::from_millis(50)), "the template lives");
    daemon.get("/probe/fine").assert_ok("fine");
    daemon.stop();
}

/// What one function's worker has learnt of its own process says nothing of another function's, each of which was
/// executed afresh. Workers of one function are forks of one process, and alike: SECURITY.md says so.
#[test]
fn stack_canary_and_layout_are_a_functions_own() {
    let home = Home::new();
    let plugin = own("layout");
    home.add("one", &plugin, "").add("two", &plugin, "");
    let daemon = home.start();
    let layout = |function: &str| -> Vec<String> {
        let answer = daemon.get(&format!("/{function}"));
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.text().split(' ').map(str::to_owned).collect()
    };
    let (first, other) = (layout("one"), layout("two"));
    let [worker] = &daemon.await_workers("one", 1)[..] else { unreachable!("one was waited for") };
    worker.signal(libc::SIGKILL);
    assert!(worker.ends_within(std::time::Duration::from_secs(10)), "SIGKILL was not obeyed");
    eventually("another worker", || {
        daemon.workers("one").iter().any(|new| new.pid != worker.pid).then_some(())
    });
    assert_eq!(layout("one"), first, "a fork of the same template");
    for (what, (one, two)) in ["canary", "code", "stack", "heap", "libc"].iter().zip(first.iter().zip(&other))
    {
        assert_ne!(one, two, "the {what} of one function tells that of another");
    }
    daemon.stop();
}

/// A barrier for every processor would be everybody's.
#[test]
fn memory_barriers_are_for_a_functions_own_threads() {
    let home = Home::new();
    // What is registered holds for the worker that did it.
    home.add("barrier", &own("barrier"), "concurrency.max = 1");
    let daemon = home.start();
    let mut connection = daemon.connect();
    // Query, and register before use, without and with the instruction stream.
    for operation in [0, 16, 8, 64, 32] {
        connection.get(&format!("/barrier?{operation}")).assert_ok("done");
    }
    for operation in [1, 2, 4, 3, 128, 512] {
        let answer = connection.get(&format!("/barrier?{operation}"));
        assert_eq!((answer.status, &answer.json()["outcome"]), (502, &"violation".into()), "{operation}");
        // Workers that end without having served are held back.
        connection.get("/barrier?0").assert_ok("done");
    }
    daemon.stop();
}
