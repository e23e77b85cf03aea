use std::time::Duration;

use proptest::prelude::*;

use super::*;

fn origin() -> Origin {
    Origin { file: PathBuf::from("etc/h.toml"), state: None }
}

fn parse(text: &str) -> Result<Config, String> {
    origin().parse(text, None).map_err(|error| error.to_string())
}

#[test]
fn there_is_a_shard_for_each_core_as_far_as_their_rings_may_be_locked() {
    const MIB: u64 = 1 << 20;
    // As a distribution gives it to its users: 8 MiB.
    for (cores, lockable, expected) in [
        (1, 8 * MIB, 1),
        (4, 8 * MIB, 4),
        (64, 8 * MIB, 12),
        (64, u64::MAX, 64),
        (1000, u64::MAX, 64),
        (4, 0, 1),
    ] {
        assert_eq!(shards(cores, lockable), expected, "{cores} cores, {lockable} bytes");
    }
}

#[test]
fn the_functions_are_enough() {
    let cores = u16::try_from(available_parallelism().unwrap().get().min(64)).unwrap();
    let expected = Config {
        functions: "etc/functions".into(),
        listen: vec!["127.0.0.1:8080".parse().unwrap()],
        socket: Some("/run/hairtrigger/hairtrigger.sock".into()),
        socket_group: None,
        admin: Some("/run/hairtrigger/admin.sock".into()),
        state: "/var/lib/hairtrigger".into(),
        run: "/run/hairtrigger".into(),
        cgroup: "hairtrigger".into(),
        uid_base: 1_879_048_192,
        uid_count: 65_536,
        shards: cores,
        level: Level::Full,
        max_connections: None,
        max_workers: None,
        report: false,
        timeouts: Timeouts {
            head: Duration::from_secs(10),
            body: Duration::from_secs(60),
            write: Duration::from_secs(60),
            idle: Duration::from_secs(75),
            drain: Duration::from_secs(10),
        },
    };
    assert_eq!(parse("functions = 'functions'"), Ok(expected));
}

#[test]
fn everything_can_be_said() {
    let text = "listen = ['[::1]:80', '0.0.0.0:0', '0.0.0.0:0']\nfunctions = '/srv'\nsocket = 'data.sock'\n\
                socket_group = 'root'\nadmin = '/run/a.sock'\nstate = '/tmp/s'\nrun = '/tmp/r'\n\
                cgroup = 'ht-2'\nuid_base = 100_000\nuid_count = 2\nshards = 3\nlevel = 'userns'\n\
                max_connections = 1_000\nreport = true\n\
                 max_workers = 300\n\
                [timeouts]\nhead = '1s'\nbody = '2s'\nwrite = '3s'\nidle = '1h'\ndrain = '100ms'";
    let expected = Config {
        listen: ["[::1]:80", "0.0.0.0:0", "0.0.0.0:0"].map(|text| text.parse().unwrap()).to_vec(),
        functions: "/srv".into(),
        socket: Some("etc/data.sock".into()),
        socket_group: Some(0),
        admin: Some("/run/a.sock".into()),
        state: "/tmp/s".into(),
        run: "/tmp/r".into(),
        cgroup: "ht-2".into(),
        uid_base: 100_000,
        uid_count: 2,
        shards: 3,
        level: Level::Userns,
        max_connections: Some(1000),
        max_workers: Some(300),
        report: true,
        timeouts: Timeouts {
            head: Duration::from_secs(1),
            body: Duration::from_secs(2),
            write: Duration::from_secs(3),
            idle: Duration::from_secs(3600),
            drain: Duration::from_millis(100),
        },
    };
    assert_eq!(parse(text), Ok(expected));
    let high = parse("functions = 'f'\nuid_base = 4294967290").unwrap();
    assert_eq!(high.uid_count, 5, "the default range ends where uids end");
    assert_eq!(parse("functions = 'f'\nsocket_group = 7").unwrap().socket_group, Some(7));
}

#[test]
fn sockets_follow_the_state_directory() {
    let paths = |text: &str, state: Option<&str>| {
        let origin = Origin { state: state.map(PathBuf::from), ..origin() };
        let Config { state, run, socket, admin, .. } = origin.parse(text, None).unwrap();
        let text = |path: PathBuf| path.display().to_string();
        [text(state), text(run), socket.map_or("none".into(), text), admin.map_or("none".into(), text)]
    };
    let said = "functions = 'f'\nstate = 's'\n";
    assert_eq!(
        paths(said, None),
        ["etc/s", "etc/s/run", "etc/s/run/hairtrigger.sock", "etc/s/run/admin.sock"]
    );
    let run = format!("{said}run = '/r'\nadmin = false");
    assert_eq!(paths(&run, None), ["etc/s", "/r", "/r/hairtrigger.sock", "none"]);
    let below = ["/o", "/o/run", "/o/run/hairtrigger.sock", "/o/run/admin.sock"];
    assert_eq!(paths(&format!("{said}run = '/r'\nsocket = '/x.sock'"), Some("/o")), below);
    assert_eq!(paths(&run, Some("/o")), ["/o", "/o/run", "/o/run/hairtrigger.sock", "none"]);
}

#[test]
fn mistakes() {
    let address = "an address and a port like \"127.0.0.1:8080\" or \"[::1]:8080\"";
    let group = "1 to 64 letters, digits, hyphens and underscores, with no hyphen first";
    let many = format!("functions = 'f'\nlisten = [{}]", "'127.0.0.1:0', ".repeat(17));
    let long = format!("functions = 'f'\nrun = '/{}'", "r".repeat(95));
    for (text, error) in [
        ("", "1:1: the key functions is missing; it must be the path of a directory of functions.".to_owned()),
        ("functions = 1", "1:13: functions must be a path; found 1.".to_owned()),
        ("functions = 'f'\nlisten = '8080'", format!("2:10: listen must be {address}; found \"8080\".")),
        ("functions = 'f'\nlisten = 8080", format!("2:10: listen must be {address}; found 8080.")),
        (
            "functions = 'f'\nlisten = ['[::1]:80',\n 'x', '[::1]:80']",
            format!(
                "3:2: listen must be {address}; found \"x\".\n\
                 etc/h.toml:3:7: listen must be another address than those before it; found \"[::1]:80\"."
            ),
        ),
        (&many, "2:10: listen must be at most 16 addresses; found an array.".to_owned()),
        (
            "functions = 'f'\nlisten = 'none'\nsocket = false",
            "2:10: listen must be an address, since socket is false; found \"none\".".to_owned(),
        ),
        (
            "functions = 'f'\nlistn = ''",
            "2:1: there is no key listn here; did you mean listen?".to_owned(),
        ),
        ("functions = 'f'\nstate = \"\\u0000\"", "2:9: state must be a path; found \"\\0\".".to_owned()),
        ("functions = 'f'\nsocket = true", "2:10: socket must be a path or false; found true.".to_owned()),
        (
            "functions = 'f'\nsocket = '/s'\nadmin = '/s'",
            "3:9: admin must be another path than that of the other socket; found \"/s\".".to_owned(),
        ),
        (
            &long,
            format!(
                "2:7: run must be so short that the socket's path has at most 107 bytes, and not \
                 /{}/hairtrigger.sock; found \"/{}…\".",
                "r".repeat(95),
                "r".repeat(59)
            ),
        ),
        (
            "functions = 'f'\nsocket_group = 'no-such-group'",
            "2:16: socket_group must be the name or the number of a group of this host; found \"no-such-group\"."
                .to_owned(),
        ),
        ("functions = 'f'\ncgroup = 'a/b'", format!("2:10: cgroup must be {group}; found \"a/b\".")),
        ("functions = 'f'\ncgroup = '..'", format!("2:10: cgroup must be {group}; found \"..\".")),
        (
            "functions = 'f'\nuid_base = 0",
            "2:12: uid_base must be a whole number from 65536 to 4294967293; found 0.".to_owned(),
        ),
        (
            "functions = 'f'\nuid_base = 4294967290\nuid_count = 6",
            "3:13: uid_count must be a whole number from 2 to 5, which is what uid_base leaves; found 6."
                .to_owned(),
        ),
        (
            "functions = 'f'\nshards = 0",
            "2:10: shards must be a whole number from 1 to 64; found 0.".to_owned(),
        ),
        (
            "functions = 'f'\nlevel = 'fulll'",
            "2:9: level must be \"full\", \"userns\" or \"bare\"; found \"fulll\".".to_owned(),
        ),
        (
            "functions = 'f'\nmax_connections = 63",
            "2:19: max_connections must be a whole number from 64 to 1048576; found 63.".to_owned(),
        ),
        (
            "level = 1\n[timeouts]\nhead = '99ms'\nide = '1s'",
            "1:1: the key functions is missing; it must be the path of a directory of functions.\n\
             etc/h.toml:1:9: level must be \"full\", \"userns\" or \"bare\"; found 1.\n\
             etc/h.toml:3:8: head must be a time from 100ms to 1h like \"500ms\", \"3s\" or \"2m\"; found \
             \"99ms\".\n\
             etc/h.toml:4:1: there is no key ide in [timeouts]; did you mean idle?"
                .to_owned(),
        ),
    ] {
        assert_eq!(parse(text), Err(format!("etc/h.toml:{error}")), "{text:?}");
    }
}

#[test]
fn what_a_running_daemon_stands_on_stays() {
    let running = parse("functions = 'f'\nstate = 's'\nshards = 2").unwrap();
    let reload = |text: &str| origin().parse(text, Some(&running)).map_err(|error| error.to_string());
    let new = reload(
        "functions = 'g'\nstate = '../etc/../etc/s'\nshards = 2\nlisten = 'none'\nsocket = 'x.sock'\n\
         max_connections = 64\ntimeouts.idle = '1s'",
    );
    let same =
        "etc/h.toml:2:9: state must be \"etc/s\" until the daemon is restarted; found \"../etc/../etc/s\".";
    assert_eq!(new, Err(same.to_owned()), "another spelling is another directory");
    let new =
        reload("functions = 'g'\nstate = 's'\nshards = 2\nlisten = 'none'\nmax_connections = 64").unwrap();
    assert_eq!((new.functions, new.listen, new.max_connections), ("etc/g".into(), vec![], Some(64)));
    let expected = "etc/h.toml:1:1: the key state is missing; it must be \"etc/s\" until the daemon is restarted.\n\
                    etc/h.toml:2:10: cgroup must be \"hairtrigger\" until the daemon is restarted; found \"other\".\n\
                    etc/h.toml:3:12: uid_base must be 1879048192 until the daemon is restarted; found 70000.\n\
                    etc/h.toml:4:10: shards must be 2 until the daemon is restarted; found 1.\n\
                    etc/h.toml:5:9: level must be \"full\" until the daemon is restarted; found \"bare\".\n\
                    etc/h.toml:6:10: report must be false until the daemon is restarted; found true.";
    let text =
        "functions = 'f'\ncgroup = 'other'\nuid_base = 70000\nshards = 1\nlevel = 'bare'\nreport = true";
    assert_eq!(reload(text), Err(expected.to_owned()));
}

proptest! {
    #[test]
    fn any_text_is_taken_or_refused(text in any::<String>()) {
        let _ = parse(&text);
        let _ = parse(&format!("functions = 'f'\nlisten = '''{text}'''"));
        let _ = parse(&format!("functions = 'f'\nsocket_group = '''{text}'''"));
    }
}
