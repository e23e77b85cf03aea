//! Which of two routes is the more specific one, and when neither is.

use std::fmt;

use super::pattern::{Pattern, Segment};

/// How the requests that one route matches stand to those of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Relation {
    /// The same ones.
    Equal,
    /// Some of the other's.
    Within,
    /// All of the other's, and more.
    Around,
    /// Some of the other's, and others.
    Across,
    /// None of the other's.
    Apart,
}

impl Relation {
    /// Of what both parts of a route have to match.
    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Apart, _) | (_, Self::Apart) => Self::Apart,
            (Self::Equal, relation) | (relation, Self::Equal) => relation,
            (Self::Within, Self::Within) => Self::Within,
            (Self::Around, Self::Around) => Self::Around,
            (Self::Across | Self::Within | Self::Around, _) => Self::Across,
        }
    }
}

/// Two routes that match the same request, neither of them more specific.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Conflict {
    /// The function of each, by name, and its route.
    pub(crate) sides: [(String, String); 2],
    /// A request that both match.
    pub(super) request: String,
}

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [(one, route), (other, other_route)] = &self.sides;
        let request = &self.request;
        write!(
            f,
            "the route {route} of function {one} and the route {other_route} of function {other} both match \
             {request}, and neither is more specific"
        )
    }
}

impl std::error::Error for Conflict {}

/// The conflict of two routes, if they have one.
pub(super) fn between(one: (&str, &Pattern), other: (&str, &Pattern)) -> Option<Conflict> {
    let ((name, pattern), (other_name, other_pattern)) = (one, other);
    if pattern.host != other_pattern.host {
        // Different hosts are apart, and a route with a host goes before one without.
        return None;
    }
    match relation(pattern, other_pattern) {
        Relation::Equal | Relation::Across => Some(Conflict {
            sides: [
                (name.to_owned(), pattern.to_string()),
                (other_name.to_owned(), other_pattern.to_string()),
            ],
            request: witness(pattern, other_pattern),
        }),
        Relation::Within | Relation::Around | Relation::Apart => None,
    }
}

/// Of two routes for the same hosts.
fn relation(one: &Pattern, other: &Pattern) -> Relation {
    methods(one, other).and(paths(one, other))
}

/// Whether one route goes before another, where both match.
#[cfg(test)]
pub(super) fn is_special(one: &Pattern, other: &Pattern) -> bool {
    match (&one.host, &other.host) {
        (Some(_), None) => true,
        (None, Some(_)) => false,
        (None | Some(_), _) => relation(one, other) == Relation::Within,
    }
}

fn methods(one: &Pattern, other: &Pattern) -> Relation {
    match (one.method.as_deref(), other.method.as_deref()) {
        (one, other) if one == other => Relation::Equal,
        (None, _) => Relation::Around,
        (_, None) => Relation::Within,
        (Some("GET"), Some("HEAD")) => Relation::Around,
        (Some("HEAD"), Some("GET")) => Relation::Within,
        (Some(_), Some(_)) => Relation::Apart,
    }
}

fn paths(one: &Pattern, other: &Pattern) -> Relation {
    let mut relation = Relation::Equal;
    let (mut left, mut right) = (&one.segments[..], &other.segments[..]);
    loop {
        let step = match (left, right) {
            ([], []) => return relation,
            ([], _) | (_, []) => return Relation::Apart,
            ([Segment::Rest(_)], [Segment::Rest(_)]) => return relation,
            ([Segment::Rest(_)], _) => return relation.and(Relation::Around),
            (_, [Segment::Rest(_)]) => return relation.and(Relation::Within),
            ([first, ..], [second, ..]) => match (first, second) {
                (Segment::One(_), Segment::One(_)) => Relation::Equal,
                (Segment::One(_), Segment::Literal(literal)) if !literal.is_empty() => Relation::Around,
                (Segment::Literal(literal), Segment::One(_)) if !literal.is_empty() => Relation::Within,
                (Segment::Literal(one), Segment::Literal(other)) if one == other => Relation::Equal,
                _ => Relation::Apart,
            },
        };
        relation = relation.and(step);
        if relation == Relation::Apart {
            return relation;
        }
        (left, right) = (&left[1..], &right[1..]);
    }
}

/// A request that both match; they are not apart.
fn witness(one: &Pattern, other: &Pattern) -> String {
    let method = match (one.method.as_deref(), other.method.as_deref()) {
        (Some("HEAD"), _) | (_, Some("HEAD")) => "HEAD",
        (Some(method), _) | (_, Some(method)) => method,
        (None, None) => "GET",
    };
    let mut request = format!("{method} {}", one.host.as_deref().unwrap_or_default());
    for place in 0..one.segments.len().max(other.segments.len()) {
        let here = |pattern: &Pattern| match pattern.segments.get(place) {
            Some(Segment::Literal(literal)) => Some(String::from_utf8_lossy(literal).into_owned()),
            Some(Segment::One(_)) => Some("x".to_owned()),
            Some(Segment::Rest(_)) | None => None,
        };
        let literal = |pattern: &Pattern| matches!(pattern.segments.get(place), Some(Segment::Literal(_)));
        let part = if literal(other) { here(other).or(here(one)) } else { here(one).or(here(other)) };
        request.push('/');
        request.push_str(&part.unwrap_or_default());
    }
    request
}
