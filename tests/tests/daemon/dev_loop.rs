//! `hairtrigger dev` while its functions are edited: what it says, and what it serves meanwhile.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;

use hairtrigger_tests::daemon::Daemon;
use hairtrigger_tests::home::Home;
use hairtrigger_tests::http::Connection;
use hairtrigger_tests::process::eventually;

use crate::dev::{dev, write};

/// A function that answers with this, after an `init` that does that.
fn source(answer: &str, init: &str) -> String {
    format!(
        "#include <hairtrigger.h>\n\n\
         static int32_t init(const ht_host *host, void **state) {{\n    (void)host; (void)state;\n    {init}\n    return 0;\n}}\n\n\
         static int32_t invoke(const ht_host *host, void *state, ht_invocation *invocation, const ht_request *request) {{\n    \
         (void)state; (void)request;\n    return ht_write_text(host, invocation, {answer});\n}}\n\n\
         HT_FUNCTION_WITH(init, NULL, invoke, NULL);\n"
    )
}

/// Makes a function in C; returns the path of its source.
fn add(home: &Home, name: &str, answer: &str) -> PathBuf {
    let folder = home.functions().join(name);
    let file = folder.join(format!("{name}.c"));
    // The source first: the manifest makes the function.
    write(&file, &source(answer, ""));
    write(&folder.join("function.toml"), &format!("name = \"{name}\"\nsource = \"{name}.c\"\n"));
    file
}

/// A daemon that serves `names`.
fn serving<'h>(home: &'h Home, names: &[&str]) -> Daemon<'h> {
    let mut daemon = Daemon::run(home, dev(home));
    daemon.await_address();
    for name in names {
        daemon.await_line(|line| line.starts_with(&format!("loaded {name} in ")));
    }
    daemon
}

/// Waits until a function answers with this.
fn await_answer(daemon: &Daemon<'_>, path: &str, body: &str) {
    eventually(&format!("{path} answers {body:?}"), || {
        let answer = daemon.get(path);
        (answer.status == 200 && answer.text() == body).then_some(())
    });
}

/// As an editor saves: the new file takes the old one's name.
fn save(file: &Path, text: &str) {
    let beside = file.with_extension("saved");
    write(&beside, text);
    fs::rename(beside, file).expect("a file can be renamed within its folder");
}

#[test]
fn an_edit_is_swapped_in_and_its_time_said() {
    let home = Home::new();
    let file = add(&home, "edited", "\"one\"");
    write(&home.functions().join("edited/answer.h"), "#define ANSWER \"three\"\n");
    let daemon = serving(&home, &["edited"]);
    await_answer(&daemon, "/edited", "one");

    save(&file, &source("\"two\"", ""));
    let line = daemon.await_lines(1, |line| line.starts_with("swapped edited in "));
    let (whole, parts) =
        line.strip_suffix(')').and_then(|line| line.split_once(" (build ")).expect("its parts");
    let (build, load) = parts.split_once(", load ").expect("two parts");
    for time in [whole.trim_start_matches("swapped edited in "), build, load] {
        let (number, unit) = time.split_once(' ').unwrap_or_else(|| panic!("no time: {line}"));
        assert!(
            number.parse::<f64>().is_ok_and(|number| number > 0.0) && ["us", "ms", "s"].contains(&unit),
            "{line}"
        );
    }
    await_answer(&daemon, "/edited", "two");

    // Written in place, and by way of a header that the source includes since.
    write(&file, &format!("#include \"answer.h\"\n{}", source("ANSWER", "")));
    daemon.await_lines(2, |line| line.starts_with("swapped edited in "));
    await_answer(&daemon, "/edited", "three");
    write(&home.functions().join("edited/answer.h"), "#define ANSWER \"four\"\n");
    daemon.await_lines(3, |line| line.starts_with("swapped edited in "));
    await_answer(&daemon, "/edited", "four");

    // The manifest is an input like any other.
    save(
        &home.functions().join("edited/function.toml"),
        "name = \"edited\"\nsource = \"edited.c\"\nmax_request = 3\n",
    );
    daemon.await_lines(4, |line| line.starts_with("swapped edited in "));
    eventually("the new limit holds", || {
        (daemon.connect().post("/edited", b"four").status == 413).then_some(())
    });
    daemon.stop();
}

#[test]
fn what_is_wrong_is_shown_and_the_old_version_serves() {
    let home = Home::new();
    let file = add(&home, "sound", "\"sound\"");
    let daemon = serving(&home, &["sound"]);
    await_answer(&daemon, "/sound", "sound");
    let still = |line: &str| line.starts_with("still serving the version of sound of ");
    let manifest = home.functions().join("sound/function.toml");

    // The compiler's words, as it wrote them.
    save(&file, "this is no C;\n");
    daemon.await_lines(1, still);
    let said = daemon.lines();
    assert!(said.iter().any(|line| line.starts_with(&format!("{}:1:", file.display()))), "{said:?}");
    let expected = format!("function sound cannot be built: cc failed on {}", file.display());
    assert!(said.contains(&expected), "{said:?}");
    daemon.get("/sound").assert_ok("sound");

    // A crash while it is initialised.
    save(&file, &source("\"broken\"", "*(volatile int *)0 = 1;"));
    daemon.await_lines(2, still);
    let line = daemon.await_line(|line| line.starts_with("function sound cannot be served: "));
    assert!(line.contains("SIGSEGV"), "{line}");
    daemon.get("/sound").assert_ok("sound");

    // A refusal, with the reason that was logged last.
    save(&file, &source("\"broken\"", "ht_log_text(host, HT_LOG_ERROR, \"no key\"); return 7;"));
    daemon.await_lines(3, still);
    daemon.await_line(|line| line == "function sound cannot be served: init returned 7: no key");

    // A mistake in the manifest, with its place.
    save(&manifest, "name = \"sound\"\nsource = \"sound.c\"\ntimeuot = \"1s\"\n");
    daemon.await_lines(4, still);
    daemon.await_line(|line| {
        line.ends_with("function.toml:3:1: there is no key timeuot here; did you mean timeout?")
    });
    daemon.get("/sound").assert_ok("sound");

    save(&manifest, "name = \"sound\"\nsource = \"sound.c\"\n");
    daemon.await_lines(5, still);
    save(&file, &source("\"mended\"", ""));
    daemon.await_line(|line| line.starts_with("swapped sound in "));
    await_answer(&daemon, "/sound", "mended");
    daemon.stop();
}

#[test]
fn functions_come_and_go_and_one_that_never_built_ends_nothing() {
    let home = Home::new();
    add(&home, "first", "\"first\"");
    let broken = add(&home, "broken", "nothing");
    let daemon = serving(&home, &["first"]);
    let expected = format!("function broken cannot be built: cc failed on {}", broken.display());
    daemon.await_line(|line| line == expected);
    assert_eq!(daemon.get("/broken").status, 404);

    save(&broken, &source("\"mended\"", ""));
    daemon.await_line(|line| line.starts_with("loaded broken in "));
    await_answer(&daemon, "/broken", "mended");

    add(&home, "second", "\"second\"");
    daemon.await_line(|line| line.starts_with("loaded second in "));
    await_answer(&daemon, "/second", "second");

    fs::remove_dir_all(home.functions().join("first")).expect("a directory can be removed");
    daemon.await_line(|line| line == "removed first");
    eventually("it is gone", || (daemon.get("/first").status == 404).then_some(()));
    daemon.get("/second").assert_ok("second");

    // Another function takes a name that is free again; before, it is refused.
    let taken = home.functions().join("other/function.toml");
    write(&home.functions().join("other/other.c"), &source("\"other\"", ""));
    write(&taken, "name = \"second\"\nsource = \"other.c\"\n");
    daemon.await_line(|line| line.starts_with("two functions are named second: in "));
    daemon.get("/second").assert_ok("second");
    fs::remove_dir_all(home.functions().join("second")).expect("a directory can be removed");
    await_answer(&daemon, "/second", "other");
    daemon.stop();
}

#[test]
fn what_does_not_serve_goes_like_what_does() {
    let home = Home::new();
    let file = add(&home, "moved", "\"moved\"");
    let daemon = serving(&home, &["moved"]);
    let manifest = home.functions().join("moved/function.toml");

    // Under its new name it does not start: the old one goes on.
    write(&file, &source("\"broken\"", "return 7;"));
    save(&manifest, "name = \"renamed\"\nsource = \"moved.c\"\n");
    daemon.await_line(|line| line.starts_with("still serving the version of moved of "));
    assert_eq!(daemon.get("/renamed").status, 503);
    daemon.get("/moved").assert_ok("moved");

    // Another function may have the old name meanwhile, and keeps it.
    write(&home.functions().join("other/other.c"), &source("\"other\"", ""));
    write(&home.functions().join("other/function.toml"), "name = \"moved\"\nsource = \"other.c\"\n");
    await_answer(&daemon, "/moved", "other");
    fs::remove_dir_all(home.functions().join("moved")).expect("a directory can be removed");
    daemon.await_line(|line| line == "removed renamed");
    eventually("it is gone", || (daemon.get("/renamed").status == 404).then_some(()));
    daemon.get("/moved").assert_ok("other");
    daemon.stop();
}

#[test]
fn the_end_takes_a_running_compiler_with_it() {
    let home = Home::new();
    let file = add(&home, "slow", "\"slow\"");
    let daemon = serving(&home, &["slow"]);
    // A source that the compiler reads for ever.
    let pipe = home.path().join("endless");
    let name = std::ffi::CString::new(pipe.to_str().expect("a plain path")).expect("no NUL");
    // SAFETY: the path is NUL-terminated and read during the call.
    assert_eq!(unsafe { libc::mkfifo(name.as_ptr(), 0o600) }, 0);
    save(&file, &format!("#include \"{}\"\n", pipe.display()));
    // The compiler waits in opening it, so that this does not.
    let _held = fs::File::options().write(true).open(&pipe).expect("the compiler opens it to read");
    let compilers = daemon.tree().into_iter().filter(|process| process.name().starts_with("cc1"));
    assert_eq!(compilers.count(), 1);
    // Sees that nothing is left of the daemon's, compilers included.
    daemon.stop();
}

/// Compiles as fast as it can, and asks as fast as it can.
#[test]
fn two_hundred_edits_under_load_lose_no_request() {
    const EDITS: u32 = 200;
    let home = Home::new();
    let file = add(&home, "edited", "\"0\"");
    let daemon = serving(&home, &["edited"]);
    await_answer(&daemon, "/edited", "0");
    let (written, over) = (AtomicU32::new(0), AtomicBool::new(false));
    let asked = thread::scope(|scope| {
        let clients: Vec<_> =
            (0..3).map(|_| scope.spawn(|| ask(Connection::to(daemon.address()), &written, &over))).collect();
        // However it ends, the clients do.
        let finally = Finally(&over);
        for edit in 1..=EDITS {
            written.store(edit, Ordering::SeqCst);
            save(&file, &source(&format!("\"{edit}\""), ""));
            daemon.await_lines(edit as usize, |line| line.starts_with("swapped edited in "));
        }
        await_answer(&daemon, "/edited", &EDITS.to_string());
        drop(finally);
        clients.into_iter().map(|client| client.join().expect("every answer was right")).sum::<u64>()
    });
    println!("{asked} requests, {EDITS} edits");
    // Enough that each version answered some.
    assert!(asked > u64::from(EDITS), "only {asked} requests were made");
    let built = fs::read_dir(home.path().join("state/built/edited")).expect("it is there").count();
    assert_eq!(built, 1, "old versions are not removed");
    daemon.stop();
}

struct Finally<'a>(&'a AtomicBool);

impl Drop for Finally<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Asks until it is over. Every answer is a version's, no older than the one before.
fn ask(mut connection: Connection, written: &AtomicU32, over: &AtomicBool) -> u64 {
    let (mut asked, mut last) = (0, 0);
    while !over.load(Ordering::SeqCst) {
        let answer = connection.get("/edited");
        assert_eq!(answer.status, 200, "{}", answer.body.escape_ascii());
        let version: u32 = answer.text().parse().expect("the number of a version");
        let newest = written.load(Ordering::SeqCst);
        assert!((last..=newest).contains(&version), "version {version} after {last}, of {newest}");
        last = version;
        asked += 1;
    }
    asked
}
