//! `hairtrigger serve`

use std::path::Path;

use anyhow::Result;
use hairtrigger_sandbox::level::Level;

use super::front::Lines;
use crate::config::Config;
use crate::control::{self, level, registry};

pub(super) fn run(path: &Path) -> Result<()> {
    let mut config = Config::load(path)?;
    let directory = path.parent().unwrap_or(Path::new("."));
    config.functions = directory.join(&config.functions);
    config.state = directory.join(&config.state);
    let functions = registry::deployed(&config.functions)?;
    // Last, so that a mistake in what was written is told first.
    let level = level::settle(level::Wanted::Exactly(Level::Full), &config)?;
    control::run(&config, functions, &Lines::new(false), false, level)
}
