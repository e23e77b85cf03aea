//! Routes of manifests: which function a request goes to, and what it is told of how.

use hairtrigger_tests::daemon::Daemon;
use hairtrigger_tests::home::Home;
use hairtrigger_tests::http::Response;

use crate::{echo, own};

fn ask(daemon: &Daemon<'_>, request: &str, host: &str, fields: &str) -> Response {
    let request = format!("{request} HTTP/1.1\r\nHost: {host}\r\n{fields}\r\n");
    let head_only = request.starts_with("HEAD ");
    let mut connection = daemon.connect();
    connection.send(request);
    if head_only { connection.receive_head() } else { connection.receive() }
}

/// What the function tells of the fields that it was given by the daemon.
fn told(answer: &Response) -> Vec<&str> {
    let fields =
        answer.text().lines().filter(|line| line.starts_with("x-hairtrigger-") || line.starts_with("host:"));
    fields.collect()
}

#[test]
fn requests_go_to_the_most_specific_route_and_its_function_hears_the_values() {
    let home = Home::new();
    home.add("tells", &own("tells"), "")
        .add("users", &own("tells"), "routes = ['GET /users/{id}', '/users/{id}/files/{Path...}']")
        .add("me", &own("tells"), "routes = ['GET /users/me', 'POST hooks.example.org/{event}']");
    let daemon = home.start();
    let fields =
        "x-hairtrigger-param-id: forged\r\nX-Hairtrigger-Route: forged\r\nx-hairtrigger-timing: 1\r\n";
    let answer = ask(&daemon, "GET /users/7%209", "a", fields);
    assert_eq!(
        told(&answer),
        [
            "host: a",
            "x-hairtrigger-timing: 1",
            "x-hairtrigger-route: GET /users/{id}",
            "x-hairtrigger-param-id: 7 9",
        ]
    );
    let answer = ask(&daemon, "PUT /%75sers/7/files/a%2Fb/c", "a", "");
    let expected = [
        "host: a",
        "x-hairtrigger-route: /users/{id}/files/{Path...}",
        "x-hairtrigger-param-id: 7",
        "x-hairtrigger-param-path: a/b/c",
    ];
    assert_eq!(told(&answer), expected);
    let answer = ask(&daemon, "GET /users/me", "a", "");
    assert_eq!(told(&answer), ["host: a", "x-hairtrigger-route: GET /users/me"]);
    // By host, with a port and in absolute form.
    let expected = ["x-hairtrigger-route: POST hooks.example.org/{event}", "x-hairtrigger-param-event: push"];
    let answer = ask(&daemon, "POST /push", "Hooks.Example.org:8080", "");
    assert_eq!(told(&answer)[1..], expected);
    let answer = ask(&daemon, "POST http://hooks.example.org/push", "elsewhere", "");
    assert_eq!(told(&answer)[0], "host: hooks.example.org");
    assert_eq!(told(&answer)[1..], expected);
    // A function without routes has the path of its name, and is told nothing.
    let answer = ask(&daemon, "GET /tell%73/a", "a", fields);
    assert_eq!(told(&answer), ["host: a", "x-hairtrigger-timing: 1"]);
    // A value that is no text is nobody's.
    let answer = ask(&daemon, "GET /users/%0d%0aa", "a", "");
    let said = answer.json();
    assert_eq!((answer.status, &said["outcome"]), (400, &"bad_request".into()));
    assert_eq!(said["message"], "The part of the path that is id must be UTF-8 without control characters.");
    daemon.stop();
}

#[test]
fn a_method_that_a_path_has_not_is_405_and_options_tells_those_it_has() {
    let home = Home::new();
    home.add("echo", &echo(), "").add("strict", &echo(), "routes = ['GET /strict', 'PUT /strict']");
    let daemon = home.start();
    ask(&daemon, "GET /strict", "a", "").assert_ok("GET /strict\n");
    let head = ask(&daemon, "HEAD /strict", "a", "");
    assert_eq!((head.status, head.header("content-length")), (200, "13"));
    let answer = ask(&daemon, "DELETE /strict", "a", "");
    assert_eq!((answer.status, answer.header("allow")), (405, "GET, HEAD, OPTIONS, PUT"));
    let said = answer.json();
    assert_eq!(said["outcome"], "method_not_allowed");
    assert_eq!(said["message"], "The path has no route for this method; the field Allow lists those it has.");
    let answer = ask(&daemon, "OPTIONS /strict", "a", "");
    answer.assert_empty(204);
    assert_eq!(answer.header("allow"), "GET, HEAD, OPTIONS, PUT");
    // One that takes every method answers OPTIONS itself.
    ask(&daemon, "OPTIONS /echo", "a", "").assert_ok("");
    for target in ["*", "http://a"] {
        let answer = ask(&daemon, &format!("OPTIONS {target}"), "a", "");
        answer.assert_empty(204);
        assert_eq!(answer.header("allow"), "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");
    }
    let answer = ask(&daemon, "GET /strict/x", "a", "");
    let sentence = "No route leads here; function strict has GET /strict.";
    answer.assert_outcome("strict", 404, "no_such_function", sentence);
    daemon.stop();
}

#[test]
fn routes_in_conflict_keep_the_daemon_from_starting() {
    let home = Home::new();
    home.add("one", &echo(), "routes = ['/things/{id}']").add("two", &echo(), "routes = ['GET /{kind}/7']");
    let folder = home.functions();
    let folder = folder.display();
    assert_eq!(
        home.refusal(3),
        [format!(
            "hairtrigger: {folder}/two/function.toml: the route /things/{{id}} of function one and the route GET \
             /{{kind}}/7 of function two both match GET /things/7, and neither is more specific; one is in \
             {folder}/one/function.toml."
        )]
    );
}
