use std::sync::Arc;

use proptest::collection::{btree_set, vec};
use proptest::prelude::*;

use super::*;

fn patterns(routes: &[&str]) -> Arc<[Pattern]> {
    routes
        .iter()
        .map(|route| Pattern::parse(route).unwrap_or_else(|rule| panic!("{route} must {rule}")))
        .collect()
}

/// A router for functions with routes; the keys count from 0. Without routes: those of the name.
fn router(functions: &[(&str, &[&str])]) -> Result<Router, Conflict> {
    let said: Vec<_> =
        functions.iter().map(|(_, routes)| (!routes.is_empty()).then(|| patterns(routes))).collect();
    let names = functions.iter().map(|(name, _)| *name);
    Router::new((0..).zip(names).zip(&said).map(|((key, name), said)| (key, name, said.as_ref())))
}

fn named(names: &[&str]) -> Router {
    router(&names.iter().map(|name| (*name, &[][..])).collect::<Vec<_>>()).expect("names differ")
}

/// The function and route that a request "METHOD host/path" goes to, or what is said instead.
fn ask(router: &Router, request: &str) -> Result<(u32, u16), String> {
    let (method, rest) = request.split_once(' ').unwrap();
    let (host, path) = rest.split_at(rest.find('/').unwrap());
    match router.resolve(method.as_bytes(), Some(host.as_bytes()), path.as_bytes()) {
        Ok(Route::Function(target)) => Ok((target.function, target.route)),
        Ok(Route::System(_)) => Err("system".to_owned()),
        Ok(Route::Server) => Err("server".to_owned()),
        Err(NoRoute::NoSuchFunction { .. }) => Err("nothing".to_owned()),
        Err(NoRoute::MethodNotAllowed { allow }) => Err(allow),
        Err(NoRoute::Undecodable { sentence }) => Err(sentence),
    }
}

fn sentence(router: &Router, path: &str) -> String {
    match router.resolve(b"GET", None, path.as_bytes()) {
        Err(NoRoute::NoSuchFunction { sentence, .. }) => sentence,
        other => panic!("{other:?}"),
    }
}

#[test]
fn without_routes_the_first_segment_is_the_function() {
    let router = named(&["hello", "echo"]);
    let hello = Ok((0, Target::DEFAULT));
    for path in ["/hello", "/hello/", "/hello/a/b", "/hello//_/", "/%68ello", "/hel%6C%6f/%2F"] {
        assert_eq!(ask(&router, &format!("ANY h{path}")), hello, "{path}");
    }
    assert_eq!(ask(&router, "GET h/echo"), Ok((1, Target::DEFAULT)));
    for path in
        ["/", "//hello", "/Hello", "/hello%2fa", "/hello%2f", "/hello.", "/hell", "/helloo", "/%48ello"]
    {
        assert_eq!(ask(&router, &format!("GET h{path}")), Err("nothing".to_owned()), "{path}");
    }
}

#[test]
fn underscores_are_the_daemons() {
    // Manifests refuse such names, and patterns such routes; what has a wildcard there does not get them either.
    let router = router(&[("_", &[]), ("_secret", &[]), ("all", &["/{a}", "/{rest...}"])]).unwrap();
    let system = |path: &'static str| router.resolve(b"GET", None, path.as_bytes());
    assert_eq!(system("/_/health"), Ok(Route::System(b"health")));
    assert_eq!(system("/_/"), Ok(Route::System(b"")));
    for path in ["/_", "/_secret/x", "/_secret", "/%5F/health", "/%5f"] {
        assert_eq!(ask(&router, &format!("GET h{path}")), Err("nothing".to_owned()), "{path}");
    }
    assert_eq!(router.resolve(b"OPTIONS", None, b"*"), Ok(Route::Server));
}

#[test]
fn what_is_missing_is_said() {
    let router = router(&[
        ("hello", &[]),
        ("echo", &[]),
        ("users", &["GET /people/{id}"]),
        ("timer", &["api.example.org/t"]),
    ])
    .unwrap();
    for (path, expected) in [
        ("/helo/x", "There is no function helo; did you mean hello?"),
        ("/world", "There is no function world; check the name in the path."),
        ("/", "The path names no function; ask for /<function>."),
        ("/\"\x1b", "There is no function \\\"\\x1b; check the name in the path."),
        ("/_metrics", "Names that begin with an underscore are the daemon's; its own paths begin with /_/."),
        ("/users/7", "No route leads here; function users has GET /people/{id}."),
        ("/timer", "No route leads here; function timer has api.example.org/t."),
    ] {
        assert_eq!(sentence(&router, path), expected);
    }
    let long = format!("/{}", "h".repeat(MAX_FUNCTION_NAME + 1));
    let expected = format!("There is no function {}…; names have at most 64 bytes.", &long[1..65]);
    assert_eq!(sentence(&router, &long), expected);
}

#[test]
fn the_most_specific_route_wins() {
    let routes: &[&str] = &[
        "/",
        "/users/",
        "/users/{id}",
        "/users/me",
        "GET /users/me",
        "HEAD /users/me",
        "/users/{id}/{$}",
        "/users/{id}/files/{path...}",
        "/users/{id}/files/{name}",
        "example.org/",
        "POST example.org/users/{id}",
        "/caf\u{e9}/%7ea%2fb",
        "example.org/{x}/only/{y}",
    ];
    for shuffle in [false, true] {
        let mut routes = routes.to_vec();
        let expected = routes.clone();
        if shuffle {
            routes.reverse();
        }
        let router = router(&[("f", &routes)]).unwrap();
        for (request, route) in [
            ("GET h/", "/"),
            ("GET h/other/x", "/"),
            ("GET h/users", "/"),
            ("GET h/users/", "/users/"),
            ("GET h/users/7", "/users/{id}"),
            ("PUT h/users/me", "/users/me"),
            ("GET h/users/me", "GET /users/me"),
            ("HEAD h/users/me", "HEAD /users/me"),
            ("GET h/users/%6De", "GET /users/me"),
            ("GET h/users/7/", "/users/{id}/{$}"),
            ("GET h/users//", "/users/"),
            ("GET h/users/7/x", "/users/"),
            ("GET h/users/7/files", "/users/"),
            ("GET h/users/7/files/", "/users/{id}/files/{path...}"),
            ("GET h/users/7/files/a", "/users/{id}/files/{name}"),
            ("GET h/users/7/files/a%2Fb", "/users/{id}/files/{name}"),
            ("GET h/users/7/files/a/", "/users/{id}/files/{path...}"),
            ("GET h/users/7/files/a/b", "/users/{id}/files/{path...}"),
            ("GET example.org/", "example.org/"),
            ("GET EXAMPLE.ORG:8080/users/me", "example.org/"),
            ("POST example.org/users/7", "POST example.org/users/{id}"),
            ("POST example.org.evil/users/7", "/users/{id}"),
            ("GET h/caf%c3%A9/~a%2Fb", "/caf\u{e9}/%7ea%2fb"),
            ("GET h/caf%c3%A9/~a/b", "/"),
            ("GET example.org/a/only/b", "example.org/{x}/only/{y}"),
        ] {
            let (_, at) = ask(&router, request).unwrap_or_else(|other| panic!("{request}: {other}"));
            assert_eq!(routes[usize::from(at)], route, "{request}");
        }
        assert_eq!(expected.len(), routes.len());
    }
}

#[test]
fn methods_that_a_path_has_not_are_told() {
    let routes: &[&str] = &["GET /a", "POST /a", "PUT /{x}", "example.org/a/b", "DELETE /a/b", "PURGE /c/"];
    let router = router(&[("f", routes)]).unwrap();
    for (request, said) in [
        ("GET h/a", Ok(0)),
        ("HEAD h/a", Ok(0)),
        ("PUT h/a", Ok(2)),
        ("DELETE h/a", Err("GET, HEAD, OPTIONS, POST, PUT")),
        ("get h/a", Err("GET, HEAD, OPTIONS, POST, PUT")),
        ("OPTIONS h/a", Err("GET, HEAD, OPTIONS, POST, PUT")),
        ("GET h/b", Err("OPTIONS, PUT")),
        ("HEAD h/b", Err("OPTIONS, PUT")),
        ("GET h/a/b", Err("DELETE, OPTIONS")),
        ("OPTIONS example.org/a/b", Ok(3)),
        ("GET h/c/d/e", Err("OPTIONS, PURGE")),
        ("GET h/c", Err("OPTIONS, PUT")),
        ("GET h/d/e", Err("nothing")),
    ] {
        let said = said.map(|route| (0, route)).map_err(str::to_owned);
        assert_eq!(ask(&router, request), said, "{request}");
    }
}

#[test]
fn values() {
    let read = |route: &str, path: &str| -> Vec<(String, String)> {
        let pattern = Pattern::parse(route).unwrap();
        let text = |part: &[u8]| String::from_utf8(part.to_vec()).unwrap();
        pattern.values(path.as_bytes()).map(|(name, value)| (name.to_owned(), text(&value))).collect()
    };
    let value = |name: &str, value: &str| (format!("x-hairtrigger-param-{name}"), value.to_owned());
    assert_eq!(
        read("/a/{x}/b/{Rest...}", "/%61/1%202/b/c%2Fd//e"),
        [value("x", "1 2"), value("rest", "c/d//e")]
    );
    assert_eq!(read("/a/{x...}", "/a/"), [value("x", "")]);
    assert_eq!(read("/a/{x}/{$}", "/a/%25/"), [value("x", "%")]);
    assert_eq!(read("/a/", "/a/b"), []);
    let router = router(&[("f", &["/a/{x}", "/b/{y...}", "/c/"]), ("g", &[])]).unwrap();
    for path in ["/a/%0A", "/a/x%7f", "/b/c/%C2%85", "/b/%ff"] {
        let name = if path.starts_with("/a") { "x" } else { "y" };
        let said = format!("The part of the path that is {name} must be UTF-8 without control characters.");
        assert_eq!(ask(&router, &format!("GET h{path}")), Err(said), "{path}");
    }
    for path in ["/a/%C3%A9", "/c/%0A%ff", "/g/%ff"] {
        assert!(ask(&router, &format!("GET h{path}")).is_ok(), "{path}");
    }
}

#[test]
fn what_is_no_route() {
    for (route, rule) in [
        ("", "have a path, which begins with a slash"),
        ("GET", "have a path, which begins with a slash"),
        (" /a", "begin with a method and one space, a host, or a slash"),
        ("G(T /a", "begin with a method and one space, a host, or a slash"),
        ("CONNECT /a", "have another method: CONNECT and TRACE are not served"),
        ("GET  /a", "have a host name without a port before its path"),
        ("h:80/a", "have a host name without a port before its path"),
        ("http://h/a", "have a host name without a port before its path"),
        ("GET POST /a", "have a host name without a port before its path"),
        ("{h}/a", "have a host name without a port before its path"),
        ("/a//b", "not have two slashes side by side"),
        ("//", "not have two slashes side by side"),
        ("/a{b}", "have a wildcard for a whole segment: a{b} is part of one"),
        ("/{b}.json", "have a wildcard for a whole segment: {b}.json is part of one"),
        ("/{b", "have a wildcard for a whole segment: {b is part of one"),
        ("/b}", "have a wildcard for a whole segment: b} is part of one"),
        ("/{}", "name its wildcards with 1 to 32 letters, digits and underscores, a letter first"),
        ("/{...}", "name its wildcards with 1 to 32 letters, digits and underscores, a letter first"),
        ("/{a-b}", "name its wildcards with 1 to 32 letters, digits and underscores, a letter first"),
        ("/{1}", "name its wildcards with 1 to 32 letters, digits and underscores, a letter first"),
        ("/{a...}/b", "have {a...} at its end only"),
        ("/{$}/b", "have {$} at its end only"),
        ("/{a}/{A}", "name each wildcard differently: {a} is there twice"),
        ("/{a}/{a...}", "name each wildcard differently: {a} is there twice"),
        ("/_/health", "not begin with an underscore in its path: those are the daemon's"),
        ("/%5fa", "not begin with an underscore in its path: those are the daemon's"),
        ("/a/..", "not have a segment that is one dot or two"),
        ("/%2E/a", "not have a segment that is one dot or two"),
        ("/a%", "have % only before two hexadecimal digits, and not for NUL"),
        ("/a%0", "have % only before two hexadecimal digits, and not for NUL"),
        ("/a%00", "have % only before two hexadecimal digits, and not for NUL"),
        ("/a?b", "have a path without spaces, controls, ? and #"),
        ("GET /a b", "have a path without spaces, controls, ? and #"),
        ("/a\t", "have a path without spaces, controls, ? and #"),
    ] {
        assert_eq!(
            Pattern::parse(route).map(|pattern| pattern.to_string()),
            Err(rule.to_owned()),
            "{route:?}"
        );
    }
    assert_eq!(Pattern::parse(&format!("/{}", "a".repeat(512))), Err("have at most 512 bytes".to_owned()));
    assert_eq!(Pattern::parse(&"/a".repeat(33)), Err("have at most 32 segments".to_owned()));
    for route in ["/", "/{$}", "M-SEARCH /a", "[::1]/a", "a_b.example.org/", "/{a}/{b}/{c...}"] {
        assert_eq!(patterns(&[route])[0].as_str(), route);
    }
}

#[test]
fn conflicts() {
    for (one, other, request) in [
        ("/a/{x}", "/a/{y}", "GET /a/x"),
        ("/a", "/%61", "GET /a"),
        ("/a/{x}", "/{y}/b", "GET /a/b"),
        ("GET /{x}", "/a", "GET /a"),
        ("HEAD /{x}", "GET /a", "HEAD /a"),
        ("POST /a/{x...}", "POST /a/", "POST /a/"),
        ("/a/{x...}", "/{y}/b/{z}", "GET /a/b/x"),
        ("h/a", "H/a", "GET h/a"),
        ("/{x}/{$}", "/a/", "GET /a/"),
        ("/", "/{x...}", "GET /"),
    ] {
        for (first, second) in [(one, other), (other, one)] {
            let conflict = router(&[("f", &[first]), ("g", &[second])]).expect_err(first);
            let expected = format!(
                "the route {first} of function f and the route {second} of function g both match {request}, and \
                 neither is more specific"
            );
            assert_eq!(conflict.to_string(), expected);
            assert!(router(&[("f", &[first, second])]).is_err(), "of one function");
        }
    }
    for (one, other) in [
        ("/a/{x}", "/a/b"),
        ("/a/{x}", "/a/"),
        ("/a/{x}", "/a/{$}"),
        ("GET /a", "POST /a"),
        ("GET /a", "HEAD /a"),
        ("GET /a", "/{x}"),
        ("h/{x}", "/a"),
        ("h/{x}", "i/a"),
        ("/a/{x}/c", "/{y}/b/d"),
        ("/a/{x}", "/{y}/b/{z}"),
        ("/a", "/a/"),
    ] {
        for (first, second) in [(one, other), (other, one)] {
            assert!(router(&[("f", &[first]), ("g", &[second])]).is_ok(), "{first} and {second}");
        }
    }
    let taken = router(&[("a", &[]), ("b", &["/a"])]).expect_err("the path of a name is a route");
    assert_eq!(taken.sides, [("a".into(), "/a".into()), ("b".into(), "/a".into())]);
    // A part of what a name has may be another's.
    let shared = router(&[("a", &[]), ("b", &["/a/{x}"]), ("c", &[])]).unwrap();
    for (request, function) in
        [("GET h/a", 0), ("GET h/a/x", 1), ("GET h/a/", 0), ("GET h/a/x/y", 0), ("GET h/c/x", 2)]
    {
        assert_eq!(ask(&shared, request).map(|(function, _)| function), Ok(function), "{request}");
    }
    let hosted = router(&[("a", &[]), ("b", &["h/a/{x}"])]).unwrap();
    for (request, function) in [("GET h/a/x", 1), ("GET h/a", 0), ("GET i/a/x", 0)] {
        assert_eq!(ask(&hosted, request).map(|(function, _)| function), Ok(function), "{request}");
    }
}

/// What is wrong with a route is said to a terminal.
#[test]
fn no_refusal_repeats_a_control_character() {
    for text in ["/a\u{1b}[2J{b", "/{a\u{7}", "/a\u{9b}}", "/{a\n...}/b", "/a\tb", "h\u{1b}/", "G\u{1b}T /"] {
        let rule = Pattern::parse(text).expect_err("it is no route");
        assert!(!rule.contains(char::is_control), "{rule:?}");
    }
}

/// Routes of few letters, so that they meet often.
fn route() -> impl Strategy<Value = String> {
    let part = prop_oneof![3 => "[ab]", 2 => Just("{#}".to_owned())];
    let end = prop::sample::select(vec!["", "/", "/{$}", "/{#...}", "/{#}"]);
    (
        prop::sample::select(vec!["", "GET ", "HEAD ", "POST "]),
        prop::sample::select(vec!["", "", "h"]),
        vec(part, 0..4),
        end,
    )
        .prop_map(|(method, host, parts, end)| {
            let mut route = format!("{method}{host}");
            let mut path: String = parts.iter().map(|part| format!("/{part}")).collect();
            path += if path.is_empty() && end.is_empty() { "/" } else { end };
            for (number, piece) in path.split('#').enumerate() {
                if number > 0 {
                    route += &format!("x{number}");
                }
                route += piece;
            }
            route
        })
}

/// The textbook's way: whether a route matches a request, by itself.
fn matches(route: &str, request: &str) -> bool {
    let (method, place) = request.split_once(' ').unwrap();
    let (route_method, route_place) = route.split_once(' ').unwrap_or(("", route));
    let (host, path) = place.split_at(place.find('/').unwrap());
    let (route_host, route_path) = route_place.split_at(route_place.find('/').unwrap());
    let method_fits =
        route_method.is_empty() || route_method == method || (route_method, method) == ("GET", "HEAD");
    let host_fits = route_host.is_empty() || route_host == host;
    let parts: Vec<&str> = path[1..].split('/').collect();
    let wanted: Vec<&str> = route_path[1..].split('/').collect();
    let last = wanted.len() - 1;
    let open = wanted[last].is_empty() || wanted[last].ends_with("...}");
    let long_enough = if open { parts.len() >= wanted.len() } else { parts.len() == wanted.len() };
    let fits = |(at, want): (usize, &&str)| match *want {
        "{$}" => parts[at].is_empty(),
        _ if open && at == last => true,
        want if want.starts_with('{') => !parts[at].is_empty(),
        want => want == parts[at],
    };
    method_fits && host_fits && long_enough && wanted.iter().enumerate().all(fits)
}

proptest! {
    /// Few and many functions, which are looked up differently.
    #[test]
    fn each_name_and_no_other_is_found(
        names in btree_set("[a-d]{1,4}", 0..60),
        order in any::<prop::sample::Index>(),
        others in vec("[a-e]{1,5}", 0..20),
    ) {
        let mut names: Vec<&str> = names.iter().map(String::as_str).collect();
        if !names.is_empty() {
            let middle = order.index(names.len());
            names.rotate_left(middle);
        }
        let router = named(&names);
        for name in names.iter().copied().chain(others.iter().map(String::as_str)) {
            let expected = names.iter().position(|known| *known == name);
            let expected = expected.map(|at| (u32::try_from(at).unwrap(), Target::DEFAULT));
            prop_assert_eq!(ask(&router, &format!("GET h/{name}/x")).ok(), expected);
        }
    }

    /// The tree finds a route that matches, of which no other that matches is a special case; and routes are called in
    /// conflict exactly when some request could go to either.
    #[test]
    fn routes_are_found_as_by_the_textbook(
        routes in btree_set(route(), 1..6),
        requests in vec("(GET|HEAD|POST|PUT) [hi](/[ab]{0,2}){1,4}", 1..20),
    ) {
        let routes: Vec<&str> = routes.iter().map(String::as_str).collect();
        match router(&[("f", &routes)]) {
            Ok(router) => for request in &requests {
                let found = ask(&router, request).ok().map(|(_, at)| routes[usize::from(at)]);
                let all: Vec<&str> = routes.iter().copied().filter(|route| matches(route, request)).collect();
                prop_assert_eq!(found.is_some(), !all.is_empty(), "{} in {:?}", request, all);
                let Some(found) = found else { continue };
                prop_assert!(all.contains(&found), "{} for {}", found, request);
                let [mine] = &patterns(&[found])[..] else { unreachable!() };
                for other in &patterns(&all)[..] {
                    let special = conflict::is_special(other, mine);
                    prop_assert!(!special, "{} goes before {} for {}", other, found, request);
                }
            },
            Err(conflict) => {
                let [(_, one), (_, other)] = &conflict.sides;
                let both = conflict.request.split_once(' ').map(|(method, place)| {
                    if place.starts_with('/') { format!("{method} any{place}") } else { conflict.request.clone() }
                }).unwrap();
                prop_assert!(matches(one, &both) && matches(other, &both), "{}", conflict);
            }
        }
    }

    #[test]
    fn any_path_is_answered(path in vec(any::<u8>(), 0..100), host in vec(any::<u8>(), 0..20)) {
        let router = router(&[("hello", &[]), ("f", &["h/{x}", "/b/{y...}"])]).unwrap();
        if let Err(NoRoute::NoSuchFunction { sentence, .. }) = router.resolve(b"GET", Some(&host), &path) {
            prop_assert!(sentence.chars().all(|c| !c.is_control()));
        }
    }

    #[test]
    fn any_text_is_a_route_or_not(text in "([A-Z]{0,3} )?[a-z.:]{0,3}(/([a-z%0-9]{0,4}|\\{[a-z$.]{0,4}\\}?|\u{e9})){0,4}") {
        if let Ok(pattern) = Pattern::parse(&text) {
            prop_assert_eq!(pattern.as_str(), text);
        }
    }
}

#[test]
fn only_this_machine_is_local() {
    for host in ["localhost", "LocalHost:8080", "127.0.0.1", "127.9.9.9:1", "[::1]:8080", "[::1]"] {
        assert!(is_local(host.as_bytes()), "{host}");
    }
    for host in ["", "example.org", "localhost.example.org:80", "10.0.0.1:8080", "[::2]:1", "127.0.0.1.x"] {
        assert!(!is_local(host.as_bytes()), "{host}");
    }
}
