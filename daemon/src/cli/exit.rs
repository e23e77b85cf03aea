//! Exit codes, the same for every command.

use std::process::ExitCode;

use crate::control::level::CannotConfine;
use crate::settings::BadSettings;
use crate::shard::drain::CutOff;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// It did what it was told to.
    Success = 0,
    /// It did not; standard error says why.
    Failure = 1,
    /// The command line is wrong.
    CommandLine = 2,
    /// The configuration or a manifest is wrong.
    Settings = 3,
    /// The host cannot confine functions, or not as far as it was told to.
    Confinement = 4,
    /// No daemon is there to be spoken to.
    NoDaemon = 5,
    /// The daemon was told to end, and something was still under way when it did.
    Cut = 6,
}

impl Exit {
    /// What the end of a daemon comes to that was told to end.
    pub(crate) fn with(cut_off: CutOff) -> Self {
        if cut_off.is_nothing() { Self::Success } else { Self::Cut }
    }

    /// What an error comes to.
    pub(crate) fn of(error: &anyhow::Error) -> Self {
        if error.chain().any(|cause| cause.is::<BadSettings>()) {
            Self::Settings
        } else if error.chain().any(|cause| cause.is::<CannotConfine>()) {
            Self::Confinement
        } else {
            Self::Failure
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use anyhow::{Context as _, anyhow};

    use super::*;
    use crate::settings::Mistake;

    #[test]
    fn the_cause_decides() {
        let bad = BadSettings::from(Mistake::of(Path::new("h.toml"), "is empty"));
        assert_eq!(Exit::of(&bad.clone().into()), Exit::Settings);
        let wrapped = Err::<(), _>(bad).context("not reloaded").unwrap_err();
        assert_eq!(Exit::of(&wrapped), Exit::Settings);
        assert_eq!(Exit::of(&CannotConfine("no".to_owned()).into()), Exit::Confinement);
        assert_eq!(Exit::of(&anyhow!("anything else")), Exit::Failure);
    }
}
