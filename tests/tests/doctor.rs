//! `hairtrigger doctor`, as its users run it: as root, as somebody else, and on hosts that lack something.
//! What a host lacks is taken away from the one process, by a filter or a capability, never from the host.

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use hairtrigger_tests::ordinary::{NOBODY, without_user_namespaces};
use serde_json::{Value, json};

const CAP_SYS_ADMIN: libc::c_ulong = 21;

const NAMESPACES: [&str; 6] = [
    "pid namespace",
    "mount namespace",
    "network namespace",
    "ipc namespace",
    "uts namespace",
    "cgroup namespace",
];
const ROOT: &str = "build the function's root file system";
const LANDLOCK: [&str; 5] = [
    "landlock: files",
    "landlock: TCP",
    "landlock: scopes",
    "landlock: abstract sockets",
    "landlock: tracing",
];
const USER_NAMESPACE: [&str; 4] = [
    "user namespace: the user alone",
    "user namespace: the six others",
    "user namespace: root file system",
    "user namespace: no capabilities",
];
const RUNNER: &str = "a real runner at level full, end to end";
const RUNNER_USERNS: &str = "a real runner at level userns, end to end";
/// Exit code where the level is not reached.
const CANNOT_CONFINE: i32 = 4;

/// The daemon, up to date.
fn daemon() -> &'static Path {
    static DAEMON: OnceLock<PathBuf> = OnceLock::new();
    DAEMON.get_or_init(|| {
        let tests = env::current_exe().expect("a test knows its executable");
        let folder = tests.parent().and_then(Path::parent).expect("target/PROFILE/deps/TEST");
        let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.args(["build", "--quiet", "-p", "hairtrigger", "--target-dir"]);
        cargo.arg(folder.parent().expect("target")).current_dir(env!("CARGO_MANIFEST_DIR"));
        if folder.ends_with("release") {
            cargo.arg("--release");
        }
        assert!(cargo.status().expect("cargo is there").success(), "the daemon does not build");
        folder.join("hairtrigger")
    })
}

fn doctor_of(daemon: &Path) -> Command {
    let mut command = Command::new(daemon);
    command.args(["doctor", "--json"]);
    command
}

fn doctor() -> Command {
    doctor_of(daemon())
}

/// A copy of the daemon where an ordinary user can execute it: the sources may lie in root's home.
struct PublicCopy(PathBuf);

impl PublicCopy {
    fn make() -> Self {
        let copy = Self(env::temp_dir().join(format!("hairtrigger-doctor-{}", std::process::id())));
        fs::copy(daemon(), &copy.0).expect("the daemon was built, and there is room for another");
        fs::set_permissions(&copy.0, fs::Permissions::from_mode(0o755)).expect("it is ours");
        copy
    }
}

impl Drop for PublicCopy {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// Runs one doctor at a time, as the process that inherits whatever one leaves behind.
struct Ward {
    _turn: MutexGuard<'static, ()>,
    mounts: String,
}

impl Ward {
    fn enter() -> Self {
        static TURN: Mutex<()> = Mutex::new(());
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let _built = daemon();
        // SAFETY: takes no pointers.
        assert_eq!(unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) }, 0);
        Self { _turn: turn, mounts: mounts() }
    }

    /// Runs a doctor, and makes sure that it leaves nothing behind and has nothing to say on the side.
    fn run(&self, command: &mut Command) -> Output {
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it can be started");
        let pid = child.id();
        let output = child.wait_with_output().expect("it ends");
        // SAFETY: a null status is allowed.
        let orphan = unsafe { libc::waitpid(-1, std::ptr::null_mut(), libc::WNOHANG) };
        assert_eq!(orphan, -1, "it left a process behind");
        assert_eq!(groups_of(pid), Vec::<PathBuf>::new(), "it left groups behind");
        assert_eq!(mounts(), self.mounts, "it left a mount behind");
        assert_eq!(String::from_utf8_lossy(&output.stderr), "");
        output
    }

    /// The same, with the report that it printed.
    fn examine(&self, command: &mut Command) -> (Output, Value) {
        let output = self.run(command);
        let report = serde_json::from_slice(&output.stdout).expect("one JSON value");
        (output, report)
    }
}

fn mounts() -> String {
    fs::read_to_string("/proc/self/mountinfo").expect("/proc is mounted")
}

/// Control groups of the doctor with this pid, in whichever hierarchy.
fn groups_of(pid: u32) -> Vec<PathBuf> {
    let name = format!("hairtrigger-doctor-{pid}");
    let hierarchies = fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten();
    let places = hierarchies.map(|entry| entry.path()).chain([PathBuf::from("/sys/fs/cgroup")]);
    places.map(|place| place.join(&name)).filter(|group| group.exists()).collect()
}

fn rows(report: &Value) -> Vec<&Value> {
    let confinements = report["confinements"].as_array().expect("an array of rows");
    confinements.iter().chain(report["runners"].as_array().expect("an array of runners")).collect()
}

fn row<'r>(report: &'r Value, name: &str) -> &'r Value {
    rows(report).into_iter().find(|row| row["name"] == name).unwrap_or_else(|| panic!("no row {name}"))
}

fn reach<'r>(report: &'r Value, level: &str) -> &'r Value {
    let levels = report["levels"].as_array().expect("an array of levels");
    levels.iter().find(|reach| reach["level"] == level).unwrap_or_else(|| panic!("no level {level}"))
}

/// What a level lacks.
fn lacking<'r>(report: &'r Value, level: &str) -> BTreeSet<&'r str> {
    let names = reach(report, level)["lacking"].as_array().expect("an array of names");
    names.iter().map(|name| name.as_str().expect("a name")).collect()
}

/// Lets a process, and what it starts, fail at one system call, as a kernel or a container without it would.
fn without_call(command: &mut Command, number: libc::c_long, errno: i32) {
    let number = u32::try_from(number).expect("numbers are small");
    let errno = libc::SECCOMP_RET_ERRNO | errno.cast_unsigned();
    let instruction = |code: u32, jf: u8, k: u32| libc::sock_filter {
        code: u16::try_from(code).expect("codes are short"),
        jt: 0,
        jf,
        k,
    };
    let mut program = [
        instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0),
        instruction(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 1, number),
        instruction(libc::BPF_RET | libc::BPF_K, 0, errno),
        instruction(libc::BPF_RET | libc::BPF_K, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let install = move || {
        let length = libc::c_ushort::try_from(program.len()).unwrap_or(0);
        let filter = libc::sock_fprog { len: length, filter: program.as_mut_ptr() };
        // SAFETY: `filter` describes `program`; both outlive the call.
        match unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const filter) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    };
    // SAFETY: between fork and exec the closure makes one system call, on memory of its own.
    unsafe { command.pre_exec(install) };
}

#[test]
fn as_root_every_confinement_holds_here() {
    let ward = Ward::enter();
    let (output, report) = ward.examine(&mut doctor());
    assert_eq!(lacking(&report, "full"), BTreeSet::new(), "{report:#}");
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(report["level"], "full");
    for row in rows(&report) {
        let levels = row["levels"].as_array().expect("an array of levels");
        assert!(!levels.is_empty(), "{row}");
        if levels.contains(&json!("full")) {
            assert_eq!(row["state"], "holds", "{row}");
        }
        for key in ["name", "least_kernel", "protects", "fallback"] {
            assert!(row[key].as_str().is_some_and(|text| !text.is_empty()), "{key} of {row}");
        }
    }
    let expected = ["root", ROOT, "memory limit", "pids limit", "cpu limit", "PIDFD_INFO_EXIT"];
    let more = ["seccomp: ADDFD", "seccomp: CONTINUE", "sealed memory files", "io_uring", RUNNER];
    for name in expected.into_iter().chain(more).chain(NAMESPACES).chain(LANDLOCK) {
        row(&report, name);
    }
    // Functions with root's own uid are no level.
    assert_eq!(row(&report, "an ordinary user")["reason"], "it was started as root");
    assert_eq!(
        [&reach(&report, "userns")["reached"], &reach(&report, "bare")["reached"]],
        [&json!(false); 2]
    );
    let steps = report["runners"][0]["steps"].as_array().expect("an array of steps");
    assert_eq!(steps.len(), 18);
    assert!(steps.iter().all(|step| step["state"] == "holds"), "{steps:?}");
    let facts = &report["facts"];
    assert_eq!(facts["kernel"], fs::read_to_string("/proc/sys/kernel/osrelease").unwrap().trim());
    assert!(facts["landlock_abi"].as_u64() >= Some(6), "{facts}");
    for fact in ["cpus", "glibc", "cgroups", "huge_pages", "overcommit", "nofile_soft", "nofile_hard"] {
        assert!(!facts[fact].is_null() && facts[fact] != "unknown", "{fact} in {facts}");
    }
}

#[test]
fn a_person_reads_a_table_whose_last_line_sums_up() {
    let ward = Ward::enter();
    let output = ward.run(Command::new(daemon()).arg("doctor"));
    assert_eq!(output.status.code(), Some(0));
    let text = String::from_utf8(output.stdout).expect("text");
    let last: Vec<&str> = text.lines().rev().take(4).collect();
    let expected = [
        "this user reaches level full",
        "level bare: for an ordinary user",
        "level userns: for an ordinary user",
        "level full: every confinement holds",
    ];
    assert_eq!(last, expected, "{text}");
    let columns = text.lines().find(|line| line.starts_with("CONFINEMENT")).expect("a line of titles");
    let at = columns.find("STATE").expect("a title");
    let landlock = text.lines().find(|line| line.starts_with("landlock: files")).expect("a row");
    assert!(landlock[at..].starts_with("holds"), "{text}");
}

#[test]
fn an_ordinary_user_reaches_userns_and_learns_what_is_missing() {
    let ward = Ward::enter();
    let copy = PublicCopy::make();
    let (output, report) = ward.examine(doctor_of(&copy.0).uid(NOBODY).gid(NOBODY));
    assert_eq!((output.status.code(), &report["level"]), (Some(0), &json!("userns")), "{report:#}");
    let limits = ["memory limit", "pids limit", "cpu limit", "attach the runner to its cgroup"];
    let powers = ["root", ROOT, "drop every capability", "take the function's uid and gid", RUNNER];
    let expected: BTreeSet<_> = NAMESPACES.into_iter().chain(limits).chain(powers).collect();
    assert_eq!(lacking(&report, "full"), expected, "{report:#}");
    assert_eq!(row(&report, "root")["reason"], "it was started as uid 65534, not as root");
    assert_eq!(row(&report, ROOT)["state"], "untried");
    assert_eq!(row(&report, "memory limit")["errno"], libc::EACCES);
    for level in ["userns", "bare"] {
        assert_eq!(reach(&report, level)["reached"], true, "{report:#}");
        let missing = reach(&report, level)["not_enforced"].as_array().expect("an array of sentences");
        assert!(missing.iter().any(|what| what == "the cpu limit of a function does nothing"), "{missing:?}");
    }
    for level in ["full", "userns", "bare"] {
        let mut command = doctor_of(&copy.0);
        let status = ward.run(command.args(["--level", level]).uid(NOBODY).gid(NOBODY)).status;
        assert_eq!(status.code(), Some(if level == "full" { CANNOT_CONFINE } else { 0 }), "{level}");
    }
}

#[test]
fn where_there_are_no_user_namespaces_bare_is_left() {
    let ward = Ward::enter();
    let copy = PublicCopy::make();
    let nobody = |arguments: &[&str]| {
        let mut command = doctor_of(&copy.0);
        command.args(arguments).uid(NOBODY).gid(NOBODY);
        without_user_namespaces(&mut command);
        command
    };
    let (output, report) = ward.examine(&mut nobody(&[]));
    assert_eq!(
        (output.status.code(), &report["level"]),
        (Some(CANNOT_CONFINE), &json!("bare")),
        "{report:#}"
    );
    let expected: BTreeSet<_> = USER_NAMESPACE.into_iter().chain([RUNNER_USERNS]).collect();
    assert_eq!(lacking(&report, "userns"), expected, "{report:#}");
    assert_eq!(report["facts"]["max_user_namespaces"], "0");
    assert_eq!(ward.run(&mut nobody(&["--level", "bare"])).status.code(), Some(0));
}

/// The table of the documentation says what the trials say: names, kernels, levels and fallbacks.
#[test]
fn the_documented_table_is_true() {
    let ward = Ward::enter();
    let (_, report) = ward.examine(&mut doctor());
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../SECURITY.md"));
    let text = text.expect("it lies beside this directory");
    let mut lines = text.lines().skip_while(|line| !line.starts_with("| confinement |")).skip(2);
    let documented: Vec<&str> = lines.by_ref().take_while(|line| line.starts_with('|')).collect();
    let found: Vec<String> = rows(&report).into_iter().map(table_row).collect();
    assert_eq!(documented, found, "it should read:\n{}", found.join("\n"));
}

fn table_row(row: &Value) -> String {
    let text = |key: &str| row[key].as_str().expect("a text").to_owned();
    let at = |level: &str| {
        if row["levels"].as_array().expect("levels").contains(&json!(level)) { "x" } else { "" }
    };
    let (name, kernel, fallback) = (text("name"), text("least_kernel"), text("fallback"));
    format!("| {name} | {kernel} | {} | {} | {} | {fallback} |", at("full"), at("userns"), at("bare"))
}

#[test]
fn root_without_cap_sys_admin_has_no_namespaces() {
    let ward = Ward::enter();
    let mut command = doctor();
    // SAFETY: between fork and exec the closure makes one system call without pointers.
    unsafe {
        command.pre_exec(|| match libc::prctl(libc::PR_CAPBSET_DROP, CAP_SYS_ADMIN, 0, 0, 0) {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        });
    }
    let (output, report) = ward.examine(&mut command);
    assert_eq!(output.status.code(), Some(CANNOT_CONFINE));
    let expected: BTreeSet<_> = NAMESPACES.into_iter().chain(["root", ROOT, RUNNER]).collect();
    assert_eq!(lacking(&report, "full"), expected, "{report:#}");
    assert_eq!(row(&report, "root")["reason"], "root here lacks CAP_SYS_ADMIN");
    for name in NAMESPACES {
        let row = row(&report, name);
        assert_eq!((row["state"].as_str(), row["errno"].as_i64()), (Some("refused"), Some(1)), "{row}");
        assert_eq!(row["reason"], "clone3: Operation not permitted (os error 1)");
    }
}

#[test]
fn a_call_that_a_host_lacks_turns_its_rows_and_no_others() {
    let ward = Ward::enter();
    let runner_and = |names: &[&'static str]| names.iter().copied().chain([RUNNER]).collect();
    let cases: [(libc::c_long, i32, BTreeSet<&str>, &str, &str); 5] = [
        (libc::SYS_io_uring_setup, libc::EPERM, BTreeSet::from(["io_uring"]), "io_uring", "refused"),
        (libc::SYS_landlock_create_ruleset, libc::ENOSYS, runner_and(&LANDLOCK), LANDLOCK[0], "missing"),
        (libc::SYS_pivot_root, libc::EPERM, runner_and(&[ROOT]), ROOT, "refused"),
        (
            libc::SYS_memfd_create,
            libc::EINVAL,
            BTreeSet::from(["sealed memory files", "read-only memory files", "futex on a read-only map"]),
            "sealed memory files",
            "missing",
        ),
        (
            libc::SYS_close_range,
            libc::ENOSYS,
            runner_and(&["close inherited descriptors"]),
            "close inherited descriptors",
            "missing",
        ),
    ];
    for (call, errno, expected, name, state) in cases {
        let mut command = doctor();
        without_call(&mut command, call, errno);
        let (output, report) = ward.examine(&mut command);
        assert_eq!(output.status.code(), Some(CANNOT_CONFINE), "call {call}");
        assert_eq!(lacking(&report, "full"), expected, "call {call}: {report:#}");
        assert_eq!(row(&report, name)["state"], state, "call {call}: {report:#}");
    }
}

#[test]
fn the_step_at_which_a_runner_failed_is_told_from_those_before_and_after() {
    let ward = Ward::enter();
    let mut command = doctor();
    without_call(&mut command, libc::SYS_landlock_restrict_self, libc::EPERM);
    let (_, report) = ward.examine(&mut command);
    let steps = report["runners"][0]["steps"].as_array().expect("an array of steps");
    let step = "restrict file system and network by landlock";
    let at = steps.iter().position(|found| found["step"] == step).expect("a step of the list");
    let all = |steps: &[Value], state: &str| steps.iter().all(|step| step["state"] == state);
    assert!(at > 0 && all(&steps[..at], "holds"), "{steps:?}");
    assert_ne!(steps[at]["state"], "holds");
    assert!(at + 1 < steps.len() && all(&steps[at + 1..], "untried"), "{steps:?}");
}

#[test]
fn a_doctor_that_is_killed_leaves_nothing_behind_either() {
    let _ward = Ward::enter();
    let mut child = doctor().stdout(Stdio::null()).spawn().expect("it can be started");
    let pid = child.id();
    let deadline = Instant::now() + Duration::from_secs(10);
    while groups_of(pid).is_empty() {
        assert!(child.try_wait().expect("it is ours").is_none(), "it ended before it had made a group");
        assert!(Instant::now() < deadline, "it made no group");
    }
    child.kill().expect("it runs");
    child.wait().expect("it was killed");
    // Its janitor is this process's by now, and ends when it has tidied up; so do its other children.
    loop {
        // SAFETY: a null status is allowed.
        match unsafe { libc::waitpid(-1, std::ptr::null_mut(), 0) } {
            -1 => break,
            _ => assert!(Instant::now() < deadline, "processes of it keep coming"),
        }
    }
    assert_eq!(groups_of(pid), Vec::<PathBuf>::new());
}
