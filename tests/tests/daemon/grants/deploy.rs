//! What the operator writes and reads of grants.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

use hairtrigger_tests::admin;
use hairtrigger_tests::artefacts;
use hairtrigger_tests::home::Home;
use hairtrigger_tests::http::Connection;
use serde_json::{Value, json};

use super::open_directory;
use crate::{echo, own};

fn reload(home: &Home) -> Value {
    Connection::to_socket(&home.admin()).post("/_/reload", b"").json()
}

fn listed(home: &Home) -> Value {
    let functions = admin::functions(home);
    let present = functions.iter().filter(|function| function["state"] == "ready");
    present
        .map(|function| (function["name"].as_str().expect("a name").to_owned(), function["grants"].clone()))
        .collect()
}

#[test]
fn who_may_touch_what_is_listed_and_a_changed_grant_is_a_changed_function() {
    let home = Home::new();
    let data = open_directory(&home.path().join("data"));
    fs::write(data.join("one"), "first").expect("a file can be written");
    home.add("files", &own("files"), "").add("echo", &echo(), "");
    let daemon = home.start();
    let read = format!("/files/read?{}/one", data.display());
    daemon.get(&read).assert_ok("Permission denied");
    assert_eq!(listed(&home), json!({ "files": null, "echo": null }));

    home.add("files", &own("files"), "threads = 2\n[allow]\nread = ['../../data']\nconnect = [80]");
    let changes = &reload(&home)["functions"];
    assert_eq!((&changes["changed"], &changes["unchanged"]), (&json!(["files"]), &json!(["echo"])));
    daemon.await_line(|line| line.starts_with("loaded files ") || line.starts_with("swapped files"));
    hairtrigger_tests::process::eventually("what is granted is read", || {
        (daemon.get(&read).text() == "first").then_some(())
    });
    let grants = json!({ "read": [data.display().to_string()], "write": [], "connect": [80], "threads": 2 });
    hairtrigger_tests::process::eventually("the old version is gone", || {
        (listed(&home) == json!({ "files": grants, "echo": null })).then_some(())
    });

    // The same path, and something else in its place.
    fs::rename(&data, home.path().join("before")).expect("a directory can be renamed");
    fs::write(open_directory(&data).join("one"), "another").expect("a file can be written");
    daemon.get(&read).assert_ok("first");
    assert_eq!(reload(&home)["functions"]["changed"], json!(["files"]));
    hairtrigger_tests::process::eventually("what is there now is read", || {
        (daemon.get(&read).text() == "another").then_some(())
    });
    // What is no longer there is told, and changes nothing.
    fs::rename(&data, home.path().join("gone")).expect("a directory can be renamed");
    let mistakes = reload(&home)["mistakes"].clone();
    assert_eq!(mistakes.as_array().map(Vec::len), Some(1));
    let message = mistakes[0]["message"].as_str().expect("a sentence");
    assert!(message.starts_with("read must be paths of what is there, and "), "{message}");
    assert_eq!(mistakes[0]["line"], 5, "{mistakes}");
    daemon.get(&read).assert_ok("another");
    daemon.stop();
}

/// A function is loaded again with the paths that were looked at when it was deployed, and one that may write on the way
/// could have put a link there meanwhile.
#[test]
fn a_link_in_the_place_of_what_was_granted_is_not_followed() {
    let home = Home::new();
    let data = open_directory(&home.path().join("data"));
    fs::write(data.join("one"), "first").expect("a file can be written");
    let secret = open_directory(&home.path().join("secret"));
    fs::write(secret.join("one"), "nobody's").expect("a file can be written");
    home.add("files", &own("files"), "[allow]\nread = ['../../data']");
    let daemon = home.start();
    let read = format!("/files/read?{}/one", data.display());
    daemon.get(&read).assert_ok("first");

    let before = home.path().join("before");
    fs::rename(&data, &before).expect("a directory can be renamed");
    symlink(&secret, &data).expect("a link can be made");
    daemon.template("files").signal(libc::SIGKILL);
    let line = daemon.await_line(|line| line.starts_with("function files cannot be served yet: "));
    let reason = format!("(bind {}): Too many levels of symbolic links", data.display());
    assert!(line.contains(&reason), "{line}");
    assert_eq!(daemon.get(&read).status, 503);

    fs::remove_file(&data).expect("a link can be removed");
    fs::rename(&before, &data).expect("a directory can be renamed");
    hairtrigger_tests::process::eventually("it is loaded again", || {
        let answer = daemon.get(&read);
        (answer.status == 200).then(|| answer.assert_ok("first"))
    });
    daemon.stop();
}

#[test]
fn check_says_who_may_touch_what() {
    let home = Home::new();
    let data = open_directory(&home.path().join("data"));
    home.add("a", &echo(), "").add(
        "b",
        &echo(),
        "threads = 2\n[allow]\nwrite = ['../../data']\nconnect = [80, 1]",
    );
    let check = |arguments: &[&str]| {
        let mut command = Command::new(artefacts::daemon());
        command.arg("check").args(arguments).arg("--config").arg(home.config());
        let output = command.output().expect("the daemon can be executed");
        String::from_utf8(output.stdout).expect("text")
    };
    let data = data.display().to_string();
    let expected = format!(
        "2 functions, no mistakes\nb may read and write {data}; connect to TCP ports 1, 80; have threads: 2\n"
    );
    assert_eq!(check(&[]), expected);
    let said: Value = serde_json::from_str(&check(&["--json"])).expect("JSON");
    let grants = json!({ "b": { "read": [], "write": [data], "connect": [1, 80], "threads": 2 } });
    assert_eq!(said["grants"], grants);
}

/// Grants that would give the sandbox away are refused before anything is served.
#[test]
fn what_would_give_the_sandbox_away_is_refused_by_name() {
    let home = Home::new();
    let plugins = open_directory(&home.path().join("plugins"));
    fs::copy(echo(), plugins.join("echo.so")).expect("a plugin can be copied");
    home.add_manifest("a", "name = \"a\"\nlibrary = \"../../plugins/echo.so\"\n");
    let allow = "write = ['../../plugins', '../../functions']\nread = ['../../state', '/proc/1']";
    fs::create_dir(home.path().join("state")).expect("a directory can be made");
    home.add("b", &own("files"), &format!("[allow]\n{allow}"));
    let at = home.path().display().to_string();
    let manifest = home.functions().join("b/function.toml").display().to_string();
    let refusal = || -> Vec<String> {
        let short =
            |line: &String| line.replace("hairtrigger: ", "").replace(&manifest, "b").replace(&at, "@");
        home.refusal(3).iter().map(short).collect()
    };
    let said = refusal();
    assert_eq!(
        said,
        [
            "b:4:27: write must be apart from @/functions, where the functions are; found \
             \"../../functions\".",
            "b:5:9: read must be apart from @/state, where the daemon's state is; found \"../../state\".",
            "b:5:24: read must be outside of /proc; found \"/proc/1\".",
        ]
    );
    home.add("b", &own("files"), "[allow]\nwrite = ['../../plugins']");
    let said = refusal();
    let expected = "b: it must not write to @/plugins: the plugin of a is in @/plugins.";
    assert_eq!(said, [expected]);
}

/// Whoever can take a link to a plugin or a manifest away can put something of his own there, with another's grants. And
/// manifests have secrets in them.
#[test]
fn what_leads_to_others_plugins_and_manifests_is_kept() {
    let home = Home::new();
    let at = |path: &str| home.path().join(path);
    open_directory(&at("builds/42"));
    open_directory(&at("releases"));
    open_directory(&at("elsewhere/deep"));
    fs::copy(echo(), at("builds/42/a.so")).expect("a plugin can be copied");
    symlink(at("builds/42"), at("releases/current")).expect("a link can be made");
    let folder = home.add_manifest("a", "name = \"a\"\nlibrary = \"a.so\"\n");
    symlink("../../releases/current/a.so", folder.join("a.so")).expect("a link can be made");
    fs::rename(folder.join("function.toml"), at("elsewhere/deep/a.toml")).expect("a manifest can be moved");
    symlink("../../elsewhere/deep/a.toml", folder.join("function.toml")).expect("a link can be made");
    for (allow, why) in [
        ("write = ['../../builds']", "must not write to @/builds: the plugin of a is in @/builds/42."),
        (
            "write = ['../../releases']",
            "must not write to @/releases: @/releases/current is a link to the plugin or the manifest of a.",
        ),
        (
            "write = ['../../elsewhere']",
            "must not write to @/elsewhere: the manifest of a is @/elsewhere/deep/a.toml.",
        ),
        ("read = ['../../elsewhere']", "must not read @/elsewhere: the manifest of a is in it."),
    ] {
        home.add("b", &own("files"), &format!("[allow]\n{allow}"));
        let said = home.refusal(3).join("\n").replace(&home.path().display().to_string(), "@");
        assert_eq!(said, format!("hairtrigger: @/functions/b/function.toml: it {why}"), "{allow}");
    }
    home.add("b", &own("files"), "[allow]\nread = ['../../releases', '../../builds']");
    let daemon = home.start();
    daemon.get("/a").assert_ok("GET /a\n");
    daemon.stop();
}
