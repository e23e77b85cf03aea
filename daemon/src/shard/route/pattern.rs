//! A route as a manifest writes it: `[METHOD ][host]/path`, with wildcards in the path.

use std::borrow::Cow;
use std::fmt;

use hairtrigger_sandbox::limits::{MAX_ROUTE, MAX_ROUTE_SEGMENTS, MAX_ROUTE_VALUE_NAME};

use crate::shard::parse::{decoded, is_authority, is_token_byte, split_authority};

/// What the fields begin with that give a function the values of its route's wildcards.
const VALUE_FIELD: &str = "x-hairtrigger-param-";

/// What a path must look like at one place between slashes. Wildcards are named by the field of their value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Segment {
    /// Like this, in the form that [`canonical`] gives it. Empty only at the end, behind a last slash.
    Literal(Box<[u8]>),
    /// Anything but empty.
    One(Box<str>),
    /// Anything, with all that follows; always the last. Without a name for a path that ends in a slash.
    Rest(Option<Box<str>>),
}

/// A route, valid in itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pattern {
    text: Box<str>,
    /// The only method; `None` for all.
    pub(super) method: Option<Box<str>>,
    /// The only host, in lower case and without a port; `None` for all.
    pub(super) host: Option<Box<str>>,
    /// At least one.
    pub(super) segments: Vec<Segment>,
}

impl Pattern {
    /// Reads a route. The error ends a sentence that begins "a route must …".
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if text.len() > MAX_ROUTE {
            return Err(format!("have at most {MAX_ROUTE} bytes"));
        }
        let (method, rest) = match text.split_once(' ') {
            Some((method, rest)) => (Some(method), rest),
            None => (None, text),
        };
        if let Some(method) = method {
            if method.is_empty() || !method.bytes().all(is_token_byte) {
                return Err("begin with a method and one space, a host, or a slash".to_owned());
            }
            if method == "CONNECT" || method == "TRACE" {
                return Err("have another method: CONNECT and TRACE are not served".to_owned());
            }
        }
        let (host, path) = rest.split_at(rest.find('/').ok_or("have a path, which begins with a slash")?);
        if !is_authority(host.as_bytes()) || split_authority(host.as_bytes()).1.is_some() {
            return Err("have a host name without a port before its path".to_owned());
        }
        let mut segments = Vec::new();
        let mut parts = path[1..].split('/').peekable();
        while let Some(part) = parts.next() {
            let last = parts.peek().is_none();
            let segment = segment(part, last)?;
            if let Some(name) = segment.name()
                && segments.iter().filter_map(Segment::name).any(|other| other == name)
            {
                let name = &name[VALUE_FIELD.len()..];
                return Err(format!("name each wildcard differently: {{{name}}} is there twice"));
            }
            segments.push(segment);
        }
        if segments.len() > MAX_ROUTE_SEGMENTS {
            return Err(format!("have at most {MAX_ROUTE_SEGMENTS} segments"));
        }
        if matches!(&segments[0], Segment::Literal(first) if first.first() == Some(&b'_')) {
            return Err("not begin with an underscore in its path: those are the daemon's".to_owned());
        }
        Ok(Self {
            text: text.into(),
            method: method.map(Into::into),
            host: (!host.is_empty()).then(|| host.to_ascii_lowercase().into()),
            segments,
        })
    }

    /// The two routes of a function that says none: `/name` and everything below it.
    pub(super) fn defaults(name: &str) -> [Self; 2] {
        let name_alone = vec![Segment::Literal(name.as_bytes().into())];
        let mut below = name_alone.clone();
        below.push(Segment::Rest(None));
        let pattern = |text: String, segments| Self { text: text.into(), method: None, host: None, segments };
        [pattern(format!("/{name}"), name_alone), pattern(format!("/{name}/"), below)]
    }

    /// As it was written.
    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }

    /// What the wildcards stand for in a path that matches, decoded: the field of each, in lower case, and its value,
    /// which is text without control characters if [`Pattern::undecodable`] had nothing to say.
    pub(crate) fn values<'s, 'p>(
        &'s self,
        path: &'p [u8],
    ) -> impl Iterator<Item = (&'s str, Cow<'p, [u8]>)> + use<'s, 'p> {
        let mut rest = path.strip_prefix(b"/");
        self.segments.iter().filter_map(move |segment| {
            let here = rest?;
            let end = memchr::memchr(b'/', here).unwrap_or(here.len());
            rest = here.get(end + 1..);
            match segment {
                Segment::Literal(_) | Segment::Rest(None) => None,
                Segment::One(name) => Some((&**name, decode(&here[..end]))),
                Segment::Rest(Some(name)) => Some((&**name, decode(here))),
            }
        })
    }

    /// The first wildcard whose value in this path is no text, or has control characters.
    pub(super) fn undecodable(&self, path: &[u8]) -> Option<&str> {
        memchr::memchr(b'%', path)?;
        let is_text = |value: &[u8]| str::from_utf8(value).is_ok_and(|text| !text.contains(char::is_control));
        self.values(path).find(|(_, value)| !is_text(value)).map(|(field, _)| &field[VALUE_FIELD.len()..])
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Segment {
    /// The field of its value.
    fn name(&self) -> Option<&str> {
        match self {
            Self::Literal(_) | Self::Rest(None) => None,
            Self::One(name) | Self::Rest(Some(name)) => Some(name),
        }
    }
}

fn segment(part: &str, last: bool) -> Result<Segment, String> {
    // It may be anything yet, and a terminal is to show it.
    let shown = part.escape_debug();
    let Some(wildcard) = part.strip_prefix('{') else {
        if part.contains(['{', '}']) {
            return Err(format!("have a wildcard for a whole segment: {shown} is part of one"));
        }
        if part.is_empty() {
            return if last {
                Ok(Segment::Rest(None))
            } else {
                Err("not have two slashes side by side".to_owned())
            };
        }
        return literal(part);
    };
    let Some(name) = wildcard.strip_suffix('}') else {
        return Err(format!("have a wildcard for a whole segment: {shown} is part of one"));
    };
    if name == "$" {
        return if last {
            Ok(Segment::Literal(Box::default()))
        } else {
            Err("have {$} at its end only".to_owned())
        };
    }
    let (name, rest) = match name.strip_suffix("...") {
        Some(name) => (name, true),
        None => (name, false),
    };
    let fits = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if !fits || !name.starts_with(|c: char| c.is_ascii_alphabetic()) || name.len() > MAX_ROUTE_VALUE_NAME {
        return Err(format!(
            "name its wildcards with 1 to {MAX_ROUTE_VALUE_NAME} letters, digits and underscores, a letter first"
        ));
    }
    let name = format!("{VALUE_FIELD}{}", name.to_ascii_lowercase()).into();
    match (rest, last) {
        (false, _) => Ok(Segment::One(name)),
        (true, true) => Ok(Segment::Rest(Some(name))),
        (true, false) => Err(format!("have {part} at its end only")),
    }
}

fn literal(part: &str) -> Result<Segment, String> {
    if part.bytes().any(|byte| byte.is_ascii_control() || matches!(byte, b' ' | b'?' | b'#')) {
        return Err("have a path without spaces, controls, ? and #".to_owned());
    }
    let mut sent = Vec::with_capacity(part.len());
    for &byte in part.as_bytes() {
        if byte.is_ascii() {
            sent.push(byte);
        } else {
            // As a client must send it.
            sent.extend_from_slice(format!("%{byte:02X}").as_bytes());
        }
    }
    let broken = sent.split(|&byte| byte == b'%').skip(1).any(
        |behind| !matches!(behind, [high, low, ..] if decoded(*high, *low).is_some_and(|byte| byte != 0)),
    );
    if broken {
        return Err("have % only before two hexadecimal digits, and not for NUL".to_owned());
    }
    let form = canonical(&sent);
    if matches!(&*form, b"." | b"..") {
        return Err("not have a segment that is one dot or two".to_owned());
    }
    Ok(Segment::Literal(form.into_owned().into()))
}

/// The one form of all spellings of a path: what needs no encoding is decoded, digits of encodings are in upper case
/// (RFC 3986, 6.2.2). An encoded slash stays encoded. The path's encodings must be sound.
pub(super) fn canonical(path: &[u8]) -> Cow<'_, [u8]> {
    if memchr::memchr(b'%', path).is_none() {
        return Cow::Borrowed(path);
    }
    let mut form = Vec::with_capacity(path.len());
    let mut rest = path;
    while let [byte, tail @ ..] = rest {
        rest = tail;
        if let (b'%', [high, low, behind @ ..]) = (byte, tail) {
            match decoded(*high, *low) {
                Some(plain) if plain.is_ascii_alphanumeric() || b"-._~".contains(&plain) => form.push(plain),
                _ => form.extend_from_slice(&[b'%', high.to_ascii_uppercase(), low.to_ascii_uppercase()]),
            }
            rest = behind;
        } else {
            form.push(*byte);
        }
    }
    Cow::Owned(form)
}

/// All encodings decoded.
fn decode(part: &[u8]) -> Cow<'_, [u8]> {
    if memchr::memchr(b'%', part).is_none() {
        return Cow::Borrowed(part);
    }
    let mut plain = Vec::with_capacity(part.len());
    let mut rest = part;
    while let [byte, tail @ ..] = rest {
        let octet = match (byte, tail) {
            (b'%', [high, low, ..]) => decoded(*high, *low),
            _ => None,
        };
        plain.push(octet.unwrap_or(*byte));
        rest = if octet.is_some() { &tail[2..] } else { tail };
    }
    Cow::Owned(plain)
}
