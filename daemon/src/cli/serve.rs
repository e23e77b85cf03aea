//! `hairtrigger serve`

use anyhow::Result;

use super::front::Lines;
use crate::config::Origin;
use crate::control::command::commands;
use crate::control::{self, Launch, registry};

pub(super) fn run(origin: &Origin) -> Result<()> {
    let config = origin.load()?;
    let functions = registry::deployed(&config.functions)?;
    // Nobody asks for anything.
    let (_, wishes) = commands();
    let front = Lines::new(false);
    control::run(Launch {
        config: &config,
        functions,
        front: &front,
        local_only: false,
        wishes,
        records: false,
    })
}
