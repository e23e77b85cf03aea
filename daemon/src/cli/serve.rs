//! `hairtrigger serve`

use anyhow::Result;

use super::exit::Exit;
use super::front::Lines;
use crate::config::Origin;
use crate::control::command::commands;
use crate::control::level::{self, Wanted};
use crate::control::{self, Launch, registry};

pub(super) fn run(origin: &Origin) -> Result<Exit> {
    let config = origin.load()?;
    let functions = registry::deployed(&config, &origin.file)?;
    // Last, so that a mistake in what was written is told first.
    level::settle(Wanted::Exactly(config.level), &config)?;
    // Nobody asks for anything.
    let (_, wishes) = commands();
    let ended = control::run(Launch {
        config: &config,
        origin: Some(origin.clone()),
        functions,
        front: &Lines,
        local_only: false,
        wishes,
        records: config.report,
    });
    ended.map(Exit::with)
}
