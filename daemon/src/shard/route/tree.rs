//! Routes by the segments of their paths: one walk finds the most specific one that matches.

use super::Target;
use super::pattern::{Pattern, Segment};

/// Up to so many literals are compared one after the other; beyond, by halves.
pub(super) const FEW: usize = 16;

/// Where some beginning of a path leads.
#[derive(Debug, Default)]
pub(super) struct Node {
    /// The literals that may follow, sorted, and where each leads. Two lists, so that a search touches names only.
    names: Vec<Box<[u8]>>,
    children: Vec<Node>,
    /// Where any other segment leads.
    one: Option<Box<Node>>,
    /// The routes that end here.
    end: Methods,
    /// The routes that take all that follows, which is at least one segment.
    rest: Methods,
}

/// Routes of one path, by method.
#[derive(Debug, Default)]
struct Methods(Vec<(Option<Box<str>>, Target)>);

impl Methods {
    /// The most specific one: HEAD before GET before all.
    fn find(&self, method: &[u8]) -> Option<Target> {
        // What most paths have.
        if let [(None, target)] = self.0[..] {
            return Some(target);
        }
        let of = |wanted: Option<&[u8]>| {
            let found = self.0.iter().find(|(known, _)| known.as_deref().map(str::as_bytes) == wanted)?;
            Some(found.1)
        };
        let get = || if method == b"HEAD" { of(Some(b"GET")) } else { None };
        of(Some(method)).or_else(get).or_else(|| of(None))
    }
}

impl Node {
    /// Takes a route in. No other one has its path and method.
    pub(super) fn insert(&mut self, pattern: &Pattern, target: Target) {
        let mut node = self;
        for segment in &pattern.segments {
            node = match segment {
                Segment::Literal(name) => node.child(name),
                Segment::One(_) => node.one.get_or_insert_default(),
                Segment::Rest(_) => {
                    node.rest.0.push((pattern.method.clone(), target));
                    return;
                }
            };
        }
        node.end.0.push((pattern.method.clone(), target));
    }

    /// Whether all paths that begin with this segment, and no special ones among them, are one target's.
    pub(super) fn is_whole(&self, name: &[u8]) -> bool {
        let of = |methods: &Methods| if let [(None, target)] = methods.0[..] { Some(target) } else { None };
        self.literal(name).is_some_and(|child| {
            let end = of(&child.end);
            child.names.is_empty() && child.one.is_none() && end.is_some() && end == of(&child.rest)
        })
    }

    fn child(&mut self, name: &[u8]) -> &mut Node {
        let at = match self.names.binary_search_by(|known| (**known).cmp(name)) {
            Ok(at) => at,
            Err(at) => {
                self.names.insert(at, name.into());
                self.children.insert(at, Node::default());
                at
            }
        };
        &mut self.children[at]
    }

    fn literal(&self, name: &[u8]) -> Option<&Node> {
        let at = if self.names.len() <= FEW {
            self.names.iter().position(|known| **known == *name)?
        } else {
            self.names.binary_search_by(|known| (**known).cmp(name)).ok()?
        };
        Some(&self.children[at])
    }

    /// The most specific route for what is left of a path, behind the slash; `None` left if it has ended.
    ///
    /// As deep as the deepest route. Since no two routes are in conflict, the first one found is the most specific:
    /// a literal goes before a wildcard at each step.
    pub(super) fn find(&self, path: Option<&[u8]>, method: &[u8]) -> Option<Target> {
        let Some(path) = path else { return self.end.find(method) };
        let (segment, behind) = split(path);
        let literal = self.literal(segment).and_then(|child| child.find(behind, method));
        let one = || self.one.as_ref().filter(|_| !segment.is_empty())?.find(behind, method);
        literal.or_else(one).or_else(|| self.rest.find(method))
    }

    /// Collects the methods of all routes for what is left of a path.
    pub(super) fn methods<'n>(&'n self, path: Option<&[u8]>, found: &mut Vec<&'n str>) {
        let mut take =
            |methods: &'n Methods| found.extend(methods.0.iter().filter_map(|(method, _)| method.as_deref()));
        let Some(path) = path else { return take(&self.end) };
        take(&self.rest);
        let (segment, behind) = split(path);
        if let Some(child) = self.literal(segment) {
            child.methods(behind, found);
        }
        if let Some(child) = self.one.as_ref().filter(|_| !segment.is_empty()) {
            child.methods(behind, found);
        }
    }
}

/// The first segment, and what follows its slash.
fn split(path: &[u8]) -> (&[u8], Option<&[u8]>) {
    match memchr::memchr(b'/', path) {
        Some(slash) => (&path[..slash], Some(&path[slash + 1..])),
        None => (path, None),
    }
}
