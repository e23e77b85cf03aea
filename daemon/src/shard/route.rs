//! Path → function: the first segment is the function's name. Pure.

use hairtrigger_sandbox::limits::MAX_FUNCTION_NAME;

use crate::suggest;

/// Up to so many functions are compared one after the other; beyond, by halves.
const FEW: usize = 16;

/// The key of a version of a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct FunctionIndex(pub(crate) u32);

/// Where a request goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Route<'p> {
    /// To a function.
    Function(FunctionIndex),
    /// To the daemon itself: the path behind `/_/`.
    System(&'p [u8]),
}

/// The path names nothing that is loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NoSuchFunction {
    /// The name asked for, printable and of bounded length; empty for the path `/`.
    pub(crate) name: String,
    /// The sentence that answers the client.
    pub(crate) sentence: String,
}

/// The functions by name. Built once per change, then only read.
#[derive(Clone, Debug, Default)]
pub(crate) struct Router {
    /// Sorted by name.
    functions: Vec<(Box<[u8]>, FunctionIndex)>,
}

impl Router {
    /// A router for functions by key and name. Names are unique: manifests see to that.
    pub(crate) fn keyed<'n>(functions: impl IntoIterator<Item = (u32, &'n str)>) -> Self {
        let entry = |(key, name): (u32, &str)| (Box::from(name.as_bytes()), FunctionIndex(key));
        let mut functions: Vec<_> = functions.into_iter().map(entry).collect();
        functions.sort_unstable();
        debug_assert!(functions.windows(2).all(|pair| pair[0].0 != pair[1].0), "names are unique");
        Self { functions }
    }

    /// A router for `names`, whose positions become the keys.
    #[cfg(test)]
    pub(crate) fn new<'n>(names: impl IntoIterator<Item = &'n str>) -> Self {
        Self::keyed((0..).zip(names))
    }

    /// Where a request for `path` goes. Names are compared byte by byte: `%68ello` is not `hello`.
    pub(crate) fn resolve<'p>(&self, path: &'p [u8]) -> Result<Route<'p>, NoSuchFunction> {
        let path = path.strip_prefix(b"/").unwrap_or(path);
        let end = memchr::memchr(b'/', path).unwrap_or(path.len());
        let name = &path[..end];
        if name.first() == Some(&b'_') {
            return match path.strip_prefix(b"_/") {
                Some(rest) => Ok(Route::System(rest)),
                None => Err(self.nothing(name)),
            };
        }
        match self.find(name) {
            Some(index) => Ok(Route::Function(index)),
            None => Err(self.nothing(name)),
        }
    }

    fn find(&self, name: &[u8]) -> Option<FunctionIndex> {
        let at = if self.functions.len() <= FEW {
            self.functions.iter().position(|(known, _)| **known == *name)?
        } else {
            self.functions.binary_search_by(|(known, _)| (**known).cmp(name)).ok()?
        };
        Some(self.functions[at].1)
    }

    #[cold]
    fn nothing(&self, name: &[u8]) -> NoSuchFunction {
        if name.is_empty() {
            let sentence = "The path names no function; ask for /<function>.".to_owned();
            return NoSuchFunction { name: String::new(), sentence };
        }
        let whole = name.len() <= MAX_FUNCTION_NAME;
        let name = name[..name.len().min(MAX_FUNCTION_NAME)].escape_ascii().to_string();
        let sentence = if name.starts_with('_') {
            "Names that begin with an underscore are the daemon's; its own paths begin with /_/.".to_owned()
        } else if !whole {
            format!("There is no function {name}…; names have at most {MAX_FUNCTION_NAME} bytes.")
        } else {
            let known = self.functions.iter().filter_map(|(known, _)| std::str::from_utf8(known).ok());
            match suggest::nearest(&name, known) {
                Some(near) => format!("There is no function {name}; did you mean {near}?"),
                None => format!("There is no function {name}; check the name in the path."),
            }
        };
        NoSuchFunction { name, sentence }
    }
}

/// Whether a Host names this machine: what a page of another site cannot make a browser send, whatever its
/// name resolves to.
pub(crate) fn is_local(host: &[u8]) -> bool {
    let Ok(host) = str::from_utf8(host) else { return false };
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        Some(_) | None => host,
    };
    let address = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    name.eq_ignore_ascii_case("localhost")
        || address.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use proptest::collection::{btree_set, vec};
    use proptest::prelude::*;

    use super::*;

    fn sentence(router: &Router, path: &str) -> String {
        router.resolve(path.as_bytes()).unwrap_err().sentence
    }

    #[test]
    fn the_first_segment_is_the_function() {
        let router = Router::new(["hello", "echo"]);
        let hello = Ok(Route::Function(FunctionIndex(0)));
        for path in ["/hello", "/hello/", "/hello/a/b", "/hello//_/"] {
            assert_eq!(router.resolve(path.as_bytes()), hello, "{path}");
        }
        assert_eq!(router.resolve(b"/echo"), Ok(Route::Function(FunctionIndex(1))));
        for path in
            ["/", "//hello", "/Hello", "/%68ello", "/hello%2fa", "/hello.", "/hell", "/helloo", "/./hello"]
        {
            assert!(router.resolve(path.as_bytes()).is_err(), "{path}");
        }
    }

    #[test]
    fn only_this_machine_is_local() {
        for host in ["localhost", "LocalHost:8080", "127.0.0.1", "127.9.9.9:1", "[::1]:8080", "[::1]"] {
            assert!(is_local(host.as_bytes()), "{host}");
        }
        for host in ["", "example.org", "localhost.example.org:80", "10.0.0.1:8080", "[::2]:1", "127.0.0.1.x"]
        {
            assert!(!is_local(host.as_bytes()), "{host}");
        }
    }

    #[test]
    fn underscores_are_the_daemons() {
        // A manifest refuses such a name; the router does not depend on that.
        let router = Router::new(["_", "_secret"]);
        assert_eq!(router.resolve(b"/_/health"), Ok(Route::System(b"health")));
        assert_eq!(router.resolve(b"/_/"), Ok(Route::System(b"")));
        assert!(router.resolve(b"/_").is_err());
        assert!(router.resolve(b"/_secret/x").is_err());
    }

    #[test]
    fn what_is_missing_is_said() {
        let router = Router::new(["hello", "echo"]);
        assert_eq!(sentence(&router, "/helo/x"), "There is no function helo; did you mean hello?");
        assert_eq!(sentence(&router, "/world"), "There is no function world; check the name in the path.");
        assert_eq!(sentence(&router, "/"), "The path names no function; ask for /<function>.");
        assert_eq!(
            sentence(&router, "/\"\x1b"),
            "There is no function \\\"\\x1b; check the name in the path."
        );
        assert_eq!(
            sentence(&router, "/_metrics"),
            "Names that begin with an underscore are the daemon's; its own paths begin with /_/."
        );
        let long = format!("/{}", "h".repeat(MAX_FUNCTION_NAME + 1));
        let expected = format!("There is no function {}…; names have at most 64 bytes.", &long[1..65]);
        assert_eq!(sentence(&router, &long), expected);
    }

    proptest! {
        /// Few and many functions, which are looked up differently.
        #[test]
        fn each_name_and_no_other_is_found(
            names in btree_set("[a-d]{1,4}", 0..60),
            order in any::<prop::sample::Index>(),
            others in vec("[a-e]{0,5}", 0..20),
        ) {
            let mut names: Vec<&str> = names.iter().map(String::as_str).collect();
            if !names.is_empty() {
                let middle = order.index(names.len());
                names.rotate_left(middle);
            }
            let router = Router::new(names.iter().copied());
            for name in names.iter().copied().chain(others.iter().map(String::as_str)) {
                let expected = names.iter().position(|known| *known == name);
                let expected = expected.map(|at| Route::Function(FunctionIndex(u32::try_from(at).unwrap())));
                let path = format!("/{name}/x");
                prop_assert_eq!(router.resolve(path.as_bytes()).ok(), expected);
            }
        }

        #[test]
        fn any_path_is_answered(path in vec(any::<u8>(), 0..100)) {
            if let Err(nothing) = Router::new(["hello"]).resolve(&path) {
                prop_assert!(nothing.sentence.chars().all(|c| !c.is_control()));
            }
        }
    }
}
