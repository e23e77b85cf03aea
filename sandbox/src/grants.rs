//! What a function may touch beyond nothing, as its manifest says it.
//!
//! Each layer of the confinement takes its part of it: the root file system shows the paths, landlock has rules for
//! paths and ports, the policy has entries that hold only with a grant, the warden counts threads.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::level::Level;

/// What a function is granted; by default nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Grants {
    /// Files and directories that it may read: absolute, without symbolic links, none of them twice.
    pub read: Vec<PathBuf>,
    /// The same that it may also write below.
    pub write: Vec<PathBuf>,
    /// TCP ports that it may connect to, at any address.
    pub connect: Vec<u16>,
    /// Most threads of a process beside its first.
    pub threads: u32,
}

/// What an entry of the policy needs to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Grant {
    /// Something to read, or to write, which includes that.
    Read,
    /// Names and attributes of files: with the former where a function has a root of its own. Landlock does not
    /// keep anybody from them, so that without such a root they would be those of the host's files.
    Names,
    /// Something to write.
    Write,
    /// A port to connect to.
    Connect,
    /// Threads.
    Threads,
}

impl Grant {
    /// Every one.
    pub const ALL: &[Self] = &[Self::Read, Self::Names, Self::Write, Self::Connect, Self::Threads];
}

impl Grants {
    /// What holds at a level, for the policy.
    pub fn given(&self, level: Level) -> Vec<Grant> {
        let reads = !self.read.is_empty() || !self.write.is_empty();
        let holds = |grant: &Grant| match grant {
            Grant::Read => reads,
            Grant::Names => reads && level.has_namespaces(),
            Grant::Write => !self.write.is_empty(),
            Grant::Connect => !self.connect.is_empty(),
            Grant::Threads => self.threads > 0,
        };
        Grant::ALL.iter().copied().filter(holds).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_granted_at_a_level() {
        let given = |grants: &Grants| Level::ALL.iter().map(|level| grants.given(*level)).collect::<Vec<_>>();
        assert_eq!(given(&Grants::default()), [vec![], vec![], vec![]]);
        let read = Grants { read: vec!["/srv".into()], ..Grants::default() };
        let names = vec![Grant::Read, Grant::Names];
        assert_eq!(given(&read), [names.clone(), names, vec![Grant::Read]]);
        let all = Grants { write: vec!["/srv".into()], connect: vec![1], threads: 1, ..Grants::default() };
        let bare = vec![Grant::Read, Grant::Write, Grant::Connect, Grant::Threads];
        assert_eq!(given(&all), [Grant::ALL.to_vec(), Grant::ALL.to_vec(), bare]);
    }
}
