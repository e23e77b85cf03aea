//! What is wrong, and is said exactly.

use std::fs::File;

use super::*;

/// A plugin of this C, built as authors build theirs.
fn built(home: &Home, name: &str, source: &str) -> PathBuf {
    let file = home.path().join(format!("c93-{name}.c"));
    fs::write(&file, source).expect("a file can be written");
    artefacts::function(file.to_str().expect("a plain path"))
}

/// Deploys what `make` makes of each, all at once; and of each exactly its reason is told.
fn refused(cases: &[(&str, &str, &str)], make: impl Fn(&Home, &str, &str) -> PathBuf) {
    beside_the_neighbour(|daemon| {
        for (name, what, _) in cases {
            daemon.home.add(name, &make(daemon.home, name, what), MANIFEST);
        }
        reload(daemon.home);
        for (name, _, reason) in cases {
            assert_eq!(verdict(daemon, name).as_deref(), Some(*reason), "{name}");
            assert_told(&daemon.get(&format!("/{name}")), name, reason);
        }
    });
}

/// A change of some bytes: where, and what is there then.
type Change<'c> = &'c [(usize, u8)];

/// A file for another machine, or none that was meant to be loaded.
#[test]
fn c93_another_machine_or_no_plugin_is_told_as_such() {
    const HEADS: &[(&str, Change<'_>, &str)] = &[
        ("for-aarch64", &[(18, 183)], "it is built for AArch64, and this host is x86-64"),
        ("for-riscv", &[(18, 243)], "it is built for RISC-V, and this host is x86-64"),
        ("for-32-bits", &[(4, 1), (18, 3)], "it is built for 32 bits, and this host is x86-64"),
        ("for-x32", &[(4, 1)], "it is built for 32 bits, and this host is x86-64"),
        ("big-endian", &[(5, 2)], "it is built for a big-endian machine, and this host is x86-64"),
        (
            "class-9",
            &[(4, 9)],
            "its file has a head that no machine has; it was damaged, or is no shared object",
        ),
        ("core", &[(16, 4)], "it is a core file"),
        ("type-77", &[(16, 77)], "it is no shared object, but an ELF file of type 77"),
        ("other-version", &[(6, 9)], "ELF file version ident does not match current one"),
        ("other-system", &[(7, 77)], "ELF file OS ABI invalid"),
        ("no-magic", &[(1, b'F')], "its file is no shared object"),
    ];
    const LENGTHS: &[(&str, usize, &str)] = &[
        ("empty", 0, "its file is empty"),
        ("four-bytes", 4, "its file ends within its first bytes; it was not copied whole"),
        ("half-a-header", 40, "file too short"),
    ];
    const COMPILED: &[(&str, &[&str], &str)] = &[
        ("object", &["-c"], "it is an object file; link it with -shared"),
        ("program", &["-static", "-no-pie"], "it is a program; link it with -shared"),
        ("pie", &["-pie"], "cannot dynamically load position-independent executable"),
    ];
    let plugin = fs::read(echo()).expect("it was built just now");
    beside_the_neighbour(|daemon| {
        let home = daemon.home;
        let mut expected = Vec::new();
        for (name, changes, reason) in HEADS {
            let mut bytes = plugin.clone();
            changes.iter().for_each(|(at, byte)| bytes[*at] = *byte);
            deploy(home, name, &bytes, MANIFEST);
            expected.push((*name, *reason));
        }
        for (name, length, reason) in LENGTHS {
            deploy(home, name, &plugin[..*length], MANIFEST);
            expected.push((*name, *reason));
        }
        for (name, options, reason) in COMPILED {
            home.add(name, &compiled(home, name, options), MANIFEST);
            expected.push((*name, *reason));
        }
        home.add("needs", &needs_a_library(home), MANIFEST);
        expected.push(("needs", "it needs libfrob.so.1, which is not among the system's libraries"));
        deploy(home, "newer", &of_a_newer_system(&plugin), MANIFEST);
        expected.push((
            "newer",
            "it needs GLIBC_9.2.5 of libc.so.6, which this host does not have; build it on a system like this",
        ));
        deploy(home, "script", b"#!/bin/sh\necho no plugin\n", MANIFEST);
        deploy(home, "archive", b"!<arch>\nfunction.o/     0           0     0     644     8\n", MANIFEST);
        // A gibibyte of nothing.
        deploy_sparse(home, "holes", &[]);
        for name in ["script", "archive", "holes"] {
            expected.push((name, "its file is no shared object"));
        }
        // As large, and a plugin.
        deploy_sparse(home, "large", &plugin);
        reload(home);
        for (name, reason) in expected {
            let reason = format!("the plugin cannot be loaded: {reason}");
            assert_eq!(verdict(daemon, name).as_deref(), Some(&*reason), "{name}");
            assert_told(&daemon.get(&format!("/{name}")), name, &reason);
        }
        assert_eq!(verdict(daemon, "large"), None);
        daemon.get("/large").assert_ok("GET /large\n");
    });
}

/// What the compiler makes with these options.
fn compiled(home: &Home, name: &str, options: &[&str]) -> PathBuf {
    let (source, made) = (home.path().join(format!("{name}.c")), home.path().join(name));
    fs::write(&source, "int main(void) { return 0; }\n").expect("a file can be written");
    let status = Command::new("cc").args(options).arg("-o").arg(&made).arg(&source).status();
    assert!(status.expect("there is a compiler").success());
    made
}

/// A plugin that was linked against a library which is not there any more.
fn needs_a_library(home: &Home) -> PathBuf {
    let at = |name: &str| home.path().join(name);
    fs::write(at("frob.c"), "int frob(void) { return 1; }\n").expect("a file can be written");
    fs::write(at("frobs.c"), "int frob(void);\nint frobs(void) { return frob(); }\n")
        .expect("a file can be written");
    let link = |from: &[PathBuf], to: &str| {
        let mut command = Command::new("cc");
        command
            .args(["-shared", "-fPIC", "-Wl,-soname"])
            .arg(format!("-Wl,{to}"))
            .arg("-o")
            .arg(at(to))
            .args(from);
        assert!(command.status().expect("there is a compiler").success());
        at(to)
    };
    let library = link(&[at("frob.c")], "libfrob.so.1");
    link(&[at("frobs.c"), library], "frobs.so")
}

/// A plugin that was linked with a later C library.
fn of_a_newer_system(plugin: &[u8]) -> Vec<u8> {
    let (here, newer) = (b"GLIBC_2.2.5", b"GLIBC_9.2.5");
    let at = plugin.windows(here.len()).position(|bytes| bytes == here).expect("it needs the C library");
    let mut bytes = plugin.to_vec();
    bytes[at..at + newer.len()].copy_from_slice(newer);
    bytes
}

/// Deploys a function whose plugin is a file of 1 TiB that begins with these bytes. The rest takes no room, unless it is
/// copied.
fn deploy_sparse(home: &Home, name: &str, bytes: &[u8]) {
    let folder = home.add_manifest(name, &format!("name = \"{name}\"\nlibrary = \"{name}.so\"\n{MANIFEST}"));
    let path = folder.join(format!("{name}.so"));
    fs::write(&path, bytes).expect("a file can be written");
    let file = File::options().write(true).open(&path).expect("it is there");
    file.set_len(1 << 40).expect("files may have holes");
}

/// Plugins that keep to no contract, or to another one.
#[test]
fn c93_what_is_no_descriptor_is_refused() {
    refused(
        &[
            (
                "later-version",
                "const ht_function hairtrigger_function = {.abi_version = 2, .struct_size = 40, .invoke = invoke};",
                "the plugin is refused: built for ABI version 2, this host speaks 1",
            ),
            (
                "larger",
                "const struct { ht_function function; void *more; } hairtrigger_function =\n\
                 {{.abi_version = 1, .struct_size = 48, .invoke = invoke}, NULL};",
                "the plugin is refused: built with a later header: its ht_function has 48 bytes, this host knows 40",
            ),
            (
                "smaller",
                "const ht_function hairtrigger_function = {.abi_version = 1, .struct_size = 32, .invoke = invoke};",
                "the plugin is refused: built wrongly: its ht_function says it has 32 bytes, expected 40",
            ),
            (
                "not-exported",
                "__attribute__((visibility(\"hidden\"), used))\n\
                 const ht_function hairtrigger_function = {.abi_version = 1, .struct_size = 40, .invoke = invoke};",
                "the plugin exports no symbol hairtrigger_function",
            ),
            (
                "too-short",
                "const uint32_t hairtrigger_function[4] = {1};",
                "the plugin is refused: built wrongly: its ht_function says it has 0 bytes, expected 40",
            ),
            (
                "unaligned",
                "struct __attribute__((packed)) odd { char first; ht_function function; };\n\
                 __attribute__((aligned(8), visibility(\"hidden\"), used)) struct odd odd =\n\
                 {0, {.abi_version = 1, .struct_size = 40, .invoke = invoke}};\n\
                 __asm__(\".globl hairtrigger_function\\n.set hairtrigger_function, odd + 1\\n\"\n\
                 \".type hairtrigger_function, @object\\n.size hairtrigger_function, 40\");",
                "the plugin's symbol hairtrigger_function is no descriptor",
            ),
            (
                "no-invoke",
                "const ht_function hairtrigger_function = {.abi_version = 1, .struct_size = 40, .invoke = NULL};",
                "the plugin is refused: built without an invoke entry, which every function needs",
            ),
            (
                "in-bss",
                "char hairtrigger_function[40];",
                "the plugin is refused: built for ABI version 0, this host speaks 1",
            ),
            (
                "a-function",
                "__attribute__((naked, aligned(16))) void hairtrigger_function(void) { __asm__(\".long 7, 7\"); }",
                "the plugin is refused: built for ABI version 7, this host speaks 1",
            ),
            (
                "nowhere",
                "__asm__(\".globl hairtrigger_function\\nhairtrigger_function = 0x1230\");",
                "its initialisation was ended by SIGSEGV (an invalid memory access or a stack overflow)",
            ),
            (
                "needs-a-symbol",
                "extern int frobnicate(void);\n\
                 int32_t (*const frob)(void) = frobnicate;\n\
                 const ht_function hairtrigger_function = {.abi_version = 1, .struct_size = 40, .invoke = invoke};",
                "the plugin cannot be loaded: undefined symbol: frobnicate",
            ),
        ],
        |home, name, descriptor| {
            // Exported whatever the compiler is told of visibility, but where a case says otherwise.
            let source = format!(
                "#define hairtrigger_function declared\n#include <hairtrigger.h>\n#undef hairtrigger_function\n\
                 __attribute__((unused)) static int32_t invoke(const ht_host *host, void *state,\n\
                 ht_invocation *invocation, const ht_request *request) {{\n\
                 (void)host; (void)state; (void)invocation; (void)request; return 0; }}\n\
                 #pragma GCC visibility push(default)\n{descriptor}\n"
            );
            built(home, name, &source)
        },
    );
}

/// Code that runs before anybody has asked for anything: in constructors, and in the resolvers of indirect functions,
/// which the loader calls while it is still at work.
#[test]
fn c93_constructors_and_resolvers_harm_only_themselves() {
    const CRASH: &str = "*(volatile int *)8 = 1;";
    const EXIT: &str =
        "__asm__ volatile(\"syscall\" : : \"a\"(231), \"D\"(9) : \"rcx\", \"r11\", \"memory\");";
    const HANG: &str = "for (;;) { __asm__ volatile(\"pause\"); }";
    const CALL: &str =
        "__asm__ volatile(\"syscall\" : : \"a\"(41), \"D\"(2), \"S\"(1), \"d\"(0) : \"rcx\", \"r11\");";
    /// The runner's own call to the warden: that its load has failed, for a reason that lies nowhere.
    const LIE: &str =
        "__asm__ volatile(\"syscall\" : : \"a\"(181), \"D\"(2), \"S\"(8), \"d\"(-1) : \"rcx\", \"r11\");";
    const CRASHED: &str =
        "its initialisation was ended by SIGSEGV (an invalid memory access or a stack overflow)";
    const EXITED: &str = "its initialisation exited with code 9";
    const HUNG: &str = "its initialisation took longer than 10s";
    const CALLED: &str = "its initialisation made the denied system call socket";
    refused(
        &[
            ("constructor-crashes", CRASH, CRASHED),
            ("constructor-exits", EXIT, EXITED),
            ("constructor-hangs", HANG, HUNG),
            ("constructor-calls", CALL, CALLED),
            ("constructor-lies", LIE, "it was given up without a reason"),
            ("resolver-crashes", CRASH, CRASHED),
            ("resolver-exits", EXIT, EXITED),
            ("resolver-hangs", HANG, HUNG),
            ("resolver-calls", CALL, CALLED),
            ("resolver-lies", LIE, "it was given up without a reason"),
        ],
        |home, name, deed| {
            let early = if name.starts_with("resolver") {
                format!(
                    "static void nothing(void) {{}}\n\
                     static void (*resolve(void))(void) {{ {deed} return nothing; }}\n\
                     __attribute__((visibility(\"default\"))) void indirect(void) __attribute__((ifunc(\"resolve\")));\n\
                     void (*const resolved)(void) = indirect;\n"
                )
            } else {
                format!("__attribute__((constructor)) static void construct(void) {{ {deed} }}\n")
            };
            let source = format!(
                "#include <hairtrigger.h>\n{early}\
                 static int32_t invoke(const ht_host *host, void *state, ht_invocation *invocation,\n\
                 const ht_request *request) {{\n\
                 (void)host; (void)state; (void)invocation; (void)request; return 0; }}\n\
                 HT_FUNCTION(invoke);\n"
            );
            built(home, name, &source)
        },
    );
}
