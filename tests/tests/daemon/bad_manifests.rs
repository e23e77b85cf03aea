//! A bad manifest or configuration keeps the daemon from starting: file, line, column, what was expected.

use std::fs;

use hairtrigger_tests::home::Home;

use crate::echo;

/// What the daemon says that is started in this home.
fn refused(home: &Home) -> String {
    let lines = home.refusal(3);
    assert_eq!(home.groups.all(), [""; 0].map(std::path::PathBuf::from), "it left groups behind");
    // The temporary directory's name is no part of the sentence.
    lines.join("\n").replace(&format!("{}/", home.path().display()), "")
}

#[test]
fn a_bad_manifest_is_pointed_at() {
    for (rest, expected) in [
        ("timout = \"3s\"", "3:1: there is no key timout here; did you mean timeout?"),
        (
            "timeout = 3",
            "3:11: timeout must be a time from 1ms to 15m like \"500ms\", \"3s\" or \"2m\"; found 3.",
        ),
        (
            "memory = \"64MB\"",
            "3:10: memory must be a size from 4MiB to 64GiB like \"64MiB\", \"512KiB\" or a number of bytes; \
             found \"64MB\".",
        ),
        (
            "[concurrency]\nmax = 2\nprovisioned = 3",
            "5:15: provisioned must be a whole number from 0 to 2, which is max; found 3.",
        ),
        (
            "env = { LD_PRELOAD = \"x.so\" }",
            "3:22: LD_PRELOAD must be left out: variables LD_* and GLIBC_* steer the dynamic linker; found \"x.so\".",
        ),
    ] {
        let home = Home::new();
        home.add("good", &echo(), "").add("other", &echo(), rest);
        assert_eq!(refused(&home), format!("hairtrigger: functions/other/function.toml:{expected}"));
    }
}

#[test]
fn a_missing_plugin_is_named() {
    let home = Home::new();
    home.add_manifest("lost", "name = \"lost\"\nlibrary = \"nowhere.so\"\n");
    assert_eq!(
        refused(&home),
        "hairtrigger: functions/lost/function.toml: there is no plugin functions/lost/nowhere.so: \
         No such file or directory (os error 2)."
    );
    let home = Home::new();
    home.add_manifest("lost", "name = \"lost\"\n");
    assert_eq!(
        refused(&home),
        "hairtrigger: functions/lost/function.toml: serve needs the key library, the path of the plugin's file."
    );
}

#[test]
fn a_function_in_the_directory_of_another_is_refused() {
    let home = Home::new();
    home.add("outer", &echo(), "");
    let inner = home.functions().join("outer/deep/inner");
    fs::create_dir_all(&inner).expect("writable");
    fs::copy(echo(), inner.join("inner.so")).expect("a file can be copied");
    fs::write(inner.join("function.toml"), "name = \"inner\"\nlibrary = \"inner.so\"\n").expect("writable");
    assert_eq!(
        refused(&home),
        "hairtrigger: functions/outer/deep/inner/function.toml: function outer would see it: its plugin is in \
         functions/outer, all of which it sees; functions lie beside each other."
    );
    // It is the plugin's directory that a function sees.
    let home = Home::new();
    home.add("a", &echo(), "").add("b", &echo(), "");
    fs::copy(echo(), home.functions().join("a.so")).expect("a file can be copied");
    home.add_manifest("a", "name = \"a\"\nlibrary = \"../a.so\"\n");
    assert_eq!(
        refused(&home),
        "hairtrigger: functions/b/function.toml: function a would see it: its plugin is in functions, all of which it \
         sees; functions lie beside each other."
    );
}

#[test]
fn two_functions_of_one_name_are_refused() {
    let home = Home::new();
    home.add("twin", &echo(), "");
    let second = home.add_manifest("second", "name = \"twin\"\nlibrary = \"../twin/twin.so\"\n");
    fs::copy(echo(), second.join("twin.so")).expect("a file can be copied");
    fs::write(second.join("function.toml"), "name = \"twin\"\nlibrary = \"twin.so\"\n").expect("writable");
    let expected = "hairtrigger: functions/twin/function.toml: a function named twin is already in \
                    functions/second/function.toml.";
    assert_eq!(refused(&home), expected);
}

#[test]
fn a_bad_configuration_is_pointed_at() {
    let home = Home::new();
    for (text, expected) in [
        (
            "functons = \"functions\"\n",
            "1:1: there is no key functons here; did you mean functions?\n\
             hairtrigger: hairtrigger.toml:1:1: the key functions is missing; it must be the path of a directory of \
             functions.",
        ),
        (
            "functions = \"functions\"\nlisten = \"8080\"\n",
            "2:10: listen must be an address and a port like \"127.0.0.1:8080\" or \"[::1]:8080\"; found \"8080\".",
        ),
    ] {
        fs::write(home.config(), text).expect("writable");
        assert_eq!(refused(&home), format!("hairtrigger: hairtrigger.toml:{expected}"));
    }
}

#[test]
fn a_state_directory_and_an_address_are_one_daemons() {
    let home = Home::new();
    home.add("echo", &echo(), "");
    let daemon = home.start();
    let said = home.refusal(1);
    let state = home.path().join("state");
    assert_eq!(said, [format!("hairtrigger: another daemon uses the state directory {}", state.display())]);

    let other = Home::new();
    other.listen(daemon.address());
    let said = other.refusal(1);
    let address = daemon.address();
    assert_eq!(
        said,
        [format!("hairtrigger: cannot listen on {address}: Address already in use (os error 98)")]
    );

    daemon.get("/echo").assert_ok("GET /echo\n");
    daemon.stop();
}
