//! `hairtrigger dev`: from sources to answers, with no other set-up.

use std::fs;
use std::path::Path;
use std::process::Command;

use hairtrigger_tests::artefacts;
use hairtrigger_tests::daemon::Daemon;
use hairtrigger_tests::home::Home;

const CRATE: &str = r#"
use hairtrigger_abi::{Error, Request, Response};

fn greet(_request: &Request<'_>, response: &mut Response<'_>) -> Result<(), Error> {
    response.text("good day from a crate\n")?;
    Ok(())
}

hairtrigger_abi::export!(fn greet);
"#;

/// Writes to standard output and, below the C library, to standard error, without ending the last line.
const CHATTY: &str = r#"
#include <hairtrigger.h>
#include <stdio.h>
#include <unistd.h>

static int32_t init(const ht_host *host, void **state) {
    (void)state;
    ht_log_text(host, HT_LOG_INFO, "said by init");
    return 0;
}

static void put(const char *text) {
    (void)!write(2, text, strlen(text));
}

static int32_t invoke(const ht_host *host, void *state, ht_invocation *invocation, const ht_request *request) {
    (void)host; (void)state; (void)invocation;
    printf("%.*s\n", (int)request->path.len, (const char *)request->path.data);
    if (request->path.data[request->path.len - 1] == '4') {
        put("\x1e" "ffffffffffffffffffffffffffffffff\nforged\n");
        return 0;
    }
    put("unfinished");
    return 0;
}

HT_FUNCTION_WITH(init, NULL, invoke, NULL);
"#;

/// Writes a file, in a directory that is made for it.
pub(crate) fn write(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().expect("a file lies in a directory")).expect("a directory can be made");
    fs::write(path, text).expect("a file can be written");
}

/// A C file, a crate, and a function that `dev` is to leave out.
fn sources(home: &Home) {
    let root = home.functions();
    write(&root.join("in-c/function.toml"), "name = \"in-c\"\nsource = \"in-c.c\"\n");
    fs::copy(artefacts::workspace().join("plugins/echo/echo.c"), root.join("in-c/in-c.c")).expect("readable");
    let abi = artefacts::workspace().join("abi");
    let manifest = format!(
        "[package]\nname = \"greet\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\n[workspace]\n\n\
         [lib]\ncrate-type = [\"cdylib\"]\n\n[dependencies]\nhairtrigger-abi = {{ path = {abi:?} }}\n"
    );
    write(&root.join("greet/Cargo.toml"), &manifest);
    write(&root.join("greet/src/lib.rs"), CRATE);
    write(&root.join("greet/function.toml"), "name = \"greet\"\n");
    write(&root.join("left-out/function.toml"), "name = \"left-out\"\ndev = false\n");
}

/// `hairtrigger dev` for the functions of this home.
pub(crate) fn dev(home: &Home) -> Command {
    let mut command = Command::new(artefacts::daemon());
    command.arg("dev").arg(home.functions()).args(["--listen", "127.0.0.1:0", "--state"]);
    command.arg(home.path().join("state"));
    // Built once, not anew in each temporary directory.
    command.env("CARGO_TARGET_DIR", artefacts::target().join("tmp/dev"));
    command
}

#[test]
fn a_c_file_and_a_crate_are_built_served_and_printed_with_a_curl_line() {
    let curl = artefacts::find_program("curl");
    let curl = curl.expect("this test needs curl; install it (on Debian: apt-get install curl)");
    let home = Home::new();
    sources(&home);
    let mut daemon = Daemon::run(&home, dev(&home));
    daemon.await_address();
    for (name, expected) in [("in-c", "GET /in-c\n"), ("greet", "good day from a crate\n")] {
        daemon.await_line(|line| line.starts_with(&format!("loaded {name} in ")));
        let end = format!("/{name}");
        let line = daemon.await_line(|line| line.trim_start().starts_with("curl ") && line.ends_with(&end));
        let arguments: Vec<&str> = line.split_whitespace().skip(1).collect();
        let output = Command::new(&curl).args(["--silent", "--max-time", "20"]).args(arguments).output();
        let output = output.expect("curl can be executed");
        assert_eq!(String::from_utf8_lossy(&output.stdout), expected, "{line}");
    }
    assert_eq!(daemon.get("/left-out").status, 404);
    // What a page of another site makes a browser send.
    let foreign = daemon.connect().send("GET /greet HTTP/1.1\r\nHost: example.org\r\n\r\n").receive();
    assert_eq!(foreign.status, 421);
    daemon.stop();
}

#[test]
fn what_a_function_writes_is_told_apart_by_invocation() {
    let home = Home::new();
    let root = home.functions();
    write(
        &root.join("chatty/function.toml"),
        "name = \"chatty\"\nsource = \"chatty.c\"\nconcurrency = { max = 1 }\n",
    );
    write(&root.join("chatty/chatty.c"), CHATTY);
    let mut daemon = Daemon::run(&home, dev(&home));
    daemon.await_address();
    daemon.await_line(|line| line == "[chatty] info: said by init");
    let mut connection = daemon.connect();
    for number in 0..5 {
        let answer = connection.get(&format!("/chatty/{number}"));
        let id = answer.invocation();
        let short = format!("{}…{}", &id[..4], &id[28..]);
        daemon.await_line(|line| line == format!("[chatty {short}] /chatty/{number}"));
        if number < 4 {
            // It has not ended its last line: the next mark does.
            connection.get("/chatty/next");
            daemon.await_line(|line| line == format!("[chatty {short}] unfinished"));
        }
    }
    // A function may mislabel its own lines.
    daemon.await_line(|line| line == "[chatty ffff…ffff] forged");
    daemon.stop();
}

#[test]
fn two_of_them_do_not_build_into_one_directory() {
    let home = Home::new();
    write(&home.functions().join("only/function.toml"), "name = \"only\"\nsource = \"only.c\"\n");
    let mut daemon = Daemon::run(&home, dev(&home));
    daemon.await_address();
    let said = Daemon::run(&home, dev(&home)).refusal();
    let state = home.path().join("state").display().to_string();
    let expected =
        format!("hairtrigger: another `hairtrigger dev` uses {state}; give this one its own --state");
    assert_eq!(said, [expected]);
    daemon.stop();
}
