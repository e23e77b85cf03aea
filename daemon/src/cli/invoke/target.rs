//! From what a person types to a request's target. Pure.

use std::fmt::Write as _;

use anyhow::{Result, bail};

/// What stands in a path as it is, beside letters and digits (RFC 3986).
const IN_PATH: &[u8] = b"-._~!$&'()*+,;=:@/";
/// The same of a query.
const IN_QUERY: &[u8] = b"-._~!$&'()*+,;=:@/?";
/// The same of a name or a value in a query.
const IN_PARAMETER: &[u8] = b"-._~";

/// `/NAME/PATH?QUERY`. What may not stand in a target is encoded; what is encoded already stays as it is.
/// `parameters` (`NAME=VALUE`) are encoded whole and come behind the query that is there.
pub(super) fn target(name: &str, parameters: &[String]) -> Result<String> {
    let (path, query) = name.split_once('?').unwrap_or((name, ""));
    let path = path.strip_prefix('/').unwrap_or(path);
    if path.is_empty() || path.starts_with('/') {
        bail!("expected the name of a function, and what stands behind it in its path; found {name:?}");
    }
    let mut target = String::from("/");
    encode(&mut target, path, IN_PATH, true);
    let mut separator = '?';
    if !query.is_empty() {
        target.push(separator);
        encode(&mut target, query, IN_QUERY, true);
        separator = '&';
    }
    for parameter in parameters {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        target.push(separator);
        encode(&mut target, name, IN_PARAMETER, false);
        target.push('=');
        encode(&mut target, value, IN_PARAMETER, false);
        separator = '&';
    }
    Ok(target)
}

fn encode(target: &mut String, text: &str, as_it_is: &[u8], keep_encoded: bool) {
    let bytes = text.as_bytes();
    for (at, byte) in bytes.iter().enumerate() {
        let is_hex = |offset| bytes.get(at + offset).is_some_and(u8::is_ascii_hexdigit);
        let encoded = keep_encoded && *byte == b'%' && is_hex(1) && is_hex(2);
        if byte.is_ascii_alphanumeric() || as_it_is.contains(byte) || encoded {
            target.push(char::from(*byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(target, "%{byte:02X}");
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn made(name: &str, parameters: &[&str]) -> String {
        let parameters: Vec<String> = parameters.iter().map(|text| (*text).to_owned()).collect();
        target(name, &parameters).expect("a target")
    }

    #[test]
    fn targets() {
        for (name, parameters, expected) in [
            ("greet", &[][..], "/greet"),
            ("/greet/", &[], "/greet/"),
            ("users/7?full=1", &[], "/users/7?full=1"),
            ("users/a b/ü#x", &[], "/users/a%20b/%C3%BC%23x"),
            ("files/100%/a%2Fb", &[], "/files/100%25/a%2Fb"),
            ("greet", &["name=Ada & Co", "flag", "x=a=b"], "/greet?name=Ada%20%26%20Co&flag=&x=a%3Db"),
            ("greet?a=1", &["b=2"], "/greet?a=1&b=2"),
            ("greet?", &["b=50%20"], "/greet?b=50%2520"),
            ("_/health", &[], "/_/health"),
        ] {
            assert_eq!(made(name, parameters), expected);
        }
        for wrong in ["", "/", "//x", "?a=1"] {
            target(wrong, &[]).expect_err(wrong);
        }
    }

    proptest! {
        #[test]
        fn every_target_is_one(name in "[a-z]{1,4}\\PC*", parameters in prop::collection::vec("\\PC*", 0..4)) {
            let target = target(&name, &parameters).expect("a target");
            let uri: hyper::Uri = target.parse().expect("a target that the client takes");
            prop_assert_eq!(uri.path_and_query().map(|both| both.as_str()), Some(&*target));
        }
    }
}
