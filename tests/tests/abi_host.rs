//! The functions in C and C++, run in a host of the tests' own under the address and undefined-behaviour sanitizers:
//! without daemon and sandbox, so that a mistake of theirs is seen as such, and a crime succeeds.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests stand in the workspace")
}

/// Links `plugin` (relative to the workspace) with the ABI host, sanitized. Tests run side by side, so each builds
/// into a directory of its own.
fn build(test: &str, plugin: &str) -> PathBuf {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("abi-host").join(test);
    fs::create_dir_all(&directory).expect("the target directory is writable");
    let name = Path::new(plugin).file_stem().expect("a plugin has a name");
    let executable = directory.join(name);
    let host = root().join("tests/abi-host/host.c");
    if plugin.ends_with(".cpp") {
        // The host is C, and stays so.
        let object = directory.join("host.o");
        compile("CC", "cc", &["-std=c99", "-c"], &[host], &object);
        compile("CXX", "c++", &["-std=c++17"], &[object, root().join(plugin)], &executable);
    } else {
        compile("CC", "cc", &["-std=c99"], &[host, root().join(plugin)], &executable);
    }
    executable
}

/// Runs the compiler that `variable` names, or else `compiler`.
fn compile(variable: &str, compiler: &str, options: &[&str], sources: &[PathBuf], to: &Path) {
    let compiler = std::env::var(variable).unwrap_or_else(|_| compiler.to_owned());
    let output = Command::new(&compiler)
        .args(options)
        .args(["-Wall", "-Wextra", "-Werror", "-pedantic", "-g", "-O1"])
        .args(["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer"])
        .arg("-I")
        .arg(root().join("abi/include"))
        .args(sources)
        .arg("-o")
        .arg(to)
        .output()
        .unwrap_or_else(|error| {
            panic!(
                "this test needs a C and a C++ compiler, but {compiler:?} cannot be run ({error}); \
                 install one (on Debian: build-essential) or name it in {variable}"
            )
        });
    assert!(
        output.status.success(),
        "{compiler} does not build {sources:?}; if libasan or libubsan is missing, install the compiler's \
         sanitizers (Debian's gcc and g++ bring them):\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

fn run(test: &str, plugin: &str) -> Output {
    Command::new(build(test, plugin))
        .env_remove("ASAN_OPTIONS")
        .env_remove("UBSAN_OPTIONS")
        // For crimes: the first deed, whatever the paths of the cases end in.
        .env("CRIME_DEED", "")
        .output()
        .expect("it was built")
}

/// 64-bit FNV-1a, as in host.c.
fn digest(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// The pattern of host.c's long bodies.
fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|index| u8::try_from(index * 31 % 251).expect("below 251")).collect()
}

/// The line of a case that was answered.
fn answered(case: &str, content_type: &str, body: &[u8], shown: &str) -> String {
    format!(
        "case={case} result=0 status=200 length={} digest={:016x} [content-type:{content_type}]{shown}",
        body.len(),
        digest(body)
    )
}

#[test]
fn echo_answers_each_case_and_the_sanitizers_have_nothing_to_say() {
    let output = run("echo", "plugins/echo/echo.c");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && errors.is_empty(), "{}\n{errors}", output.status);

    let every_byte: Vec<u8> = (0..=255).collect();
    let text = "text/plain; charset=utf-8";
    let unknown = "application/octet-stream";
    let limit = 2 << 20;
    let expected = [
        // A line feed is not shown as body.
        answered("get", text, b"GET /echo/a?b=c\n", ""),
        answered("get-bare", text, b"GET /\n", ""),
        answered("empty", unknown, b"", " body="),
        answered("binary", "application/x-everything", &every_byte, ""),
        answered("mebibyte", "application/x-everything", &pattern(1 << 20), ""),
        answered("many-headers", "text/last", b"x", " body=x"),
        answered("limit", unknown, &pattern(limit), ""),
        "log level=1 the echo exceeds what the manifest lets this function answer".to_owned(),
        format!(
            "case=oversize result=-2 status=200 length=0 digest={:016x} [content-type:{unknown}] body=",
            digest(b"")
        ),
        answered("after-oversize", unknown, b"still here", " body=still here"),
    ];
    let found = String::from_utf8(output.stdout).expect("the host prints text");
    assert_eq!(found.lines().collect::<Vec<_>>(), expected);
}

#[test]
fn aggregate_refuses_what_is_no_csv_and_the_sanitizers_have_nothing_to_say() {
    let output = run("aggregate", "plugins/aggregate/aggregate.cpp");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && errors.is_empty(), "{}\n{errors}", output.status);
    let found = String::from_utf8(output.stdout).expect("the host prints text");
    let statuses: Vec<(&str, &str)> = found
        .lines()
        .filter_map(|line| line.strip_prefix("case=")?.split_once(" result=0 status="))
        .map(|(case, rest)| (case, &rest[..3]))
        .collect();
    // Two bodies are a header alone; the others are no CSV, or come by another method than POST.
    let expected = [
        ("get", "405"),
        ("get-bare", "405"),
        ("empty", "400"),
        ("binary", "400"),
        ("mebibyte", "405"),
        ("many-headers", "200"),
        ("limit", "400"),
        ("oversize", "400"),
        ("after-oversize", "200"),
    ];
    assert_eq!(statuses, expected, "{found}");
}

/// The unit tests of `aggregate`.
#[test]
fn the_parts_of_aggregate_do_what_they_say() {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("abi-host");
    fs::create_dir_all(&directory).expect("the target directory is writable");
    let executable = directory.join("aggregate-tests");
    compile("CXX", "c++", &["-std=c++17"], &[root().join("plugins/aggregate/tests.cpp")], &executable);
    let output = Command::new(executable).output().expect("it was built");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.ends_with(" checks, 0 failures\n") && !said.starts_with("0 "), "{said}");
}

#[test]
fn a_plugin_that_reads_a_byte_too_far_is_caught() {
    let output = run("overread", "tests/abi-host/overread.c");
    assert!(!output.status.success(), "the address sanitizer let an overread pass");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.contains("heap-buffer-overflow"), "{errors}");
}

#[test]
fn a_plugin_that_keeps_what_it_was_lent_is_caught() {
    let output = run("keeps", "tests/abi-host/keeps.c");
    assert!(!output.status.success(), "the address sanitizer let a use after the invocation pass");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.contains("heap-use-after-free"), "{errors}");
}

#[test]
fn each_crime_is_real_where_nothing_stops_it() {
    // A sandbox that stops a crime which would not have worked anyway has shown nothing.
    let body = |crime: &str| {
        let output = run("crimes", &format!("plugins/hostile/{crime}.c"));
        let text = String::from_utf8(output.stdout).expect("the host prints text");
        let first = text.lines().next().unwrap_or_default().to_owned();
        first.split_once(" body=").unwrap_or_else(|| panic!("{crime} did not answer: {first}")).1.to_owned()
    };
    assert!(body("01-open-passwd").starts_with("committed: root:"));
    // Nobody listens at port 0.
    assert_eq!(body("13-tcp-connect"), "refused: connect: Connection refused");
    assert_eq!(body("22-fork"), "committed: fork");
    assert_eq!(body("39-io-uring"), "committed: io_uring_setup");

    let output = run("crimes", "plugins/hostile/55-stack-overflow.c");
    assert!(String::from_utf8_lossy(&output.stderr).contains("stack-overflow"), "{output:?}");
    let output = run("crimes", "plugins/hostile/63-exit.c");
    assert!(output.status.success() && output.stdout.is_empty(), "{output:?}");
    // 51 and 59 would take gigabytes and minutes: that they compile is tested below.
}

#[test]
fn every_function_in_c_compiles_without_a_warning() {
    let files = |folder: &Path| -> Vec<PathBuf> {
        let files = fs::read_dir(folder).expect("the folder can be read");
        files.map(|file| file.expect("a file").path()).collect()
    };
    // Each example has a folder of its own, and the crimes share one.
    let folders = files(&root().join("plugins")).into_iter().filter(|folder| folder.is_dir());
    let mut sources: Vec<PathBuf> = folders.flat_map(|folder| files(&folder)).collect();
    sources.retain(|file| file.extension().is_some_and(|extension| extension == "c"));
    assert!(sources.len() >= 9, "echo and the crimes, but found {sources:?}");
    for source in sources {
        build("compile", source.strip_prefix(root()).expect("below the root").to_str().expect("plain names"));
    }
}
