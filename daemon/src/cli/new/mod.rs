//! `hairtrigger new`: a function that compiles, and a test of it that passes.

use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result, bail};
use hairtrigger_sandbox::limits::MAX_FUNCTION_NAME;

use super::front::say;
use crate::manifest::{Manifest, OffLimits};

/// What stands in the templates for the function's name, and for other names that follow from it.
const NAME: &str = "{{name}}";
const CRATE: &str = "{{crate}}";
const SDK: &str = "{{sdk}}";
const SOURCE: &str = "{{source}}";

const HEADER: &str = include_str!("../../../../abi/include/hairtrigger.h");
const FAKE_HOST: &str = include_str!("fake_host.h");

/// What the command line says.
#[derive(Debug, clap::Args)]
pub(super) struct Options {
    /// Its name: 1 to 64 letters a-z, digits and hyphens, with no hyphen first.
    name: String,
    /// What it is written in.
    #[arg(long, value_name = "LANGUAGE", value_enum, default_value_t = Language::C)]
    lang: Language,
    /// Directory in which its own is made.
    #[arg(long, value_name = "DIR", default_value = ".")]
    dir: PathBuf,
    /// For Rust: the directory of the crate hairtrigger-abi [default: that of the checkout in which DIR lies, or
    /// from which this program was built].
    #[arg(long, value_name = "DIR")]
    sdk: Option<PathBuf>,
}

/// The languages that there are templates for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Language {
    C,
    Cpp,
    Rust,
}

/// Makes the function.
pub(super) fn run(options: &Options) -> Result<()> {
    let name = &options.name;
    check_name(name)?;
    let home = options.dir.join(name);
    let files = match options.lang {
        Language::C => native(name, "c", include_str!("c/function.c"), include_str!("c/test.c")),
        Language::Cpp => native(name, "cpp", include_str!("cpp/function.cpp"), include_str!("cpp/test.cpp")),
        Language::Rust => rust(name, &sdk(options)?)?,
    };
    fs::create_dir_all(&options.dir).with_context(|| format!("cannot make {}", options.dir.display()))?;
    match fs::create_dir(&home) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            bail!("{} is there already; choose another name or another --dir", home.display())
        }
        made => made.with_context(|| format!("cannot make {}", home.display()))?,
    }
    if let Err(error) = write(&home, &files) {
        // What is half there would stand in the way of the next attempt.
        let _ = fs::remove_dir_all(&home);
        return Err(error);
    }
    let test = match options.lang {
        Language::C => "cc -std=c11 -I. -o test test.c && ./test",
        Language::Cpp => "c++ -std=c++17 -I. -o test test.cpp && ./test",
        Language::Rust => "cargo test",
    };
    let home = home.display();
    say(&format!("made {home}\ntest it:  (cd {home} && {test})\nserve it: hairtrigger dev {home}"));
    Ok(())
}

/// The rule is the manifest's.
fn check_name(name: &str) -> Result<()> {
    let manifest =
        Manifest::parse(Path::new("function.toml"), &format!("name = {name:?}\n"), &OffLimits::default());
    if manifest.is_ok_and(|manifest| manifest.name == *name) {
        return Ok(());
    }
    bail!(
        "the name of a function must be 1 to {MAX_FUNCTION_NAME} letters a-z, digits and hyphens, with no hyphen \
         first; found {name:?}"
    )
}

type Files = Vec<(String, String)>;

fn native(name: &str, extension: &str, function: &str, test: &str) -> Files {
    let source = format!("{name}.{extension}");
    let fill = |text: &str| text.replace(NAME, name).replace(SOURCE, &source);
    vec![
        ("function.toml".to_owned(), fill(include_str!("native.toml"))),
        (source.clone(), fill(function)),
        (format!("test.{extension}"), fill(test)),
        ("fake_host.h".to_owned(), FAKE_HOST.to_owned()),
        ("hairtrigger.h".to_owned(), HEADER.to_owned()),
        (".gitignore".to_owned(), "/test\n".to_owned()),
    ]
}

fn rust(name: &str, sdk: &Path) -> Result<Files> {
    let Some(sdk) = sdk.to_str() else { bail!("the path {} is not Unicode", sdk.display()) };
    // A TOML string and not Rust's: the two differ in what they escape.
    let sdk = toml::Value::from(sdk).to_string();
    let fill = |text: &str| text.replace(NAME, name).replace(CRATE, &crate_name(name)).replace(SDK, &sdk);
    Ok(vec![
        ("function.toml".to_owned(), fill(include_str!("rust.toml"))),
        ("Cargo.toml".to_owned(), fill(include_str!("rust/Cargo.toml.in"))),
        ("src/lib.rs".to_owned(), fill(include_str!("rust/lib.rs.in"))),
        (".gitignore".to_owned(), "/target\n".to_owned()),
    ])
}

/// Not every name of a function may be that of a crate.
fn crate_name(function: &str) -> String {
    const TAKEN: &[&str] = &[
        "abstract",
        "alloc",
        "as",
        "async",
        "await",
        "become",
        "box",
        "break",
        "build",
        "const",
        "continue",
        "core",
        "crate",
        "deps",
        "do",
        "dyn",
        "else",
        "enum",
        "examples",
        "extern",
        "false",
        "final",
        "fn",
        "for",
        "gen",
        "hairtrigger-abi",
        "if",
        "impl",
        "in",
        "incremental",
        "let",
        "loop",
        "macro",
        "match",
        "mod",
        "move",
        "mut",
        "override",
        "priv",
        "proc-macro",
        "pub",
        "ref",
        "return",
        "self",
        "static",
        "std",
        "struct",
        "super",
        "test",
        "trait",
        "true",
        "try",
        "type",
        "typeof",
        "unsafe",
        "unsized",
        "use",
        "virtual",
        "where",
        "while",
        "yield",
    ];
    if function.starts_with(|c: char| c.is_ascii_digit()) || TAKEN.contains(&function) {
        format!("function-{function}")
    } else {
        function.to_owned()
    }
}

/// Where the crate of the SDK is: as told, or in a checkout above, or in the one this program was built from.
fn sdk(options: &Options) -> Result<PathBuf> {
    if let Some(told) = &options.sdk {
        if !is_sdk(told) {
            bail!(
                "{} is not the crate hairtrigger-abi; give the directory abi of a checkout",
                told.display()
            );
        }
        return fs::canonicalize(told).with_context(|| format!("cannot find {}", told.display()));
    }
    let above = std::path::absolute(&options.dir).unwrap_or_default();
    let checkouts = above.ancestors().map(Path::to_owned).chain([built_from()]);
    let found = checkouts.map(|checkout| checkout.join("abi")).find(|abi| is_sdk(abi));
    found.context(
        "there is no crate hairtrigger-abi here; give --sdk, the directory abi of a checkout of Hairtrigger",
    )
}

/// The root of the workspace, on the machine and at the time of the build.
fn built_from() -> PathBuf {
    let crate_directory = Path::new(env!("CARGO_MANIFEST_DIR"));
    crate_directory.parent().unwrap_or(crate_directory).to_owned()
}

fn is_sdk(directory: &Path) -> bool {
    fs::read_to_string(directory.join("Cargo.toml"))
        .is_ok_and(|text| text.lines().any(|line| line.trim() == "name = \"hairtrigger-abi\""))
}

fn write(home: &Path, files: &Files) -> Result<()> {
    for (name, text) in files {
        let path = home.join(name);
        debug_assert!(Path::new(name).components().all(|part| matches!(part, Component::Normal(_))));
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
        }
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_functions() {
        for name in ["a", "thumb-2", "2fast"] {
            check_name(name).expect("a name");
        }
        for name in ["", "-a", "Hello", "a_b", "../a", "a/b", "a\nsource = \"b\"", "a\" # ", "é"] {
            let error = check_name(name).expect_err("no name").to_string();
            assert!(error.ends_with(&format!("found {name:?}")) && !error.contains('\n'), "{error}");
        }
    }

    #[test]
    fn no_placeholder_is_left_and_the_manifests_are_right() {
        let sets = [
            native("some-name", "c", include_str!("c/function.c"), include_str!("c/test.c")),
            native("some-name", "cpp", include_str!("cpp/function.cpp"), include_str!("cpp/test.cpp")),
            rust("some-name", Path::new("/a \"b\"/abi")).expect("Unicode"),
        ];
        for files in sets {
            for (name, text) in &files {
                assert!(!text.contains("{{") || name.ends_with(".h"), "{name}:\n{text}");
            }
            let (_, manifest) = &files[0];
            let manifest = Manifest::parse(Path::new("function.toml"), manifest, &OffLimits::default())
                .expect("a manifest");
            assert_eq!(manifest.name, "some-name");
            let source =
                manifest.source.map_or("src/lib.rs".to_owned(), |source| source.display().to_string());
            assert!(files.iter().any(|(name, _)| *name == source));
        }
    }

    #[test]
    fn a_crate_may_need_another_name() {
        for (function, expected) in [("greet", "greet"), ("2fast", "function-2fast"), ("fn", "function-fn")] {
            assert_eq!(crate_name(function), expected);
        }
    }
}
