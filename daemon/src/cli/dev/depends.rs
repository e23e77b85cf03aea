//! The files that a plugin was made from, as compilers tell `make` of them. Pure.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

/// The prerequisites of the first rule in a dependency file: `target: path path \` and so on. A space, a `#` or
/// a tab within a path has a backslash before it, a `$` is doubled; a backslash at the end of a line goes on
/// with the next.
pub(super) fn prerequisites(rules: &[u8]) -> Vec<PathBuf> {
    let is_end = |at: usize| rules.get(at + 1).is_none_or(u8::is_ascii_whitespace);
    let colon = rules.iter().enumerate().position(|(at, byte)| *byte == b':' && is_end(at));
    let mut rest = colon.map_or(&[][..], |colon| &rules[colon + 1..]);
    let mut paths = Vec::new();
    let mut path = Vec::new();
    loop {
        let taken = match rest {
            [] | [b'\n', ..] => break,
            [b'\\', b'\n', ..] => {
                end(&mut path, &mut paths);
                2
            }
            [b'\\', escaped @ (b' ' | b'#' | b'\t'), ..] => {
                path.push(*escaped);
                2
            }
            [b'$', b'$', ..] => {
                path.push(b'$');
                2
            }
            [b' ' | b'\t' | b'\r', ..] => {
                end(&mut path, &mut paths);
                1
            }
            [byte, ..] => {
                path.push(*byte);
                1
            }
        };
        rest = &rest[taken..];
    }
    end(&mut path, &mut paths);
    paths
}

fn end(path: &mut Vec<u8>, paths: &mut Vec<PathBuf>) {
    if !path.is_empty() {
        paths.push(PathBuf::from(OsString::from_vec(std::mem::take(path))));
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt;

    use proptest::prelude::*;

    use super::*;

    fn paths(rules: &str) -> Vec<String> {
        prerequisites(rules.as_bytes()).iter().map(|path| path.display().to_string()).collect()
    }

    #[test]
    fn what_compilers_write() {
        assert_eq!(paths("plugin: a.c b.h\n"), ["a.c", "b.h"]);
        assert_eq!(
            paths("plugin: /src/a.c \\\n /src/b.h \\\n  c.h\n\n/src/b.h:\n"),
            ["/src/a.c", "/src/b.h", "c.h"]
        );
        // A path with a colon, as cargo writes it.
        assert_eq!(
            paths("/x:y/liba.so: /x:y/src/lib.rs /x:y/src/my\\ file.rs\n"),
            ["/x:y/src/lib.rs", "/x:y/src/my file.rs"]
        );
        assert_eq!(paths("plugin: a\\#b.h c$$d.h e\\f.h\n"), ["a#b.h", "c$d.h", "e\\f.h"]);
        assert_eq!(paths("plugin:\n next: a.c\n"), [""; 0]);
        assert_eq!(paths("plugin:"), [""; 0]);
        assert_eq!(paths("no rule"), [""; 0]);
        assert_eq!(paths(""), [""; 0]);
    }

    proptest! {
        #[test]
        fn every_path_comes_back(names in prop::collection::vec("[a-z $#.:]{0,6}[a-z]", 0..6)) {
            let escaped = names.iter().map(|name| name.replace('$', "$$").replace('#', "\\#").replace(' ', "\\ "));
            let rule = format!("plugin: {}\n", escaped.collect::<Vec<_>>().join(" \\\n  "));
            prop_assert_eq!(paths(&rule), names);
        }

        #[test]
        fn any_bytes_are_taken(rules in prop::collection::vec(any::<u8>(), 0..64)) {
            for path in prerequisites(&rules) {
                prop_assert!(!path.as_os_str().as_bytes().contains(&b'\n'));
            }
        }
    }
}
