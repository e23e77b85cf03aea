//! Method, host and path → function. Pure.
//!
//! The rules are those of Go's `ServeMux`: of the routes that match a request the most specific one has it, in
//! whatever order they were written, and two routes of which neither is more specific do not stand side by side.

mod conflict;
mod pattern;
#[cfg(test)]
mod tests;
mod tree;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use hairtrigger_sandbox::limits::MAX_FUNCTION_NAME;

use super::parse::split_authority;
use crate::suggest;
pub(crate) use conflict::Conflict;
pub(crate) use pattern::Pattern;
use pattern::{Segment, canonical};
use tree::{FEW, Node};

/// A function, and which of its routes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    /// The function's key.
    pub(crate) function: u32,
    /// Position in the routes that its manifest says; [`Target::DEFAULT`] if it says none.
    pub(crate) route: u16,
}

impl Target {
    /// For functions that have the paths of their names.
    pub(crate) const DEFAULT: u16 = u16::MAX;
}

/// Where a request goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Route<'p> {
    /// To a function.
    Function(Target),
    /// To the daemon itself: the path behind `/_/`.
    System(&'p [u8]),
    /// To nobody: it asks what this server can do (`OPTIONS *`).
    Server,
}

/// Why a request goes nowhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NoRoute {
    /// No function has this path.
    NoSuchFunction {
        /// The path's first segment, printable and of bounded length; empty for the path `/`.
        name: String,
        /// The sentence that answers the client.
        sentence: String,
    },
    /// A function has this path, but not this method.
    MethodNotAllowed {
        /// The methods that it has, as the field Allow lists them.
        allow: String,
    },
    /// A part of the path that the function would get as a value is not text.
    Undecodable {
        /// The sentence that answers the client.
        sentence: String,
    },
}

/// What may be asked of the server as a whole, as the field Allow lists it.
pub(crate) const SERVER_ALLOWS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";

/// Finds the function of a request. Built once per change, then only read.
#[derive(Debug, Default)]
pub(crate) struct Router {
    /// The names that have all paths below them to themselves, sorted: what most requests ask for, found without the
    /// tree. Empty if any route has a host.
    whole: Vec<(Box<[u8]>, Target)>,
    /// The routes without a host.
    everywhere: Node,
    /// The others, by host.
    hosts: BTreeMap<Box<str>, Node>,
    /// The routes that functions say, to read values by; none for those of a function that says none.
    patterns: BTreeMap<u32, Arc<[Pattern]>>,
    /// Names, for suggestions; with the first route of those that have not the path of their name.
    names: Vec<(Box<str>, Option<Box<str>>)>,
}

impl Router {
    /// A router for functions: key, name and the routes that its manifest says. Without such, `/name` and all below
    /// it. Names are unique: manifests see to that.
    ///
    /// # Errors
    /// Two routes match the same requests, and neither is more specific.
    pub(crate) fn new<'n>(
        functions: impl IntoIterator<Item = (u32, &'n str, Option<&'n Arc<[Pattern]>>)>,
    ) -> Result<Self, Conflict> {
        let mut router = Self::default();
        let mut routes: Vec<(&str, Target, Pattern)> = Vec::new();
        for (function, name, said) in functions {
            let first =
                said.map(|said| said.first().map_or_else(|| "nothing".into(), |route| route.as_str().into()));
            router.names.push((name.into(), first));
            match said {
                None => {
                    let target = Target { function, route: Target::DEFAULT };
                    routes.extend(Pattern::defaults(name).map(|pattern| (name, target, pattern)));
                }
                Some(said) => {
                    router.patterns.insert(function, Arc::clone(said));
                    let target = |route| Target { function, route };
                    routes.extend((0..).zip(&**said).map(|(n, pattern)| (name, target(n), pattern.clone())));
                }
            }
        }
        check(&routes)?;
        for (_, target, pattern) in &routes {
            let node = match &pattern.host {
                None => &mut router.everywhere,
                Some(host) => router.hosts.entry(host.clone()).or_default(),
            };
            node.insert(pattern, *target);
        }
        if router.hosts.is_empty() {
            let names = routes.iter().filter(|(_, target, pattern)| {
                target.route == Target::DEFAULT && pattern.segments.len() == 1
            });
            let names = names.map(|(name, target, _)| (name.as_bytes().into(), *target));
            // A name with an underscore would be the daemon's.
            let whole = names.filter(|(name, _): &(Box<[u8]>, _)| {
                name.first() != Some(&b'_') && router.everywhere.is_whole(name)
            });
            router.whole = whole.collect();
            router.whole.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        }
        Ok(router)
    }

    /// Where a request goes. `host` may have a port; `path` is as the parser gives it.
    pub(crate) fn resolve<'p>(
        &self,
        method: &[u8],
        host: Option<&[u8]>,
        path: &'p [u8],
    ) -> Result<Route<'p>, NoRoute> {
        if let Some(target) = self.whole(path) {
            return Ok(Route::Function(target));
        }
        self.resolve_at_length(method, host, path)
    }

    /// The function that has the path, if it has all that begin with this segment, and that is spelled as its name.
    fn whole(&self, path: &[u8]) -> Option<Target> {
        let path = path.strip_prefix(b"/")?;
        let name = &path[..memchr::memchr(b'/', path).unwrap_or(path.len())];
        let at = if self.whole.len() <= FEW {
            self.whole.iter().position(|(known, _)| **known == *name)?
        } else {
            self.whole.binary_search_by(|(known, _)| (**known).cmp(name)).ok()?
        };
        Some(self.whole[at].1)
    }

    /// As [`Router::resolve`], without its short way.
    pub(super) fn resolve_at_length<'p>(
        &self,
        method: &[u8],
        host: Option<&[u8]>,
        path: &'p [u8],
    ) -> Result<Route<'p>, NoRoute> {
        if path == b"*" {
            return Ok(Route::Server);
        }
        let canonical = canonical(path);
        let segments = canonical.strip_prefix(b"/").unwrap_or(&canonical);
        if segments.first() == Some(&b'_') {
            return match path.strip_prefix(b"/_/") {
                Some(rest) => Ok(Route::System(rest)),
                None => Err(self.nothing(path)),
            };
        }
        let special = self.of_host(host);
        let found = special.and_then(|node| node.find(Some(segments), method));
        let found = found.or_else(|| self.everywhere.find(Some(segments), method));
        let Some(target) = found else { return Err(self.refusal(special, segments, path)) };
        if target.route != Target::DEFAULT
            && let Some(name) = self.pattern(target).and_then(|pattern| pattern.undecodable(path))
        {
            let sentence =
                format!("The part of the path that is {name} must be UTF-8 without control characters.");
            return Err(NoRoute::Undecodable { sentence });
        }
        Ok(Route::Function(target))
    }

    /// The route that led to a function, unless that is the path of its name.
    pub(crate) fn pattern(&self, target: Target) -> Option<&Pattern> {
        self.patterns.get(&target.function)?.get(usize::from(target.route))
    }

    fn of_host(&self, host: Option<&[u8]>) -> Option<&Node> {
        if self.hosts.is_empty() {
            return None;
        }
        let (name, _) = split_authority(host?);
        self.hosts.get(&*str::from_utf8(name).ok()?.to_ascii_lowercase())
    }

    #[cold]
    fn refusal(&self, special: Option<&Node>, segments: &[u8], path: &[u8]) -> NoRoute {
        let mut methods = Vec::new();
        for node in special.into_iter().chain([&self.everywhere]) {
            node.methods(Some(segments), &mut methods);
        }
        if methods.is_empty() {
            return self.nothing(path);
        }
        let mut methods = BTreeSet::from_iter(methods);
        if methods.contains("GET") {
            methods.insert("HEAD");
        }
        methods.insert("OPTIONS");
        NoRoute::MethodNotAllowed { allow: Vec::from_iter(methods).join(", ") }
    }

    #[cold]
    fn nothing(&self, path: &[u8]) -> NoRoute {
        let path = canonical(path);
        let name = path.split(|&byte| byte == b'/').nth(1).unwrap_or_default();
        if name.is_empty() {
            let sentence = "The path names no function; ask for /<function>.".to_owned();
            return NoRoute::NoSuchFunction { name: String::new(), sentence };
        }
        let whole = name.len() <= MAX_FUNCTION_NAME;
        let underscore = name.starts_with(b"_");
        let name = name[..name.len().min(MAX_FUNCTION_NAME)].escape_ascii().to_string();
        let known = || self.names.iter().map(|(name, _)| &**name);
        let routed =
            self.names.iter().find(|(known, _)| **known == *name).and_then(|(_, route)| route.as_deref());
        let sentence = if underscore {
            "Names that begin with an underscore are the daemon's; its own paths begin with /_/.".to_owned()
        } else if !whole {
            format!("There is no function {name}…; names have at most {MAX_FUNCTION_NAME} bytes.")
        } else if let Some(route) = routed {
            format!("No route leads here; function {name} has {route}.")
        } else if known().any(|known| *known == *name) {
            format!("No route leads here; ask for /{name}.")
        } else {
            match suggest::nearest(&name, known()) {
                Some(near) => format!("There is no function {name}; did you mean {near}?"),
                None => format!("There is no function {name}; check the name in the path."),
            }
        };
        NoRoute::NoSuchFunction { name, sentence }
    }
}

/// Holds every two routes against each other that could meet: those with the same first literal, and those that begin
/// with a wildcard with all others.
fn check(routes: &[(&str, Target, Pattern)]) -> Result<(), Conflict> {
    let mut literals: BTreeMap<&[u8], Vec<usize>> = BTreeMap::new();
    let mut wildcards = Vec::new();
    for (at, (name, _, pattern)) in routes.iter().enumerate() {
        let against = |&earlier: &usize| {
            let (other, _, other_pattern) = &routes[earlier];
            conflict::between((other, other_pattern), (name, pattern))
        };
        let found = match &pattern.segments[0] {
            Segment::Literal(first) => {
                let same = literals.entry(first).or_default();
                let found = same.iter().chain(&wildcards).find_map(against);
                same.push(at);
                found
            }
            Segment::One(_) | Segment::Rest(_) => {
                let found = literals.values().flatten().chain(&wildcards).find_map(against);
                wildcards.push(at);
                found
            }
        };
        if let Some(conflict) = found {
            return Err(conflict);
        }
    }
    Ok(())
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
