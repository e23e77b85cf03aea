use std::os::unix::fs::symlink;

use tempfile::TempDir;

use super::*;
use crate::manifest::Manifest;

/// A function's directory with a manifest in it, and what it could be granted beside.
fn place() -> TempDir {
    let place = tempfile::tempdir().unwrap();
    for directory in ["functions/f/data", "functions/g", "data/deep", "state/run"] {
        fs::create_dir_all(place.path().join(directory)).unwrap();
    }
    fs::write(place.path().join("file"), "").unwrap();
    fs::write(place.path().join("hairtrigger.toml"), "").unwrap();
    symlink("data", place.path().join("link")).unwrap();
    place
}

/// What a manifest with this table grants. In texts and sentences, `@` stands for the place.
fn parse(place: &TempDir, allow: &str) -> Result<Grants, String> {
    let at = real(place.path()).display().to_string();
    let mut config = Config::for_functions(place.path().join("functions"));
    config.set_state(place.path().join("state"));
    config.socket = Some(place.path().join("data/deep/socket"));
    let off_limits = OffLimits::of(&config, Some(&place.path().join("hairtrigger.toml")));
    let manifest = place.path().join("functions/f/function.toml");
    let text = format!("name = 'f'\n[allow]\n{}", allow.replace('@', &at));
    let parsed = Manifest::parse(&manifest, &text, &off_limits).map(|manifest| manifest.grants);
    let file = format!("{}:", manifest.display());
    parsed.map_err(|error| error.to_string().replace(&file, "").replace(&at, "@"))
}

#[test]
fn nothing_is_granted_unless_it_is_said() {
    let place = place();
    assert_eq!(parse(&place, ""), Ok(Grants::default()));
    assert_eq!(parse(&place, "read = []\nwrite = []\nconnect = []"), Ok(Grants::default()));
}

#[test]
fn paths_are_found_from_the_manifest_and_without_links() {
    let place = place();
    let at = real(place.path());
    let expected = Grants {
        read: vec![at.join("data"), at.join("file")],
        write: vec![at.join("data/deep/deeper")],
        connect: vec![80, 5432],
        threads: 0,
    };
    fs::create_dir(at.join("data/deep/deeper")).unwrap();
    let text =
        "read = ['../../file', '@/link']\nwrite = ['@/data/deep/../deep/deeper/']\nconnect = [5432, 80, 80]";
    assert_eq!(parse(&place, text), Ok(expected));
    let own = Grants { read: vec![at.join("functions/f/data")], ..Grants::default() };
    assert_eq!(parse(&place, "read = ['data']"), Ok(own));
}

/// Word by word, with line and column.
#[test]
fn mistakes() {
    let place = place();
    for (text, error) in [
        ("red = []", "3:1: there is no key red in [allow]; did you mean read?"),
        (
            "read = '/srv'",
            "3:8: read must be an array of at most 16 paths like \"/srv/data\"; found \"/srv\".",
        ),
        ("write = [7]", "3:10: write must be a path; found 7."),
        ("read = ['']", "3:9: read must be a path; found \"\"."),
        (
            "read = ['nothing']",
            "3:9: read must be paths of what is there, and @/functions/f/nothing cannot be found (No such file or directory \
             (os error 2)); found \"nothing\".",
        ),
        ("read = ['/']", "3:9: read must be less than the whole file system; found \"/\"."),
        (
            "write = ['@/../../../..']",
            "3:10: write must be less than the whole file system; found \"@/../../../..\".",
        ),
        ("read = ['/proc']", "3:9: read must be outside of /proc; found \"/proc\"."),
        ("read = ['/proc/sys']", "3:9: read must be outside of /proc; found \"/proc/sys\"."),
        ("write = ['/sys/kernel']", "3:10: write must be outside of /sys; found \"/sys/kernel\"."),
        ("read = ['/dev/null']", "3:9: read must be outside of /dev; found \"/dev/null\"."),
        (
            "read = ['@/state']",
            "3:9: read must be apart from @/state, where the daemon's state is; found \"@/state\".",
        ),
        (
            "read = ['@/state/run']",
            "3:9: read must be apart from @/state, where the daemon's state is; found \"@/state/run\".",
        ),
        ("read = ['@']", "3:9: read must be apart from @/functions, where the functions are; found \"@\"."),
        (
            "read = ['../g']",
            "3:9: read must be apart from @/functions, where the functions are; found \"../g\".",
        ),
        (
            "write = ['data']",
            "3:10: write must be apart from @/functions, where the functions are; found \"data\".",
        ),
        (
            "write = ['@/data']",
            "3:10: write must be apart from @/data/deep/socket, a socket of the daemon; found \"@/data\".",
        ),
        (
            "write = ['@/hairtrigger.toml']",
            "3:10: write must be apart from @/hairtrigger.toml, the daemon's configuration; found \
             \"@/hairtrigger.toml\".",
        ),
        (
            "read = ['../../data', '@/data/deep']",
            "3:23: read must be what nothing else grants, and read grants all of @/data; found \"@/data/deep\".",
        ),
        (
            "read = ['../../file', '../../file']",
            "3:23: read must be what nothing else grants, and read grants all of @/file; found \"../../file\".",
        ),
        (
            "read = ['@/file']\nwrite = ['@/file']",
            "3:9: read must be what nothing else grants, and write grants all of @/file; found \"@/file\".",
        ),
        ("connect = 80", "3:11: connect must be an array of at most 64 TCP ports like 5432; found 80."),
        ("connect = [0]", "3:12: connect must be TCP ports from 1 to 65535; found 0."),
        (
            "connect = [65536, '1']",
            "3:12: connect must be TCP ports from 1 to 65535; found 65536.\n3:19: connect \
          must be TCP ports from 1 to 65535; found \"1\".",
        ),
    ] {
        let said = parse(&place, text).unwrap_err();
        assert_eq!(said.trim(), error, "{text}");
    }
}

/// Whoever may write where a link to the daemon's own places lies could put a directory of his own there.
#[test]
fn no_link_to_what_is_kept_can_be_taken_away() {
    let place = place();
    let at = real(place.path());
    for directory in ["links/inner", "elsewhere"] {
        fs::create_dir_all(at.join(directory)).unwrap();
    }
    // Two links on the way, one of them relative, with a detour.
    symlink(at.join("links/inner/second"), at.join("elsewhere/first")).unwrap();
    symlink("../../links/../functions", at.join("links/inner/second")).unwrap();
    let off_limits = OffLimits::functions(&at.join("elsewhere/first"));
    let objection = |path: &str, writes| off_limits.objection(&at.join(path), writes, Path::new("/home"));
    for (path, link) in [
        ("links", "links/inner/second"),
        ("links/inner", "links/inner/second"),
        ("elsewhere", "elsewhere/first"),
    ] {
        let said = objection(path, true).unwrap_or_else(|| panic!("{path} may be written"));
        assert_eq!(said, format!("apart from {}, where the functions are", at.join(link).display()));
        assert_eq!(objection(path, false), None, "{path} may be read");
    }
    assert_eq!(objection("data", true), None);
    // A circle ends.
    symlink("circle", at.join("circle")).unwrap();
    assert_eq!(links(&at.join("circle")).len(), MAX_LINKS);
}

#[test]
fn what_a_function_may_do_is_a_sentence() {
    let grants = Grants {
        read: vec!["/a".into(), "/b".into()],
        write: vec!["/c".into()],
        connect: vec![80, 5432],
        threads: 4,
    };
    let sentence = "read /a, /b; read and write /c; connect to TCP ports 80, 5432; have threads: 4";
    assert_eq!(May(&grants).to_string(), sentence);
    assert_eq!(May(&Grants { threads: 1, ..Grants::default() }).to_string(), "have threads: 1");
    assert_eq!(May(&Grants::default()).to_string(), "");
}
