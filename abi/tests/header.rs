//! `include/hairtrigger.h` and `src/raw.rs` are written by hand; this proves that they say the same.
//!
//! The header is compiled as C and as C++ into a program that prints every constant, size and offset, and
//! each is compared with the mirror's. The function in the header's opening comment is compiled as well.

use hairtrigger_abi::raw;
use std::collections::BTreeMap;
use std::fs;
use std::mem::{offset_of, size_of};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A compiler with the flags under which the header promises to be clean.
struct Compiler {
    command: String,
    language: &'static [&'static str],
}

fn compilers() -> [Compiler; 2] {
    let command =
        |variable: &str, default: &str| std::env::var(variable).unwrap_or_else(|_| default.to_owned());
    [
        Compiler { command: command("CC", "cc"), language: &["-x", "c", "-std=c99"] },
        Compiler { command: command("CXX", "c++"), language: &["-x", "c++", "-std=c++11"] },
    ]
}

impl Compiler {
    fn compile(&self, source: &Path, arguments: &[&str], output: &Path) {
        let include = Path::new(env!("CARGO_MANIFEST_DIR")).join("include");
        let result = Command::new(&self.command)
            .args(self.language)
            .args(["-Wall", "-Wextra", "-Werror", "-pedantic", "-Wshadow", "-Wmissing-declarations", "-I"])
            .arg(include)
            .args(arguments)
            .arg(source)
            .arg("-o")
            .arg(output)
            .output()
            .unwrap_or_else(|error| {
                panic!(
                    "this test needs a C and a C++ compiler, but {:?} cannot be run ({error}); \
                     install one (on Debian: build-essential) or name it in CC or CXX",
                    self.command
                )
            });
        assert!(
            result.status.success(),
            "{} {:?} does not accept {}:\n{}",
            self.command,
            self.language,
            source.display(),
            String::from_utf8_lossy(&result.stderr)
        );
    }
}

/// A new directory of this test's own below cargo's target directory.
fn directory(name: &str) -> PathBuf {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("header").join(name);
    fs::create_dir_all(&directory).expect("the target directory is writable");
    directory
}

/// The mirror's view: C expression → value. The C side is generated from the keys, so a name that only the
/// mirror knows does not compile.
fn mirror() -> BTreeMap<String, i64> {
    let mut facts = BTreeMap::new();
    let mut fact = |expression: String, value: i64| {
        assert!(facts.insert(expression.clone(), value).is_none(), "{expression} is listed twice");
    };
    let signed = |value: usize| i64::try_from(value).expect("sizes are small");

    macro_rules! structure {
        ($c:literal, $rust:ident { $($field:ident),* }) => {
            fact(format!("sizeof({})", $c), signed(size_of::<raw::$rust>()));
            $(fact(format!("offsetof({}, {})", $c, stringify!($field)), signed(offset_of!(raw::$rust, $field)));)*
            // A field that this list forgot does not compile.
            #[allow(dead_code)]
            fn complete(raw::$rust { $($field: _),* }: &raw::$rust) {}
        };
    }
    {
        structure!("ht_bytes", Bytes { data, len });
    }
    {
        structure!("ht_header", Header { name, value });
    }
    {
        structure!(
            "ht_request",
            Request {
                struct_size,
                header_count,
                headers,
                method,
                path,
                query,
                body,
                invocation_id,
                deadline_ns,
                trailers,
                trailer_count
            }
        );
    }
    {
        structure!(
            "ht_host",
            Host {
                abi_version,
                struct_size,
                log,
                now_ns,
                env,
                set_status,
                add_header,
                write,
                reserve,
                commit,
                alloc,
                add_trailer
            }
        );
    }
    {
        structure!(
            "ht_function",
            Function { abi_version, struct_size, init, worker_start, invoke, shutdown }
        );
    }

    fact("HT_ABI_VERSION".into(), raw::ABI_VERSION.into());
    fact("HT_OK".into(), raw::OK.into());
    fact("HT_INVALID".into(), raw::INVALID.into());
    fact("HT_TOO_LARGE".into(), raw::TOO_LARGE.into());
    fact("HT_LOG_ERROR".into(), raw::LOG_ERROR.into());
    fact("HT_LOG_WARN".into(), raw::LOG_WARN.into());
    fact("HT_LOG_INFO".into(), raw::LOG_INFO.into());
    fact("HT_LOG_DEBUG".into(), raw::LOG_DEBUG.into());
    facts
}

/// A program that prints `expression<TAB>value` for each expression, then the descriptor that HT_FUNCTION
/// makes.
fn program(expressions: impl Iterator<Item = String>) -> String {
    let mut source = String::from(
        "#include <hairtrigger.h>\n#include <stdio.h>\n\n\
         static int32_t invoke(const ht_host *host, void *state, ht_invocation *invocation, \
         const ht_request *request) {\n\
         \t(void)host; (void)state; (void)invocation; (void)request; return 0;\n}\n\
         HT_FUNCTION(invoke);\n\n\
         int main(void) {\n",
    );
    for expression in expressions {
        source += &format!("\tprintf(\"%s\\t%lld\\n\", \"{expression}\", (long long)({expression}));\n");
    }
    source += "\tprintf(\"descriptor\\t%lld\\n\", (long long)(hairtrigger_function.abi_version == HT_ABI_VERSION\n\
               \t\t&& hairtrigger_function.struct_size == sizeof(ht_function)\n\
               \t\t&& hairtrigger_function.init == NULL && hairtrigger_function.worker_start == NULL\n\
               \t\t&& hairtrigger_function.invoke == invoke && hairtrigger_function.shutdown == NULL));\n";
    source += "\treturn 0;\n}\n";
    source
}

#[test]
fn the_header_and_its_mirror_agree_in_c_and_in_cpp() {
    let mut expected = mirror();
    let source = program(expected.keys().cloned());
    expected.insert("descriptor".into(), 1);

    for (index, compiler) in compilers().iter().enumerate() {
        let directory = directory(&format!("facts-{index}"));
        let (source_file, executable) = (directory.join("facts.c"), directory.join("facts"));
        fs::write(&source_file, &source).expect("the target directory is writable");
        compiler.compile(&source_file, &[], &executable);

        let output = Command::new(&executable).output().expect("what was just compiled runs");
        assert!(output.status.success(), "{} ended with {}", executable.display(), output.status);
        let found: BTreeMap<String, i64> = String::from_utf8(output.stdout)
            .expect("the program prints text")
            .lines()
            .map(|line| {
                let (expression, value) = line.split_once('\t').expect("a line is expression, tab, value");
                (expression.to_owned(), value.parse().expect("a value is a number"))
            })
            .collect();
        assert_eq!(found, expected, "left: the header by {:?}; right: src/raw.rs", compiler.language);
    }
}

/// The text between "TEN LINES" and "HT_FUNCTION(invoke);" of the header's first comment, without its stars.
fn function_in_the_header() -> String {
    let header = include_str!("../include/hairtrigger.h");
    let lines = header
        .lines()
        .skip_while(|line| !line.contains("#include <hairtrigger.h>"))
        .map(|line| line.trim_start_matches(" *").strip_prefix("     ").unwrap_or_default());
    let mut function = String::new();
    for line in lines {
        function += line;
        function.push('\n');
        if line.starts_with("HT_FUNCTION") {
            return function;
        }
    }
    panic!("the header's first comment does not end its example with HT_FUNCTION");
}

#[test]
fn the_function_in_the_headers_comment_compiles() {
    let function = function_in_the_header();
    let lines = function.lines().filter(|line| !line.is_empty()).count();
    assert!(lines <= 10, "the header promises a function in ten lines and shows {lines}");

    for (index, compiler) in compilers().iter().enumerate() {
        let directory = directory(&format!("example-{index}"));
        let (source, plugin) = (directory.join("function.c"), directory.join("function.so"));
        fs::write(&source, &function).expect("the target directory is writable");
        compiler.compile(&source, &["-shared", "-fPIC", "-fvisibility=hidden", "-s"], &plugin);
        // Stripped, so that only names visible to the loader are left.
        let plugin = fs::read(&plugin).expect("what was just compiled can be read");
        assert!(
            plugin
                .windows(b"\0hairtrigger_function\0".len())
                .any(|bytes| bytes == b"\0hairtrigger_function\0"),
            "the plugin compiled as {:?} does not export hairtrigger_function",
            compiler.language
        );
    }
}
