//! Why a plugin's file cannot be loaded, for its author. The loader's words are for those who know it: of a plugin
//! for another machine it says that there is no such file.
//!
//! Looked at only where the loader has refused already, by a process that is confined: the daemon reads no ELF.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// As much of a file as says what it is: up to and with `e_machine`.
const HEAD: usize = 20;

const MAGIC: &[u8] = b"\x7fELF";
const CLASS_64: u8 = 2;
const LITTLE_ENDIAN: u8 = 1;
const RELOCATABLE: u16 = 1;
const EXECUTABLE: u16 = 2;
const SHARED: u16 = 3;
const CORE: u16 = 4;
const X86_64: u16 = 62;

/// What the loader says, behind its name, of a library that a plugin needs and that is nowhere; the second where it has
/// looked for it in directories that the function may not see.
const NOT_FOUND: &[&str] = &[
    ": cannot open shared object file: No such file or directory",
    ": cannot open shared object file: Permission denied",
];

/// The clause for a plugin of which the loader has `said` something.
pub(super) fn why(plugin: &Path, said: &str) -> String {
    of_head(read_head(plugin), said, plugin)
}

fn read_head(plugin: &Path) -> io::Result<Vec<u8>> {
    let mut head = Vec::with_capacity(HEAD);
    File::open(plugin)?.take(HEAD as u64).read_to_end(&mut head)?;
    Ok(head)
}

fn of_head(head: io::Result<Vec<u8>>, said: &str, plugin: &Path) -> String {
    let head = match head {
        Ok(head) => head,
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            return "the function may not read its file; let everybody read it".to_owned();
        }
        Err(error) => return format!("its file cannot be read: {error}"),
    };
    if head.is_empty() {
        return "its file is empty".to_owned();
    }
    if !head.starts_with(MAGIC) {
        return "its file is no shared object".to_owned();
    }
    let word = |at: usize| Some(u16::from_le_bytes([*head.get(at)?, *head.get(at + 1)?]));
    let (Some(class), Some(order), Some(kind), Some(machine)) =
        (head.get(4).copied(), head.get(5).copied(), word(16), word(18))
    else {
        return "its file ends within its first bytes; it was not copied whole".to_owned();
    };
    match (class, order, machine, kind) {
        (CLASS_64, LITTLE_ENDIAN, X86_64, SHARED) => of_shared_object(said, plugin),
        (CLASS_64, LITTLE_ENDIAN, X86_64, RELOCATABLE) => {
            "it is an object file; link it with -shared".to_owned()
        }
        (CLASS_64, LITTLE_ENDIAN, X86_64, EXECUTABLE) => "it is a program; link it with -shared".to_owned(),
        (CLASS_64, LITTLE_ENDIAN, X86_64, CORE) => "it is a core file".to_owned(),
        (CLASS_64, LITTLE_ENDIAN, X86_64, _) => {
            format!("it is no shared object, but an ELF file of type {kind}")
        }
        (CLASS_64, LITTLE_ENDIAN, _, _) => {
            format!("it is built for {}, and this host is x86-64", machine_name(machine))
        }
        (1, LITTLE_ENDIAN, _, _) => "it is built for 32 bits, and this host is x86-64".to_owned(),
        (1 | CLASS_64, 2, _, _) => "it is built for a big-endian machine, and this host is x86-64".to_owned(),
        _ => "its file has a head that no machine has; it was damaged, or is no shared object".to_owned(),
    }
}

/// The machines that somebody is likely to build for.
fn machine_name(machine: u16) -> String {
    let known = match machine {
        3 => "x86",
        21 => "64-bit PowerPC",
        22 => "s390",
        40 => "ARM",
        183 => "AArch64",
        243 => "RISC-V",
        258 => "LoongArch",
        _ => return format!("the machine of ELF number {machine}"),
    };
    known.to_owned()
}

/// A file that is what it should be as far as its head goes.
fn of_shared_object(said: &str, plugin: &Path) -> String {
    let own = plugin.to_string_lossy();
    let needed = NOT_FOUND.iter().find_map(|not_found| said.strip_suffix(not_found));
    if let Some(needed) = needed.filter(|needed| *needed != own) {
        return format!("it needs {needed}, which is not among the system's libraries");
    }
    if let Some((library, version)) = of_older_library(said) {
        return format!(
            "it needs {version} of {library}, which this host does not have; build it on a system like this"
        );
    }
    said.strip_prefix(&*own).and_then(|rest| rest.strip_prefix(": ")).unwrap_or(said).to_owned()
}

/// Library and version of "LIBRARY: version `VERSION' not found (required by PLUGIN)".
fn of_older_library(said: &str) -> Option<(&str, &str)> {
    let (library, rest) = said.split_once(": version `")?;
    let (version, _) = rest.split_once("' not found (required by ")?;
    Some((library.rsplit('/').next()?, version))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A head that the loader has no quarrel with, but for these bytes.
    fn head(changes: &[(usize, u8)]) -> Vec<u8> {
        let mut head = vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3, 0, 62, 0];
        changes.iter().for_each(|(at, byte)| head[*at] = *byte);
        head
    }

    #[track_caller]
    fn check(head: Vec<u8>, said: &str, expected: &str) {
        assert_eq!(of_head(Ok(head), said, Path::new("/function/f.so")), expected);
    }

    #[test]
    fn what_a_file_is_says_its_head() {
        let said = "/function/f.so: cannot open shared object file: No such file or directory";
        for (changes, expected) in [
            (&[(18, 183)][..], "it is built for AArch64, and this host is x86-64"),
            (&[(18, 3), (4, 1)], "it is built for 32 bits, and this host is x86-64"),
            (&[(18, 1), (19, 1)], "it is built for the machine of ELF number 257, and this host is x86-64"),
            (&[(5, 2)], "it is built for a big-endian machine, and this host is x86-64"),
            (&[(16, 1)], "it is an object file; link it with -shared"),
            (&[(16, 2)], "it is a program; link it with -shared"),
            (&[(16, 4)], "it is a core file"),
            (&[(16, 9)], "it is no shared object, but an ELF file of type 9"),
            (&[(4, 7)], "its file has a head that no machine has; it was damaged, or is no shared object"),
            (&[(0, b'#')], "its file is no shared object"),
        ] {
            check(head(changes), said, expected);
        }
        check(vec![], said, "its file is empty");
        check(b"#!".to_vec(), said, "its file is no shared object");
        check(
            head(&[])[..19].to_vec(),
            said,
            "its file ends within its first bytes; it was not copied whole",
        );
    }

    #[test]
    fn otherwise_the_loader_knows() {
        check(head(&[]), "/function/f.so: undefined symbol: frob", "undefined symbol: frob");
        check(head(&[]), "something else", "something else");
        for error in ["No such file or directory", "Permission denied"] {
            let said = format!("libfrob.so.1: cannot open shared object file: {error}");
            check(head(&[]), &said, "it needs libfrob.so.1, which is not among the system's libraries");
        }
        check(
            head(&[]),
            "/lib/x86_64-linux-gnu/libc.so.6: version `GLIBC_9.1' not found (required by /function/f.so)",
            "it needs GLIBC_9.1 of libc.so.6, which this host does not have; build it on a system like this",
        );
        let own = "/function/f.so: cannot open shared object file: No such file or directory";
        check(head(&[]), own, "cannot open shared object file: No such file or directory");
    }

    #[test]
    fn a_file_that_cannot_be_read_is_told_as_such() {
        let denied = || Err(io::Error::from_raw_os_error(libc::EACCES));
        let path = Path::new("/function/f.so");
        assert_eq!(of_head(denied(), "…", path), "the function may not read its file; let everybody read it");
        let gone = Err(io::Error::from_raw_os_error(libc::ENOENT));
        let expected = "its file cannot be read: No such file or directory (os error 2)";
        assert_eq!(of_head(gone, "…", path), expected);
    }
}
