use proptest::prelude::*;

use super::*;

fn parse(text: &str) -> Result<Manifest, String> {
    Manifest::parse(Path::new("function.toml"), text, &OffLimits::default())
        .map_err(|error| error.to_string())
}

#[test]
fn a_name_is_enough() {
    let expected = Manifest {
        name: "hello".to_owned(),
        library: None,
        source: None,
        routes: None,
        timeout: Duration::from_secs(3),
        memory: 128 << 20,
        cpu: None,
        cpu_time: None,
        max_request: 6 << 20,
        max_response: 6 << 20,
        isolation: Isolation::Reuse,
        idempotent: false,
        dev: true,
        concurrency: Concurrency {
            provisioned: 1,
            reserved: 0,
            max: 16,
            queue: 256,
            rate: None,
            idle: Duration::from_mins(1),
            unload: Duration::from_mins(10),
        },
        grants: Grants::default(),
        env: vec![],
    };
    assert_eq!(parse("name = 'hello'"), Ok(expected));
}

#[test]
fn everything_can_be_said() {
    let text = r#"
        name = "thumb-2"
        library = "libthumb.so"
        source = "."
        routes = ["GET /thumb/{name}", "example.org/"]
        timeout = "500ms"
        memory = "64MiB"
        cpu = 1.5
        cpu_time = "200ms"
        threads = 4
        max_request = 1_000
        max_response = "1GiB"
        isolation = "fresh"
        idempotent = true
        dev = false
        env = { Z = "last letter first", _a1 = "" }
        [concurrency]
        provisioned = 0
        reserved = 3
        max = 0x10
        queue = 0
        rate = 2.5
        burst = 40
        idle = "1500ms"
        unload = "2h"
        [allow]
        read = []
        connect = [5432]
    "#;
    let expected = Manifest {
        name: "thumb-2".to_owned(),
        library: Some("libthumb.so".into()),
        source: Some(".".into()),
        routes: Some(
            ["GET /thumb/{name}", "example.org/"].map(|route| Pattern::parse(route).unwrap()).into(),
        ),
        timeout: Duration::from_millis(500),
        memory: 64 << 20,
        cpu: Some(1.5),
        cpu_time: Some(Duration::from_millis(200)),
        max_request: 1000,
        max_response: 1 << 30,
        isolation: Isolation::Fresh,
        idempotent: true,
        dev: false,
        concurrency: Concurrency {
            provisioned: 0,
            reserved: 3,
            max: 16,
            queue: 0,
            rate: Some(Rate::new(2.5, 40)),
            idle: Duration::from_millis(1500),
            unload: Duration::from_hours(2),
        },
        grants: Grants { connect: vec![5432], threads: 4, ..Grants::default() },
        env: vec![("Z".into(), "last letter first".into()), ("_a1".into(), String::new())],
    };
    assert_eq!(parse(text), Ok(expected));
    let rate =
        |text: &str| parse(&format!("name = 'a'\nconcurrency.rate = {text}")).unwrap().concurrency.rate;
    assert_eq!(["0.001", "7", "7.5"].map(|text| rate(text).unwrap().burst()), [1, 7, 8], "one second's");
    assert_eq!(parse("name = 'a'\ncpu = 0x10").map(|manifest| manifest.cpu), Ok(Some(16.0)));
}

/// What is said of each mistake, word by word.
#[test]
fn mistakes() {
    for (text, error) in [
        (
            "",
            "1:1: the key name is missing; it must be 1 to 64 letters a-z, digits and hyphens, with no hyphen first.",
        ),
        (
            "name = 'Hello'",
            "1:8: name must be 1 to 64 letters a-z, digits and hyphens, with no hyphen first; found \"Hello\".",
        ),
        (
            "name = '-a'",
            "1:8: name must be 1 to 64 letters a-z, digits and hyphens, with no hyphen first; found \"-a\".",
        ),
        (
            "name = 7",
            "1:8: name must be 1 to 64 letters a-z, digits and hyphens, with no hyphen first; found 7.",
        ),
        ("name = 'a'\nmemroy = 1", "2:1: there is no key memroy here; did you mean memory?"),
        (
            "name = 'a'\n  colour = 1\naardvark = 1",
            "2:3: there is no key colour here; the keys are name, library, source, routes, timeout, memory, cpu, \
             cpu_time, threads, max_request, max_response, isolation, idempotent, dev, concurrency, allow, env.\n\
             function.toml:3:1: there is no key aardvark here; the keys are name, library, source, routes, timeout, \
             memory, cpu, cpu_time, threads, max_request, max_response, isolation, idempotent, dev, concurrency, \
             allow, env.",
        ),
        (
            "timeout = 3\nmemroy = 1\n[concurrency]\nmax = 0\nprovisioned = 2\nqueue = -1\n[env]\nLD_A = ''\nB = 1",
            "1:1: the key name is missing; it must be 1 to 64 letters a-z, digits and hyphens, with no hyphen \
             first.\n\
             function.toml:1:11: timeout must be a time from 1ms to 15m like \"500ms\", \"3s\" or \"2m\"; \
             found 3.\n\
             function.toml:2:1: there is no key memroy here; did you mean memory?\n\
             function.toml:4:7: max must be a whole number from 1 to 1024; found 0.\n\
             function.toml:6:9: queue must be a whole number from 0 to 4096; found -1.\n\
             function.toml:8:8: LD_A must be left out: variables LD_* and GLIBC_* steer the dynamic linker; \
             found \"\".\n\
             function.toml:9:5: B must be a string without NUL that makes, with its name, at most 32768 bytes; \
             found 1.",
        ),
        (
            "name = 'a'\n[concurrency]\nmaximum = 1",
            "3:1: there is no key maximum in [concurrency]; the keys are provisioned, reserved, max, queue, rate, \
             burst, idle, unload.",
        ),
        (
            "name = 'a'\n[concurrency]\nqueu = 1",
            "3:1: there is no key queu in [concurrency]; did you mean queue?",
        ),
        (
            "name = 'a'\ntimeout = '3 s'",
            "2:11: timeout must be a time from 1ms to 15m like \"500ms\", \"3s\" or \"2m\"; found \"3 s\".",
        ),
        (
            "name = 'a'\ntimeout = '1h'",
            "2:11: timeout must be a time from 1ms to 15m like \"500ms\", \"3s\" or \"2m\"; found \"1h\".",
        ),
        (
            "name = 'a'\ntimeout = 3",
            "2:11: timeout must be a time from 1ms to 15m like \"500ms\", \"3s\" or \"2m\"; found 3.",
        ),
        (
            "name = 'a'\nmemory = '64MB'",
            "2:10: memory must be a size from 4MiB to 64GiB like \"64MiB\", \"512KiB\" or a number of bytes; \
             found \"64MB\".",
        ),
        (
            "name = 'a'\nmemory = 1",
            "2:10: memory must be a size from 4MiB to 64GiB like \"64MiB\", \"512KiB\" or a number of bytes; \
             found 1.",
        ),
        (
            "name = 'a'\nmax_request = -1",
            "2:15: max_request must be a size from 0B to 1GiB like \"64MiB\", \"512KiB\" or a number of bytes; \
             found -1.",
        ),
        (
            "name = 'a'\nmax_response = []",
            "2:16: max_response must be a size from 0B to 1GiB like \"64MiB\", \"512KiB\" or a number of bytes; \
             found an array.",
        ),
        ("name = 'a'\ncpu = 0", "2:7: cpu must be a number of cores from 0.01 to 1024; found 0."),
        (
            "name = 'a'\ncpu_time = '0s'",
            "2:12: cpu_time must be a time from 1ms to 15m like \"500ms\", \"3s\" or \"2m\"; found \"0s\".",
        ),
        ("name = 'a'\ncpu = nan", "2:7: cpu must be a number of cores from 0.01 to 1024; found nan."),
        ("name = 'a'\nthreads = 65", "2:11: threads must be a whole number from 0 to 64; found 65."),
        ("name = 'a'\ncpu = '1'", "2:7: cpu must be a number of cores from 0.01 to 1024; found \"1\"."),
        (
            "name = 'a'\nisolation = 'scrub'",
            "2:13: isolation must be \"reuse\" or \"fresh\"; found \"scrub\".",
        ),
        ("name = 'a'\ndev = 'no'", "2:7: dev must be true or false; found \"no\"."),
        ("name = 'a'\nlibrary = ''", "2:11: library must be a path; found \"\"."),
        ("name = 'a'\nsource = {}", "2:10: source must be a path; found a table."),
        (
            "name = 'a'\nroutes = '/a'",
            "2:10: routes must be an array of at most 64 routes like \"GET /users/{id}\"; found \"/a\".",
        ),
        (
            "name = 'a'\nroutes = [7,\n  '/a',\n  'GET b']",
            "2:11: routes must be strings like \"GET /users/{id}\"; found 7.\n\
             function.toml:4:3: routes must be patterns, and a pattern must have a path, which begins with a slash; \
             found \"GET b\".",
        ),
        ("name = 'a'\nconcurrency = 4", "2:15: concurrency must be a table; found 4."),
        ("name = 'a'\n[concurrency]\nmax = 0", "3:7: max must be a whole number from 1 to 1024; found 0."),
        (
            "name = 'a'\n[concurrency]\nqueue = 1.5",
            "3:9: queue must be a whole number from 0 to 4096; found 1.5.",
        ),
        (
            "name = 'a'\n[concurrency]\nrate = 0",
            "3:8: rate must be a number of requests a second from 0.001 to 1000000; found 0.",
        ),
        (
            "name = 'a'\n[concurrency]\nrate = '10/s'\nburst = 0",
            "3:8: rate must be a number of requests a second from 0.001 to 1000000; found \"10/s\".\n\
             function.toml:4:9: burst must be a whole number from 1 to 1000000; found 0.",
        ),
        (
            "name = 'a'\n[concurrency]\nburst = 5",
            "3:9: burst must be left out where there is no rate; found 5.",
        ),
        (
            "name = 'a'\n[concurrency]\nmax = 2\nprovisioned = 3",
            "4:15: provisioned must be a whole number from 0 to 2, which is max; found 3.",
        ),
        ("name = 'a'\nenv = { é1 = 'ü' }", "2:9: invalid unquoted key, expected letters, numbers, `-`, `_`."),
        (
            "name = 'a'\n# é\nenv = { 'é' = 'ü' }",
            "3:15: é must be named with letters, digits and underscores, with no digit first; found \"ü\".",
        ),
        (
            "name = 'a'\nenv = { 1a = 'x' }",
            "2:14: 1a must be named with letters, digits and underscores, with no digit first; found \"x\".",
        ),
        (
            "name = 'a'\nenv = { A = 1 }",
            "2:13: A must be a string without NUL that makes, with its name, at most 32768 bytes; found 1.",
        ),
        (
            "name = 'a'\nenv = { A = \"a\\u0000\" }",
            "2:13: A must be a string without NUL that makes, with its name, at most 32768 bytes; \
             found \"a\\0\".",
        ),
        (
            "name = 'a'\nenv = { LD_PRELOAD = 'x' }",
            "2:22: LD_PRELOAD must be left out: variables LD_* and GLIBC_* steer the dynamic linker; found \"x\".",
        ),
        ("name = 'a'\nname = 'b'", "2:1: duplicate key."),
        ("name = ", "1:8: string values must be quoted, expected literal string."),
        ("name = 'a'\n]", "2:1: missing table open, expected `[`."),
    ] {
        assert_eq!(parse(text), Err(format!("function.toml:{error}")), "{text:?}");
    }
}

#[test]
fn a_missing_file_is_named() {
    let error =
        Manifest::load(Path::new("/no/such/function.toml"), &OffLimits::default()).unwrap_err().to_string();
    assert_eq!(error, "/no/such/function.toml: cannot be opened: No such file or directory (os error 2).");
}

proptest! {
    #[test]
    fn any_text_is_taken_or_refused_line_by_line(
        text in prop_oneof![
            any::<String>(),
            prop::collection::vec(prop::sample::select(vec![
                "name", "timeout", "memory", "env", "[concurrency]", "max", "=", "'a'", "\"3s\"", "1", "-1", "1.5",
                "{", "}", "[", "]", "\n", ".", ",", "é", "\u{0}", "0x", "inf", "1979-05-27", "true", "'''",
            ]), 0..24).prop_map(|words| words.join(" ")),
        ],
    ) {
        if let Err(error) = parse(&text) {
            for line in error.lines() {
                prop_assert!(line.starts_with("function.toml:") && line.ends_with(['.', '?']), "{line}");
            }
        }
    }
}
