//! `hairtrigger serve`

use std::path::Path;

use anyhow::Result;

use super::front::Lines;
use crate::config::Config;
use crate::control::command::commands;
use crate::control::{self, Launch, registry};

pub(super) fn run(path: &Path) -> Result<()> {
    let mut config = Config::load(path)?;
    let directory = path.parent().unwrap_or(Path::new("."));
    config.functions = directory.join(&config.functions);
    config.state = directory.join(&config.state);
    let functions = registry::deployed(&config.functions)?;
    // Nobody asks for anything.
    let (_, wishes) = commands();
    let front = Lines::new(false);
    control::run(Launch { config: &config, functions, front: &front, local_only: false, wishes })
}
